"""What programs do with tensors beside computing: files, NumPy and its relatives, tracing, parametrizations."""

from __future__ import annotations

import copy
import io
import multiprocessing
import pickle

import matplotlib
import numpy as np
import pytest
import scipy.ndimage
import scipy.signal
import skimage.exposure
import skimage.filters
import skimage.measure
import torch
import torchvision.transforms.v2 as transforms
from PIL import Image
from torch import nn
from torch.nn.utils import parametrize
from torch.utils.data import DataLoader, Dataset, TensorDataset, default_collate
from torchvision.transforms.v2 import functional as images

matplotlib.use("agg")
from matplotlib import pyplot

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit:FutureWarning", "ignore:.*torch.jit:DeprecationWarning")
PROGRAMS: list = []
FAULTY: list = []
X = torch.arange(12.0).reshape(3, 4) / 4
IMAGE = (torch.arange(3 * 12 * 16) % 251).reshape(3, 12, 16).to(torch.uint8)


def program(function):
    PROGRAMS.append(function)
    return function


def faulty(function):
    FAULTY.append(function)
    return function


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_it_does_what_it_does_on_cpu(program, same_as_cpu):
    same_as_cpu(program)


@pytest.mark.parametrize("program", FAULTY, ids=lambda p: p.__name__)
def test_it_raises_what_it_raises_on_cpu(program, same_as_cpu):
    same_as_cpu(program, raises=True)


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)
        self.register_buffer("shift", torch.ones(2))
        nn.init.constant_(self.layer.weight, 0.5)
        nn.init.zeros_(self.layer.bias)

    def forward(self, x):
        return self.layer(x).relu() + self.shift


def written(value, **options):
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    buffer.seek(0)
    return buffer


@program
def loaded_as_weights_only_and_for_another_device(tensor):
    buffer = written({"a": tensor(X), "b": [tensor(X).t(), tensor(X)[1:, ::2]]})
    options = [{"weights_only": True}, {"map_location": "cpu"}, {"map_location": lambda storage, _: storage}]
    found = []
    for option in [*options, {"map_location": "meta"}]:
        buffer.seek(0)
        found.append(torch.load(buffer, **option))
    meta = found.pop()["b"][0]
    return found, meta.shape, meta.stride(), meta.is_meta


@program
def written_in_the_old_format(tensor):
    return torch.load(written([tensor(X), tensor(X).t()], _use_new_zipfile_serialization=False), weights_only=True)


@pytest.mark.parametrize("mmap", [True, False])
def test_a_mapped_file_is_computed_with(mmap, device, tmp_path):
    path = tmp_path / "state.pt"
    model = Model()
    with device as session:
        model.layer.weight.data = session.to_device(model.layer.weight.data * 2)
        torch.save(model.state_dict(), path)
        loaded = torch.load(path, mmap=mmap, weights_only=True)
        fresh = Model()
        fresh.load_state_dict(loaded, assign=True)
        results = [fresh(session.to_device(X)).tolist(), model(X).tolist()]
        loaded["layer.weight"].zero_()
        results.append(fresh(X).tolist())
    assert results[0] == results[1] == (X.sum(1, keepdim=True) + 1).expand(3, 2).tolist()
    assert results[2] == torch.ones(3, 2).tolist()


@program
def states_go_round(tensor):
    model, other = Model(), Model()
    with torch.no_grad():
        model.layer.weight.copy_(tensor(X)[:2])
        model.shift.mul_(tensor(X)[0, :2])
    model.layer.bias.data = tensor(X)[1, :2]
    optimizer = torch.optim.Adam(model.parameters(), lr=0.125)
    model(tensor(X)).sum().backward()
    optimizer.step()
    states = torch.load(written({"model": model.state_dict(), "optimizer": optimizer.state_dict()}), weights_only=True)
    twin = torch.optim.Adam(other.parameters(), lr=0.5)
    missing = other.load_state_dict(states["model"])
    twin.load_state_dict(states["optimizer"])
    for m, o in ((model, optimizer), (other, twin)):
        o.zero_grad()
        m(tensor(X)).sum().backward()
        o.step()
    same = [torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True)]
    return list(missing), list(states["model"]), same, twin.state_dict()["param_groups"], other.state_dict()


@faulty
def a_state_of_another_shape_is_refused(tensor):
    Model().load_state_dict({"layer.weight": tensor(X), "layer.bias": tensor(X)[0, :2], "shift": tensor(X)[0, :2]})


