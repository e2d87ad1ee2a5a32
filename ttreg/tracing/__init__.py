"""Sessions that write what they do, and when, to a file."""
