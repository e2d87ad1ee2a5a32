"""Of which calls PyTorch leaves open what comes out: its kernels read outside of tensors, or trust values unseen."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any

import torch

Arguments = dict[str, Any]


def beyond_storage(arguments: Arguments) -> bool:
    """Whether a view of these sizes and strides reaches outside of the memory of its tensor."""
    tensor, sizes, strides = (arguments[name] for name in ("self", "size", "stride"))
    if len(sizes) != len(strides) or min(sizes, default=1) < 1:
        return False
    steps = [(size - 1) * stride for size, stride in zip(sizes, strides, strict=True)]
    first, last = (tensor.storage_offset() + sum(bound(step, 0) for step in steps) for bound in (min, max))
    return first < 0 or (last + 1) * tensor.itemsize > tensor.untyped_storage().nbytes()


def parameter_too_short(arguments: Arguments) -> bool:
    """Whether a parameter or statistic of a batch norm has fewer elements than there are channels.

    Or whether, of its gradient, a statistic is missing by which the input was normalized.
    """
    shape = arguments["input"].shape
    names = ["weight", "bias", "running_mean", "running_var"]
    if "save_mean" in arguments:
        saved = [name for name in arguments if name.startswith("save_")]
        read = saved if arguments.get("train", arguments.get("update")) else names[2:]
        if any(arguments[name] is None for name in read):
            return True
        names = [*names, *read]
    given = [arguments[name] for name in names if arguments.get(name) is not None]
    return len(shape) > 1 and any(tensor.numel() < shape[1] for tensor in given)


def output_of_another_shape(arguments: Arguments) -> bool:
    """Whether the forward op's output has not the shape of its gradient, by which it is read."""
    return bool(arguments["output"].shape != arguments["grad_output"].shape)


def no_such_mode(arguments: Arguments) -> bool:
    """Whether a grid sampler is asked for a mode or a padding that it does not have: it leaves its output as it was."""
    modes = arguments["interpolation_mode"], arguments["padding_mode"]
    return any(mode not in (0, 1, 2) for mode in modes)


def heads_that_do_not_fit(arguments: Arguments) -> bool:
    """Whether the tensors of an attention disagree in a size, or have elements of a row apart."""
    query, key, value = (arguments[name] for name in ("query", "key", "value"))
    if {query.ndim, key.ndim, value.ndim} != {4}:
        return False
    (batch, heads, queries, _), (_, key_heads, keys, _) = query.shape, key.shape
    by_query = [arguments[name] for name in ("grad_out", "out") if name in arguments]
    if any(tensor.ndim and tensor.stride(-1) != 1 for tensor in (query, key, value, *by_query)):
        return True
    if any(tensor.shape != (batch, heads, queries, value.shape[3]) for tensor in by_query):
        return True
    if key.shape[:3] != value.shape[:3] or key.shape[0] != batch or not key_heads or heads % key_heads:
        return True
    logsumexp = arguments.get("logsumexp")
    if logsumexp is not None and logsumexp.shape != (batch, heads, queries):
        return True
    mask = arguments["attn_mask"]
    return mask is not None and mask.ndim in (2, 4) and not _spreads(mask.shape, (batch, heads, queries, keys))


def _spreads(shape: tuple[int, ...], wanted: tuple[int, ...]) -> bool:
    return all(have in (1, want) for have, want in zip(reversed(shape), reversed(wanted), strict=False))


def buffer_of_another(arguments: Arguments) -> bool:
    """Whether the buffer of `log_sigmoid` is not what its forward op gives for the tensor."""
    tensor, buffer = arguments["self"], arguments["buffer"]
    if tensor.dtype is not buffer.dtype or not tensor.is_floating_point():
        return False
    return tensor.shape != buffer.shape or not torch.allclose(tensor.abs().neg().exp(), buffer, 1e-2, 1e-2)


def outside_of_windows(dims: int) -> Callable[[Arguments], bool]:
    """Whether an index of a max pool's gradient lies outside of the window whose maximum it is said to be."""

    def outside(arguments: Arguments) -> bool:
        tensor, indices = arguments["self"], arguments["indices"]
        if dims == 3 and not (arguments["grad_output"].shape == indices.shape and _of_images(tensor, indices)):
            return True  # the kernel of volumes, unlike that of images, reads and writes by sizes that it did not check
        if tensor.ndim <= dims or indices.dtype is not torch.int64 or not indices.numel() or indices.ndim < dims:
            return False
        if not (arguments["kernel_size"] and arguments["padding"] and arguments["dilation"]):
            return False
        sizes = tensor.shape[-dims:]
        if int(indices.min()) < 0 or int(indices.max()) >= sizes.numel():
            return True
        return any(_outside_by(dim, sizes, arguments) for dim in range(dims))

    return outside


def _of_images(tensor: torch.Tensor, indices: torch.Tensor) -> bool:
    return tensor.ndim == indices.ndim and tensor.shape[:-3] == indices.shape[:-3]


def _outside_by(dim: int, sizes: torch.Size, arguments: Arguments) -> bool:
    dims, indices = len(sizes), arguments["indices"]
    named = ("kernel_size", "stride", "padding", "dilation")
    kernel, stride, padding, dilation = (_of_dimension(arguments[name], dim) for name in named)
    at = indices // sizes[dim + 1 :].numel() % sizes[dim]
    place = torch.arange(indices.shape[dim - dims]).view(-1, *[1] * (dims - dim - 1))
    apart = at - (place * (kernel if stride is None else stride) - padding)
    step = max(dilation, 1)
    return bool(((apart < 0) | (apart % step != 0) | (apart // step >= kernel)).any())


def _of_dimension(values: list[int], dim: int) -> Any:
    return values[min(dim, len(values) - 1)] if values else None


def window_beyond_the_end(support: int) -> Callable[[Arguments], bool]:
    """Whether a scale leaves the last outputs of an antialiased interpolation without elements; `support` is how many
    elements lie on each side of an output where nothing shrinks."""

    def without(arguments: Arguments) -> bool:
        sizes, outs = arguments["self"].shape[-2:], arguments["output_size"]
        scales = arguments["scales_h"], arguments["scales_w"]
        return not arguments["align_corners"] and any(map(_ends_before, sizes, outs, scales))

    def _ends_before(size: int, out: int, scale: Any) -> bool:
        if scale is None or isinstance(scale, complex) or not scale > 0:
            return False  # PyTorch takes the sizes' instead, or raises
        return int((out - 0.5) / scale - support * max(1 / scale, 1) + 0.5) >= size

    return without


def unsorted(name: str, sorter: str = "") -> Callable[[Arguments], bool]:
    """Whether the sequences in an argument, in the order of another if there is one, are not sorted."""

    def found(arguments: Arguments) -> bool:
        sequence, order = arguments[name], arguments.get(sorter)
        if sequence.is_complex() or sequence.ndim == 0:
            return False
        if order is not None:
            if order.shape != sequence.shape or order.dtype is not torch.int64:
                return False
            sequence = sequence.gather(-1, order.clamp(0, sequence.shape[-1] - 1))
        return any(bool((second < first).any()) for first, second in _neighbours(sequence))

    return found


def _neighbours(sequence: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    return pairwise(sequence.unbind(-1))
