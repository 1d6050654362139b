"""The polygon raster: holes, islands, keyholes, planes off the slices, shares of voxels; beside scikit-image."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dose.errors import InputError
from imaging.contours import contour_mask, contour_volume_mL, contour_volumes
from imaging.dicom_read import read_folder
from imaging.geometry import Volume
from imaging.raster import centres_inside, coverage
from imaging.series import Contour, uid_hash
from tests.units.imaging.dicom_objects import blank, put, save

SHAPE = (40, 50)


def ring(radius: float, centre=(24.3, 19.6), points: int = 200) -> np.ndarray:
    angle = np.linspace(0, 2 * math.pi, points, endpoint=False)
    return np.stack([centre[0] + radius * np.cos(angle), centre[1] + radius * np.sin(angle)], axis=1)


def area(*rings) -> float:
    """Signed polygon areas, outer first."""
    cross = [np.sum(r[:, 0] * np.roll(r[:, 1], -1) - r[:, 1] * np.roll(r[:, 0], -1)) / 2 for r in rings]
    return abs(cross[0]) - sum(abs(c) for c in cross[1:])


def star(rng) -> np.ndarray:
    angle = np.sort(rng.uniform(0, 2 * math.pi, 17))
    radius = rng.uniform(3, 18, 17)
    return np.stack([24.37 + radius * np.cos(angle), 19.61 + radius * np.sin(angle)], axis=1)


def test_the_raster_agrees_with_scikit_image(rng):
    from skimage.draw import polygon2mask

    for _ in range(20):
        shape = star(rng)
        assert np.array_equal(centres_inside([shape], SHAPE), polygon2mask(SHAPE, shape[:, ::-1]))


def test_shares_of_voxels_keep_the_area(rng):
    for _ in range(20):
        shape = star(rng)
        # an edge of 35 pixels that lies between two lines of 64 a row is off by 35 / 64 / 2 at worst
        assert coverage([shape], SHAPE, 64).sum() == pytest.approx(area(shape), abs=0.3)
    square = np.array([[2.25, 3.5], [9.5, 3.5], [9.5, 8.5], [2.25, 8.5]])
    assert coverage([square], SHAPE, 5).sum() == pytest.approx(7.25 * 5, rel=1e-12)


def test_holes_and_islands_in_holes():
    rings = [ring(15), ring(10), ring(4)]
    expected = area(rings[0]) - area(rings[1]) + area(rings[2])
    assert coverage(rings, SHAPE, 5).sum() == pytest.approx(expected, rel=2e-3)
    assert centres_inside(rings, SHAPE).sum() == pytest.approx(expected, rel=0.02)
    without = coverage(rings[:1], SHAPE, 5).sum()  # negative control: the hole is seen
    assert without > 1.3 * expected


def test_a_keyhole_is_a_hole():
    outer, inner = ring(15), ring(8)[::-1]
    bridged = np.concatenate([outer, outer[:1], inner[-1:], inner, outer[:1]])
    whole = coverage([outer, inner], SHAPE, 5)
    assert np.allclose(coverage([bridged], SHAPE, 5), whole, atol=1e-9)
    assert np.array_equal(centres_inside([bridged], SHAPE), centres_inside([outer, inner], SHAPE))
    assert contour_volume_mL(
        Contour("t", tuple(np.column_stack([bridged, np.full(len(bridged), z)]) for z in (0.0, 2.0)))
    ) == pytest.approx(area(outer, inner) * 4 / 1000, rel=1e-6)


def test_two_rings_beside_each_other_are_both_inside():
    pair = [ring(5, (12, 20)), ring(6, (34, 20))]
    assert coverage(pair, SHAPE, 5).sum() == pytest.approx(area(pair[0]) + area(pair[1]), rel=3e-3)


def sphere(radius: float, step: float, centre=(25.2, 19.7, 10.3)) -> Contour:
    heights = centre[2] + np.arange(-radius + step / 2, radius, step)
    rings = [(math.sqrt(max(radius**2 - (z - centre[2]) ** 2, 0)), z) for z in heights]
    return Contour("tumour_1", tuple(np.column_stack([ring(r, centre[:2]), np.full(200, z)]) for r, z in rings))


GRID = Volume(np.zeros((10, *SHAPE)), np.diag([1.0, 1.0, 2.0, 1.0]))


@pytest.mark.parametrize("step", [0.5, 1.0, 1.7])
def test_partial_weights_keep_the_volume_of_a_small_lesion_drawn_on_finer_planes(step):
    """Planes of 0.5 to 1.7 mm on slices of 2 mm: centres are off by up to 10% at 5 mm radius, shares by under 0.5%."""
    contour = sphere(5.0, step)
    volumes = contour_volumes(contour, GRID, boundary="partial")
    assert volumes.mask_mL == pytest.approx(volumes.polygon_mL, rel=5e-3)
    assert contour_mask(contour, GRID, boundary="partial").array.max() <= 1


def test_the_centre_of_partial_weights_is_the_centre_of_the_lesion():
    mask = contour_mask(sphere(5.0, 1.0), GRID, boundary="partial")
    z, y, x = np.average(np.argwhere(mask.array > 0), axis=0, weights=mask.array[mask.array > 0])
    assert mask.to_lps_mm([x, y, z]) == pytest.approx([25.2, 19.7, 10.3], abs=0.05)


def test_planes_between_slices_are_shared_between_them():
    disc = Contour("t", tuple(np.column_stack([ring(8), np.full(200, z)]) for z in (5.0, 7.0)))  # slices at 4, 6, 8
    by_slice = contour_mask(disc, GRID, boundary="partial").array.sum(axis=(1, 2))
    assert by_slice[2:5] == pytest.approx(area(ring(8)) * np.array([0.5, 1.0, 0.5]), rel=5e-3)


def test_another_boundary_is_refused():
    with pytest.raises(InputError, match="boundary"):
        contour_mask(sphere(5.0, 1.0), GRID, boundary="some")


def structures(rois, frames=("1.2.9",)):
    """An RTSTRUCT of one disc for each (name, frame of reference or None)."""
    d = blank("RTSTRUCT")
    d.StructureSetROISequence, d.ROIContourSequence, d.ReferencedFrameOfReferenceSequence = [], [], []
    for uid in frames:
        d.ReferencedFrameOfReferenceSequence.append(put(Dataset(), FrameOfReferenceUID=uid))
    for number, (name, frame) in enumerate(rois, start=1):
        roi, item, contour = Dataset(), Dataset(), Dataset()
        put(roi, ROINumber=number, ROIName=name, ReferencedFrameOfReferenceUID=frame)
        contour.ContourGeometricType = "CLOSED_PLANAR"
        contour.ContourData = np.round(np.column_stack([ring(8, points=40), np.full(40, 4.0)]), 3).ravel().tolist()
        item.ReferencedROINumber, item.ContourSequence = number, [contour]
        d.StructureSetROISequence.append(roi)
        d.ROIContourSequence.append(item)
    return d


def test_structures_of_two_frames_of_reference_stay_apart(tmp_path):
    save(
        structures([("liver", "1.2.9"), ("spleen", "1.2.77"), ("tumour_1", None)], ("1.2.9", "1.2.77")),
        tmp_path / "a.dcm",
    )
    sets = read_folder(tmp_path).contour_sets
    assert {s.frame_hash: [c.label for c in s.contours] for s in sets} == {
        uid_hash("1.2.9"): ["liver", "tumour_1"],
        uid_hash("1.2.77"): ["spleen"],
    }


def test_structures_without_a_frame_of_their_own_have_that_of_the_set(tmp_path):
    save(structures([("liver", None)]), tmp_path / "a.dcm")
    (one,) = read_folder(tmp_path).contour_sets
    assert one.frame_hash == uid_hash("1.2.9")


def test_rtstruct_rings_of_both_closed_kinds_are_read(tmp_path):
    d = blank("RTSTRUCT")
    roi, item, frame = Dataset(), Dataset(), Dataset()
    roi.ROINumber, roi.ROIName, item.ReferencedROINumber = 1, "tumour_1", 1
    item.ContourSequence = []
    for kind, radius in (("CLOSED_PLANAR", 15), ("CLOSEDPLANAR_XOR", 8), ("POINT", 1)):
        contour = Dataset()
        contour.ContourGeometricType = kind
        contour.ContourData = np.round(np.column_stack([ring(radius, points=40), np.full(40, 4.0)]), 3).ravel().tolist()
        item.ContourSequence.append(contour)
    frame.FrameOfReferenceUID = "1.2.9"
    d.StructureSetROISequence, d.ROIContourSequence, d.ReferencedFrameOfReferenceSequence = [roi], [item], [frame]
    save(d, tmp_path / "rt.dcm")
    study = read_folder(tmp_path)
    (contour,) = study.contour_sets[0].contours
    assert len(contour.polygons) == 2
    filled = contour_mask(contour, GRID, boundary="partial").array.sum()
    assert filled == pytest.approx(area(ring(15, points=40), ring(8, points=40)), rel=5e-3)
    assert study.report.series[0].modality == "RTSTRUCT"
