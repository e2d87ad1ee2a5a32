"""Whatever a function reaches may change between calls: such a change is seen, wherever it is."""

from __future__ import annotations

import argparse
import collections
import dataclasses
import enum
import functools
import random
import sys
import threading
import types
import weakref

import numpy as np
import pytest
import torch
from torch import nn

X = torch.arange(-8.0, 8).reshape(4, 4) / 4
SCALE = 2.0


class Color(enum.Enum):
    RED = 2
    BLUE = 3


class Box:
    def __init__(self, **values):
        self.__dict__.update(values)


@dataclasses.dataclass(slots=True)
class Slots:
    k: float = 2.0


def double(x):
    return x * 2


def helper(x):
    return double(x)


def renamed(values, *keys):
    """Give the values of a dict other keys, in its place."""
    kept = list(values.values())
    values.clear()
    values.update(zip(keys, kept, strict=True))


def of_box(use, change, **values):
    """A function that uses an object, and a change of the object."""
    box = Box(**values)
    return lambda x: use(x, box), lambda: change(box)


def of(value, use, change):
    return lambda x: use(x, value), lambda: change(value)


def items_in_order(x, values):
    for key, value in values.items():
        x = x * (value + 1) if key == "scale" else x + value
    return x


def cell():
    k = 2.0

    def change():
        nonlocal k
        k = 5.0

    return lambda x: x * k, change


def defaults(which, new):
    def inner(x, k=2.0, *, j=3.0):
        return x * (k or 1.0) - j

    return lambda x: inner(x), lambda: setattr(inner, which, new)


def own_defaults():
    def function(x, k=2.0):
        return x * k

    return function, lambda: setattr(function, "__defaults__", (5.0,))


def code():
    def inner(x):
        return x * 2

    def other(x):
        return x * 3

    return lambda x: inner(x), lambda: setattr(inner, "__code__", other.__code__)


def of_global(name, value):
    def function(x):
        return helper(x) * SCALE + len((1, 2))

    def change():
        globals()[name] = value

    return function, change


def module(inside):
    made = types.ModuleType("of_this_test")
    made.k = 2.0
    sys.modules["of_this_test"] = made

    def function(x):
        import of_this_test  # type: ignore[import-not-found]

        return x * of_this_test.k

    return function if inside else lambda x: x * made.k, lambda: setattr(made, "k", 6.0)


def of_class(**members):
    kind = type("Own", (), members)
    return kind, kind()


def class_attribute():
    kind, own = of_class(k=2.0)
    return lambda x: x * own.k, lambda: setattr(kind, "k", 5.0)


def another_class():
    _, own = of_class(k=2.0)
    other, _ = of_class(k=3.0)
    return lambda x: x * own.k, lambda: setattr(own, "__class__", other)


def another_dict():
    _, own = of_class()
    own.k = 2.0
    return lambda x: x * own.k, lambda: setattr(own, "__dict__", {"k": 7.0})


def behind(wrap, get):
    """What a property, a static method or the like has in its closure."""
    values = [2.0]
    _, own = of_class(k=wrap(lambda *_: values[0]))
    return lambda x: x * get(own.k), lambda: values.__setitem__(0, 5.0)


def subclass(base, *content):
    own = type("Own", (base,), {})(*content)
    own.k = 2.0
    return lambda x: x * own.k, lambda: setattr(own, "k", 5.0)


def referred():
    box = Box(k=2.0)
    reference = weakref.ref(box)
    return lambda x: x * reference().k, lambda kept=box: setattr(kept, "k", 5.0)


def hooked(register):
    net = nn.Sequential(nn.Linear(4, 4), nn.ReLU())
    return net, lambda: register(net)


def for_all_modules():
    net, handles = nn.Linear(4, 4), []
    hook = lambda *given: given[-1] + 1  # noqa: E731
    return net, lambda: handles.append(nn.modules.module.register_module_forward_hook(hook)), handles


def modes(change):
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4))
    return net, lambda: change(net)


def of_modules():
    net = nn.ModuleDict({"a": nn.ReLU(), "b": nn.Tanh()})
    return lambda x: net["a"](x) * 2, lambda: renamed(net._modules, "b", "a")


def counting_hook():
    net, box = nn.Linear(4, 4), Box(n=0)

    def hook(module, args, result):
        box.n += 1
        return result + box.n

    net.register_forward_hook(hook)
    return net, lambda: None


def drawn(generator, draw):
    return lambda x: x * draw(generator), lambda: None


