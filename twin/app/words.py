"""Numbers as the page writes them."""

from __future__ import annotations

import numpy as np

from twin.app.desk import Desk
from twin.constraints import Limit
from twin.patient import DoseReport
from twin.tables import LOWER, UPPER

NO_BREAK = "\u00a0"


def readable(region: str) -> str:
    return region.replace("_", " ")


def number(value: float) -> str:
    """Three significant digits without an exponent; a dash for what is not there."""
    if not np.isfinite(value):
        return "–"
    if value == 0:
        return "0"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def spread(draws) -> tuple[float, float, float]:
    """Median and ends of the 90 % interval."""
    low, middle, high = np.percentile(draws, (LOWER, 50, UPPER))
    return float(middle), float(low), float(high)


def interval(draws) -> str:
    """ "61.4 (50.1 to 83.6)"."""
    return "{} ({} to {})".format(*map(number, spread(draws)))


def percent(share: float) -> str:
    """A chance in per cent with two digits, the ends not rounded away; number and sign stay on one line."""
    if 0 < share < 0.01:
        return f"under 1{NO_BREAK}%"
    if 0.99 < share < 1:
        return f"over 99{NO_BREAK}%"
    return f"{100 * share:.{2 if share < 1 else 3}g}{NO_BREAK}%"


def activity(desk: Desk, MBq: float) -> str:
    return f"{number(MBq / desk.unit_MBq)} {desk.unit}"


def has(draws) -> bool:
    """Whether the twin has what these draws are of."""
    return bool(np.all(np.isfinite(draws)) and np.any(np.asarray(draws) > 0))


def kind_of(limit: Limit) -> str:
    return "BED" if limit.quantity == "bed_Gy" else "dose"


def limited(limit: Limit) -> str:
    """ "kidneys BED"."""
    return f"{readable(limit.region)} {kind_of(limit)}"


def total_MBq(report: DoseReport) -> float:
    return float(np.sum(report.administered_MBq))