@program
def a_whole_model_is_pickled(tensor):
    model = Model()
    model.shift = tensor(X)[0, :2] * 2
    twin = pickle.loads(pickle.dumps(model))
    copied = copy.deepcopy(model)
    copied.shift.add_(1)
    return twin(tensor(X)), copied(tensor(X)), torch.load(written(model), weights_only=False)(tensor(X)), model.shift


@program
def numpys_functions(tensor):
    t, positive = tensor(X), tensor(X) + 1
    return [
        np.asarray(t).tolist(),
        np.stack([t, t + 1]).tolist(),
        np.vstack([t, positive]).shape,
        np.mean(np.asarray(t), axis=0).tolist(),
        np.sqrt(t).tolist(),
        np.add(t, 1).tolist(),
        np.exp(t.numpy()).sum().item(),
        np.allclose(t, X),
        np.clip(t, 0.5, 1).tolist(),
        np.linalg.norm(t.numpy()).item(),
        np.percentile(t, 50).item(),
        np.histogram(t, 3)[0].tolist(),
        np.argmax(t).item(),
        np.isnan(t).any().item(),
        np.array_equal(t, t),
        np.unique(t).tolist(),
        np.transpose(t).tolist(),
        np.interp(np.asarray([0.5, 1.5]), [0, 1, 2], t[0, :3]).tolist(),
        np.ndarray.tolist(np.array([t, t])),
        np.array(list(t[0])).tolist(),
        torch.from_numpy(np.asarray(t)).add(1),
        torch.as_tensor(np.asarray(t) * 2),
    ]


@faulty
def numpy_refuses_what_requires_grad(tensor):
    return np.stack([tensor(X).requires_grad_(), tensor(X)])


@program
def bfloat16_is_nothing_to_numpy(tensor):
    with pytest.raises(TypeError, match="BFloat16"):
        tensor(X).bfloat16().numpy()
    return tensor(X).bfloat16().float().numpy().tolist()


@program
def scipy_and_skimage(tensor):
    t = tensor(X)
    return [
        scipy.ndimage.gaussian_filter(t, 1).tolist(),
        scipy.ndimage.label(t > 1)[1],
        scipy.ndimage.zoom(t, 2, order=1).shape,
        scipy.signal.convolve2d(t, torch.ones(2, 2)).tolist(),
        skimage.filters.threshold_otsu(t.numpy()).item(),
        skimage.exposure.rescale_intensity(t.numpy()).tolist(),
        skimage.measure.label((t > 1).numpy()).tolist(),
    ]


@program
def plots(tensor):
    figure, (left, right) = pyplot.subplots(1, 2)
    [line] = left.plot(tensor(X)[0], tensor(X)[1])
    shown = right.imshow(tensor(X))
    left.hist(tensor(X).flatten(), bins=3)
    left.scatter(tensor(X)[0], tensor(X)[2], c=tensor(X)[1])
    figure.canvas.draw()
    pyplot.close(figure)
    return line.get_xdata().tolist(), line.get_ydata().tolist(), shown.get_array().tolist()


@program
def images_come_and_go(tensor):
    scaled = tensor(IMAGE.float()) / 255
    image = images.to_pil_image(scaled)
    back = images.pil_to_tensor(image.resize((8, 6), Image.Resampling.BILINEAR))
    made = Image.fromarray((scaled.permute(1, 2, 0) * 255).round().to(torch.uint8).numpy())
    return np.asarray(image).tolist(), back, np.asarray(made).tolist()


@program
def images_are_transformed(tensor):
    torch.manual_seed(0)
    pipeline = transforms.Compose(
        [
            transforms.RandomHorizontalFlip(1.0),
            transforms.CenterCrop(8),
            transforms.ToDtype(torch.float32, scale=True),
            transforms.Normalize([0.5] * 3, [0.25] * 3),
        ]
    )
    mirrored = transforms.Compose(pipeline.transforms[:2])(images.to_pil_image(tensor(IMAGE)))
    return pipeline(tensor(IMAGE)), np.asarray(mirrored).tolist()


@program
def collated(tensor):
    samples = [{"x": tensor(X) + n, "n": n, "pair": (tensor(X)[0], "text")} for n in range(2)]
    return default_collate(samples), torch.stack([s["x"] for s in samples])


@faulty
def other_shapes_are_not_collated(tensor):
    return default_collate([tensor(X), tensor(X)[1:]])


@program
def batches_are_loaded(tensor):
    data = TensorDataset(tensor(X), tensor(X) * 2)
    drawn = torch.Generator().manual_seed(3)
    loader = DataLoader(data, batch_size=2, shuffle=True, generator=drawn)
    return [[a + b, a @ b.t()] for a, b in loader], data[1], len(data)


