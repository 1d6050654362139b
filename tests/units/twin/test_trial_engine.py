"""The engine with small jobs: the same tables however they are computed, and clear ends where it stops."""

from __future__ import annotations

import itertools
import random
from collections import deque
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from dose.errors import InputError
from tests.trial_driver import digests
from tests.trial_jobs import Toy
from twin import cli
from twin.trial import engine, executors, journal, ledger, manifest, seats
from twin.trial.executors import worker_environments
from twin.trial.progress import Clock, pace
from twin.trial.status import status
from twin.trial.turn import ChunkError
from twin.trial.work import Failed, Order, Task, work

JOB = Toy(patients=50, bad=7)


def table(folder, name) -> pa.Table:
    """All parts of a table, words as plain strings."""
    parts = [pq.ParquetFile(path).read() for path in sorted((folder / name).glob("part-*.parquet"))]
    plain = [p.replace_schema_metadata().to_pydict() for p in parts]
    return pa.table({key: list(itertools.chain(*(p[key] for p in plain))) for key in plain[0]})


@pytest.fixture
def whole(tmp_path):
    engine.run(JOB, tmp_path / "whole", executor="serial", chunk=8)
    return tmp_path / "whole"


@pytest.mark.parametrize("chunk", [4, 12, 52])
def test_tables_do_not_depend_on_the_chunk_size(whole, tmp_path, chunk):
    engine.run(JOB, tmp_path / "t", executor="serial", chunk=chunk)
    for name in JOB.tables:
        assert table(tmp_path / "t", name) == table(whole, name)


def test_a_job_that_looks_at_its_chunk_would_be_caught(whole, tmp_path):
    engine.run(ChunkBound(50), tmp_path / "a", executor="serial", chunk=4)
    engine.run(ChunkBound(50), tmp_path / "b", executor="serial", chunk=8)
    assert table(tmp_path / "a", "patients") != table(tmp_path / "b", "patients")


@dataclass(frozen=True)
class ChunkBound:
    """Negative control: numbers that count from the chunk's first patient."""

    patients: int
    block: int = 4
    tables: tuple[str, ...] = ("patients",)

    def manifest(self):
        return {}

    def compute(self, first, last):
        return {"patients": pa.table({"patient": list(range(last - first))})}


def test_bytes_do_not_depend_on_workers(whole, tmp_path):
    for workers in (1, 2):
        engine.run(JOB, tmp_path / str(workers), executor="process", workers=workers, chunk=8)
        assert digests(tmp_path / str(workers)) == digests(whole)


def test_bytes_do_not_depend_on_order_or_restarts(whole, tmp_path, monkeypatch):
    def shuffled(order, tasks, say):
        for task in random.Random(3).sample(list(tasks), min(2, len(tasks))):
            yield work(order, task)

    monkeypatch.setattr(executors, "serial", shuffled)
    turns = [engine.run(JOB, tmp_path / "t", executor="serial", chunk=8).found for _ in range(5)]
    assert turns == [0, 2, 4, 6, 7]
    assert digests(tmp_path / "t") == digests(whole)


def test_resume_computes_only_what_is_missing(whole):
    ledger.part(whole, "patients", 3).unlink()
    again = engine.resume(JOB, whole, executor="serial")
    assert (again.found, again.computed, again.statuses) == (6, 1, {"ok": 42, "step_limit": 8})


def test_a_chunk_that_raises_is_named_and_the_others_are_kept(tmp_path):
    broken = Toy(patients=50, broken=21)
    with pytest.raises(ChunkError, match=r"chunk 2 \(patients 16 to 23\) raised ArithmeticError"):
        engine.run(broken, tmp_path, executor="serial", chunk=8)
    assert status(tmp_path).state == "stopped"
    assert status(tmp_path).chunks_done == 2
    told = [e for e in journal.read(tmp_path) if e["event"] == "chunk failed"]
    assert "compute" in told[0]["trace"]
    assert engine.run(Toy(patients=50), tmp_path, executor="serial").found == 2
    assert status(tmp_path).state == "finished"


def test_an_error_in_a_worker_process_is_told_the_same(tmp_path):
    with pytest.raises(ChunkError, match="chunk 2 .*ArithmeticError"):
        engine.run(Toy(patients=24, broken=21), tmp_path, executor="process", workers=1, chunk=8)


def test_a_job_that_forgets_a_table_is_told():
    job = Toy(patients=4, tables=("cycles", "lesions", "patients"))
    found = work(Order(job, "forgets"), Task(0, 0, 4))
    assert isinstance(found, Failed)
    assert "lesions" in found.words


def test_a_worker_with_other_packages_is_refused():
    found = work(Order(JOB, "x", {**manifest.packages(), "jax": "0.0.1"}), Task(0, 0, 4))
    assert isinstance(found, Failed)
    assert found.known
    assert "0.0.1" in found.words


def test_too_many_failures_stop_the_trial_with_reasons(tmp_path):
    with pytest.raises(InputError, match=r"52 of 104 rows failed \(52 ok, 52 step_limit\)"):
        engine.run(Toy(patients=400, bad=2), tmp_path, executor="serial", chunk=8)
    assert status(tmp_path).patients_done == 104
    done = engine.run(Toy(patients=400, bad=2), tmp_path, executor="serial", most_failed=0.6)
    assert (done.failed, done.found) == (200, 13)


