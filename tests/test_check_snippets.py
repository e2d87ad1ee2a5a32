"""The program that an AccuracyError gives repeats the call, in a process of its own."""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys

import pytest
import torch
from torch import nn

import ttreg
from ttreg.checking.compare import pcc
from ttreg.registry import registry

# A user's package: its ops, and lowerings that give them wrong values.
PACKAGE = """
import torch
import ttreg
from ttreg.conditions import FLOATS
from ttreg.specs import Weight

library = torch.library.Library("ttreg_wrong", "DEF")


def op(schema, function, lowering, takes=FLOATS):
    library.define(schema)
    name = schema.partition("(")[0]
    library.impl(name, function, "CompositeExplicitAutograd")
    packet, _, overload = name.partition(".")
    if lowering is not None:
        packet = getattr(torch.ops.ttreg_wrong, packet)
        ttreg.lower(packet.default, samples=list, takes=takes)(lowering)


def cube(tt, self, times):
    return tt.multiply(self, tt.multiply(self, self))


def join(tt, tensors, weights):
    return tt.subtract(tensors[0], tensors[-1])


def fan(tt, self):
    return self, lambda: tt.multiply(self, self)


def turn(tt, self):
    return tt.reshape(self, [self.shape[1], self.shape[0]])


def product(tt, self, weight):
    return tt.matmul(self, tt.abs(weight))


op("twice(Tensor self, float times=2.0) -> Tensor", lambda self, times=2.0: self * times, cube)
op("twice_(Tensor(a!) self, float times=2.0) -> Tensor(a!)", lambda self, times=2.0: self.mul_(times), None)
op("join(Tensor[] tensors, Tensor? weights=None) -> Tensor", lambda tensors, weights=None: sum(tensors), join)
op("fan(Tensor self) -> (Tensor, Tensor)", lambda self: (self.clone(), self + self), fan)
op("turn(Tensor(a) self) -> Tensor(a)", lambda self: self.t(), turn)
op("product(Tensor self, Tensor weight) -> Tensor", torch.matmul, product,
   {"self": FLOATS, "weight": Weight(FLOATS)})
"""

# Runs each program on its own terms, and tells what each raised.
RUNNER = """
import json, sys, traceback
found = []
for path in sys.argv[1:]:
    try:
        exec(compile(open(path).read(), path, "exec"), {"__name__": "__main__"})
        found.append(None)
    except Exception as error:
        found.append([type(error).__name__, str(error), vars(error)])
print(json.dumps(found, default=str))
"""

X = torch.linspace(-2, 3, 12).reshape(3, 4)
ODD = torch.tensor([[1.5, float("inf")], [float("nan"), -2.5], [-0.0, 3.0]])
LARGE = torch.linspace(-2, 3, 2 * 33 * 5 * 4).reshape(2, 33, 5, 4).to(memory_format=torch.channels_last)


def with_block_float(weight):
    parameter = nn.Parameter(weight)
    ttreg.carry_in(parameter, "bfloat4_b")
    return parameter


CALLS = {
    "a small tensor": lambda ops, put: ops.twice(put(X), 3.0),
    "a tensor of the host": lambda ops, put: ops.twice(X.t()),
    "strides with gaps": lambda ops, put: ops.twice(torch.linspace(-2, 3, 24).reshape(4, 6)[::2, 1:5]),
    "strides of 0": lambda ops, put: ops.twice(X[:, :1].expand(3, 5)),
    "bfloat16": lambda ops, put: ops.twice(put(X.bfloat16())),
    "infinities": lambda ops, put: ops.twice(put(ODD), float("inf")),
    "values in a file": lambda ops, put: ops.twice(put(LARGE)),
    "in place": lambda ops, put: ops.twice_(put(X)),
    "in place, values in a file": lambda ops, put: ops.twice_(put(LARGE), times=-1.0),
    "a list": lambda ops, put: ops.join([put(X), X.t().contiguous().t(), put(X) + 1]),
    "one tensor twice": lambda ops, put: (lambda x: ops.join([x, x], weights=x))(put(X)),
    "an output made later": lambda ops, put: ops.fan(put(X))[1].tolist(),
    "a view": lambda ops, put: ops.turn(put(X)) + 1,
    # The first view is used before, so that the second is made of it and not of what both are views of.
    "a view of a view": lambda ops, put: (lambda x: (x + 1, ops.turn(x) + 1))(put(LARGE)[0, :, 1]),
    "a weight in block floats": lambda ops, put: ops.product(
        put(X), with_block_float(torch.linspace(-1, 1, 8).view(4, 2))
    ),
}


