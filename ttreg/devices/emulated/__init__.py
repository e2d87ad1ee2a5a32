"""A device without hardware: values from ttnn's golden functions, rounded to what the device would hold."""
