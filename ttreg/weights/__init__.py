"""Weights in files: read from safetensors, and kept in the device's form between programs."""