@pytest.fixture(scope="module")
def ops(tmp_path_factory):
    """The wrong package's ops, and the folder that it lies in."""
    folder = tmp_path_factory.mktemp("package")
    (folder / "wrong_package.py").write_text(PACKAGE)
    sys.path.insert(0, str(folder))
    module = importlib.import_module("wrong_package")
    yield torch.ops.ttreg_wrong, folder
    sys.path.remove(str(folder))
    for op in [op for op in registry._entries if op.namespace == "ttreg_wrong"]:
        registry._entries.pop(op)
    module.library._destroy()


def caught(call, ops, **settings):
    keywords = {"device": "emulated", "min_upload_numel": 0, "check": 0.99, **settings}
    with pytest.raises(ttreg.AccuracyError) as error, ttreg.device_mode(**keywords) as session, torch.no_grad():
        call(ops, session.to_device)
    return error.value


@pytest.fixture(scope="module")
def repeated(ops, tmp_path_factory):
    """The error of each call, and what the program that it gives raised in another process."""
    namespace, folder = ops
    folder_of_files = tmp_path_factory.mktemp("saved")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder_of_files))
        errors = {name: caught(call, namespace) for name, call in CALLS.items()}
        errors["under precision"] = caught(CALLS["a small tensor"], namespace, precision="bfloat16", arch="blackhole")
    paths = []
    for number, error in enumerate(errors.values()):
        paths.append(folder_of_files / f"program{number}.py")
        paths[-1].write_text(error.snippet)
    done = subprocess.run(
        [sys.executable, "-c", RUNNER, *map(str, paths)],
        env=os.environ | {"PYTHONPATH": str(folder)}, cwd=folder_of_files, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = json.loads(done.stdout.splitlines()[-1])
    return {name: (error, again) for (name, error), again in zip(errors.items(), found, strict=True)}


@pytest.mark.parametrize("name", [*CALLS, "under precision"])
def test_the_program_raises_the_same_error(name, repeated):
    error, again = repeated[name]
    assert again is not None, f"nothing was raised by\n{error.snippet}"
    kind, text, attributes = again
    assert kind == "AccuracyError", text
    assert (attributes["op"], attributes["lowering"]) == (error.op, error.lowering)
    assert attributes["pcc"] == error.pcc
    assert (attributes["max_abs"], attributes["max_ulp"]) == (error.max_abs, error.max_ulp)
    assert text.split("to repeat it")[0] == str(error).split("to repeat it")[0]


def test_a_program_is_short_and_reads_well(ops):
    error = caught(lambda ops, put: ops.join([put(torch.ones(2)), torch.arange(3.0)[1:]]), ops[0])
    assert error.snippet == (
        "import torch\n"
        "import ttreg\n"
        "import wrong_package  # registers the entry\n"
        "\n"
        "tensors_0 = torch.tensor([1.0, 1.0], dtype=torch.float32)\n"
        "tensors_1 = torch.tensor([1.0, 2.0], dtype=torch.float32)\n"
        "with ttreg.device_mode(device='emulated', check=0.99, min_upload_numel=0) as session, "
        "torch.inference_mode():\n"
        "    result = torch.ops.ttreg_wrong.join.default([session.to_device(tensors_0), tensors_1])\n"
        "    print(result)\n"
    )


def test_an_op_of_the_main_program_is_told_where_to_put_it(ops, monkeypatch):
    monkeypatch.setattr("wrong_package.cube.__module__", "__main__")
    entry = registry.find(ops[0].twice.default)
    monkeypatch.setitem(registry._entries, entry.op, type(entry)(**{**vars_of(entry), "module": "__main__"}))
    error = caught(CALLS["a small tensor"], ops[0])
    assert "# Here goes what registers the entry of ttreg_wrong.twice.default" in error.snippet


def vars_of(entry):
    return {name: getattr(entry, name) for name in entry.__dataclass_fields__}


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(4))

    def forward(self, x):
        for number, layer in enumerate(self.layers):
            x = layer(x).relu()
            if number == 2:
                x = torch.ops.ttreg_wrong.twice(x, 0.5)
        return x


def test_a_wrong_lowering_of_a_users_own_is_found_in_a_model(ops):
    torch.manual_seed(0)
    model, x = Network(), torch.randn(5, 8)
    error = caught(lambda ops, put: model(x), ops[0])
    assert (error.op, error.lowering) == ("ttreg_wrong.twice.default", "wrong_package.cube")
    with torch.no_grad():
        inside = nn.Sequential(*[part for layer in model.layers[:3] for part in (layer, nn.ReLU())])(x)
    assert error.pcc == pytest.approx(pcc(inside**3, inside / 2), abs=1e-4)
    assert error.max_abs == pytest.approx(float((inside**3 - inside / 2).abs().max()), rel=1e-3)
