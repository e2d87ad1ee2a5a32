"""Measuring: interleaved timings, ttnn calls recorded and made again, and benchmarks of the registry's ops."""
