"""What a recording depends on: a change is recorded anew, or told as the reason why nothing is recorded."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

import ttreg

X = torch.arange(-8.0, 8).reshape(4, 4) / 4
SCALE = 2.0
TABLE = {"shift": 1.0}


def network():
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.ReLU(), torch.nn.Linear(4, 4)).eval()


def holds(step, function, *args):
    """That the recorded function gives what the function gives, bit for bit."""
    assert step(*args).tolist() == function(*args).tolist()


@pytest.mark.parametrize(
    "change",
    [
        lambda net: net[0].weight.mul_(2),
        lambda net: net[0].weight.data.mul_(2),
        lambda net: setattr(net[0].weight, "data", net[0].weight.data * 2),
        lambda net: net[0].weight.detach().numpy().__imul__(2),
        lambda net: setattr(net[0], "weight", torch.nn.Parameter(net[0].weight * 2)),
        lambda net: setattr(net[2], "weight", net[0].weight),
        lambda net: net.load_state_dict({k: v * 2 for k, v in net.state_dict().items()}),
        lambda net: net.append(torch.nn.ReLU()),
        lambda net: setattr(net, "1", torch.nn.Tanh()),
        lambda net: net[0].register_forward_hook(lambda module, args, out: out + 1),
        lambda net: net[0].bias.copy_(torch.ones(4)),
        lambda net: torch.nn.utils.parametrizations.orthogonal(net[0]),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_a_changed_model_is_never_stale(change, inside):
    if not inside and "data" in change.__code__.co_names and "mul_" in change.__code__.co_names:
        pytest.skip("a write through `.data` in a thread outside of all blocks leaves no trace, see Uploads")
    net = network()
    with torch.no_grad():
        mode = ttreg.device_mode(device="emulated", min_upload_numel=0)
        with mode as session:
            step = session.record(net)
            for _ in range(4):
                holds(step, net, X.clone())
            assert step.counts.replays == 2
            if inside:
                change(net)
            else:
                change_outside(change, net)
            for _ in range(4):
                holds(step, net, X.clone())


def change_outside(change, net):
    """Change the model in another thread, which is in no block."""
    import threading

    def run():
        with torch.no_grad():
            change(net)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()


def test_numbers_are_guarded_by_value(session):
    step = session.record(lambda x, k: x * k)
    for k in (2, 2, 2, 3, 3, 3, 2.0, 2.0, 2.0, True, True, True, -0.0, -0.0, 0.0, 0.0):
        assert repr(step(X, k).tolist()) == repr((X * k).tolist())
        assert step(X, k).dtype == (X * k).dtype


@pytest.mark.parametrize("name", ["SCALE", "TABLE"])
def test_globals_are_guarded(name, session, monkeypatch):
    def function(x):
        return x * SCALE + TABLE["shift"]

    step = session.record(function)
    for _ in range(3):
        holds(step, function, X.clone())
    if name == "SCALE":
        monkeypatch.setitem(globals(), "SCALE", 3.0)
    else:
        monkeypatch.setitem(TABLE, "shift", 5.0)
    for _ in range(3):
        holds(step, function, X.clone())
    assert step.counts.recordings == 2


class Settings:
    def __init__(self):
        self.table = {"a": 1.0, "b": 2.0}
        self.scale = 1.0


def of_an_attribute(settings):
    settings.scale = 3.0


def of_the_attributes(settings):
    vars(settings)["scale"] = 3.0


def in_the_dicts_order(settings):
    settings.table["a"] = settings.table.pop("a")


WRITES = {
    "an attribute": lambda settings: setattr(settings, "scale", 3.0),
    "an attribute, by code that Python has specialized": of_an_attribute,
    "the dict of attributes": of_the_attributes,
    "another dict of attributes": lambda settings: setattr(settings, "__dict__", {**vars(settings), "scale": 3.0}),
    "below the class": lambda settings: object.__setattr__(settings, "scale", 3.0),
    "code": lambda settings: exec("scale = 3.0", settings.__dict__),
    "an item": lambda settings: settings.table.__setitem__("b", 3.0),
    "update": lambda settings: settings.table.update(b=3.0),
    "the order": in_the_dicts_order,
    "setdefault": lambda settings: settings.table.setdefault("c", 3.0),
    "popitem": lambda settings: settings.table.popitem(),
    "clear": lambda settings: settings.table.clear(),
    "a number of another type": lambda settings: settings.table.update(b=True),
}


@pytest.mark.parametrize("write", WRITES.values(), ids=list(WRITES))
def test_each_way_to_write_to_a_dict_is_seen(write, session):
    settings = Settings()
    for _ in range(50):  # what Python specializes code for
        of_an_attribute(Settings())

    def function(x):
        for number, value in enumerate(settings.table.values()):
            x = x * value + number
        return x * settings.scale

    step = session.record(function)
    for _ in range(3):
        holds(step, function, X.clone())
    settings.scale = float(str(settings.scale))  # an equal number
    holds(step, function, X.clone())
    assert step.counts.replays == 2
    write(settings)
    for _ in range(3):
        holds(step, function, X.clone())
    assert step.counts.recordings == 2


def test_what_a_closure_holds_is_guarded(session):
    scale, table = 2.0, [1.0, 2.0]
    tensor = session.to_device(X)

    def function(x):
        return x * scale + table[0] + tensor

    step = session.record(function)
    for _ in range(3):
        holds(step, function, X.clone())
    scale = 3.0
    for _ in range(3):
        holds(step, function, X.clone())
    table[0] = 7.0
    for _ in range(3):
        holds(step, function, X.clone())
    tensor.add_(1)
    for _ in range(3):
        holds(step, function, X.clone())
    tensor = session.to_device(X * 2)
    for _ in range(3):
        holds(step, function, X.clone())


def test_an_attribute_of_an_object_is_guarded(session):
    class Model:
        def __init__(self):
            self.scale, self.shift = 2.0, X.clone()

        def __call__(self, x):
            return x * self.scale + self.shift

    model = Model()
    step = session.record(model)
    for _ in range(3):
        holds(step, model, X.clone())
    model.scale = 3.0
    for _ in range(3):
        holds(step, model, X.clone())
    model.shift.add_(1)
    for _ in range(3):
        holds(step, model, X.clone())
    model.shift = X * 3
    for _ in range(3):
        holds(step, model, X.clone())


def test_training_flags_and_grad_modes_are_guarded(session):
    net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.5))
    step = session.record(net)
    for training in (False, False, False, True, True, True, False, False):
        net.train(training)
        torch.manual_seed(1)
        found = step(X.clone())
        torch.manual_seed(1)
        assert found.tolist() == net(X.clone()).tolist()


def test_the_default_dtype_is_guarded(session):
    step = session.record(lambda x: x + 1.5)
    whole = torch.arange(4)
    for dtype in (torch.float32, torch.float64, torch.float32):
        torch.set_default_dtype(dtype)
        try:
            for _ in range(3):
                assert step(whole).dtype == dtype
        finally:
            torch.set_default_dtype(torch.float32)


def test_buffers_that_are_written_are_written_in_a_replay(device):
    def run(session=None):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.BatchNorm1d(4, momentum=0.5), torch.nn.Identity())
        step = session.record(net) if session is not None else net
        for number in range(5):
            step(X * number)
        return {name: value.tolist() for name, value in net.state_dict().items()}, step

    with torch.no_grad():
        plainly, _ = run()
        with device as session:
            recorded, step = run(session)
    assert recorded["0.num_batches_tracked"] == plainly["0.num_batches_tracked"] == 5
    for name in plainly:
        assert torch.allclose(torch.tensor(recorded[name]), torch.tensor(plainly[name]), atol=1e-5), name
    assert step.counts.replays == 2, vars(step.counts)  # the first call shows which buffers are written


def refusals(session, function, *args):
    step = session.record(function)
    for _ in range(4):
        step(*args)
    assert not step.counts.replays
    return " ".join([*step.counts.refusals, *step.counts.eager_calls])


def test_reasons_not_to_record_are_told(session):
    hidden = {}

    def with_counter(x):
        hidden["count"] = hidden.get("count", 0) + 1
        return x * hidden["count"]

    assert "hidden" in refusals(session, with_counter, X)
    assert "Python's or NumPy's generator" in refusals(session, lambda x: x * random.random(), X)
    assert "Python's or NumPy's generator" in refusals(session, lambda x: x * np.random.rand(), X)
    assert "NumPy" in refusals(session, lambda x: torch.from_numpy((x + 1).numpy()) + 1, X)
    assert "generator of its own" in refusals(session, lambda x: x + torch.rand(4, 4, generator=torch.Generator()), X)
    assert "a replay cannot make anew" in refusals(session, lambda x: torch.nn.Parameter(x + 1, requires_grad=False), X)
    with torch.enable_grad():
        weight = torch.nn.Parameter(X.clone())
        assert "requires grad" in refusals(session, lambda x: x * weight, X)


def test_reasons_name_the_line(session):
    def function(x):
        y = x + 1
        return torch.from_numpy(y.numpy())  # the line to name

    assert "the line to name" in refusals(session, function, X)


def test_a_tensor_of_another_session_is_no_stale_one():
    with torch.no_grad(), ttreg.device_mode(device="emulated", min_upload_numel=0) as outer:
        foreign = outer.to_device(X)
        with ttreg.device_mode(device="emulated", precision="bfloat16", min_upload_numel=0) as session:
            step = session.record(lambda x: x + foreign)
            for number in range(4):
                assert step(X * number).tolist() == (X * number + X).tolist()


def test_a_recording_dies_with_its_session(session):
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as inner:
        step = inner.record(lambda x: x + 1)
        for _ in range(3):
            step(X.clone())
    assert step(X).tolist() == (X + 1).tolist()
    assert "its session has ended" in step.counts.eager_calls


class InSlots:
    __slots__ = ("__dict__", "__private", "factor")

    def __init__(self):
        self.factor, self.__private = 2.0, 3.0

    def change(self):
        self.__private += 1

    def times(self, a):
        return a * self.factor * self.__private


def test_attributes_in_slots_are_guarded(session):
    held = InSlots()
    step = session.record(lambda a: held.times(a))
    for number in range(8):
        if number == 4:
            held.factor = 5.0
        if number == 6:
            held.change()
        assert step(X).tolist() == held.times(X).tolist()
    assert step.counts.recordings == 3


def test_the_state_of_a_packages_object_is_reached(session):
    """A cache of transformers keeps its tensors, and how many are taken, in attributes of its own."""
    from transformers import StaticCache
    from transformers.models.gpt2 import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    sizes = {"n_layer": 2, "n_embd": 32, "n_head": 2, "vocab_size": 50, "bos_token_id": 0, "eos_token_id": 0}
    model = GPT2LMHeadModel(GPT2Config(**sizes)).eval()

    def generate(record):
        cache = StaticCache(config=model.config, max_cache_len=6)
        step = record(lambda token: model(token, past_key_values=cache, use_cache=True).logits[0, -1])
        found = []
        for _ in range(2):
            cache.reset()
            found += [step(torch.tensor([[token]])) for token in (3, 1, 4, 1, 5, 9)]
        return found, step

    given, step = generate(session.record)
    with ThreadPoolExecutor(1) as outside:  # of the block
        expected, _ = outside.submit(torch.no_grad()(generate), lambda function: function).result()
    torch.testing.assert_close([g.cpu() for g in given], expected, rtol=1e-3, atol=1e-4)
    assert step.counts.replays > 8, vars(step.counts)


def test_the_report_tells_what_became_of_the_calls(session):
    step = session.record(lambda x: x + 1)
    for _ in range(4):
        step(X.clone())
    lost = session.record(lambda x: torch.from_numpy((x + 1).numpy()))
    lost(X.clone())
    first, second = session.report().recorded
    assert (first.recordings, first.checks, first.replays) == (1, 1, 2)
    assert any("NumPy" in reason for reason in second.refused)
    assert "2 replays" in str(session.report())


def test_values_without_end_end_the_recording(session):
    step = session.record(lambda x: x.sum().item())
    for number in range(60):
        assert step(X + number) == (X + number).sum().item()
    assert any("too many different values" in reason for reason in step.counts.refusals)


def test_threads_record_in_turn_or_run_as_it_is():
    import threading

    failures = []
    mode = ttreg.device_mode(device="emulated", min_upload_numel=0)

    def run(session, step, shift):
        with torch.no_grad(), mode:
            for number in range(12):
                if step(X + number).tolist() != (X + number + shift).tolist():
                    failures.append(shift)

    with mode as session:
        steps = [session.record(lambda x, shift=shift: x + shift) for shift in (1, 2)]
        both = [(step, shift) for step, shift in zip(steps, (1, 2), strict=True)] * 2
        threads = [threading.Thread(target=run, args=(session, *each)) for each in both]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not failures
    assert all(step.counts.replays for step in steps)
