"""Kill workers, drivers and saves at random instants, fill the disk: what is left goes on to the same bytes.

"Equal" is meant of the bytes of all parts and of the manifest; no other file but events and the lock may be there.
"""

from __future__ import annotations

import pytest

from tests import trial_kills as kills
from tests.runner import Skipped

FEW, MANY, SEED = 3, 20, 20261122
FEW_SAVES, MANY_SAVES = 15, 200
COUNTS = [pytest.param(FEW, id="few"), pytest.param(MANY, id="many", marks=pytest.mark.slow)]


@pytest.mark.parametrize("count", COUNTS)
def test_a_killed_worker_loses_nothing(tmp_path, count):
    assert kills.killed_workers(tmp_path, count, SEED) == count


@pytest.mark.parametrize("count", COUNTS)
def test_a_killed_driver_loses_nothing_and_leaves_no_worker(tmp_path, count):
    assert kills.killed_drivers(tmp_path, count, SEED) == count


@pytest.mark.parametrize("count", COUNTS)
def test_a_full_disk_loses_nothing(tmp_path, count):
    try:
        assert kills.full_disks(tmp_path, count, SEED) == count
    except Skipped as reason:
        pytest.skip(str(reason))


def test_another_trial_would_not_be_equal(tmp_path):
    """Negative control of the comparison: one patient's numbers differ."""
    assert kills.reference(tmp_path / "a") == kills.reference(tmp_path / "b")
    assert kills.reference(tmp_path / "c", kills.SMALL | {"seed": 8}) != kills.reference(tmp_path / "b")


def test_a_cluster_that_loses_a_worker_completes_and_says_so(tmp_path):
    pytest.importorskip("distributed")
    found = kills.cluster_that_loses_one(tmp_path)
    assert found["same"]
    assert found["computed"] == 24
    assert found["events"].count("worker lost") == 1
    assert "chunk resubmitted" in found["events"]
    assert found["events"][-1] == "finished"
    assert found["addresses"] <= {"127.0.0.1", "::1"}


@pytest.mark.parametrize(
    "count", [pytest.param(FEW_SAVES, id="few"), pytest.param(MANY_SAVES, id="many", marks=pytest.mark.slow)]
)
def test_a_killed_save_leaves_the_old_or_the_new_twin(tmp_path, count):
    found = kills.killed_saves(tmp_path, count, SEED)
    assert found["broken"] == []
    assert found["opened"] == count


def test_a_save_killed_before_each_change_of_the_disk_leaves_a_twin(tmp_path):
    found = kills.killed_saves(tmp_path, 1000, SEED, at_each_event=True)
    assert found["kills"] >= 10
    assert found["broken"] == []
