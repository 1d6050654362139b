"""Projections of a study to images: what the calibration must share with them, and several beds of one series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.camera_calibration import CameraCalibration
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstructed import CameraSetup, reconstructed
from imaging.series import ImageSeries, Radiopharmaceutical, StudyImages

PEAK = EnergyWindow(187.2, 228.8, "peak", 208.37)
KNOWN = CameraCalibration(9.0, 0.2, "planar_point", "177Lu", (187.2, 228.8), "SY-ME")
QUICK = {"iterations": 1, "subsets": 1, "scatter": None}


def acquired(counts=5.0, window=PEAK, **changed) -> Projections:
    values = {
        "angles_deg": np.arange(8) * 45.0,
        "radii_mm": np.full(8, 150.0),
        "frame_s": np.full(8, 20.0),
        "pixel_mm": 9.6,
        "centre_lps_mm": np.zeros(3),
        "radiopharmaceutical": Radiopharmaceutical("177Lu"),
        "collimator": "SY-ME",
        "series_uid_hash": "abc",
    }
    return Projections(np.full((1, 8, 8, 8), counts), (window,), **values | changed)


def made_of(*projections: Projections, calibration: CameraCalibration = KNOWN, **settings):
    study = StudyImages(images=(), projections=projections)
    return reconstructed(study, CameraSetup(calibration, **QUICK | settings))


def test_the_calibrations_own_camera_is_taken():
    made = made_of(acquired(window=replace(PEAK, lower_keV=187.5)))
    assert len(made.study.of("SPECT")) == 1


OTHERS = {
    "collimator": acquired(collimator="SY-HE"),
    "window_keV": acquired(window=replace(PEAK, lower_keV=203.0, upper_keV=213.4)),
    "nuclide": acquired(radiopharmaceutical=Radiopharmaceutical("131I")),
}


@pytest.mark.parametrize("name", OTHERS)
def test_a_calibration_of_something_else_is_refused(name):
    with pytest.raises(ImageError, match=f"another {name}"):
        made_of(OTHERS[name])


def test_a_calibration_of_other_reconstruction_settings_is_refused():
    tuned = replace(KNOWN, method="cylinder", settings={"iterations": 1, "subsets": 1, "filter": "none"})
    assert made_of(acquired(), calibration=tuned).study.images
    with pytest.raises(ImageError, match="another iterations"):
        made_of(acquired(), calibration=tuned, iterations=2)


def test_a_collimator_that_one_side_does_not_name_is_said():
    unnamed = replace(KNOWN, collimator="")
    for projections, calibration in ((acquired(collimator="MEGP 3"), KNOWN), (acquired(), unnamed)):
        assert any("collimator" in note for note in made_of(projections, calibration=calibration).notes)
    assert not any("collimator" in note for note in made_of(acquired()).notes)


def test_dead_time_is_undone_or_its_absence_is_said():
    counts = 20_000 * 20 / 64  # 20 000 counts per second in the windows of a head
    plain = made_of(acquired(counts))
    assert any("no dead time is undone" in note for note in plain.notes)
    undone = made_of(acquired(counts), dead_time_us=5.0)
    assert not any("dead time" in note for note in undone.notes)
    # the true rate n solves n exp(-n tau) = 20 000 per second
    true = 22366.5
    assert true * np.exp(-true * 5e-6) == pytest.approx(20_000, rel=1e-4)
    gained = undone.study.images[0].volume.array.sum() / plain.study.images[0].volume.array.sum()
    assert gained == pytest.approx(true / 20_000, rel=1e-3)
    assert not any("dead time" in note for note in made_of(acquired()).notes)


def test_a_ct_that_shows_less_than_the_camera_is_said():
    grid = acquired().grid()
    half = Volume(np.full((4, 8, 8), -1000.0), grid.affine)
    series = ImageSeries(half, "CT", "HU", "ct", "frame")
    short = StudyImages(images=(series,), projections=(acquired(frame_hash="frame"),))
    made = reconstructed(short, CameraSetup(KNOWN, **QUICK))
    assert any("50% of the counts" in note for note in made.notes)
    assert any("no CT in their frame" in note for note in made_of(acquired()).notes)


@pytest.mark.parametrize("names", [("abc", "abc-2"), ("abc", "abc"), ("", "")])
def test_beds_of_one_series_are_kept_apart(names):
    # a bed with 16 times the counts has a quarter of the relative error
    two = [acquired(counts, series_uid_hash=name) for counts, name in zip((2.0, 32.0), names, strict=True)]
    made = made_of(*two)
    series = made.study.of("SPECT")
    means = [s.volume.array.mean() for s in series]
    assert means[1] == pytest.approx(16 * means[0], rel=1e-3)
    assert len({s.series_uid_hash for s in series}) == 2
    everywhere = Volume(np.ones_like(series[0].volume.array), series[0].volume.affine)
    poor, rich = (made.counts_cv(s, {"liver": everywhere})["liver"] for s in series)
    assert rich is not None
    assert poor == pytest.approx(4 * rich, rel=1e-3)
