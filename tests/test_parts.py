"""In-place ops on a block of a tensor, such as an LSTM's gates, run on the device."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import ttreg
from ttreg.memory.parts import apart, block
from ttreg.meta import meta_of

torch.manual_seed(0)
X = torch.randn(4, 6)


def gates(x):
    a, b, c = x.chunk(3, 1)
    a.sigmoid_()
    b.add_(1).tanh_()
    c.mul_(a)
    return a, b, c


PROGRAMS = {
    "chunks, read by themselves": gates,
    "chunks, read as a whole": lambda x: (gates(x), x)[1],
    "chunks, then an op of the whole": lambda x: (gates(x), x * 2)[1],
    "unsafe chunks": lambda x: [part.neg_() for part in x.unsafe_chunk(2, 1)] + [x],
    "one part twice": lambda x: (x[1:3].neg_().abs_(), x[1:3] + 1, x),
    "a part of a part": lambda x: (x[:3].neg_(), x[:2].exp_(), x),
    "overlapping parts": lambda x: (x[:3].neg_(), x[1:].exp_(), x[2:].sin_(), x),
    "a view of a part": lambda x: (x[:2].neg_(), x[:2].t() * 2, x[:2].t().exp_(), x),
    "a view beside a part": lambda x: (x[:2].neg_(), x[2:].t() * 2, x[2:] + 1, x),
    "derived before, read after": lambda x: (x[0:2] + 1, x[1:3] + 1, x[:2].neg_(), x[0:2] * 1, x[1:3] * 1),
    "a part by another": lambda x: (x[:, :3].neg_(), x[:, :3].mul_(x[:, 3:]), x[:, 3:].add_(x[:, :3]), x),
    "a part by one that the host brings": lambda x: (x[:2].neg_(), x[:2].add_(x[2:, ::3].sum()), x),
    "the whole afterwards": lambda x: (x[:2].neg_(), x.add_(1), x[:2] * 1, x),
    "overwritten afterwards": lambda x: (x[:2].neg_(), x[1:].zero_(), x),
    "a part, the host's write, a part": lambda x: (x[:2].neg_(), x[3].fill_(2), x[:2].exp_(), x + 0),
    "steps of a slice": lambda x: (x[::2].neg_(), x[1::2].exp_(), x),
    "a transposed whole": lambda x: (x.t()[:2].neg_(), x.t() * 1, x),
    "more parts than are kept": lambda x: ([x[i : i + 1, j : j + 1].neg_() for i in range(4) for j in range(3)], x),
    "read by the host in between": lambda x: (x[:2].neg_(), x.tolist(), x[:2].exp_(), x[2:].exp_(), x),
    "out= of a part": lambda x: (torch.add(x[2:], 1, out=x[:2]), x),
    "out= of a part over another": lambda x: (x[:3].neg_(), torch.add(x[:2], x.new_ones(2, 6), out=x[2:]), x),
    "out= of parts that overlap": lambda x: (x[:3].neg_(), torch.mul(X[:2], 2, out=x[2:]), x[1:] * 1, x),
    "out= of a part of a part": lambda x: (x[:, :4].neg_(), torch.sub(X[:, :2], 2, out=x[:, 1:3]), x[:, :4] * 1, x),
    "out= of a part around a part": lambda x: (x[1:3].neg_(), torch.exp(X, out=x), x[1:3] * 1, x),
    "out= of the same part": lambda x: (x[1:3].neg_(), torch.exp(X[:2], out=x[1:3]), x[1:3] * 1, x[:2] * 1, x),
    "pinned in between": lambda x: (x[:2].neg_(), x.numpy().sum().item(), x[:2].neg_(), x.sum()),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_all_aliases_see_a_part_written(name):
    def program(tensor):
        x = tensor(X)
        return PROGRAMS[name](x + 1 if name != "a transposed whole" else (x + 1).t().contiguous().t())

    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        given = program(session.to_device)
    torch.testing.assert_close(given, program(torch.clone), rtol=1e-5, atol=1e-6)


def test_gates_stay_on_the_device():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        parts = gates(session.to_device(X))
        totals, transfers = session.report().totals, session.report().transfers
        assert (totals.device, totals.host) == (4, 0)
        assert transfers.downloads == 0
    torch.testing.assert_close(parts, gates(X.clone()))


def test_the_whole_is_put_together_on_the_device():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(X)
        x[:2].neg_()
        x[:2].add_(1)
        _ = x * 2
        assert session.report().transfers.downloads == 0


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_blocks_are_apart_if_no_element_is_in_both(data):
    shape = data.draw(st.lists(st.integers(1, 4), min_size=1, max_size=3))
    root = torch.arange(torch.Size(shape).numel()).view(shape).permute(*data.draw(st.permutations(range(len(shape)))))
    views = []
    for _ in range(2):
        view = root
        for dim, size in enumerate(root.shape):
            start = data.draw(st.integers(0, size - 1))
            view = view[(slice(None),) * dim + (slice(start, data.draw(st.integers(start + 1, size))),)]
        views.append(view)
    metas = [meta_of(view) for view in views]
    common = set(views[0].flatten().tolist()) & set(views[1].flatten().tolist())
    assert all(block(meta, meta_of(root)) is not None for meta in metas)
    assert apart(*metas, meta_of(root)) == (not common)
