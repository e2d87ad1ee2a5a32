"""The memory of tensors: storages on the device and on the host, uploads, views, and the tensor class over them."""
