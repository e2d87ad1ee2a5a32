"""Measures: interleaved timings, recording and replay of ttnn calls, and benchmarks of the registry's ops."""
