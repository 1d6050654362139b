"""Coverage of simulated patients, and a real patient against published fits."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests import synthetic
from tests.runner import REPOSITORY
from tests.validate import check, shared

PATIENTS = 60


@cache
def _covered(narrowing: float) -> np.ndarray:
    return np.sum([case.covers(narrowing) for case in _cases()], axis=0)


@cache
def _cases():
    return synthetic.cases(PATIENTS)


def _coverage(k: int):
    @check(f"calibration/coverage {synthetic.REGIONS[k]}", unit="of 60", tolerance="48 to 59", source="binomial")
    def covered():
        return int(_covered(1.0)[k]), bool(48 <= _covered(1.0)[k] <= 59)

    return covered


for _k in range(len(synthetic.REGIONS)):
    _coverage(_k)


@check(
    "calibration/coverage negative control", unit="of 60", tolerance="below 48", source="posterior 4 times too narrow"
)
def too_narrow():
    worst = int(_covered(4.0).max())
    return worst, worst < 48


@cache
def _real():
    from twin.study import read_study
    from twin.verbs import calibrate, predict

    shared("clinical/tac_177lu_psma_patient1.csv")
    return predict(calibrate(read_study(REPOSITORY / "docs" / "examples" / "patient_177lu_psma.toml")))


def _interval(region: str):
    report = _real()
    return np.percentile(report.tia_MBq_h[:, 0, report.regions.index(region)], [5, 50, 95])


@check("calibration/real kidney_right TIA", unit="MBq h", tolerance="7100 to 7800", source="CLINICAL.md V05")
def right_kidney():
    middle = float(_interval("kidney_right")[1])
    return middle, 7100 <= middle <= 7800


def _published(region: str, value: float):
    source, tolerance = "published tri-exponential fit, public patient 1", f"90% interval holds {value:g}"

    @check(f"calibration/real {region} interval", unit="MBq h", tolerance=tolerance, source=source)
    def inside():
        low, middle, high = (float(x) for x in _interval(region))
        return middle, low <= value <= high

    return inside


for _region, _value in (("kidney_left", 6276.29), ("tumour_1", 976.07), ("tumour_2", 433.92), ("spleen", 387.84),
                        ("liver", 4178.67)):  # fmt: skip
    _published(_region, _value)
