"""`check=`: compares device results with the host's while a program runs, and writes a program that repeats a call."""
