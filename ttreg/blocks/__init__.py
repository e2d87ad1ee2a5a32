"""Opens blocks: the modes that hand a thread's calls to a session, and the backend of `torch.compile`."""
