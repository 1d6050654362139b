"""Real images through the one door, against a published table."""

from __future__ import annotations

import tarfile
import tempfile
from functools import cache

import numpy as np

from tests.validate import check, shared

HOURS = (3.74, 27.73)
ACTIVITY_MBq = (5.25, 7.12, 126.1, 144.4)
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


@check("imaging/dotatate hours after injection", unit="h", tolerance="abs 0.011 of 3.74, 27.73", source=SOURCE)
def hours():
    found = sorted(set(np.round(_dotatate()[0].observations.time_h, 2)))
    return found, bool(np.allclose(found, HOURS, rtol=0, atol=0.011))


@check("imaging/dotatate lesion activities", unit="MBq", tolerance=f"rel 0.03 of {ACTIVITY_MBq}", source=SOURCE)
def lesions():
    found = sorted(_dotatate()[0].observations.activity_MBq)
    return found, bool(np.allclose(found, ACTIVITY_MBq, rtol=0.03))


@check("imaging/dotatate lesions flagged as rising", unit="of 2", tolerance="2", source=SOURCE)
def rising():
    found = sum("rising" in warning for warning in _dotatate()[1].posterior.warnings)
    return found, found == 2
