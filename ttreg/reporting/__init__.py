"""Saved reports: read, compared, and shown as HTML."""
