"""The files of a study: `patient.toml` and `measurements.csv`, checked and turned into plain values.

`patient.toml` holds the tracer, the administrations and what is known of the patient; a covariate that is missing or
written as "unknown" stays `None` here and takes its population value in `twin.study`. Quantities may carry their unit
("6.783 GBq"); a bare number is in the unit of the key.
"""

from __future__ import annotations

import csv
import tomllib
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, NaiveDatetime, StrictBool, ValidationError

from dose.errors import InputError, describe, nearest
from dose.units import parse
from pbpk.anatomy import Anatomy

UNKNOWN = ("", "unknown", "n/a", "na", "none")
"""Words that say that a covariate isn't known."""

COLUMNS = {
    "region": ("region", "voi", "roi", "organ"),
    "time_h": ("time_h", "time"),
    "activity_MBq": ("activity_MBq", "activity_measured_MBq"),
    "sd_MBq": ("sd_MBq", "sd", "activity_sd_MBq"),
    "suv": ("suv", "suv_mean", "suvmean"),
    "volume_mL": ("volume_mL", "volume"),
    "modality": ("modality",),
    "cycle": ("cycle",),
}
"""Column names of `measurements.csv` and the other spellings that are read."""


def quantity(unit: str):
    """A pydantic type: a number in `unit` or a text with its unit; "unknown" becomes None."""

    def read(value):
        if value is None or (isinstance(value, str) and value.strip().lower() in UNKNOWN):
            return None
        return parse(value, unit, unit)

    return Annotated[float | None, BeforeValidator(read)]


def _word(value):
    return None if isinstance(value, str) and value.strip().lower() in UNKNOWN else value


class CovariateFile(BaseModel):
    """The `[covariates]` table; None means unknown."""

    model_config = ConfigDict(extra="forbid")
    weight_kg: quantity("kg") = Field(None, gt=0, le=400)
    height_m: quantity("m") = Field(None, gt=0.3, le=2.6)
    sex: Annotated[Literal["male", "female"] | None, BeforeValidator(_word)] = None
    age_y: Annotated[float | None, BeforeValidator(_word)] = Field(None, ge=0, le=120)
    gfr_mL_min: Annotated[float | None, BeforeValidator(_word)] = Field(None, gt=0, le=300)
    haematocrit: Annotated[float | None, BeforeValidator(_word)] = Field(None, gt=0.1, lt=0.7)


class AdministrationFile(BaseModel):
    """One `[[administrations]]` table. `tracer` only where it isn't the study's own (a diagnostic scan).

    `start` is the scanner's local date and time, for DICOM studies whose headers don't tell it rightly.
    """

    model_config = ConfigDict(extra="forbid")
    cycle: int = Field(1, ge=0)
    time_h: quantity("h") = 0.0
    activity_MBq: quantity("MBq") = Field(None, gt=0)
    amount_nmol: quantity("nmol") = Field(None, gt=0)
    infusion_h: quantity("h") = Field(None, ge=0)
    cold_nmol: quantity("nmol") = Field(0.0, ge=0)
    cold_lead_h: quantity("h") = Field(0.0, ge=0)
    tracer: str | None = None
    start: NaiveDatetime | None = None


class ModelFile(BaseModel):
    """The `[model]` table: what the body is divided into, and whether amino acids are infused with the ligand."""

    model_config = ConfigDict(extra="forbid")
    kidney_parts: StrictBool = False
    small_glands: StrictBool = False
    amino_acids: Annotated[StrictBool | None, BeforeValidator(_word)] = None

    @property
    def anatomy(self) -> Anatomy:
        return Anatomy(self.kidney_parts, self.small_glands)