def test_few_failures_do_not(tmp_path):
    assert engine.run(JOB, tmp_path, executor="serial", chunk=8).failed == 8


def test_patients_who_may_not_enter_have_not_failed():
    from twin.trial.turn import failed

    assert failed({"ok": 5, "not_eligible": 90, "not_finite": 2, "impossible": 1}) == 3


def test_a_chunk_that_kills_its_worker_is_tried_again_and_given_up(tmp_path):
    (tmp_path / "graves").mkdir()
    deadly = lambda deaths: Toy(patients=24, deadly=9, deaths=deaths, graves=str(tmp_path / "graves"))
    done = engine.run(deadly(2), tmp_path / "a", executor="process", workers=2, chunk=4)
    assert (done.workers_lost, done.computed) == (2, 6)
    told = [e for e in journal.read(tmp_path / "a") if e["event"] in ("worker lost", "chunk resubmitted")]
    assert [e["ended"] for e in told if e["event"] == "worker lost"] == ["SIGKILL", "SIGKILL"]
    assert 2 in {e["chunk"] for e in told if e["event"] == "chunk resubmitted"}
    with pytest.raises(InputError, match=r"chunk 2 .*ended 3 times \(SIGKILL\)"):
        engine.run(deadly(99), tmp_path / "b", executor="process", workers=2, chunk=4)


def test_workers_have_one_thread_and_no_jax_before_their_environment(tmp_path):
    from tests.trial_jobs import Told

    names = ("NPROC", "OMP_NUM_THREADS", "EQX_ON_ERROR", "JAX_PLATFORMS", "XLA_FLAGS")
    engine.run(Told(names), tmp_path, executor="process", workers=2, chunk=1)
    rows = table(tmp_path, "told").to_pylist()
    assert len({row["pid"] for row in rows}) == 2
    for row in rows:
        assert not row["jax"]
        assert [row[name] for name in names[:4]] == ["1", "1", "nan", "cpu"]
        assert executors.XLA_ONE_THREAD in row["XLA_FLAGS"]


def test_each_gpu_gets_its_own_process(tmp_path):
    from tests.trial_jobs import Told

    engine.run(Told(("CUDA_VISIBLE_DEVICES",)), tmp_path, gpus=("0", "3"), chunk=1)
    rows = table(tmp_path, "told").to_pylist()
    assert {row["CUDA_VISIBLE_DEVICES"] for row in rows} == {"0", "3"}
    assert len({(row["pid"], row["CUDA_VISIBLE_DEVICES"]) for row in rows}) == 2
    assert manifest.read(tmp_path)["device"] == "gpu"


def test_environments_keep_the_users_flags(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "--xla_foo=1")
    one, two = worker_environments(2)
    assert one == two
    assert one["XLA_FLAGS"].split() == ["--xla_foo=1", executors.XLA_ONE_THREAD]
    assert [e["CUDA_VISIBLE_DEVICES"] for e in worker_environments(9, ("1", "2"))] == ["1", "2"]
    assert "JAX_PLATFORMS" not in worker_environments(1, ("1",))[0]


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (("auto", 4999, 8), "serial"),
        (("auto", 5000, 8), "process"),
        (("auto", 10**6, 1), "serial"),
        (("auto", 10, 2, ("0",)), "process"),
        (("auto", 10, 2, (), "tcp://a:1"), "dask"),
        (("serial", 10**6, 8), "serial"),
    ],
)
def test_auto_chooses(words, expected):
    assert executors.chosen(*words) == expected


@pytest.mark.parametrize(
    ("words", "match"),
    [
        (("proces", 1, 1), "expected process"),
        (("serial", 1, 1, (), "tcp://a:1"), "Dask scheduler"),
        (("dask", 1, 1, ("0",)), "CUDA_VISIBLE_DEVICES"),
    ],
)
def test_what_does_not_go_together_is_told(words, match):
    with pytest.raises(InputError, match=match):
        executors.chosen(*words)


def test_chunks_are_multiples_of_the_block_and_enough_for_all():
    assert engine.chunk_of(10_000, 48, 2) == 336
    assert engine.chunk_of(10**6, 48, 2) == 960
    assert engine.chunk_of(10, 48, 8) == 48
    assert engine.chunk_of(10, 4, 1, 8) == 8
    with pytest.raises(InputError, match="multiple of 48"):
        engine.chunk_of(10_000, 48, 2, 100)


def test_second_chunks_are_held_back_at_the_end():
    class Mute(seats.Seat):
        def __init__(self):
            self.tasks = deque()

        def give(self, task):
            self.tasks.append(task)

    four, waiting = [Mute() for _ in range(4)], deque(range(9))
    seats.hand_out(waiting, four)
    assert [list(seat.tasks) for seat in four] == [[0, 4], [1], [2], [3]]
    assert list(waiting) == [5, 6, 7, 8]


