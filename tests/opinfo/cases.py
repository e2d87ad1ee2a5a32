"""PyTorch's own operator tests as cases: an op of `op_db` in one dtype, and the forms in which to call it."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch.testing._internal.common_methods_invocations import op_db
from torch.testing._internal.opinfo.core import BinaryUfuncInfo, UnaryUfuncInfo
from torch.utils._pytree import tree_leaves, tree_map_only

DTYPES = (torch.float32, torch.bfloat16, torch.int64, torch.int32, torch.bool, torch.complex64, torch.float64)
SHARE_OF_MAKE_TEST = 0.1

# Their results hold whatever the memory held, so they are zeroed before anyone looks.
UNINITIALISED = ("empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided")

# PyTorch chooses another algorithm of these where a mode is active (`isTensorSubclassLike` in its sources: singular
# values with vectors, a product folded or not), so that even the host's result may differ by a few roundings.
ANOTHER_ALGORITHM = (
    *("__rmatmul__", "linalg.cond", "linalg.eigvalsh", "linalg.matrix_norm", "linalg.norm", "linalg.svdvals"),
    *("matmul", "norm.nuc"),
)

# Which of equal elements comes first is left open by PyTorch, and in bfloat16 the samples have many. Places are
# compared in float32, where they have none.
EQUALS_IN_ANY_ORDER = ("argsort", "sort", "topk")


@dataclass(frozen=True)
class Invocation:
    """A call to make, with plain tensors as arguments; whoever makes it copies them first."""

    form: str
    function: Callable[..., Any]
    args: tuple
    kwargs: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Case:
    """One op of `op_db` in one dtype."""

    info: Any
    dtype: torch.dtype

    def __str__(self) -> str:
        return f"{self.info.full_name}-{str(self.dtype).removeprefix('torch.')}"

    @property
    def elementwise(self) -> bool:
        """Whether each element of the result depends on one element of each operand."""
        return isinstance(self.info, (UnaryUfuncInfo, BinaryUfuncInfo))

    def computed_in(self, on_the_device: bool) -> torch.dtype | None:
        """The dtype whose roundings the results may show; None where they have to be exact."""
        return self.dtype if on_the_device or self.info.full_name in ANOTHER_ALGORITHM else None

    @property
    def any_order(self) -> bool:
        """Whether places of equal elements may be given in another order."""
        return self.dtype is torch.bfloat16 and self.info.name in EQUALS_IN_ANY_ORDER

    def samples(self) -> Iterator[list[Invocation]]:
        """For each sample input, the same at each call, the forms in which the op takes it."""
        for sample in self.info.sample_inputs("cpu", self.dtype):
            args, kwargs = (sample.input, *sample.args), sample.kwargs
            forms = {
                "function": self.info.op,
                "method": self.info.method_variant,
                "in place": self.info.inplace_variant,
            }
            calls = [(name, form, kwargs) for name, form in forms.items() if form is not None]
            calls += [(name, self.info.op, {**kwargs, "out": out}) for name, out in self._outs(args, kwargs).items()]
            yield [Invocation(name, self._initialised(form), args, keywords) for name, form, keywords in calls]

    def errors(self) -> Iterator[Invocation]:
        """Calls that PyTorch refuses."""
        for error in self.info.error_inputs("cpu"):
            sample = error.sample_input
            yield Invocation("function", self.info.op, (sample.input, *sample.args), sample.kwargs)

    def _initialised(self, form: Callable[..., Any]) -> Callable[..., Any]:
        if self.info.name in UNINITIALISED:
            return lambda *args, **kwargs: form(*args, **kwargs).zero_()
        return form

    def _outs(self, args: tuple, kwargs: dict[str, Any]) -> dict[str, Any]:
        """`out=` arguments: tensors like the results, tensors that have to be resized, tensors of another dtype."""
        if not self.info.supports_out:
            return {}
        copied_args, copied_kwargs = tree_map_only(torch.Tensor, torch.clone, (args, kwargs))
        try:
            results = self.info.op(*copied_args, **copied_kwargs)
        except Exception:
            return {}
        if not all(type(leaf) is torch.Tensor for leaf in tree_leaves(results)):
            return {}
        return {
            "out": tree_map_only(torch.Tensor, torch.zeros_like, results),
            "out, resized": tree_map_only(torch.Tensor, lambda t: torch.zeros(0, dtype=t.dtype), results),
            "out, of float64": tree_map_only(torch.Tensor, lambda t: torch.zeros(t.shape, dtype=torch.double), results),
        }


def cases(*, wanted: Callable[[Any], bool] = lambda info: True, dtypes: tuple = DTYPES) -> list[Any]:
    """pytest parameters, all but a seeded tenth of them marked `long`."""
    found = [Case(info, dtype) for info in op_db if wanted(info) for dtype in dtypes if dtype in info.dtypes]
    kept = set(random.Random(20).sample(range(len(found)), round(len(found) * SHARE_OF_MAKE_TEST)))
    return [
        pytest.param(case, id=str(case), marks=() if number in kept else pytest.mark.long)
        for number, case in enumerate(found)
    ]
