"""Reading of DICOM images against other readers and hand calculations: SUV, slopes, midnight, contours, projections."""

from __future__ import annotations

import tarfile
import tempfile
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tests.validate import Skipped, check, close, shared

FDG = "GE Discovery ST FDG PET of 267 slices (pet_fdg_gests001, CC BY 3.0)"


@cache
def _fdg():
    """The study by our reader, the same voxels by SimpleITK, and SUV by the header read here by hand."""
    import pydicom
    import SimpleITK as sitk

    from imaging.dicom_read import read_folder

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared("images/pet_fdg_gests001.tar.xz")) as archive:
            archive.extractall(folder, filter="data")
        images = next(p for p in Path(folder).rglob("image") if p.is_dir())
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(images)))
        sitk.ProcessObject.SetGlobalWarningDisplay(False)
        theirs = sitk.GetArrayFromImage(reader.Execute())
        headers = [pydicom.dcmread(name, stop_before_pixels=True) for name in reader.GetFileNames()]
        slopes = np.array([float(header.RescaleSlope) for header in headers])
        return read_folder(folder), theirs, _suv_factor(headers[0]), slopes


def _suv_factor(header) -> float:
    """SUV per Bq/mL from the header alone: weight over the activity left at the series time."""
    item = header.RadiopharmaceuticalInformationSequence[0]
    seconds = [
        3600 * int(t[:2]) + 60 * int(t[2:4]) + float(t[4:])
        for t in (item.RadiopharmaceuticalStartTime, header.SeriesTime)
    ]
    left = float(item.RadionuclideTotalDose) * 2 ** -((seconds[1] - seconds[0]) / float(item.RadionuclideHalfLife))
    return 1000 * float(header.PatientWeight) / left


def _suv():
    from imaging.suv import suv_image

    study, theirs, factor, _ = _fdg()
    (pet,) = study.of("PET")
    return study, suv_image(pet), theirs * factor


def _worst(ours: np.ndarray, theirs: np.ndarray) -> float:
    """Largest difference over all voxels, relative to each slice's own maximum."""
    peak = np.maximum(theirs.max(axis=(1, 2)), 1e-9)
    return float((np.abs(ours - theirs).max(axis=(1, 2)) / peak).max())


@check("imaging/reading/FDG SUVbw of 267 slices", unit="rel", tolerance="1e-5", source=f"SimpleITK's voxels; {FDG}")
def all_slices():
    _, ours, theirs = _suv()
    worst = _worst(ours.array, theirs)
    return worst, worst <= 1e-5 and len(np.unique(_fdg()[3])) == len(theirs) == 267


@check("imaging/reading/FDG SUVbw with one slope for all slices", unit="rel", tolerance="above 0.1", source=FDG)
def one_slope():
    """Negative control: the first slice's slope on every slice would fail the row above."""
    _, ours, theirs = _suv()
    slopes = _fdg()[3]
    worst = _worst(ours.array * (slopes[0] / slopes)[:, None, None], theirs)
    return worst, worst > 0.1


@check(
    "imaging/reading/FDG tumour SUVmax", unit="g/mL", tolerance="rel 1e-4", source=f"SimpleITK and scikit-image; {FDG}"
)
def tumour_max():
    study, ours, theirs = _suv()
    ring, inside = _tumour(study, ours)
    found = float(ours.array[inside].max())
    return found, close(found, float(theirs[_by_skimage(ring, ours)].max()), 1e-4)


@check("imaging/reading/FDG tumour volume", unit="mL", tolerance="rel 0.01 of the polygons", source=FDG)
def tumour_volume():
    from imaging.contours import contour_volumes

    study, ours, _ = _suv()
    volumes = contour_volumes(_tumour(study, ours)[0], ours, boundary="partial")
    return [volumes.polygon_mL, volumes.mask_mL], close(volumes.mask_mL, volumes.polygon_mL, 0.01)


def _tumour(study, image):
    from imaging.contours import contour_mask

    contour = next(c for s in study.contour_sets for c in s.contours if c.label == "GTV_Mass")
    return contour, contour_mask(contour, image).array > 0


