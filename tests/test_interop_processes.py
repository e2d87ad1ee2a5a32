"""Memory and data loaders that other processes have a part in, while a block is open."""

from __future__ import annotations

import multiprocessing

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
X = torch.arange(12.0).reshape(3, 4) / 4
METHODS = ["fork", pytest.param("spawn", marks=pytest.mark.long)]


def _send(queue, value):
    value.add_(1)
    queue.put(value.sum().item())


@pytest.mark.parametrize("method", METHODS)
def test_memory_is_shared_with_another_process(method, device):
    context = multiprocessing.get_context(method)
    queue = context.SimpleQueue()
    with device as session:
        shared = (session.to_device(X) * 2).share_memory_()
        process = context.Process(target=_send, args=(queue, shared))
        process.start()
        total = queue.get()
        process.join()
        results = [shared.tolist(), (shared + 0).tolist()]
    assert process.exitcode == 0
    assert total == (X * 2 + 1).sum()
    assert results == [(X * 2 + 1).tolist()] * 2


class Doubles(Dataset):
    """Computes its items where it is asked for them, from tensors of the block where it is given such."""

    def __init__(self, table):
        self.table = table

    def __len__(self):
        return len(self.table)

    def __getitem__(self, index):
        return self.table[index] * 2 + torch.ones(4), index


@pytest.mark.parametrize("method", METHODS)
def test_workers_load_batches_while_the_block_is_open(method, device):
    with device as session:
        table = session.to_device(X) * 1
        table.tolist()  # the workers have what the host has
        loader = DataLoader(
            Doubles(table), batch_size=2, num_workers=2 if method == "fork" else 1,
            multiprocessing_context=method, pin_memory=False,
        )  # fmt: skip
        batches = [(rows + 0, rows @ session.to_device(X).t(), indices) for rows, indices in loader]
    wanted = X * 2 + 1
    assert torch.cat([rows for rows, _, _ in batches]).tolist() == wanted.tolist()
    assert torch.cat([products for _, products, _ in batches]).tolist() == (wanted @ X.t()).tolist()
    assert torch.cat([indices for _, _, indices in batches]).tolist() == [0, 1, 2]


def test_workers_that_outlive_the_block_go_on(device):
    table = X.clone()
    with device:
        loader = DataLoader(Doubles(table), batch_size=3, num_workers=1, persistent_workers=True)
        inside = [rows.tolist() for rows, _ in loader]
    outside = [rows.tolist() for rows, _ in loader]
    assert inside == outside == [(X * 2 + 1).tolist()]