PROGRAMS = {
    "keys of a dict": lambda: of(
        {"a": 2.0, "b": 3.0}, lambda x, d: x * d.get("a", 50.0), lambda d: renamed(d, "q", "b")
    ),
    "keys swapped": lambda: of({"a": X, "b": X + 1}, lambda x, d: x * d["a"], lambda d: renamed(d, "b", "a")),
    "order of a dict": lambda: of(
        {"scale": 1.0, "shift": 1.0}, items_in_order, lambda d: d.__setitem__("scale", d.pop("scale"))
    ),
    "order of an ordered dict": lambda: of(
        collections.OrderedDict(scale=1.0, shift=1.0), items_in_order, lambda d: d.move_to_end("scale")
    ),
    "keys in depth": lambda: of({1: {"m": 2.0}}, lambda x, d: x * d.get(1, {"m": 7.0})["m"], lambda d: renamed(d, 2)),
    "default of a dict": lambda: of(
        collections.defaultdict(lambda: 2.0),
        lambda x, d: x * d.default_factory(),
        lambda d: setattr(d, "default_factory", lambda: 5.0),
    ),
    "a longer list": lambda: of([2.0], lambda x, v: x * sum(v), lambda v: v.append(3.0)),
    "an empty list": lambda: of([], lambda x, v: x + len(v), lambda v: v.append(3.0)),
    "order of a list": lambda: of([2.0, 3.0], lambda x, v: x * v[0], lambda v: v.reverse()),
    "a set": lambda: of({1, 2}, lambda x, v: x * (2 in v), lambda v: (v.remove(2), v.add(9))),
    "a deque": lambda: of(collections.deque([2.0, 3.0]), lambda x, v: x * v[0], lambda v: v.rotate()),
    "bytes": lambda: of(bytearray(b"\x02"), lambda x, v: x * v[0], lambda v: v.__setitem__(0, 5)),
    "an array": lambda: of(np.ones(4), lambda x, v: x * float(v[0]), lambda v: v.__imul__(2)),
    "a number": lambda: of_box(lambda x, b: x * b.k, lambda b: setattr(b, "k", 3), k=2),
    "a type of number": lambda: of_box(
        lambda x, b: x * (2 if b.k is True else 3), lambda b: setattr(b, "k", 1), k=True
    ),
    "a sign": lambda: of_box(lambda x, b: x.copysign(torch.tensor(b.k)), lambda b: setattr(b, "k", -0.0), k=0.0),
    "a text": lambda: of_box(lambda x, b: getattr(x, b.k)(2), lambda b: setattr(b, "k", "mul"), k="add"),
    "an enum": lambda: of_box(lambda x, b: x * b.k.value, lambda b: setattr(b, "k", Color.BLUE), k=Color.RED),
    "another attribute": lambda: of_box(lambda x, b: x * getattr(b, "z", 9.0), lambda b: renamed(vars(b), "z"), k=2.0),
    "a first attribute": lambda: of_box(lambda x, b: x * getattr(b, "z", 1.0), lambda b: setattr(b, "z", 9.0)),
    "slots": lambda: of(Slots(), lambda x, v: x * v.k, lambda v: setattr(v, "k", 4.0)),
    "a namespace": lambda: of(types.SimpleNamespace(k=2.0), lambda x, v: x * v.k, lambda v: setattr(v, "k", 4.0)),
    "arguments": lambda: of(argparse.Namespace(k=2.0), lambda x, v: x * v.k, lambda v: setattr(v, "k", 4.0)),
    "a tensor's": lambda: subclass(torch.Tensor, [2.0]),
    "a parameter's": lambda: of_box(
        lambda x, b: x * b.p.k, lambda b: setattr(b.p, "k", 3.0), p=with_k(nn.Parameter(X))
    ),
    "a plain tensor's": lambda: of_box(lambda x, b: x * b.p.k, lambda b: setattr(b.p, "k", 3.0), p=with_k(X.clone())),
    "of a dict's class": lambda: subclass(dict),
    "of a text's class": lambda: subclass(str, "text"),
    "a class": class_attribute,
    "another class": another_class,
    "another dict": another_dict,
    "a property": lambda: behind(property, lambda k: k),
    "a static method": lambda: behind(staticmethod, lambda k: k()),
    "a class method": lambda: behind(classmethod, lambda k: k()),
    "a global": lambda: of_global("SCALE", 7.0),
    "a global of a helper": lambda: of_global("double", lambda x: x * 5),
    "a global that hides": lambda: of_global("len", lambda _: 5),
    "a module": lambda: module(False),
    "an import": lambda: module(True),
    "a cell": cell,
    "defaults": own_defaults,
    "defaults of a helper": lambda: defaults("__defaults__", (5.0,)),
    "defaults by keyword": lambda: defaults("__kwdefaults__", {"j": 5.0}),
    "code": code,
    "a partial": lambda: of(
        functools.partial(torch.mul, X), lambda x, p: p(x), lambda p: p.__setstate__((torch.add, (X,), {}, {}))
    ),
    "a partial's keywords": lambda: of(
        functools.partial(torch.add, alpha=2), lambda x, p: p(x, X), lambda p: p.keywords.update(alpha=3)
    ),
    "a weak reference": referred,
    "a thread's": lambda: of_local(),
    "a hook": lambda: hooked(lambda net: net.register_forward_hook(lambda m, a, out: out + 1)),
    "a hook of a part": lambda: hooked(lambda net: net[1].register_forward_pre_hook(lambda m, a: (a[0] + 1,))),
    "hooks of all": for_all_modules,
    "a hook that counts": counting_hook,
    "training": lambda: modes(nn.Module.eval),
    "training of a part": lambda: modes(lambda net: net[1].eval()),
    "a part": lambda: hooked(lambda net: setattr(net, "1", nn.Tanh())),
    "keys of parts": of_modules,
    "an iterator": lambda: drawn(iter(range(20)), next),
    "a generator": lambda: drawn((n * n for n in range(20)), next),
    "random numbers": lambda: drawn(random.Random(3), lambda g: g.random()),
    "random numbers of NumPy": lambda: drawn(np.random.default_rng(3), lambda g: float(g.random())),
}


