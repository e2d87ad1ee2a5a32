"""What a session keeps is bounded in bytes: programs go on until a leak would show."""

from __future__ import annotations

import gc

import pytest
import torch

from ttreg.runtime.chains import ViewOf


def nbytes(values) -> int:
    """What values of the emulated device take."""
    return sum(value.data.nbytes for value in values)


WINDOWS = {
    "rows": lambda x, i: x[i : i + 64],
    "columns": lambda x, i: x[:, i % 32 :],
    "transposed": lambda x, i: x.t()[:, i : i + 64],
    "one row": lambda x, i: x[i],
    "all rows": lambda x, i: x[: 160 + i].unbind()[i],
    "of a view": lambda x, i: x[1:][i : i + 64].view(-1),
}


@pytest.mark.parametrize("window", WINDOWS.values(), ids=WINDOWS)
@pytest.mark.parametrize("held", ["by the device", "by the host"])
def test_values_of_views_give_way_to_newer_ones(window, held, device):
    source, kept = torch.randn(512, 64), []
    with device as session, torch.no_grad():
        x = session.to_device(source)
        if held == "by the host":
            source = torch.empty_like(x.normal_()).copy_(x).clone().host()
        for i in range(160):
            result = window(x, i) * 2
            if i % 32 == 0:
                assert torch.equal(result, window(source, i) * 2)
            kept.append(nbytes(x._cell.values.values()))
        again = window(x, 0) + 1
        assert torch.equal(again, window(source, 0) + 1)
    # Tiles make up to 32 times as much of a row.
    assert max(kept[128:]) <= 1.01 * max(kept[:128])
    assert max(kept) < 24 * source.nbytes


def test_values_of_views_in_use_stay(device):
    with device as session, torch.no_grad():
        x = session.to_device(torch.randn(64, 64))
        rows = x.unbind()
        for row in rows:
            row * 2
        values = dict(x._cell.values)
        for row in rows:
            row * 3
        assert x._cell.values == values


def test_a_write_lets_go_of_the_values_of_views(device):
    with device as session, torch.no_grad():
        x = session.to_device(torch.randn(64, 64))
        for round_ in range(40):
            for i in range(8):
                assert torch.equal(x[i:] * 2, x.clone()[i:] * 2)
            x[round_ : round_ + 2].add_(1)
        x.add_(1)
        assert list(x._cell.values) == [x._meta]
        assert torch.equal(x[3:] * 2, x.clone()[3:] * 2)


def test_a_chain_of_views_may_be_longer_than_calls_are_deep(device):
    source = torch.arange(1200.0)
    with device as session, torch.no_grad():
        x = session.to_device(source)
        for _ in range(1100):
            x = x[1:]
        assert torch.equal(x + 1, source[1100:] + 1)


def test_a_chain_of_views_is_let_go_of_without_recursion():
    view = None
    for _ in range(200_000):
        view = ViewOf(None, None, view)
    assert sum(1 for _ in view.chain()) == 200_000
    assert len(repr(view)) < 1000
    del view
    gc.collect()
