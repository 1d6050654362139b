"""Projections of a gamma camera as NM objects: TOMO (rotating) and WHOLE BODY or STATIC (planar).

Angles are those of `imaging.projections`, which are DICOM's: StartAngle is the first view's angle. Rows run from head
to feet in DICOM and are turned here. The axis is told as Siemens does and PyTomography reads it: x of
ImagePositionPatient is the axis, z its first row (towards the head), y is zero, and TableHeight is minus the axis' y.
Frames are listed window by window, detector by detector, view by view. What DICOM has no place for is lost: `gap_s`.
A whole body states the elapsed time, ScanVelocity, ScanLength and, as the field of view, the length of the head.
"""

from __future__ import annotations

import numpy as np

from dose.errors import InputError, describe
from imaging.dicom_write.emission import injection, moment_tags
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import new_object, put, put_pixels
from imaging.dicom_write.identity import Exported
from imaging.dicom_write.recon import NM_CLASS
from imaging.dicom_write.values import code_item, decimal
from imaging.projections import EnergyWindow, Projections

MOST_COUNTS = 65_535
STEP_TOLERANCE_DEG = 1e-3
VIEWS = {0.0: ("399001007", "SCT", "Posterior projection"), 180.0: ("399321004", "SCT", "Anterior projection")}
"""View codes of a planar pair by angle (CID 26)."""

TOMO_POINTERS = [0x00540010, 0x00540020, 0x00540050, 0x00540090]
PLANAR_POINTERS = [0x00540010, 0x00540020]
"""FrameIncrementPointer: energy window, detector, rotation and angular view vectors."""


def write_projections(path, projections: Projections, exported: Exported, *, overwrite: bool = False):
    """Write one NM TOMO object and return its data set.

    Args:
        path: the file.
        projections: counts as whole numbers up to 65535; views of one rotation, head by head in even steps.
        exported: the export.
        overwrite: replace a file that is there.

    Raises:
        InputError: counts that are not whole or do not fit, uneven steps, views of different length, a file there.
    """
    checked_target(path, overwrite=overwrite)
    stored = _counts(projections)
    step_deg = _step_deg(projections)
    dataset = _camera_object(projections, exported, "projections", ["ORIGINAL", "PRIMARY", "TOMO", "EMISSION"])
    windows, heads = len(projections.windows), projections.heads
    views = len(projections.angles_deg) // heads
    dataset.RotationInformationSequence = [_rotation(projections, step_deg, views)]
    dataset.DetectorInformationSequence = [_head(projections, k) for k in range(heads)]
    dataset.EnergyWindowVector = np.repeat(np.arange(1, windows + 1), heads * views).tolist()
    dataset.DetectorVector = np.tile(np.repeat(np.arange(1, heads + 1), views), windows).tolist()
    dataset.RotationVector = [1] * (windows * heads * views)
    dataset.AngularViewVector = np.tile(np.arange(1, views + 1), windows * heads).tolist()
    put(dataset, {"NumberOfRotations": 1, "NumberOfDetectors": heads, "FrameIncrementPointer": TOMO_POINTERS})
    put_pixels(dataset, stored.reshape(-1, *stored.shape[2:]))
    save(dataset, path, overwrite=overwrite)
    return dataset


def write_planar(path, projections: Projections, exported: Exported, *, overwrite: bool = False):
    """Write one NM object of a posterior and an anterior view; returns its data set.

    It is a WHOLE BODY where the projections have a `scan_velocity_mm_per_s`, else STATIC.

    Raises:
        InputError: other views than 0 and 180 degrees, counts that are not whole or do not fit, a file that is there.
    """
    checked_target(path, overwrite=overwrite)
    angles = [float(a) % 360 for a in projections.angles_deg]
    if sorted(angles) != sorted(VIEWS):
        do = "use write_projections for a rotating camera"
        raise InputError(describe("projections.angles_deg", f"{len(angles)} views", "0 and 180 degrees", do))
    kind = "STATIC" if projections.scan_velocity_mm_per_s is None else "WHOLE BODY"
    stored = _counts(projections)
    dataset = _camera_object(projections, exported, "planar", ["ORIGINAL", "PRIMARY", kind, "EMISSION"])
    dataset.DetectorInformationSequence = [_planar_head(projections, k, a) for k, a in enumerate(angles)]
    put(dataset, _sweep(projections))
    windows = len(projections.windows)
    dataset.EnergyWindowVector = np.repeat(np.arange(1, windows + 1), 2).tolist()
    dataset.DetectorVector = [1, 2] * windows
    put(dataset, {"NumberOfDetectors": 2, "FrameIncrementPointer": PLANAR_POINTERS})
    put_pixels(dataset, stored.reshape(-1, *stored.shape[2:]))
    save(dataset, path, overwrite=overwrite)
    return dataset


def _counts(projections: Projections) -> np.ndarray:
    """uint16 [window, view, row, column], rows from the head down."""
    counts = projections.counts
    if counts.max() > MOST_COUNTS or not np.array_equal(counts, np.rint(counts)):
        found = f"a pixel of more than {MOST_COUNTS}" if counts.max() > MOST_COUNTS else "counts that are not whole"
        do = "draw Poisson counts of the mean, or split the acquisition; counts are not scaled here, as their noise is"
        raise InputError(describe("projections.counts", found, f"whole numbers of 0 to {MOST_COUNTS}", do))
    return counts[:, :, ::-1].astype(np.uint16)


