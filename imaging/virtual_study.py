"""A virtual patient's DICOM study: a stylised body scanned by CT, PET and SPECT, with its segmentation.

Image model: activity spread evenly in each region, blurred by a Gaussian point spread, plus noise whose variance goes
with the local mean. The header states the nominal resolution (SpatialResolution), while the true point spread differs
from it by a few per cent drawn from the seed: reading back inverts the stated model, not the one that made the image.
Limits: no attenuation, scatter, motion or misregistration; all scans share the CT's grid and frame of reference.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from dose.regions import region
from imaging.decay import CORRECTIONS
from imaging.dicom_write import StudyLabels, date_and_time, write_segmentation, write_slices
from imaging.phantoms import DIFFUSE, Phantom, stylised_body
from imaging.recovery import Measurement, blurred, measurement

FRAME_S = {"PET": 1200.0, "SPECT": 1500.0}
"""Duration of a scan in seconds (the real 177Lu scans of the tests took 1506 s)."""

PSF_ERROR = 0.02
"""Relative sd of the true point spread about the stated one."""


@dataclass(frozen=True)
class VirtualScan:
    """One scan: `activity_MBq` of each region present at `time_h` after the injection of `injected_MBq`.

    Regions without a place in the body (blood, muscle, ...) are put into the remainder. A study whose regions together
    gain activity between scans is refused on reading, so give the remainder too. `decay_correction` None means START
    for PET, and ADMIN and NONE in turn for SPECT.
    """

    modality: str
    nuclide: str
    injected_MBq: float
    injected_at: datetime
    time_h: float
    activity_MBq: dict[str, float]
    decay_correction: str | None = None


def write_virtual_study(
    folder,
    activities: list[VirtualScan],
    volumes_mL: dict[str, float],
    weight_kg: float,
    height_m: float,
    seed: int,
    *,
    sex: str = "male",
    voxel_mm: float = 5.0,
) -> Phantom:
    """Write CT, each scan, and a SEG with all organs and the remainder; return the phantom that was scanned.

    Raises:
        InputError: a region without place or volume, an unknown modality or decay correction, a negative activity.
        ImageError: the folder already holds files.
    """
    folder = Path(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise ImageError(describe("folder", "files", "an empty or new folder", "choose another folder"))
    placed = [_placed(scan, volumes_mL) for scan in activities]
    phantom = stylised_body(volumes_mL, weight_kg=weight_kg, height_m=height_m, voxel_mm=voxel_mm)
    began = min((scan.injected_at for scan in activities), default=datetime(2026, 1, 5, 9, 0))
    study = StudyLabels(seed, weight_kg, height_m, sex, began)
    sources = write_slices(folder / "ct", phantom.ct, study, "CT", _ct_tags(began), is_ct=True)
    masks = {name: phantom.mask(name) for name in (*phantom.names, "remainder")}
    write_segmentation(folder / "seg" / "seg.dcm", masks, study.exported().referring_to(sources))
    random = np.random.default_rng(seed)
    for k, (scan, regions) in enumerate(zip(activities, placed, strict=True)):
        _write_scan(folder / f"scan_{k + 1}", k, scan, regions, phantom, study, random)
    return phantom


def _placed(scan: VirtualScan, volumes_mL: dict[str, float]) -> dict[str, float]:
    """Activity by region of the phantom; diffuse regions together as the remainder."""
    known, summed = {region(name) for name in volumes_mL}, {}
    for name, activity in scan.activity_MBq.items():
        place = "remainder" if region(name) in DIFFUSE else region(name)
        if place not in (*known, "remainder"):
            raise InputError(describe("activity_MBq", f'"{name}" without a volume', "a region of volumes_mL", "add it"))
        if not (np.isfinite(activity) and activity >= 0):
            raise InputError(describe(f"activity_MBq of {name}", f"{activity:g}", "zero or more", "correct it"))
        summed[place] = summed.get(place, 0.0) + float(activity)
    return summed


def _write_scan(folder, k: int, scan: VirtualScan, regions, phantom: Phantom, study: StudyLabels, random) -> None:
    how = measurement(scan.modality)
    correction = scan.decay_correction or ("START" if scan.modality == "PET" else ("ADMIN", "NONE")[k % 2])
    if correction not in CORRECTIONS:
        raise InputError(describe("decay_correction", f'"{correction}"', f"one of {CORRECTIONS}", "choose one"))
    image = scanned(phantom, regions, how, random)
    rate_per_h = radionuclide(scan.nuclide).decay_constant_per_h
    hours = {"START": 0.0, "ADMIN": -scan.time_h, "NONE": FRAME_S[scan.modality] / 7200}[correction]
    stored = phantom.ct.with_array(image * np.exp(-rate_per_h * hours))
    tags = _emission_tags(scan, correction, how)
    write_slices(folder, stored, study, f"{scan.modality} {k + 1}", tags, is_ct=False)


def scanned(phantom: Phantom, activity_MBq: dict[str, float], how: Measurement, random) -> np.ndarray:
    """Bq/mL [z, y, x] as a scanner with this measurement model shows it, noise from the generator `random`."""
    truth = np.zeros(phantom.labels.array.shape, dtype=np.float32)
    for name, activity in activity_MBq.items():
        truth[phantom.mask(name)] = activity * 1e6 / phantom.volume_mL(name)
    spacing = phantom.labels.spacing_mm
    mean = blurred(truth, spacing, how.fwhm_mm * (1 + PSF_ERROR * random.standard_normal()))
    grain = blurred(random.standard_normal(truth.shape), spacing, how.fwhm_mm / 2)
    level = float(mean[phantom.labels.array > 0].mean())
    return mean + how.noise_cv_1mL * np.sqrt(mean * level) * grain / grain.std()


def _ct_tags(moment: datetime) -> dict:
    day, clock = date_and_time(moment)
    return {"Modality": "CT", "SeriesDate": day, "SeriesTime": clock, "AcquisitionDate": day, "AcquisitionTime": clock}


def _emission_tags(scan: VirtualScan, correction: str, how: Measurement) -> dict:
    day, clock = date_and_time(scan.injected_at + timedelta(hours=scan.time_h))
    return {
        "Modality": "PT",
        "Manufacturer": f"theratwin virtual {scan.modality}",
        "SeriesDate": day,
        "SeriesTime": clock,
        "AcquisitionDate": day,
        "AcquisitionTime": clock,
        "Units": "BQML",
        "DecayCorrection": correction,
        "DecayFactor": "1",
        "CountsSource": "EMISSION",
        "SeriesType": ["STATIC", "IMAGE"],
        "CorrectedImage": ["ATTN", "SCAT"] + ([] if correction == "NONE" else ["DECY"]),
        "ActualFrameDuration": int(FRAME_S[scan.modality] * 1000),
        "SpatialResolution": f"{how.fwhm_mm:g}",
        "RadiopharmaceuticalInformationSequence": [_injection(scan)],
    }


def _injection(scan: VirtualScan):
    from pydicom.dataset import Dataset

    nuclide, item, code = radionuclide(scan.nuclide), Dataset(), Dataset()
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = nuclide.name, "99THERATWIN", nuclide.name
    item.RadionuclideCodeSequence = [code]
    item.Radiopharmaceutical = nuclide.name
    item.RadionuclideTotalDose = f"{scan.injected_MBq * 1e6:.9g}"
    item.RadionuclideHalfLife = f"{nuclide.half_life_h * 3600:.9g}"
    item.RadiopharmaceuticalStartDateTime = scan.injected_at.strftime("%Y%m%d%H%M%S.%f")
    item.RadiopharmaceuticalStartTime = scan.injected_at.strftime("%H%M%S.%f")
    return item
