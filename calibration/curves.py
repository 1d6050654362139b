"""Region curves: the integral of one region's scans by fitted functions, averaged, with what is doubtful about them.

`fit_region` is for one patient with scans enough; `calibration.curve_population` for many patients with few scans each;
`calibration.jackson` passes through three points; `dose.trapezoids` fits nothing; `side_by_side` shows them all.
Functions and their choice: docs/curves.md; CLINICAL.md 1.1; Burnham and Anderson 2002, sections 2.9 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from calibration.curve_checks import doubts, uptake_unseen, usable
from calibration.curve_fit import Prior, RegionCurve, check_priors, fit_one
from calibration.curve_models import CurveModel, curve_model
from calibration.jackson import jackson_three_point
from dose.activity import averaged
from dose.curves import extrapolated_fraction
from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.trapezoids import log_linear, trapezoid_tia

__all__ = ["MethodTIA", "Prior", "RegionCurve", "RegionTIA", "fit_region", "side_by_side"]

DEFAULT_MODELS = ("mono", "uptake", "bi", "f4d", "tri_uptake")
"""Functions tried where none are named; those with more parameters than scans and priors are left out."""


@dataclass(frozen=True)
class RegionTIA:
    """Model-averaged integral and its sd, all fits with their weights, and notes that a reader should know.

    `comparable` is False where AICc is undefined for all functions, and weights are equal. `before_first` and
    `extrapolated_fraction` are the parts of the integral before the first and after the last scan.
    """

    tia_MBq_h: float
    tia_sd_MBq_h: float
    extrapolated_fraction: float
    before_first: float
    comparable: bool
    criterion: str
    fits: tuple[RegionCurve, ...]
    notes: tuple[str, ...]

    def fit(self, model: str) -> RegionCurve:
        """The fit of one function.

        Raises:
            InputError: it was not fitted.
        """
        for fit in self.fits:
            if fit.model == model:
                return fit
        fitted = ", ".join(fit.model for fit in self.fits)
        raise InputError(describe("model", f'"{model}"', f"one of {fitted}", "name it in models when fitting"))


def fit_region(
    time_h,
    activity_MBq,
    sd_MBq=None,
    *,
    nuclide: str,
    models: tuple[str, ...] | None = None,
    priors: Mapping[str, Prior] | None = None,
    errors_known: bool = True,
    administered_MBq: float | None = None,
) -> RegionTIA:
    """Fits functions to one region's scans and averages their integrals by Akaike weight.

    Args:
        time_h: hours after the end of administration, [scan].
        activity_MBq: activities present (not decay-corrected), [scan].
        sd_MBq: their independent sds, [scan] or one number. None: 10 % of each is assumed, and said in `notes`.
        nuclide: whose decay is the slowest clearance.
        models: names of `curve_models.FAMILY`; None: those of `DEFAULT_MODELS` that have few enough parameters.
        priors: by the name of a parameter ("clearance", "uptake", "second", "tia"); the fit is then a most probable
            one.
        errors_known: whether sds are absolute (AIC = chi2 + 2K), or only relative to each other (N ln(chi2/N) + 2K +
            2).
        administered_MBq: if given, no activity may exceed it.

    Raises:
        InputError: too few scans, or for a function that was named; values that are not usable; unknown names.
    """
    t, a, sd, stated, notes = usable(time_h, activity_MBq, sd_MBq, administered_MBq)
    known, lp = errors_known and stated, radionuclide(nuclide).decay_constant_per_h
    functions = _functions(models, len(t), priors or {})
    check_priors(priors or {}, functions)
    fits = tuple(fit_one(function, t, a, sd, lp, priors or {}, known) for function in functions)
    mean = averaged([fit.fit for fit in fits], t, errors_known=known)
    fits = tuple(replace(fit, weight=one.weight) for fit, one in zip(fits, mean.fits))
    best = max(fits, key=lambda fit: fit.weight)
    unseen = uptake_unseen(t, a, best.curve)
    failed = tuple(f"{fit.model}: no start ended at an optimum" for fit in fits if not fit.converged)
    return RegionTIA(
        tia_MBq_h=mean.tia_MBq_h,
        tia_sd_MBq_h=mean.tia_sd_MBq_h,
        extrapolated_fraction=mean.extrapolated_fraction,
        before_first=1 - sum(f.weight * f.curve.tia_after(float(t[0])) for f in fits) / mean.tia_MBq_h,
        comparable=mean.comparable,
        criterion="known errors: chi2 + 2K" if known else "unknown variance: N ln(chi2/N) + 2(K + 1)",
        fits=fits,
        notes=(*doubts(t, a, sd, nuclide), *((unseen,) if unseen else ()), *notes, *mean.notes, *failed),
    )


def _functions(models, scans: int, priors) -> tuple[CurveModel, ...]:
    """The functions that may be fitted to so many scans."""
    functions = [curve_model(name) for name in (DEFAULT_MODELS if models is None else models)]
    have = lambda f: scans + sum(name in priors for name in f.parameters)
    able = tuple(f for f in functions if f.size <= have(f))
    if not able or (models is not None and len(able) < len(functions)):
        worst = max(functions, key=lambda f: f.size - have(f)) if models else functions[0]
        do = "use calibration.single_time_point or curve_population, give a prior, or name a simpler function"
        found = f"{scans} scan{'s' * (scans != 1)} for {worst.name}"
        raise InputError(describe("time_h", found, f"{worst.size} or more (its parameters), priors counted", do))
    return able


@dataclass(frozen=True)
class MethodTIA:
    """One way to the integral: its name, the integral, its sd (None where it has none) and part after the last scan."""

    method: str
    tia_MBq_h: float
    tia_sd_MBq_h: float | None
    extrapolated_fraction: float


def side_by_side(time_h, activity_MBq, sd_MBq=None, *, nuclide: str) -> tuple[MethodTIA, ...]:
    """The same scans by every classical method that can be applied to them; one that refuses them is left out.

    Raises:
        InputError: values that are not usable, or fewer than two scans.
    """
    t, a, _, _, _ = usable(time_h, activity_MBq, sd_MBq)
    region = fit_region(time_h, activity_MBq, sd_MBq, nuclide=nuclide)
    rows = [
        MethodTIA(f"{f.model}, fitted", f.tia_MBq_h, f.tia_sd_MBq_h, extrapolated_fraction(f.curve, float(t[-1])))
        for f in region.fits
    ]
    rows.append(MethodTIA("averaged", region.tia_MBq_h, region.tia_sd_MBq_h, region.extrapolated_fraction))
    for name, rule in _rules(t, a, nuclide):
        try:
            tia, after = rule()
        except InputError:
            continue
        rows.append(MethodTIA(name, tia, None, after))
    return tuple(rows)


def _rules(t, a, nuclide: str) -> list[tuple[str, Callable[[], tuple[float, float]]]]:
    """Name and a call for (integral, extrapolated part) of each rule without a fit."""
    half_life = radionuclide(nuclide).half_life_h

    def of_curve(curve):
        return curve.tia_MBq_h, extrapolated_fraction(curve, float(t[-1]))

    def trapezoid(start, tail, rule):
        found = trapezoid_tia(t, a, nuclide, start=start, tail=tail, rule=rule)
        return found.tia_MBq_h, found.extrapolated_fraction

    kinds = [(rule, start, tail) for rule in ("linear", "log") for start in ("triangle", "plateau") for tail in _TAILS]
    trapezoids = [
        (f"{rule} trapezoid, {start}, {_TAILS[tail]}", lambda k=(start, tail, rule): trapezoid(*k))
        for rule, start, tail in kinds
    ]
    return [
        ("mono, log-linear", lambda: of_curve(log_linear(t, a, nuclide))),
        ("Jackson, three points", lambda: of_curve(jackson_three_point(t, a, half_life).curve)),
        *trapezoids,
    ]


_TAILS = {"last_two": "tail of the last two", "physical": "physical tail"}
