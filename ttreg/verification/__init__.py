"""Entries tried with their samples: ttnn calls in real ttnn, values of a chip, and the figures kept of these."""
