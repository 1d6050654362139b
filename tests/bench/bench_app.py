"""The planner page in a browser, beside a page of one slider in the same kit (shared/ENGINEERING.md 3.1)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from functools import cache
from pathlib import Path

from tests.app.drive import missing
from tests.bench import Skipped, bench
from tests.runner import REPOSITORY

TOY = "marimo page of one slider, Chromium"
TOY_LOAD_S, TOY_MOVE_S = 4.8, 0.14


@cache
def _driven() -> dict:
    if why := missing():
        raise Skipped(why)
    from tests.app.virtual import saved_twin

    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "tests.app.drive", "short", str(saved_twin(Path(folder)))]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


@bench("planning/page/load", unit="s", peer=TOY, peer_value=TOY_LOAD_S)
def load():
    """From the address to the first numbers, the twin opened by the server before."""
    return _driven()["load_s"]


@bench("planning/page/slider to number", unit="s", peer=TOY, peer_value=TOY_MOVE_S)
def slider_to_number():
    """From a key press to another kidney BED, median of five."""
    return _driven()["median_move_s"]
