"""Opening a block: modes that hand a thread's calls to a session, and compiled functions."""
