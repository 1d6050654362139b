"""The notebooks: as committed they are bare, readable and honest; executed (slow) each cell runs without a warning."""

from __future__ import annotations

import ast
import csv
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.inputtransformer2 import TransformerManager

import twin
from tests.notebooks import patient
from tests.notebooks.run import LIMIT_S, NOTEBOOKS, REPOSITORY, SMALL, shrink

PATHS = sorted(NOTEBOOKS.glob("*.ipynb"))
NOTICE = "**Research software. Not a medical device, not for treatment decisions.**"
END = "## What this does not show"
LONGEST_LINE = 100
MOST_LINES = 45
"""Lines of a code cell that a reader takes in at once."""
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")
MACHINE = re.compile(r"(?<![\w.])/(home|root|tmp|Users|work|mnt)/|[A-Z]:\\\\")
BARE = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}
TABLE_RTOL = 1e-3
"""Rounding of the tables is 1e-5; the rest is room for another machine's arithmetic in images of 32-bit voxels."""


def name(path: Path) -> str:
    return path.stem


def read(path: Path) -> nbformat.NotebookNode:
    return nbformat.read(path, as_version=4)


def code_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "code"]


def words_of(notebook) -> list[str]:
    return [cell.source for cell in notebook.cells if cell.cell_type == "markdown"]


def python_of(cell: str) -> str:
    """A cell's source with its magics as plain Python."""
    return TransformerManager().transform_cell(cell)


def noise(notebook) -> list[str]:
    """What a bare notebook does not have."""
    found = [] if dict(notebook.metadata) == BARE | {"language_info": {"name": "python"}} else ["metadata"]
    for k, cell in enumerate(notebook.cells):
        found += [f"cell {k}: outputs"] if cell.get("outputs") else []
        found += [f"cell {k}: execution count"] if cell.get("execution_count") else []
        found += [f"cell {k}: metadata"] if dict(cell.metadata) not in ({}, {"tags": ["parameters"]}) else []
    return found


def run(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "tests.notebooks.run", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False, timeout=2 * LIMIT_S)


def written(folder: Path, *sources: str) -> Path:
    """A notebook of such code cells."""
    cells = [nbformat.v4.new_code_cell(source) for source in sources]
    path = folder / "made.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
    return path


def test_there_are_seven():
    assert [path.name[:2] for path in PATHS] == ["01", "02", "03", "04", "05", "06", "07"]


@pytest.mark.parametrize("path", PATHS, ids=name)
class TestAsCommitted:
    def test_it_is_a_valid_notebook(self, path):
        nbformat.validate(read(path))

    def test_it_holds_no_outputs_and_no_metadata(self, path):
        assert noise(read(path)) == []

    def test_the_notice_comes_first_and_an_honest_end_last(self, path):
        words = words_of(read(path))
        assert NOTICE in words[0].replace("\n> ", " ")
        assert END in words[-1]

    def test_parameters_come_before_any_other_code(self, path):
        code = [cell for cell in read(path).cells if cell.cell_type == "code"]
        tagged = [cell for cell in code if cell.metadata.get("tags")]
        assert tagged == code[:1]
        assert all(isinstance(node, ast.Assign) for node in ast.parse(code[0].source).body)

    def test_the_quick_look_makes_something_smaller(self, path):
        small = read(path)
        shrink(small)
        changed = set(code_of(small)[0].split("\n")) - set(code_of(read(path))[0].split("\n"))
        assert changed
        assert all(line.split(" = ")[0] in SMALL for line in changed)

    def test_its_code_compiles(self, path):
        for source in code_of(read(path)):
            compile(python_of(source), path.name, "exec")

    def test_cells_are_short_and_lines_fit(self, path):
        code = code_of(read(path))
        assert max(len(line) for cell in code for line in cell.split("\n")) <= LONGEST_LINE
        assert max(cell.count("\n") + 1 for cell in code) <= MOST_LINES

    def test_names_of_the_package_are_offered(self, path):
        trees = [ast.parse(python_of(source)) for source in code_of(read(path))]
        used = {
            n.attr
            for tree in trees
            for n in ast.walk(tree)
            if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "twin"
        }
        assert used <= set(twin.__all__)

    def test_links_lead_somewhere_and_no_path_is_of_one_machine(self, path):
        notebook = read(path)
        targets = [t for cell in words_of(notebook) for t in LINK.findall(cell) if "://" not in t]
        assert [t for t in targets if not (path.parent / t).exists()] == []
        assert not MACHINE.search("\n".join(cell.source for cell in notebook.cells))

    def test_it_is_on_the_page_of_notebooks(self, path):
        assert path.name in (REPOSITORY / "docs" / "notebooks.md").read_text(encoding="utf-8")


def test_noise_is_seen():
    notebook = read(PATHS[0])
    cell = next(cell for cell in notebook.cells if cell.cell_type == "code")
    cell.outputs = [nbformat.v4.new_output("stream", text="left over")]
    cell.execution_count = 3
    cell.metadata["collapsed"] = True
    notebook.metadata["toc"] = {}
    assert len(noise(notebook)) == 4


@pytest.mark.parametrize("folder", patient.STUDIES)
def test_the_patient_of_the_notebooks_reads_without_a_warning(folder):
    study = twin.read_study(patient.FOLDER / folder)
    assert study.warnings == ()
    assert "virtual patient" in study.source
    assert study.truth_Gy


@pytest.mark.slow
def test_the_patient_of_the_notebooks_is_the_one_of_the_demonstration(tmp_path):
    patient.write(tmp_path)
    tables = sorted(patient.FOLDER.rglob("*.csv"))
    assert len(tables) == 2 * len(patient.STUDIES)
    for table in tables:
        (ours, values), (fresh, others) = (parts(p) for p in (table, tmp_path / table.relative_to(patient.FOLDER)))
        assert ours == fresh
        assert values == pytest.approx(others, rel=TABLE_RTOL)


def parts(table: Path) -> tuple[list[str], list[float]]:
    """The words of a table, and its numbers."""
    cells = [cell for row in csv.reader(table.read_text(encoding="utf-8").splitlines()) for cell in row]
    is_number = lambda cell: cell[:1].isdigit()
    return [c for c in cells if not is_number(c)], [float(c) for c in cells if is_number(c)]


@pytest.mark.slow
@pytest.mark.parametrize("path", PATHS, ids=name)
def test_it_runs(path):
    done = run(str(path))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_kernel_is_this_interpreter_and_sees_this_checkout(tmp_path):
    same = f"import sys, twin\nassert sys.executable == {sys.executable!r}\nassert {str(REPOSITORY)!r} in twin.__file__"
    done = run(str(written(tmp_path, same)))
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("source", ["1 / 0", "import warnings\nwarnings.warn('look here')"])
def test_a_cell_that_fails_or_warns_is_told(tmp_path, source):
    done = run(str(written(tmp_path, source)))
    assert done.returncode == 1
    assert "ZeroDivisionError" in done.stderr or "look here" in done.stderr
