"""Written DICOM objects, opened by readers that are not ours: places, values, counts, required attributes."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from tests.validate import Skipped, check
from tests.written import AFFINES, BEGAN, ball, corners_mm, image, missing_attributes, virtual_study

SHAPE = (15, 26, 24)
READERS = "an oblique, a straight and a left-handed grid; SimpleITK, highdicom, pydicom"


@contextmanager
def _each_grid():
    """(grid, export, folder) of the three grids."""
    with tempfile.TemporaryDirectory() as root:
        made = []
        for name, affine in AFFINES.items():
            folder, grid = Path(root) / name, image(affine, SHAPE)
            made.append((grid, virtual_study(folder / "ct", grid), folder))
        yield made


def _masks(grid) -> dict:
    shell = ball(grid, (14, 15, 7), 18.0) & ~ball(grid, (14, 15, 7), 9.0)
    return {"kidney_left": grid.with_array(ball(grid, (8, 9, 7), 14.0)), "tumour_1": grid.with_array(shell)}


def _sitk_volume(path, scaled_by=None):
    import SimpleITK as sitk

    from imaging.geometry import Volume

    stored = sitk.ReadImage(str(path), sitk.sitkFloat64)
    return Volume.from_sitk(stored * float(stored.GetMetaData(scaled_by)) if scaled_by else stored)


def _highdicom_volume(path):
    import highdicom as hd

    from imaging.geometry import Volume

    volume = hd.imread(str(path)).get_volume(apply_real_world_transform=False)
    return Volume(np.asarray(volume.array), np.array(volume.affine)[:, [2, 1, 0, 3]])


@check("imaging/written objects re-open: geometry error", unit="mm", tolerance="1e-3", source=READERS)
def geometry():
    from imaging.dicom_write import write_parametric_map, write_rtdose, write_slices

    worst = 0.0
    with _each_grid() as grids:
        for grid, exported, folder in grids:
            write_rtdose(folder / "dose.dcm", grid, exported)
            write_parametric_map(folder / "map.dcm", grid, "absorbed_dose", exported)
            write_slices(folder / "pet", grid, exported, "PET", {"Units": "BQML"}, is_ct=False)
            found = [_sitk_volume(folder / "dose.dcm"), _highdicom_volume(folder / "map.dcm"), _series(folder / "pet")]
            worst = max(worst, *(float(np.abs(corners_mm(v) - corners_mm(grid)).max()) for v in found))
    return worst, worst <= 1e-3


def _series(folder):
    import SimpleITK as sitk

    from imaging.geometry import Volume

    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(folder)))
    return Volume.from_sitk(reader.Execute())


@check("imaging/RTDOSE quantisation", unit="of the maximum", tolerance="1e-6", source="SimpleITK on what was written")
def quantisation():
    from imaging.dicom_write import write_rtdose

    worst = 0.0
    with _each_grid() as grids:
        for grid, exported, folder in grids:
            write_rtdose(folder / "dose.dcm", grid, exported)
            found = _sitk_volume(folder / "dose.dcm", "3004|000e").array
            found = found if np.linalg.det(grid.affine) > 0 else found[::-1]
            worst = max(worst, float(np.abs(found - grid.array).max() / grid.array.max()))
    return worst, worst <= 1e-6


@check("imaging/SEG and RTSTRUCT read back: voxels that differ", unit="voxels", tolerance="0", source=READERS)
def regions():
    from imaging.contours import contour_mask
    from imaging.dicom_read import read_folder
    from imaging.dicom_write import write_rtstruct, write_segmentation

    wrong = 0
    with _each_grid() as grids:
        for grid, exported, folder in grids:
            masks = _masks(grid)
            write_segmentation(folder / "out" / "seg.dcm", masks, exported)
            write_rtstruct(folder / "out" / "rt.dcm", masks, exported)
            study = read_folder(folder / "out")
            found = [(s.label, s.mask.resampled_onto(grid, interpolation="nearest")) for s in _segments(study)]
            found += [(c.label, contour_mask(c, grid)) for c in study.contour_sets[0].contours]
            wrong += sum(int((volume.array != masks[label].array).sum()) for label, volume in found)
    return wrong, wrong == 0


def _segments(study):
    return study.segmentations[0].segments


@check("imaging/RTSTRUCT polygon volume over mask volume", unit="1", tolerance="within 0.02 of 1", source="22 mm ball")
def polygon_volume():
    from imaging.contours import contour_volume_mL
    from imaging.dicom_read import read_folder
    from imaging.dicom_write import write_rtstruct

    with tempfile.TemporaryDirectory() as root:
        grid = image(np.diag([2.0, 2.0, 2.0, 1.0]), (24, 26, 24))
        mask = grid.with_array(ball(grid, (12, 12, 12), 11.0))
        write_rtstruct(Path(root) / "rt" / "rt.dcm", {"tumour_1": mask}, virtual_study(Path(root) / "ct", grid))
        (found,) = read_folder(Path(root) / "rt").contour_sets
        ratio = contour_volume_mL(found.contours[0]) / (float(mask.array.sum()) * grid.voxel_mL)
    return ratio, abs(ratio - 1) <= 0.02


@check(
    "imaging/written objects lack attributes of type 1 and 2", unit="attributes", tolerance="0", source="PS3.3 tables"
)
def required():
    from imaging.dicom_write import OrganRow, write_organ_table, write_recon, write_rtdose, write_rtstruct
    from imaging.dicom_write import write_segmentation as write_seg
    from imaging.series import ImageSeries

    with _each_grid() as grids:
        grid, exported, folder = grids[0]
        written = [
            write_rtdose(folder / "a.dcm", grid, exported),
            write_rtstruct(folder / "b.dcm", _masks(grid), exported),
            write_seg(folder / "c.dcm", _masks(grid), exported),
            write_recon(folder / "d.dcm", ImageSeries(grid, "SPECT", "Bq/mL", "", ""), exported),
            write_organ_table(folder / "e.dcm", [OrganRow("liver", "mean_dose", 1.0, 0.1)], exported),
            *_camera_objects(folder, exported),
        ]
        missing = [name for dataset in written for name in missing_attributes(dataset)]
    return len(missing), not missing


def _camera(angles, heads=2, side=32, **changed):
    from imaging.projections import EnergyWindow, Projections

    windows = (EnergyWindow(187.2, 228.8), EnergyWindow(166.4, 187.2), EnergyWindow(228.8, 249.6))
    counts = np.random.default_rng(7).poisson(30.0, (3, len(angles), side, side))
    values = {
        "radii_mm": 220.0 + np.arange(len(angles)) % 7,
        "frame_s": np.full(len(angles), 20.0),
        "pixel_mm": 6.8,
        "centre_lps_mm": [12.5, -86.0, -431.25],
        "started_at": BEGAN,
    }
    return Projections(counts, windows, angles, heads=heads, **values | changed)


def _camera_objects(folder, exported):
    from imaging.dicom_write import write_planar, write_projections

    tomo = _camera(np.arange(0, 360, 15.0))
    pair = _camera(np.array([180.0, 0.0]), radii_mm=np.full(2, 150.0))
    return [write_projections(folder / "t.dcm", tomo, exported), write_planar(folder / "p.dcm", pair, exported)]


@check("imaging/NM TOMO counts that differ in PyTomography's parser", unit="pixels", tolerance="0", source="3.4.0")
def counts_in_peer():
    if find_spec("pytomography") is None:
        raise Skipped("PyTomography is not installed")
    from pytomography.io.SPECT import dicom

    from imaging.dicom_write import write_projections

    wrong = 0
    with tempfile.TemporaryDirectory() as root:
        for step in (6.0, -6.0):
            angles = np.concatenate([(start + step * np.arange(30)) % 360 for start in (180.0, 0.0)])
            truth, path = _camera(angles), Path(root) / f"{step:g}.dcm"
            write_projections(path, truth, virtual_study(Path(root) / f"ct{step:g}", image(AFFINES["straight"])))
            order = np.argsort((angles + 180) % 360)
            found = dicom.get_projections(str(path)).cpu().numpy().transpose(0, 1, 3, 2)
            _, meta = dicom.get_metadata(str(path))
            wrong += int((found != truth.counts[:, order]).sum())
            wrong += int(not np.allclose(meta.angles, ((angles + 180) % 360)[order], atol=1e-3))
    return wrong, wrong == 0


@check(
    "imaging/NM TOMO off-centre point in PyTomography's image", unit="mm", tolerance="0.68 (0.1 pixel)", source="3.4.0"
)
def point_in_peer():
    if find_spec("pytomography") is None:
        raise Skipped("PyTomography is not installed")
    from imaging.dicom_write import write_projections
    from tests.units.imaging import test_writing_projections as told

    angles = told.angles_of(2, 30, 12.0, 6.0)
    with tempfile.TemporaryDirectory() as root:
        exported = virtual_study(Path(root) / "ct", image(AFFINES["straight"]))
        write_projections(
            Path(root) / "t.dcm", told.camera(told.point_projections(told.POINT, angles), angles), exported
        )
        off = float(np.abs(told.reconstructed_point_mm(Path(root) / "t.dcm") - told.POINT).max())
    return off, off <= 0.68
