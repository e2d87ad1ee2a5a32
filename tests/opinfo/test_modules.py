"""The layers of PyTorch's own module tests give the results, gradients and buffers that they give on CPU."""

from __future__ import annotations

import contextlib
import random
from copy import deepcopy
from typing import Any

import pytest
import torch
from torch.testing._internal.common_modules import module_db
from torch.utils._pytree import tree_leaves, tree_map_only

import ttreg

SHARE_OF_MAKE_TEST = 0.05


def cases() -> list[Any]:
    """Each layer in training and in evaluation, all but a seeded part of them marked `long`."""
    found = [(info, training) for info in module_db for training in (True, False)]
    kept = set(random.Random(20).sample(range(len(found)), round(len(found) * SHARE_OF_MAKE_TEST)))
    return [
        pytest.param(
            info, training, id=f"{info.formatted_name}-{'train' if training else 'eval'}",
            marks=() if number in kept else pytest.mark.long,
        )
        for number, (info, training) in enumerate(found)
    ]  # fmt: skip


def copied(arguments: Any) -> Any:
    return tree_map_only(torch.Tensor, lambda t: t.detach().clone().requires_grad_(t.requires_grad), arguments)


def call(layer: torch.nn.Module, given: Any, differentiated: bool) -> Any:
    """What the layer gives, the gradients of its inputs and parameters, and its buffers; or the error it raises."""
    layer, (args, kwargs) = deepcopy(layer), copied(given)
    torch.manual_seed(3)
    try:
        with contextlib.nullcontext() if differentiated else torch.no_grad():
            results = layer(*args, **kwargs)
    except Exception as error:
        return type(error)
    gradients: tuple = ()
    outputs = [t for t in tree_leaves(results) if isinstance(t, torch.Tensor) and t.requires_grad]
    inputs = [t for t in (*layer.parameters(), *tree_leaves((args, kwargs))) if isinstance(t, torch.Tensor)]
    inputs = [t for t in inputs if t.requires_grad]
    if outputs and inputs:
        generator = torch.Generator().manual_seed(5)
        cotangents = [torch.randn(t.shape, dtype=t.dtype, generator=generator) for t in outputs]
        gradients = torch.autograd.grad(outputs, inputs, cotangents, allow_unused=True)
    return tree_map_only(torch.Tensor, torch.Tensor.detach, (results, gradients, dict(layer.named_buffers())))


@pytest.mark.parametrize(("info", "training"), cases())
def test_layers_as_on_cpu(info, training):
    torch.manual_seed(0)
    inputs = info.module_inputs_func(info, device="cpu", dtype=torch.float32, requires_grad=True, training=training)
    for given in inputs:
        if given.forward_input is None:
            continue
        torch.manual_seed(1)
        layer = info.module_cls(*given.constructor_input.args, **given.constructor_input.kwargs).train(training)
        for differentiated in (True, False):
            arguments = (given.forward_input.args, given.forward_input.kwargs)
            expected = call(layer, arguments, differentiated)
            with ttreg.device_mode(device="emulated", float32="exact", min_upload_numel=0):
                found = call(layer, arguments, differentiated)
            if isinstance(expected, type):
                assert found is expected, given.desc
            else:
                torch.testing.assert_close(
                    found, expected, rtol=1e-3, atol=1e-4, equal_nan=True, check_stride=True,
                    msg=lambda said, given=given: f"{given.desc}: {said}",
                )  # fmt: skip
