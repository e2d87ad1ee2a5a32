"""Rows that are looked up: in few ttnn calls, bit by bit, and never from what the program has changed since."""

from __future__ import annotations

import pytest
import torch
from ttreg.ops.embedding import FEW_INDICES

import ttreg
from ttreg.verification.calls import Calls


def rows(size: int, width: int) -> torch.Tensor:
    """Random bits, but no signaling NaN: PyTorch itself makes those quiet."""
    generator = torch.Generator().manual_seed(5)
    bits = torch.randint(-(2**31), 2**31, (size, width), generator=generator, dtype=torch.int64).to(torch.int32)
    values = bits.view(torch.float32)
    return torch.where(values.isnan(), 1.0, values)


def session_on(**settings):
    return ttreg.device_mode(device="emulated", min_upload_numel=0, **settings)


@pytest.mark.parametrize("numerics", ["golden", "chip"])
@pytest.mark.parametrize("count", [1, FEW_INDICES, FEW_INDICES + 1])
def test_an_embedding_keeps_every_bit(count, numerics):
    table = torch.nn.Parameter(rows(50, 40), requires_grad=False)
    if count > FEW_INDICES:  # their parts in bfloat16 hold no denormals on a chip, and none of the smallest numbers
        table.data = torch.where(table.data.abs() < 1e-25, 2.0, table.data)
    index = torch.arange(count) % 50
    with session_on(numerics=numerics, validate=True):
        found = torch.nn.functional.embedding(index, table)
    assert torch.equal(found.view(torch.int32), table.data[index].view(torch.int32))


def test_an_embedding_follows_what_the_program_writes():
    embedding = torch.nn.Embedding(10, 7)
    index = torch.tensor([[1, 2], [3, 1]])
    with session_on(), torch.no_grad():
        embedding(index)
        index[0, 0] = 9
        embedding.weight[2] = 5.0
        found = embedding(index)
    assert torch.equal(found, embedding.weight[index])


def test_an_index_that_the_program_changes_is_read_again():
    table, index = torch.nn.Parameter(torch.randn(10, 7)), torch.tensor([1, 2, 3])
    with session_on(), torch.no_grad():
        for number in range(3):
            index[1] = number
            assert torch.equal(table[index], table.detach()[[1, number, 3]])


def calls_of_a_second(call, **settings) -> list[str]:
    with session_on(**settings) as session, torch.no_grad():
        recorded = Calls(session)
        call()
        before = len(recorded.lines)
        call()
        return recorded.lines[before:]


@pytest.mark.parametrize(("settings", "most"), [({}, 4), ({"precision": "bfloat16"}, 3)])
def test_an_embedding_takes_few_calls(settings, most):
    embedding, index = torch.nn.Embedding(100, 40), torch.arange(10).view(2, 5)
    assert len(calls_of_a_second(lambda: embedding(index), **settings)) <= most


def test_a_table_indexed_by_the_same_places_takes_few_calls():
    table, index = torch.nn.Parameter(torch.randn(25, 3)), torch.arange(16).view(4, 4)
    assert len(calls_of_a_second(lambda: table[index.view(-1)])) <= 1
    assert len(calls_of_a_second(lambda: table[index])) <= 2
