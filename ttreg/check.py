"""`check=<PCC>`: compares every device op with the host on the same inputs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._pytree import tree_leaves, tree_map_only

from .call import Call
from .compare import largest_difference, pcc
from .devices.base import Value
from .errors import AccuracyError
from .plan import Plan
from .session import Session


def compare(session: Session, plan: Plan, values: Sequence[Value], args: tuple, kwargs: dict[str, Any]) -> None:
    """Raise AccuracyError if a result correlates with the host's by less than the session's `check`."""
    threshold = session.settings.check
    assert threshold is not None

    def to_host(tensor: torch.Tensor) -> torch.Tensor:
        return session.read(tensor).clone()  # the op may write to it

    plain_args, plain_kwargs = tree_map_only(torch.Tensor, to_host, (args, kwargs))
    expected = [t for t in tree_leaves(plan.op(*plain_args, **plain_kwargs)) if isinstance(t, torch.Tensor)]
    for number, (value, meta, wanted) in enumerate(zip(values, plan.outputs, expected, strict=True)):
        if value is None or callable(value):
            continue  # without elements; not computed yet, and perhaps never
        got = session.device.download(value).to(meta.dtype)
        correlation = pcc(got, wanted)
        if correlation < threshold:
            raise AccuracyError(
                f"{Call.bind(plan.op, args, kwargs)}: output {number} has a PCC of {correlation:.5f} with the host's, "
                f"below {threshold}; largest difference {largest_difference(got, wanted):.3g}"
            )
