"""One scan and the kinetic model, beside the rules without one: how many hours and regions it wins."""

from __future__ import annotations

from functools import cache

from tests.validate import check
from tests.validate import stp_comparison as comparison

OURS, RULES = "PBPK posterior", ("Hänscheid 2018", "Madsen 2018")


@cache
def _rmse() -> dict[tuple, dict[str, float]]:
    """RMSE in % of each method by (region, shift, hour)."""
    out: dict[tuple, dict[str, float]] = {}
    for row in comparison.compare((OURS, *RULES)):
        out.setdefault((row["region"], row["shift"], row["time_h"]), {})[row["method"]] = row["rmse"]
    return out


def _won(shifted: bool) -> list[bool]:
    cells = {key: value for key, value in _rmse().items() if (key[1] != 1.0) == shifted}
    return [found[OURS] < min(found[rule] for rule in RULES) for found in cells.values()]


@check(
    "stp/PBPK below Hänscheid 2018 and Madsen, its own centre",
    unit="of 14",
    tolerance="14",
    source="1000 virtual patients, 4 to 168 h, kidneys and tumour",
)
def own_centre():
    won = _won(shifted=False)
    return sum(won), all(won)


@check(
    "stp/PBPK below Hänscheid 2018 and Madsen, 30 % off its centre",
    unit="of 28",
    tolerance="28",
    source="release of kidneys and tumours and receptor densities times 1.3 or 1/1.3",
)
def off_centre():
    won = _won(shifted=True)
    return sum(won), all(won)


@check(
    "stp/PBPK below Hänscheid 2018 and Madsen, off its centre in either direction, patients of both together",
    unit="of 14",
    tolerance="14",
    source="as above: nobody knows beforehand to which side a centre is wrong",
)
def off_centre_together():
    """RMSE over the patients of both shifts, by region and hour."""
    pooled: dict[tuple, dict[str, float]] = {}
    for (region, shift, hour), found in _rmse().items():
        if shift != 1.0:
            cell = pooled.setdefault((region, hour), dict.fromkeys(found, 0.0))
            pooled[region, hour] = {name: cell[name] + found[name] ** 2 for name in cell}
    won = [found[OURS] < min(found[rule] for rule in RULES) for found in pooled.values()]
    return sum(won), all(won)
