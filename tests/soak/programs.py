"""Programs that may go on for ever, and what is small enough for them to fill soon."""

from __future__ import annotations

import copy
import io
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from ttreg.ops.vocabulary import kept as kept_values

import ttreg
from ttreg.costs import programs, recorder
from ttreg.memory import cells, uploads
from ttreg.recording import variants
from ttreg.runtime import ledger, padded, sizes

OPTIONS: dict[str, Any] = {"device": "emulated", "min_upload_numel": 0}

# So small that the programs fill them in a few dozen steps, at most some hundred.
BOUNDS = (
    (uploads, "MOST_OF_WHOLE_STORAGES", 1 << 18),
    (uploads, "MOST_OF_PARTS", 1 << 18),
    (uploads, "_MOST_SHARED", 1 << 17),
    (kept_values, "MOST_BYTES", 1 << 16),
    (cells, "_FEW_CELLS", 64),
    (ledger, "_KEPT_PLANS", 64),
    (recorder, "_MOST_UNITS", 64),
    (programs, "_MOST", 16),
    (ledger, "_KEPT_TALLIES", 16),
    (sizes, "_MOST_KINDS", 48),
    (padded.Padded, "_MOST_BYTES", 1 << 16),
    (variants, "MOST_BYTES", 1 << 16),
)

Step = Callable[["State", int], Any]
PROGRAMS: dict[str, Step] = {}
SETTINGS: dict[str, dict[str, Any]] = {}  # of the programs that want others


def program(**settings: Any) -> Callable[[Step], Step]:
    """A step of a program, which is given its number."""

    def kept(step: Step) -> Step:
        PROGRAMS[step.__name__] = step
        SETTINGS[step.__name__] = settings
        return step

    return kept


class State:
    """What goes on from step to step."""

    def __init__(self, session: Any):
        torch.manual_seed(0)
        self.session = session
        self.data, self.plain = torch.rand(256, 128), torch.rand(128, 128)
        self.weight = nn.Parameter(torch.rand(128, 128))
        self.rows, self.state = session.to_device(torch.rand(256, 64)), session.to_device(torch.rand(32, 48))
        self.images = session.to_device(torch.rand(1, 3, 16, 16))
        self.model = nn.Sequential(nn.Linear(128, 16), nn.ReLU(), nn.Linear(16, 4))
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=1e-4)
        self.filters, self.table = nn.Conv2d(3, 4, 3), nn.Embedding(100, 16, sparse=True)
        self.folder = Path(tempfile.mkdtemp())
        self.latest: list[torch.Tensor] = []

    def on_device(self, *shape: int) -> torch.Tensor:
        return self.session.to_device(torch.rand(shape))


@program()
def slices_of_a_host_tensor(p, i):
    start = 4 * (i % 30)
    return p.data[start : start + 32 + i % 3] @ p.weight


@program()
def slices_of_a_parameter(p, i):
    return p.weight[i % 30 : i % 30 + 32] @ p.plain + p.weight.t()[:, i % 30]


@program()
def tensors_made_anew(p, i):
    p.latest = [*p.latest[-20:], torch.rand(64, 64 + i % 2)]  # more than are kept on the device
    return sum(x.sum() for x in p.latest[-3:]) + p.latest[0].sum()


@program()
def equal_constants_made_anew(p, i):
    n = 1 + i % 30
    return p.state[:, :n] * torch.arange(n) + torch.full((32, 1), float(i))


@program()
def slices_of_a_device_tensor(p, i):
    n = 3 * (i % 30)
    return (p.rows[n : n + 32] * 2).sum() + p.rows.t()[:, n].sum() + p.rows.view(-1)[n:].max()


@program()
def a_state_written_by_parts(p, i):
    p.rows.add_(1)
    p.rows[i % 30 : i % 30 + 2].mul_(0.5)
    return p.rows.mul_(0.5)


@program(inference=True)  # PyTorch itself keeps all views above one of a subclass, but for inference tensors
def a_state_that_is_turned(p, i):
    for _ in range(40):
        p.state = p.state.t()
    return p.state + 1


@program()
def prompts(p, i):
    x = p.on_device(1, 2, 9 + 3 * (i % 30), 8)
    return F.scaled_dot_product_attention(x, x, x, is_causal=True)


@program()
def images(p, i):
    return F.interpolate(p.on_device(1, 2, 6 + i % 30, 9 + i % 5), size=(5 + i % 6, 7 + i % 3), mode="bilinear")


@program()
def numbers_that_no_call_had_before(p, i):
    (p.rows * 1e300).sum()
    return p.state * (1 + i / 1e5) + (p.state > i).sum() * (1e39 + i * 1e33)


