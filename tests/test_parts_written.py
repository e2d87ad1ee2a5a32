"""Writes to a part of a tensor of the device: the rest stays there, and every alias sees them."""

from __future__ import annotations

import pytest
import torch

import ttreg

torch.manual_seed(0)
X, SQUARE, CACHE = torch.randn(6, 8), torch.randn(4, 4), torch.randn(2, 3, 16, 4)
INTEGERS = torch.arange(30, dtype=torch.int32).view(5, 6)


def elements(x):
    for row in range(6):
        for column in range(8):
            x[row, column].fill_(row * column)


WRITES = {
    "a column, by a number": (X, lambda x: x.__setitem__((slice(None), 0), 1)),
    "a column, by another": (X, lambda x: x[:, 0].copy_(x[:, 1])),
    "every second row": (X, lambda x: x.__setitem__(slice(None, None, 2), x.new_ones(3, 8))),
    "every second of five rows": (X[:5], lambda x: x[::2].fill_(2)),
    "every third column, from the second": (X, lambda x: x[:, 1::3].neg_()),
    "even rows, by odd ones": (X, lambda x: x[::2].copy_(x[1::2])),
    "a block": (X, lambda x: x[2:4, 3:5].zero_()),
    "a row of the transposed": (X, lambda x: x.t()[0].fill_(3)),
    "a block of the transposed": (X, lambda x: x.t()[1:3, 2:].mul_(3)),
    "a diagonal": (SQUARE, lambda x: x.diagonal().fill_(9)),
    "the diagonal of a rectangle": (X, lambda x: x.diagonal().fill_(9)),
    "a diagonal beside the first": (SQUARE, lambda x: x.diagonal(1).neg_()),
    "a narrowed part": (X, lambda x: x.narrow(1, 2, 3).copy_(x.new_ones(6, 3))),
    "a view of a view": (CACHE, lambda x: x[1].view(3, 8, 8)[:, 2].fill_(4)),
    "a mask within a part": (CACHE, lambda x: x[:, :, 3:5].masked_fill_(x[:, :, 3:5] > 0, 7.0)),
    "a position of a cache": (CACHE, lambda x: x[:, :, 5:6].copy_(x.new_ones(2, 3, 1, 4))),
    "steps of permuted dimensions": (CACHE, lambda x: x.permute(2, 0, 3, 1)[3:9, 1, ::2].fill_(1)),
    "a run through rows": (X, lambda x: x.view(-1)[5:21].fill_(0)),
    "integers": (INTEGERS, lambda x: x[1:3, ::2].add_(5)),
    "bools": (X > 0, lambda x: x[1:3].fill_(True)),
    "uint8": (INTEGERS.to(torch.uint8), lambda x: x[:, 1].fill_(5)),
    "bfloat16": (X.bfloat16(), lambda x: x[:, 1].add_(5)),
    "each element": (X, elements),
    "out= of a part": (X, lambda x: torch.mul(x[:2] + 0, 2, out=x[2:4])),
    "a part of one element": (torch.tensor(3.0), lambda x: x.view(1)[0:1].fill_(1)),
    "overlapping parts, in turn": (X, lambda x: (x[:, :5].neg_(), x[1:4, ::2].add_(1), x[0].zero_(), x.t()[2].exp_())),
}


