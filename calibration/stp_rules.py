"""Rules with at most one number behind them: Hänscheid 2017 and 2018, Madsen, and a half-life of an earlier cycle.

With k = ln 2/Teff a mono-exponential has TIA = A(t) exp(k t)/k. A wrong k' multiplies it by (k/k') exp((k' - k) t): to
first order nothing at t = 1/k, 1.44 half-lives after administration. The rules differ in where k' comes from.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from calibration.stp_cohort import AbstractPopulation, mono_factor_h
from calibration.stp_method import AbstractMethod, noise_steps, with_noise
from calibration.stp_scan import Scan, check_half_life, limit
from dose.curves import hanscheid_tia, madsen_tia
from dose.errors import InputError, describe
from dose.nuclides import radionuclide

SHAPES = 31
"""Quantiles of the cohort that stand for how curves depart from one exponential: joined with a half-life's error."""


@dataclass(frozen=True, eq=False)
class Hanscheid2018(AbstractMethod):
    """TIA = A(t) 2t/ln 2: no half-life needed, exact at one and two of them, 6 % high between.

    Hänscheid et al., J Nucl Med 2018;59:75. Within 10 % where t is 0.76 to 2.44 half-lives. The interval is that of the
    population given, the rule itself takes nothing from it.
    """

    population: AbstractPopulation
    name = "Hänscheid 2018"

    @classmethod
    def learn(cls, population: AbstractPopulation) -> Hanscheid2018:
        return cls(population)

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return np.asarray(hanscheid_tia(scan.activity, scan.time_h))

    def errors(self, scan: Scan) -> np.ndarray:
        true = self.population.factors_h(scan.time_h)
        return with_noise(np.log(true / hanscheid_tia(1.0, scan.time_h)), scan.noise_log_sd)


@dataclass(frozen=True, eq=False)
class Hanscheid2017(AbstractMethod):
    """TIA = A(t) 2^(t/Teff) Teff/ln 2 with the organ's mean effective half-life.

    Hänscheid et al., Nuklearmedizin 2017;56:219, for scans one to three days after 177Lu-DOTATATE; there as a dose,
    `dose_Gy`. `left_out_h` are the half-lives that predict each patient of the population, [patient].
    """

    teff_h: float
    population: AbstractPopulation
    left_out_h: np.ndarray | None = None
    name = "Hänscheid 2017"

    def __post_init__(self):
        check_half_life("teff_h", self.teff_h, radionuclide(self.population.nuclide))

    @classmethod
    def learn(cls, population: AbstractPopulation) -> Hanscheid2017:
        """Teff: the population's mean."""
        half = population.teff_h
        return cls(float(half.mean()), population, _mean_of_others(half))

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return scan.activity * mono_factor_h(scan.time_h, self.teff_h)

    def dose_Gy(self, scan: Scan, mass_g: float) -> np.ndarray:
        """D = 0.125 C(t) 2^(t/Teff) Teff of 177Lu in Gy, C in MBq/g: self-dose of a region of that mass.

        Raises:
            InputError: another nuclide, or a mass that is not above zero.
        """
        if scan.physical.name != "177Lu" or not mass_g > 0:
            found, do = f"{scan.physical.name}, {mass_g:g} g", "take the TIA and the region's S value"
            raise InputError(describe("nuclide, mass_g", found, "177Lu and a mass above 0 g", do))
        factor = limit("hanscheid_2017_Gy_g_per_MBq_h")
        return factor * scan.activity / mass_g * 2 ** (scan.time_h / self.teff_h) * self.teff_h

    def errors(self, scan: Scan) -> np.ndarray:
        used = mono_factor_h(scan.time_h, self.teff_h if self.left_out_h is None else self.left_out_h)
        return with_noise(np.log(self.population.factors_h(scan.time_h) / used), scan.noise_log_sd)


