"""float32="exact": what stands in for the ttnn functions that keep three digits of float32."""