NAMED = {
    "elements of a mask": (X, lambda x: x.__setitem__(x > 0, 0.0)),
    "elements of a mask, in a part": (X, lambda x: x[:, 2:5].__setitem__(x[:, 2:5] > 0, 1.0)),
    "rows of a mask": (X, lambda x: x.__setitem__(x[:, 0] > 0, 7.0)),
    "rows, the last of two counts": (X, lambda x: x.__setitem__(torch.tensor([4, 1, 4]), x[:3] + 1)),
    "pairs of indices from the end": (X, lambda x: x.__setitem__((torch.tensor([0, -1]), torch.tensor([1, 2])), 5.0)),
    "indices apart": (CACHE, lambda x: x.__setitem__((torch.tensor([1, 0]), slice(None), torch.tensor([2, 2])), 3.0)),
    "a position of a cache": (
        CACHE,
        lambda x: x.__setitem__((slice(None), slice(None), torch.tensor([5])), x[:, :, :1] + 1),
    ),
    "added rows": (X, lambda x: x.index_put_((torch.tensor([4, 1, 4]),), x[:3] + 1, accumulate=True)),
    "added at a mask": (X, lambda x: x.index_put_((x > 0,), x.sum(), accumulate=True)),
    "slices copied into a part": (CACHE, lambda x: x[1].index_copy_(1, torch.tensor([3]), x[0, :, :1] + 1)),
    "slices added to a part": (X, lambda x: x[:, 1:3].index_add_(0, torch.tensor([3, 3]), x[:2, :2] + 1)),
    "elements added to a part": (X, lambda x: x[1:3].scatter_add_(1, torch.tensor([[3, 1], [2, 2]]), x[:2, :2] + 1)),
    "filled slices": (X, lambda x: x.index_fill_(1, torch.tensor([3, 1]), 5.0)),
    "filled slices of a part": (CACHE, lambda x: x[:, 1].index_fill_(-1, torch.tensor([0, 2]), float("inf"))),
}


@pytest.mark.parametrize("name", [*WRITES, *NAMED])
def test_the_rest_stays_on_the_device(name):
    content, write = (WRITES | NAMED)[name]
    expected = content.clone()
    write(expected)
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        x = session.to_device(content)
        alias = x.reshape(-1).unsqueeze(0)
        write(x)
        assert session.report().transfers.downloads == 0
        assert session.report().totals.host == 0
        whole, seen = x.tolist(), alias.tolist()
    torch.testing.assert_close(torch.tensor(whole, dtype=expected.dtype), expected, rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(torch.tensor(seen[0], dtype=expected.dtype), expected.reshape(-1), rtol=1e-6, atol=1e-6)


def test_a_part_is_written_on_the_device_when_the_host_has_only_read_the_whole():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(X)
        x.tolist()
        x[:, 2].fill_(5)  # PyTorch 2.14 writes `x[:, 2] = 5` as a tensor of one element, which is uploaded
        doubled = x * 2
        transfers = session.report().transfers
        assert (transfers.uploads, transfers.downloads) == (1, 1)
    expected = X.clone()
    expected[:, 2] = 5
    torch.testing.assert_close(doubled, expected * 2)
    torch.testing.assert_close(x, expected)


def test_a_part_of_a_convolutions_image_is_written_on_the_device():
    def program(tensor):
        image = torch.nn.functional.conv2d(tensor(CACHE[None, 0]), tensor(torch.full((2, 3, 3, 3), 0.25)))
        alias = image.flatten()
        image[:, 1, ::2] = 0
        return image + 1, alias * 2

    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session:
        given = program(session.to_device)
        assert session.report().transfers.downloads == 0
    torch.testing.assert_close(given, program(torch.clone), rtol=1e-2, atol=1e-2)


def test_an_index_out_of_bounds_raises_as_on_cpu():
    def message(x):
        with pytest.raises(IndexError) as raised:
            x[torch.tensor([6])] = 1
        return str(raised.value)

    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        given = message(session.to_device(X))
    assert given == message(X.clone())


def test_memory_that_numpy_has_is_written_where_it_is():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(X)
        array = x.numpy()
        x[:, 2] = 5
        assert (array[:, 2] == 5).all()


def test_a_part_that_shows_an_element_twice_raises_as_on_cpu():
    def message(x):
        with pytest.raises(RuntimeError) as raised:
            x[:, :1].expand(6, 3).add_(1)
        return str(raised.value)

    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        given = message(session.to_device(X))
    assert given == message(X.clone())