def test_progress_tells_rate_and_time_left(tmp_path):
    seen = []
    engine.run(JOB, tmp_path, executor="serial", chunk=8, progress=seen.append)
    assert [p.done for p in seen] == [8, 16, 24, 32, 40, 48, 50]
    assert all(p.total == 50 and p.rate_per_s > 0 for p in seen)
    assert seen[-1].left_s == 0.0


def test_rate_forgets_the_slow_start(monkeypatch):
    from twin.trial import progress

    now = itertools.chain([0.0], (100.0 + k for k in itertools.count()))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(now))
    clock = Clock(1000, 0)
    last = [clock.after(10 * k) for k in range(1, 51)][-1]
    assert last.rate_per_s == pytest.approx(10.0)
    assert last.left_s == pytest.approx(50.0)


def test_no_rate_before_anything_is_done():
    assert [x != x for x in pace(0, 3.0, 10)] == [True, True]


def test_status_of_an_interrupted_trial(whole):
    ledger.part(whole, "patients", 3).unlink()
    lines = (whole / journal.NAME).read_text().splitlines()
    (whole / journal.NAME).write_text("\n".join(lines[:-1]) + "\n")
    found = status(whole)
    assert (found.state, found.driver, found.chunks_done, found.patients_done) == ("interrupted", None, 6, 42)
    assert found.statuses == {"ok": 35, "step_limit": 7}
    assert found.rate_per_s > 0
    assert found.started is not None
    assert found.updated is not None
    assert found.started <= found.updated


def test_status_lives_without_events(whole):
    (whole / journal.NAME).unlink()
    found = status(whole)
    assert (found.state, found.patients_done, found.started) == ("finished", 50, None)


def test_without_dask_the_extra_is_named(tmp_path, monkeypatch):
    import builtins

    real = builtins.__import__

    def without(name, *rest):
        if name == "distributed":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"theratwin\[cluster\]"):
        engine.run(JOB, tmp_path, executor="dask")


def test_the_command_tells_how_a_trial_stands(whole):
    said = CliRunner().invoke(cli.app, ["trial", "status", str(whole)])
    assert said.exit_code == 0
    assert "finished: 50 of 50 patients, 7 of 7 chunks" in said.stderr
    assert "42 ok, 8 step_limit" in said.stderr


def test_the_command_tells_errors_in_words(tmp_path, whole):
    said = CliRunner().invoke(cli.app, ["trial", "status", str(tmp_path / "no")])
    assert said.exit_code == cli.BAD_INPUT
    assert "manifest.json" in said.stderr
    (whole / manifest.NAME).unlink()
    assert CliRunner().invoke(cli.app, ["trial", "resume", str(whole)]).exit_code == cli.BAD_INPUT


class Designed:
    """A toy in place of `TrialJob`: takes patients and seed from the design, and leaves the design in the manifest."""

    block, tables = JOB.block, JOB.tables

    def __init__(self, design):
        self.design, self.patients = design, design.patients
        self.compute = Toy(patients=design.patients, seed=design.seed).compute

    def manifest(self):
        return {"design": self.design.model_dump(mode="json")}


def test_the_commands_run_and_resume_a_design(tmp_path, monkeypatch):
    from twin.trial import gate, job

    monkeypatch.setattr(job, "TrialJob", Designed)
    monkeypatch.setattr(gate, "write_gate", lambda folder: ())  # a toy has no doses to judge
    folder = str(tmp_path / "t")
    more = ["--patients", "30", "--seed", "3", "--chunk", "8", "--executor", "serial"]
    said = CliRunner().invoke(cli.app, ["trial", "run", "psma-fixed", "--out", folder, *more])
    assert said.exit_code == 0, said.stderr
    assert "30 patients" in said.stderr
    assert "too few patients" in said.stderr
    whole = digests(folder)
    engine.run(Toy(patients=30, seed=3), tmp_path / "toy", executor="serial", chunk=8)
    assert table(tmp_path / "t", "cycles") == table(tmp_path / "toy", "cycles")
    ledger.part(tmp_path / "t", "patients", 1).unlink()
    assert CliRunner().invoke(cli.app, ["trial", "resume", folder, "--executor", "serial"]).exit_code == 0
    assert digests(folder) == whole
    other = ["--patients", "30", "--seed", "4", "--executor", "serial"]
    refused = CliRunner().invoke(cli.app, ["trial", "run", "psma-fixed", "--out", folder, *other])
    assert refused.exit_code == cli.BAD_INPUT
    assert "job.design.seed 3" in refused.stderr


def test_shipped_designs_are_listed_and_printed(tmp_path):
    listed = CliRunner().invoke(cli.app, ["trial", "design"])
    assert listed.exit_code == 0
    assert "psma-stop-rule" in listed.stdout.split()
    mine = tmp_path / "mine.toml"
    mine.write_text(CliRunner().invoke(cli.app, ["trial", "design", "psma-stop-rule"]).stdout, encoding="utf-8")
    from twin.trial.design import read_design

    assert read_design(mine) == read_design("psma-stop-rule")
    assert CliRunner().invoke(cli.app, ["trial", "design", "psma"]).exit_code == cli.BAD_INPUT
