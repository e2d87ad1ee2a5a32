"""`check=`: results of the device beside the host's while a program runs, and a program that repeats a call."""
