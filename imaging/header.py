"""Nuclide and administered activity out of a PET or NM header.

Rules (IMAGING notes, 5.1): a start given as time of day alone takes the day of the scan, or the day before where that
would put the injection after the scan and the nuclide is short-lived. The activity of a PET header is in Bq, that of
an NM header in MBq (PS3.3 C.8.9.2 and C.8.4.10.1.7), but many NM cameras write Bq: the plausible window decides.
"""

from __future__ import annotations

import math
import re
from datetime import datetime, timedelta

from dose.errors import ImageError, InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table
from imaging.series import Radiopharmaceutical
from imaging.times import clock_of, full_moment, has_offset, zone_of

NM_CLASS = "1.2.840.10008.5.1.4.1.1.20"

SHORT_LIVED_H = 24.0
"""Below this half-life a start without a date can only be of the day of the scan or the evening before."""

OTHER_HALF_LIFE = 0.2
"""A header's half-life further than this (relative) from its nuclide's is another nuclide's or in another unit."""

SAME_START_H = 1 / 60
"""Date-time and time of day of one injection may differ by this (rounding to the minute)."""

RETIRED_SCHEMES = {"SNM3": "SRT"}
"""Earlier names of coding schemes (PS3.16 section 8, recalled)."""

_FREE_TEXT = re.compile(r"\b(\d{1,3}m?)[\s^-]*([A-Za-z]{1,10})\b|\b([A-Za-z]{1,10})[\s^-]*(\d{1,3}m?)\b")


def nuclide_of(item) -> str | None:
    """The nuclide of a Radiopharmaceutical Information item: code meaning, then scheme and code, then free text."""
    for code in item.get("RadionuclideCodeSequence") or ():
        name = _known(str(code.get("CodeMeaning", ""))) or _coded(code)
        if name:
            return name
    return _known(str(item.get("Radiopharmaceutical", "")))


def _coded(code) -> str | None:
    scheme, value = (str(code.get(k, "")).strip() for k in ("CodingSchemeDesignator", "CodeValue"))
    wanted = (RETIRED_SCHEMES.get(scheme, scheme), value)
    rows = load_table("imaging", "nuclide_codes.csv")
    return next((row["nuclide"] for row in rows if (row["scheme"], row["code"]) == wanted), None)


def _known(text: str) -> str | None:
    for match in _FREE_TEXT.finditer(text.replace("^", " ")):
        try:
            return radionuclide("".join(part for part in match.groups() if part)).name
        except InputError:
            continue
    return None


def radiopharmaceutical_of(dataset, scan_at: datetime | None, where: str, zone: int | None = None):
    """The `Radiopharmaceutical` that the header tells of; silent fields stay None.

    Raises:
        ImageError: several nuclides, an administered activity outside the plausible window, a half-life that is not
            positive or that of another nuclide, or a date-time and a time of day that tell two starts.
    """
    items = dataset.get("RadiopharmaceuticalInformationSequence") or ()
    if not items:
        return Radiopharmaceutical()
    item, nuclide = items[0], nuclide_of(items[0])
    _check_one_nuclide(items, where)
    half_life_s = _positive(item.get("RadionuclideHalfLife"), f"{where}, RadionuclideHalfLife")
    _check_half_life(half_life_s, nuclide, where)
    is_nm = str(dataset.get("SOPClassUID", "")) == NM_CLASS
    started, time_only = _start(item, scan_at, nuclide, where, zone, zone_of(dataset))
    return Radiopharmaceutical(
        nuclide=nuclide,
        half_life_h=half_life_s / 3600 if half_life_s else None,
        administered_MBq=_administered_MBq(item.get("RadionuclideTotalDose"), nuclide, where, is_nm=is_nm),
        started_at=started,
        started_time_only=time_only,
    )


def _check_one_nuclide(items, where: str) -> None:
    if len({nuclide_of(item) for item in items} - {None}) > 1:
        found, do = "several nuclides", "export the images of each nuclide with its own item"
        fields = f"{where}, RadiopharmaceuticalInformationSequence"
        raise ImageError(describe(fields, found, "the one that the image shows", do))


def start_notes(dataset, where: str) -> tuple[str, ...]:
    """What was assumed of the injection: the first of several, and the zone of one that alone states an offset."""
    items = dataset.get("RadiopharmaceuticalInformationSequence") or ()
    if len(items) > 1:
        said = "nuclide, activity and time are those of the first"
        return (f"{where}: {len(items)} administrations are listed; {said}", *_zone_note(dataset, where))
    return _zone_note(dataset, where)


