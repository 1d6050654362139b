"""A calibrated virtual twin on disk, and journeys of the page in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.app.drive import REPOSITORY, missing
from tests.app.virtual import saved_twin

LONGEST_S = 400


@pytest.fixture(scope="session")
def twin_folder(tmp_path_factory) -> Path:
    return saved_twin(tmp_path_factory.mktemp("planner"))


@pytest.fixture(scope="session")
def drive(twin_folder):
    """Runs a journey of `tests.app.drive` on the twin and returns what it found."""
    if why := missing():
        pytest.skip(why)

    def run(journey: str, *more: str) -> dict:
        command = [sys.executable, "-m", "tests.app.drive", journey, str(twin_folder), *more]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=LONGEST_S, check=False)
        assert done.returncode == 0, done.stderr[-4000:]
        return json.loads(done.stdout)

    return run
