"""Hooks into PyTorch for calls that do not arrive as single aten ops: whole layers and higher-order operators."""
