"""Single-time-point dosimetry: one scan, one integral, and how much of it is assumed. The door to all methods.

    cohort = CurveCohort(time_h, activity_MBq, tia_MBq_h)          # [time], [patient, time], [patient]
    method = METHODS["Madsen 2018"](cohort)
    found = method.tia(Scan(time_h=72.0, activity_MBq=61.0, relative_sd=0.06, region="kidneys"))

Every method is learnt from a `CurveCohort` and has `tia(scan) -> TIAEstimate`; a scan may hold an array of patients.
A method from elsewhere (a posterior of the whole-body model) joins by subclassing `AbstractMethod`. Equations, which
method when, and a comparison on virtual patients: docs/single-time-point.md.
"""

from __future__ import annotations

from collections.abc import Callable

from calibration.stp_cohort import AbstractPopulation, CurveCohort, HalfLifePopulation
from calibration.stp_cohort_curves import Jackson2020, Wang2023
from calibration.stp_learner import Gomes2024
from calibration.stp_method import AbstractMethod
from calibration.stp_mixed import Devasia2021, Hardiansyah2023
from calibration.stp_rules import Hanscheid2017, Hanscheid2018, Madsen2018, PatientHalfLife
from calibration.stp_scan import Scan, TIAEstimate
from dose.errors import InputError, describe, nearest

__all__ = [
    "METHODS",
    "AbstractMethod",
    "AbstractPopulation",
    "CurveCohort",
    "Devasia2021",
    "Gomes2024",
    "HalfLifePopulation",
    "Hanscheid2017",
    "Hanscheid2018",
    "Hardiansyah2023",
    "Jackson2020",
    "Madsen2018",
    "PatientHalfLife",
    "Scan",
    "TIAEstimate",
    "Wang2023",
    "estimates",
]

METHODS: dict[str, Callable[[CurveCohort], AbstractMethod]] = {
    "Hänscheid 2017": Hanscheid2017.learn,
    "Hänscheid 2018": Hanscheid2018.learn,
    "Madsen 2018": Madsen2018.learn,
    "patient Teff": PatientHalfLife.learn,
    "Jackson 2020": Jackson2020.learn,
    "Wang 2023, model 1": Wang2023.learn,
    "Wang 2023, model 2": lambda cohort: Wang2023.learn(cohort, biomarkers=True),
    "Gomes 2024": Gomes2024.learn,
    "Devasia 2021": Devasia2021.learn,
    "Hardiansyah 2023": Hardiansyah2023.learn,
}
"""Name to what learns the method from a cohort."""


def estimates(scan: Scan, cohort: CurveCohort, names=None) -> dict[str, TIAEstimate]:
    """The scan's integral by each named method, side by side; without names by all that the scan has the inputs for.

    Raises:
        InputError: an unknown name, or a named method whose inputs are missing.
    """
    asked = _usable(scan, cohort) if names is None else tuple(names)
    for name in asked:
        if name not in METHODS:
            hint = nearest(name, METHODS)
            do = f'write "{hint}" if that was meant' if hint else f"take one of {', '.join(METHODS)}"
            raise InputError(describe("method", f'"{name}"', "a name in METHODS", do))
    return {name: METHODS[name](cohort).tia(scan) for name in asked}


def _usable(scan: Scan, cohort: CurveCohort) -> tuple[str, ...]:
    missing = {"patient Teff"} if scan.teff_h is None else set()
    if scan.biomarkers is None or cohort.biomarkers is None:
        missing |= {"Wang 2023, model 2", "Gomes 2024"}
    return tuple(name for name in METHODS if name not in missing)
