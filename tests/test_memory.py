"""What a session keeps is bounded in bytes: programs go on until a leak would show."""

from __future__ import annotations

import gc

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from ttreg.ops.vocabulary import kept as kept_values

from ttreg.memory import uploads
from ttreg.memory.chains import ViewOf
from ttreg.modes import without_modes


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


VIEWS_THAT_COME_BACK = {
    "transposed": lambda x: x.t(),
    "turned": lambda x: x.unsqueeze(0).permute(1, 2, 0).permute(1, 2, 0).permute(1, 2, 0).squeeze(0),
    "flattened": lambda x: x.view(-1).view(4, 6),
    "detached": lambda x: x.detach(),
    "a period of five": lambda x: x.view(3, 8).view(2, 12).view(12, 2).view(24).view(4, 6),
    "one of several": lambda x: x.expand(2, 4, 6).unbind()[1],
    "after other views": lambda x: x[1:].t()[1:] if len(x) == 4 else x.t(),
}


@pytest.mark.parametrize("view", VIEWS_THAT_COME_BACK.values(), ids=VIEWS_THAT_COME_BACK)
def test_a_chain_of_views_that_come_back_does_not_grow(view, device):
    source = torch.arange(24.0).view(4, 6)
    lengths = []
    with device as session, torch.inference_mode():  # elsewhere PyTorch itself keeps all views above a subclass's
        x = session.to_device(source)
        for _ in range(301):
            x, source = view(x), view(source)
            lengths.append(sum(1 for _ in x._view.chain()))
        assert torch.equal(x + 1, source + 1)
        x.mul_(2)
        assert torch.equal(view(x) + 1, view(source * 2) + 1)
    assert max(lengths) < 80


def uploads_of(session):
    return [upload for of_storage in session.uploads._storages.values() for upload in of_storage.by_meta.values()]


def held_by_uploads(session) -> tuple[int, int]:
    """Bytes on the emulated device, and of copies on the host."""
    found = uploads_of(session)
    copies = sum(upload.snapshot.nbytes for upload in found if upload.snapshot is not None)
    return nbytes(upload.value for upload in found), copies


@pytest.mark.parametrize("kind", ["tensor", "parameter", "view", "inference"])
def test_uploads_of_slices_give_way_to_newer_ones(kind, device):
    data = torch.rand(1024, 1024)
    with torch.inference_mode(kind == "inference"):
        data = {"parameter": nn.Parameter, "view": torch.t}.get(kind, torch.clone)(data)
    held = []
    with device as session, torch.no_grad():
        for _ in range(3):
            for i in range(0, 1000, 20):
                total = data[i : i + 64].sum().item()
                held.append(sum(held_by_uploads(session)))
        assert total == pytest.approx(data[i : i + 64].sum().item(), rel=1e-3)
    assert max(held[100:]) <= 1.01 * max(held[:100])
    assert max(held) <= max(5 * data.nbytes, uploads.MOST_OF_PARTS)


def test_uploads_of_whole_tensors_give_way_to_newer_ones(device, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_OF_WHOLE_STORAGES", 1 << 20)
    images = [torch.rand(64, 64) for _ in range(100)]
    with device as session, torch.no_grad():
        for image in images:
            image.sum().item()
            assert sum(held_by_uploads(session)) <= 1 << 20
            images[0].sum().item()  # the one in use stays
        assert session.report().transfers.uploads == 100


def test_weights_in_use_stay_whatever_else_is_uploaded(device, monkeypatch):
    monkeypatch.setattr(uploads, "MOST_OF_WHOLE_STORAGES", 1 << 16)
    attention = nn.MultiheadAttention(64, 4)
    with device as session, torch.no_grad():
        counts = []
        for _ in range(5):
            x = torch.rand(32, 1, 64)
            attention(x, x, x)
            torch.rand(128, 128).sum().item()
            counts.append(session.report().transfers.weight_uploads)
    assert len(set(counts)) == 1


def test_what_is_made_from_sizes_is_kept_up_to_a_number_of_bytes(device, monkeypatch):
    monkeypatch.setattr(kept_values, "MOST_BYTES", 1 << 20)
    monkeypatch.setattr(kept_values, "_kept", type(kept_values._kept)())
    monkeypatch.setattr(kept_values, "_bytes", 0)
    held = []
    with device as session, torch.no_grad():
        for n in range(200, 206):
            x = session.to_device(torch.rand(1, 1, n, 8))
            F.scaled_dot_product_attention(x, x, x, is_causal=True)
            session.to_device(torch.rand(n, n)).tril()
            session.to_device(torch.rand(n, 8)).flip(0)
            session.to_device(torch.rand(n, 8)).index_copy(0, torch.arange(0, n, 2), torch.ones((n + 1) // 2, 8))
            F.interpolate(session.to_device(torch.rand(1, 1, n, n)), scale_factor=1.7, mode="nearest")
            kept = [v for v in kept_values._kept.values() if isinstance(v, torch.Tensor)]
            held.append(nbytes_of(kept))
            assert sum(held_by_uploads(session)) <= 3 << 20
    assert max(held) <= 1 << 20
    assert {key[0].__name__ for key in kept_values._kept} >= {"causal", "triangle", "numbers"}


def nbytes_of(tensors) -> int:
    return sum(t.nbytes for t in tensors)


def test_what_a_lowering_counts_with_goes_from_the_device_with_its_host_tensor(device):
    def held():
        gc.collect()
        return sum(type(o).__name__ == "EmulatedTensor" and tuple(o.shape) == (123,) for o in gc.get_objects())

    numbers, zeros = torch.arange(123.0), [torch.zeros(123) for _ in range(2)]
    with device as session, without_modes():  # as lowerings run
        value = session.tt.constant(numbers)
        assert session.tt.constant(numbers) is value
        del value
        assert held() == 1
        del numbers
        assert held() == 0
        # The program makes the same ones anew at every pass.
        assert session.tt.constant(zeros.pop(), result=True) is session.tt.constant(zeros.pop(), result=True)
        assert held() == 1


def test_a_session_that_has_ended_holds_no_values(device):
    """Also none that calls outside of a lowering have made, such as a part put into its storage."""
    with device as session:
        a = session.to_device(torch.rand(1, 2, 8, 8))
        a[:, :, 2:4] = session.to_device(torch.rand(1, 2, 2, 8))
        a[:, :, 3:5] = session.to_device(torch.rand(1, 2, 2, 8))
        a.sum()
    del a
    gc.collect()
    assert [value for value in gc.get_objects() if type(value).__name__ == "EmulatedTensor"] == []
