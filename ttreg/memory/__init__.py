"""What tensors' memory is: storages on the device and on the host, uploads, views, and the tensor over them."""