@dataclass(frozen=True, eq=False)
class Madsen2018(AbstractMethod):
    """TIA = A(t) exp(k t)/k with the population's mean clearance rate k.

    Madsen et al., Med Phys 2018;45:2318. The mean of rates weighs fast patients more than the mean of half-lives does.
    `left_out_per_h` are the rates that predict each patient of the population, [patient].
    """

    rate_per_h: float
    population: AbstractPopulation
    left_out_per_h: np.ndarray | None = None
    name = "Madsen 2018"

    def __post_init__(self):
        if not (np.isfinite(self.rate_per_h) and self.rate_per_h > 0):
            raise InputError(describe("rate_per_h", f"{self.rate_per_h}", "a rate above 0 /h", "give ln 2/Teff"))
        check_half_life("ln 2/rate_per_h", np.log(2) / self.rate_per_h, radionuclide(self.population.nuclide))

    @classmethod
    def learn(cls, population: AbstractPopulation) -> Madsen2018:
        rate = np.log(2) / population.teff_h
        return cls(float(rate.mean()), population, _mean_of_others(rate))

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return scan.activity * madsen_tia(1.0, scan.time_h, self.rate_per_h)

    def errors(self, scan: Scan) -> np.ndarray:
        rate = self.rate_per_h if self.left_out_per_h is None else self.left_out_per_h
        used = mono_factor_h(scan.time_h, np.log(2) / np.asarray(rate))
        return with_noise(np.log(self.population.factors_h(scan.time_h) / used), scan.noise_log_sd)


@dataclass(frozen=True, eq=False)
class PatientHalfLife(AbstractMethod):
    """TIA = A(t) exp(k t)/k with the patient's own Teff of an earlier cycle, `Scan.teff_h`.

    In kidneys 2 % mean deviation with a scan at 24 h and 13 % at 4 h, against 30 and 59 % with the population's Teff
    (PMC6300448). The interval joins the stated error of that half-life (ours: log-normal) with the curve's departure
    from one exponential, which is what the rule misses in patients of the population whose Teff is known. `earlier_h`
    are the first and last hour that Teff was measured between: a curve of two phases has another in another window.
    """

    population: AbstractPopulation
    earlier_h: tuple[float, float]
    name = "patient Teff"

    @classmethod
    def learn(cls, population: AbstractPopulation, earlier_h: tuple[float, float] | None = None) -> PatientHalfLife:
        """Without hours the table's terminal ones."""
        window = (limit("terminal_from_h"), limit("terminal_until_h")) if earlier_h is None else earlier_h
        return cls(population, window)

    def tia_MBq_h(self, scan: Scan) -> np.ndarray:
        return scan.activity * mono_factor_h(scan.time_h, _own_half_life(scan))

    def errors(self, scan: Scan) -> np.ndarray:
        own = np.broadcast_to(_own_half_life(scan), scan.activity.shape)[..., None]
        stated = limit("teff_reuse_relative_sd") if scan.teff_relative_sd is None else scan.teff_relative_sd
        log_sd = np.sqrt(np.log1p(np.asarray(stated, dtype=float) ** 2))[..., None]
        true = np.minimum(own * np.exp(log_sd * noise_steps(1.0)), scan.physical.half_life_h)
        of_half_life = np.log(mono_factor_h(scan.time_h, true) / mono_factor_h(scan.time_h, own))
        known_h = self.population.teff_between(*self.earlier_h)
        of_shape = np.log(self.population.factors_h(scan.time_h) / mono_factor_h(scan.time_h, known_h))
        few = np.quantile(of_shape, np.linspace(0.0, 1.0, SHAPES))
        kinetic = (of_half_life[..., None] + few).reshape(*scan.activity.shape, -1)
        return with_noise(kinetic, scan.noise_log_sd)

    def notes(self, scan: Scan) -> tuple[str, ...]:
        if scan.teff_relative_sd is not None:
            return ()
        return (f"no error was stated with teff_h: {limit('teff_reuse_relative_sd'):.0%} is assumed",)


def _own_half_life(scan: Scan) -> np.ndarray:
    if scan.teff_h is None:
        do = "measure one cycle at two or more late hours, or use a rule of the population"
        raise InputError(describe("teff_h of the scan", "none", "the patient's half-life of an earlier cycle", do))
    return np.asarray(scan.teff_h, dtype=float)


def _mean_of_others(values: np.ndarray) -> np.ndarray:
    """Mean of all but one, for each one, [patient]."""
    return (values.sum() - values) / (len(values) - 1)
