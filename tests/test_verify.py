"""`ttreg verify` says so if it could not try every sample."""

from __future__ import annotations

import textwrap

import pytest

from ttreg.errors import TtregError
from ttreg.verification.verify import verify

ENTRY = """
import os
import torch
from ttreg import aten, lower
from ttreg.conditions import FLOATS
from ttreg.samples import Sample, rand

@lower(aten.heaviside.default, samples=lambda: [Sample(rand(5, 7), rand(5, 7))] * 2, takes=FLOATS)
def heaviside(tt, self, values):
    {body}
"""


@pytest.mark.parametrize("body", ["os._exit(7)", "raise SystemExit(7)"])
def test_a_process_that_ends_early_is_an_error(tmp_path, body):
    """Else the samples that it has not tried would count as passed."""
    module = tmp_path / "of_ones_own.py"
    module.write_text(textwrap.dedent(ENTRY).format(body=body))
    with pytest.raises(TtregError, match=r"ended before it had tried them all on wormhole_b0 \(exit code 7\)"):
        list(verify("wormhole_b0", ["heaviside"], module))
