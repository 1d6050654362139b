"""Numbers of docs/radiobiology.md are those of the code."""

from __future__ import annotations

import re

import numpy as np
import pytest

from dose.control import endpoint, endpoint_draws
from dose.exposure import bed_over_half_lives
from dose.tissues import tissue


def test_the_table_over_half_lives(repository):
    text = (repository / "docs" / "radiobiology.md").read_text(encoding="utf-8")
    head, bed = (
        next(line for line in text.splitlines() if line.startswith(start)) for start in ("| effective", "| BED, Gy")
    )
    half, shown = (
        [float(re.match(r"[\d.]+", c.strip()).group()) for c in line.split("|")[2:-1]] for line in (head, bed)
    )
    found = bed_over_half_lives(23.0, np.maximum(half, 1e-9), tissue("kidneys"))
    np.testing.assert_allclose(shown, found, atol=0.051)  # one decimal


def test_the_risk_of_the_kidneys(repository):
    text = " ".join((repository / "docs" / "radiobiology.md").read_text(encoding="utf-8").split())
    middle, low, high = map(int, re.search(r"is (\d+) %, with a 95 % interval from (\d+) to (\d+) %", text).groups())
    assert 100 * endpoint("kidney_nephropathy_bed").ntcp(40.0) == pytest.approx(middle, abs=0.5)
    drawn = np.percentile(100 * endpoint_draws("kidney_nephropathy_bed", 20_000, 1).ntcp(40.0), [2.5, 97.5])
    np.testing.assert_allclose(drawn, [low, high], atol=2.0)
