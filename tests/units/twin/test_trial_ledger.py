"""Manifest, parts, lock and events: what is refused, what is found damaged, and that nothing half written counts."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow.parquet as pq
import pytest

from dose.errors import InputError
from tests.trial_jobs import Toy
from twin.trial import engine, journal, ledger, lock, manifest
from twin.trial.work import Order, Task, work

JOB = Toy(patients=20)


@pytest.fixture
def trial(tmp_path):
    """A finished trial of five chunks."""
    engine.run(JOB, tmp_path / "t", executor="serial", chunk=4)
    return tmp_path / "t"


def parts(folder):
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("part-*.parquet"))}


def rewritten(folder, **changes):
    """The manifest with changes and, as an honest writer would, its checksum."""
    words = json.loads((folder / manifest.NAME).read_text()) | changes
    (folder / manifest.NAME).write_text(json.dumps(words | {"sha256": manifest.digest(words)}))


def test_the_manifest_says_all_that_results_depend_on(trial):
    words = manifest.read(trial)
    assert words["job"]["design"]["seed"] == 7
    assert (words["patients"], words["block"], words["chunk"], words["tables"]) == (20, 4, 4, ["cycles", "patients"])
    assert set(words["packages"]) == {"theratwin", "jax", "jaxlib", "diffrax", "numpy", "pyarrow"}
    assert words["platform"]
    assert words["schema"]


def test_another_seed_is_refused_by_name(trial):
    with pytest.raises(InputError, match=r"found another trial \(job.design.seed 7\); expected job.design.seed 8"):
        engine.run(Toy(patients=20, seed=8), trial, executor="serial")


def test_other_versions_are_refused_with_what_to_do(trial):
    rewritten(trial, packages={**manifest.packages(), "jax": "0.0.1"})
    with pytest.raises(InputError, match=r"packages.jax 0.0.1.*resume with the versions"):
        engine.run(JOB, trial, executor="serial")


def test_another_chunk_size_is_refused_and_none_keeps_the_first(trial):
    with pytest.raises(InputError, match="leave the chunk size out"):
        engine.run(JOB, trial, executor="serial", chunk=8)
    assert engine.run(JOB, trial, executor="serial").computed == 0


def test_many_differences_are_counted():
    found, expected = ({"job": {str(k): k + shift for k in range(9)}, "sha256": shift} for shift in (0, 1))
    with pytest.raises(InputError, match="and 3 more"):
        manifest.require_same(found, expected)


def test_a_newer_manifest_is_refused(trial):
    rewritten(trial, format=manifest.FORMAT + 1)
    with pytest.raises(InputError, match="update theratwin"):
        engine.run(JOB, trial, executor="serial")


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"format": "x"}'])
def test_a_damaged_manifest_is_told(trial, text):
    (trial / manifest.NAME).write_text(text)
    with pytest.raises(InputError, match="as it was written"):
        manifest.read(trial)


def test_a_changed_manifest_is_told(trial):
    words = json.loads((trial / manifest.NAME).read_text())
    (trial / manifest.NAME).write_text(json.dumps(words | {"patients": 40}))
    with pytest.raises(InputError, match="checksum"):
        engine.run(Toy(patients=40), trial, executor="serial")


def test_a_missing_manifest_is_told_and_nothing_is_touched(trial):
    (trial / manifest.NAME).unlink()
    before = parts(trial)
    with pytest.raises(InputError, match=r"no manifest.json"):
        engine.run(JOB, trial, executor="serial")
    with pytest.raises(InputError, match="put it back"):
        manifest.read(trial)
    assert parts(trial) == before


def test_a_folder_of_somebody_else_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match=r"mine.txt and no manifest.json"):
        engine.run(JOB, tmp_path, executor="serial")
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_file_in_the_way_is_told(tmp_path):
    (tmp_path / "t").write_text("x")
    with pytest.raises(InputError, match="a file"):
        engine.run(JOB, tmp_path / "t", executor="serial")


def damaged(path, how):
    content = path.read_bytes()
    middle = len(content) // 2
    path.write_bytes({
        "truncated": content[:-9],
        "empty": b"",
        "longer": content[:4] + b"xxxx" + content[4:],
        "no parquet": b"x" * len(content),
        "flipped": content[:20] + bytes([content[20] ^ 255]) + content[21:],
        "cut in the middle": content[: middle - 8] + content[middle:],
    }[how])  # fmt: skip


@pytest.mark.parametrize("how", ["truncated", "empty", "longer", "no parquet", "cut in the middle"])
@pytest.mark.parametrize("table", ["cycles", "patients"])
def test_a_damaged_part_is_computed_again(trial, table, how):
    whole = parts(trial)
    damaged(ledger.part(trial, table, 2), how)
    assert engine.run(JOB, trial, executor="serial").computed == 1
    assert parts(trial) == whole
    removed = [e["removed"] for e in journal.read(trial) if e["event"] == "started"][-1]
    assert list(removed) == [f"{table}/part-00002.parquet"]


def test_a_flipped_byte_is_found_by_verify_only(trial):
    whole = parts(trial)
    damaged(ledger.part(trial, "cycles", 2), "flipped")
    assert engine.run(JOB, trial, executor="serial").computed == 0
    assert engine.run(JOB, trial, executor="serial", verify=True).computed == 1
    assert parts(trial) == whole


def test_a_part_of_another_trial_or_chunk_is_computed_again(trial, tmp_path):
    whole = parts(trial)
    engine.run(Toy(patients=20, seed=8), tmp_path / "other", executor="serial", chunk=4)
    ledger.part(trial, "patients", 1).write_bytes(ledger.part(tmp_path / "other", "patients", 1).read_bytes())
    ledger.part(trial, "cycles", 3).write_bytes(ledger.part(trial, "cycles", 4).read_bytes())
    ledger.part(trial, "cycles", 7).write_bytes(ledger.part(trial, "cycles", 4).read_bytes())
    assert sorted(ledger.survey(trial, manifest.read(trial)).faults.values()) == [
        "a part of another chunk", "a part of another trial", "no such chunk",
    ]  # fmt: skip
    assert engine.run(JOB, trial, executor="serial").computed == 2
    assert parts(trial) == whole


def test_a_chunk_without_its_last_part_is_not_done_and_leftovers_go(trial):
    whole = parts(trial)
    ledger.part(trial, "patients", 0).unlink()
    left = ledger.hidden(ledger.part(trial, "cycles", 0))
    left.write_bytes(b"half")
    (trial / "cycles" / "notes.txt").write_text("mine")
    assert list(ledger.survey(trial, manifest.read(trial)).chunks) == [1, 2, 3, 4]
    assert engine.run(JOB, trial, executor="serial").computed == 1
    assert parts(trial) == whole
    assert not left.exists()
    assert (trial / "cycles" / "notes.txt").exists()


def test_parts_carry_trial_chunk_and_counts(trial):
    words = pq.read_metadata(ledger.part(trial, "patients", 4)).metadata
    assert words[b"theratwin_manifest"].decode() == manifest.read(trial)["sha256"]
    assert (words[b"theratwin_chunk"], words[b"theratwin_patients"]) == (b"4", b"16-20")
    assert json.loads(words[b"theratwin_status"]) == {"ok": 4}


@pytest.mark.parametrize("room", [0, 1, 700, 3000, 6000])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch, room):
    """`os.write` takes `room` bytes in all, the last call only in part, as a disk does."""
    taken, write = [0], os.write

    def limited(descriptor, content):
        some = content[: max(room - taken[0], 0)]
        if not len(some):
            raise OSError(28, "No space left on device")
        taken[0] += len(some)
        return write(descriptor, some)

    whole = work(Order(Toy(rows=200), "digest"), Task(0, 0, 4)).parts
    assert sum(len(content) for content in whole.values()) > 6000
    monkeypatch.setattr(ledger.os, "write", limited)
    with pytest.raises(InputError, match=r"No space left.*theratwin trial resume"):
        ledger.put(tmp_path, Task(0, 0, 4), whole)
    assert [p for p in tmp_path.rglob("*") if p.is_file()] == []
    monkeypatch.undo()
    ledger.put(tmp_path, Task(0, 0, 4), whole)
    assert list(parts(tmp_path).values()) == [whole[name] for name in ("cycles", "patients")]


def test_the_last_table_is_renamed_last(tmp_path, monkeypatch):
    order, replace = [], type(tmp_path).replace
    monkeypatch.setattr(type(tmp_path), "replace", lambda a, b: (order.append(b.parent.name), replace(a, b))[1])
    ledger.put(tmp_path, Task(0, 0, 4), {"b": b"1", "a": b"2", "z": b"3"})
    assert order == ["b", "a", "z"]


def test_a_torn_event_is_left_out_and_the_next_one_is_whole(tmp_path):
    journal.write(tmp_path, "one", words="a")
    with (tmp_path / journal.NAME).open("ab") as file:
        file.write(b'{"at": 1, "eve')
    journal.write(tmp_path, "two")
    assert [e["event"] for e in journal.read(tmp_path)] == ["one", "two"]


HOLD = """
import sys, time
from pathlib import Path
from twin.trial import lock
with lock.held(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_driver_is_refused_until_the_first_is_dead(trial, repository):
    command = [sys.executable, "-c", HOLD, str(trial)]
    first = subprocess.Popen(command, cwd=repository, stdout=subprocess.PIPE, text=True)
    assert first.stdout is not None
    try:
        assert first.stdout.readline() == "held\n"
        assert lock.driver(trial) is not None
        with pytest.raises(InputError, match=f"process {first.pid} at"):
            engine.run(JOB, trial, executor="serial")
    finally:
        first.kill()
        first.wait()
        first.stdout.close()
    assert lock.driver(trial) is None
    assert engine.run(JOB, trial, executor="serial").computed == 0
