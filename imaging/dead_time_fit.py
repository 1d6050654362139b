"""Dead time of a camera from two sources, or from one that decays.

Two sources: the true rates of the sources alone must add up to that of both, which fixes tau; the equation is solved as
it is rather than by its small-tau approximation. Decaying source: rates at known times are fitted by n0 and tau; they
may pass the peak of a paralysable camera, as the forward model is fitted. Both methods: Knoll, Radiation Detection and
Measurement, chapter 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import brentq, curve_fit

from dose.errors import CalibrationError, InputError, describe
from imaging.dead_time import highest_rate, observed_rate, true_rate, true_rate_sd

SMALLEST_SHARE = 1e-9
"""The search for tau begins at this part of the longest dead time that the highest rate allows."""

MOST_CHI2 = 3.0
"""chi2 per degree of freedom above which the model does not describe the rates, and no tau is given."""


@dataclass(frozen=True)
class DeadTime:
    """tau in s with its sd; `chi2` and `dof` of a fit (0 and 0 for two sources)."""

    tau_s: float
    sd_s: float
    model: str
    chi2: float = 0.0
    dof: int = 0


def two_source_dead_time(
    first_counts: float,
    second_counts: float,
    both_counts: float,
    duration_s: float,
    *,
    background_counts: float = 0.0,
    model: str = "paralysable",
) -> DeadTime:
    """tau from the counts of two sources alone, together, and of no source, each over `duration_s`.

    The sd is that of counting.

    Raises:
        CalibrationError: the sources together do not count less than the sum: no dead time can be seen.
    """
    rates = np.array([first_counts, second_counts, both_counts, background_counts], dtype=float) / duration_s
    signs = np.array([1.0, 1.0, -1.0, -1.0])

    def excess(tau: float) -> float:
        return float(signs @ true_rate(rates, tau, model))

    longest = highest_rate(1.0, model) / rates.max() * (1 - 1e-12)
    low = SMALLEST_SHARE * longest
    if not excess(low) > 0 or not excess(longest) < 0:
        found, do = "counts that no dead time explains", "use stronger sources, count longer, and check the geometry"
        raise CalibrationError(describe("two sources", found, "both together below the sum of each", do))
    tau = float(brentq(excess, low, longest, xtol=1e-16))  # type: ignore[arg-type]
    by_rate = true_rate_sd(rates, tau, observed_sd_cps=np.sqrt(rates / duration_s), model=model)
    by_tau = signs @ true_rate_sd(rates, tau, tau_sd_s=1.0, model=model)  # dn/dtau at one rate is positive
    return DeadTime(tau, float(np.linalg.norm(by_rate) / abs(by_tau)), model)


def decaying_source_dead_time(
    times_h, counts, durations_s, half_life_h: float, *, background_cps: float = 0.0, model: str = "paralysable"
) -> DeadTime:
    """tau from counts [time] of one source at the middle of each counting, weighted by the counts.

    `background_cps` adds to the true rate. Counting times are short beside the half-life.

    Raises:
        InputError: fewer than three counts.
        CalibrationError: no fit, or rates that the model does not describe.
    """
    t, seen, lasting = (np.asarray(a, dtype=float) for a in np.broadcast_arrays(times_h, counts, durations_s))
    if t.size < 3 or seen.min() <= 0:
        raise InputError(describe("decaying source", f"{t.size} counts", "three or more above zero", "count on"))
    rate, sd = seen / lasting, np.sqrt(seen) / lasting
    last = int(np.argmax(t))
    start = rate[last] * 2 ** (t[last] / half_life_h)

    def model_rate(t_h, log_n0, tau_scaled):
        n = np.exp(log_n0) * 2 ** (-t_h / half_life_h) + background_cps
        return observed_rate(n, abs(tau_scaled) / start, model)

    try:
        best, cov = curve_fit(model_rate, t, rate, (np.log(start), 0.1), sigma=sd, absolute_sigma=True)
    except RuntimeError as error:
        raise CalibrationError(describe("decaying source", "no fit", "falling rates", "check the times")) from error
    chi2, dof = float((((model_rate(t, *best) - rate) / sd) ** 2).sum()), t.size - 2
    if chi2 > MOST_CHI2 * dof:
        found, do = (
            f"chi2 of {chi2:.1f} for {dof} degrees of freedom",
            "try the other model, check background and times",
        )
        raise CalibrationError(describe("decaying source", found, f"at most {MOST_CHI2:g} per degree", do))
    return DeadTime(abs(float(best[1])) / start, float(np.sqrt(cov[1, 1])) / start, model, chi2, dof)
