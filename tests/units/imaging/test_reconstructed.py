"""Projections of a study to images: what the calibration must share with them, and several beds of one series."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.camera_calibration import CameraCalibration
from imaging.geometry import Volume
from imaging.networks import scatter
from imaging.networks.scatter_cases import WINDOWS_90Y
from imaging.projections import EnergyWindow, Projections
from imaging.reconstructed import CameraSetup, reconstructed
from imaging.scanner import Protocol, windows
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


def with_windows() -> Projections:
    """Three windows of 177Lu, noisy, over a body of water."""

    line = tuple(w for w in windows("177Lu") if w.line_keV == 208.4)

    shape = Protocol("177Lu", 20.0, energy_windows=line, views=6, matrix=(24, 32), pixel_mm=6.0, radius_mm=180.0)
    levels = np.array([{"peak": 10.0, "lower": 2.0, "upper": 0.1}[w.role] for w in line])[:, None, None, None]
    made = shape.acquisition()
    counts = np.random.default_rng(0).poisson(levels * np.ones(made.counts.shape)).astype(np.float32)
    return replace(made.with_counts(counts), frame_hash="f", series_uid_hash="abc", collimator="SY-ME")


def water(side=32) -> ImageSeries:
    hu = np.full((24, side, side), -1000.0)
    hu[:, 6:26, 6:26] = 0.0
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-93.0, -93.0, -69.0]
    return ImageSeries(Volume(hu, affine), "CT", "HU", "ct", "f")


def test_the_scatter_network_is_used_where_there_is_a_ct_and_said_where_not(monkeypatch):
    projections = with_windows()
    peak = projections.windows[projections.window("peak", 208.4)]
    known = CameraCalibration(9.0, 0.2, "planar_point", "177Lu", (peak.lower_keV, peak.upper_keV), "SY-ME")
    setup = CameraSetup(known, iterations=1, subsets=1, scatter="network")
    bare = reconstructed(StudyImages((), projections=(projections,)), setup)
    assert any("not by the network: no CT" in note for note in bare.notes)

    used = []
    own = scatter.estimated_scatter

    def asked(*given, **words):
        used.append(own(*given, **words, method="network"))
        return used[-1]

    monkeypatch.setattr(scatter, "estimated_scatter", asked)
    whole = reconstructed(StudyImages((water(),), projections=(projections,)), setup)
    assert used[0].choice.method == "network"
    assert not any("not by the network" in note for note in whole.notes)
    assert any("shared by neighbouring pixels" in note for note in whole.notes)
    assert not any("shared by neighbouring pixels" in note for note in bare.notes)
    monkeypatch.setattr(scatter, "estimated_scatter", lambda *a, **w: own(*a, **w, method="classical"))
    other = reconstructed(StudyImages((water(),), projections=(projections,)), setup)
    one, two = (made.study.of("SPECT")[0].volume.array for made in (whole, other))
    assert not np.allclose(one, two)


def bremsstrahlung(**settings):
    """A scan of 90Y without a CT, and how its scatter is asked for."""
    levels = np.array([6.0, 3.9, 1.5])[:, None, None, None] * np.ones((1, 8, 8, 8))
    known = CameraCalibration(9.0, 0.2, "planar_point", "90Y", (90.0, 180.0), "SY-HE")
    given = replace(
        acquired(collimator="SY-HE", radiopharmaceutical=Radiopharmaceutical("90Y")), counts=levels, windows=WINDOWS_90Y
    )
    return made_of(given, calibration=known, **settings)


def test_scatter_of_bremsstrahlung_without_a_ct_stays_below_the_peak(monkeypatch):
    with pytest.raises(InputError, match="tew"):
        bremsstrahlung(scatter="tew")
    found, own = [], scatter.estimated_scatter
    monkeypatch.setattr(scatter, "estimated_scatter", lambda *a, **w: found.append(own(*a, **w)) or found[-1])
    made = bremsstrahlung(scatter="network")
    assert any("not by the network: no CT" in note for note in made.notes)
    np.testing.assert_allclose(found[0].estimate.counts, scatter.DEW_90Y["k"] * 3.9, rtol=1e-3)


def test_the_collimator_that_is_assumed_is_the_one_the_network_is_asked_about():
    projections = replace(with_windows(), collimator="")
    peak = projections.windows[projections.window("peak", 208.4)]
    other = CameraCalibration(9.0, 0.2, "planar_point", "177Lu", (peak.lower_keV, peak.upper_keV), "GI-MEGP")
    setup = CameraSetup(other, iterations=1, subsets=1, scatter="network")
    made = reconstructed(StudyImages((water(),), projections=(projections,)), setup)
    assert any("trained for SY-ME" in note for note in made.notes)
