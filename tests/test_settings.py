"""The keywords of `device_mode` and their environment variables: what they may be, and what a wrong one is told."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import ttreg
from ttreg import SettingsError
from ttreg.settings import Settings, resolve_with_sources

KEYWORDS = (
    "device",
    "device_id",
    "arch",
    "validate",
    "precision",
    "on_fallback",
    "on_device_error",
    "check",
    "numerics",
    "float32",
    "trace",
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
    ("numerics", "golden", "golden"),
    ("numerics", "chip", "chip"),
    ("float32", "fast", "fast"),
    ("float32", "exact", "exact"),
    ("trace", None, None),
    ("trace", "", None),
    ("trace", "t.json", "t.json"),
    ("trace", Path("t.json"), "t.json"),
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
    ("numerics", "exact", "'golden', 'chip'"),
    ("float32", "slow", "'fast', 'exact'"),
    ("trace", True, "None, or the path of a file"),
    ("trace", b"t.json", "None, or the path of a file"),
    ("device_id", 1 << 31, "below 2 ** 31"),
    ("l1_small_size", 1 << 63, "below 2 ** 63"),
    ("trace_region_size", str(1 << 64), "below 2 ** 63"),
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
    ("TTREG_NUMERICS", "chip", "numerics", "chip"),
    ("TTREG_FLOAT32", "exact", "float32", "exact"),
    ("TTREG_TRACE", "t.json", "trace", "t.json"),
    ("TTREG_TRACE", "", "trace", None),
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


@pytest.mark.parametrize("keyword", ["device", "device_id", "validate", "check", "buckets", "trace"])
def test_a_number_too_long_to_be_written_is_refused(keyword):
    with pytest.raises(SettingsError, match=f"{keyword} is a very large number; expected"):
        ttreg.device_mode(**{keyword: -(10**5000)})


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


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with a pyproject.toml of the given text; the working directory is two folders below it."""
    below = tmp_path / "src" / "package"
    below.mkdir(parents=True)
    monkeypatch.chdir(below)

    def write(text):
        (tmp_path / "pyproject.toml").write_text(text)
        return tmp_path / "pyproject.toml"

    return write


def test_the_project_sets_defaults_and_variables_and_keywords_win_over_it(project, monkeypatch):
    path = project('[tool.ttreg]\non_fallback = "warn"\nvalidate = true\ncheck = 0.9\nmin_upload_numel = 7\n')
    monkeypatch.setenv("TTREG_VALIDATE", "0")
    monkeypatch.setenv("TTREG_MIN_UPLOAD_NUMEL", "8")
    settings, sources = resolve_with_sources({"min_upload_numel": 9})
    assert (settings.on_fallback, settings.validate, settings.check) == ("warn", False, 0.9)
    assert settings.min_upload_numel == 9
    assert (sources["on_fallback"], sources["validate"]) == (str(path), "TTREG_VALIDATE")
    assert (sources["min_upload_numel"], sources["device"]) == ("keyword", "default")


def test_the_local_rank_wins_over_the_project(project, monkeypatch):
    project("[tool.ttreg]\ndevice_id = 3\n")
    assert Settings.resolve({}).device_id == 3
    monkeypatch.setenv("LOCAL_RANK", "5")
    assert Settings.resolve({}).device_id == 5


def test_the_nearest_file_with_the_table_counts(project, tmp_path):
    project('[tool.ttreg]\narch = "blackhole"\n')
    (tmp_path / "src" / "pyproject.toml").write_text("[tool.other]\nof = 'ttreg'\n")
    (tmp_path / "src" / "package" / "pyproject.toml").write_text("this is [no TOML\n")
    assert Settings.resolve({}).arch == "blackhole"


def test_a_changed_file_is_read_again(project):
    project("[tool.ttreg]\ndevice_id = 1\n")
    assert Settings.resolve({}).device_id == 1
    path = project("[tool.ttreg]\ndevice_id = 2\n")
    os.utime(path, ns=(0, 1))
    assert Settings.resolve({}).device_id == 2


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[tool.ttreg]\non_falback = "warn"\n', "'on_falback' is no key of [tool.ttreg]; did you mean 'on_fallback'"),
        ("[tool.ttreg]\ndevice_id = -1\n", "is -1; expected an integer, 0 or larger"),
        ('[tool.ttreg]\ndevice = "cuda"\n', "is 'cuda'; expected one of 'auto'"),
        ("[tool.ttreg]\ncheck = [0.9]\n", "expected None, or a PCC"),
        ("tool.ttreg = 3\n", "[tool.ttreg] is 3; expected a table"),
        (f"tool.ttreg = 0x{'f' * 5000}\n", "[tool.ttreg] is a very large number; expected a table"),
        ("[tool.ttreg\n", "is no TOML"),
    ],
)
def test_what_is_wrong_in_the_project_is_named_with_its_file(project, text, said):
    path = project(text)
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode()
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("text", ["tool = 3 # ttreg\n", "[[tool]]\nttreg = 1\n"])
def test_a_project_without_a_table_of_tools_has_no_settings(project, text):
    project(text)
    assert Settings.resolve({}) == Settings()


def test_an_unknown_key_of_the_project_lists_the_known_ones(project):
    project("[tool.ttreg]\nspeed = 1\n")
    with pytest.raises(SettingsError) as caught:
        ttreg.device_mode()
    assert all(keyword in str(caught.value) for keyword in KEYWORDS)


def test_without_a_working_directory_there_is_no_project(tmp_path, monkeypatch):
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    assert Settings.resolve({}) == Settings()


def test_a_device_without_values_is_not_checked():
    with pytest.raises(SettingsError, match=r"check is 0\.99; expected None with device='mock', which has no values"):
        ttreg.device_mode(device="mock", check=0.99)
