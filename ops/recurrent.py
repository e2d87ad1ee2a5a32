"""Recurrent layers arrive as the ops of their steps; what arrives as a whole is here."""

from __future__ import annotations

import torch

from ..registry import cpu_only
from ..samples import Sample, rand

aten = torch.ops.aten


def padded():
    yield Sample(rand(5, 3, 7), torch.tensor([5, 4, 1]), False)


def layer():
    weights = rand(12, 7), rand(12, 3), rand(12), rand(12)
    yield Sample(rand(5, 2, 7), *weights, rand(2, 3), rand(2, 3), False, [], 2, 3, 1, True, False, False, False)


cpu_only(
    aten._pack_padded_sequence.default,
    because="which steps of each sequence are packed depends on the lengths",
    samples=padded,
)
cpu_only(
    aten.mkldnn_rnn_layer.default,
    because="oneDNN keeps what its gradient needs in a form of its own; torch.nn.LSTM arrives as its steps instead",
    samples=layer,
)
