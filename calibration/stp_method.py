"""What all single-time-point methods share: a factor for the activity, and an interval from the method's own errors.

A method turns A(t) into TIA = A(t) f. Its errors ln(true/estimated) are those it makes on the patients of a population,
each left out of what is learnt; errors of single scans are skewed (Gustafsson and Taprogge 2022), so quantiles are
reported and no symmetric sd. The scan's own noise is folded in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from calibration.stp_cohort import AbstractPopulation, CurveCohort
from calibration.stp_scan import Scan, TIAEstimate, limit
from dose.errors import InputError, describe
from dose.nuclides import radionuclide

NOISE_STEPS = 15
"""Equal steps of probability that stand for a scan's normal noise: their variance is 3 % short of its own, so they
are stretched to it."""


class AbstractMethod(ABC):
    """One rule from a scan to an integral; `name` is what tables call it, `population` what its errors are read off."""

    name: str
    population: AbstractPopulation

    @abstractmethod
    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        """Time-integrated activity, in the shape of the scan's activity."""

    @abstractmethod
    def errors(self, scan: Scan) -> np.ndarray:
        """ln(true/estimated) on other patients, [..., case, noise]: rows are patients, columns equal steps of noise.

        Leading axes, if any, are the scan's patients. The middle column has no noise.
        """

    def notes(self, scan: Scan) -> tuple[str, ...]:
        """What a reader of this method's estimate should know."""
        return ()

    def tia(self, scan: Scan) -> TIAEstimate:
        """The integral of each patient of the scan, its 90 % interval and the share of the prior.

        Bounds are the quantiles that a next patient exceeds with 5 % each when n were seen, (n + 1)/n further out than
        those of the n (conformal prediction: Vovk et al. 2005; Lei et al., J Am Stat Assoc 2018;113:1094).

        Raises:
            InputError: the scan lacks what the method needs, is of another nuclide or region than the population, or
                lies outside its hours.
        """
        _check_same(scan, self.population)
        value, errors = self.tia_MBq_h(scan), self.errors(scan)
        pairs = errors.reshape(*errors.shape[:-2], -1)
        outside = max(0.0, 1 - 0.95 * (errors.shape[-2] + 1) / errors.shape[-2])
        low, median, high = np.quantile(pairs, [outside, 0.5, 1 - outside], axis=-1)
        share = np.mean(errors[..., errors.shape[-1] // 2] ** 2, axis=-1) / np.mean(pairs**2, axis=-1)
        shape = lambda x: np.broadcast_to(x, value.shape).copy()
        notes = (*_common_notes(scan, median), *_unit_note(scan, self.population), *self.notes(scan))
        bounds = (shape(value * np.exp(low)), shape(value * np.exp(high)))
        return TIAEstimate(self.name, value, *bounds, shape(np.clip(share, 0.0, 1.0)), notes)


def noise_steps(log_sd: float) -> np.ndarray:
    """Log errors of a scan at equal steps of probability, [noise], with that standard deviation."""
    from scipy.special import ndtri

    steps = ndtri((np.arange(NOISE_STEPS) + 0.5) / NOISE_STEPS)
    return log_sd * steps / steps.std()


def with_noise(kinetic_errors, log_sd: float) -> np.ndarray:
    """Errors [..., case, noise] of a rule proportional to the activity, from those of noise-free scans [..., case]."""
    return np.asarray(kinetic_errors)[..., None] - noise_steps(log_sd)


def features(scan: Scan, count: int) -> np.ndarray:
    """The scan's biomarkers as [patient, feature].

    Raises:
        InputError: none, or another number than the cohort has.
    """
    found = None if scan.biomarkers is None else np.asarray(scan.biomarkers, dtype=float)
    if found is None or found.shape[-1] != count or found.shape[:-1] not in (scan.activity.shape, ()):
        words = "none" if found is None else f"shape {found.shape}"
        do = "give the cohort's features in its order, or use a method without biomarkers"
        raise InputError(describe("biomarkers of the scan", words, f"{count} for each patient", do))
    if not np.isfinite(found).all():
        do = "leave those patients out, or use a method without biomarkers"
        raise InputError(describe("biomarkers of the scan", "missing numbers", "finite ones", do))
    return found


def _check_same(scan: Scan, population: AbstractPopulation):
    named = scan.region and population.region
    if scan.physical.name != radionuclide(population.nuclide).name or (named and scan.region != population.region):
        found, expected = (f"{x.region or 'any region'}, {x.nuclide}" for x in (scan, population))
        raise InputError(describe("scan", found, f"the population's: {expected}", "learn on patients of the same kind"))


def _unit_note(scan: Scan, population: AbstractPopulation) -> tuple[str, ...]:
    if not isinstance(population, CurveCohort):
        return ()
    apart = np.log(scan.activity / np.median(population.activity_at(scan.time_h)))
    if np.abs(apart).max() < np.log(limit("unit_slip")):
        return ()
    return (
        f"an activity is {limit('unit_slip'):g} times the cohort's median or more, or as much below it: check its unit",
    )


def _common_notes(scan: Scan, median_error) -> tuple[str, ...]:
    notes = []
    if scan.relative_sd is None:
        notes.append(f"no sd was stated with the scan: {limit('scan_relative_sd'):.0%} is assumed")
    bias = float(np.median(median_error))
    if abs(bias) > limit("bias_note"):
        side = "too low" if bias > 0 else "too high"
        notes.append(
            f"at {scan.time_h:g} h this method is {side} by {abs(np.expm1(-bias)):.0%} in the median of its cohort"
        )
    return tuple(notes)
