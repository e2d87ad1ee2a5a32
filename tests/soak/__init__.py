"""Random programs of views, writes, copies and reads, which end on the device as they end on CPU."""
