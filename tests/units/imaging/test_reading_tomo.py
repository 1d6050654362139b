"""NM projections: views in any frame order, angles, radii, windows, the axis; beside PyTomography's own parser."""

from __future__ import annotations

from copy import deepcopy
from datetime import timedelta

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dose.errors import ImageError, InputError
from imaging.axis import axis_lps_mm
from imaging.dicom_read import read_folder
from imaging.planar_read import planar_radius_mm
from imaging.windows import with_roles
from tests.units.imaging.dicom_objects import BEGAN, injection, pixels, put, save, tomo

WINDOWS = ((187.2, 228.8), (166.4, 187.2), (228.8, 249.6))
COUNTS = np.random.default_rng(3).poisson(20, (3, 2, 5, 8, 8)).astype("<u2")  # window, head, view, row, column


def read(folder, dataset=None, **fields):
    made = tomo(COUNTS, windows=WINDOWS, step=36.0, **fields) if dataset is None else dataset
    save(made, folder / "tomo.dcm")
    return read_folder(folder).projections


def test_views_angles_and_counts_come_back(tmp_path):
    (p,) = read(tmp_path)
    assert p.angles_deg == pytest.approx([0, 36, 72, 108, 144, 180, 216, 252, 288, 324])
    assert np.array_equal(p.counts, COUNTS.reshape(3, 10, 8, 8)[:, :, ::-1])
    assert (p.heads, p.pixel_mm, p.started_at) == (2, 4.8, BEGAN)
    assert p.radii_mm == pytest.approx(220)
    assert p.frame_s == pytest.approx(20)
    assert p.radiopharmaceutical.administered_MBq == 7400
    assert [(w.role, w.line_keV) for w in p.windows] == [("peak", 208.37), ("lower", 208.37), ("upper", 208.37)]


def test_clockwise_rotation_counts_down(tmp_path):
    (p,) = read(tmp_path, direction="CW")
    assert p.angles_deg[:3] == pytest.approx([0, 324, 288])


def test_frames_in_another_order_make_the_same_projections(tmp_path, rng):
    made = tomo(COUNTS, windows=WINDOWS, step=36.0)
    order = rng.permutation(30)
    for name in ("EnergyWindowVector", "DetectorVector", "AngularViewVector"):
        setattr(made, name, [getattr(made, name)[k] for k in order])
    pixels(made, COUNTS.reshape(30, 8, 8)[order])
    assert np.array_equal(read(tmp_path / "a", made)[0].counts, read(tmp_path / "b")[0].counts)


def test_a_radius_a_view_and_a_head(tmp_path):
    (p,) = read(tmp_path, radii=[200.0, 210, 220, 230, 240])
    assert p.radii_mm == pytest.approx([200, 210, 220, 230, 240] * 2)


def test_several_objects_are_several_beds(tmp_path):
    for k in range(2):
        made = tomo(COUNTS, windows=WINDOWS, step=36.0)
        made.DetectorInformationSequence[0].ImagePositionPatient = [12.0, 0.0, 300.0 + 300 * k]
        save(made, tmp_path / f"{k}.dcm")
    found = read_folder(tmp_path).projections
    assert np.diff([p.centre_lps_mm[2] for p in found]) == pytest.approx([300])
    assert len({p.series_uid_hash for p in found}) == 2


@pytest.mark.parametrize("missing", ["AngularStep", "RotationDirection", "ActualFrameDuration"])
def test_what_the_rotation_does_not_tell_is_refused(tmp_path, missing):
    made = tomo(COUNTS, windows=WINDOWS)
    delattr(made.RotationInformationSequence[0], missing)
    with pytest.raises(ImageError, match=missing):
        read(tmp_path, made)


def test_vectors_that_do_not_fit_the_frames_are_refused(tmp_path):
    with pytest.raises(ImageError, match="DetectorVector.*29 values for 30 frames"):
        read(tmp_path, DetectorVector=[1] * 29)
    with pytest.raises(ImageError, match="unequal numbers of views"):
        read(tmp_path, EnergyWindowVector=[1] * 11 + [2] * 9 + [3] * 10)


def seen(point_lps_mm, angles_deg, centre, pixel_mm: float, rows: int, columns: int) -> np.ndarray:
    """Row and column of a point in DICOM frames of a camera at these angles, from the convention's own words."""
    offset = np.asarray(point_lps_mm) - centre
    a = np.radians(angles_deg)
    u = -np.cos(a) * offset[0] + np.sin(a) * offset[1]
    row = (rows - 1) / 2 - offset[2] / pixel_mm
    return np.stack([np.full(len(a), row), (columns - 1) / 2 + u / pixel_mm], axis=1)


