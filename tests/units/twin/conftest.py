"""A hand-made twin: no model is solved, so that reading, storing, drawing and writing are tested alone."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest

from calibration.posterior import Posterior
from twin.patient import DoseReport, LedgerEntry, PatientTwin, Plan
from twin.study import read_study

TOML = """id = "made by hand"
tracer = "177Lu-PSMA-617"
[covariates]
weight_kg = 82
sex = "male"
[[administrations]]
activity_MBq = "7.4 GBq"
"""
CSV = """region,time_h,activity_MBq,sd,volume_mL
right kidney,4,80,4,150
right kidney,24,70,4,150
tumour 1,24,6,0.6,12
"""
REGIONS = ("kidney_right", "tumour_1")


@dataclass(frozen=True)
class Limit:
    name: str
    region: str
    quantity: str
    value_Gy: float


@pytest.fixture
def write_study_files(tmp_path):
    """Writes a study folder, with changes to either file, and returns its path."""

    def write(toml=TOML, table=CSV):
        folder = tmp_path / "study"
        folder.mkdir(exist_ok=True)
        (folder / "patient.toml").write_text(toml)
        (folder / "measurements.csv").write_text(table)
        return folder

    return write


@pytest.fixture
def patient(write_study_files, rng):
    study = read_study(write_study_files())
    posterior = Posterior(
        names=("receptor_density/kidney_right", "release/tumour"),
        unit=("nmol/L", "1/min"),
        prior_median=np.array([16.0, 1.3e-4]),
        prior_log_sd=np.array([0.4, 0.5]),
        map_log=np.array([0.2, -0.1]),
        covariance=np.diag([0.01, 0.16]),
        draws=rng.normal(size=(40, 2)),
        chi2=2.5,
        observations_used=3,
        warnings=("one scan only",),
    )
    entry = LedgerEntry(1, "kidney_right", 24.0, 70.0, 66.0, 50.0, 82.0)
    return PatientTwin(study, posterior, (entry,), {"model": "by hand"})


def report(cycles, kind, rng) -> DoseReport:
    shape = (40, len(cycles), 2)
    dose = np.array([4.0, 12.0]) * np.exp(rng.normal(0, 0.1, shape))
    given = np.full(len(cycles), 7400.0)
    fraction = np.full(shape[1:], 0.3)
    mass = np.array([150.0, 12.0])
    truth = {(1, "kidney_right"): 4.1}
    return DoseReport(REGIONS, cycles, given, kind, dose, dose * 1.2, dose * 2000, mass, fraction, truth, ("late",))


@pytest.fixture
def results(patient, rng):
    """Everything that `write_results` takes after the folder."""
    first = patient.study.administrations[0]
    forecast = report((1, 2), ("assimilated", "forecast"), rng)
    plan = Plan((first,), ("activity cap",), forecast, {"kidney": 0.03}, ("plan by hand",))
    time_h = np.linspace(0, 100, 21)
    curve = 80 * np.exp(-0.02 * time_h)
    bands = {"kidney_right": (curve, 0.8 * curve, 1.2 * curve), "tumour_1": (curve / 10, curve / 20, curve / 5)}
    limits = (Limit("kidney BED", "kidney_right", "bed_Gy", 27.0), Limit("kidney", "kidney_right", "dose_Gy", 23.0))
    return patient, report((1,), ("assimilated",), rng), plan, {1: (time_h, bands)}, limits
