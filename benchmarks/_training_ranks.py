"""One rank of a training: a small model by data, by shards, by tensors and in stages, or whole in one process."""

from __future__ import annotations

import copy
import os
import resource
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.pipelining import PipelineStage, ScheduleGPipe
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import ttreg

WIDTH, BATCH, ROWS, CLASSES = 64, 8, 16, 32
BLOCKS = 4
Losses = list[float]


class Block(nn.Module):
    """The half of a transformer's layer that is split between ranks most simply."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.up, self.down = nn.Linear(WIDTH, 2 * WIDTH), nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the layer makes of the rows."""
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def make_model() -> nn.Sequential:
    """The same model in each process."""
    torch.manual_seed(0)
    return nn.Sequential(*(Block() for _ in range(BLOCKS)), nn.Linear(WIDTH, CLASSES))


def make_batch() -> tuple[torch.Tensor, torch.Tensor]:
    """The whole batch, of which ranks that split data take their part."""
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(BATCH, ROWS, WIDTH, generator=generator)
    return x, torch.randn(BATCH, ROWS, CLASSES, generator=generator)


def loss_of(given: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The mean of the squares: means of equal parts of a batch have its mean."""
    return nn.functional.mse_loss(given, wanted)


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    """As training loops have it."""
    return torch.optim.AdamW(model.parameters(), lr=1e-2)


def trained(model: nn.Module, x: torch.Tensor, wanted: torch.Tensor, steps: int, averaged: bool) -> Losses:
    """The loss of each step, over all ranks where each has a part of the batch."""
    optimizer, losses = optimizer_of(model), []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = loss_of(model(x), wanted)
        loss.backward()
        optimizer.step()
        loss = loss.detach()
        if averaged:
            dist.all_reduce(loss)
            loss = loss / dist.get_world_size()
        losses.append(loss.item())
    return losses


def whole(steps: int) -> Losses:
    """All in this process."""
    return trained(make_model(), *make_batch(), steps, averaged=False)


def _my_part() -> tuple[torch.Tensor, torch.Tensor]:
    x, wanted = (t.chunk(dist.get_world_size())[dist.get_rank()] for t in make_batch())
    return x, wanted


def data_parallel(steps: int) -> Losses:
    """`DistributedDataParallel`."""
    return trained(nn.parallel.DistributedDataParallel(make_model()), *_my_part(), steps, averaged=True)


def sharded(steps: int) -> Losses:
    """FSDP2: `fully_shard`."""
    model, mesh = make_model(), init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model[:-1]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    return trained(model, *_my_part(), steps, averaged=True)


def tensor_parallel(steps: int) -> Losses:
    """DTensor: `parallelize_module`."""
    model, mesh = make_model(), init_device_mesh("cpu", (dist.get_world_size(),))
    for block in model[:-1]:
        parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    return trained(model, *make_batch(), steps, averaged=False)


def in_stages(steps: int) -> Losses:
    """`torch.distributed.pipelining`: each rank has some of the layers; the last one knows the loss."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model, (x, wanted) = make_model(), make_batch()
    size = BLOCKS // ranks
    layers = model[rank * size : (rank + 1) * size] if rank < ranks - 1 else model[rank * size :]
    stage_module = copy.deepcopy(layers)
    stage = PipelineStage(stage_module, rank, ranks, torch.device("cpu"))
    schedule = ScheduleGPipe(stage, n_microbatches=ranks, loss_fn=loss_of)
    optimizer, losses = optimizer_of(stage_module), []
    for _ in range(steps):
        optimizer.zero_grad()
        parts: list[torch.Tensor] = []
        given = (x,) if rank == 0 else ()
        if rank == ranks - 1:
            schedule.step(*given, target=wanted, losses=parts)
        else:
            schedule.step(*given)
        optimizer.step()
        loss = torch.stack(parts).detach().mean() if parts else torch.zeros(())
        dist.broadcast(loss, ranks - 1)
        losses.append(loss.item())
    return losses


WAYS: dict[str, Callable[[int], Losses]] = {
    "DDP": data_parallel,
    "FSDP2": sharded,
    "tensor parallel": tensor_parallel,
    "pipeline": in_stages,
}


def measured(way: Callable[[int], Losses], steps: int, settings: dict[str, Any]) -> dict[str, Any]:
    """Train in a block, and tell what the rank did."""
    start = time.process_time()  # ranks may be more than cores
    with ttreg.device_mode(**settings) as session:
        opened = time.process_time() - start
        losses = way(steps)
        seconds = time.process_time() - start - opened
    report = session.report()
    collectives = [row for row in report.ops if row.op.split(".")[0] in ("c10d", "_c10d_functional", "fsdp")]
    return {
        "losses": losses,
        "opened": opened,
        "seconds": seconds,
        "calls": report.totals.calls,
        "device": report.totals.device,
        "host_float": report.totals.host_float,
        "down": report.transfers.download_bytes,
        "down for the group": sum(row.bytes_down for row in collectives),
    }


def run_rank(ways: list[str], steps: int, settings: dict[str, Any], timeout: float = 60.0) -> dict[str, Any]:
    """Train in each way, as the rank that the environment names."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    try:
        found = {name: measured(WAYS[name], steps, settings) for name in ways}
        if dist.get_rank() == 0:
            found["one process"] = measured(whole, steps, settings)
    finally:
        dist.destroy_process_group()
    return {"ways": found, "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def end_of_others(how: str, settings: dict[str, Any], timeout: float) -> str:
    """Train by tensors; the last rank leaves or stops after a step. How the others end, and after how long."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", timeout=timedelta(seconds=timeout))
    with ttreg.device_mode(**settings):
        tensor_parallel(1)
        if dist.get_rank() == dist.get_world_size() - 1:
            if how == "hangs":
                time.sleep(20 * timeout)
            os._exit(3)
        start = time.perf_counter()
        try:
            tensor_parallel(1)
        except RuntimeError as error:  # torch.distributed's errors are such
            return f"{type(error).__name__} after {time.perf_counter() - start:.1f} s"
    return "no error"
