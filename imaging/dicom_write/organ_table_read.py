"""The organ table read back from its Structured Report."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dose.errors import ImageError, describe
from dose.provenance import load_table
from imaging.dicom_write.organ_table import SD_SUFFIX, SR_CLASS, OrganRow
from imaging.guard import only_image_errors, open_header

UPPER, LOWER = "371886008", "371885007"
"""SNOMED CT: range of upper, and of lower, measurement uncertainty (TID 310)."""


def read_organ_table(path) -> tuple[OrganRow, ...]:
    """The rows of an organ table that `write_organ_table` wrote, in its order.

    Raises:
        ImageError: no such report.
    """
    where = "organ table"
    header = open_header(Path(path), where)
    if str(header.SOPClassUID) != SR_CLASS:
        raise ImageError(describe(where, "another object", "a Comprehensive 3D SR", "give the report"))
    with only_image_errors(where):
        import highdicom as hd

        report = hd.sr.srread(str(path))
        content: Any = report.content
        groups = [*content.get_image_measurement_groups(), *content.get_volumetric_roi_measurement_groups()]
        return tuple(row for group in groups for row in _rows_of(group))


def _rows_of(group) -> list[OrganRow]:
    names = {row["code"]: row["quantity"] for row in load_table("imaging", "quantity_codes.csv")}
    found = {m.name.value: m for m in group.get_measurements()}
    rows = []
    for code, measured in found.items():
        if code not in names:
            continue
        sd = found.get(code + SD_SUFFIX)
        low, high, level = _interval(measured)
        value = float(measured.value)
        rows.append(
            OrganRow(
                group.tracking_identifier, names[code], value, None if sd is None else float(sd.value), low, high, level
            )
        )
    return rows


def _interval(measured) -> tuple[float | None, float | None, float]:
    """Bounds and level out of a NUM item's children: uncertainties (TID 310) and the method that tells the level."""
    inside = {}
    for item in measured[0].get("ContentSequence") or ():
        code = str(item.ConceptNameCodeSequence[0].CodeValue)
        if item.ValueType == "NUM":
            inside[code] = float(item.MeasuredValueSequence[0].NumericValue)
        elif item.ValueType == "CODE" and str(item.ConceptCodeSequence[0].CodeValue).startswith("CI"):
            inside["level"] = float(str(item.ConceptCodeSequence[0].CodeValue)[2:])
    up, down = inside.get(UPPER), inside.get(LOWER)
    if up is None or down is None:
        return None, None, 0.9
    value = float(measured.value)
    return value - down, value + up, inside.get("level", 0.9)
