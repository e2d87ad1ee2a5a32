"""The keywords of `device_mode` and their environment variables: what they may be, and what a wrong one is told."""

from __future__ import annotations

import pytest

import ttreg
from ttreg import SettingsError
from ttreg.settings import Settings

KEYWORDS = (
    "device",
    "device_id",
    "arch",
    "validate",
    "precision",
    "on_fallback",
    "on_device_error",
    "check",
    "min_upload_numel",
)


def test_the_defaults_are_those_of_the_guide():
    settings = Settings.resolve({})
    assert (settings.device, settings.device_id, settings.arch) == ("auto", 0, "wormhole_b0")
    assert (settings.validate, settings.precision, settings.check) == (False, "preserve", None)
    assert (settings.on_fallback, settings.on_device_error) == ("allow", "raise")
    assert settings.min_upload_numel >= 0


VALID = [
    ("device", "emulated", "emulated"),
    ("device", "ttnn", "ttnn"),
    ("device", "mock", "mock"),
    ("device", "auto", "auto"),
    ("device_id", 3, 3),
    ("arch", "blackhole", "blackhole"),
    ("validate", True, True),
    ("precision", "bfloat16", "bfloat16"),
    ("on_fallback", "warn", "warn"),
    ("on_fallback", "raise", "raise"),
    ("on_device_error", "fallback", "fallback"),
    ("check", None, None),
    ("check", 0.99, 0.99),
    ("check", 1, 1.0),
    ("min_upload_numel", 0, 0),
    ("min_upload_numel", 10**9, 10**9),
]

INVALID = [
    ("device", "cuda", "'auto', 'ttnn', 'emulated', 'mock'"),
    ("device", None, "'auto', 'ttnn', 'emulated', 'mock'"),
    ("device", ["emulated"], "'auto', 'ttnn', 'emulated', 'mock'"),
    ("device_id", -1, "an integer, 0 or larger"),
    ("device_id", 1.5, "an integer, 0 or larger"),
    ("device_id", True, "an integer, 0 or larger"),
    ("device_id", "first", "an integer, 0 or larger"),
    ("device_id", None, "an integer, 0 or larger"),
    ("arch", "grayskull", "'wormhole_b0', 'blackhole'"),
    ("validate", "maybe", "True or False"),
    ("validate", 2, "True or False"),
    ("validate", None, "True or False"),
    ("precision", "float16", "'preserve', 'bfloat16'"),
    ("on_fallback", "ignore", "'allow', 'warn', 'raise'"),
    ("on_device_error", "allow", "'raise', 'fallback'"),
    ("check", 0, "None, or a PCC"),
    ("check", 1.01, "None, or a PCC"),
    ("check", -0.5, "None, or a PCC"),
    ("check", float("nan"), "None, or a PCC"),
    ("check", True, "None, or a PCC"),
    ("check", "strict", "None, or a PCC"),
    ("min_upload_numel", -5, "an integer, 0 or larger"),
    ("min_upload_numel", "many", "an integer, 0 or larger"),
    ("min_upload_numel", float("inf"), "an integer, 0 or larger"),
]

FROM_THE_ENVIRONMENT = [
    ("TTREG_DEVICE", "emulated", "device", "emulated"),
    ("TTREG_DEVICE_ID", "2", "device_id", 2),
    ("TTREG_ARCH", "blackhole", "arch", "blackhole"),
    ("TTREG_VALIDATE", "1", "validate", True),
    ("TTREG_VALIDATE", "false", "validate", False),
    ("TTREG_PRECISION", "bfloat16", "precision", "bfloat16"),
    ("TTREG_ON_FALLBACK", "raise", "on_fallback", "raise"),
    ("TTREG_ON_DEVICE_ERROR", "fallback", "on_device_error", "fallback"),
    ("TTREG_CHECK", "0.99", "check", 0.99),
    ("TTREG_CHECK", "", "check", None),
    ("TTREG_MIN_UPLOAD_NUMEL", "0", "min_upload_numel", 0),
    ("LOCAL_RANK", "5", "device_id", 5),
]


@pytest.mark.parametrize(("keyword", "value", "meant"), VALID)
def test_a_valid_keyword_is_taken(keyword, value, meant):
    assert getattr(Settings.resolve({keyword: value}), keyword) == meant


@pytest.mark.parametrize(("keyword", "value", "known"), INVALID)
def test_an_invalid_value_is_refused_naming_keyword_value_and_what_is_known(keyword, value, known):
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode(**{keyword: value})
    for part in (keyword, repr(value), known):
        assert part in str(caught.value)


@pytest.mark.parametrize(("variable", "text", "keyword", "meant"), FROM_THE_ENVIRONMENT)
def test_a_variable_sets_the_default(monkeypatch, variable, text, keyword, meant):
    monkeypatch.setenv(variable, text)
    assert getattr(Settings.resolve({}), keyword) == meant


def test_there_is_a_variable_for_each_keyword():
    assert {keyword for _, _, keyword, _ in FROM_THE_ENVIRONMENT} == set(KEYWORDS)


def test_a_keyword_wins_over_its_variable(monkeypatch):
    monkeypatch.setenv("TTREG_CHECK", "0.5")
    assert Settings.resolve({"check": None}).check is None
    assert Settings.resolve({"check": 0.9}).check == 0.9


def test_the_variable_wins_over_the_local_rank(monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "5")
    monkeypatch.setenv("TTREG_DEVICE_ID", "2")
    assert Settings.resolve({}).device_id == 2


@pytest.mark.parametrize(
    ("variable", "text"),
    [
        ("TTREG_DEVICE", "cuda"),
        ("TTREG_DEVICE", ""),
        ("TTREG_VALIDATE", "maybe"),
        ("TTREG_CHECK", "high"),
        ("TTREG_MIN_UPLOAD_NUMEL", "1e3"),
        ("LOCAL_RANK", "zero"),
    ],
)
def test_a_variable_with_an_invalid_value_is_refused_by_name(monkeypatch, variable, text):
    monkeypatch.setenv(variable, text)
    with pytest.raises(SettingsError, match=variable):
        ttreg.device_mode()


def test_an_unknown_variable_is_refused_listing_the_known_ones(monkeypatch):
    monkeypatch.setenv("TTREG_ON_FALBACK", "raise")
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode()
    message = str(caught.value)
    assert "TTREG_ON_FALBACK" in message
    assert "did you mean" in message.lower()
    for keyword in KEYWORDS:
        assert f"TTREG_{keyword.upper()}" in message


def test_an_unknown_keyword_is_refused_listing_the_known_ones():
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode(on_falback="raise")
    message = str(caught.value)
    assert "on_falback" in message
    assert "did you mean" in message.lower()
    for keyword in KEYWORDS:
        assert keyword in message


def test_a_keyword_like_no_other_gets_no_guess():
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode(zzz=1)
    assert "did you mean" not in str(caught.value).lower()


def test_keywords_only():
    with pytest.raises(TypeError):
        ttreg.device_mode("emulated")


def test_a_settings_error_is_a_value_error_and_a_ttreg_error():
    assert issubclass(SettingsError, ValueError)
    assert issubclass(SettingsError, ttreg.TtregError)
