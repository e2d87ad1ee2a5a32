"""A training step, with backward and the optimizer, is recorded once; the later steps replay its ttnn calls."""

import torch
from torch import nn

import ttreg

STEPS = 12


def trained(record):
    """Train a small classifier; the loss of each step, the model, and the step."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(16, 32), nn.LayerNorm(32), nn.GELU(), nn.Linear(32, 3))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)

    def step(x, target):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), target)
        loss.backward()
        optimizer.step()
        return loss.detach()

    step = record(step)
    losses = []
    for _ in range(STEPS):
        x = torch.randn(32, 16)
        losses.append(float(step(x, x[:, :3].argmax(1))))
    return losses, model, step


expected, plain, _ = trained(lambda step: step)
with ttreg.device_mode(device="emulated") as session:
    losses, model, step = trained(session.record)

torch.testing.assert_close(losses, expected, rtol=1e-3, atol=1e-3)
for parameter, other in zip(model.parameters(), plain.parameters(), strict=True):
    torch.testing.assert_close(parameter, other, rtol=1e-3, atol=1e-3)
print("losses:", *(f"{loss:.3f}" for loss in losses))
print(f"{step.counts.recordings} recordings, {step.counts.replays} replays of {STEPS} calls")
print(session.report())
