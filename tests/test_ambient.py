"""What PyTorch keeps per thread or process decides the device's results as it decides the host's, and nothing else."""

from __future__ import annotations

import ast
import contextlib
import copy
import io
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode
from ttreg.ops.vocabulary import kept as kept_values

import ttreg
from ttreg.checking.compare import close
from ttreg.registry import registry
from ttreg.verification.trial import trial

REPOSITORY = Path(ttreg.__file__).parent.parent
X = torch.arange(48.0).reshape(6, 8) / 16 - 1
I = torch.arange(48, dtype=torch.int32).reshape(6, 8) % 11  # noqa: E741
DTYPES = (torch.bfloat16, torch.float16, torch.float64)


@contextlib.contextmanager
def default_dtype(dtype):
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextlib.contextmanager
def default_device(name):
    torch.set_default_device(name)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def deterministic(**options):
    torch.use_deterministic_algorithms(True, **options)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)


@contextlib.contextmanager
def matmul_precision(name):
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(name)
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


def of_integers(x, i):
    """Programs whose dtypes are the default's, where PyTorch has any such."""
    yield "add", lambda: i + 2.5
    yield "subtract from", lambda: 2.5 - i
    yield "times a truth value", lambda: (i > 5) * 2.5
    yield "divide", lambda: i / (i + 1)
    yield "divide by an integer", lambda: i / 3
    yield "divide truth values", lambda: (i > 5) / 2
    yield "divide bytes", lambda: i.to(torch.uint8) / 255
    yield "divide int64", lambda: i.long() / 3
    yield "divide without rounding", lambda: torch.div(i, 3, rounding_mode=None)
    yield "divide and round", lambda: torch.div(i, 3, rounding_mode="floor")
    yield "divide in place", lambda: (i + 0).div_(2)
    yield "floor", lambda: i // 2.5
    yield "remainder", lambda: i % 2.5
    yield "power", lambda: i**2.5
    yield "sigmoid", lambda: i.sigmoid()
    yield "where", lambda: torch.where(i > 3, i, 2.5)
    yield "where of numbers", lambda: torch.where(i > 3, 1.5, 2.5)
    yield "clamp", lambda: i.clamp(0.5, 7.5)
    yield "compare", lambda: i < 2.5
    yield "complex", lambda: i * 1j
    yield "sum", lambda: (i.sum(), i.cumsum(0))
    yield "a tensor of a number", lambda: (i + torch.tensor(2.5), x + torch.tensor(2.5))
    yield "made", lambda: (torch.full((3,), 2.5) + 1, torch.arange(0, 3, 0.5) + 1, torch.linspace(0, 1, 7) + 1)
    yield "beside one", lambda: (x.new_ones(3) + x.new_tensor([1.0, 2.0, 3.0]), i.new_full((2,), 3))
    yield "floats", lambda: (x.softmax(-1).dtype, x.std().dtype, (x > 0).float().mean().dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_the_default_dtype_decides_also_where_a_decision_is_kept(dtype, same_as_cpu):
    def results(x, i):
        for name, program in of_integers(x, i):
            try:
                yield name, program()
            except (RuntimeError, NotImplementedError) as error:
                yield name, f"{type(error).__name__}: {error}"

    def program(tensor):
        x, i = tensor(X), tensor(I)
        before = list(results(x, i))
        with default_dtype(dtype):
            within = list(results(x, i))
        return before, within, list(results(x, i))

    same_as_cpu(program)


def test_integers_are_divided_on_the_device_in_a_default_dtype_that_it_has(device):
    for dtype in (torch.float32, torch.bfloat16):
        with default_dtype(dtype), device as session:
            i = session.to_device(I)
            assert (i / 3).dtype is (i / (i + 1)).dtype is dtype
            assert session.report().totals.host == 0


# Constants of float64 are of no use to the device, and such of the meta device to no one.
@pytest.mark.parametrize("entry", [e for e in registry if e.kind == "device"], ids=lambda e: str(e.op))
def test_lowerings_make_the_same_constants_under_any_default(entry):
    for sample in list(entry.samples())[::3]:
        kept_values._kept.clear()
        with (
            ttreg.device_mode(device="emulated", min_upload_numel=0) as session,
            default_dtype(torch.float64),
            default_device("meta"),
        ):
            result = trial(session, entry, sample)
        for output, expected in zip(result.outputs, result.expected, strict=True):
            assert output.meta is expected.meta
            assert close(output.values, expected.values)


FACTORIES = {
    *("arange", "asarray", "as_tensor", "empty", "empty_strided", "eye", "full", "linspace", "logspace", "ones"),
    *("rand", "randint", "randn", "tensor", "tril_indices", "triu_indices", "zeros"),
}


def _makes(function):
    """The calls in a function that make a tensor out of nothing."""
    for node in ast.walk(function):
        called = node.func if isinstance(node, ast.Call) else None
        if isinstance(called, ast.Attribute) and ast.unparse(called.value) == "torch" and called.attr in FACTORIES:
            yield node


def _of_lowerings(tree):
    """The functions that make what a lowering takes, and the lowerings."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            decorators = [ast.unparse(decorator) for decorator in node.decorator_list]
            if "from_sizes" in decorators or [a.arg for a in node.args.args[:1]] == ["tt"]:
                yield node


def test_what_is_made_on_the_host_names_its_dtype():
    """PyTorch's default is the process's: another thread, or another model, may have another one in mind."""
    makes = []
    for path in (REPOSITORY / "ops").glob("*.py"):
        for function in _of_lowerings(ast.parse(path.read_text())):
            makes += [(path.name, call) for call in _makes(function)]
    assert len(makes) > 15
    for folder in ("ttreg/runtime", "ttreg/devices", "ttreg/hooks", "ttreg/checking", "ttreg/verification", "fallback"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            makes += [(path.name, call) for call in _makes(ast.parse(path.read_text()))]
    for name, call in makes:
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        # What is made on the meta device without one is asked for its strides alone.
        assert "dtype" in given or given.get("device") == "'meta'", f"{name}: {ast.unparse(call)}"


@pytest.mark.parametrize(("between", "mode"), [(torch.bfloat16, "bilinear"), (torch.float16, "bicubic")])
def test_what_is_kept_between_calls_has_no_default_dtype(between, mode, device):
    kept_values._kept.clear()
    expected = F.interpolate(X[None, None], size=(9, 13), mode=mode)
    with device as session:
        image = session.to_device(X[None, None])
        with default_dtype(between):
            F.interpolate(image, size=(9, 13), mode=mode)
        given = F.interpolate(image, size=(9, 13), mode=mode)
    torch.testing.assert_close(given.host(), expected)


def test_what_is_kept_between_calls_has_its_denormals(device):
    kept_values._kept.clear()
    with device:
        assert torch.set_flush_denormal(True)
        try:
            torch.linspace(0.0, 1e-40, 5, dtype=torch.float32).tolist()
        finally:
            torch.set_flush_denormal(False)
        given = torch.linspace(0.0, 1e-40, 5, dtype=torch.float32).tolist()
    assert given == torch.linspace(0.0, 1e-40, 5, dtype=torch.float32).tolist()
    assert given[-1] > 0


def _gradient(x):
    x = x.detach().requires_grad_()
    scaled = F.interpolate(x[None, None], size=(7, 9), mode="bilinear")
    attended = F.scaled_dot_product_attention(*[x[None, None]] * 3, is_causal=True)
    torch.autograd.backward(scaled.tanh().sum() + x.tril().sum() + attended.sum())
    return [[round(value, 3) for value in row] for row in x.grad.tolist()]


def _written(x):
    y = x.relu()
    y.data = x * 2
    y[:, 0] = 5
    return y.mul_(2).t_()


def _saved(x):
    file = io.BytesIO()
    torch.save(x.relu(), file)
    file.seek(0)
    return torch.load(file)


READS = {
    "list": lambda x: x.relu().tolist(),
    "text": lambda x: (repr(x.relu()), str(x.bfloat16()), f"{x.sum():.3f}"),
    "numbers": lambda x: (x.sum().item(), float(x.max()), int(x.argmax()), bool(x.any())),
    "array": lambda x: x.relu().numpy().tolist(),
    "saved": _saved,
    "copied": lambda x: (copy.deepcopy(x.relu()), pickle.loads(pickle.dumps(x.relu()))),
    "written": _written,
    "gradient": _gradient,
    "storage": lambda x: (x.untyped_storage().nbytes(), x.relu().data_ptr() != 0),
    "on the host": lambda x: x.relu().cumsum(0).unique(),
    "made beside": lambda x: (torch.zeros(3) + 1).device.type,
}
DEVICES = {
    "with meta": lambda: torch.device("meta"),
    "with cpu": lambda: torch.device("cpu"),
    "with cpu:0": lambda: torch.device("cpu:0"),
    "meta": lambda: default_device("meta"),
    "cpu": lambda: default_device("cpu"),
}


@pytest.mark.parametrize("ambient", DEVICES.values(), ids=DEVICES)
@pytest.mark.parametrize("program", READS.values(), ids=READS)
def test_tensors_are_read_and_written_under_any_default_device(program, ambient, same_as_cpu):
    def under(tensor):
        x = tensor(X)
        with ambient():
            return program(x)

    same_as_cpu(under)


def test_tensors_go_to_the_device_under_another_default_device(device):
    with torch.device("meta"), device as session:
        x = session.to_device(X)
        assert (x + 1).tolist() == (X + 1).tolist()
        kept = x + 1
        assert session.report().totals.host == 0
    assert kept.tolist() == (X + 1).tolist()


class Seen(TorchFunctionMode):
    """Notes which of PyTorch's functions the program calls."""

    def __init__(self):
        super().__init__()
        self.names = []

    def __torch_function__(self, function, types, args=(), kwargs=None):
        self.names.append(getattr(function, "__name__", str(function)))
        return function(*args, **(kwargs or {}))


@pytest.mark.parametrize("name", ["gradient", "numbers", "on the host"])
def test_a_mode_that_overrides_functions_sees_those_that_the_program_calls(name, device):
    def seen(x):
        with Seen() as mode:
            READS[name](x)
        return mode.names

    expected = seen(X.clone())
    with device as session:
        assert seen(session.to_device(X)) == expected


def test_ttreg_may_be_imported_under_other_defaults():
    program = """
import torch
torch.set_default_device("meta"), torch.set_default_dtype(torch.float64)
import ttreg
with ttreg.device_mode(device="emulated", min_upload_numel=0) as session, torch.no_grad():
    x = session.to_device(torch.ones(5, 7, dtype=torch.float32, device="cpu"))
    image = torch.nn.functional.interpolate(x[None, None], size=(7, 9), mode="bilinear")
    values = (image.tril() + 1).exp().sum().item(), (x > torch.ones(7, dtype=torch.float32, device="cpu")).any().item()
print(*values, session.report().totals.host_float - 1, sep="\\n")
"""
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    total, found, on_host = out.split()
    ones = torch.ones(7, 9).tril()
    assert float(total) == pytest.approx(float((ones + 1).exp().sum()), rel=1e-5)
    assert (found, on_host) == ("False", "0")


def _unpooled(x):
    return F.max_unpool2d(*F.max_pool2d(x[None], 2, return_indices=True), 2)


def test_what_is_not_deterministic_is_refused_as_on_the_cpu(device):
    with deterministic(), pytest.raises(RuntimeError, match="deterministic") as expected:
        _unpooled(X)
    with device as session:
        x = session.to_device(X)
        assert _unpooled(x).tolist() == _unpooled(X).tolist()
        with deterministic(), pytest.raises(RuntimeError, match="deterministic") as given:
            _unpooled(x)
        assert str(given.value) == str(expected.value)
        assert _unpooled(x).tolist() == _unpooled(X).tolist()


def test_memory_is_filled_where_the_program_asks_for_that(device):
    with device as session, deterministic():
        x = session.to_device(X)
        made = torch.empty(3), torch.empty_like(x), x.new_empty(2)
        assert all(bool(tensor.isnan().all()) for tensor in made)
        assert x.relu().tolist() == X.relu().tolist()


COMPOSED = {
    "einsum": lambda x: torch.einsum("ij,kj->ik", x, x),
    "tensordot": lambda x: torch.tensordot(x, x.mT, 1),
    "inner": lambda x: torch.inner(x, x),
    "chain": lambda x: torch.linalg.multi_dot([x, x.mT, x]),
    "covariance": lambda x: torch.cov(x),
    "distances": lambda x: torch.cdist(x, x),
    "similarity": lambda x: F.cosine_similarity(x, x + 1),
    "linear": lambda x: F.linear(x, x),
    "normed": lambda x: F.layer_norm(x, (8,)) @ x.mT,
    "bilinear": lambda x: F.bilinear(x, x, x[:6, :, None] * x[0]),
    "inverse": lambda x: torch.linalg.pinv(x.mT @ x + torch.eye(8)),
}


@pytest.mark.parametrize("mode", [torch.inference_mode, torch.no_grad, torch.enable_grad])
@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("program", COMPOSED.values(), ids=COMPOSED)
def test_autocast_goes_on_within_ops_that_arrive_whole(program, enabled, mode, device):
    def run(x):
        with mode(), torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            return program(x)

    expected = run(X)
    with device as session:
        with mode():
            x = session.to_device(X)
        given = run(x)
        assert given.dtype is expected.dtype
        values = torch.tensor(given.tolist(), dtype=given.dtype)
        torch.testing.assert_close(values, expected.detach(), atol=2e-2, rtol=2e-2)


LAYERS = {
    "lstm": lambda: torch.nn.LSTM(8, 6, bidirectional=True),
    "lstm with projections": lambda: torch.nn.LSTM(8, 6, proj_size=4),
    "gru": lambda: torch.nn.GRU(8, 6),
}


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("layer", LAYERS.values(), ids=LAYERS)
def test_recurrent_layers_give_autocasts_dtypes(layer, packed, device):
    torch.manual_seed(0)
    module = layer()

    def run(x):
        module.zero_grad()
        inputs = torch.nn.utils.rnn.pack_sequence([x, x[:4]]) if packed else x
        with torch.autocast("cpu", torch.bfloat16):
            output, states = module(inputs)
        output = output.data if packed else output
        output.float().sum().backward()
        states = states if isinstance(states, tuple) else (states,)
        return [output.detach(), *(state.detach() for state in states), next(module.parameters()).grad.clone()]

    of_onednn = layer is LAYERS["lstm"] and not packed
    if of_onednn and not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        # PyTorch cannot run it on this CPU: oneDNN has no such layer without AVX-512. PyTorch's own kernel has values.
        with torch.backends.mkldnn.flags(enabled=False):
            *outputs, gradient = run(X)
        expected = [*(output.bfloat16() for output in outputs), gradient]
    else:
        expected = run(X)
    with device as session:
        given = run(session.to_device(X))
    for one, other in zip(given, expected, strict=True):
        assert one.dtype is other.dtype
        torch.testing.assert_close(torch.tensor(one.tolist(), dtype=one.dtype), other, atol=5e-2, rtol=5e-2)


def _of_weights(x):
    weight = (X * 3).requires_grad_()
    scores = F.scaled_dot_product_attention(*[F.linear(x, weight)[None, None]] * 3, is_causal=True)
    scores.softmax(-1).square().sum().backward()
    return [scores.detach(), weight.grad, F.conv2d(x[None, None], X[None, None, :3, :3])]


WITHOUT_EFFECT = {
    "matmul precision": lambda: matmul_precision("medium"),
    "oneDNN off": lambda: torch.backends.mkldnn.flags(enabled=False),
    "math attention": lambda: torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH),
    "anomaly detection": lambda: torch.autograd.set_detect_anomaly(True),
    "backward in one thread": lambda: torch.autograd.set_multithreading_enabled(False),
    "warnings of determinism": lambda: deterministic(warn_only=True),
    "NNPACK off": lambda: torch.backends.nnpack.flags(enabled=False),
}


@pytest.mark.filterwarnings("ignore:Anomaly Detection")
@pytest.mark.parametrize("first", [True, False], ids=["decided before", "decided within"])
@pytest.mark.parametrize("ambient", WITHOUT_EFFECT.values(), ids=WITHOUT_EFFECT)
def test_other_state_changes_no_result(ambient, first, device):
    expected = _of_weights(X)
    with device as session:
        x = session.to_device(X)
        if first:
            _of_weights(x)
        with ambient():
            given = _of_weights(x)
    for one, other in zip(given, expected, strict=True):
        assert one.dtype is other.dtype
        torch.testing.assert_close(torch.tensor(one.tolist()), other, atol=1e-4, rtol=1e-4)


def test_anomaly_detection_finds_what_it_finds_on_the_cpu(same_as_cpu):
    def program(tensor):
        x = tensor(X).requires_grad_()
        with torch.autograd.set_detect_anomaly(True):
            (x.sqrt() * 0).sum().backward()

    with pytest.warns(UserWarning, match="Anomaly|Error detected"):
        same_as_cpu(program, raises=True)
