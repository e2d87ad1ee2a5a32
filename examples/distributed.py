"""A model on several ranks, a device each: two blocks are split between them by their tensors (DTensor).

    torchrun --nproc-per-node 2 examples/distributed.py

Each rank writes a report; `ttreg report rank*.json` counts them together. Without torchrun there is one rank.
"""

import os
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.parallel import ColwiseParallel, RowwiseParallel, parallelize_module

import ttreg

STEPS = 4


class Block(nn.Module):
    """The part of a transformer's layer that takes the most products."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(64)
        self.up, self.down = nn.Linear(64, 256), nn.Linear(256, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add what the block makes of the rows."""
        return x + self.down(nn.functional.gelu(self.up(self.norm(x))))


def trained(split: bool) -> list[float]:
    """The loss of each step."""
    torch.manual_seed(0)
    model = nn.Sequential(Block(), Block(), nn.Linear(64, 8))
    x = torch.randn(4, 32, 64)
    target = x[..., :8].argmax(-1).flatten()
    if split:
        mesh = init_device_mesh("cpu", (dist.get_world_size(),))
        for block in model[:2]:
            parallelize_module(block, mesh, {"up": ColwiseParallel(), "down": RowwiseParallel()})
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(STEPS):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x).flatten(0, 1), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


alone = {} if "RANK" in os.environ else {"store": dist.HashStore(), "rank": 0, "world_size": 1}
dist.init_process_group("gloo", timeout=timedelta(minutes=2), **alone)  # type: ignore[arg-type]
with ttreg.device_mode(device="emulated") as session:  # of several chips, the one that LOCAL_RANK names
    losses = trained(split=True)

rank, report = dist.get_rank(), session.report()
Path(f"rank{rank}.json").write_text(report.model_dump_json(indent=1) + "\n")
torch.testing.assert_close(losses, trained(split=False), rtol=0, atol=1e-5)
if rank == 0:
    print("losses:", *(f"{loss:.4f}" for loss in losses))
    print(report)
dist.destroy_process_group()
