"""Whatever text ttreg is given, it reads it or says what is wrong: a few texts of those that `make fuzz` tries."""

from __future__ import annotations

import string
from contextlib import suppress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ttreg.errors import SettingsError, TtregError
from ttreg.notation import ArgumentsError, read
from ttreg.settings import Settings

from .engine import Target, fuzz
from .targets import TARGETS

TEXTS = 6  # for each part of a target's share


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_texts_are_read_or_refused(target):
    run = fuzz(target, TEXTS * target.share, seed=0)
    assert run.inputs >= TEXTS * target.share
    assert not run.found, "\n\n".join(f"{one.text!r}\n{one.how}" for one in run.found.values())


def test_the_fuzzer_finds_what_is_no_clear_error():
    def read_badly(text):
        if "[" in text:
            raise IndexError("from inside")
        if "(" in text:
            raise TtregError("")

    run = fuzz(Target("bad", read_badly, ["a", "b"], ["[", "("]), 200, seed=0)
    assert run.found.keys() >= {"no message"}
    assert any("IndexError" in one.how for one in run.found.values())


TEXTS_OF_ASCII = st.text(string.printable, max_size=60)


@given(TEXTS_OF_ASCII)
@settings(deadline=None, max_examples=100, derandomize=True)
def test_arguments_of_any_text_are_read_or_refused(text):
    with suppress(ArgumentsError):
        read(text)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | TEXTS_OF_ASCII | st.binary(max_size=5)
ANY = st.recursive(PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS_OF_ASCII, inner))


@given(st.dictionaries(st.sampled_from(list(Settings.__dataclass_fields__)), ANY, max_size=3))
@settings(deadline=None, max_examples=100, derandomize=True)
def test_keywords_of_any_kind_are_taken_or_refused(keywords):
    with suppress(SettingsError):
        Settings.resolve(keywords)
