"""Arguments as text: what is read, what is written, and what is refused without ever being evaluated."""

from __future__ import annotations

from math import inf, isnan

import pytest
import torch

from ttreg.meta import Meta, meta_of
from ttreg.notation import ArgumentsError, read, short_dtype, write, write_call

DTYPES = sorted({v for v in vars(torch).values() if isinstance(v, torch.dtype)}, key=str)


def one(text):
    (value,), keywords = read(text)
    assert keywords == {}
    return value


def test_a_tensor_is_read_as_its_metadata():
    assert one("f32[1, 64, 56, 56]") is meta_of(torch.empty(1, 64, 56, 56, device="meta"))
    assert one("float32[2,3]") is one("f32[2, 3]") is one("torch.float32[2, 3]")


@pytest.mark.parametrize("text", ["f32[]", "f32[ ]", "f32[()]", "float32[]()"])
def test_a_tensor_without_dimensions_is_one(text):
    assert one(text) is meta_of(torch.empty((), device="meta"))


def test_strides_offsets_and_memory_formats_are_read():
    assert one("f32[2, 3](1, 2)") is meta_of(torch.empty(3, 2, device="meta").t())
    assert one("f32[2](4, offset=1)") is meta_of(torch.empty(8, device="meta")[1::4])
    laid_out = torch.empty(1, 3, 8, 8, device="meta", memory_format=torch.channels_last)
    assert one("f32[1, 3, 8, 8](channels_last)") is meta_of(laid_out)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_every_dtype_has_its_own_name_and_a_short_one(dtype):
    for name in (str(dtype), str(dtype).removeprefix("torch."), short_dtype(dtype)):
        assert one(name) is dtype
        assert one(f"{name}[2]").dtype is dtype


def test_plain_values_are_read_by_position_and_by_name():
    args, kwargs = read("3, -1.5, inf, -inf, 1+2j, True, None, 'a, b', [f32[2], None], p=(1, 2), q=torch.channels_last")
    assert args[:8] == (3, -1.5, inf, -inf, 1 + 2j, True, None, "a, b")
    assert isinstance(args[8][0], Meta)
    assert kwargs == {"p": [1, 2], "q": torch.channels_last}
    assert isnan(one("nan"))
    assert one("cpu") == torch.device("cpu")
    assert read("") == ((), {})
    assert read("from=0.5, to_=1") == ((), {"from": 0.5, "to_": 1})


@pytest.mark.parametrize(
    "value",
    [
        meta_of(torch.empty(2, 3, dtype=torch.bfloat16, device="meta")),
        meta_of(torch.empty(4, 6, device="meta")[1:, ::2]),
        meta_of(torch.empty((), dtype=torch.complex128, device="meta")),
        [1, [2.5, -inf], "it's", None, False],
        torch.float8_e4m3fn,
        torch.channels_last,
        torch.strided,
        torch.device("cpu"),
        complex(-1, -2),
        1e-30,
    ],
    ids=str,
)
def test_what_is_written_is_read_as_the_same(value):
    assert one(write(value)) == value
    assert read(write_call({"name": value})) == ((), {"name": value})


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f32[2", "never closed|closing parenthesis"),
        ("f32[-1]", "-1 in f32\\[-1\\] is no size"),
        ("f32[True]", "is no size"),
        ("f32[1:2]", "is no size"),
        ("f31[2]", "'f31' in f31\\[2\\] is no dtype; known are"),
        ("f32[2](channels_last)", "required rank 4"),
        ("f32[2](spiral)", "'spiral' in .* is no memory format; known are contiguous_format"),
        ("f32[2, 3](1)", "2 dimensions and 1 strides"),
        ("f32[2](1, start=1)", "takes strides or a memory format, and offset"),
        ("f32[99999999999, 99999999999]", "more bytes"),
        ("f32[2, 3](1, 9223372036854775808)", "reaches further"),
        ("f32[1](9223372036854775807)", "reaches further"),
        ("f32[2](1, offset=9223372036854775807)", "reaches further"),
        ("f32[4294967296](4294967296)", "reaches further"),
        ("floor", "a text is quoted: 'floor'"),
        ("a) or (b", "do not match"),
        ("(" * 500, "too many nested|cannot read"),
        ("-'a'", "cannot read"),
        ("f32[1" + "-" * 900 + "y]", "nested too deeply"),
        ("f32[1" + "-" * 4000 + "y]", "nested too deeply"),
        (f"'{'x' * 900}' + 1", "(?s)^.{,700}$"),  # and not all of it
    ],
)
def test_what_cannot_be_read_is_named(text, said):
    with pytest.raises(ArgumentsError, match=said):
        read(text)


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('touch evaluated')",
        "open('evaluated', 'w')",
        "[open('evaluated', 'w') for i in [1]]",
        "(lambda: open('evaluated', 'w'))()",
        'f\'{open("evaluated", "w")}\'',
        "f32[open('evaluated', 'w')]",
        "x := open('evaluated', 'w')",
        "*open('evaluated', 'w')",
        "**open('evaluated', 'w')",
        "2 ** 3",
        "1 if True else 2",
        "{1: 2}",
        "...",
        "b'bytes'",
    ],
)
def test_nothing_is_evaluated(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArgumentsError):
        read(text)
    assert list(tmp_path.iterdir()) == []
