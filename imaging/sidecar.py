"""The JSON beside a NIfTI image, under BIDS-PET names: units, nuclide, injection, times and decay correction.

Times are seconds from TimeZero, a time of day (BIDS specification, PET; field list read for the ENGINEERING notes,
section 4; meanings recalled). What BIDS has no name for, and quantification needs, is under "theratwin".
"""

from __future__ import annotations

import json
from datetime import date, datetime, time, timedelta
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dose.errors import ImageError, describe

MAX_SIDECAR_BYTES = 4 * 2**20
NOMINAL_DAY = date(2000, 1, 1)
"""Stands for the day of a scan whose sidecar has none (BIDS leaves dates out): hours after injection hold, days do
not."""

CONCENTRATION_Bq_mL = {"Bq/mL": 1.0, "Bq/ml": 1.0, "kBq/mL": 1e3, "kBq/ml": 1e3, "MBq/mL": 1e6, "MBq/ml": 1e6}
ACTIVITY_MBq = {"Bq": 1e-6, "kBq": 1e-3, "MBq": 1.0, "GBq": 1e3}

Positive = Annotated[float, Field(gt=0)]
NotNegative = Annotated[float, Field(ge=0)]
Seconds = Annotated[float, Field(ge=-1e9, le=1e9)]


class Extension(BaseModel):
    """Ours: kept for a round trip, absent in the files of others."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
    half_life_h: Positive | None = None
    weight_kg: Positive | None = None
    height_m: Positive | None = None
    sex: Literal["male", "female"] | None = None
    resolution_mm: Positive | None = None
    slice_mid_s: list[NotNegative] | None = None
    frame_hash: Annotated[str, Field(pattern="^[0-9a-f]{0,12}$")] = ""


class Sidecar(BaseModel):
    """Fields of a BIDS-PET sidecar that are used; others are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)
    Units: Literal["Bq/mL", "Bq/ml", "kBq/mL", "kBq/ml", "MBq/mL", "MBq/ml", "HU"]
    Modality: Literal["PT", "PET", "NM", "SPECT", "CT"] | None = None
    TracerRadionuclide: str | None = None
    InjectedRadioactivity: Positive | None = None
    InjectedRadioactivityUnits: Literal["Bq", "kBq", "MBq", "GBq"] | None = None
    TimeZero: time | None = None
    ScanDate: Annotated[date, Field(ge=date(1950, 1, 1), le=date(2200, 1, 1))] | None = None
    ScanStart: Seconds = 0.0
    InjectionStart: Seconds | None = None
    FrameTimesStart: list[Seconds] | None = None
    FrameDuration: list[Annotated[float, Field(ge=0, le=1e9)]] | None = None
    ImageDecayCorrected: bool | None = None
    ImageDecayCorrectionTime: Seconds | None = None
    theratwin: Extension = Extension()

    def moment(self, seconds: float) -> datetime | None:
        """The moment so many seconds after TimeZero; None where that is not stated."""
        if self.TimeZero is None:
            return None
        zero = datetime.combine(self.ScanDate or NOMINAL_DAY, self.TimeZero.replace(tzinfo=None))
        return zero + timedelta(seconds=seconds)


def sidecar_path(path) -> Path:
    """The .json beside a .nii or .nii.gz."""
    path = Path(path)
    return path.with_name(path.name.removesuffix(".gz").removesuffix(".nii") + ".json")


def read_json(path) -> dict:
    """The object of one JSON file.

    Raises:
        ImageError: missing, too large, or not a JSON object.
    """
    try:
        if path.stat().st_size <= MAX_SIDECAR_BYTES:
            content = json.loads(path.read_text(encoding="utf-8"))
            if isinstance(content, dict):
                return content
    except (OSError, ValueError, RecursionError):
        pass
    found, do = "none, or no JSON object under 4 MiB", "write it beside the image, with the same name and .json"
    raise ImageError(describe("nifti sidecar", found, "a JSON object under BIDS-PET names", do))


def sidecar_of(content: dict) -> Sidecar:
    """The checked fields of a sidecar.

    Raises:
        ImageError: the first field that is missing, of another type or out of range; its value is not told.
    """
    try:
        return Sidecar.model_validate(content)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        found = "nothing" if first["type"] == "missing" else "a value that cannot be used"
        text = describe(f"nifti sidecar, {place}", found, _expected(first), "correct the sidecar")
    raise ImageError(text)


def _expected(complaint) -> str:
    return "a stated value" if complaint["type"] == "missing" else str(complaint["msg"])
