"""Values for the tensors of a call of which only the metadata is known: seeded, and such as the op is called with."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch

from ttreg.call import bind_arguments
from ttreg.coverage.variations import Variation
from ttreg.meta import Meta
from ttreg.pytorch_private import tree_map_only

aten = torch.ops.aten

Arguments = dict[str, Any]


def values_for(call: Variation, key: str) -> Arguments:
    """The call's arguments, with a tensor for each `Meta`. The same key gives the same values."""
    draw = Draw(key)
    arguments: Arguments = tree_map_only(Meta, draw.any, call.arguments)
    name = str(call.op.overloadpacket).removeprefix("aten.")
    if name in _SUITED:
        whole_call = bind_arguments(call.op, (), arguments)
        _SUITED[name](draw, whole_call)
        arguments = {name: whole_call[name] for name in arguments}
    return arguments


class Draw:
    """Draws tensors, seeded by a text."""

    def __init__(self, key: str):
        self.generator = torch.Generator().manual_seed(int(key, 16) % 2**31)

    def any(self, meta: Meta) -> torch.Tensor:
        """Numbers around 0; small integers; both truths."""
        if meta.dtype is torch.bool:
            return self.below(2, meta.shape).bool()
        if not meta.dtype.is_floating_point:
            return self.below(10, meta.shape).to(meta.dtype)
        return torch.randn(meta.shape, generator=self.generator, dtype=meta.dtype)

    def below(self, end: int, shape: Any) -> torch.Tensor:
        """Integers from 0 to below `end`."""
        return torch.randint(max(end, 1), tuple(shape), generator=self.generator)

    def places(self, end: int, like: torch.Tensor, unique: bool) -> torch.Tensor:
        """Indices below `end`; if they have to be unique, no two alike where there are enough."""
        if unique and like.numel() <= end:
            drawn = torch.randperm(end, generator=self.generator)[: like.numel()].view(like.shape)
        else:
            drawn = self.below(end, like.shape)
        return drawn.to(like.dtype)


def positive(*names: str) -> Callable[[Draw, Arguments], None]:
    """Makes these arguments positive."""

    def suit(draw: Draw, given: Arguments) -> None:
        for name in names:
            if isinstance(given.get(name), torch.Tensor):
                given[name] = given[name].abs() + 0.25

    return suit


def not_small(*names: str) -> Callable[[Draw, Arguments], None]:
    """Keeps these arguments away from 0."""

    def suit(draw: Draw, given: Arguments) -> None:
        for name in names:
            value = given.get(name)
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                given[name] = value + value.sign() + (value == 0)

    return suit


def whole(*names: str) -> Callable[[Draw, Arguments], None]:
    """Draws few whole numbers, so that some of them are equal to each other and to what they are compared with."""

    def suit(draw: Draw, given: Arguments) -> None:
        for name in names:
            value = given.get(name)
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                given[name] = (draw.below(5, value.shape) - 2).to(value.dtype)

    return suit


def indexing(draw: Draw, given: Arguments) -> None:
    """Indices within the dimensions that they index."""
    unique = not given.get("accumulate", True)
    for dim, index in enumerate(given["indices"]):
        if isinstance(index, torch.Tensor) and index.dtype is not torch.bool:
            given["indices"][dim] = draw.places(given["self"].shape[dim], index, unique)


def embedding(draw: Draw, given: Arguments) -> None:
    """Rows of the weight."""
    rows = given["num_weights"] if "num_weights" in given else given["weight"].shape[0]
    given["indices"] = draw.places(rows, given["indices"], unique=False)


def along_dim(draw: Draw, given: Arguments) -> None:
    """Indices along `dim`."""
    given["index"] = draw.places(given["self"].shape[given["dim"]], given["index"], unique=False)


def class_of_each(draw: Draw, given: Arguments) -> None:
    """A class for each row."""
    scores = given["self"]
    given["target"] = draw.places(scores.shape[1 if scores.ndim > 1 else 0], given["target"], unique=False)
    given["self"] = torch.log_softmax(scores, 1 if scores.ndim > 1 else 0)


def distinct(draw: Draw, given: Arguments) -> None:
    """No two alike, so that there is one largest."""
    values = given["self"]
    if values.is_floating_point() and values.numel() <= 256:
        given["self"] = draw.places(256, values, unique=True) - 128.0
        given["self"] = given["self"].to(values.dtype)


def softmax_backward(draw: Draw, given: Arguments) -> None:
    """What the forward gives."""
    given["output"] = torch.softmax(given["output"], given["dim"])


