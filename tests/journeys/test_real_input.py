"""Real patients, from the files to the doses. Each calibrates once; the data stay outside the repository."""

from __future__ import annotations

import tarfile

import numpy as np
import pytest

from twin.study import read_study
from twin.verbs import calibrate, predict


def tia(report, region):
    """(lower, median, upper) of the TIA of the first cycle in MBq h."""
    return np.percentile(report.tia_MBq_h[:, 0, report.regions.index(region)], [5, 50, 95])


@pytest.fixture(scope="module")
def psma(shared, repository):
    study = read_study(repository / "docs" / "examples" / "patient_177lu_psma.toml")
    twin = calibrate(study)
    return twin, predict(twin)


def test_right_kidney_lies_among_the_reasonable_fits(psma):
    # CLINICAL.md V05: five reasonable fits of these three points give 7253 to 7703 MBq h
    assert 7100 <= tia(psma[1], "kidney_right")[1] <= 7800


@pytest.mark.parametrize(
    ("region", "published"),
    [("kidney_right", 7423.1), ("kidney_left", 6276.29), ("tumour_1", 976.07), ("tumour_2", 433.92)],
)
def test_the_interval_holds_the_published_fit(psma, region, published):
    low, _, high = tia(psma[1], region)
    assert low <= published <= high


def test_the_extrapolated_part_is_reported(psma):
    # mono-exponential through 24 and 120 h: 21.09 MBq / 0.01238 per h after the last scan = 23% of 7423
    report = psma[1]
    assert report.extrapolated_fraction[0, report.regions.index("kidney_right")] == pytest.approx(0.22, abs=0.06)


def test_what_was_assumed_is_said(psma):
    words = " ".join((*psma[0].study.warnings, *psma[0].posterior.warnings))
    assert "population values assumed" in words
    assert "bladder" in words


@pytest.fixture(scope="module")
def dotatate(shared, tmp_path_factory):
    folder = tmp_path_factory.mktemp("dotatate")
    with tarfile.open(shared / "data" / "images" / "spect_lu177_dotatate.tar.xz") as archive:
        archive.extractall(folder, filter="data")
    study = read_study(folder, "177Lu-DOTATATE")
    twin = calibrate(study)
    return twin, predict(twin)


def test_hours_and_activities_are_those_of_the_table(dotatate):
    # IMAGING.md 3.1: 3.74 and 27.73 h; 126.1, 144.4, 5.25, 7.12 MBq (rt-utils' contour rule), 0.5% for the last digit
    seen = dotatate[0].study.observations
    assert sorted(set(np.round(seen.time_h, 2))) == pytest.approx([3.74, 27.73], abs=0.011)
    assert sorted(seen.activity_MBq) == pytest.approx([5.25, 7.12, 126.1, 144.4], rel=0.005)


def test_lesions_are_reported_as_still_rising_with_wide_intervals(dotatate):
    twin, report = dotatate
    assert sum("rising" in w for w in twin.posterior.warnings) == 2
    for region in [r for r in report.regions if r.startswith("tumour")]:
        low, middle, high = tia(report, region)
        assert high / low > 2
        assert middle < 7210.4 / 0.00434  # less than all of the activity decaying there
