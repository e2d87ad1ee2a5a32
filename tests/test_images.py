"""Results of convolutions stay in ttnn's layout: what that saves in ttnn calls, and that no program can tell."""

import copy
from collections import Counter
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map_only

import ttreg
from ttreg.images import Image, rows, unfolded
from ttreg.memory.tensor import DeviceTensor
from ttreg.meta import meta_of
from ttreg.pytorch_private import OpOverload
from ttreg.registry import registry
from ttreg.schema import is_elementwise


@pytest.fixture
def calls(watched):
    """The ttnn calls of the block `calls.device`, by name."""
    counts = Counter()
    watched(lambda name, *_: counts.update([name]))
    counts.device = ttreg.device_mode(device="emulated", min_upload_numel=0)
    return counts


def as_image(session, x, folded=True):
    """A tensor of the device with the values of `x`, held as an image."""
    shape = tuple(x.shape)
    last = x.movedim(1, -1).reshape(rows(shape) if folded else unfolded(shape))
    value = session.device.upload(last, session.carriers[x.dtype])
    return session.new_image(meta_of(x), Image(value, shape, folded))


def is_image(tensor):
    return isinstance(tensor, DeviceTensor) and tensor._cell.image is not None


def has_channels_last(tensor):
    return tensor._cell.root.shape == unfolded(tensor.shape)


def layers(*more, ins=3, outs=40):
    torch.manual_seed(5)
    net = nn.Sequential(nn.Conv2d(ins, outs, 3, padding=1), nn.BatchNorm2d(outs), *more).eval()
    for norm in net.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_()
            norm.running_var.uniform_(0.5, 2)
            nn.init.normal_(norm.weight)
            nn.init.normal_(norm.bias)
    return net


# Calls


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_nothing_is_turned_between_convolutions(calls, batch):
    net = layers(
        nn.ReLU(inplace=True), nn.Conv2d(40, 33, 1, stride=2), nn.BatchNorm2d(33), nn.SiLU(), nn.Conv2d(33, 8, 3)
    )
    x = torch.rand(batch, 3, 20, 17)
    with calls.device:
        net(x)
        calls.clear()
        net(x)
    assert calls == {"conv2d": 3, "addcmul": 2, "relu": 1, "silu": 1}


@torch.no_grad()
def test_a_residual_block_turns_nothing(calls):
    net, past = layers(nn.ReLU(), nn.Conv2d(40, 40, 3, padding=1), nn.BatchNorm2d(40)), nn.Conv2d(3, 40, 1)
    x = torch.rand(2, 3, 9, 9)
    with calls.device:
        (net(x) + past(x)).relu_()
        calls.clear()
        (net(x) + past(x)).relu_()
    assert calls == {"conv2d": 3, "addcmul": 2, "relu": 2, "add": 1}


@torch.no_grad()
@pytest.mark.parametrize(("conv", "size"), [(nn.Conv2d, (1, 3, 7, 7)), (nn.Conv3d, (1, 3, 2, 7, 7))])
def test_small_images_of_many_channels_are_not_turned_into_matrices(calls, conv, size):
    """In tiles, rows of 7 and columns of 7 take 20 times their size; as images they fill them."""
    first, second = conv(3, 2048, 1), conv(2048, 8, 1)
    x = torch.rand(size)
    with calls.device:
        second((first(x) * 2).relu_().add_(1))
        calls.clear()
        second((first(x) * 2).relu_().add_(1))
    made = {name: count for name, count in calls.items() if name not in ("reshape", "from_torch")}
    assert made == {"conv2d": 2, "multiply": 1, "relu": 1, "add": 1}


@torch.no_grad()
def test_sequences_stay_as_they_are_too(calls):
    net = nn.Sequential(nn.Conv1d(5, 40, 3), nn.GELU(), nn.Conv1d(40, 7, 1))
    x = torch.rand(2, 5, 50)
    with calls.device:
        net(x)
        calls.clear()
        net(x)
    assert calls == {"conv2d": 2, "gelu": 1, "reshape": 1}  # of what comes from the host


