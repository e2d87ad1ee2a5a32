"""Whether the device is right: its results beside the host's, and its ttnn calls in real ttnn."""
