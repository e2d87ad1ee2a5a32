"""The `tt` argument of lowerings: the device's ttnn API, and what a lowering needs to know about its session."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch

from ..carriers import EXACT, Carriers
from ..costs.calls import is_tensor
from ..devices.base import Value
from ..exact.api import Exact
from ..memory.uploads import Uploads

# So many values are kept for the next few calls.
_LATELY = 8


class Api:
    """`tt.<name>` is ttnn's `<name>`, on whichever device the session has."""

    def __init__(
        self,
        ttnn: Any,
        carriers: Carriers,
        uploads: Uploads,
        upload: Callable[[torch.Tensor, str, bool], Value],
        count: Callable[[str], None],
        attention: str,
    ):
        self._ttnn, self._carriers, self._uploads = ttnn, carriers, uploads
        self._upload, self._count = upload, count
        self.attention = attention  # "fused" where ttnn's kernel takes a call, "exact" nowhere, "auto" for long ones
        self._made: dict[Callable[[Api], Any], Any] = {}
        self._lately: dict[Hashable, Value] = {}
        self._own = frozenset(vars(self))

    def __getattr__(self, name: str) -> Any:
        attribute = getattr(self._ttnn, name)
        setattr(self, name, attribute)  # later lookups skip __getattr__
        return attribute

    def typecast(self, value: Value, dtype: Any) -> Value:
        """`ttnn.typecast`, counted. Casts to uint8 go through int32, since ttnn casts bfloat16 to uint8 wrongly."""
        self._count("dtype_conversions")
        if dtype == self.uint8 and value.dtype != self.int32:
            value = self.typecast(value, self.int32)
        return self._ttnn.typecast(value, dtype)

    def where(self, *operands: Any) -> Value:
        """`ttnn.where` with all operands brought to the same rank."""
        return self._ttnn.where(*self._of_one_rank(operands))

    def addcmul(self, *operands: Any, **options: Any) -> Value:
        """`ttnn.addcmul` with all operands brought to the same rank."""
        return self._ttnn.addcmul(*self._of_one_rank(operands), **options)

    def addcdiv(self, *operands: Any, **options: Any) -> Value:
        """`ttnn.addcdiv` with all operands brought to the same rank."""
        return self._ttnn.addcdiv(*self._of_one_rank(operands), **options)

    def lerp(self, *operands: Any) -> Value:
        """`ttnn.lerp` with all operands brought to the same rank."""
        return self._ttnn.lerp(*self._of_one_rank(operands))

    def _of_one_rank(self, operands: tuple) -> list[Any]:
        """The operands at one rank: shorter shapes get leading dimensions of 1.

        ttnn's kernels for three operands compute wrong rows if one operand has a single dimension and another has more.
        ttnn also caches the program of such a call, and then uses it for calls that are correct.
        """
        most = max(len(operand.shape) for operand in operands if hasattr(operand, "shape"))

        def raised(operand: Any) -> Any:
            missing = most - len(operand.shape) if hasattr(operand, "shape") else 0
            return self.reshape(operand, [1] * missing + list(operand.shape)) if missing else operand

        return [raised(operand) for operand in operands]

    def to_layout(self, value: Value, layout: Any, dtype: Any = None) -> Value:
        """`ttnn.to_layout`, counted; a value that has the layout stays as it is. It may cast on the way to tiles."""
        if value.layout == layout:
            return value if dtype is None else self.typecast(value, dtype)
        self._count("layout_conversions")
        if dtype is None or value.dtype == dtype:
            return self._ttnn.to_layout(value, layout)
        return self._ttnn.to_layout(value, layout, dtype=dtype)

    def carrier(self, dtype: torch.dtype) -> Any:
        """The ttnn dtype in which the session carries a torch dtype."""
        return getattr(self, self._carriers[dtype])

    def once(self, make: Callable[[Api], Any]) -> Any:
        """`make(tt)`, computed once per session, for objects that are slow to make, such as ttnn's settings."""
        made = self._made.get(make)
        if made is None:
            made = self._made[make] = make(self)
        return made

    def let_go(self) -> None:
        """Keep no device tensors that can be made again."""
        self.forget_lately()
        for key in [key for key, made in self._made.items() if is_tensor(made)]:
            del self._made[key]

    def lately(self, key: Hashable, make: Callable[[], Value]) -> Value:
        """`make()`, kept for the next few calls: a step of a program asks in each of its layers for the same."""
        value = self._lately.get(key)
        if value is None:
            value = self._lately[key] = make()
            if len(self._lately) > _LATELY:
                del self._lately[next(iter(self._lately))]
        return value

    def forget_lately(self) -> None:
        """Keep nothing of what `lately` made."""
        self._lately.clear()

    def answer_no_more(self, ttnn: Any) -> None:
        """Take every function from `ttnn` from now on, and forget those that were looked up before."""
        self.__dict__ = {name: v for name, v in self.__dict__.items() if name in self._own or name in ("_own", "tape")}
        self._ttnn = ttnn
        self._lately.clear()
        self._made.clear()

    def prepared(self, value: Value, key: Hashable, make: Callable[[], Any], beside: tuple = ()) -> Any:
        """`make()`, which derives its result from `value` alone, or from it and those `beside` it.

        It is computed once if all of them are uploaded weights.
        """
        return self._uploads.prepared(value, key, make, beside)

    def derived(self, values: Sequence[Value], key: Hashable, nbytes: int, make: Callable[[], Value]) -> Value:
        """As `prepared`, for what any op makes of weights and constants. Of all that, so many bytes are kept."""
        return self._uploads.derive(values, key, nbytes, make)

    def split(self, value: Value, key: Hashable, nbytes: int, make: Callable[[], list[Value]]) -> list[Value]:
        """As `prepared`, for large values. They are made again at each call once others use up the memory."""
        return self._uploads.split(value, key, nbytes, make)

    def constant(self, tensor: torch.Tensor, result: bool = False) -> Value:
        """The device value of a small tensor that a lowering made on the host; keep the tensor to upload it once.

        It is exact under every `precision`: that setting narrows the program's tensors, not a lowering's own constants.
        With `result` it is a tensor of the program, and is carried as one. Equal tensors share one upload.
        """
        return self._upload(tensor, (self._carriers if result else EXACT)[tensor.dtype], result)


class ExactApi(Exact, Api):
    """The same under float32="exact"."""

    def plainly(self, name: str) -> Callable[..., Value]:
        """See `Exact.plainly`."""
        return getattr(self._ttnn, name)
