"""Recurrent networks over sequences of different lengths, beside the same on CPU."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pack_sequence, pad_packed_sequence, pad_sequence

LENGTHS = (9, 4, 13, 1)

NETWORKS = {
    "LSTM": lambda: nn.LSTM(24, 40),
    "LSTM, two layers, both directions": lambda: nn.LSTM(24, 40, 2, bidirectional=True, batch_first=True),
    "LSTM with a projection": lambda: nn.LSTM(24, 40, proj_size=8),
    "LSTM without biases": lambda: nn.LSTM(24, 40, bias=False),
    "GRU": lambda: nn.GRU(24, 40),
    "GRU, two layers, both directions": lambda: nn.GRU(24, 40, 2, bidirectional=True, batch_first=True),
    "RNN": lambda: nn.RNN(24, 40, bidirectional=True),
}


def network(name):
    torch.manual_seed(0)
    return NETWORKS[name]().eval()


def sequences(*lengths):
    return [torch.randn(length, 24) for length in lengths]


@pytest.mark.parametrize("name", NETWORKS)
def test_packed_sequences(name, beside_cpu):
    rnn = network(name)
    first = rnn.batch_first
    unsorted, ordered = sequences(*LENGTHS), sequences(*sorted(LENGTHS, reverse=True))
    padded = pad_sequence(unsorted, batch_first=first)

    def program():
        with torch.no_grad():
            packed = pack_padded_sequence(padded, torch.tensor(LENGTHS), batch_first=first, enforce_sorted=False)
            results = []
            for batch in (packed, pack_sequence(ordered)):
                outputs, state = rnn(batch)
                results.append((pad_packed_sequence(outputs, batch_first=first), state))
            return results, rnn(padded)

    beside_cpu(program, networks=[rnn])


@pytest.mark.parametrize("name", ["LSTM", "GRU"])
def test_the_state_goes_from_call_to_call(name, beside_cpu):
    rnn, steps = network(name), torch.randn(6, 3, 24)

    def program():
        with torch.inference_mode():
            state, outputs = None, []
            for step in steps:
                output, state = rnn(step[None], state)
                outputs.append(output)
            return outputs, state

    beside_cpu(program, networks=[rnn])


@pytest.mark.parametrize("cell", [nn.LSTMCell, nn.GRUCell, nn.RNNCell])
def test_a_cell_runs_until_its_state_settles(cell, beside_cpu):
    torch.manual_seed(0)
    step, x = cell(24, 24), torch.randn(50, 24)

    def program():
        state, outputs, change = None, [x], 1.0
        with torch.no_grad():
            while change > 0.1:
                state = step(x, state)
                outputs.append(state[0] if isinstance(state, tuple) else state)
                change = (outputs[-1] - outputs[-2]).abs().max().item()
        return outputs

    assert len(program()) > 4
    beside_cpu(program, networks=[step])


@pytest.mark.parametrize("name", ["LSTM", "GRU, two layers, both directions"])
def test_gradients_through_packed_sequences(name, beside_cpu):
    rnn, batch = network(name).train(), sequences(*LENGTHS)

    def program():
        rnn.zero_grad()
        outputs, _ = rnn(pack_sequence(batch, enforce_sorted=False))
        outputs.data.square().mean().backward()
        return [parameter.grad.clone() for parameter in rnn.parameters()]

    beside_cpu(program, networks=[rnn])


def test_in_real_ttnn(beside_cpu):
    lstm, gru = network("LSTM"), network("GRU")
    packed = pack_sequence(sequences(3, 2), enforce_sorted=False)

    def program() -> list[PackedSequence]:
        with torch.no_grad():
            return [lstm(packed)[0].data, gru(packed)[0].data]

    beside_cpu(program, networks=[lstm, gru], validate=True)


def test_tagger_of_sentences(beside_cpu):
    """Embeddings, a BiLSTM over packed sentences, and a tag for each word."""
    torch.manual_seed(0)
    words, rnn, tags = nn.Embedding(50, 32), nn.LSTM(32, 24, bidirectional=True, batch_first=True), nn.Linear(48, 7)
    with torch.no_grad():
        tags.weight.mul_(20)  # so that the best tag is so clearly
    sentences = [torch.randint(50, (length,)) for length in (7, 2, 11, 5)]

    def program():
        with torch.no_grad():
            lengths = torch.tensor([len(sentence) for sentence in sentences])
            padded = words(pad_sequence(sentences, batch_first=True))
            packed = pack_padded_sequence(padded, lengths, batch_first=True, enforce_sorted=False)
            scores = tags(rnn(packed)[0].data)
            outputs, _ = pad_packed_sequence(PackedSequence(scores, *packed[1:]), batch_first=True)
            return [row[:length].argmax(-1).tolist() for row, length in zip(outputs, lengths, strict=True)]

    report = beside_cpu(program, networks=[words, rnn, tags])
    assert report.totals.device > 50
