"""No weight is ever computed with as it was before it changed, whoever changed it, by whatever way."""

from __future__ import annotations

import ctypes
import threading

import numpy as np
import pytest
import torch
from torch import nn

X = torch.arange(12.0).reshape(3, 4) / 4


def by_optimizer(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.5).step()


def by_foreach_optimizer(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.Adam([weight], lr=0.5, foreach=True).step()


def by_fused_optimizer(weight):
    weight.grad = torch.ones_like(weight)
    torch.optim.SGD([weight], lr=0.5, fused=True).step()


def by_load_state_dict(weight):
    holder = nn.Module()
    holder.register_buffer("weight", weight) if type(weight) is torch.Tensor else holder.register_parameter(
        "weight", weight
    )
    holder.load_state_dict({"weight": torch.full_like(weight, 3)})


def by_data_in_place(weight):
    weight.data.mul_(2)


def by_data_kept(weight):
    data = weight.data
    torch.ops.aten.mul_.Scalar(data, 2)


def by_data_item(weight):
    weight.data[0, 0] = 9


def by_data_copy(weight):
    weight.data.copy_(torch.full_like(weight, 5))


def by_new_data(weight):
    weight.data = weight.data.clone() + 1


def by_detached_numpy(weight):
    weight.detach().numpy()[:] = 4


def by_numpy_view(weight):
    weight.detach().view(-1)[3:5].numpy()[0] = 4


def by_detached_item(weight):
    weight.detach()[0, 1] = 7


def by_a_view(weight):
    with torch.no_grad():
        weight.view(-1)[2:].add_(1)


def by_init(weight):
    nn.init.constant_(weight, 0.25)


def by_dlpack(weight):
    torch.from_dlpack(weight.detach())[1] = 6


def by_numpy_dlpack(weight):
    np.from_dlpack(weight.detach())
    torch.from_dlpack(weight.detach()).zero_()


def by_pointer(weight):
    (ctypes.c_float * weight.numel()).from_address(weight.data_ptr())[2] = 11


def by_storage(weight):
    weight.untyped_storage()[3] = 65


def by_set(weight):
    with torch.no_grad():
        weight.set_(torch.full((3, 4), 2.0))


def by_foreach(weight):
    with torch.no_grad():
        torch._foreach_add_([weight], 1)


def by_foreach_on_data(weight):
    torch._foreach_mul_([weight.data], 2)


def by_swap(weight):
    torch.utils.swap_tensors(weight, nn.Parameter(weight.detach() + 1))


def by_out(weight):
    with torch.no_grad():
        torch.add(torch.ones(3, 4), 1, out=weight)


def by_inference(weight):
    with torch.inference_mode():
        weight.add_(1)


def by_share_memory(weight):
    weight.data.share_memory_()
    weight.data.add_(1)


def by_apply(weight):
    weight.data.apply_(lambda value: value + 1)


def by_map(weight):
    weight.data.map_(weight.data, lambda value, other: value + other + 1)


CHANGES = [value for name, value in list(globals().items()) if name.startswith("by_")]


@pytest.mark.parametrize("place", ["inside", "outside"])
@pytest.mark.parametrize("kind", ["parameter", "tensor", "transposed", "module"])
@pytest.mark.parametrize("change", CHANGES, ids=lambda c: c.__name__)
def test_a_changed_weight_is_uploaded_again(change, kind, place, scale, device):
    weight = nn.Parameter(X.clone()) if kind != "tensor" else X.clone().requires_grad_()
    linear = nn.Linear(4, 3, bias=False)
    linear.weight = weight if isinstance(weight, nn.Parameter) else linear.weight

    def use(session):
        with torch.no_grad():
            if kind == "module":
                return linear(session.to_device(torch.eye(4)))
            view = weight.t() if kind == "transposed" else weight
            return scale(session.to_device(torch.ones(view.shape)), view)

    def expected():
        plain = weight.detach().clone()
        return plain.t() if kind in ("transposed", "module") else plain

    with device as session:
        first, was = use(session), expected()
        use(session)
        if place == "inside":
            change(weight)
            second, now = use(session), expected()
            again = use(session)
    if place == "outside":
        change(weight)
        with device as session:
            second, now = use(session), expected()
            again = use(session)
    assert first.tolist() == was.tolist()
    assert second.tolist() == again.tolist() == now.tolist()
    assert now.tolist() != was.tolist()


def test_the_tensor_that_a_parameter_was_made_of_is_written(scale, device):
    plain = X.clone()
    weight = nn.Parameter(plain)
    with device, torch.no_grad():
        first = scale(weight, torch.ones(3, 4)).tolist()
        plain.add_(1)
        second = scale(weight, torch.ones(3, 4)).tolist()
    assert (first, second) == (X.tolist(), (X + 1).tolist())


def test_an_alias_that_was_made_before_the_block_is_written(scale, device):
    weight = nn.Parameter(X.clone())
    array, data, detached = weight.detach().numpy(), weight.data, weight.detach()
    seen, expected = [], []
    with device, torch.no_grad():
        for write in (lambda: array.fill(1), lambda: data.fill_(2), lambda: detached.fill_(3), lambda: array.fill(4)):
            write()
            seen.append(scale(weight, torch.ones(3, 4)).tolist())
            expected.append(weight.tolist())
    assert seen == expected == [torch.full((3, 4), float(n)).tolist() for n in (1, 2, 3, 4)]


def test_an_alias_made_and_dropped_inside_the_block_leaves_nothing_stale(scale, device):
    weight = nn.Parameter(X.clone())
    with device, torch.no_grad():
        scale(weight, torch.ones(3, 4))
        array = weight.detach().numpy()
        array[:] = 1
        first = scale(weight, torch.ones(3, 4)).tolist()
        array[:] = 2
        del array
        second = scale(weight, torch.ones(3, 4)).tolist()
    assert (first, second) == (torch.ones(3, 4).tolist(), torch.full((3, 4), 2.0).tolist())


def test_a_weight_is_written_by_another_thread(scale, device):
    from concurrent.futures import ThreadPoolExecutor

    weight = nn.Parameter(X.clone())
    with device, torch.no_grad(), ThreadPoolExecutor(1) as pool:
        first = scale(weight, torch.ones(3, 4)).tolist()
        pool.submit(lambda: weight.detach().add_(1)).result()
        second = scale(weight, torch.ones(3, 4)).tolist()
        pool.submit(lambda: weight.detach().numpy().fill(7)).result()
        third = scale(weight, torch.ones(3, 4)).tolist()
    assert (first, second, third) == (X.tolist(), (X + 1).tolist(), torch.full((3, 4), 7.0).tolist())


def test_two_sessions_do_not_hide_changes_from_each_other(scale, device):
    weight = nn.Parameter(X.clone())
    with device, torch.no_grad():
        scale(weight, torch.ones(3, 4))
        with type(device)(device="emulated", min_upload_numel=0):
            scale(weight, torch.ones(3, 4))
            weight.add_(1)
            weight.data.add_(1)
            inner = scale(weight, torch.ones(3, 4)).tolist()
        outer = scale(weight, torch.ones(3, 4)).tolist()
    assert inner == outer == (X + 2).tolist()


HOLDERS = {
    "data": lambda plain, weight: weight.data.fill_,
    "detached": lambda plain, weight: weight.detach().fill_,
    "a view of the data": lambda plain, weight: weight.data.t().fill_,
    "what it was made of": lambda plain, weight: plain.fill_,
    "NumPy": lambda plain, weight: weight.detach().numpy().fill,
    "DLPack": lambda plain, weight: torch.from_dlpack(weight.detach()).fill_,
    "the storage set again": lambda plain, weight: torch.empty(0).set_(weight.untyped_storage()).fill_,
}
USES = {
    "whole": lambda w: w,
    "transposed": lambda w: w.t(),
    "rows": lambda w: w[1:],
    "a view of a view": lambda w: w.t()[:2],
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS)
def test_the_one_other_holder_of_a_weight_writes_where_no_block_sees_it(holder, use, scale, device):
    """It was there before the block, and the thread that it writes in has no block."""
    plain = X.clone()
    weight = nn.Parameter(plain)
    fill = holder(plain, weight)
    del plain
    with device, torch.no_grad():
        for number in (0.5, 1.5, 2.5):
            thread = threading.Thread(target=fill, args=(number,))
            thread.start()
            thread.join()
            given = scale(use(weight), torch.ones(()))  # an assertion would keep a view, which is one holder more
            assert set(given.flatten().tolist()) == {number}
