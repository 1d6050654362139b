"""What may not be in the tree: loaders that run code, registry hosts, paths of one machine, to-dos, large files."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("twin", "pbpk", "imaging", "dose", "calibration")
LARGEST_BYTES = 5_000_000
"""A clone stays small; larger data live beside the repository."""

RUNS_CODE = re.compile(
    r"\b(import (pickle|dill|marshal|shelve|cloudpickle)|pickle\.|joblib\.load|yaml\.load|allow_pickle=True"
    r"|weights_only=False|pd\.read_pickle|(?<![.\w])eval\(|(?<![.\w])exec\()"
)
HOSTS = re.compile("|".join(("[p]ypi" + r"\.org", "[p]ythonhosted", "[r]egistry" + r"\.npmjs", "[d]eb" + r"\.debian")))
UNDONE = re.compile(r"\b(TO" + r"DO|FIX" + r"ME|XX" + r"X|HA" + r"CK)\b|raise NotImplementedError")


def tracked() -> list[Path]:
    """Files git has, or would take; binary ones left to the size check."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a git checkout, so there is no list of files")
    return [REPOSITORY / line for line in done.stdout.splitlines() if (REPOSITORY / line).is_file()]


def lines_with(pattern: re.Pattern, paths) -> list[str]:
    found = []
    for path in paths:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        rows = enumerate(text.splitlines(), start=1)
        found += [f"{path.relative_to(REPOSITORY)}:{k}" for k, line in rows if pattern.search(line)]
    return found


def code() -> list[Path]:
    return [path for path in tracked() if path.suffix == ".py" and path.relative_to(REPOSITORY).parts[0] in PACKAGES]


def test_no_loader_runs_code_from_a_file():
    assert lines_with(RUNS_CODE, code()) == []


@pytest.mark.parametrize("line", ["import pickle", "np.load(f, allow_pickle=True)", "x = eval(text)"])
def test_a_loader_that_runs_code_is_caught(line):
    assert RUNS_CODE.search(line)


@pytest.mark.parametrize("line", ["model.eval()", "jax.tree.map(f, x)", "literal_eval(x)"])
def test_a_harmless_line_is_not(line):
    assert not RUNS_CODE.search(line)


def test_no_registry_host_is_named():
    assert lines_with(HOSTS, tracked()) == []


def test_no_path_of_one_machine_is_named():
    shared_by_all = {Path("/"), Path("/home"), Path(tempfile.gettempdir())}
    folders = {REPOSITORY, REPOSITORY.parent, Path.home()} - shared_by_all
    machine = re.compile("|".join(re.escape(str(folder)) + "/" for folder in sorted(folders)))
    assert lines_with(machine, tracked()) == []


def test_shipped_code_has_nothing_left_undone():
    assert lines_with(UNDONE, code()) == []


def test_no_large_file():
    assert [path.name for path in tracked() if path.stat().st_size > LARGEST_BYTES] == []
