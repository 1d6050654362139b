"""Writes notebooks/patient: the demo's virtual patient as tables, so that notebooks start without making images.

Run `python -m tests.notebooks.patient` after a change that moves the demo's scans; a slow test compares the two.
"""

from __future__ import annotations

import csv
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import twin
from twin.demo import write_demo
from twin.study_writing import write_study

FOLDER = Path(__file__).resolve().parents[2] / "notebooks" / "patient"
STUDIES = {"cycle_1": "study", "cycle_2": "study_later"}
"""Folder of tables, and the demo's DICOM study that it is made from."""
DIGITS = 5


def write(folder: Path) -> None:
    """The tables of both studies, rounded to what a spreadsheet would hold."""
    with tempfile.TemporaryDirectory() as images:
        write_demo(images)
        for name, source in STUDIES.items():
            study = twin.read_study(Path(images) / source)
            volumes = {
                region: float(_short(str(mL))) for region, mL in study.volumes_mL.items() if region != "remainder"
            }
            words = "virtual patient of `theratwin demo`, seed 0, written by tests/notebooks/patient.py; truth known"
            write_study(replace(study, id="virtual patient", source=words, volumes_mL=volumes), folder / name)
            for table in ("measurements.csv", "truth.csv"):
                _rounded(folder / name / table)


def _rounded(path: Path) -> None:
    rows = list(csv.reader(path.read_text(encoding="utf-8").splitlines()))
    text = "\n".join(",".join(_short(value) for value in row) for row in rows)
    path.write_text(text + "\n", encoding="utf-8")


def _short(value: str) -> str:
    return value if not value[:1].isdigit() else f"{float(value):.{DIGITS}g}"


if __name__ == "__main__":
    write(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)
