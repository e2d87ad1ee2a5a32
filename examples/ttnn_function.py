"""A gated layer written in ttnn stands in a PyTorch model, is trained with it, and hands its values to ttnn code."""

import torch
import ttnn
from torch import nn

import ttreg


def gradients(grad, x, gate):
    """The gradients of `gated`, for `x` and for `gate`."""
    open_part = ttnn.sigmoid(gate)
    closing = ttnn.multiply(open_part, ttnn.rsub(open_part, 1.0))
    return ttnn.multiply(grad, open_part), ttnn.multiply(ttnn.multiply(grad, x), closing)


@ttreg.ttnn_function(backward=gradients, host=lambda x, gate: x * gate.sigmoid())
def gated(x, gate):
    """What ttnn calls make of the device's own values; PyTorch sees one op."""
    return ttnn.multiply(x, ttnn.sigmoid(gate), memory_config=ttnn.L1_MEMORY_CONFIG)


class Layer(nn.Module):
    """Two projections, one of which gates the other."""

    def __init__(self):
        super().__init__()
        self.values, self.gates, self.out = nn.Linear(64, 128), nn.Linear(64, 128), nn.Linear(128, 64)

    def forward(self, x):
        return self.out(gated(self.values(x), self.gates(x)))


torch.manual_seed(0)
model = Layer()
x, target = torch.randn(32, 64), torch.randn(32, 64)
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
losses = []
with ttreg.device_mode() as session:
    for _ in range(5):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(model(x), target)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    value = ttreg.to_ttnn(model(x).detach())  # the tensor's own value: to be read only
    doubled = ttreg.from_ttnn(ttnn.add(value, value))
print(f"loss from {losses[0]:.3f} to {losses[-1]:.3f}; twice the output has a mean of {doubled.mean():.4f}")
assert losses[-1] < losses[0]
print(session.report())