@program
def traced_scripted_and_frozen(tensor):
    model = Model().eval()
    traced = torch.jit.trace(model, (tensor(X),))
    scripted = torch.jit.script(model)
    frozen = torch.jit.freeze(torch.jit.trace(model, (X,)))
    saved = io.BytesIO()
    torch.jit.save(traced, saved)
    saved.seek(0)
    with torch.no_grad():
        return [m(tensor(X)) for m in (traced, scripted, frozen, torch.jit.load(saved))], str(traced.graph).count(
            "aten"
        )


@program
def a_scripted_model_with_control_flow(tensor):
    @torch.jit.script
    def halved(x: torch.Tensor, limit: float) -> tuple[torch.Tensor, int]:
        steps = 0
        while float(x.sum()) > limit:
            x = x / 2
            steps += 1
        return x, steps

    return halved(tensor(X), 2.0)


@program
def a_traced_function_is_differentiated(tensor):
    traced = torch.jit.trace(lambda x: (x * x).sum(), (torch.ones(3, 4),))
    x = tensor(X).requires_grad_()
    traced(x).backward()
    return x.grad


@program
def a_graph_is_traced_and_changed(tensor):
    graph = torch.fx.symbolic_trace(Model())
    for node in graph.graph.nodes:
        if node.target == "relu":
            node.target = "sigmoid"
    graph.recompile()
    return graph.code, graph(tensor(X)).detach(), torch.fx.Interpreter(graph).run(tensor(X)).detach()


class Symmetric(nn.Module):
    def forward(self, weight):
        return weight.triu() + weight.triu(1).mT

    def right_inverse(self, weight):
        return weight.triu()


@program
def parametrized(tensor):
    layer = nn.Linear(4, 4, bias=False)
    nn.init.constant_(layer.weight, 0.5)
    parametrize.register_parametrization(layer, "weight", Symmetric())
    layer.weight = tensor(torch.arange(16.0).reshape(4, 4))
    layer(tensor(X)).sum().backward()
    with parametrize.cached():
        twice = layer.weight is layer.weight
    gradient = layer.parametrizations.weight.original.grad.clone()
    parametrize.remove_parametrizations(layer, "weight")
    return twice, gradient, layer.weight, layer(tensor(X)), [name for name, _ in layer.named_parameters()]


@program
def weight_norm(tensor):
    layer = nn.utils.parametrizations.weight_norm(nn.Linear(4, 2, bias=False))
    layer.weight = tensor(X)[1:]
    return layer(tensor(X)).detach().round(decimals=3), list(layer.state_dict())


@program
def called_with_other_parameters(tensor):
    model = Model()
    given = {"layer.weight": tensor(X)[1:], "shift": tensor(X)[0, :2]}
    called = torch.func.functional_call(model, given, (tensor(X),))
    stacked = torch.func.stack_module_state([Model(), Model()])[0]["layer.weight"]
    return called, model(tensor(X)), stacked.shape


@program
def views_of_ordinary_tensors_in_inference_mode(tensor):
    t, view = tensor(X), tensor(X).t()
    with torch.inference_mode():
        return [made.is_inference() for made in (t.t(), t[0], t.view(12), t.detach(), view[1:], t + 1)], t.t()


def _send(queue, value):
    value.add_(1)
    queue.put(value.sum().item())


@pytest.mark.parametrize("method", ["fork", "spawn"])
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


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_workers_load_batches_while_the_block_is_open(method, device):
    with device as session:
        session.to_device(X) + 1  # the device is in use before the workers start
        loader = DataLoader(
            Doubles(session.to_device(X) * 1), batch_size=2, num_workers=2 if method == "fork" else 1,
            multiprocessing_context=method, pin_memory=False,
        )  # fmt: skip
        batches = [(rows + 0, rows @ session.to_device(X).t(), indices) for rows, indices in loader]
    wanted = X * 2 + 1
    assert torch.cat([rows for rows, _, _ in batches]).tolist() == wanted.tolist()
    assert torch.cat([products for _, products, _ in batches]).tolist() == (wanted @ X.t()).tolist()
    assert torch.cat([indices for _, _, indices in batches]).tolist() == [0, 1, 2]


def test_workers_that_outlive_the_block_go_on(device):
    with device:
        loader = DataLoader(Doubles(X.clone()), batch_size=3, num_workers=1, persistent_workers=True)
        inside = [rows.tolist() for rows, _ in loader]
    outside = [rows.tolist() for rows, _ in loader]
    assert inside == outside == [(X * 2 + 1).tolist()]
