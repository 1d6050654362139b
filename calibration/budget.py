"""The uncertainty budget of an absorbed dose: what each step of the chain adds, by formula and by sampling.

`budget` takes a `Chain` (region, counts, curve, recovery, dose factor) and gives a row a component, its relative
standard uncertainty by the closed forms of the EANM guidance (Gear et al., Eur J Nucl Med Mol Imaging 2018;45:2456) and
by following draws through the whole chain. Where the two differ by more than sampling explains, the chain is not linear
enough for the formula and the budget says so. Equations, derivations and a worked table: docs/uncertainty.md.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from calibration.budget_chain import COMPONENTS, Chain, VolumeTerms, closed_form, dimensions, log_dose
from dose.errors import InputError, describe

SAMPLES = 20_000
"""Draws: the standard uncertainty is then known to about half a per cent of itself."""
FEWEST = 100
AGREEMENT_SE = 3.0
"""Formula and sampling agree where they differ by no more than this many standard errors of the sampling."""
SAME = 0.01
"""Differences below this part of the whole uncertainty are of no consequence, whatever the number of draws."""


@dataclass(frozen=True)
class Row:
    """A component: relative standard uncertainty by formula and by sampling (and the latter's standard error).

    `share` is the component's part of the variance by formula; `agrees` whether formula and sampling say the same
    within sampling error or a hundredth of the whole; `note` says what is correlated or not linear.
    """

    component: str
    closed: float
    sampled: float
    sampled_se: float
    share: float
    agrees: bool
    note: str = ""


@dataclass(frozen=True)
class Budget:
    """Dose, time-integrated activity, the rows, and their whole.

    `interval90` and `mean_over_nominal` are of the sampled dose relative to `dose_Gy`; `volume` tells how one error
    of the volume acts, and `without_volume_correlation` what the whole would be were its three effects independent
    (they are not: the number is there for comparison). `extrapolated_fraction` is the part of the integral after the
    last scan; of a curve fitted elsewhere it is None.
    """

    dose_Gy: float
    tia_MBq_h: float
    rows: tuple[Row, ...]
    whole: Row
    interval90: tuple[float, float]
    mean_over_nominal: float
    volume: VolumeTerms
    without_volume_correlation: float
    extrapolated_fraction: float | None
    samples: int

    def row(self, component: str) -> Row:
        """The row of a component."""
        return next(row for row in (*self.rows, self.whole) if row.component == component)

    def records(self) -> list[dict]:
        """The rows as dictionaries, for `pandas.DataFrame`."""
        return [asdict(row) for row in (*self.rows, self.whole)]

    def __str__(self) -> str:
        lines = [f"{'component':20} {'formula':>8} {'sampled':>8} {'share':>6}  note"]
        for row in (*self.rows, self.whole):
            numbers = f"{100 * row.closed:7.2f}% {100 * row.sampled:7.2f}% {100 * row.share:5.0f}%"
            lines.append(f"{row.component:20} {numbers}  {row.note}".rstrip())
        low, high = (self.dose_Gy * x for x in self.interval90)
        lines.append(f"dose {self.dose_Gy:.4g} Gy, 90 % interval {low:.4g} to {high:.4g} Gy, {self.samples} draws")
        if self.extrapolated_fraction is not None:
            lines.append(f"{100 * self.extrapolated_fraction:.0f} % of the integral lies after the last scan")
        return "\n".join(lines)


def budget(chain: Chain, *, samples: int = SAMPLES, seed: int = 0) -> Budget:
    """The uncertainty budget of a chain, by formula and by `samples` draws.

    Raises:
        InputError: fewer than 100 draws, or draws of a `KnownCurve` without an integral above zero.
    """
    if samples < FEWEST:
        raise InputError(describe("samples", f"{samples}", f"{FEWEST} or more", "take the default, 20 000"))
    rng = np.random.default_rng(seed)
    z = {name: rng.standard_normal((size, samples)) for name, size in dimensions(chain).items()}
    closed, terms = closed_form(chain), VolumeTerms.of(chain)
    whole = math.hypot(*closed.values())
    rows = tuple(_row(chain, name, closed[name], whole, z, terms) for name in COMPONENTS)
    ratio = np.exp(finite(log_dose(chain, z)))
    spread, error = relative_spread(ratio)
    agrees = _same(whole, spread, error, whole)
    note = "" if agrees else "not linear: use the sampled interval"
    rest = math.hypot(*(value for name, value in closed.items() if name != "volume"))
    return Budget(
        dose_Gy=chain.dose_Gy,
        tia_MBq_h=chain.tia_MBq_h,
        rows=rows,
        whole=Row("whole", whole, spread, error, 1.0, agrees, note),
        interval90=tuple(float(x) for x in np.percentile(ratio, [5, 95])),
        mean_over_nominal=float(ratio.mean()),
        volume=terms,
        without_volume_correlation=math.hypot(rest, terms.as_if_independent * chain.outline.relative_sd),
        extrapolated_fraction=chain.measured.extrapolated_fraction,
        samples=samples,
    )


def _row(chain: Chain, name: str, closed: float, whole: float, z, terms: VolumeTerms) -> Row:
    """One component, alone: all others held."""
    alone = {name: z[name]} if closed > 0 else {}
    spread, error = relative_spread(np.exp(finite(log_dose(chain, alone)))) if alone else (0.0, 0.0)
    agrees = _same(closed, spread, error, whole)
    notes = [] if agrees else ["not linear"]
    if name == "volume" and closed > 0:
        parts = f"counts {terms.counts:+.2f}, recovery {terms.recovery:+.2f}, mass {terms.mass:+.2f}"
        notes.append(f"one error, three effects that add with their signs: {parts}, net {terms.net:+.2f} u(V)/V")
    if name == "recovery curve" and closed > 0:
        notes.append("b1 and b2 correlated, and shared by all scans")
    if name == "counting noise" and closed > 0:
        without = chain.measured.without_covariance
        notes.append(f"amplitudes and rates correlated: {100 * without:.1f}% if that were left out")
    return Row(name, closed, spread, error, (closed / whole) ** 2 if whole else 0.0, agrees, "; ".join(notes))


def _same(closed: float, sampled: float, error: float, whole: float) -> bool:
    return abs(sampled - closed) <= max(AGREEMENT_SE * error, SAME * whole)


def finite(log_ratio: np.ndarray) -> np.ndarray:
    """The draws as they are, or the refusal of those that have no dose.

    Raises:
        InputError: a draw that is not finite.
    """
    if lost := np.count_nonzero(~np.isfinite(log_ratio)):
        found = f"{lost} of {log_ratio.size} draws whose curve has no integral above zero"
        do = "narrow its covariance, or give the scans (Scans) so that each draw is refitted"
        raise InputError(describe("curve covariance", found, "none", do))
    return log_ratio


def relative_spread(ratio: np.ndarray) -> tuple[float, float]:
    """sd over mean of positive draws [draw], and its standard error from their fourth moment."""
    centred = ratio - ratio.mean()
    variance = float(np.mean(centred**2))
    kurtosis = float(np.mean(centred**4)) / variance**2 if variance > 0 else 1.0
    spread = math.sqrt(variance) / float(ratio.mean())
    return spread, spread * math.sqrt(max(kurtosis - 1.0, 0.0) / (4 * len(ratio)))