@torch.no_grad()
def test_channels_that_come_last_for_a_norm_are_only_unfolded(calls):
    conv, norm = nn.Conv2d(3, 40, 3, padding=1), nn.LayerNorm(40)
    x = torch.rand(2, 3, 9, 9)
    with calls.device:
        conv(norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)[:, :3])
        calls.clear()
        norm(conv(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2).mul_(torch.rand(40, 1, 1)).add_(1)
    assert not {"permute", "transpose"} & set(calls)
    assert calls["reshape"] <= 2  # the image, and the number for each channel


@torch.no_grad()
@pytest.mark.parametrize("batch", [1, 3])
def test_pools_means_and_concatenations_turn_nothing(calls, batch):
    conv, last = nn.Conv2d(3, 40, 3, padding=1), nn.Conv2d(80, 8, 1)
    x = torch.rand(batch, 3, 12, 12)

    def program():
        y = conv(x)
        both = torch.cat([F.max_pool2d(y, 3, 2, 1), F.avg_pool2d(y, 2)], 1)
        return last(both * F.adaptive_avg_pool2d(both, 1).sigmoid()).mean((2, 3))

    with calls.device:
        program()
        calls.clear()
        program()
    assert not {"permute", "transpose"} & set(calls)
    assert calls["conv2d"] == 2
    assert calls["concat"] == 1


@torch.no_grad()
def test_the_host_turns_what_it_reads(calls):
    conv, x = nn.Conv2d(3, 40, 3, padding=1), torch.rand(2, 3, 9, 9)
    with calls.device:
        conv(x)
        calls.clear()
        read = conv(x).numpy()
    assert calls == {"conv2d": 1}
    torch.testing.assert_close(torch.from_numpy(read), conv(x))


# Values

BESIDE = {
    "itself": lambda y: y * y,
    "a number": lambda y: 2 - y * 3,
    "one element": lambda y: y + y.new_full((1, 1, 1), 2.0),
    "each channel": lambda y: y * torch.linspace(-1, 1, 40)[:, None, None],
    "each channel of a batch of one": lambda y: y + torch.linspace(-1, 1, 40).view(1, 40, 1, 1),
    "each channel of each image": lambda y: y * y.mean((2, 3), keepdim=True).sigmoid(),
    "a gate of convolutions": lambda y: y * F.conv2d(y[:, :, :1, :1], torch.ones(40, 40, 1, 1)).sigmoid(),
    "each place": lambda y: y + torch.rand(9, 9),
    "a mask": lambda y: y.masked_fill(torch.eye(9, dtype=torch.bool), 0.5),
    "its own mask": lambda y: torch.where(y > 0, y, 0.1 * y),
    "a tensor of the host": lambda y: y - torch.ones(2, 40, 9, 9),
    "one in PyTorch's order": lambda y: y - y.softmax(1),
    "an integer": lambda y: y + torch.ones(2, 40, 9, 9, dtype=torch.int32),
    "a bfloat16": lambda y: y + y.bfloat16(),
    "limits": lambda y: y.clamp(-0.5, 0.5).clamp(torch.tensor(-0.25)),
    "a fourth rank": lambda y: y + torch.rand(2, 1, 1, 1, 1),
    "prelu": lambda y: F.prelu(y, torch.linspace(-1, 1, 40)),
    "three": lambda y: torch.addcmul(y, y, torch.linspace(-1, 1, 40)[:, None, None]).lerp(y, 0.25),
    "a copy": lambda y: y.clone(memory_format=torch.channels_last).contiguous() + y.to(torch.bfloat16),
}
VIEWS = {
    "slices": lambda y: y[1:, :3, ::2],
    "a channel": lambda y: y[:, 5],
    "tokens": lambda y: y.flatten(2).transpose(1, 2),
    "rows": lambda y: y.permute(0, 2, 3, 1).reshape(-1, 40),
    "transposed": lambda y: y.mT.exp(),
    "windows": lambda y: y.unfold(2, 3, 3),
    "expanded": lambda y: y[:, :, :1].expand(-1, -1, 4, -1) + 1,
    "heads": lambda y: y.view(2, 5, 8, 81).transpose(2, 3).softmax(-1),
    "batches": lambda y: torch.cat([each.relu() for each in y.split(1)]),
    "back from tokens": lambda y: F.conv2d(y.flatten(2).mT.mT.reshape(y.shape), torch.ones(3, 40, 1, 1)),
}


POOLS = {
    "maxima": lambda y: F.max_pool2d(y, 3, 2, 1),
    "maxima of dilated windows": lambda y: F.max_pool2d(y, 2, 1, 0, 2, True),
    "maxima and where they are": lambda y: F.max_pool2d(y, 2, return_indices=True),
    "adaptive maxima": lambda y: F.adaptive_max_pool2d(y, 3, return_indices=True),
    "averages": lambda y: F.avg_pool2d(y, 3, 2, 1),
    "averages that count no padding": lambda y: F.avg_pool2d(y, (3, 2), 2, 1, True, False),
    "averages of some divisor": lambda y: F.avg_pool2d(y, 3, divisor_override=2) + F.avg_pool2d(y[:, :3], 3)[:, :1],
    "one alone": lambda y: F.max_pool2d(y[0], 2),
    "adaptive averages": lambda y: (
        F.adaptive_avg_pool2d(y, 1).flatten(1) + F.adaptive_avg_pool2d(y, (4, 3))[:, :, 0, 0]
    ),
    "means": lambda y: (y.mean((-1, -2)), y.mean([3, 2], keepdim=True).relu(), y.mean(1), y.mean((1, 2, 3)), y.mean()),
    "means of two more kinds": lambda y: (y.bfloat16().float().mean((2, 3)), y.mean((2, 3), dtype=torch.float32)),
    "channels together": lambda y: torch.cat([y, y.relu(), y[:, :3].exp()], 1).sin(),
    "channels of images alone": lambda y: torch.cat([y.neg(), F.conv2d(y, torch.ones(2, 40, 1, 1))], -3).sin(),
    "rows together": lambda y: torch.cat([y, y], 2),
    "with nothing": lambda y: torch.cat([torch.empty(0), y, y], 1),
    "masks": lambda y: torch.cat([y > 0, y < 1], 1),
}


def outcome(program, on_device, **keywords):
    torch.manual_seed(3)
    net = layers()
    x = torch.rand(2, 3, 9, 9)
    with torch.no_grad():
        if not on_device:
            return program(net(x))
        with ttreg.device_mode(device="emulated", min_upload_numel=0, **keywords):
            y = net(x)
            assert is_image(y)
            result = program(y)
        return tree_map_only(torch.Tensor, torch.clone, result)


def same(program, **keywords):
    given, expected = (outcome(program, on_device, **keywords) for on_device in (True, False))
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    tensors = [[t for t in tree_leaves(made) if isinstance(t, torch.Tensor)] for made in (given, expected)]
    assert [t.stride() for t in tensors[0]] == [t.clone().stride() for t in tensors[1]]


@pytest.mark.parametrize("name", BESIDE)
def test_elementwise_ops_beside(name):
    same(BESIDE[name], validate=True)


@pytest.mark.parametrize("name", VIEWS)
def test_views(name):
    same(VIEWS[name], validate=True)


@pytest.mark.parametrize("name", POOLS)
def test_pools_means_and_concatenations(name):
    same(POOLS[name], validate=True)


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (2, 3, 4), (2, 3, 4, 5), (1, 2, 3, 4, 5)], ids=str)
def test_means_of_tensors_that_may_be_no_images(shape, same_as_cpu):
    for dim in {0, -1, (0,), (-1,), *((tuple(range(2, len(shape))),) if len(shape) > 2 else ())}:
        for keepdim in (False, True):
            same_as_cpu(lambda tensor, dim=dim, keepdim=keepdim: tensor(torch.ones(shape)).mean(dim, keepdim))


