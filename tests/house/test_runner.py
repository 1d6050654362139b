"""The validation runner keeps rows, counts failures, and survives a check that raises."""

from __future__ import annotations

import json

from tests import lock, runner
from tests.bench.__main__ import make_row as bench_row
from tests.validate.__main__ import make_row, table


def entries(**functions) -> dict[str, runner.Entry]:
    known: dict[str, runner.Entry] = {}
    for key, function in functions.items():
        runner.register(known, key, unit="Gy", tolerance=1e-3, source="here")(function)
    return known


def good():
    return 1.0, True


def broken():
    raise RuntimeError("no answer")


def absent():
    raise runner.Skipped("no data")


def run(known, out, *arguments):
    return runner.run(known, runner.options("", str(out), list(arguments)), make_row)


def test_only_keeps_the_other_rows(tmp_path):
    out = tmp_path / "results.json"
    known = entries(a=good, b=good)
    run(known, out)
    changed = entries(a=lambda: (2.0, True), b=good)
    run(changed, out, "--only", "a")
    assert [(row["key"], row["value"]) for row in json.loads(out.read_text())] == [("a", 2.0), ("b", 1.0)]


def test_a_check_that_raises_is_a_row_that_did_not_pass(tmp_path, capsys):
    rows = run(entries(a=broken, b=good), tmp_path / "results.json")
    assert [row["pass"] for row in rows] == [False, True]
    assert "no answer" in capsys.readouterr().err
    assert "**no**" in table(rows, "results.json")


def test_a_skipped_check_keeps_its_earlier_row(tmp_path):
    out = tmp_path / "results.json"
    run(entries(a=good), out)
    run(entries(a=absent), out)
    assert json.loads(out.read_text())[0]["value"] == 1.0


def test_not_a_number_is_null_in_the_file():
    entry = entries(a=good)["a"]
    assert make_row(entry, (float("nan"), False), 0.0)["value"] is None


def test_ratio_of_a_benchmark_is_value_over_peer():
    entry = runner.Entry("a", good, {"unit": "ms", "peer": "other", "peer_value": 4.0})
    assert bench_row(entry, 2.0, 0.0)["ratio"] == 0.5


def test_the_lock_holds_no_local_version_and_no_editable_line():
    frozen = "torch==2.13.0+cpu\n-e git+x#egg=theratwin\ntheratwin==0.1.0\nnumpy==2.4.6\nx @ file:///somewhere\n"
    assert lock.pins(frozen) == ["torch==2.13.0", "numpy==2.4.6"]
