"""The host runtime: runs fallbacks, keeps aliases correct, and passes symbolic calls through."""