class ImagingFile(BaseModel):
    """The `[imaging]` table of a DICOM study: how its site measures. Paths are relative to `patient.toml`.

    `calibration` and `recovery_curve` are files of `imaging.site_files`; `fwhm_mm` is the reconstructed resolution of
    the therapy's SPECT. `boundary` "touched" counts voxels on a contour's line, as rt-utils and the published values of
    the real study in the tests do: blurred activity on the rim belongs to a lesion, but a small one's volume is
    overstated (IMAGING.md 3.1).
    """

    model_config = ConfigDict(extra="forbid")
    recovery: Literal["auto", "none", "geometric_transfer", "iterative_yang", "curve"] = "auto"
    fwhm_mm: quantity("mm") = Field(None, gt=0, le=50)
    calibration: str | None = None
    recovery_curve: str | None = None
    boundary: Literal["touched", "centre", "partial"] = "touched"
    carries: StrictBool = True
    intrinsic_fwhm_mm: quantity("mm") = Field(3.8, gt=0, le=20)
    iterations: int = Field(4, ge=1, le=100)
    subsets: int = Field(8, ge=1, le=120)
    scatter: Literal["tew", "dew", "network", "none"] = "tew"
    dead_time_us: float = Field(0.0, ge=0, le=20)
    Bq_per_mL_per_count: float | None = Field(None, gt=0)


class PatientFile(BaseModel):
    """All of `patient.toml`."""

    model_config = ConfigDict(extra="forbid")
    id: str | None = None
    tracer: str | None = None
    source: str = ""
    measurements: str | None = None
    images: str | None = None
    truth: str | None = None
    notes: list[str] = []
    covariates: CovariateFile = CovariateFile()
    model: ModelFile = ModelFile()
    imaging: ImagingFile = ImagingFile()
    administrations: list[AdministrationFile] = []
    volumes_mL: dict[str, Annotated[float, Field(gt=0)]] = {}


def read_patient_file(path: Path) -> PatientFile:
    """The checked content of a `patient.toml`.

    Raises:
        InputError: not readable, not TOML, an unknown key (nearest named) or a value out of range.
    """
    try:
        content = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(describe(str(path), str(error), "a readable text file", "check the path")) from error
    except tomllib.TOMLDecodeError as error:
        raise InputError(describe(str(path), str(error), "valid TOML", "follow docs/examples")) from error
    try:
        return PatientFile.model_validate(content)
    except ValidationError as error:
        raise InputError(_in_words(path, error)) from error


def _in_words(path, error: ValidationError) -> str:
    """The first complaint of pydantic in our four parts."""
    first = error.errors()[0]
    place = [str(part) for part in first["loc"]]
    field = f"{Path(path).name}: {'.'.join(place)}"
    if first["type"] == "extra_forbidden":
        near = nearest(place[-1], _keys(place))
        hint = f"did you mean {near}?" if near else "remove it"
        return describe(field, "an unknown key", f"one of {', '.join(_keys(place))}", hint)
    return describe(field, repr(first["input"]), first["msg"], "correct the value or its unit")


def _keys(place) -> list[str]:
    tables = {
        "covariates": CovariateFile,
        "administrations": AdministrationFile,
        "model": ModelFile,
        "imaging": ImagingFile,
    }
    model = tables.get(place[0], PatientFile)
    return list(model.model_fields if len(place) > 1 else PatientFile.model_fields)


def read_rows(path: Path, required: tuple[str, ...] = ("region", "time_h")) -> list[dict[str, str]]:
    """The rows of a measurement table under our column names; absent columns are absent keys.

    Raises:
        InputError: no such file, no rows, or a required column missing.
    """
    try:
        text = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(describe(str(path), str(error), "a readable CSV file", "check the path")) from error
    reader = csv.DictReader(text)
    names = _column_names(reader.fieldnames or (), Path(path).name, required)
    rows = [{ours: (row[theirs] or "").strip() for ours, theirs in names.items()} for row in reader]
    if not rows:
        expected = "at least one measurement"
        raise InputError(describe(Path(path).name, "no rows", expected, "add the region activities of one scan"))
    return rows


def _column_names(present, where: str, required) -> dict[str, str]:
    """Our column name -> the table's own."""
    lower = {name.strip().lower(): name for name in present}
    names = {}
    for ours, spellings in COLUMNS.items():
        found = [lower[s.lower()] for s in spellings if s.lower() in lower]
        if found:
            names[ours] = found[0]
    missing = [name for name in required if name not in names]
    if missing:
        do = f"name a column {' or '.join(COLUMNS[missing[0]])}"
        raise InputError(describe(f"{where}: column {missing[0]}", f"columns {', '.join(present)}", "this column", do))
    return names
