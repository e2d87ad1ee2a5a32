"""The functions that lowerings get under float32="exact" instead of ttnn's, which keep only three digits of float32."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import fused
from .convolution import convolution
from .products import product, shaped

Value = Any


class Exact:
    """Mixed into `tt`: products, softmax, layer_norm and convolutions of float32 values, within 1e-5.

    Every lowering gets these functions, also a user's own. For other dtypes they call ttnn's functions.
    """

    float32: Any

    def plainly(self, name: str) -> Callable[..., Value]:
        """ttnn's own function."""
        raise NotImplementedError

    def matmul(self, a: Value, b: Value, **options: Any) -> Value:
        """`ttnn.matmul`."""
        if not self._of_float32(a, b):
            return self.plainly("matmul")(a, b, **options)
        made = product(self, a, b, options.get("transpose_a", False), options.get("transpose_b", False))
        if options.get("activation") is not None:
            made = self.unary_chain(made, [options["activation"]])  # type: ignore[attr-defined]
        dtype = options.get("dtype") or self.float32
        return made if dtype == self.float32 else self.typecast(made, dtype)  # type: ignore[attr-defined]

    def linear(self, a: Value, b: Value, *, bias: Value | None = None, **options: Any) -> Value:
        """`ttnn.linear`; the bias is added separately, because the matrix unit would truncate the sum."""
        if not self._of_float32(a, b):
            return self.plainly("linear")(a, b, bias=bias, **options)
        made = self.matmul(a, b, **options)
        return made if bias is None else self.add(made, bias)  # type: ignore[attr-defined]

    def softmax(self, x: Value, dim: int = -1, **options: Any) -> Value:
        """`ttnn.softmax`."""
        return fused.softmax(self, x, dim) if self._of_float32(x) else self.plainly("softmax")(x, dim=dim, **options)

    def layer_norm(
        self, x: Value, *, epsilon: float = 1e-12, weight: Value = None, bias: Value = None, **options: Any
    ) -> Value:
        """`ttnn.layer_norm`."""
        if not self._of_float32(x):
            return self.plainly("layer_norm")(x, epsilon=epsilon, weight=weight, bias=bias, **options)
        return fused.layer_norm(self, x, epsilon, weight, bias)

    def conv2d(self, *, input_tensor: Value, weight_tensor: Value, **options: Any) -> Value:
        """`ttnn.conv2d`."""
        if not self._of_float32(input_tensor, weight_tensor):
            return self.plainly("conv2d")(input_tensor=input_tensor, weight_tensor=weight_tensor, **options)
        sizes = [options[name] for name in ("batch_size", "input_height", "input_width", "in_channels")]
        input_tensor = shaped(self, input_tensor, sizes)
        return convolution(self, input_tensor, weight_tensor, **options)

    def _of_float32(self, *values: Value) -> bool:
        return all(value.dtype == self.float32 for value in values)
