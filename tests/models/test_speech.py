"""transformers' speech recognition with a small seeded Whisper: the device's text is the CPU's."""

from __future__ import annotations

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("transformers")
long = pytest.mark.long


def recognizer(small: Any) -> Any:
    from transformers import pipeline

    model, feature_extractor = small.whisper()
    return pipeline(
        "automatic-speech-recognition",
        model=model,
        feature_extractor=feature_extractor,
        tokenizer=small.whisper_tokenizer(),
    )


@pytest.mark.parametrize(
    ("batch_size", "options"),
    [
        (3, {"max_new_tokens": 4}),
        pytest.param(1, {"max_new_tokens": 10}, marks=long),
        pytest.param(3, {"max_new_tokens": 12, "return_timestamps": True}, marks=long),
        pytest.param(3, {"max_new_tokens": 12, "language": "de", "task": "translate"}, marks=long),
        pytest.param(3, {"max_new_tokens": 10, "cache_implementation": "static"}, marks=long),
    ],
)
def test_recognition(small, beside_cpu, batch_size, options):
    pipe = recognizer(small)
    options = {"num_beams": 1, **options}
    beside_cpu(
        lambda: pipe([sound.copy() for sound in small.sounds()], batch_size=batch_size, generate_kwargs=options),
        networks=[pipe.model],
    )


@long
def test_validated(small, beside_cpu):
    pipe = recognizer(small)
    options = {"num_beams": 1, "max_new_tokens": 2}
    report = beside_cpu(lambda: pipe(small.sounds()[2], generate_kwargs=options), networks=[pipe.model], validate=True)
    assert report.device.validated


@long
@pytest.mark.parametrize("sound", [7, "no such file.wav", {"raw": [0.0]}, b"no sound"])
def test_what_is_no_sound(small, fails_as_on_cpu, sound):
    pipe = recognizer(small)
    options = {"num_beams": 1, "max_new_tokens": 2}
    fails_as_on_cpu(
        lambda: pipe(sound, generate_kwargs=options),
        (TypeError, ValueError, FileNotFoundError),
        lambda: pipe(small.sounds()[2], generate_kwargs=options),
    )
