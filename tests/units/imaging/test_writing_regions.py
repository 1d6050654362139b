"""Regions written as SEG and RTSTRUCT are the same voxels when read; the organ table keeps its numbers."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from dose.errors import InputError
from imaging.contours import contour_mask, contour_volume_mL
from imaging.dicom_read import read_folder
from imaging.dicom_write import (
    Exported,
    OrganRow,
    read_organ_table,
    write_organ_table,
    write_rtstruct,
    write_segmentation,
)
from imaging.dicom_write.codes import region_codes
from imaging.dicom_write.rtstruct import outlines
from imaging.geometry import Volume
from tests.written import AFFINES, BEGAN, ball, image, straight_affine, virtual_study

SHAPE = (15, 26, 24)


@pytest.fixture(params=AFFINES)
def grid(request) -> Volume:
    return image(AFFINES[request.param], SHAPE)


def masks_on(grid: Volume) -> dict[str, Volume]:
    kidney = ball(grid, (8, 9, 7), 14.0)
    shell = ball(grid, (14, 15, 7), 18.0) & ~ball(grid, (14, 15, 7), 9.0)
    return {"kidney_left": grid.with_array(kidney), "tumour_1": grid.with_array(shell)}


@pytest.mark.parametrize("kind", ["BINARY", "FRACTIONAL"])
def test_a_seg_reads_back_equal_and_in_its_place(grid, tmp_path, kind):
    masks, exported = masks_on(grid), virtual_study(tmp_path / "ct", grid)
    if kind == "FRACTIONAL":
        masks["tumour_1"] = grid.with_array(masks["tumour_1"].array * 0.4)
    write_segmentation(tmp_path / "seg" / "seg.dcm", masks, exported, kind=kind)
    (found,) = read_folder(tmp_path / "seg").segmentations
    assert [s.label for s in found.segments] == list(masks)
    for segment in found.segments:
        # probabilities are kept in steps of 1/255; masks exactly
        assert same_mask(segment.mask, masks[segment.label], 0.5 / 255 if kind == "FRACTIONAL" else 0)


def same_mask(found: Volume, truth: Volume, atol: float) -> bool:
    """Equal where the found volume lies (empty frames are left out of a SEG), and nothing of the truth outside."""
    z, y, x = np.nonzero(truth.array)
    index = np.rint(found.to_index(truth.to_lps_mm(np.stack([x, y, z], axis=-1)))).astype(int)
    offset = np.abs(found.to_lps_mm(index) - truth.to_lps_mm(np.stack([x, y, z], axis=-1))).max()
    values = found.array[index[:, 2], index[:, 1], index[:, 0]]
    total = np.isclose(found.array.sum(dtype=float), truth.array.sum(dtype=float), rtol=5e-3 if atol else 0)
    return bool(offset < 1e-3 and np.allclose(values, truth.array[z, y, x], rtol=0, atol=atol) and total)


def test_arrays_are_taken_in_the_order_of_the_sources_along_their_normal(tmp_path):
    grid = image(straight_affine(), SHAPE)
    exported = virtual_study(tmp_path / "ct", grid)
    shuffled = exported.referring_to(exported.sources[::-1])
    mask = masks_on(grid)["kidney_left"]
    write_segmentation(tmp_path / "seg" / "seg.dcm", {"liver": mask.array > 0}, shuffled)
    (found,) = read_folder(tmp_path / "seg").segmentations
    assert same_mask(found.segments[0].mask, mask, 0)


def test_a_seg_refers_to_its_sources_and_says_what_it_is(tmp_path):
    grid = image(straight_affine(), SHAPE)
    exported = virtual_study(tmp_path / "ct", grid)
    write_segmentation(tmp_path / "seg.dcm", masks_on(grid), exported)
    seg = pydicom.dcmread(tmp_path / "seg.dcm")
    source = exported.sources[0]
    assert seg.StudyInstanceUID == source.StudyInstanceUID
    assert seg.FrameOfReferenceUID == source.FrameOfReferenceUID
    assert seg.ReferencedSeriesSequence[0].SeriesInstanceUID == source.SeriesInstanceUID
    assert seg.ContentLabel == "RESEARCH"
    kidney, tumour = seg.SegmentSequence
    kind = kidney.SegmentedPropertyTypeCodeSequence[0]
    assert (kind.CodeValue, kind.SegmentedPropertyTypeModifierCodeSequence[0].CodeMeaning) == ("64033007", "Left")
    assert tumour.SegmentedPropertyTypeCodeSequence[0].CodeMeaning == "Neoplasm"


def test_codes_of_regions_are_those_of_the_dictionary():
    from pydicom.sr._concepts_dict import concepts

    from dose.provenance import load_table

    for row in load_table("imaging", "segment_codes.csv"):
        for value, meaning in (
            (row["category_code"], row["category_meaning"]),
            (row["type_code"], row["type_meaning"]),
        ):
            assert any(
                meaning in said[0] for codes in concepts["SCT"].values() for v, said in codes.items() if v == value
            )
    assert region_codes("sphere 10 mm").type[2] == "Tissue"


def test_a_mask_that_cannot_be_written_is_refused(tmp_path):
    grid = image(straight_affine(), SHAPE)
    exported = virtual_study(tmp_path / "ct", grid)
    path = tmp_path / "seg.dcm"
    with pytest.raises(InputError, match="empty mask"):
        write_segmentation(path, {"liver": grid.with_array(np.zeros(SHAPE))}, exported)
    with pytest.raises(InputError, match="FRACTIONAL"):
        write_segmentation(path, {"liver": grid.with_array(np.full(SHAPE, 0.5))}, exported)
    with pytest.raises(InputError, match="0 to 1"):
        write_segmentation(path, {"liver": grid.with_array(np.full(SHAPE, 2.0))}, exported, kind="FRACTIONAL")
    with pytest.raises(InputError, match="shape"):
        write_segmentation(path, {"liver": np.ones((3, 3, 3))}, exported)
    with pytest.raises(InputError, match="none"):
        write_segmentation(path, {}, exported)
    with pytest.raises(InputError, match="sources"):
        write_segmentation(path, masks_on(grid), Exported.virtual(1, BEGAN))
    assert not path.exists()


# --------------------------------------------------------------------------------------------------------- RTSTRUCT


def test_contours_rasterise_back_to_the_mask_holes_included(grid, tmp_path):
    masks, exported = masks_on(grid), virtual_study(tmp_path / "ct", grid)
    write_rtstruct(tmp_path / "rt" / "rt.dcm", masks, exported)
    (found,) = read_folder(tmp_path / "rt").contour_sets
    for contour in found.contours:
        truth = masks[contour.label]
        assert np.array_equal(contour_mask(contour, truth).array, truth.array)


def test_the_volume_of_the_polygons_is_that_of_the_mask_within_2_percent_above_5_mL(tmp_path):
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    grid = image(affine, (24, 26, 24))
    masks = {"tumour_1": grid.with_array(ball(grid, (12, 12, 12), 11.0)), "tumour_2": masks_on(grid)["tumour_1"]}
    write_rtstruct(tmp_path / "rt" / "rt.dcm", masks, virtual_study(tmp_path / "ct", grid))
    (found,) = read_folder(tmp_path / "rt").contour_sets
    for contour in found.contours:
        truth_mL = float(masks[contour.label].array.sum()) * grid.voxel_mL
        assert truth_mL > 5
        assert contour_volume_mL(contour) == pytest.approx(truth_mL, rel=0.02)


def test_each_curve_cuts_half_a_pixel_of_area():
    mask = np.zeros((9, 9))
    mask[2:7, 1:8] = 1
    mask[4, 4] = 0
    areas = [area(curve) for curve in outlines(mask)]
    assert sorted(areas) == pytest.approx([1 - 0.5, 35 - 0.5])


def area(curve: np.ndarray) -> float:
    y, x = curve.T
    return abs(float(np.sum(x * np.roll(y, -1) - y * np.roll(x, -1)))) / 2


def test_contours_name_their_slices_and_the_frame(tmp_path):
    grid = image(straight_affine(), SHAPE)
    exported = virtual_study(tmp_path / "ct", grid)
    d = write_rtstruct(tmp_path / "rt.dcm", masks_on(grid), exported)
    frame = d.ReferencedFrameOfReferenceSequence[0]
    series = frame.RTReferencedStudySequence[0].RTReferencedSeriesSequence[0]
    assert frame.FrameOfReferenceUID == exported.sources[0].FrameOfReferenceUID
    assert len(series.ContourImageSequence) == len(exported.sources)
    height = {s.SOPInstanceUID: float(s.ImagePositionPatient[2]) for s in exported.sources}
    for contour in d.ROIContourSequence[0].ContourSequence:
        uid = contour.ContourImageSequence[0].ReferencedSOPInstanceUID
        assert float(contour.ContourData[2]) == pytest.approx(height[uid], abs=1e-3)


# ------------------------------------------------------------------------------------------------------ organ table

ROWS = (
    OrganRow("kidney_left", "mean_dose", 23.456789012, 2.1, 20.0, 27.5, 0.9),
    OrganRow("kidney_left", "tia", 1234.5, 80.0),
    OrganRow("kidney_left", "volume", 151.25),
    OrganRow("tumour_1", "mean_dose", 88.0, None, 60.0, 120.0, 0.95),
    OrganRow("red_marrow", "mean_dose", 1.2e-3, 4e-4),
)


@pytest.mark.parametrize("segments", [0, 1, 2])
def test_the_organ_table_reads_back(tmp_path, segments):
    grid = image(straight_affine(), SHAPE)
    exported = virtual_study(tmp_path / "ct", grid)
    masks = dict(list(masks_on(grid).items())[:segments])
    seg = write_segmentation(tmp_path / "seg.dcm", masks, exported) if segments else None
    write_organ_table(tmp_path / "sr.dcm", ROWS, exported, segmentation=seg)
    found = {(r.region, r.quantity): r for r in read_organ_table(tmp_path / "sr.dcm")}
    assert len(found) == len(ROWS)
    for row in ROWS:
        same = found[row.region, row.quantity]
        for name in ("value", "sd", "low", "high", "level"):
            wanted = getattr(row, name)
            # decimal strings of 16 characters
            assert getattr(same, name) == (None if wanted is None else pytest.approx(wanted, rel=1e-9))


def test_the_organ_table_uses_ucum_and_says_it_is_research(tmp_path):
    grid = image(straight_affine(), SHAPE)
    d = write_organ_table(tmp_path / "sr.dcm", ROWS, virtual_study(tmp_path / "ct", grid))
    text = (tmp_path / "sr.dcm").read_bytes()
    assert all(unit in text for unit in (b"Gy", b"MBq.h", b"mL", b"UCUM", b"not a medical device"))
    assert d.ContentTemplateSequence[0].TemplateIdentifier == "1500"


def test_rows_that_make_no_sense_are_refused(tmp_path):
    with pytest.raises(InputError, match="quantity"):
        OrganRow("liver", "mean_doses", 1.0)
    with pytest.raises(InputError, match="finite"):
        OrganRow("liver", "mean_dose", float("nan"))
    with pytest.raises(InputError, match="interval"):
        OrganRow("liver", "mean_dose", 5.0, low=6.0, high=7.0)
    with pytest.raises(InputError, match="interval"):
        OrganRow("liver", "mean_dose", 5.0, low=4.0)


def test_another_object_is_no_organ_table(tmp_path):
    from dose.errors import ImageError

    grid = image(straight_affine(), SHAPE)
    virtual_study(tmp_path / "ct", grid)
    with pytest.raises(ImageError, match="Comprehensive 3D SR"):
        read_organ_table(tmp_path / "ct" / "0000.dcm")


def test_grids_that_differ_are_refused(tmp_path):
    grid = image(straight_affine(), SHAPE)
    other = Volume(grid.array > 0, grid.affine @ np.diag([1.1, 1, 1, 1]))
    masks = {"liver": grid.with_array(grid.array > 0), "spleen": other}
    with pytest.raises(InputError, match="several grids"):
        write_rtstruct(tmp_path / "rt.dcm", masks, virtual_study(tmp_path / "ct", grid))
