"""Projections written as NM objects: the same counts, angles and places in our reader and in PyTomography's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from dose.errors import InputError
from imaging.dicom_read import read_folder
from imaging.dicom_write import write_planar, write_projections
from imaging.projections import EnergyWindow, Projections
from imaging.series import Radiopharmaceutical
from tests.written import BEGAN, image, missing_attributes, straight_affine, virtual_study

PIXEL_MM, SIDE = 6.8, 32
WINDOWS = (
    EnergyWindow(187.2, 228.8, "peak", 208.0),
    EnergyWindow(166.4, 187.2, "lower", 208.0),
    EnergyWindow(228.8, 249.6, "upper", 208.0),
)
CENTRE = np.array([12.5, -86.0, -431.25])


def angles_of(heads: int, views: int, start: float, step: float) -> np.ndarray:
    one = start + step * np.arange(views)
    return np.concatenate([(one + k * 360 / heads) % 360 for k in range(heads)])


def camera(counts: np.ndarray, angles: np.ndarray, heads: int = 2, **changed) -> Projections:
    views = len(angles)
    values = {
        "windows": WINDOWS[: len(counts)],
        "radii_mm": 220.0 + np.arange(views) % 7,
        "frame_s": np.full(views, 20.0),
        "pixel_mm": PIXEL_MM,
        "centre_lps_mm": CENTRE,
        "started_at": BEGAN,
        "radiopharmaceutical": Radiopharmaceutical("177Lu", 159.5, 7400.0, BEGAN),
        "collimator": "SY-ME",
    }
    return Projections(counts, angles_deg=angles, heads=heads, **values | changed)


def noise(views: int, windows: int = 3) -> np.ndarray:
    return np.random.default_rng(7).poisson(30.0, (windows, views, SIDE, SIDE))


@pytest.fixture
def exported(tmp_path):
    return virtual_study(tmp_path / "ct", image(straight_affine()))


STEPS = {"counter-clockwise": 6.0, "clockwise": -6.0}


@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
@pytest.mark.parametrize("heads", [1, 2, 3])
def test_our_reader_gets_back_what_was_written(tmp_path, exported, heads, step):
    angles = angles_of(heads, 12, 33.0, step)
    truth = camera(noise(12 * heads), angles, heads)
    write_projections(tmp_path / "nm" / "tomo.dcm", truth, exported)
    (found,) = read_folder(tmp_path / "nm").projections
    assert np.array_equal(found.counts, truth.counts)
    assert (found.angles_deg - truth.angles_deg + 180) % 360 - 180 == pytest.approx(0, abs=1e-6)
    for name in ("radii_mm", "frame_s", "centre_lps_mm", "pixel_mm"):
        assert getattr(found, name) == pytest.approx(getattr(truth, name), abs=1e-6), name
    assert (found.heads, found.started_at, found.collimator) == (heads, BEGAN, "SY-ME")
    assert [(w.lower_keV, w.upper_keV, w.role) for w in found.windows] == [
        (w.lower_keV, w.upper_keV, w.role) for w in WINDOWS
    ]
    assert found.radiopharmaceutical.administered_MBq == pytest.approx(7400)


@pytest.mark.slow  # the import of PyTomography
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_pytomography_parses_equal_counts_angles_and_radii(tmp_path, exported, step):
    dicom = pytest.importorskip("pytomography.io.SPECT").dicom
    angles = angles_of(2, 30, 180.0, step)
    truth = camera(noise(60), angles)
    write_projections(tmp_path / "tomo.dcm", truth, exported)
    _, meta = dicom.get_metadata(str(tmp_path / "tomo.dcm"))
    found = dicom.get_projections(str(tmp_path / "tomo.dcm")).cpu().numpy()
    order = np.argsort((truth.angles_deg + 180) % 360)  # its own convention, and sorted by angle
    assert np.array_equal(found, truth.counts[:, order].transpose(0, 1, 3, 2))
    assert np.asarray(meta.angles) == pytest.approx(((truth.angles_deg + 180) % 360)[order], abs=1e-4)
    assert np.asarray(meta.radii) * 10 == pytest.approx(truth.radii_mm[order], abs=1e-4)
    assert [dicom.get_energy_window_bounds(str(tmp_path / "tomo.dcm"), k) for k in range(3)] == [
        pytest.approx((w.lower_keV, w.upper_keV)) for w in WINDOWS
    ]


def point_projections(point_mm: np.ndarray, angles: np.ndarray) -> np.ndarray:
    """Counts of a point source by the definition of the convention, shared among four pixels (bilinear)."""
    counts = np.zeros((1, len(angles), SIDE, SIDE))
    off = point_mm - CENTRE
    for k, a in enumerate(np.deg2rad(angles)):
        u = (off @ [-np.cos(a), np.sin(a), 0]) / PIXEL_MM + (SIDE - 1) / 2
        v = off[2] / PIXEL_MM + (SIDE - 1) / 2
        for i in (0, 1):
            for j in (0, 1):
                row, column = int(np.floor(v)) + i, int(np.floor(u)) + j
                counts[0, k, row, column] += (1 - abs(v - row)) * (1 - abs(u - column))
    return np.rint(counts * 10_000)


POINT = CENTRE + np.array([61.2, -40.8, 54.4])
"""Left of, in front of and above the axis, by different amounts."""


def reconstructed_point_mm(path) -> np.ndarray:
    """Centroid of PyTomography's MLEM image, by its own affine, LPS mm."""
    import torch
    from pytomography.algorithms import OSEM
    from pytomography.io.SPECT import dicom
    from pytomography.likelihoods import PoissonLogLikelihood
    from pytomography.projectors.SPECT import SPECTSystemMatrix

    objects, views = dicom.get_metadata(str(path))
    system = SPECTSystemMatrix([], [], objects, views)
    found = OSEM(PoissonLogLikelihood(system, dicom.get_projections(str(path))))(2, 6)
    weights = torch.clip(found, min=0).cpu().numpy()
    weights = np.where(weights > 0.2 * weights.max(), weights, 0)
    index = np.stack(np.indices(weights.shape), axis=-1)
    mean = (index * weights[..., None]).sum(axis=(0, 1, 2)) / weights.sum()
    return (objects.affine_matrix @ [*mean, 1.0])[:3]


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
def test_an_off_centre_point_is_reconstructed_by_pytomography_where_it_was(tmp_path, exported, step):
    pytest.importorskip("pytomography")
    angles = angles_of(2, 30, 12.0, step)
    write_projections(tmp_path / "tomo.dcm", camera(point_projections(POINT, angles), angles), exported)
    found = reconstructed_point_mm(tmp_path / "tomo.dcm")
    # a tenth of a pixel, for the interpolation in its rotations; an origin off by half a pixel would be 3.4 mm
    assert np.abs(found - POINT).max() < 0.1 * PIXEL_MM
    mirrored = CENTRE + (POINT - CENTRE) * [-1, 1, 1]
    assert np.abs(found - mirrored).max() > 100  # negative control: the test would see left and right swapped


