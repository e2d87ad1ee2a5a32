"""`ttreg.load`: safetensors files in a model's parameters, beside `load_state_dict`, and what a wrong one is told."""

from __future__ import annotations

import copy
import json

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import ttreg
from ttreg import WeightsError
from ttreg.runtime.block_floats import block_float_of

X = torch.arange(4 * 32).reshape(4, 32) % 50


class Model(nn.Module):
    def __init__(self):
        super().__init__()
        self.embedding = nn.Embedding(50, 64)
        self.wide = nn.Linear(64, 256)
        self.norm = nn.BatchNorm1d(32)
        self.kernel = nn.Conv1d(256, 64, 3, padding=1)
        self.head = nn.Linear(64, 50, bias=False)

    def forward(self, x):
        hidden = torch.relu(self.norm(self.wide(self.embedding(x))))
        return self.head(self.kernel(hidden.mT).mT)


def model(seed, dtype=torch.float32):
    torch.manual_seed(seed)
    return Model().to(dtype).eval()


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A model, and the file with its weights."""
    net, path = model(0), tmp_path_factory.mktemp("weights") / "model.safetensors"
    save_file(net.state_dict(), path)
    return net, path


@pytest.fixture
def block():
    return ttreg.device_mode(device="emulated")


def bits_equal(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_loaded_model_computes_what_the_stored_one_does(stored, block):
    net, path = stored
    other = model(1)
    parameters = list(other.parameters())
    with block as session, torch.no_grad():
        result = ttreg.load(other, path)
        assert session.report().transfers.weight_uploads == 3, "linear layers go to the device at once"
        found = other(X)
        uploads = session.report().transfers.weight_uploads
        assert torch.equal(other(X), found)
        assert session.report().transfers.weight_uploads == uploads, "they went there again"
    assert (result.missing_keys, result.unexpected_keys) == ([], [])
    torch.testing.assert_close(found, net(X), rtol=1e-4, atol=1e-5)
    assert bits_equal(other.state_dict(), net.state_dict())
    assert all(one is before for one, before in zip(other.parameters(), parameters, strict=True))


def test_real_ttnn_accepts_what_is_loaded(stored):
    net, path = stored
    with ttreg.device_mode(device="emulated", validate=True), torch.no_grad():
        ttreg.load(other := model(1), path, dtypes={"wide.*": "bfloat4_b", "head.*": "bfloat16", "*": "bfloat8_b"})
        found = other(X)
    torch.testing.assert_close(found, net(X), rtol=0, atol=0.1)


@pytest.mark.parametrize("make", [lambda: model(1), lambda: Model().to("meta").eval()], ids=["plain", "meta"])
def test_outside_of_blocks_weights_go_to_the_device_when_a_block_uses_them(make, stored, block):
    net, path = stored
    ttreg.load(other := make(), path)
    assert torch.equal(other(X), net(X))
    with block as session, torch.no_grad():
        torch.testing.assert_close(other(X), net(X), rtol=1e-4, atol=1e-5)
    assert session.report().totals.host_float == 0


def test_the_first_pattern_that_matches_a_name_says_its_dtype(stored, block):
    net, path = stored
    other = model(1)
    with block, torch.no_grad():
        ttreg.load(other, path, dtypes={"head.*": None, "*.weight": "bfloat8_b", "wide.*": "bfloat4_b"})
        found = other(X)
    said = {name: block_float_of(parameter) for name, parameter in other.named_parameters()}
    assert said["head.weight"] is said["wide.bias"] is said["norm.weight"] is None
    assert said["wide.weight"] == said["kernel.weight"] == "bfloat8_b"
    assert 1e-4 < (found - net(X)).abs().max() < 0.05, "nothing was rounded, or too much"


def test_the_dtype_of_the_model_counts(stored, block):
    net, path = stored
    other = model(1, torch.bfloat16)
    with block, torch.no_grad():
        ttreg.load(other, path)
        found = other(X)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.bfloat16}
    assert torch.equal(other.wide.weight, net.wide.weight.bfloat16())
    torch.testing.assert_close(found.float(), net(X), rtol=0, atol=0.05)


def test_several_files_and_an_index_are_loaded_as_one(stored, tmp_path, block):
    net, _ = stored
    state = net.state_dict()
    files = {"a.safetensors": list(state)[::2], "b.safetensors": list(state)[1::2]}
    for file, names in files.items():
        save_file({name: state[name] for name in names}, tmp_path / file)
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {name: file for file, names in files.items() for name in names}}))
    for path in (index, [tmp_path / file for file in files]):
        with block:
            ttreg.load(other := model(1), path)
        assert bits_equal(other.state_dict(), state)


def test_writes_and_gradients_are_those_of_ordinary_parameters(stored, block):
    net, path = copy.deepcopy(stored[0]), stored[1]
    other = model(1)
    both = net.train(), other.train()
    steps = [torch.optim.SGD(each.parameters(), lr=0.1) for each in both]
    with block:
        ttreg.load(other, path)
        copied = copy.deepcopy(other)
        for _ in range(2):
            steps[1].zero_grad()
            other(X).square().mean().backward()
            steps[1].step()
        other.head.weight.detach().numpy()[:] *= 2
        found = other(X).detach()
        other.load_state_dict(stored[0].state_dict())
    for _ in range(2):
        steps[0].zero_grad()
        net(X).square().mean().backward()
        steps[0].step()
    net.head.weight.detach().mul_(2)
    torch.testing.assert_close(found, net(X).detach(), rtol=1e-3, atol=1e-4)
    for each in (copied, other):
        assert all(torch.equal(a, b) for a, b in zip(each.parameters(), stored[0].parameters(), strict=True))
    again = model(2)
    ttreg.load(again, path)
    assert bits_equal(again.state_dict(), stored[0].state_dict()), "the file was written to"


def test_a_write_with_numpy_in_the_block_reaches_the_device(stored, block):
    with block, torch.no_grad():
        ttreg.load(other := model(1), stored[1])
        other(X)
        other.head.weight.detach().numpy()[:] = 0
        assert not other(X).any()


@pytest.mark.parametrize("place", ["cpu", "meta"])
def test_tied_weights_stay_tied_and_are_stored_once(place, tmp_path, block):
    with torch.device(place):
        net = nn.ModuleDict({"embedding": nn.Embedding(50, 64), "head": nn.Linear(64, 50, bias=False)})
    save_file({"embedding.weight": torch.ones(50, 64)}, tmp_path / "tied.safetensors")
    net["head"].weight = net["embedding"].weight
    with block:
        ttreg.load(net, tmp_path / "tied.safetensors")
    assert net["head"].weight is net["embedding"].weight
    assert torch.equal(net["head"].weight, torch.ones(50, 64))


def test_parameters_that_share_memory_go_on_to(tmp_path):
    flat = torch.zeros(2, 64)
    net = nn.ParameterDict({"a": nn.Parameter(flat[0]), "b": nn.Parameter(flat[1])})
    save_file({"a": torch.ones(64), "b": torch.full((64,), 2.0)}, tmp_path / "flat.safetensors")
    ttreg.load(net, tmp_path / "flat.safetensors")
    assert flat.tolist() == [[1.0] * 64, [2.0] * 64]


def changed(state, **tensors):
    return {name: tensor for name, tensor in {**state, **tensors}.items() if tensor is not None}


@pytest.mark.parametrize(
    ("tensors", "said"),
    [
        ({"head.weight": None}, r"Missing key.*head\.weight"),
        ({"more.weight": torch.ones(3)}, r"Unexpected key.*more\.weight"),
        ({"wide.weight": torch.ones(64, 256)}, r"size mismatch for wide\.weight"),
    ],
)
def test_what_does_not_fit_is_named_and_the_model_stays_as_it_was(tensors, said, stored, tmp_path, block):
    path = tmp_path / "other.safetensors"
    save_file(changed(stored[0].state_dict(), **tensors), path)
    other, same = model(1), model(1)
    with block, pytest.raises(WeightsError, match=f"(?s){said}"):
        ttreg.load(other, path)
    assert bits_equal(other.state_dict(), same.state_dict())
    if "size" not in said:
        result = ttreg.load(other, path, strict=False)
        assert [*result.missing_keys, *result.unexpected_keys] == list(tensors)
        assert torch.equal(other.wide.weight, stored[0].wide.weight)


def test_broken_files_and_wrong_dtypes_are_told(stored, tmp_path):
    whole = stored[1].read_bytes()
    broken = tmp_path / "broken.safetensors"
    for content in (b"", whole[:-100], whole[:40], b"\xff" * 100, b"{}"):
        broken.write_bytes(content)
        with pytest.raises(WeightsError, match=r"broken\.safetensors is no safetensors file, or not a whole one"):
            ttreg.load(model(1), broken)
    index = tmp_path / "index.json"
    for content, said in [
        ("{", "is no JSON"),
        ("[]", "is no index"),
        ('{"weight_map": {"a": "../x"}}', "expected the name of a file in its own folder"),
        ('{"weight_map": {"a": "x.safetensors"}}', "names x.safetensors, which is not there"),
    ]:
        index.write_text(content)
        with pytest.raises(WeightsError, match=said):
            ttreg.load(model(1), index)
    index.write_text(json.dumps({"weight_map": {"nothing": stored[1].name}}))
    (tmp_path / stored[1].name).write_bytes(whole)
    with pytest.raises(WeightsError, match="says that nothing is in"):
        ttreg.load(model(1), index)
    with pytest.raises(WeightsError, match=r"embedding\.weight is in .* and in"):
        ttreg.load(model(1), [stored[1], tmp_path / stored[1].name])
    with pytest.raises(FileNotFoundError):
        ttreg.load(model(1), tmp_path / "none.safetensors")
    with pytest.raises(WeightsError, match="'bfloat7'; expected one of 'float32', 'bfloat16'"):
        ttreg.load(model(1), stored[1], dtypes={"*": "bfloat7"})
    with pytest.raises(ValueError, match=r"'wide\.wieght' matches none of the model's parameters"):
        ttreg.load(model(1), stored[1], dtypes={"*": "bfloat8_b", "wide.wieght": "bfloat8_b"})
