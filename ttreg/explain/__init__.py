"""What the registry has to say to people: where a call would go, what an entry wants, how to write one."""
