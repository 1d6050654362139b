"""A site's own calibration and recovery curve as JSON files, checked by pydantic where they come in."""

from __future__ import annotations

import json
import math
from datetime import datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dose.errors import InputError, describe
from imaging.camera_calibration import CameraCalibration
from imaging.recovery_fit import RecoveryCurve

LARGEST_BYTES = 1_000_000
"""A file of these few numbers that is larger is something else."""


class CalibrationFile(BaseModel):
    """All of a calibration file; `fingerprint` is checked against the settings."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    kind: Literal["camera_calibration"] = "camera_calibration"
    sensitivity_cps_per_MBq: float = Field(gt=0)
    sd_cps_per_MBq: float = Field(ge=0)
    method: Literal["planar_point", "planar_vial", "cylinder", "internal", "combined"]
    nuclide: str
    window_keV: tuple[float, float]
    collimator: str = ""
    settings: dict[str, bool | int | float | str] = {}
    meter_relative_sd: float = Field(0.0, ge=0)
    measured_at: datetime | None = None
    fingerprint: str = ""


class RecoveryFile(BaseModel):
    """All of a recovery file; `largest_mL` null is no upper end."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)
    kind: Literal["recovery_curve"] = "recovery_curve"
    b1_mL: float = Field(gt=0)
    b2: float = Field(gt=0)
    covariance: tuple[tuple[float, float], tuple[float, float]]
    smallest_mL: float = Field(0.0, ge=0)
    largest_mL: float | None = None
    chi2: float = Field(0.0, ge=0)
    dof: int = Field(0, ge=0)
    reconstruction: str = ""


def write_calibration(path, calibration: CameraCalibration) -> None:
    """The calibration as JSON."""
    names = [name for name in CalibrationFile.model_fields if name != "kind"]
    _write(path, CalibrationFile(**{name: getattr(calibration, name) for name in names}))


def read_calibration(path) -> CameraCalibration:
    """A calibration from its file.

    Raises:
        InputError: not readable, an unknown key, a value out of range, or settings changed since it was written.
    """
    content = _read(path, CalibrationFile)
    values = content.model_dump(exclude={"kind", "fingerprint"})
    found = CameraCalibration(**values)
    if content.fingerprint and content.fingerprint != found.fingerprint:
        what, do = "settings that are not those of its fingerprint", "calibrate anew for other settings"
        raise InputError(describe(Path(path).name, what, "an unchanged file", do))
    return found


def write_recovery_curve(path, curve: RecoveryCurve) -> None:
    """The curve as JSON."""
    largest = None if math.isinf(curve.largest_mL) else curve.largest_mL
    rest = ("b1_mL", "b2", "smallest_mL", "chi2", "dof", "reconstruction")
    covariance = tuple(map(tuple, curve.covariance.tolist()))
    content = {name: getattr(curve, name) for name in rest}
    _write(path, RecoveryFile(**content, covariance=covariance, largest_mL=largest))  # type: ignore[arg-type]


def read_recovery_curve(path) -> RecoveryCurve:
    """A recovery curve from its file; InputError as for `read_calibration`."""
    values = _read(path, RecoveryFile).model_dump(exclude={"kind"})
    return RecoveryCurve(**{**values, "largest_mL": values["largest_mL"] or math.inf})


def _write(path, content: BaseModel) -> None:
    Path(path).write_text(content.model_dump_json(indent=2) + "\n", encoding="utf-8")


def _read(path, model):
    name = Path(path).name
    try:
        if Path(path).stat().st_size > LARGEST_BYTES:
            raise InputError(describe(name, "a file of more than 1 MB", "a few numbers", "check the path"))
        content = json.loads(Path(path).read_text(encoding="utf-8"))
        return model.model_validate(content)
    except (OSError, UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise InputError(describe(name, type(error).__name__, "a readable JSON file", "check the path")) from error
    except ValidationError as error:
        first = error.errors()[0]
        where = f"{name}: {'.'.join(str(part) for part in first['loc'])}"
        raise InputError(describe(where, first["type"], first["msg"], "correct the value")) from error
