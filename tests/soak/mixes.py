"""Ops in random order with random shapes, on tensors that come and go, beside the same on CPU for some of them."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F

import ttreg

Call = Callable[..., torch.Tensor]

POOL = 24  # tensors that are alive at a time
SIZES = 60  # the largest size of a dimension, but one
TOLERANCE = 2e-2  # of products whose float32 is the matrix unit's; a wrong result is far off


def _written(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    result = x.clone()
    result[: len(x) // 2 + 1].mul_(0.5)
    result.t().add_(y.t())
    return result


def _by_parts(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    first, second = torch.cat((x, y)).chunk(2)
    return torch.stack((first, second)).sum(0) + first.amax()


def _images(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    image, filters = x[None, None], torch.ones(2, 1, 1, 1) * 0.5
    return F.conv2d(image, filters)[0, 1] + y


UNARY: tuple[Call, ...] = (
    torch.relu, torch.tanh, torch.sigmoid, torch.neg, torch.abs, torch.cos, F.gelu, F.silu, torch.square, torch.floor,
    lambda x: x.softmax(-1), lambda x: x.log_softmax(0), lambda x: x.cumsum(1).clamp(-4, 4), lambda x: x.sort(1).values,
    lambda x: x.abs().sqrt(), lambda x: (x * 0.1).exp(), lambda x: F.layer_norm(x, x.shape[1:]), lambda x: x.flip(0),
    lambda x: x - x.mean(1, keepdim=True), lambda x: x / (1 + x.abs().amax()), lambda x: x.roll(1, 0), torch.tril,
    lambda x: x.t().contiguous().t(), lambda x: x.masked_fill(x > 1, 0.5), lambda x: x[torch.arange(len(x)) // 2],
    lambda x: x.double().sin().float(), lambda x: x.clone().sub_(0.5), lambda x: F.pad(x, (0, 1))[:, :-1],
)  # fmt: skip
BINARY: tuple[Call, ...] = (
    torch.add, torch.sub, torch.mul, torch.maximum, torch.minimum, lambda x, y: x / (y.abs() + 1), torch.hypot,
    lambda x, y: torch.where(x > y, x, y * 0.5), lambda x, y: x.clone().add_(y, alpha=0.5), _written, _by_parts,
    _images,
    lambda x, y: torch.addcmul(x, x, y, value=0.1), lambda x, y: torch.lerp(x, y, 0.25), lambda x, y: x.lt(y).float(),
    lambda x, y: (x @ y.t()).tanh() @ y / len(y),
)  # fmt: skip


@dataclass
class Mix:
    """Random calls; `wrong` has those whose result was not the CPU's."""

    session: ttreg.Session
    seed: int
    new_shapes: int | None = 4000  # after so many calls the shapes are others; None: never
    compared: int = 64  # one in so many calls is compared; 0: none, on a device without values
    calls: int = 0
    comparisons: int = 0
    wrong: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)
        torch.manual_seed(self.seed)
        self._redraw()

    def _redraw(self) -> None:
        draw = self._random.randint
        self._shapes = [(draw(2, SIZES), draw(2, SIZES)) for _ in range(6)]
        self._pool = {shape: [self._new(shape) for _ in range(POOL // len(self._shapes))] for shape in self._shapes}

    def _new(self, shape: Sequence[int]) -> torch.Tensor:
        return self.session.to_device(torch.randn(shape))

    def run(self, count: int) -> None:
        """Make so many calls, each on tensors of the pool, one of which its result replaces."""
        for _ in range(count):
            self._call()

    def drop(self) -> None:
        """Let go of all tensors."""
        self._pool.clear()

    def _call(self) -> None:
        self.calls += 1
        if self.new_shapes and self.calls % self.new_shapes == 0:
            self._redraw()
        pool = self._pool[self._random.choice(self._shapes)]
        two = self._random.random() < 0.5
        function = self._random.choice(BINARY if two else UNARY)
        given = [self._random.choice(pool) for _ in range(1 + two)]
        compare = self.compared and self.calls % self.compared == 0
        plain = [torch.tensor(x.tolist()) for x in given] if compare else []
        result = function(*given)
        if compare:
            self.comparisons += 1
            self._compare(function, result, plain)
        # The results of long chains would grow beyond all bounds, or come to be all alike.
        fresh = self._random.random() < 0.2
        pool[self._random.randrange(len(pool))] = self._new(result.shape) if fresh else result.clamp(-8, 8)

    def _compare(self, function: Call, result: torch.Tensor, plain: list[torch.Tensor]) -> None:
        with torch.no_grad():
            wanted = _outside(function, plain)
        try:
            torch.testing.assert_close(torch.tensor(result.tolist()), wanted, rtol=TOLERANCE, atol=TOLERANCE)
        except AssertionError as error:
            self.wrong.append(f"call {self.calls} of {function}, {list(wanted.shape)}: {error}".replace("\n", " "))


def _outside(function: Call, plain: list[torch.Tensor]) -> torch.Tensor:
    """What the function gives without the block, which the calls of another thread are outside of."""
    from threading import Thread

    results: list[torch.Tensor] = []
    thread = Thread(target=lambda: results.append(function(*plain)))
    thread.start()
    thread.join()
    return results[0]


def parts(count: int, number: int) -> Iterator[int]:
    """So many calls in so many parts, as equal as they can be."""
    for part in range(number):
        yield count * (part + 1) // number - count * part // number