def written(y):
    a, z = y[:, 3:5], y + 1
    a.mul_(2)
    z.relu_()
    z[1] = 7
    z.add_(y)
    y.permute(0, 2, 3, 1)[0].zero_()
    return y, z, y.relu().neg_()


def written_whole(y):
    view = y.detach()[0]
    y.add_(1).mul_(y).clamp_(max=2)
    torch.add(y, y, out=y)
    return y, view


def written_by_numpy(y):
    y.numpy()[0, 0] = 5
    return y.relu(), y


def written_from_each_other(y):
    y[:, :3].add_(y[:, 3:6])
    y[:, 1:4].copy_(y[:, 2:5].clone())
    return y, y.exp()


def read_and_used_again(y):
    z = y + 1
    return z.sum().item(), z.relu(), y.tolist()[0][0][0][0], y.neg()


@pytest.mark.parametrize(
    "program", [written, written_whole, written_by_numpy, written_from_each_other, read_and_used_again]
)
def test_writes_and_reads(program):
    same(program)
    same(program, check=0.99)


def test_all_the_mode_can_do_with_images():
    for keywords in (
        {"check": 0.999, "on_fallback": "raise"},
        {"float32": "exact", "validate": True},
        {"numerics": "chip", "float32": "exact"},
        {"arch": "blackhole"},
    ):
        same(lambda y: torch.where(y > 0, y, y.exp()), **keywords)


@pytest.mark.parametrize("keywords", [{}, {"precision": "bfloat16"}, {"numerics": "chip"}])
def test_bfloat16(keywords):
    def program(y):
        return y.bfloat16().relu_() + 1

    given, expected = outcome(program, True, **keywords), outcome(program, False)
    torch.testing.assert_close(given, expected, rtol=3e-2, atol=6e-2)


