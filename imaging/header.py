"""Times, nuclide and administered activity out of a PET or NM header.

Rules (IMAGING notes, 5.1): a date always goes with a time of day; a start given as time of day alone takes the day of
the scan, or the day before where that would put the injection after the scan and the nuclide is short-lived.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table
from imaging.series import Radiopharmaceutical

PLAUSIBLE_MBQ = (0.1, 20_000.0)
"""Administered activities outside this window are units gone wrong (some NM headers hold MBq in place of Bq)."""

SHORT_LIVED_H = 24.0
"""Below this half-life a start without a date can only be of the day of the scan or the evening before."""

_FREE_TEXT = re.compile(r"\b(\d{1,3}m?)[\s^-]*([A-Za-z]{1,10})\b|\b([A-Za-z]{1,10})[\s^-]*(\d{1,3}m?)\b")


def moment(dataset, date_keyword: str, time_keyword: str) -> datetime | None:
    """DA and TM together; None where either is empty."""
    day, clock = str(dataset.get(date_keyword) or ""), str(dataset.get(time_keyword) or "")
    return _joined(_day(day), _clock(clock)) if day and clock else None


def full_moment(text: str) -> datetime | None:
    """A DT value of at least minutes; an offset from UTC is dropped, as scan times carry the same one."""
    digits = re.split(r"[+-]", text.strip())[0]
    return _joined(_day(digits[:8]), _clock(digits[8:])) if len(digits) >= 12 else None


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text.replace(".", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def _clock(text: str) -> time | None:
    match = re.fullmatch(r"(\d{2}):?(\d{2})?:?(\d{2})?(?:\.(\d{1,6}))?", text.strip())
    if match is None:
        return None
    hour, minute, second = (int(part or 0) for part in match.groups()[:3])
    try:
        return time(hour, minute, min(second, 59), int((match.group(4) or "0").ljust(6, "0")))
    except ValueError:
        return None


def _joined(day: date | None, clock: time | None) -> datetime | None:
    return None if day is None or clock is None else datetime.combine(day, clock)


def nuclide_of(item) -> str | None:
    """The nuclide of a Radiopharmaceutical Information item: code meaning, then code, then free text."""
    for code in item.get("RadionuclideCodeSequence") or ():
        for row in load_table("imaging", "nuclide_codes.csv"):
            if row["code"] == str(code.get("CodeValue", "")).strip():
                return row["nuclide"]
        name = _known(str(code.get("CodeMeaning", "")))
        if name:
            return name
    return _known(str(item.get("Radiopharmaceutical", "")))


def _known(text: str) -> str | None:
    for match in _FREE_TEXT.finditer(text.replace("^", " ")):
        try:
            return radionuclide("".join(part for part in match.groups() if part)).name
        except InputError:
            continue
    return None


def radiopharmaceutical_of(dataset, scan_at: datetime | None, where: str) -> Radiopharmaceutical:
    """What the header says of the injection; silent fields stay None.

    Raises:
        ImageError: an administered activity outside the plausible window, or a half-life that is not positive.
    """
    items = dataset.get("RadiopharmaceuticalInformationSequence") or ()
    if not items:
        return Radiopharmaceutical()
    item, nuclide = items[0], nuclide_of(items[0])
    half_life_s, dose_Bq = item.get("RadionuclideHalfLife"), item.get("RadionuclideTotalDose")
    half_life_h = _positive(half_life_s, f"{where}, RadionuclideHalfLife")
    started, time_only = _start(item, scan_at, nuclide, where)
    return Radiopharmaceutical(
        nuclide=nuclide,
        half_life_h=half_life_h / 3600 if half_life_h else None,
        administered_MBq=_plausible(dose_Bq, where),
        started_at=started,
        started_time_only=time_only,
    )


def _positive(value, field: str) -> float | None:
    if value in (None, ""):
        return None
    if not float(value) > 0:
        raise ImageError(describe(field, "a value not above zero", "a positive number", "repair the header"))
    return float(value)


def _plausible(dose_Bq, where: str) -> float | None:
    if dose_Bq in (None, ""):
        return None
    low, high = PLAUSIBLE_MBQ
    if not low <= float(dose_Bq) / 1e6 <= high:
        found = "a value outside the plausible window (MBq written where Bq belongs?)"
        expected = f"{low:g} to {high:g} MBq, written in Bq"
        raise ImageError(describe(f"{where}, RadionuclideTotalDose", found, expected, "correct the header or its unit"))
    return float(dose_Bq) / 1e6


def _start(item, scan_at: datetime | None, nuclide: str | None, where: str) -> tuple[datetime | None, bool]:
    whole = full_moment(str(item.get("RadiopharmaceuticalStartDateTime") or ""))
    if whole is not None:
        return whole, False
    clock = _clock(str(item.get("RadiopharmaceuticalStartTime") or ""))
    if clock is None or scan_at is None:
        return None, False
    if nuclide is None or radionuclide(nuclide).half_life_h > SHORT_LIVED_H:
        return None, True
    started = datetime.combine(scan_at.date(), clock)
    return (started - timedelta(days=1) if started > scan_at else started), True
