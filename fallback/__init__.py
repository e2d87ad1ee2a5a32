"""The host runtime: runs what the device does not, keeps aliases true, and lets symbolic calls pass."""