def test_a_point_in_space_is_found_again_from_the_record_alone(tmp_path):
    """Back projection of the centroids by the record's own angles and axis meets at the point, to 0.1 mm."""
    rows = columns = 41
    point, centre = np.array([40.0, -55.0, 330.0]), np.array([12.0, -30.0, 300.0 - 20 * 4.8])
    angles = np.concatenate([np.arange(6) * 30.0, 180 + np.arange(6) * 30.0])
    point[2] = centre[2] + 50
    y, x = np.mgrid[:rows, :columns]
    frames = [
        2e4 * np.exp(-((y - r) ** 2 + (x - c) ** 2) / 8) for r, c in seen(point, angles, centre, 4.8, rows, columns)
    ]
    (p,) = read(tmp_path, tomo(np.round(frames).reshape(1, 2, 6, rows, columns), step=30.0))
    v, u = np.mgrid[:rows, :columns]
    shares = p.counts[0] / p.counts[0].sum(axis=(1, 2), keepdims=True)
    along = ((shares * u).sum(axis=(1, 2)) - (columns - 1) / 2) * p.pixel_mm
    height = ((shares * v).sum(axis=(1, 2)) - (rows - 1) / 2) * p.pixel_mm
    a = np.radians(p.angles_deg)
    xy = np.linalg.lstsq(np.stack([-np.cos(a), np.sin(a)], axis=1), along, rcond=None)[0]
    found = p.centre_lps_mm + np.array([*xy, height.mean()])
    assert found == pytest.approx(point, abs=0.1)


@pytest.mark.parametrize("habit", ["axis", "cube", "corner"])
def test_three_habits_of_telling_the_axis(habit):
    axis, half, radii, angles = np.array([7.0, -40.0]), 3.5 * 4.8, [220.0, 220.0], [0.0, 180.0]
    made = tomo(COUNTS)
    if habit == "cube":
        points = [[axis[0] - half, axis[1] - half, 300.0]] * 2
    else:
        points = [[7 + half, -40.0 + 220, 300.0], [7 - half, -40.0 - 220, 300.0]]
    for detector, point in zip(made.DetectorInformationSequence, points, strict=True):
        detector.ImagePositionPatient = [7.0, 0.0, 300.0] if habit == "axis" else point
    made.RotationInformationSequence[0].TableHeight = 40.0
    found = axis_lps_mm(made, made.RotationInformationSequence[0], angles, radii, "series")
    assert found == pytest.approx([7, -40, 300 - half])


def test_heads_that_turn_about_two_axes_are_refused():
    made = tomo(COUNTS)
    for detector, x in zip(made.DetectorInformationSequence, (0.0, 100.0), strict=True):
        detector.ImagePositionPatient = [x, 50.0, 0.0]
    with pytest.raises(ImageError, match="two axes|different axes"):
        axis_lps_mm(made, made.RotationInformationSequence[0], [0.0, 180.0], [220.0, 220.0], "series")


@pytest.mark.parametrize(
    ("nuclide", "bounds", "roles"),
    [
        ("177Lu", [(101.7, 124.3), (187.2, 228.8), (84.8, 101.7), (124.3, 141.2)], "peak peak lower upper"),
        ("131I", [(328, 400), (287, 328), (400, 441)], "peak lower upper"),
        ("111In", [(154.1, 188.4), (220.8, 269.9)], "peak peak"),
        ("225Ac", [(196, 240), (396, 484), (170, 196)], "peak peak lower"),
        ("99mTc", [(126, 154), (92, 126), (300, 400)], "peak lower other"),
        ("90Y", [(90, 125)], "peak"),
        (None, [(126, 154), (92, 126)], "other other"),
    ],
)
def test_windows_get_their_roles_from_the_lines_of_the_nuclide(nuclide, bounds, roles):
    assert " ".join(w.role for w in with_roles(bounds, nuclide)) == roles


def planar(counts, kind="WHOLE BODY", angles=(180, 0), **fields):
    made = tomo(np.asarray(counts)[None, :, None], angles=angles, **fields)
    made.ImageType = ["ORIGINAL", "PRIMARY", kind, "EMISSION"]
    made.ActualFrameDuration = 600_000
    for detector in made.DetectorInformationSequence:
        del detector.RadialPosition
    return put(made, RotationInformationSequence=None, RotationVector=None, AngularViewVector=None)