@program(only_long=True)
def shapes_that_no_call_had_before(p, i):
    return p.on_device(1 + i % 97, 1 + i % 89).relu().sum()


@program()
def refused_calls(p, i):
    for call in (
        lambda: p.state @ p.state,
        lambda: p.state.view(7, -1),
        lambda: torch.cat((p.state, p.rows[i % 10 :])),
    ):
        try:
            call()
        except RuntimeError:
            continue
    return p.state.double().sum()


@program()
def weights_that_change(p, i):
    p.plain.add_(1e-3)
    p.weight.add_(1e-3)
    p.weight.data.mul_(0.999)
    return p.plain @ p.weight


@program()
def memory_given_away(p, i):
    array = torch.rand(64, 64).numpy()
    result, shared = torch.from_numpy(array) @ p.on_device(64, 8), p.on_device(8, 8)
    shared.numpy()[:] = i
    p.plain.numpy()[0, 0] = i
    return result.sum() + shared.sum() + p.plain.sum() + nn.Parameter(torch.from_dlpack(array)).sum()


@program()
def convolutions_and_new_indices(p, i):
    indices = torch.randint(100, (7,))
    return p.filters(p.images * i).sum() + p.table(indices).sum() + p.rows[indices].sum()


@program(gradients=True)
def training(p, i):
    p.optimizer.zero_grad()
    p.model(p.data[i % 30 : i % 30 + 4].clone()).square().sum().backward()
    p.table(torch.tensor([i % 30, 3])).sum().backward()
    torch.optim.SGD(p.table.parameters(), lr=1e-3).step()
    p.table.zero_grad()
    p.optimizer.step()
    return p.model[0].bias


@program(gradients=True, outside=True)
def a_compiled_model(p, i):
    if i == 0:
        p.compiled = torch.compile(p.model, backend="ttreg", options=OPTIONS)
    p.optimizer.zero_grad()
    result = p.compiled(p.data[:8] + i)
    result.square().sum().backward()
    p.optimizer.step()
    p.model[2].weight.data.mul_(0.999)
    return result


@program(outside=True)
def blocks(p, i):
    mode = ttreg.device_mode(**OPTIONS, trace=str(p.folder / "trace.json"))
    with mode as session:
        with ttreg.device_mode(**OPTIONS, precision="bfloat16"):
            inner = p.data[: 8 + i % 3] @ p.plain
        kept = inner + session.to_device(p.data[: 8 + i % 3])
    session.report().model_dump_json()
    return kept.sum() + ttreg.device_mode(**OPTIONS)(torch.matmul)(p.data, p.weight).sum()


@program(check=0.9)
def checked_calls(p, i):
    return (p.data[i % 10 : i % 10 + 8] @ p.weight).relu() + i


@program()
def threads(p, i):
    found = []
    thread = threading.Thread(name="another", target=lambda: found.append(p.state.sum() + (p.state + i).relu().sum()))
    thread.start()
    thread.join()
    p.session.report()
    return found[0] + (p.state + i).sum()


@program()
def copies_and_transforms(p, i):
    file = io.BytesIO()
    torch.save(copy.deepcopy(p.state), file)
    file.seek(0)
    batched = torch.vmap(lambda row: row.softmax(0) * i)(p.state)
    return torch.load(file).sum() + torch.func.grad(lambda x: x.square().sum())(p.state).sum() + batched.sum()


@program()
def recorded_calls(p, i):
    if i == 0:
        weight, state = p.weight, p.state
        p.recorded = p.session.record(lambda x: ((x @ weight).relu() + state.sum(), state.add_(1e-3)))
    return p.recorded(p.data[i % 30 : i % 30 + 4].clone())[0]


@program()
def recorded_calls_of_many_sizes(p, i):
    if i == 0:
        weight = p.weight
        p.recorded = p.session.record(lambda x, rows: x @ weight + rows[0].sum() if x.sum() > 5 else x - 1)
    # Each list is an object of its own, and a recording holds on to it.
    return p.recorded(torch.rand(1 + i % 30, 128) * (i % 2), (p.on_device(32, 32),)).sum()


@program(gradients=True)
def a_recorded_training(p, i):
    if i == 0:
        model, optimizer = p.model, p.optimizer

        def step(x):
            optimizer.zero_grad()
            loss = model(x).square().sum()
            loss.backward()
            optimizer.step()
            return loss.detach()

        p.recorded, p.scheduler = p.session.record(step), torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.99)
    loss = p.recorded(p.data[i % 30 : i % 30 + 4].clone())
    p.scheduler.step()
    return loss