@pytest.mark.parametrize("weights", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("images", [torch.contiguous_format, torch.channels_last])
def test_channels_last_and_others(images, weights):
    net = layers(nn.ReLU(), nn.ConvTranspose2d(40, 6, 2, stride=2), nn.Sigmoid()).to(memory_format=weights)
    for x in (torch.rand(2, 3, 9, 8), torch.rand(1, 3, 1, 1), torch.rand(2, 3, 5, 1)):
        x = x.contiguous(memory_format=images)
        with torch.no_grad():
            expected = net(x)
            with ttreg.device_mode(device="emulated", min_upload_numel=0, validate=True):
                given = net(x)
                assert is_image(given)
        torch.testing.assert_close(given, expected)
        assert given.stride() == expected.stride()


def test_gradients():
    net = layers(nn.ReLU(inplace=True), nn.Conv2d(40, 6, 3, stride=2), nn.Sigmoid())
    twin = copy.deepcopy(net)
    x = torch.rand(2, 3, 9, 9, requires_grad=True)
    y = x.detach().clone().requires_grad_()
    (net(x) ** 2).sum().backward()
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        (twin(y) ** 2).sum().backward()
    torch.testing.assert_close(y.grad, x.grad, rtol=1e-4, atol=1e-5)
    for given, expected in zip(twin.parameters(), net.parameters(), strict=True):
        torch.testing.assert_close(given.grad, expected.grad, rtol=1e-4, atol=1e-4)


# Every elementwise entry


def images_of(sample):
    """The sample's arguments with tensors of (2, 5, 3, 4), where all of its tensors have one shape."""
    tensors = [leaf for leaf in tree_leaves((sample.args, sample.kwargs)) if isinstance(leaf, torch.Tensor)]
    if not tensors or len({t.shape for t in tensors}) > 1 or not tensors[0].numel():
        return None
    count = 120

    def larger(t):
        return t.flatten().repeat(-(-count // t.numel()))[:count].reshape(2, 5, 3, 4)

    return tree_map_only(torch.Tensor, larger, (sample.args, sample.kwargs))


def elementwise():
    return [entry for entry in registry.matching((), "device") if is_elementwise(entry.op)]


def test_every_elementwise_entry_takes_images():
    taken = 0
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        for entry in elementwise():
            found = [arguments for arguments in map(images_of, entry.samples()) if arguments is not None]
            for folded, arguments in zip((True, False), found, strict=False):
                taken += like_the_plain_one(session, entry.op, *arguments, folded)
    assert taken > 150


def like_the_plain_one(session, op: OpOverload, args, kwargs, folded) -> bool:
    """Whether the device runs the call; its result for images then is that for other tensors."""
    try:
        plain, images = (
            tree_map_only(torch.Tensor, put, (args, kwargs))
            for put in (session.to_device, lambda t: as_image(session, t, folded))
        )
        op(*args, **kwargs)
    except (ValueError, KeyError, RuntimeError, NotImplementedError):  # no ttnn dtype carries it, or PyTorch refuses it
        return False
    expected = [t for t in tree_leaves(op(*plain[0], **plain[1])) if isinstance(t, torch.Tensor)]
    given = [t for t in tree_leaves(op(*images[0], **images[1])) if isinstance(t, torch.Tensor)]
    for one, other in zip(given, expected, strict=True):
        # PyTorch's vectorized kernels, which the emulated device computes with, round the last few elements otherwise.
        torch.testing.assert_close(one.clone(), other.clone(), equal_nan=True, msg=str(op))
    on_device = [isinstance(t, DeviceTensor) and session.holds(t) for t in expected]
    assert not on_device[0] or all(has_channels_last(t) for t in given)
    return all(on_device)


@pytest.mark.parametrize(
    ("shape", "folded"), list(product([(2, 5, 3, 4), (1, 33, 1, 7), (3, 1, 5), (2, 3, 40)], [True, False]))
)
def test_an_image_shows_what_the_tensor_shows(shape, folded):
    x = torch.rand(shape)
    with ttreg.device_mode(device="emulated") as session:
        for y in (
            as_image(session, x, folded),
            as_image(session, x.transpose(0, -1).contiguous().transpose(0, -1), folded),
        ):
            for view in (lambda t: t, lambda t: t.transpose(1, 2), lambda t: t[:, -1:], lambda t: t.movedim(1, -1)):
                torch.testing.assert_close(view(y).cumsum(0), view(x).cumsum(0))
                torch.testing.assert_close(view(y), view(x))
