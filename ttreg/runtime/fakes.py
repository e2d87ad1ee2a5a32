"""Asks PyTorch's fake tensors for the metadata of a call's results, or whether it depends on values."""

from __future__ import annotations

import logging
import warnings
from typing import Any

import torch

from ..conditions import Refusal
from ..memory.tensor import metadata_of
from ..meta import Meta
from ..pytorch_private import OpOverload, fakes, tree_map_only
from ..refusal import DATA_DEPENDENT, NO_META

_LOG = logging.getLogger("torch._subclasses.fake_tensor")


def run_on_fakes(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Any:
    """The op's results as fake tensors, for arguments that have only metadata.

    Raises what PyTorch raises: DataDependentOutputException or DynamicOutputShapeException if the metadata of the
    results depends on values.
    """
    FakeTensorMode = fakes().FakeTensorMode

    def fake(meta: Meta) -> torch.Tensor:
        return torch.empty_strided(meta.shape, meta.stride, dtype=meta.dtype, device="cpu")

    metas = tree_map_only(torch.Tensor, metadata_of, (args, kwargs))
    logged, _LOG.disabled = _LOG.disabled, True  # PyTorch also logs each error that it raises
    try:
        with FakeTensorMode():
            fake_args, fake_kwargs = tree_map_only(Meta, fake, metas)
            return op(*fake_args, **fake_kwargs)
    finally:
        _LOG.disabled = logged


def no_meta(op: OpOverload, args: tuple, kwargs: dict[str, Any]) -> Refusal:
    """Why PyTorch's shape function gives no metadata for a call: the data decide, or the call is wrong."""
    DataDependentOutputException = fakes().DataDependentOutputException
    DynamicOutputShapeException = fakes().DynamicOutputShapeException

    try:
        with warnings.catch_warnings():
            # The host runs the call, and warns in PyTorch's own words: those of a fake tensor differ.
            warnings.filterwarnings("ignore", "An output with one or more elements was resized")
            run_on_fakes(op, args, kwargs)
    except (DataDependentOutputException, DynamicOutputShapeException):
        return DATA_DEPENDENT
    except Exception:  # the host runs the call and raises PyTorch's own error
        return NO_META
    return NO_META
