"""The virtual twin that the page's tests and benchmarks open."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tests.synthetic import empty_study, with_scans
from twin import store
from twin.verbs import calibrate

SEED, DRAWS = 5, 101


def saved_twin(folder: Path) -> Path:
    """A twin after one cycle with three scans, saved in `folder`."""
    study, _ = with_scans(empty_study(), np.random.default_rng(SEED))
    return store.save(calibrate(study, draws=DRAWS), folder / "patient")
