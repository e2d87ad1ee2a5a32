"""The ttnn dtype in which the device carries each torch dtype."""

from __future__ import annotations

from collections.abc import Mapping

import torch

# bool is carried as 0 and 1 in bfloat16, since ttnn's logical ops use that. int64 results exist on the device only
# where their values are known to fit int32, such as the indices of `argmax`. Host int64 tensors are never narrowed.
_DEVICE_DTYPES = {
    torch.bfloat16: "bfloat16",
    torch.float32: "float32",
    torch.bool: "bfloat16",
    torch.int32: "int32",
    torch.int64: "int32",
    torch.uint8: "uint8",
    torch.uint16: "uint16",
    torch.uint32: "uint32",
}


# The torch dtype of the same name as ttnn's. Block floats have none.
TORCH_DTYPES = {
    "bfloat16": torch.bfloat16,
    "float32": torch.float32,
    "int32": torch.int32,
    "uint32": torch.uint32,
    "uint16": torch.uint16,
    "uint8": torch.uint8,
}


def narrowed(tensor: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The tensor in a narrower dtype. Finite values stay finite, such as the least float32 that masks are filled with.

    Otherwise such masks would get infinities, and a softmax would turn these into NaN.
    """
    narrow = tensor.to(dtype)
    infinite = narrow.isinf()
    if infinite.any():
        largest = torch.finfo(dtype).max
        narrow = torch.where(infinite & tensor.isfinite(), narrow.clamp(-largest, largest), narrow)
    return narrow


class Carriers(dict[torch.dtype, str]):
    """The names of the ttnn dtypes under one `precision`: "preserve", or "bfloat16" (float32 work is carried in it)."""

    def __init__(self, precision: str = "preserve"):
        self.narrow: Mapping[torch.dtype, torch.dtype] = (
            {torch.float32: torch.bfloat16} if precision == "bfloat16" else {}
        )
        super().__init__({dtype: _DEVICE_DTYPES[self.narrow.get(dtype, dtype)] for dtype in _DEVICE_DTYPES})

    def fitted(self, tensor: torch.Tensor, carrier: str) -> torch.Tensor:
        """The tensor as it is uploaded in a ttnn dtype: narrowed, if that dtype carries it because of the precision."""
        narrow = self.narrow.get(tensor.dtype)
        return narrowed(tensor, narrow) if narrow is not None and carrier == self[tensor.dtype] else tensor


EXACT = Carriers()