def test_a_planar_pair_reads_back_with_its_views(tmp_path, exported):
    truth = camera(noise(2), np.array([180.0, 0.0]), radii_mm=np.array([150.0, 180.0]))
    truth = replace(truth, frame_s=np.full(2, 900.0))
    written = write_planar(tmp_path / "nm" / "wb.dcm", truth, exported)
    (found,) = read_folder(tmp_path / "nm").projections
    order = [list(found.angles_deg).index(a) for a in truth.angles_deg]
    assert np.array_equal(found.counts[:, order], truth.counts)
    assert found.radii_mm[order] == pytest.approx(truth.radii_mm)
    assert found.frame_s == pytest.approx(900.0)
    assert written.ImageType[2] == "STATIC"
    words = [d.ViewCodeSequence[0].CodeMeaning for d in written.DetectorInformationSequence]
    assert words == ["Anterior projection", "Posterior projection"]


def test_a_whole_body_keeps_its_counting_time_and_states_the_elapsed_one(tmp_path, exported):
    truth = camera(noise(2), np.array([180.0, 0.0]), radii_mm=np.full(2, 150.0))
    truth = replace(truth, frame_s=np.full(2, 240.0), scan_velocity_mm_per_s=1.6)
    written = write_planar(tmp_path / "nm" / "wb.dcm", truth, exported)
    (found,) = read_folder(tmp_path / "nm").projections
    assert found.frame_s == pytest.approx(240.0, rel=2e-3)  # the head's length, 384 mm, is stored in whole mm
    assert found.scan_velocity_mm_per_s == pytest.approx(1.6)
    assert written.ImageType[2] == "WHOLE BODY"
    assert written.ScanLength == pytest.approx(SIDE * PIXEL_MM, abs=0.5)
    assert written.ActualFrameDuration == pytest.approx(1000 * (SIDE * PIXEL_MM / 1.6 + 240), abs=1)
    assert missing_attributes(written) == []


def test_view_codes_are_those_of_the_dictionary():
    from pydicom.sr.codedict import codes

    from imaging.dicom_write.tomo import VIEWS

    assert VIEWS[0.0][0] == codes.SCT.PosteriorProjection.value
    assert VIEWS[180.0][0] == codes.SCT.AnteriorProjection.value


def test_frames_are_told_window_by_window_and_head_by_head(tmp_path, exported):
    write_projections(tmp_path / "t.dcm", camera(noise(24), angles_of(2, 12, 0.0, 15.0)), exported)
    d = pydicom.dcmread(tmp_path / "t.dcm")
    assert d.NumberOfFrames == 72 == len(d.EnergyWindowVector) == len(d.RotationVector)
    assert list(d.DetectorVector)[:24] == [1] * 12 + [2] * 12
    assert list(d.AngularViewVector)[:24] == list(range(1, 13)) * 2
    assert float(d.RotationInformationSequence[0].TableHeight) == pytest.approx(-CENTRE[1])


def test_what_does_not_fit_the_object_is_refused(tmp_path, exported):
    angles = angles_of(2, 12, 0.0, 15.0)
    whole = camera(noise(24), angles)
    refused = {
        "not whole": whole.with_counts(whole.counts + 0.5),
        "more than 65535": whole.with_counts(whole.counts * 65_535),
        "uneven steps": replace(whole, angles_deg=np.where(np.arange(24) == 5, 80.0, angles)),
        "different length": replace(whole, frame_s=np.arange(1.0, 25.0)),
    }
    for words, projections in refused.items():
        with pytest.raises(InputError, match=words):
            write_projections(tmp_path / "t.dcm", projections, exported)
    with pytest.raises(InputError, match="0 and 180"):
        write_planar(tmp_path / "t.dcm", whole, exported)
    assert not (tmp_path / "t.dcm").exists()


def test_what_the_class_requires_is_there(tmp_path, exported):
    tomo = write_projections(tmp_path / "t.dcm", camera(noise(24), angles_of(2, 12, 0.0, 15.0)), exported)
    pair = camera(noise(2), np.array([180.0, 0.0]), radii_mm=np.full(2, 150.0))
    assert missing_attributes(tomo) == []
    assert missing_attributes(write_planar(tmp_path / "p.dcm", pair, exported)) == []
