"""Lesions of thyroid cancer on 124I PET (or by any iodine) as 131I: integral, dose per activity.

What the iodine does is the same for all its nuclides: the measured share has the tracer's decay taken out and 131I's
put in (`dose.thyroid.uptake`, with the wide priors of cancer). PET's partial volume and 124I's prompt gammas are the
image's affair. Dose per activity sorts lesions: up to 5, 5 to 10, above 10 Gy/GBq (Jentzen et al., J Nucl Med
2008;49:1017, abstract).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.curves import extrapolated_fraction
from dose.errors import InputError, describe
from dose.estimates import Estimate, estimate, generator
from dose.regions import region
from dose.thyroid.benign import coefficient_draws
from dose.thyroid.uptake import DRAWS, ThyroidUptake, fit_uptake, thyroid_value

MOST_AFTER = 0.5
"""A larger part of the integral after the last scan is reported."""


@dataclass(frozen=True, eq=False)
class IodineLesion:
    """131I in a lesion per administered activity: integral in h, Gy per GBq; its draws [draw] go into plans."""

    name: str
    mass_g: float
    tia_h: Estimate
    dose_Gy_per_GBq: Estimate
    dose_draws: Float[np.ndarray, " draw"]
    uptake: ThyroidUptake
    warnings: tuple[str, ...]


def iodine_lesion(
    name: str, time_h, activity_MBq, *, administered_MBq: float, mass_g: float, tracer: str = "124I",
    kind: str = "metastasis", relative_sd: float = 0.1, mass_log_sd: float | None = None, draws: int = DRAWS,
    seed: int = 0,
) -> IodineLesion:  # fmt: skip
    """A lesion's 131I dose per activity from one or more scans.

    Args:
        time_h, activity_MBq: scans after the intake and the tracer's activity present in the whole lesion, not
            decay-corrected, shape [time].
        administered_MBq: of the tracer.
        kind: "metastasis" or "remnant".
        relative_sd: of each activity, independent; recovery's error belongs into `mass_log_sd`.

    Raises:
        InputError: activities above what was given, or values that cannot be.
    """
    if not (math.isfinite(administered_MBq) and administered_MBq > 0):
        raise InputError(describe("administered_MBq", f"{administered_MBq}", "above 0", "give the tracer's activity"))
    share = np.atleast_1d(np.asarray(activity_MBq, float)) / administered_MBq
    uptake = fit_uptake(
        time_h, share, disease=kind, decay_corrected=False, tracer=tracer, relative_sd=relative_sd, draws=draws,
        seed=seed, purpose=f"uptake of {name}",
    )  # fmt: skip
    sd = thyroid_value("lesion_mass_log_sd") if mass_log_sd is None else mass_log_sd
    coefficient, coefficients = coefficient_draws(
        mass_g, sd, draws=draws, rng=generator(draws, seed, f"mass of {name}")
    )
    dose = 1000 * uptake.tia_draws_h * coefficients
    value = estimate(1000 * uptake.tia_h.value * coefficient, dose)
    after = extrapolated_fraction(uptake.curve, float(np.max(time_h)))
    notes = (f"{after:.0%} of the integral lies after the last scan",) if after > MOST_AFTER else ()
    return IodineLesion(region(name), mass_g, uptake.tia_h, value, dose, uptake, (*uptake.warnings, *notes))
