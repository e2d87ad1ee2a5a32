"""sentence-transformers with real weights: the device's embeddings and similarities are the CPU's."""

from __future__ import annotations

import pytest

from ttreg.demo.search import SENTENCES, load

pytestmark = pytest.mark.xdist_group("transformers")
long = pytest.mark.long


@pytest.fixture(scope="module")
def model():
    return load()


@pytest.mark.parametrize(
    ("sentences", "options"),
    [
        (SENTENCES[:3], {"batch_size": 3}),
        pytest.param(SENTENCES, {"batch_size": 1}, marks=long),
        pytest.param(SENTENCES, {"batch_size": 5, "normalize_embeddings": True}, marks=long),
        pytest.param(SENTENCES[:5], {"convert_to_tensor": True, "truncate_dim": 64}, marks=long),
        pytest.param(SENTENCES[:5], {"output_value": "token_embeddings"}, marks=long),
        pytest.param([" ".join(SENTENCES * 6), "Leaves."], {}, marks=long),  # more than the longest, which is cut
        pytest.param(["", SENTENCES[0]], {}, marks=long),
    ],
)
def test_embeddings(model, beside_cpu, sentences, options):
    def program():
        return model.encode(list(sentences), show_progress_bar=False, **options)

    beside_cpu(program, networks=[model[0]])


@long
def test_similarity(model, beside_cpu):
    def program():
        embedded = model.encode(list(SENTENCES), show_progress_bar=False, convert_to_tensor=True)
        scores = model.similarity(embedded[:2], embedded)
        return scores, scores.argsort(dim=-1, descending=True), model.similarity_pairwise(embedded[:4], embedded[4:8])

    beside_cpu(program, networks=[model[0]])


@long
def test_validated(model, beside_cpu):
    def program():
        return model.encode(list(SENTENCES[:2]), show_progress_bar=False)

    assert beside_cpu(program, networks=[model[0]], validate=True).device.validated


@long
@pytest.mark.parametrize("sentences", [7, ["Leaves.", 7]])
def test_what_is_no_sentence(model, fails_as_on_cpu, sentences):
    fails_as_on_cpu(
        lambda: model.encode(sentences, show_progress_bar=False),
        (TypeError, ValueError),
        lambda: model.encode("Leaves.", show_progress_bar=False),
    )
