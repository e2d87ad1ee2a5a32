"""Gradients and training steps of small models are CPU's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

import ttreg
from ttreg.memory.held import of_cell

X = torch.arange(24.0).reshape(6, 4) / 8 - 1
IMAGES = (torch.arange(2 * 3 * 8 * 8).reshape(2, 3, 8, 8) % 13).float() / 8 - 0.5
MODELS = {
    "linear": (lambda: nn.Linear(4, 3), X),
    "mlp": (lambda: nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 2)), X),
    "conv": (lambda: nn.Conv2d(3, 4, 3, padding=1), IMAGES),
    "cnn": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(36, 5)
        ),
        IMAGES,
    ),
    "normalised": (lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 2)), X),
    "attention": (lambda: Attention(), X.view(1, 6, 4)),
    "embedding": (
        lambda: nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(12, 2)),
        torch.tensor([[1, 2, 2]]),
    ),
}


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


def seeded(make):
    torch.manual_seed(0)
    return make()


def gradients(model, x):
    loss = model(x).square().mean()
    loss.backward()
    return [loss.detach(), *(p.grad for p in model.parameters())]


def assert_close(results, expected):
    plain = [torch.tensor(r.tolist()) for r in results]
    torch.testing.assert_close(plain, [e.detach() for e in expected], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
def test_gradients_of_a_plain_model_are_those_of_cpu(name, device):
    make, x = MODELS[name]
    expected = gradients(seeded(make), x)
    with device:
        results = gradients(seeded(make), x)
    assert_close(results, expected)


@pytest.mark.parametrize("name", ["mlp", "conv"])
def test_gradients_reach_inputs_on_the_device(name, device):
    make, values = MODELS[name]
    model, x = seeded(make), values.clone().requires_grad_()
    model(x).square().sum().backward()
    with device as session:
        y = session.to_device(values).requires_grad_()
        model(y).square().sum().backward()
    assert_close([y.grad], [x.grad])


@pytest.mark.parametrize("name", MODELS)
def test_five_training_steps_follow_cpu(name, device):
    make, x = MODELS[name]

    def train(model):
        optimizer, losses = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.9), []
        for _ in range(5):
            optimizer.zero_grad()
            loss = (model(x) - 1).square().mean()
            loss.backward()
            optimizer.step()
            losses.append(loss.detach())
        return [*losses, model(x), *model.parameters()]

    expected = train(seeded(make))
    with device:
        results = train(seeded(make))
    assert_close(results, expected)


class Transformer(nn.Module):
    """Predicts the next of 20 tokens: an embedding, a layer of attention with a mask, a head."""

    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(20, 16)
        self.positions = nn.Parameter(torch.randn(6, 16) / 50)
        layer = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, activation="gelu", batch_first=True, norm_first=True)
        self.layers = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.head = nn.Linear(16, 20)

    def forward(self, embedded):
        mask = nn.Transformer.generate_square_subsequent_mask(embedded.shape[1])
        return self.head(self.layers(embedded + self.positions, mask=mask, is_causal=True))


def small_cnn():
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3),
        nn.GroupNorm(2, 8),
        nn.SiLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(8, 4),
    )


def loss_of_cnn(model, tensor):
    # On the way no two elements of a pool are so close that a rounding decides which of them is the larger.
    pictures = torch.randn(8, 3, 16, 16, generator=torch.Generator().manual_seed(5))
    return F.cross_entropy(model(tensor(pictures)), torch.arange(8) % 4, label_smoothing=0.1)


def loss_of_transformer(model, tensor):
    tokens = torch.randint(0, 20, (4, 7), generator=torch.Generator().manual_seed(1))
    embedded = model.embedding(tensor(tokens[:, :-1].to(torch.int32)))
    return F.cross_entropy(model(embedded).flatten(0, 1), tokens[:, 1:].flatten())


def plain(tensor):
    return tensor.clone()


def with_parameters(model, tensor):
    """The model, with parameters that the device holds."""
    for module in model.modules():
        for name, parameter in list(module.named_parameters(recurse=False)):
            setattr(module, name, nn.Parameter(tensor(parameter.detach())))
    return model


OPTIMIZERS = {
    "sgd": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, foreach=False),
    "sgd-foreach": lambda p: torch.optim.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01, foreach=True),
    "adam": lambda p: torch.optim.Adam(p, lr=0.01, foreach=False),
    "adam-fused": lambda p: torch.optim.Adam(p, lr=0.01, fused=True),
    "adamw": lambda p: torch.optim.AdamW(p, lr=0.01, amsgrad=True, foreach=False),
    "adamw-foreach": lambda p: torch.optim.AdamW(p, lr=0.01, foreach=True),
}
WHERE = ("data on the host", "data on the device", "parameters on the device")  # each with a third of the optimizers
TWENTY_STEPS = {"cnn": (small_cnn, loss_of_cnn), "transformer": (Transformer, loss_of_transformer)}


def losses(model, loss_of, optimizer, tensor):
    followed = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = loss_of(model, tensor)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        followed.append((loss.item(), float(norm)))
    return torch.tensor(followed)


@pytest.mark.parametrize(
    ("name", "optimizer", "where"),
    [(name, optimizer, WHERE[i % 3]) for name in TWENTY_STEPS for i, optimizer in enumerate(OPTIMIZERS)],
)
def test_losses_of_twenty_steps_follow_cpu(name, optimizer, where, device):
    (make, loss_of), optimizer = TWENTY_STEPS[name], OPTIMIZERS[optimizer]
    model = seeded(make)
    expected = losses(model, loss_of, optimizer(model.parameters()), plain)
    assert expected[-1, 0] < 0.97 * expected[0, 0]  # it learns
    with device as session:
        model = seeded(make)
        if where == "parameters on the device":
            with_parameters(model, session.to_device)
        tensor = plain if where == "data on the host" else session.to_device
        followed = losses(model, loss_of, optimizer(model.parameters()), tensor)
    # Both compute in float32, and differ in the order of sums: the 20th step shows a few of its roundings.
    torch.testing.assert_close(followed, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", TWENTY_STEPS)
def test_losses_under_autocast_follow_cpu(name, device):
    make, loss_of = TWENTY_STEPS[name]

    def train(tensor):
        model = seeded(make)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        scaler = torch.amp.GradScaler("cpu", enabled=False)
        followed = []
        for _ in range(20):
            optimizer.zero_grad()
            with torch.autocast("cpu", torch.bfloat16):
                loss = loss_of(model, tensor)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            followed.append(loss.item())
        return torch.tensor(followed)

    expected = train(plain)
    with device as session:
        followed = train(session.to_device)
    # bfloat16 keeps 8 bits: each step adds roundings of 0.4 %, most of which cancel.
    torch.testing.assert_close(followed, expected, rtol=1e-2, atol=1e-2)


@pytest.mark.parametrize("make", [nn.LSTM, nn.GRU, nn.RNN], ids=lambda make: make.__name__)
def test_losses_of_recurrent_nets_follow_cpu(make, device):
    def train():
        torch.manual_seed(0)
        model = nn.ModuleList([make(4, 8, batch_first=True, bidirectional=True), nn.Linear(16, 1)])
        optimizer, followed = torch.optim.Adam(model.parameters(), lr=0.01), []
        for _ in range(3):
            optimizer.zero_grad()
            packed = nn.utils.rnn.pack_padded_sequence(X.view(2, 3, 4), [3, 2], batch_first=True)
            states, _ = nn.utils.rnn.pad_packed_sequence(model[0](packed)[0], batch_first=True)
            loss = (model[1](states) - 1).square().mean() + (model[0](X)[0]).square().mean()
            loss.backward()
            optimizer.step()
            followed.append(loss.item())
        return torch.tensor(followed)

    expected = train()
    with device:
        followed = train()
    torch.testing.assert_close(followed, expected, rtol=1e-4, atol=1e-5)


def test_training_goes_on_after_the_block_and_in_the_next(device):
    make, x = MODELS["mlp"]

    def step(model):
        model.zero_grad()
        model(x).square().mean().backward()
        torch.optim.SGD(model.parameters(), lr=0.1).step()

    plain, model = seeded(make), seeded(make)
    for _ in range(4):
        step(plain)
    with device:
        step(model)
    step(model)
    with device:
        step(model)
        model = copy.deepcopy(model)
        step(model)
    assert_close(model.parameters(), plain.parameters())


def frozen(model, names):
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in names)
    return model


@pytest.mark.parametrize("names", [(), ("0.weight",), ("0.bias", "3.weight"), ("3.bias",)])
def test_a_convolution_has_the_gradients_that_are_wanted_and_no_others(names):
    """The op returns None for the others, such as that of the first layer's input."""
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.AvgPool2d(2), nn.ConvTranspose2d(8, 4, 2, 2), nn.Flatten()
    )
    frozen(model, names)
    image = torch.rand(2, 3, 8, 8)

    def step(module):
        module(image).square().mean().backward()
        return {name: parameter.grad for name, parameter in module.named_parameters()}

    wanted = step(copy.deepcopy(model))
    with ttreg.device_mode(device="emulated", min_upload_numel=0, on_fallback="raise"):
        given = step(model)
    assert [name for name, grad in given.items() if grad is None] == list(names)
    for name, grad in wanted.items():
        if grad is not None:
            torch.testing.assert_close(given[name], grad)


@pytest.mark.parametrize(
    ("kind", "kernel"),
    [(nn.Conv2d, 3), (nn.Conv2d, 1), (nn.Conv1d, 3), (nn.ConvTranspose2d, 2)],
)
def test_gradients_of_kernels_take_little_more_than_their_size(kind, kernel):
    # In tiles, the few rows and columns of each kernel would be padded to 32 × 32.
    layer = kind(64, 96, kernel)
    x = torch.rand(2, 64, *[8] * (layer.weight.ndim - 2))
    layer(x).square().sum().backward()
    wanted, layer.weight.grad = layer.weight.grad, None
    with ttreg.device_mode(device="emulated", min_upload_numel=0):
        layer(x).square().sum().backward()
        grad = layer.weight.grad
        assert of_cell(grad._cell) <= 2 * grad.nbytes
        assert torch.allclose(grad, wanted, rtol=1e-3, atol=1e-3)
