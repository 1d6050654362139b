"""Real images through the one door, against a published table."""

from __future__ import annotations

import tarfile
import tempfile
from functools import cache

import numpy as np

from tests.validate import check, shared

HOURS = (3.74, 27.73)
ACTIVITY_MBq = (5.25, 7.12, 126.1, 144.4)
VOLUME_mL = (3.9, 4.1, 118.3, 119.6)
TOTAL_MBq = (1350.6, 996.1)
SOURCE = "IMAGING.md 3.1, a public 177Lu-DOTATATE SPECT study"


@cache
def _dotatate():
    from twin.study import read_study
    from twin.verbs import calibrate

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared("images/spect_lu177_dotatate.tar.xz")) as archive:
            archive.extractall(folder, filter="data")
        study = read_study(folder, "177Lu-DOTATATE")
    return study, calibrate(study)


@check("imaging/dotatate hours after injection", unit="h", tolerance="abs 0.01 of 3.74, 27.73", source=SOURCE)
def hours():
    found = sorted(set(np.round(_dotatate()[0].observations.time_h, 4)))
    return found, bool(np.allclose(found, HOURS, rtol=0, atol=0.01))


@check("imaging/dotatate lesion activities", unit="MBq", tolerance=f"rel 0.005 of {ACTIVITY_MBq}", source=SOURCE)
def lesions():
    found = sorted(_dotatate()[0].observations.activity_MBq)
    return found, bool(np.allclose(found, ACTIVITY_MBq, rtol=0.005))


@check("imaging/dotatate lesion volumes", unit="mL", tolerance=f"rel 0.03 of {VOLUME_mL}", source=SOURCE)
def volumes():
    found = sorted(_dotatate()[0].observations.volume_mL)
    return found, bool(np.allclose(found, VOLUME_mL, rtol=0.03))


@check(
    "imaging/dotatate field of view, decay as stored", unit="MBq", tolerance=f"rel 0.0005 of {TOTAL_MBq}", source=SOURCE
)
def totals():
    from imaging.activity_images import total_MBq
    from imaging.dicom_read import read_folder

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared("images/spect_lu177_dotatate.tar.xz")) as archive:
            archive.extractall(folder, filter="data")
        found = [total_MBq(series.volume) for series in read_folder(folder).of("SPECT")]
    return found, bool(np.allclose(found, TOTAL_MBq, rtol=5e-4))


@check("imaging/dotatate lesions flagged as rising", unit="of 2", tolerance="2", source=SOURCE)
def rising():
    found = sum("rising" in warning for warning in _dotatate()[1].posterior.warnings)
    return found, found == 2


@check("imaging/dotatate planned: activity of the next cycle", unit="MBq", tolerance="above 0, at most 7400",
       source="theratwin plan on the real study, kidneys at 40 Gy BED in sum")  # fmt: skip
def planned():
    from twin import plan

    found = float(plan(_dotatate()[1]).administrations[0].activity_MBq)
    return found, 0 < found <= 7400 + 1e-6


@check("imaging/dotatate tumour dose, no silent mono-exponential", unit="half-width over median", tolerance="above 0.3",
       source="two scans of a rising lesion tell no clearance: the interval must be wide")  # fmt: skip
def wide():
    from twin.verbs import predict

    report = predict(_dotatate()[1])
    k = next(i for i, name in enumerate(report.regions) if name.startswith("tumour_1"))
    low, middle, high = np.quantile(report.dose_Gy[:, 0, k], (0.05, 0.5, 0.95))
    value = float((high - low) / 2 / middle)
    return value, value > 0.3