def _step_deg(projections: Projections) -> float:
    """The step between views, the same for each head; negative clockwise."""
    angles = projections.angles_deg.reshape(projections.heads, -1)
    if angles.shape[1] == 1:
        return 360.0 / projections.heads
    steps = (np.diff(angles, axis=1) + 180) % 360 - 180
    if np.abs(steps - steps[0, 0]).max() > STEP_TOLERANCE_DEG or abs(steps[0, 0]) < STEP_TOLERANCE_DEG:
        expected, do = "one step for all views of each head", "list views head by head in order of the rotation"
        raise InputError(describe("projections.angles_deg", "uneven steps", expected, do))
    return float(steps.mean())


def _one_time_s(projections: Projections) -> float:
    if np.ptp(projections.frame_s) > 1e-3:
        found, do = "views of different length", "split the acquisition"
        raise InputError(describe("projections.frame_s", found, "one time for all views", do))
    return float(projections.frame_s[0])


def _camera_object(projections: Projections, exported: Exported, what: str, image_type: list):
    identity = (projections.counts, projections.angles_deg, projections.started_at)
    dataset = new_object(exported, NM_CLASS, "NM", what, *identity)
    dataset.ImageType = image_type
    put(dataset, moment_tags("Series", projections.started_at) | moment_tags("Acquisition", projections.started_at))
    dataset.PixelSpacing = [decimal(projections.pixel_mm)] * 2
    dataset.CountsAccumulated = int(projections.counts.sum(dtype=float))
    dataset.EnergyWindowInformationSequence = [_window(w) for w in projections.windows]
    dataset.NumberOfEnergyWindows = len(projections.windows)
    dataset.RadiopharmaceuticalInformationSequence = [injection(projections.radiopharmaceutical, is_nm=True)]
    return dataset


def _window(window: EnergyWindow):
    from pydicom.dataset import Dataset

    item, bounds = Dataset(), Dataset()
    bounds.EnergyWindowLowerLimit, bounds.EnergyWindowUpperLimit = decimal(window.lower_keV), decimal(window.upper_keV)
    line = "" if window.line_keV is None else f" {window.line_keV:g}"
    item.EnergyWindowName, item.EnergyWindowRangeSequence = f"{window.role}{line}"[:16], [bounds]
    return item


def _rotation(projections: Projections, step_deg: float, views: int):
    from pydicom.dataset import Dataset

    item = Dataset()
    item.StartAngle = decimal(projections.angles_deg[0] % 360)
    item.AngularStep, item.ScanArc = decimal(abs(step_deg)), decimal(abs(step_deg) * views)
    item.RotationDirection = "CC" if step_deg > 0 else "CW"
    item.ActualFrameDuration = round(_one_time_s(projections) * 1000)
    item.NumberOfFramesInRotation = views
    item.RadialPosition = [decimal(r) for r in projections.radii_mm[:views]]
    item.TableHeight, item.TableTraverse = decimal(-projections.centre_lps_mm[1] + 0.0), "0"
    item.TypeOfDetectorMotion = "STEP AND SHOOT"
    return item


def _detector(projections: Projections, angle_deg: float):
    """What a head says of itself; its image is as seen from the head, columns along (-cos a, sin a, 0), rows down."""
    from pydicom.dataset import Dataset

    item, a = Dataset(), np.deg2rad(angle_deg)
    item.CollimatorGridName, item.CollimatorType = projections.collimator[:16], "PARA"
    item.FocalDistance = None
    item.StartAngle = decimal(angle_deg % 360)
    item.ImageOrientationPatient = [decimal(round(v, 9) + 0.0) for v in (-np.cos(a), np.sin(a), 0, 0, 0, -1)]
    first_row_z = projections.centre_lps_mm[2] + (projections.counts.shape[2] - 1) / 2 * projections.pixel_mm
    item.ImagePositionPatient = [decimal(projections.centre_lps_mm[0]), "0", decimal(first_row_z)]
    return item


def _head(projections: Projections, k: int):
    views = len(projections.angles_deg) // projections.heads
    mine = slice(k * views, (k + 1) * views)
    item = _detector(projections, float(projections.angles_deg[mine][0]))
    item.RadialPosition = [decimal(r) for r in projections.radii_mm[mine]]
    return item


def _sweep(projections: Projections) -> dict:
    """Elapsed time, which under a moving table is that of the scanned length and of the head's own."""
    dwell_s, velocity = _one_time_s(projections), projections.scan_velocity_mm_per_s
    if velocity is None:
        return {"ActualFrameDuration": round(dwell_s * 1000)}
    length_mm = projections.counts.shape[2] * projections.pixel_mm
    elapsed_ms = round((length_mm / velocity + dwell_s) * 1000)
    moved = {"ScanVelocity": decimal(velocity), "ScanLength": round(length_mm), "WholeBodyTechnique": "1PS"}
    return {"ActualFrameDuration": elapsed_ms} | moved


def _planar_head(projections: Projections, k: int, angle_deg: float):
    item = _detector(projections, angle_deg)
    if projections.scan_velocity_mm_per_s is not None:
        width_mm = projections.counts.shape[3] * projections.pixel_mm
        head_mm = float(projections.frame_s[k]) * projections.scan_velocity_mm_per_s
        item.FieldOfViewShape, item.FieldOfViewDimensions = "RECTANGLE", [round(width_mm), round(head_mm)]
    item.RadialPosition = [decimal(projections.radii_mm[k])]
    item.ViewCodeSequence = [code_item(*VIEWS[angle_deg])]
    return item
