"""What the page works on: one twin with its surfaces, its measured curves and the label's schedule, opened once."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from twin._jax import configure

configure()

from dose.errors import InputError, describe  # noqa: E402
from twin import store  # noqa: E402
from twin.cli_work import CURVE_END_H, CURVE_POINTS, curves_of  # noqa: E402
from twin.constraints import activity_cap_MBq  # noqa: E402
from twin.outlook import MOST_CYCLES, Outlook  # noqa: E402
from twin.patient import PatientTwin  # noqa: E402
from twin.schedules import FixedSchedule, label_schedule  # noqa: E402
from twin.study import read_study  # noqa: E402
from twin.verbs import band, calibrate  # noqa: E402
from twin.what_if import outlook_for  # noqa: E402

PATH, TRACER = "THERATWIN_PAGE_PATH", "THERATWIN_PAGE_TRACER"
"""Environment variables in which the launcher tells the page what to open: never the address, never a field."""
MOST_COMING = 8
GBQ_FROM_MBQ = 500.0
"""Activity caps above this are shown in GBq, those below (alpha emitters) in MBq."""


@dataclass(frozen=True, eq=False)
class Desk:
    """A twin ready for questions.

    `curves` maps each given cycle to (time_h, bands); exports go beside `folder`; `kept` holds further surfaces once
    they were asked for, by (over amounts, with tumours that change size).
    """

    twin: PatientTwin
    folder: Path
    outlook: Outlook
    curves: dict
    label: FixedSchedule
    cap_MBq: float
    kept: dict[tuple[bool, bool], Outlook] = field(default_factory=dict)

    @property
    def given(self) -> int:
        return len(self.outlook.given_administrations)

    @property
    def unit_MBq(self) -> float:
        """Size of the unit that activities are shown in."""
        return 1000.0 if self.cap_MBq > GBQ_FROM_MBQ else 1.0

    @property
    def unit(self) -> str:
        return "GBq" if self.unit_MBq > 1 else "MBq"

    @property
    def most_coming(self) -> int:
        return min(MOST_COMING, MOST_CYCLES - self.given)

    @property
    def has_trade(self) -> bool:
        """Whether there is something to trade: a tumour and kidneys."""
        return bool(self.outlook.lesions) and "kidneys" in self.outlook.regions


@cache
def open_desk(path: str, tracer: str | None = None) -> Desk:
    """The desk of a saved twin, a results folder, or a study (which is calibrated first).

    Raises:
        InputError: nothing there, a folder without a twin or a study, or a tracer without an activity cap.
    """
    folder = Path(path)
    twin = store.open(folder) if holds_twin(folder) else _calibrated(folder, tracer)
    study = twin.study
    cap = activity_cap_MBq(study.nuclide)
    label = label_schedule(study.ligand, study.nuclide)
    return Desk(twin, _shown(folder), outlook_for(twin), _given_curves(twin), label, cap)


def page_desk() -> Desk:
    """The desk that the launcher named.

    Raises:
        InputError: the page was started by other means.
    """
    if PATH not in os.environ:
        do = "start the page with theratwin app FOLDER"
        raise InputError(describe("planner page", "no twin named", "the folder of a twin or a study", do))
    return open_desk(os.environ[PATH], os.environ.get(TRACER) or None)


def holds_twin(folder: Path) -> bool:
    """Whether a folder is a saved twin, or a results folder that holds one."""
    return any((place / "twin.json").is_file() for place in (folder, folder / "twin"))


def _calibrated(path: Path, tracer: str | None) -> PatientTwin:
    try:
        study = read_study(path, tracer)
    except InputError as error:
        if (path / "patient.toml").is_file() or path.is_file():
            raise
        do = "give the folder that theratwin plan wrote, a saved twin, or a study"
        found = f"no twin in {path}, and as a study: {error}"
        raise InputError(describe("planner page", found, "a twin or a study", do)) from error
    return calibrate(study)


def _shown(folder: Path) -> Path:
    """The folder that exports go beside: of a twin inside a results folder, the results folder."""
    whole = folder.resolve()
    return whole.parent if whole.name == "twin" and (whole.parent / "report.html").is_file() else whole


def _given_curves(twin: PatientTwin) -> dict:
    """Curves of every therapy cycle given, measured or not, and of scans before therapy."""
    time_h = np.linspace(0.0, CURVE_END_H, CURVE_POINTS)
    measured = curves_of(twin)
    rest = {a.cycle for a in twin.study.administrations if a.cycle > 0} - set(measured)
    return measured | {c: (time_h, band(twin, c, time_h)) for c in sorted(rest)}
