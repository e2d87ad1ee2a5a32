"""`ttreg why` says what dispatch does, and the nearest call that it names is accepted."""

from __future__ import annotations

import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes
from torch.utils._pytree import tree_leaves, tree_map_only

import ttreg
from ttreg.call import bind_arguments
from ttreg.explain.lookup import find_op
from ttreg.explain.why import Oracle, placed
from ttreg.memory.tensor import DeviceTensor
from ttreg.meta import meta_of
from ttreg.notation import ArgumentsError, read, write_call
from ttreg.refusal import NO_META
from ttreg.registry import registry
from ttreg.runtime.dispatch import Dispatcher
from ttreg.settings import Settings


class Stopped(Exception):
    """Unwinds a call once dispatch has a plan for it."""


@pytest.fixture
def dispatched(monkeypatch):
    """What dispatch plans for a call; the call itself is not run."""

    def stop(self, plan, args, kwargs):
        raise Stopped(plan)

    for name in ("_run_on_device", "_run_on_host", "_run_view", "_run_decomposed"):
        monkeypatch.setattr(Dispatcher, name, stop)

    def plan_of(op, arguments):
        with torch.inference_mode(), pytest.raises(Stopped) as stopped:
            op(**arguments)
        return stopped.value.args[0]

    return plan_of


@pytest.fixture(scope="module")
def oracle():
    return Oracle(Settings())


def ask(call, **settings):
    """The answer to a call as one writes it."""
    name, _, args = call.removesuffix(")").partition("(")
    return Oracle(Settings(**settings)).ask(find_op(name), *read(args))


def held(session, tensor):
    """On the device if it can be, as `why` takes it."""
    meta = meta_of(tensor)
    if tensor.dtype not in session.carriers or not tensor.numel() or not meta.covers(tensor.nbytes):
        return tensor
    return session.to_device(tensor)


@pytest.mark.parametrize("entry", list(registry), ids=lambda entry: str(entry.op))
def test_why_agrees_with_dispatch_on_every_sample(entry, oracle, dispatched):
    block = ttreg.device_mode(device="emulated")
    for number, sample in enumerate(entry.samples()):
        arguments = bind_arguments(entry.op, sample.args, sample.kwargs)
        text = write_call(tree_map_only(torch.Tensor, meta_of, arguments))
        said = placed(*oracle.plan(entry.op, *read(text)))
        with block as session:
            with _disable_current_modes():
                given = tree_map_only(torch.Tensor, lambda t: held(session, t), arguments)
            plan = dispatched(entry.op, given)
        assert said.op == str(plan.op)
        somewhere_else = plan.placement in ("view", "local") and not any(
            isinstance(leaf, DeviceTensor) for leaf in tree_leaves(given)
        )
        if not somewhere_else:  # a view of what is on the host, and what is too small to be brought from there
            assert said.placement == plan.placement, f"sample {number}: {said}"
            refusal = plan.refusal
            assert said.condition == (refusal.condition if refusal else ""), f"sample {number}: {said}"
            assert refusal is None or refusal == NO_META or said.got == refusal.got


@pytest.mark.parametrize("entry", [e for e in registry if e.kind == "device"], ids=lambda entry: str(entry.op))
def test_the_nearest_call_is_accepted(entry, oracle):
    refused = set()
    for sample in entry.samples():
        metas = tree_map_only(torch.Tensor, meta_of, bind_arguments(entry.op, sample.args, sample.kwargs))
        plan, _ = oracle.plan(entry.op, (), metas)
        if plan.refusal is None or plan.refusal.condition in refused:
            continue
        refused.add(plan.refusal.condition)
        answer = oracle.ask(entry.op, (), metas)
        if answer.nearest is not None:
            assert oracle.ask(entry.op, *read(answer.nearest.call)).condition == ""
            assert answer.nearest.call != answer.call


@pytest.mark.parametrize(
    ("call", "change"),
    [
        ("add(f64[2, 3], f32[3])", {"self": "f32[2, 3]"}),
        ("add(f64[2, 3], f64[3])", {"self": "f32[2, 3]", "other": "f32[3]"}),
        ("cat([f32[2], f64[3]])", {"tensors": "[f32[2], f32[3]]"}),
        ("cumsum(f32[1, 1, 1, 1, 2, 3], 0)", {"self": "f32[1, 1, 1, 2, 3]"}),
        ("cumsum(f32[], 0)", {"self": "f32[1]"}),
        ("cumsum(f32[3], 0, dtype=float64)", {"dtype": "None"}),
        ("max_pool2d_with_indices(f32[1, 1, 2, 300], [1, 200])", {"kernel_size": "[1, 128]"}),
    ],
)
def test_one_argument_is_widened(call, change):
    answer = ask(call)
    assert not answer.accepted
    assert answer.nearest is not None
    assert answer.nearest.change == change


def test_a_refusal_says_condition_and_what_it_got():
    answer = ask("cumsum(i32[3], 0)")
    assert (answer.placement, answer.got) == ("host", "int32")
    assert answer.condition == "self in {bfloat16, float32}"
    assert answer.because


def test_a_call_arrives_as_pytorch_hands_it_over():
    answer = ask("mean(f32[2, 3], 1)")
    assert (answer.op, answer.call) == ("aten.mean.dim", "self=f32[2, 3], dim=[1], keepdim=False, dtype=None")


def test_parts_of_a_decomposed_op_have_their_own_placement():
    answer = ask("linear(f16[2, 3], f16[4, 3])")
    assert (answer.placement, answer.accepted) == ("decomposed", False)
    assert ("aten.mm.default", "host") in [(part.op, part.placement) for part in answer.parts]
    assert ask("softmax(f32[2, 3], 1)").accepted


def test_no_change_helps_what_the_host_always_runs_or_pytorch_refuses():
    assert ask("nonzero(f32[3])").nearest is None
    wrong = ask("mm(f32[2, 3], f32[4, 5])")
    assert wrong.nearest is None
    assert "reduction dim" in wrong.got or "multiplied" in wrong.got


def test_what_values_decide_is_said():
    assert "indices" in ask("embedding(f32[2, 3], i64[3])").provided


def test_settings_count():
    assert ask("embedding(f32[2, 3], i64[3])", precision="bfloat16").accepted
    assert ask("aten.add.Tensor(self=float32[2, 3], other=float32[3])", precision="bfloat16").accepted


@pytest.mark.parametrize(
    ("call", "said"),
    [
        ("mm(f32[2, 3], 3)", "Expected a value of type 'Tensor' for argument 'mat2'"),
        ("mm(f32[2, 3])", "missing value for argument 'mat2'"),
        ("relu(f32[2], True)", "at most 1 argument"),
    ],
)
def test_wrong_arguments_are_told_in_pytorchs_words(call, said):
    with pytest.raises(ArgumentsError, match=said):
        ask(call)


def test_a_tensor_made_of_sizes_alone_is_decided_without_making_it():
    said = Oracle().ask(torch.ops.aten.full.default, ([1 << 40], 5), {"dtype": torch.float32})
    assert "shape function" not in said.because
    assert said.call.startswith("size=[1099511627776]")
