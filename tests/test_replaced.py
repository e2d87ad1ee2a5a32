"""What a block replaces in PyTorch: while it is open alone, also where entering fails, and beside other libraries."""

from __future__ import annotations

import pickle
import threading
from unittest import mock

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import _len_torch_dispatch_stack

import ttreg
from ttreg.blocks import mode as modes_of_blocks
from ttreg.blocks import standing
from ttreg.hooks import kernels, replaced

X = torch.arange(6.0)
PLACES = [(owner, name) for owner, name, _ in replaced._REPLACED]


def emulated():
    return ttreg.device_mode(device="emulated", min_upload_numel=0)


def functions():
    return [getattr(owner, name) for owner, name in PLACES]


def is_replaced():
    return [now is not before for now, before in zip(functions(), BEFORE, strict=True)]


BEFORE = functions()


def test_functions_are_replaced_while_a_block_is_open():
    with emulated(), emulated():
        assert all(is_replaced())
    assert not any(is_replaced())


STEPS = [
    (kernels, "put_in_place"),
    (replaced, "_replacement"),
    (modes_of_blocks, "mode_for"),
    (standing, "eager_depth"),
    (standing, "push_mode"),
]


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize(("module", "name"), STEPS, ids=[name for _, name in STEPS])
def test_a_block_whose_entering_fails_leaves_nothing_behind(module, name, error, monkeypatch):
    block = emulated()
    closed = []
    with monkeypatch.context() as patch:
        patch.setattr(module, name, mock.Mock(side_effect=error("in vain")))
        patch.setattr(modes_of_blocks.Session, "close", lambda session: closed.append(session))
        with pytest.raises(error, match="in vain"), block:
            pass
    assert not any(is_replaced())
    assert (block._open, replaced._open, _len_torch_dispatch_stack()) == ([], [], 0)
    assert closed == [block._session]
    with block as session:
        assert all(is_replaced())
        assert (session.to_device(X) + 1).tolist() == (X + 1).tolist()
    assert not any(is_replaced())


def test_what_fails_halfway_is_put_back(monkeypatch):
    make, made = replaced._replacement, []

    def fails_at_the_third(*args):
        made.append(args)
        if len(made) == 3:
            raise RuntimeError("in vain")
        return make(*args)

    with monkeypatch.context() as patch:
        patch.setattr(replaced, "_replacement", fails_at_the_third)
        with pytest.raises(RuntimeError, match="in vain"), emulated():
            pass
    assert not any(is_replaced())


def test_an_inner_block_whose_entering_fails_leaves_the_outer_one_working(monkeypatch):
    with emulated() as session:
        with monkeypatch.context() as patch:
            patch.setattr(modes_of_blocks, "mode_for", mock.Mock(side_effect=RuntimeError("in vain")))
            with pytest.raises(RuntimeError, match="in vain"), emulated():
                pass
        assert all(is_replaced())
        assert (session.to_device(X) + 1).tolist() == (X + 1).tolist()
    assert not any(is_replaced())


def test_blocks_of_two_threads_end_in_the_order_in_which_they_began():
    entered, left = threading.Event(), threading.Event()
    seen = []

    def program():
        with emulated():
            entered.set()
            left.wait(60)
            seen.append(all(is_replaced()))

    with emulated():
        thread = threading.Thread(target=program)
        thread.start()
        entered.wait(60)
    assert all(is_replaced())
    left.set()
    thread.join()
    assert seen == [True]
    assert not any(is_replaced())


def counting(function, calls):
    def call(*args, **kwargs):
        calls.append(args)
        return function(*args, **kwargs)

    return call


def test_what_another_library_replaces_inside_a_block_stays_after_it():
    tensor, calls = torch.ones(3), []
    with emulated():
        torch.Tensor.data_ptr = counting(torch.Tensor.data_ptr, calls)
        theirs = torch.Tensor.data_ptr
    try:
        assert torch.Tensor.data_ptr is theirs
        assert tensor.data_ptr() == BEFORE[0](tensor)
        with emulated():
            assert torch.Tensor.data_ptr is not theirs
            tensor.data_ptr()
        assert torch.Tensor.data_ptr is theirs
    finally:
        del torch.Tensor.data_ptr
    assert len(calls) == 2
    assert not any(is_replaced())


def test_what_another_library_has_replaced_before_a_block_and_puts_back_inside_stays_put_back():
    calls = []
    lstm = torch.lstm
    torch.lstm = counting(lstm, calls)
    with emulated():
        torch.lstm = lstm
    assert torch.lstm is lstm
    assert not any(is_replaced())