SWEEP = {"ActualFrameDuration": 1_200_000, "ScanVelocity": "1.667", "ScanLength": 2000, "WholeBodyTechnique": "1PS"}
"""A whole body of 2 m in 20 min under a head 400 mm long: each row of pixels is counted for 400 / 1.667 = 240 s."""


def swept(counts, field_mm=(540, 400), **fields):
    """A whole-body object as a camera with a moving table writes it."""
    made = put(planar(counts), **SWEEP | fields)
    for detector in made.DetectorInformationSequence:
        put(detector, FieldOfViewShape="RECTANGLE", FieldOfViewDimensions=field_mm and list(field_mm))
    return made


@pytest.mark.parametrize(("kind", "seconds"), [("WHOLE BODY", 240), ("STATIC", 600)])
def test_planar_views_are_projections_from_the_front_and_the_back(tmp_path, kind, seconds, rng):
    counts = rng.poisson(5, (2, 16, 8)).astype("<u2")
    save(planar(counts, kind) if kind == "STATIC" else swept(counts), tmp_path / "wb.dcm")
    study = read_folder(tmp_path)
    (p,) = study.projections
    assert p.angles_deg == pytest.approx([180, 0])
    assert np.array_equal(p.counts[0], counts[:, ::-1])
    assert p.frame_s == pytest.approx(seconds, rel=1e-3)
    assert p.radii_mm == pytest.approx(planar_radius_mm())
    assert any("RadialPosition" in w for w in study.warnings)
    assert study.report.series[0].modality == "planar projections"


def test_a_row_of_a_whole_body_is_counted_for_the_time_under_the_head(tmp_path, rng):
    counts = rng.poisson(5, (2, 16, 8))
    save(swept(counts), tmp_path / "a" / "wb.dcm")
    study = read_folder(tmp_path / "a")
    (p,) = study.projections
    assert p.frame_s == pytest.approx(400 / 1.667)  # 1200 s, the elapsed time, would make activities 5 times too low
    assert p.scan_velocity_mm_per_s == pytest.approx(1.667)
    assert any("400 mm" in w for w in study.warnings)
    save(swept(counts, field_mm=None), tmp_path / "b" / "wb.dcm")
    (q,) = read_folder(tmp_path / "b", head_length_mm=380.0).projections
    assert q.frame_s == pytest.approx(380 / 1.667)
    with pytest.raises(InputError, match="head_length_mm"):
        read_folder(tmp_path / "b", head_length_mm=0.0)


UNKNOWN = {
    "head_length_mm": {"field_mm": None},
    "ScanVelocity": {"ScanVelocity": None},
    "standing heads": {"WholeBodyTechnique": "MSP"},
    "contradict": {"ScanVelocity": "16.67"},
}


@pytest.mark.parametrize("word", UNKNOWN)
def test_a_whole_body_without_a_known_counting_time_is_left_out_and_this_is_said(tmp_path, word, rng):
    save(swept(rng.poisson(5, (2, 16, 8)), **UNKNOWN[word]), tmp_path / "wb.dcm")
    study = read_folder(tmp_path)
    assert study.projections == ()
    assert any(word in w and "left out" in w for w in study.warnings)


def beds(traverse=(0.0, 0.0), **second):
    """Two rotations of two heads in one object: 5 views to and, by default, 5 clockwise back from where it stopped."""
    made = tomo(np.concatenate([COUNTS[:1]] * 2, axis=2), step=36.0)
    made.RotationVector = ([1] * 5 + [2] * 5) * 2
    made.AngularViewVector = [1, 2, 3, 4, 5] * 4
    items = [deepcopy(made.RotationInformationSequence[0]) for _ in traverse]
    for item, place in zip(items, traverse, strict=True):
        put(item, TableTraverse=place, NumberOfFramesInRotation=5)
    put(items[1], **{"StartAngle": 144.0, "RotationDirection": "CW", "ActualFrameDuration": 40_000} | second)
    return put(made, RotationInformationSequence=items)


def test_each_rotation_has_its_own_start_angle_time_and_name(tmp_path):
    save(beds(), tmp_path / "tomo.dcm")
    study = read_folder(tmp_path)
    one, two = study.projections
    assert one.angles_deg == pytest.approx([0, 36, 72, 108, 144, 180, 216, 252, 288, 324])
    assert two.angles_deg == pytest.approx([144, 108, 72, 36, 0, 324, 288, 252, 216, 180])
    assert (one.started_at, two.started_at) == (BEGAN, BEGAN + timedelta(seconds=5 * 20))
    assert two.frame_s == pytest.approx(40)
    assert two.series_uid_hash == f"{one.series_uid_hash}-2"
    assert any("rotation 2" in w and "start" in w for w in study.warnings)


