"""What random programs found, as plain ones."""

from __future__ import annotations

import pytest
import torch

import ttreg

X = torch.arange(12.0).reshape(3, 4) / 4


def test_a_view_beyond_the_storage_raises(same_as_cpu):
    same_as_cpu(lambda tensor: tensor(X).as_strided((2,), (1,), 11), raises=True)


def test_a_view_beyond_the_storage_is_not_made_in_place(same_as_cpu):
    same_as_cpu(lambda tensor: tensor(X).as_strided_((2,), (1,), 11), raises=True)


def test_the_same_view_is_made_of_a_larger_storage(same_as_cpu):
    def program(tensor):
        with pytest.raises(RuntimeError, match="out of bounds"):
            tensor(X).as_strided((2,), (1,), 12)
        return tensor(torch.cat([X, X]))[:3].as_strided((2,), (1,), 12)

    same_as_cpu(program)


def test_an_in_place_view_raises_under_its_own_name(same_as_cpu):
    same_as_cpu(lambda tensor: tensor(X)[None].t_(), raises=True)


def test_a_lazy_conjugate_of_device_data_is_one(same_as_cpu):
    def program(tensor):
        conjugate = torch.view_as_complex(tensor(X.view(3, 2, 2))).conj()
        return conjugate.is_conj(), str(conjugate), conjugate.imag.is_neg(), conjugate.imag

    same_as_cpu(program)


def test_a_lazy_conjugate_aliases(same_as_cpu):
    def program(tensor):
        t = tensor(X.view(3, 2, 2))
        conjugate = torch.view_as_complex(t).conj()
        t.add_(1)
        conjugate.imag.mul_(2)
        return t, t + 1, str(conjugate)

    same_as_cpu(program)


def test_set_takes_part_of_another_tensor(same_as_cpu):
    def program(tensor):
        t, u = tensor(X), tensor(X * 2)
        t.set_(u, 1, (2, 2), (4, 1))
        u.add_(1)
        return t, t + 1, u

    same_as_cpu(program)


def test_set_takes_part_of_the_tensor_itself(same_as_cpu):
    def program(tensor):
        t = tensor(X)
        v = t.view(12)
        t.set_(t, 0, (2,), (1,))
        t.add_(1)
        return t, v, v + 1

    same_as_cpu(program)


def test_a_plain_tensor_does_not_take_memory_that_pytorch_cannot_find(device):
    with device as session:
        on_device = session.to_device(X)
        with pytest.raises(RuntimeError, match=r"pass tensor.untyped_storage\(\)"):
            torch.zeros(4).set_(on_device, 0, (2,), (1,))
        plain = torch.zeros(4).set_(on_device.untyped_storage(), 0, (2,), (1,))
        plain.add_(9)
    assert on_device[0, 0] == 9


@pytest.mark.filterwarnings("ignore:An output with one or more elements was resized")
def test_an_out_that_was_resized_before_the_op_raised_keeps_its_shape(same_as_cpu):
    def program(tensor):
        t = tensor(X)
        with pytest.raises(RuntimeError):
            torch.stack([t, t], out=t)
        return t.shape, t.fill_(1)

    same_as_cpu(program)


def test_no_elements_begin_at_the_start_of_their_storage():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        t = session.to_device(torch.empty(0, 3, 2)[..., 1])
    assert (t.shape, t.storage_offset()) == ((0, 3), 0)


def test_zeros_that_are_looked_up_keep_their_sign(same_as_cpu):
    zeros = torch.tensor([[-0.0, 0.0, 1.0], [0.0, -0.0, -1.0]])

    def program(tensor):
        t = tensor(zeros)
        return [str(t.flip(0)), str(t[torch.tensor([1, 1, 0])]), str(t.index_select(1, torch.tensor([1, 0])))]

    same_as_cpu(program)


@pytest.mark.parametrize(
    "write",
    [
        lambda t: t.index_copy_(0, torch.tensor([1, 0]), t),
        lambda t: t.index_copy_(0, torch.tensor([1, 0]), t[:2]),
    ],
)
def test_an_op_that_moves_elements_is_not_given_what_it_writes_to(write, same_as_cpu):
    same_as_cpu(lambda tensor: write(tensor(X[:2, :2])), raises=True)


