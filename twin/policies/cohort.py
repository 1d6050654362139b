"""Virtual patients as truth: what one MBq does in each of their cycles.

Dose is linear and what the BED adds is quadratic in activity, so three arrays per region hold all that any activities
will do to a patient (`virtual` draws them, a test writes them by hand).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.regions import is_tumour
from twin.constraints import Limit


@dataclass(frozen=True)
class Cohort:
    """Truth of virtual patients. `dose` and `weighted` in Gy per MBq and `quadratic`, what the BED adds, in Gy per
    MBq^2, are [patient, cycle, region]; `mass_g` and `drift_sd` (log, per cycle) [region].

    `key` [patient] is each patient's number in random draws, so that an order or a choice of patients changes nothing
    else.
    """

    tracer: str
    regions: tuple[str, ...]
    mass_g: np.ndarray
    drift_sd: np.ndarray
    key: np.ndarray
    dose: np.ndarray
    weighted: np.ndarray
    quadratic: np.ndarray

    @property
    def patients(self) -> int:
        return self.dose.shape[0]

    @property
    def cycles(self) -> int:
        return self.dose.shape[1]

    def taken(self, patients) -> Cohort:
        """Those patients alone, in that order."""
        of = {name: getattr(self, name)[patients] for name in ("key", "dose", "weighted", "quadratic")}
        return replace(self, **of)

    def terms(self, limit: Limit) -> tuple[np.ndarray, np.ndarray]:
        """What is linear (per MBq) and quadratic (per MBq^2) of a limit's quantity in its region, [patient, cycle]."""
        k = index(self.regions, limit.region)
        if limit.quantity == "dose_Gy":
            return self.dose[..., k], np.zeros_like(self.dose[..., k])
        return self.weighted[..., k], self.quadratic[..., k]

    def total_Gy(self, limit: Limit, activity_MBq: np.ndarray) -> np.ndarray:
        """A limit's quantity over the course, [patient], of activities [patient, cycle]."""
        linear, quadratic = (x[:, : activity_MBq.shape[1]] for x in self.terms(limit))
        return np.sum(linear * activity_MBq + quadratic * activity_MBq**2, axis=1)

    @property
    def tumour_dose(self) -> np.ndarray:
        """Mean dose of all tumours by mass, Gy per MBq, [patient, cycle]."""
        tumours = [k for k, r in enumerate(self.regions) if is_tumour(r)]
        return self.dose[..., tumours] @ (self.mass_g[tumours] / np.sum(self.mass_g[tumours]))


def index(regions: tuple[str, ...], region: str) -> int:
    """Place of a region.

    Raises:
        InputError: it is not there; the nearest is named.
    """
    if region not in regions:
        expected = nearest(region, regions) or "one of " + ", ".join(regions)
        raise InputError(describe("limit: region", f'"{region}"', expected, "limit a region that the cohort holds"))
    return regions.index(region)
