"""The arrows of docs/architecture.md hold, and the lists that guard them are complete."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

VOCABULARY = {"errors", "units", "nuclides", "regions", "provenance"}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    script = Path(sys.executable).parent / "lint-imports"
    if not script.exists():
        pytest.skip("import-linter is in the dev extra, which is not installed")
    command = [str(script), "--config", "pyproject.toml", "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_imports_go_one_way(repository):
    done = lint_imports(repository)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_an_import_against_the_arrows_is_caught(repository, tmp_path):
    for package in ("twin", "calibration", "imaging", "pbpk", "dose"):
        shutil.copytree(repository / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(repository / "pyproject.toml", tmp_path)
    (tmp_path / "pbpk" / "stray.py").write_text("import imaging\n", encoding="utf-8")
    done = lint_imports(tmp_path)
    assert done.returncode != 0
    assert "pbpk.stray" in done.stdout


def test_every_dose_module_is_vocabulary_or_guarded(repository):
    config = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    contracts = {c["name"][0]: c for c in config["tool"]["importlinter"]["contracts"]}
    guarded = {name.removeprefix("dose.") for name in contracts["2"]["forbidden_modules"]}
    in_vocabulary_contract = {m for m in contracts["5"]["forbidden_modules"] if m.startswith("dose.")}
    entries = [path for path in (repository / "dose").iterdir() if path.name not in ("data", "__pycache__")]
    modules = {path.stem for path in entries if path.suffix == ".py" or (path / "__init__.py").exists()} - {"__init__"}
    assert modules - VOCABULARY == guarded, "add the new dose module to contracts 2 and 5 of pyproject.toml"
    assert in_vocabulary_contract == {f"dose.{name}" for name in guarded}
