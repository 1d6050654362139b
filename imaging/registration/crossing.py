"""The crossing to SimpleITK and to files: transforms and images out and back. JSON with NIfTI, nothing pickled."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from dose.errors import ImageError, describe
from imaging.registration.field import DisplacementField
from imaging.registration.transform import SpatialTransform

SCHEMA = "theratwin/spatial-transform/1"
DIRECTION = "fixed LPS mm to moving LPS mm, affine after field"
MAX_JSON_BYTES = 1_000_000


def affine_to_sitk(matrix: np.ndarray):
    """A 4 x 4 LPS matrix as an ITK affine with its centre at the origin."""
    import SimpleITK as sitk

    out = sitk.AffineTransform(3)
    out.SetMatrix(matrix[:3, :3].ravel().tolist())
    out.SetTranslation(matrix[:3, 3].tolist())
    return out


def affine_from_sitk(transform) -> np.ndarray:
    """The 4 x 4 LPS matrix of any linear ITK transform, read off at four points."""
    origin = np.array(transform.TransformPoint((0.0, 0.0, 0.0)))
    matrix = np.eye(4)
    matrix[:3, 3] = origin
    matrix[:3, :3] = np.stack([np.array(transform.TransformPoint(tuple(e))) - origin for e in np.eye(3)], axis=1)
    return matrix


def to_sitk(transform: SpatialTransform):
    """The same mapping for SimpleITK (which applies the last transform of a composite first)."""
    import SimpleITK as sitk

    affine = affine_to_sitk(transform.affine)
    if transform.field is None:
        return affine
    return sitk.CompositeTransform([affine, sitk.DisplacementFieldTransform(_vector_image(transform.field))])


def _vector_image(field: DisplacementField, dtype=np.float64):
    import SimpleITK as sitk

    image = sitk.GetImageFromArray(field.array_mm.astype(dtype), isVector=True)
    spacing = np.linalg.norm(field.affine[:3, :3], axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetOrigin(field.affine[:3, 3].tolist())
    image.SetDirection((field.affine[:3, :3] / spacing).ravel().tolist())
    return image


def save_transform(transform: SpatialTransform, path) -> None:
    """Write `path` (.json) and, for a field, `<stem>_field.nii.gz` beside it (vectors in LPS mm, as ITK's)."""
    import SimpleITK as sitk

    path = Path(path)
    record = {"schema": SCHEMA, "direction": DIRECTION, "affine_LPS_mm": transform.affine.tolist(), "field": None}
    if transform.field is not None:
        record["field"] = f"{path.stem}_field.nii.gz"
        sitk.WriteImage(_vector_image(transform.field, np.float32), str(path.with_name(record["field"])))
    path.write_text(json.dumps(record, indent=1), encoding="utf-8")


def load_transform(path) -> SpatialTransform:
    """What `save_transform` wrote.

    Raises:
        ImageError: no such file, another schema, or a field that is missing, damaged or elsewhere.
    """
    path = Path(path)
    if not path.is_file() or path.stat().st_size > MAX_JSON_BYTES:
        raise ImageError(describe("transform file", "no file, or a large one", f"{SCHEMA} in JSON", "check the path"))
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        if record["schema"] != SCHEMA:
            raise KeyError("schema")
        affine, name = np.array(record["affine_LPS_mm"], dtype=float), record["field"]
    except (ValueError, KeyError, TypeError) as error:
        raise ImageError(describe("transform file", "another content", SCHEMA, "save the transform again")) from error
    return SpatialTransform(affine, None if name is None else _read_field(path, name))


def _read_field(path: Path, name) -> DisplacementField:
    import SimpleITK as sitk

    if name != f"{path.stem}_field.nii.gz" or not path.with_name(name).is_file():
        found, expected = "a field of another name, or none", "<stem>_field.nii.gz beside the JSON"
        raise ImageError(describe("transform file, field", found, expected, "keep the two files together"))
    try:
        image = sitk.ReadImage(str(path.with_name(name)), sitk.sitkVectorFloat32)
    except RuntimeError as error:
        raise ImageError(describe("transform field", "no vectors", "NIfTI vectors", "save it again")) from error
    affine = np.eye(4)
    affine[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * np.asarray(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    return DisplacementField(sitk.GetArrayFromImage(image), affine)
