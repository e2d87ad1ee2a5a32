"""What the device has to do for a program: ttnn calls, programs, bytes, memory, and a lower bound of its time."""
