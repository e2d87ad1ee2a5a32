"""Tensors that a program makes of numbers and weights alone: made once, and always of what these hold now."""

from __future__ import annotations

import threading

import pytest
import torch
from torch import nn

import ttreg

torch.manual_seed(0)
TABLE, PLACES = torch.randn(9, 3), torch.randint(0, 9, (16, 16))


def calls(session):
    report = session.report()
    return sum(count for name, count in report.device_calls.items() if name not in ("from_torch", "to_torch"))


def regions(x):
    """What shifted windows make of zeros: a number for each region.

    It calls `fill_`, since PyTorch 2.14 writes `mask[...] = number` as a tensor of one element, which is uploaded.
    """
    mask = x.new_zeros(8, 12)
    for number, (rows, columns) in enumerate([(r, c) for r in ((0, 4), (4, 6), (6, 8)) for c in ((0, 8), (8, 12))]):
        mask[rows[0] : rows[1], columns[0] : columns[1]].fill_(number)
    return mask


def of_windows(x):
    windows = regions(x).view(2, 4, 3, 4).permute(0, 2, 1, 3).reshape(6, 16)
    apart = windows.unsqueeze(1) - windows.unsqueeze(2)
    return apart.masked_fill(apart != 0, -100.0).masked_fill(apart == 0, 0.0)


def elements(x):
    made = x.new_zeros(5, 7)
    for row in range(5):
        for column in range(7):
            made[row, column] = row * column
    return made


def read_in_between(x):
    made = x.new_zeros(5, 7)
    made[1] = 2
    first = made + 1
    made[:, 2] = 3
    return first, made + 1, made.sum()


def by_aliases(x):
    made = x.new_ones(4, 6)
    alias, turned = made.view(-1), made.t()
    alias[3:9].fill_(5)
    turned[2:4].zero_()
    made.view(2, 2, 6)[:, 1, ::2].fill_(float("inf"))
    return made + 0, alias * 2, turned.contiguous() + 0


def written_by_tensors(x):
    made = x.new_full((4, 6), -0.5)
    made[0] = 3
    made[1:3].copy_(x[:2, :6])
    made[:, 0] = 4
    made.mul_(2)
    made[3].fill_(1)
    return made + 0


def copies(x):
    made = x.new_zeros(4, 6)
    copy = made.clone()
    made[1] = 1
    another = made.clone()
    made.fill_(2)
    copy[0] = 7
    return made + 0, copy + 0, another + 0


def of_other_dtypes(x):
    integers, truths = torch.zeros(40, 40, dtype=torch.int32), torch.ones_like(x, dtype=torch.bfloat16)
    integers[3:9] = 7
    truths[:, 1] = -0.3
    return integers + 1, truths * 2


def by_out(x):
    made = x.new_zeros(4, 6)
    made[1] = 1
    torch.full((4, 6), 5.0, out=made)
    made[2] = 2
    torch.mul(x[:1, :6], 2, out=made[3:4])
    return made + 0


def large(x):
    made = x.new_zeros(300, 70)
    made[5] = 1
    first = made + 1
    made[:, 3] = 2
    return first, made + 1


PROGRAMS = [
    of_windows,
    elements,
    read_in_between,
    by_aliases,
    written_by_tensors,
    copies,
    of_other_dtypes,
    by_out,
    large,
]


@pytest.mark.parametrize("guard", [torch.no_grad, torch.inference_mode, torch.enable_grad], ids=lambda g: g.__name__)
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p.__name__)
def test_values_are_those_of_the_host(program, guard):
    x = torch.randn(40, 40)
    with guard():
        expected = program(x)
    with ttreg.device_mode(device="emulated", validate=True, min_upload_numel=0) as session, guard():
        results = [program(session.to_device(x)) for _ in range(2)]
    for result in results:
        torch.testing.assert_close(result, expected)


def test_numbers_are_rounded_once_in_bfloat16():
    with ttreg.device_mode(device="emulated", precision="bfloat16", min_upload_numel=0):
        made = torch.zeros(40, 40)
        made[3:5] = 0.3
        doubled = made * 2
    expected = torch.zeros(40, 40)
    expected[3:5] = 0.3
    torch.testing.assert_close(doubled, (expected.bfloat16() * 2).float())


def test_parts_of_a_tensor_of_numbers_are_filled_without_a_call():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = session.to_device(torch.ones(4, 4))
        before = session.report()
        regions(x)
        after = session.report()
    assert calls(session) == 0
    assert after.transfers.uploads == before.transfers.uploads
    assert after.totals.host == before.totals.host


def test_what_constants_give_is_made_once():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x, made = session.to_device(torch.randn(6, 16, 16)), []
        for _ in range(3):
            x + of_windows(x)
            made.append((calls(session), session.report().transfers.uploads))
    assert made[1][0] - made[0][0] == made[2][0] - made[1][0] == 1  # the sum
    assert made[2][1] == made[0][1]


def test_what_a_weight_alone_gives_is_made_again_when_it_changes():
    weight = nn.Parameter(torch.rand(40, 40))

    def program(x):
        return x * weight.exp().t().contiguous()

    x = torch.rand(40, 40)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session, torch.no_grad():
        held, counts, found = session.to_device(x), [], []
        for _ in range(3):
            before = calls(session)
            found.append(program(held))
            counts.append(calls(session) - before)
        earlier = weight.clone()
        weight.mul_(2)
        found.append(program(held))
    for given in found[:3]:
        torch.testing.assert_close(given, x * earlier.exp().t())
    torch.testing.assert_close(found[3], program(x))
    assert counts[0] > counts[1] == counts[2] == 1


def test_what_an_input_gives_is_made_at_each_call():
    x = torch.rand(40, 40)
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        counts = []
        for _ in range(3):
            before = calls(session)
            (x.exp().t().contiguous() + 1).sum()
            counts.append(calls(session) - before)
    assert counts[0] == counts[1] == counts[2] > 1


def test_the_places_of_a_small_weight_are_looked_up_once_until_either_changes():
    table, places = nn.Parameter(TABLE.clone()), PLACES.clone()

    def bias():
        return table[places.view(-1)].view(16, 16, 3).permute(2, 0, 1).contiguous().unsqueeze(0)

    scores, found, states = torch.rand(2, 3, 16, 16), [], []
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session, torch.no_grad():
        held, counts = session.to_device(scores), []

        def check():
            before = calls(session)
            found.append(held + bias())
            counts.append(calls(session) - before)
            states.append((table.clone(), places.clone()))

        check()
        check()
        places[3] = 1
        check()
        table.add_(1)
        check()
    for given, (weight, taken) in zip(found, states, strict=True):
        torch.testing.assert_close(given, scores + weight[taken].permute(2, 0, 1).unsqueeze(0))
    assert counts[1] == 1
    assert min(counts[0], counts[2], counts[3]) > 1


def test_a_program_may_compute_with_constants_for_ever():
    with ttreg.device_mode(device="emulated", min_upload_numel=0) as session:
        x = torch.zeros(4, 4)
        for _ in range(60):
            x = x + 1
        session.report()
    torch.testing.assert_close(x, torch.full((4, 4), 60.0))


def test_threads_fill_tensors_of_their_own():
    x = torch.randn(4, 4)
    expected, found = of_windows(x), []
    mode = ttreg.device_mode(device="emulated", min_upload_numel=0)
    with mode as session:
        held = session.to_device(x)

        def run():
            with mode:
                found.extend((of_windows(held) + 0).tolist() == expected.tolist() for _ in range(5))

        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert found == [True] * 15