def log_softmax_backward(draw: Draw, given: Arguments) -> None:
    """What the forward gives."""
    given["output"] = torch.log_softmax(given["output"], given["dim"])


def output_of(function: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Draw, Arguments], None]:
    """What the forward gives as `output`."""

    def suit(draw: Draw, given: Arguments) -> None:
        given["output"] = function(given["output"])

    return suit


def elu_backward(draw: Draw, given: Arguments) -> None:
    """What the forward gives, if it is the result that is known."""
    if given.get("is_result"):
        given["self_or_result"] = torch.nn.functional.elu(given["self_or_result"])


def batch_norm_backward(draw: Draw, given: Arguments) -> None:
    """The statistics of the input."""
    image = given["input"].float()
    dims = [dim for dim in range(image.ndim) if dim != 1]
    mean, variance = image.mean(dims), image.var(dims, correction=0)
    for name, value in (("save_mean", mean), ("save_invstd", torch.rsqrt(variance + given["eps"]))):
        if isinstance(given.get(name), torch.Tensor):
            given[name] = value.to(given[name].dtype)
    positive("running_var")(draw, given)


def layer_norm_backward(draw: Draw, given: Arguments) -> None:
    """The statistics of the input."""
    rows = given["input"].float()
    dims = list(range(rows.ndim - len(given["normalized_shape"]), rows.ndim))
    mean, variance = rows.mean(dims), rows.var(dims, correction=0)
    for name, value in (("mean", mean), ("rstd", torch.rsqrt(variance + 1e-5))):
        given[name] = value.reshape(given[name].shape).to(given[name].dtype)


def max_pool_backward(draw: Draw, given: Arguments) -> None:
    """The places that the forward finds."""
    names = ("self", "kernel_size", "stride", "padding", "dilation", "ceil_mode")
    pooled = aten.max_pool2d_with_indices.default(*(given[name] for name in names))
    given["indices"] = pooled[1]


def attention_backward(draw: Draw, given: Arguments) -> None:
    """What the forward gives."""
    names = ("query", "key", "value", "dropout_p", "is_causal")
    forward = aten._scaled_dot_product_flash_attention_for_cpu.default
    given["out"], given["logsumexp"] = forward(
        *(given[name] for name in names), attn_mask=given.get("attn_mask"), scale=given.get("scale")
    )


def powers(draw: Draw, given: Arguments) -> None:
    """Roots are of positive numbers; exponents of a number are small."""
    exponent = given["exponent"]
    if isinstance(exponent, torch.Tensor):
        given["exponent"] = torch.rand(exponent.shape, generator=draw.generator).to(exponent.dtype)
    if isinstance(exponent, torch.Tensor) or not math.isclose(exponent, round(exponent)) or exponent < 0:
        positive("self")(draw, given)


_SUITED: dict[str, Callable[[Draw, Arguments], None]] = {
    "_log_softmax_backward_data": log_softmax_backward,
    "_native_batch_norm_legit": positive("running_var"),
    "_native_batch_norm_legit_functional": positive("running_var"),
    "_native_batch_norm_legit_no_training": positive("running_var"),
    "_scaled_dot_product_flash_attention_for_cpu_backward": attention_backward,
    "_softmax_backward_data": softmax_backward,
    "_unsafe_index": indexing,
    "_unsafe_index_put": indexing,
    "argmax": distinct,
    "argmin": distinct,
    "div": not_small("other"),
    "elu_backward": elu_backward,
    "embedding": embedding,
    "embedding_dense_backward": embedding,
    "eq": whole("self", "other"),
    "gather": along_dim,
    "ge": whole("self", "other"),
    "gt": whole("self", "other"),
    "index": indexing,
    "index_put": indexing,
    "index_select": along_dim,
    "isin": whole("elements", "test_elements"),
    "le": whole("self", "other"),
    "log": positive("self"),
    "lt": whole("self", "other"),
    "max_pool2d_with_indices_backward": max_pool_backward,
    "native_batch_norm": positive("running_var"),
    "native_batch_norm_backward": batch_norm_backward,
    "native_layer_norm_backward": layer_norm_backward,
    "ne": whole("self", "other"),
    "nll_loss_forward": class_of_each,
    "pow": powers,
    "reciprocal": not_small("self"),
    "rsqrt": positive("self"),
    "sigmoid_backward": output_of(torch.sigmoid),
    "sqrt": positive("self"),
    "tanh_backward": output_of(torch.tanh),
}
