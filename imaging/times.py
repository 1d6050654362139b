"""Dates, times of day and time zones of DICOM headers, as naive local times of one zone.

A date always goes with a time of day. DA and TM are local to the zone that (0008,0201) states; a DT may carry an
offset of its own (PS3.5, 6.2). `zone` is the zone of the study, in minutes east of UTC: what states another one is
converted; what states none is taken to be in it.
"""

from __future__ import annotations

import re
from datetime import date, datetime, time, timedelta

from imaging.private import private_element, private_value

_OFFSET = re.compile(r"([+-])(\d{2})(\d{2})$")


def moment(dataset, date_keyword: str, time_keyword: str, zone: int | None = None) -> datetime | None:
    """DA and TM together; None where either is empty."""
    day, clock = str(dataset.get(date_keyword) or ""), str(dataset.get(time_keyword) or "")
    return _moved(_joined(_day(day), clock_of(clock)), zone_of(dataset), zone) if day and clock else None


def full_moment(text: str, zone: int | None = None, own_zone: int | None = None) -> datetime | None:
    """A DT value of at least minutes; its own offset goes before `own_zone`, the data set's."""
    digits = re.split(r"[+-]", text.strip())[0]
    if len(digits) < 12:
        return None
    offset = _minutes(text.strip())
    return _moved(_joined(_day(digits[:8]), clock_of(digits[8:])), own_zone if offset is None else offset, zone)


def zone_of(dataset) -> int | None:
    """Minutes east of UTC that the data set states (0008,0201), or None."""
    text = str(dataset.get("TimezoneOffsetFromUTC") or "").strip()
    return _minutes(text if text[:1] in "+-" else f"+{text}")


def has_offset(text: str) -> bool:
    return _minutes(text.strip()) is not None


def acquired_at(dataset, zone: int | None = None) -> datetime | None:
    """Start of the acquisition of one slice or object: date and time, else the DT that holds both."""
    apart = moment(dataset, "AcquisitionDate", "AcquisitionTime", zone)
    return apart or full_moment(str(dataset.get("AcquisitionDateTime") or ""), zone, zone_of(dataset))


def earliest_acquisition(datasets: list, zone: int | None = None) -> datetime | None:
    """The first start of an acquisition among the data sets, None where none states one."""
    return min((t for t in (acquired_at(d, zone) for d in datasets) if t), default=None)


def zone_of_study(headers: list) -> tuple[int | None, int]:
    """The zone of the earliest scan that states one, and how many different ones the headers state."""
    zones = [(zone_of(h), h) for h in headers]
    stated = [(z, h) for z, h in zones if z is not None]
    dated = [(t, z) for z, h in stated if (t := acquired_at(h, 0) or moment(h, "SeriesDate", "SeriesTime", 0))]
    count = len({z for z, _ in stated})
    if dated:
        return min(dated)[1], count
    return (min(z for z, _ in stated) if stated else None), count


def reference_time(datasets: list, zone: int | None = None, correction: str = "START") -> tuple[datetime | None, str]:
    """The time that START refers to, and by which rule.

    The series time, unless it is later than the earliest acquisition (a series processed later): then GE's private
    scan time, else the earliest acquisition (QIBA's rule, as quoted in OHIF issue 3805). Voxels that are corrected to
    the injection (ADMIN) or not at all (NONE) do not refer to the series: for them it is the earliest acquisition.
    """
    first = datasets[0]
    earliest = earliest_acquisition(datasets, zone)
    if correction in ("NONE", "ADMIN") and earliest is not None:
        return earliest, "earliest acquisition"
    stamped = moment(first, "SeriesDate", "SeriesTime", zone)
    if stamped is not None and (earliest is None or stamped <= earliest):
        return stamped, "series time"
    value = private_value(first, private_element("ge_scan_time"))
    private = None if value is None else full_moment(_text(value), zone, zone_of(first))
    if private is not None:
        return private, "GE scan time, as the series time is later than the acquisition"
    if earliest is None:
        return None, "no time"
    return earliest, "earliest acquisition" + ("" if stamped is None else ", as the series time is later")


def _text(value) -> str:
    return value.decode("ascii", "replace").strip("\0 ") if isinstance(value, bytes) else str(value)


def _minutes(text: str) -> int | None:
    match = _OFFSET.search(text)
    if match is None or int(match[2]) > 14 or int(match[3]) > 59:
        return None
    return (1 if match[1] == "+" else -1) * (60 * int(match[2]) + int(match[3]))


def _moved(moment: datetime | None, own: int | None, zone: int | None) -> datetime | None:
    if moment is None or own is None or zone is None:
        return moment
    return moment + timedelta(minutes=zone - own)


def _day(text: str) -> date | None:
    try:
        return datetime.strptime(text.replace(".", "")[:8], "%Y%m%d").date()
    except ValueError:
        return None


def clock_of(text: str) -> time | None:
    """A TM value; a leap second counts as second 59."""
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
