"""What happens to a call under the mode: its signature, decision and plan, the device's tensors, the session."""
