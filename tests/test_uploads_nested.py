"""A write that anyone sees, in a block further in or on the way past a block, makes every upload of it stale."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn
from torch.fx.experimental.proxy_tensor import make_fx

import ttreg

X = torch.eye(32)


def block(**keywords):
    return ttreg.device_mode(device="emulated", min_upload_numel=0, **keywords)


def sparse(x):
    with torch.sparse.check_sparse_tensor_invariants(enable=True):
        return torch.sparse_coo_tensor([[0], [0]], [1.0], x.shape)


def by_data(w):
    w.data.mul_(2)


def by_a_view_of_data(w):
    w.data.t()[1:, ::2].add_(1)


def by_out(w):
    torch.add(torch.ones(32, 32), 1, out=w.data)


def by_out_of_two(w):
    torch.max(torch.arange(1024.0).view(32, 32, 1), 2, out=(w.data, torch.empty(32, 32, dtype=torch.int64)))


def by_index(w):
    w.data[0, 0] = 5


def by_foreach(w):
    torch._foreach_mul_([torch.ones(2), w.data], 2)


def by_a_sparse_gradient(w):
    w.data.add_(sparse(w))


def by_an_optimizer_with_sparse_gradients(w):
    w.grad = sparse(w).coalesce()
    torch.optim.SparseAdam([w]).step()


def by_a_fused_optimizer(w):
    w.grad = torch.ones_like(w)
    torch.optim.SGD([w], lr=0.5, fused=True).step()


def by_the_values_of_a_sparse_tensor(w):
    with torch.sparse.check_sparse_tensor_invariants(enable=False):
        torch.sparse_coo_tensor(torch.arange(32)[None], w.data, (32, 32), is_coalesced=True)._values().mul_(2)


def by_a_call_that_raises_halfway(w):
    w.data.index_add_(0, torch.tensor([0]), torch.ones(1, 32))
    with pytest.raises((IndexError, RuntimeError)):
        w.data.index_add_(0, torch.tensor([0, 99]), torch.ones(2, 32))


def by_a_traced_function(w):
    make_fx(lambda x: x.mul_(2))(w.data)


def by_other_data(w):
    w.data = w.data.clone() + 1


def by_swap(w):
    torch.utils.swap_tensors(w, nn.Parameter(w.detach() + 1))


def by_set(w):
    w.set_(torch.full((32, 32), 3.0))


def by_a_tensor_of_the_device(w):
    w.data.copy_(torch.ones(32, 32) + torch.eye(32))


def by_a_composite_with_data(w):
    torch.nn.utils.vector_to_parameters(torch.arange(1024.0), [w])


def by_jit(w):
    torch.jit.script(doubled)(w)


def doubled(w: torch.Tensor):
    w.data.mul_(2)


WRITES = {name[3:]: value for name, value in list(globals().items()) if name.startswith("by_")}


def here(write, w):
    write(w)


def in_a_block(write, w):
    with block():
        write(w)


def in_a_block_of_bfloat16(write, w):
    with block(precision="bfloat16"):
        write(w)


def in_blocks_with_calls(write, w):
    with block(), block(precision="bfloat16"):
        X @ w
        write(w)
        X @ w


def in_a_block_of_another_thread(write, w):
    def run():
        with torch.no_grad(), block():
            write(w)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


PLACES = [here, in_a_block, in_a_block_of_bfloat16, in_blocks_with_calls, in_a_block_of_another_thread]


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place.__name__)
@pytest.mark.parametrize("write", WRITES.values(), ids=WRITES)
def test_a_write_is_seen_by_every_session(write, place):
    w = nn.Parameter(torch.arange(1024.0).view(32, 32) / 8)
    with block(), torch.no_grad():
        first, was = (X @ w).tolist(), w.tolist()
        assert (X @ w).tolist() == first == was
        place(write, w)
        second, now = (X @ w).tolist(), w.detach().clone().tolist()
        assert now != was
        assert second == now
        place(lambda w: w.data.add_(1), w)
        assert (X @ w).tolist() == (w.detach().clone() + 0).tolist()


def test_a_write_in_a_block_is_seen_by_a_compiled_model():
    torch._dynamo.reset()
    w = nn.Parameter(torch.ones(32, 32))
    function = torch.compile(lambda x: x @ w, backend="ttreg", options={"device": "emulated", "min_upload_numel": 0})
    with torch.no_grad():
        assert torch.equal(function(X), w)
        with block():
            w.data.mul_(2)
        assert torch.equal(function(X), w)
        with block():
            before = (X @ w).tolist()
        assert before == w.tolist()
    torch._dynamo.reset()


def test_a_write_by_a_tensors_own_dispatch_is_seen():
    w = nn.Parameter(torch.ones(32, 32))
    with block() as session, torch.no_grad():
        two = session.to_device(torch.full((32, 32), 2.0))
        first = (X @ w)[0, 0].item()
        thread = threading.Thread(target=lambda: w.data.mul_(two))
        thread.start()
        thread.join()
        assert (first, (X @ w)[0, 0].item()) == (1.0, 2.0)


def test_memory_given_away_in_another_thread_is_trusted_no_more():
    w = nn.Parameter(torch.ones(32, 32))
    kept = []
    with block(), torch.no_grad():
        first = (X @ w)[0, 0].item()
        thread = threading.Thread(target=lambda: kept.append(torch.utils.dlpack.from_dlpack(w.detach())))
        thread.start()
        thread.join()
        second = (X @ w)[0, 0].item()
        thread = threading.Thread(target=lambda: kept.pop().mul_(2))
        thread.start()
        thread.join()
        assert (first, second, (X @ w)[0, 0].item()) == (1.0, 1.0, 2.0)