def test_what_another_library_puts_back_after_the_block_in_which_it_found_it():
    module = torch.nn.LSTM(4, 4)
    given = torch.ones(2, 1, 4)
    expected = module(given)[0].tolist()
    with emulated():
        patch = mock.patch.object(torch._VF, "lstm", counting(torch._VF.lstm, []))
        patch.start()
    patch.stop()  # what it found was the block's
    try:
        assert module(given)[0].tolist() == expected
        with emulated() as session, torch.no_grad():
            module(given)
            assert session.report().totals.device
        assert module(given)[0].tolist() == expected
    finally:
        torch._VF.lstm = BEFORE[PLACES.index((torch._VF, "lstm"))]
    with emulated():
        assert all(is_replaced())
    assert not any(is_replaced())


class Named(torch.Tensor):
    pass


def fake_places():
    with FakeTensorMode() as mode:
        return torch.tensor_split(torch.ones(6), mode.from_tensor(torch.tensor([1, 3])))


def rank(**out):
    return torch.linalg.matrix_rank(torch.eye(3), out=torch.zeros(**{"size": (), "dtype": torch.int64} | out))


OUTSIDE = {
    "places on meta": lambda: torch.tensor_split(X, torch.tensor([1, 3], device="meta")),
    "a number on meta": lambda: torch.tensor_split(X, torch.tensor(3, device="meta")),
    "all on meta": lambda: torch.tensor_split(X.to("meta"), torch.tensor([1, 3], device="meta")),
    "fake places": fake_places,
    "places of a subclass": lambda: torch.tensor_split(X, torch.tensor([1, 3]).as_subclass(Named)),
    "places of floats": lambda: torch.tensor_split(X, torch.tensor([1.0])),
    "places in two dimensions": lambda: torch.tensor_split(X, torch.tensor([[1]])),
    "a dimension that is not there": lambda: torch.tensor_split(X, torch.tensor([1]), dim=3),
    "a number of none": lambda: torch.tensor_split(X, torch.tensor(0)),
    "a tensor of none": lambda: torch.tensor_split(torch.tensor(1.0), torch.tensor(1)),
    "places with a gradient": lambda: torch.tensor_split(X.clone().requires_grad_(), torch.tensor([2])),
    "vmap": lambda: torch.vmap(lambda t: torch.tensor_split(t, torch.tensor(2)))(torch.ones(2, 4)),
    "vmap over places": lambda: torch.vmap(torch.tensor_split)(torch.ones(2, 4), torch.tensor([[1], [2]])),
    "jvp": lambda: torch.func.jvp(lambda t: torch.tensor_split(t, torch.tensor(2)), (X,), (X,)),
    "rank": rank,
    "rank into int32": lambda: rank(dtype=torch.int32),
    "rank into float": lambda: rank(dtype=torch.float32),
    "rank into uint8": lambda: rank(dtype=torch.uint8),
    "rank into meta": lambda: rank(device="meta"),
    "rank with a gradient": lambda: torch.linalg.matrix_rank(
        torch.eye(3).requires_grad_(), out=torch.zeros((), dtype=torch.int64)
    ),
    "rank by tolerance": lambda: torch.linalg.matrix_rank(
        torch.eye(3), atol=torch.tensor(2.0), out=torch.zeros((), dtype=torch.int64)
    ),
}


def told(program):
    try:
        return repr(program())
    except Exception as error:
        return f"{type(error).__name__}: {str(error).splitlines()[0]}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", OUTSIDE)
def test_replaced_kernels_do_as_pytorchs_own_outside_of_blocks(name, monkeypatch):
    """PyTorch's own are what runs while those of the block are not registered."""
    with emulated():
        pass
    after = told(OUTSIDE[name])
    library = kernels.put_in_place()
    kernels.put_in_place.cache_clear()
    library._destroy()
    before = told(OUTSIDE[name])
    kernels.put_in_place()
    assert after == before


@pytest.mark.parametrize("path", ["lstm", "Tensor.data_ptr", "Tensor.__dlpack__", "Tensor.apply_"])
def test_a_replaced_function_is_pickled_as_pytorchs(path):
    def function():
        found = torch
        for name in path.split("."):
            found = getattr(found, name)
        return found

    with emulated():
        pickled = pickle.dumps(function())
        assert pickle.loads(pickled) is function()
    assert pickle.loads(pickled) == function()
