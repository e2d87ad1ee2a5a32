"""float32="exact": replacements for the ttnn functions that keep only three digits of float32."""
