"""Gradients of activations that weigh their input by a function of it: SiLU and Mish."""

from __future__ import annotations

import torch

from ..conditions import FLOATS, SameDtype
from ..registry import lower
from .activation_backward import gradients
from .vocabulary import in_float32, of_sigmoid

aten = torch.ops.aten

BOTH = ("grad_output", "self")


@lower(
    aten.silu_backward.default,
    samples=gradients(),
    takes=FLOATS,
    when=[SameDtype(BOTH)],
    chip="below -87 the sigmoid is less than 1.2e-38, and 0: a gradient of inf then gives NaN",
)
def silu_backward(tt, grad_output, self):
    def gradient(grad, x):
        gate = of_sigmoid(tt, x)
        # gate * (1 + x * (1 - gate))
        return tt.multiply(tt.multiply(grad, gate), tt.add(tt.multiply(x, tt.rsub(gate, 1.0)), 1.0))

    return in_float32(tt, gradient, grad_output, self)


@lower(aten.mish_backward.default, samples=gradients(), takes=FLOATS, when=[SameDtype(BOTH)])
def mish_backward(tt, grad_output, self):
    def gradient(grad, x):
        bent = tt.tanh(tt.log1p(tt.exp(x)))
        slope = tt.multiply(tt.multiply(x, of_sigmoid(tt, x)), tt.rsub(tt.square(bent), 1.0))
        return tt.multiply(grad, tt.add(bent, slope))

    return in_float32(tt, gradient, grad_output, self)
