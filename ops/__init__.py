"""The entries: one module per op family."""