def test_another_table_position_has_no_direction_and_is_left_out(tmp_path):
    save(beds((0.0, 380.0)), tmp_path / "tomo.dcm")
    study = read_folder(tmp_path)
    (one,) = study.projections
    assert one.angles_deg[0] == 0
    assert any("rotation 2" in w and "TableTraverse" in w and "left out" in w for w in study.warnings)


def test_a_later_rotation_that_tells_no_start_is_refused(tmp_path):
    save(beds(StartAngle=None), tmp_path / "a" / "tomo.dcm")
    with pytest.raises(ImageError, match="StartAngle"):
        read_folder(tmp_path / "a")
    made = beds()
    made.RotationInformationSequence = made.RotationInformationSequence[:1]
    save(made, tmp_path / "b" / "tomo.dcm")
    with pytest.raises(ImageError, match="RotationInformationSequence"):
        read_folder(tmp_path / "b")


def test_two_windows_of_unknown_nuclide_have_no_peak_and_say_so(tmp_path):
    made = tomo(COUNTS[:2], windows=WINDOWS[:2])
    made.RadiopharmaceuticalInformationSequence = [injection("nothing", half_life_s=None)]
    save(made, tmp_path / "tomo.dcm")
    assert any("no energy window" in w for w in read_folder(tmp_path).warnings)


@pytest.mark.parametrize("direction", ["CC", "CW"])
def test_pytomography_reads_the_same_views(tmp_path, direction):
    dicom = pytest.importorskip("pytomography.io.SPECT.dicom")
    (p,) = read(tmp_path, direction=direction, radii=[200.0, 210, 220, 230, 240])
    meta, views = dicom.get_metadata(str(tmp_path / "tomo.dcm"))
    theirs = dicom.get_projections(str(tmp_path / "tomo.dcm")).cpu().numpy()
    order = np.argsort((p.angles_deg + 180) % 360)
    assert np.asarray(views.angles) == pytest.approx((p.angles_deg[order] + 180) % 360)
    assert np.asarray(views.radii) * 10 == pytest.approx(p.radii_mm[order])
    assert np.array_equal(p.counts[:, order].transpose(0, 1, 3, 2), theirs)
    middle = meta.affine_matrix @ [*(np.array([7, 7, 7]) / 2), 1]
    assert middle[:2] == pytest.approx(p.centre_lps_mm[:2])
    assert middle[2] == pytest.approx(p.centre_lps_mm[2], abs=1e-6)


def test_pytomography_angles_differ_where_ours_are_wrong(tmp_path):
    """Negative control of the comparison: a CW header read as CC does not agree."""
    (right,) = read(tmp_path / "a", direction="CW")
    (wrong,) = read(tmp_path / "b", direction="CC")
    assert np.abs(right.angles_deg - wrong.angles_deg).max() > 30


@pytest.mark.parametrize("code", ["399321004", ""])
def test_the_view_code_goes_before_the_start_angle(tmp_path, code, rng):
    made = planar(rng.poisson(5, (2, 4, 4)), "STATIC", angles=(90, 0))
    view = Dataset()
    view.CodeValue, view.CodingSchemeDesignator, view.CodeMeaning = code, "SCT", "" if code else "Anterior projection"
    made.DetectorInformationSequence[0].ViewCodeSequence = [view]
    save(made, tmp_path / "wb.dcm")
    assert read_folder(tmp_path).projections[0].angles_deg == pytest.approx([180, 0])


def test_our_own_writer_and_this_reader_agree(tmp_path):
    (p,) = read(tmp_path / "a", radii=[200.0, 210, 220, 230, 240])
    writer = pytest.importorskip("imaging.dicom_write")
    writer.write_projections(tmp_path / "b" / "tomo.dcm", p, writer.Exported.virtual(1, BEGAN))
    (q,) = read_folder(tmp_path / "b").projections
    assert np.array_equal(q.counts, p.counts)
    for name in ("angles_deg", "radii_mm", "frame_s", "centre_lps_mm"):
        assert getattr(q, name) == pytest.approx(getattr(p, name), abs=1e-3)
    assert (q.windows, q.heads, q.started_at) == (p.windows, p.heads, p.started_at)
