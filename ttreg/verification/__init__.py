"""Runs the samples of entries in real ttnn or on a chip, and makes the package's figures of accuracy."""
