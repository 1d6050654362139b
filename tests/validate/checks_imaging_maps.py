"""Dose maps of a real pair of scans: what registration keeps, what tails rest on, and the organ-level dose beside."""

from __future__ import annotations

import tarfile
import tempfile
from functools import cache

import numpy as np

from tests.validate import check, shared

SOURCE = "a public 177Lu-DOTATATE SPECT study of two scans (IMAGING.md 3.1)"


@cache
def _maps():
    from twin.dose_maps import dose_maps
    from twin.image_study import open_images

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared("images/spect_lu177_dotatate.tar.xz")) as archive:
            archive.extractall(folder, filter="data")
        return dose_maps(open_images(folder, guarded=False))


@cache
def _organ_level():
    """Dose and integral of each lesion, medians of a calibrated twin's first cycle."""
    from tests.validate.checks_imaging import _dotatate
    from twin.verbs import predict

    report = predict(_dotatate()[1])
    rows = [k for k, region in enumerate(report.regions) if region.startswith("tumour_")]
    return [(float(np.median(report.dose_Gy[:, 0, k])), float(np.median(report.tia_MBq_h[:, 0, k]))) for k in rows]


@check("imaging/maps activity of the moved scan", unit="after / before", tolerance="abs 0.01 of 1", source=SOURCE)
def kept():
    (told,) = _maps().scans.moved
    found = told.after_MBq / told.before_MBq
    return found, abs(found - 1) <= 0.01


@check("imaging/maps rising lesions told in words", unit="of 2", tolerance="2", source=SOURCE)
def rising():
    found = sum("still rise" in words for words in _maps().warnings)
    return found, found == 2


@check(
    "imaging/maps lesion dose per decay against the organ level",
    unit="map / twin",
    tolerance="rel 0.05 of 1",
    source="the same lesions as spheres in the twin's dose model",
)
def per_decay():
    pairs = zip(_maps().regions, _organ_level(), strict=True)
    found = [row.dose_Gy / row.tia_MBq_h / (dose / tia) for row, (dose, tia) in pairs]
    return found, bool(np.allclose(found, 1, rtol=0, atol=0.05))


@check(
    "imaging/maps the twin's lesion dose lies in the map's 90 % interval",
    unit="of 2",
    tolerance="2",
    source="the same lesions in a twin calibrated to both scans, whose prior knows a clearance",
)
def inside():
    pairs = list(zip(_maps().regions, _organ_level(), strict=True))
    found = sum(row.interval_Gy[0] <= dose <= row.interval_Gy[1] for row, (dose, _) in pairs)
    return found, found == 2