@pytest.mark.parametrize("write", [lambda t: t[0].zero_(), lambda t: t.view(12).add_(1), lambda t: t.t().mul_(2)])
def test_a_view_of_an_inference_tensor_is_written_in_inference_mode_only(write, same_as_cpu):
    def program(tensor):
        with torch.inference_mode():
            t = tensor(X)
            write(t)
        write(t)

    same_as_cpu(program, raises=True)


LARGE = torch.tensor([[2**40, 1, -(2**35)], [3, 2**31, 5]])


@pytest.mark.parametrize(
    "read",
    [
        lambda t: t + torch.ones(2, 3),
        lambda t: t.view(6) * 0.5,
        lambda t: t.clone(),
        lambda t: torch.cat([t, t]),
        lambda t: t.t().contiguous(),
        lambda t: t.repeat(2, 1),
        lambda t: torch.where(t > 4, t, 0),
        lambda t: t.to(torch.float32),
    ],
)
def test_integers_too_large_for_the_device_are_not_cut(read, same_as_cpu):
    def program(tensor):
        t = tensor(LARGE.sign())  # small, so that the device takes them
        t.copy_(LARGE)
        return read(t)

    same_as_cpu(program)


@pytest.mark.parametrize("write", [lambda t: t.swapaxes_(0, 1), lambda t: t.multiply_(2), lambda t: t.clip_(0, 1)])
def test_an_op_made_of_others_writes_to_inference_tensors_in_inference_mode_only(write, same_as_cpu):
    def program(tensor):
        with torch.inference_mode():
            t = tensor(X)
            write(t)
        write(t)

    same_as_cpu(program, raises=True)


@pytest.mark.parametrize("take", [torch.flatten, torch.t, lambda t: t.mT, lambda t: t.chunk(2), lambda t: t.view_as(t)])
def test_a_view_in_inference_mode_requires_grad_as_its_base_does(take, same_as_cpu):
    def program(tensor):
        parameter = torch.nn.Parameter(tensor(X))
        with torch.inference_mode():
            views = take(parameter)
        return [(v.requires_grad, v.is_leaf, v._is_view()) for v in (views if isinstance(views, tuple) else [views])]

    same_as_cpu(program)


def test_a_write_to_a_list_is_one_to_autograd(same_as_cpu):
    def program(tensor):
        parameter, base = torch.nn.Parameter(tensor(X)), tensor(X)
        view = base[:2]
        torch._foreach_mul_([view], [parameter[:2]])
        (base * 2).sum().backward()
        return view.requires_grad, view.is_leaf, view._version, parameter._version, parameter.grad

    same_as_cpu(program)


def test_a_write_to_a_list_spoils_what_backward_needs(same_as_cpu):
    def program(tensor):
        x, weight = tensor(X), tensor(X).requires_grad_()
        y = (x * weight).sum()
        torch._foreach_add_([x], 1)
        y.backward()

    same_as_cpu(program, raises=True)


@pytest.mark.parametrize("op", [torch.neg, torch.nn.functional.hardsigmoid, torch.round, torch.relu, torch.exp])
def test_an_out_of_another_dtype_is_cast_to_where_cpu_does(op, same_as_cpu):
    out = getattr(torch.ops.aten, op.__name__).out
    narrow = torch.empty(3, 4, dtype=torch.bfloat16)
    try:
        out(X, out=narrow)
    except RuntimeError:
        raises = True
    else:
        raises = False
    same_as_cpu(lambda tensor: out(tensor(X), out=tensor(narrow)), raises=raises)


@pytest.mark.parametrize("take", [torch.detach, lambda t: t.data, lambda t: torch.nn.Parameter(t, False)])
def test_what_is_detached_of_an_inference_tensor_is_written_anywhere(take, same_as_cpu):
    def program(tensor):
        with torch.inference_mode():
            t = tensor(X)
        detached = take(t)
        detached.add_(1)
        return detached, detached.is_inference(), t

    same_as_cpu(program)
    same_as_cpu(lambda tensor: take_in_inference_mode(take, tensor).add_(1), raises=True)


def take_in_inference_mode(take, tensor):
    with torch.inference_mode():
        return take(tensor(X))