def _by_skimage(contour, image) -> np.ndarray:
    """The mask by scikit-image, slice by slice."""
    from skimage.draw import polygon2mask

    mask = np.zeros(image.array.shape, dtype=bool)
    for polygon in contour.polygons:
        index = image.to_index(polygon)
        mask[round(float(index[:, 2].mean()))] ^= polygon2mask(mask.shape[1:], index[:, 1::-1])
    return mask


@check("imaging/reading/V20 SUV", unit="g/mL", tolerance="rel 1e-5 of 27.2992", source="CLINICAL.md V20, by hand")
def v20():
    from imaging.suv import suv_body_weight

    given: dict[str, float] = {"weight_kg": 80, "administered_MBq": 150, "half_life_h": 67.71 / 60, "delay_h": 70 / 60}
    found = float(suv_body_weight(25e3, **given, decay_correction="START"))
    wrong = float(suv_body_weight(25e3, **given, decay_correction="ADMIN"))
    return found, close(found, 27.2992, 1e-5) and close(wrong, 13.3333, 1e-5)


@check("imaging/reading/hours over midnight", unit="h", tolerance="abs 1e-9 of 1.0, 1.0, 2.0", source="by hand")
def midnight():
    """Date and time, a time of day alone, and two time zones."""
    from imaging.decay import hours_after
    from imaging.dicom_read import read_folder
    from tests.units.imaging.dicom_objects import FDG as PET
    from tests.units.imaging.dicom_objects import injection, save_all, slices

    stored, late = np.full((2, 3, 3), 5, dtype="<i2"), datetime(2026, 3, 3, 0, 30)
    whole = injection(started=datetime(2026, 3, 2, 23, 30))
    clock = injection(RadiopharmaceuticalStartDateTime=None, RadiopharmaceuticalStartTime="233000")
    zoned = injection(RadiopharmaceuticalStartDateTime="20260302233000+0100")
    found = []
    for item, zone, began in ((whole, None, late), (clock, None, late), (zoned, "+0200", datetime(2026, 3, 3, 2, 30))):
        with tempfile.TemporaryDirectory() as folder:
            made = slices(stored, **PET | {"item": item, "TimezoneOffsetFromUTC": zone}, began=began)
            save_all(made, Path(folder))
            found.append(hours_after(read_folder(folder).images[0]))
    return found, bool(np.allclose(found, [1.0, 1.0, 2.0], rtol=0, atol=1e-9))


@check(
    "imaging/reading/NM TOMO angles, radii, counts beside PyTomography",
    unit="max",
    tolerance="1e-4",
    source="PyTomography 3.4.0",
)
def tomography():
    """Largest difference of angles in degrees, radii in mm and counts, CC and CW, two heads, frames in any order."""
    try:
        from pytomography.io.SPECT import dicom
    except ImportError as error:
        raise Skipped("pytomography is not installed") from error
    from imaging.dicom_read import read_folder
    from tests.units.imaging.dicom_objects import save, tomo

    counts, worst = np.random.default_rng(3).poisson(20, (3, 2, 6, 16, 16)), []
    windows = ((187.2, 228.8), (166.4, 187.2), (228.8, 249.6))
    for direction in ("CC", "CW"):
        with tempfile.TemporaryDirectory() as folder:
            radii = [200.0, 210, 220, 230, 240, 250]
            file = save(
                tomo(counts, windows=windows, step=30.0, direction=direction, radii=radii), Path(folder) / "t.dcm"
            )
            (p,) = read_folder(folder).projections
            meta: Any = dicom.get_metadata(str(file))[1]
            views: Any = dicom.get_projections(str(file))
        theirs = views.cpu().numpy()
        order = np.argsort((p.angles_deg + 180) % 360)
        worst.append(np.abs(p.counts[:, order].transpose(0, 1, 3, 2) - theirs).max())
        worst.append(np.abs((p.angles_deg[order] + 180) % 360 - np.asarray(meta.angles)).max())
        worst.append(np.abs(p.radii_mm[order] - 10 * np.asarray(meta.radii)).max())
    return float(max(worst)), max(worst) <= 1e-4