def with_k(tensor):
    tensor.k = 2.0
    return tensor


def of_local():
    local = threading.local()
    local.k = 2.0
    return lambda x: x * local.k, lambda: setattr(local, "k", 5.0)


def seen(make, record, monkeypatch):
    torch.manual_seed(0)
    with monkeypatch.context() as patched:
        for name in ("SCALE", "double"):
            patched.setitem(globals(), name, globals()[name])
        patched.setitem(globals(), "len", len)
        patched.delitem(globals(), "len")
        patched.setitem(sys.modules, "of_this_test", None)
        function, change, *handles = make()
        call = record(function)
        found = []
        for number in range(6):
            if number == 3:
                change()
            found.append(call(X.clone()).tolist())
        for handle in (handle for each in handles for handle in each):
            handle.remove()
    return found, call


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_change_between_calls_is_seen(name, session, monkeypatch):
    expected, _ = seen(PROGRAMS[name], lambda function: function, monkeypatch)
    found, step = seen(PROGRAMS[name], session.record, monkeypatch)
    assert found == expected
    assert step.counts.replays or step.counts.refusals or step.counts.misses or step.counts.checks
    assert step.counts.misses or step.counts.refusals or expected[2] == expected[3]


class Factors(type):
    factor = 1.0


def a_hook_taken_away():
    layer = torch.nn.Sequential(torch.nn.Identity())
    handle = layer[0].register_forward_hook(lambda module, args, out: out * 2)
    return layer, handle.remove


def the_second_hook_taken_away():
    layer = torch.nn.Sequential(torch.nn.Identity())
    layer[0].register_forward_hook(lambda module, args, out: out + 1)
    handle = layer[0].register_forward_hook(lambda module, args, out: out * 2)
    return layer, handle.remove


def the_last_item_of_an_ordered_dict():
    scales = collections.OrderedDict(a=2.0, b=3.0)

    def function(x):
        for scale in scales.values():
            x = x * scale
        return x

    return function, scales.popitem


def an_attribute_of_a_metaclass():
    kind = Factors("Kind", (), {})
    return lambda x: x * kind.factor, lambda: setattr(Factors, "factor", 3.0)


CHANGES = (
    a_hook_taken_away,
    the_second_hook_taken_away,
    the_last_item_of_an_ordered_dict,
    an_attribute_of_a_metaclass,
)


@pytest.mark.parametrize("make", CHANGES, ids=lambda make: make.__name__)
def test_what_is_there_no_more_is_seen(make, session, monkeypatch):
    monkeypatch.setattr(Factors, "factor", 1.0)
    function, change = make()
    step = session.record(function)
    for number in range(8):
        if number == 4:
            assert step.counts.replays == 2
            change()
        assert step(X + number).tolist() == function(X + number).tolist(), number
    assert step.counts.recordings == 2
