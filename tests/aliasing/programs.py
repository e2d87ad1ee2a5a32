"""How random programs are drawn: steps of given names, with which seed, and what hypothesis does about them."""

from __future__ import annotations

import os
from collections.abc import Iterable

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st

from .run import Step

SEED = int(os.environ.get("ALIASING_SEED", "0"))
SETTINGS = settings(
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    phases=(Phase.generate, Phase.shrink),
)


def steps(names: Iterable[str]) -> st.SearchStrategy[Step]:
    """A step of one of these names."""
    places, numbers = st.integers(0, 7), st.integers(0, 59)
    return st.builds(Step, st.sampled_from(list(names)), places, places, numbers, numbers)
