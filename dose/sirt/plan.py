"""Activity of 90Y microspheres for a tumour dose, within the limits of liver and lungs.

The activity is the least of the one for the target and those that the limits allow; the plan names which it was, what
all regions then get, and how likely each limit is to be passed. Targets and limits by product are rows of
`data/sirt.csv`, most of them from tables 2 and 3 of the EANM guideline of 2022 (Weber et al.).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate
from dose.regions import region
from dose.sirt.basics import checked, sirt_value
from dose.sirt.limits import SirtLimit, sirt_limits, tumour_target_Gy
from dose.sirt.liver import Liver, SirtSpread, default_spread, liver_warnings
from dose.sirt.partition import (
    DRAWS,
    RegionDose,
    coefficient_draws,
    coefficients_Gy_per_GBq,
    dose_table,
    doses_of,
)

EVERY, MEAN, TARGET = "every", "mean", "target"
ROUNDING = 1e-12
"""A dose this little above a limit is at it."""


@dataclass(frozen=True)
class LimitCheck:
    """A limit, what the plan reaches of it, the activity it would allow, and how likely it is passed."""

    limit: SirtLimit
    reached: float
    allows_GBq: float
    probability_passed: float


@dataclass(frozen=True)
class SirtPlan:
    """The activity to give, its reason, and what follows.

    `activity_GBq.value` is the recommendation, its interval what the recommendation would be had the uncertain input
    been otherwise; `active` is "target" or the limit that held it down; `doses` belong to the recommended activity.
    """

    product: str
    target_Gy: float
    activity_GBq: Estimate
    target_activity_GBq: float
    active: str
    target_probability: float
    doses: tuple[RegionDose, ...]
    limits: tuple[LimitCheck, ...]
    warnings: tuple[str, ...]

    @property
    def reaches_target(self) -> bool:
        return self.active == TARGET

    def table(self):
        """pandas: region, dose and interval in Gy of the recommended activity."""
        return dose_table(self.doses)

    def limits_table(self):
        """pandas: each limit, what is reached, the activity it allows, the probability that it is passed."""
        import pandas as pd

        rows = [
            {
                "limit": c.limit.name, "value": c.limit.value, "kind": c.limit.kind, "reached": c.reached,
                "allows_GBq": c.allows_GBq, "probability_passed": c.probability_passed, "source": c.limit.source_id,
            }
            for c in self.limits
        ]  # fmt: skip
        return pd.DataFrame(rows)


def plan_activity(
    liver: Liver, target_Gy: float | None = None, *, product: str, disease: str = "hcc", on: str = EVERY,
    function: str = "default", limits: tuple[SirtLimit, ...] | None = None, earlier_lungs_Gy: float = 0.0,
    confidence: float | None = None, spread: SirtSpread | None = None, draws: int = DRAWS, seed: int = 0,
) -> SirtPlan:  # fmt: skip
    """The activity for a tumour dose within the limits.

    Args:
        target_Gy: mean tumour dose; left out, the one of product and disease.
        on: "every" tumour reaches it, their "mean" by mass does, or the named tumour does.
        limits: your own instead of `sirt_limits(product, liver, function, earlier_lungs_Gy)`.
        confidence: probability that each dose limit is kept (0.9); left out, limits hold for the point values.

    Raises:
        InputError: unknown names, or numbers outside their range.
    """
    target = tumour_target_Gy(product, disease) if target_Gy is None else target_Gy
    checked("target_Gy", target, 0.0, 5000.0, "give the dose in Gy", open_low=True)
    spread = spread or default_spread(liver.shunt_by)
    limits = sirt_limits(product, liver, function, earlier_lungs_Gy) if limits is None else tuple(limits)
    point = coefficients_Gy_per_GBq(liver, spread.tn_factor)
    drawn = coefficient_draws(liver, spread, draws=draws, seed=seed)
    wanted, wanted_draws = target / _aimed(liver, point, on), target / _aimed(liver, drawn, on)
    allowed_draws = [limit.allows_GBq(drawn) for limit in limits]
    allowed = [_allowed(limit, point, one, confidence) for limit, one in zip(limits, allowed_draws, strict=True)]
    activity = min([wanted, *allowed])
    recommended = estimate(activity, np.minimum.reduce([wanted_draws, *allowed_draws]))
    active = TARGET if activity == wanted else limits[allowed.index(activity)].name
    checks = tuple(_check(*each, point, drawn, activity) for each in zip(limits, allowed, strict=True))
    return SirtPlan(
        product, target, recommended, wanted, active, float(np.mean(wanted_draws <= activity * (1 + ROUNDING))),
        doses_of(point, drawn, activity), checks, _warnings(liver, product, activity, wanted, active),
    )  # fmt: skip


def _aimed(liver: Liver, coefficient: dict, on: str):
    """Gy per GBq of what the target is about: the least of the tumours, their mean, or one of them."""
    tumours = {tumour.name: tumour.mass_g for tumour in liver.tumours}
    if on == EVERY:
        return np.min(np.array([coefficient[name] for name in tumours]), axis=0)
    if on == MEAN:
        return sum(mass * coefficient[name] for name, mass in tumours.items()) / sum(tumours.values())
    if region(on) not in tumours:
        raise InputError(describe("on", on, f"{EVERY}, {MEAN} or one of {', '.join(tumours)}", "correct the name"))
    return coefficient[region(on)]


def _allowed(limit: SirtLimit, point: dict, draws: np.ndarray, confidence: float | None) -> float:
    if confidence is None or limit.kind != "dose_Gy":
        return float(limit.allows_GBq(point))
    checked("confidence", confidence, 0.0, 0.999, "give a probability such as 0.9", open_low=True)
    return float(np.quantile(draws, 1 - confidence, method="lower"))


def _check(limit: SirtLimit, allowed: float, point: dict, drawn: dict, activity: float) -> LimitCheck:
    passed = np.mean(limit.reached(drawn, activity) > limit.value * (1 + ROUNDING))
    return LimitCheck(limit, float(limit.reached(point, activity)), allowed, float(passed))


def _warnings(liver: Liver, product: str, activity: float, wanted: float, active: str) -> tuple[str, ...]:
    notes = list(liver_warnings(liver))
    if active != TARGET and activity > 0:
        notes.append(f"{active} holds the activity to {activity / wanted:.0%} of what the target needs")
    if activity == 0:
        notes.append(f"{active}: no activity can be given")
    if activity > sirt_value("most_activity"):
        notes.append(f"{activity:.3g} GBq is more than vials hold: check masses (grams) and ratios")
    if liver.unperfused_g == 0 and product == "glass":
        notes.append("no unperfused liver given: the whole liver is taken as treated at once")
    notes.append("MAA and spheres lodge differently: verify by 90Y PET or SPECT (dose.sirt.voxel)")
    return tuple(notes)
