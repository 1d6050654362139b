"""The fields that good dosimetry reporting asks for, every one with its value or "not recorded".

After Lassmann et al., EANM Dosimetry Committee guidance document: good practice of clinical dosimetry reporting, Eur J
Nucl Med Mol Imaging 2011;38:192 (headings recalled). What theratwin cannot know (camera, reconstruction, ...) comes
from the user, by the field's id; an id nobody has is refused.
"""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from dose.errors import InputError, describe, nearest
from twin.patient import DoseReport, PatientTwin, Plan
from twin.report import fields_dose, fields_patient
from twin.report.extras import NOTICE, Extras
from twin.report.fields import Field
from twin.report.planning import limit_record

STANDARD = "EANM guidance on good practice of clinical dosimetry reporting (Lassmann et al. 2011)"


def reporting_fields(twin: PatientTwin, report: DoseReport, extras: Extras) -> tuple[Field, ...]:
    """All fields, group by group; `extras.recorded` fills those that have no value.

    Raises:
        InputError: an id in `recorded` that no field has, or whose value theratwin knows itself.
    """
    every = (*fields_patient.fields(twin), *fields_dose.fields(twin, report, extras))
    check_ids(extras.recorded, every)
    return tuple(replace(f, value=extras.recorded[f.id]) if f.id in extras.recorded else f for f in every)


def check_ids(recorded: Mapping[str, str], fields: tuple[Field, ...]) -> None:
    """Refuse what is no field that waits for a value.

    Raises:
        InputError: an unknown id (the nearest is suggested), or a field that theratwin fills.
    """
    waiting = tuple(f.id for f in fields if f.value is None)
    for name in recorded:
        if name in waiting:
            continue
        if name in (f.id for f in fields):
            do = "leave it out: correct the study where it is wrong"
            raise InputError(describe(f"reporting field {name}", "a text", "a field that theratwin does not fill", do))
        meant = nearest(name, waiting) or "one of " + ", ".join(waiting)
        raise InputError(describe("reporting field", repr(name), meant, "correct the name (docs/report.md)"))


def read_recorded(path) -> dict[str, str]:
    """Texts by field id from a TOML file: `camera = "..."`, one line a field.

    Raises:
        InputError: not readable, not TOML, or a value that is no text.
    """
    path = Path(path)
    try:
        found = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(describe(str(path), str(error), "a readable TOML file", "follow docs/report.md")) from error
    for name, value in found.items():
        if not isinstance(value, str) or not value.strip():
            do = f'write {name} = "..."'
            raise InputError(describe(f"{path.name}: {name}", repr(value), "a text", do))
    return found


def as_json(twin: PatientTwin, fields: tuple[Field, ...], plan: Plan, warnings, extras: Extras) -> str:
    """The fields, the limits and who set them, and the warnings, for machines; NaN is null."""
    entries = [
        {"group": f.group, "id": f.id, "name": f.name, "recorded": bool(f.value), "value": f.value} for f in fields
    ]
    words = {
        "notice": NOTICE,
        "standard": STANDARD,
        "patient": twin.study.id,
        "made_at": extras.made_at or None,
        "fields": entries,
        "limits": [limit_record(lim, extras.probability) for lim in plan.limits],
        "conflict": list(plan.conflict.words) if plan.conflict else [],
        "warnings": list(warnings),
    }
    return json.dumps(_plain(words), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value):
    """Numbers of numpy as Python's, not-a-number as None."""
    if isinstance(value, Mapping):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and value != value else value