def _zone_note(dataset, where: str) -> tuple[str, ...]:
    items = dataset.get("RadiopharmaceuticalInformationSequence") or ()
    text = str(items[0].get("RadiopharmaceuticalStartDateTime") or "") if items else ""
    if has_offset(text) and zone_of(dataset) is None:
        return (f"{where}: the injection states a time zone and the scan none; both are taken to be in the same",)
    return ()


def _positive(value, field: str) -> float | None:
    if value in (None, ""):
        return None
    if not (math.isfinite(float(value)) and float(value) > 0):
        raise ImageError(describe(field, "a value not above zero", "a positive number", "repair the header"))
    return float(value)


def _check_half_life(half_life_s: float | None, nuclide: str | None, where: str) -> None:
    if half_life_s is None or nuclide is None:
        return
    ratio = half_life_s / 3600 / radionuclide(nuclide).half_life_h
    if not 1 - OTHER_HALF_LIFE < ratio < 1 / (1 - OTHER_HALF_LIFE):
        found = f"a half-life {ratio:.3g} times that of the coded nuclide {nuclide}"
        fields = f"{where}, RadionuclideHalfLife and RadionuclideCodeSequence"
        raise ImageError(describe(fields, found, "one nuclide in both, the half-life in s", "correct the wrong one"))


def plausible_MBq(nuclide: str | None) -> tuple[float, float]:
    """The window in which an administered activity of this nuclide is believed, MBq."""
    rows = load_table("imaging", "administered_limits.csv")
    chosen = [row for row in rows if row["nuclide"] == nuclide] or [row for row in rows if row["nuclide"] == "any"]
    return float(chosen[0]["low"]), float(chosen[0]["high"])


def _administered_MBq(stored, nuclide: str | None, where: str, *, is_nm: bool) -> float | None:
    if stored in (None, ""):
        return None
    low, high = plausible_MBq(nuclide)
    in_MBq = [float(stored) * scale for scale in ((1.0, 1e-6) if is_nm else (1e-6,))]
    believed = [value for value in in_MBq if low <= value <= high]
    if believed:
        return believed[0]
    hint = " (MBq written where Bq belongs?)" if not is_nm and low <= float(stored) <= high else ""
    expected = f"{low:g} to {high:g} MBq" + (f" of {nuclide}" if nuclide else "") + ", written in Bq"
    found = f"a value outside the plausible window{hint}"
    raise ImageError(describe(f"{where}, RadionuclideTotalDose", found, expected, "correct the header or its unit"))


def _start(item, scan_at, nuclide, where: str, zone, own_zone) -> tuple[datetime | None, bool]:
    whole = full_moment(str(item.get("RadiopharmaceuticalStartDateTime") or ""), zone, own_zone)
    clock = clock_of(str(item.get("RadiopharmaceuticalStartTime") or ""))
    if whole is not None:
        _check_clocks(item, clock, where)
        return whole, False
    if clock is None or scan_at is None:
        return None, False
    if nuclide is None or radionuclide(nuclide).half_life_h > SHORT_LIVED_H:
        return None, True
    started = datetime.combine(scan_at.date(), clock)
    if None not in (zone, own_zone):
        started += timedelta(minutes=zone - own_zone)
    return (started - timedelta(days=1) if started > scan_at else started), True


def _check_clocks(item, clock, where: str) -> None:
    """The time of day must be that of the date-time as written, or as moved by its offset (whole quarter hours)."""
    written = full_moment(str(item.get("RadiopharmaceuticalStartDateTime")))
    if clock is None or written is None:
        return
    apart = abs((datetime.combine(written.date(), clock) - written).total_seconds())
    is_a_zone = has_offset(str(item.get("RadiopharmaceuticalStartDateTime"))) and abs(apart / 900 % 1 - 0.5) > 0.45
    if min(apart, 86400 - apart) > 3600 * SAME_START_H and not is_a_zone:
        found = "a date-time and a time of day that are not the same"
        fields = f"{where}, RadiopharmaceuticalStartDateTime and RadiopharmaceuticalStartTime"
        raise ImageError(describe(fields, found, "one start of the administration", "correct the wrong one"))
