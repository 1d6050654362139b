"""Outlooks made by hand: surfaces with known numbers, so that planning is tested without a solve."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from calibration.observations import Observations
from calibration.posterior import Posterior
from pbpk.administration import Administration
from pbpk.parameters import Covariates
from twin.outlook.surface import MOST_CYCLES, Axis, Outlook, Surfaces
from twin.patient import DoseReport, PatientTwin, Study

GIVEN = Administration(1, 0.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu")
TIME_H = np.geomspace(0.25, 240.0, 24)
HALF_LIFE_H = 50.0


def by_hand(
    Gy_per_GBq: dict[str, np.ndarray],
    *,
    bed_per_Gy: float = 0.0,
    drift_sd: float = 0.0,
    error_sd: float = 0.0,
    given: tuple[Administration, ...] = (GIVEN,),
    amount: Axis | None = None,
    by_amount=lambda region, nmol: 1.0,
    mass_g: dict[str, float] | None = None,
    seed: int = 0,
    nuclide: str = "177Lu",
) -> Outlook:
    """Regions with these doses per GBq [draw]; BED = D (1 + bed_per_Gy D); uptake times `by_amount` at each node."""
    regions, rng = tuple(Gy_per_GBq), np.random.default_rng(seed)
    amount = amount or Axis(90.0, 90.0, 1)
    per_MBq = np.stack([np.asarray(x, float) for x in Gy_per_GBq.values()], axis=1) / 1000
    draws = len(per_MBq)
    shape = np.array([[by_amount(r, n) for r in regions] for n in amount.values])
    dose = per_MBq * shape[:, None]
    error = error_sd * rng.standard_normal((draws, len(regions)))
    steps = drift_sd * rng.standard_normal((draws, MOST_CYCLES, len(regions)))
    fit = lambda x: jnp.asarray(amount.fit(np.log(x))[:, None])
    curve = dose[..., None] * np.exp(-np.log(2) * TIME_H / HALF_LIFE_H)
    lesions = tuple(k for k, r in enumerate(regions) if r.startswith("tumour_"))
    surfaces = Surfaces(
        amount=amount,
        size=Axis(1.0, 1.0, 1),
        dose=fit(dose),
        weighted=fit(dose),
        quadratic=fit(np.maximum(bed_per_Gy * dose**2, 1e-300)),
        tia=fit(dose * HALF_LIFE_H),
        activity=jnp.asarray(amount.fit(np.log(curve))),
        error=jnp.asarray(error),
        drift=jnp.asarray(np.cumsum(steps, axis=1)),
        lesion_mL=jnp.full(len(lesions), 10.0),
        alpha_per_Gy=jnp.full(draws, 0.0172),
        doubling_time_h=jnp.full(draws, 200 * 24.0),
        lesions=lesions,
    )
    masses = np.array([(mass_g or {}).get(r, 100.0) for r in regions])
    study = Study("by hand", Covariates.of(), "PSMA-617", nuclide, given, Observations.empty())
    one = np.ones(1)
    posterior = Posterior(("filtration",), ("1",), one, one, 0 * one, np.eye(1), np.zeros((draws, 1)), 0.0, 0)
    last = given[-1] if given else None
    start = last.time_h + 1008.0 if last else 0.0
    return Outlook(
        twin=PatientTwin(study, posterior),
        regions=regions,
        mass_g=masses,
        given=_given(given, regions, per_MBq * np.exp(error), bed_per_Gy, masses),
        given_administrations=given,
        first_cycle=len(given) + 1,
        example=Administration(len(given) + 1, start, 1.0, 90.0, 0.0, "PSMA-617", nuclide),
        surfaces=surfaces,
        time_h=TIME_H,
        error_sd=np.full(len(regions), error_sd),
        drift_sd=np.full(len(regions), drift_sd),
        kidneys=tuple(k for k, r in enumerate(regions) if r.startswith("kidney")),
        left=np.full(3, 1e-4),
        left_h=np.array([336.0, 1008.0, 2016.0]),
        interpolation_error=0.0,
        warnings=(),
    )


def _given(given, regions, per_MBq, bed_per_Gy: float, masses) -> DoseReport | None:
    if not given:
        return None
    activity = np.array([a.activity_MBq for a in given])
    dose = per_MBq[:, None, :] * activity[None, :, None]
    bed = dose * (1 + bed_per_Gy * dose)
    cycles = tuple(a.cycle for a in given)
    kind, fraction = ("assimilated",) * len(given), np.zeros((len(given), len(regions)))
    return DoseReport(regions, cycles, activity, kind, dose, bed, dose * HALF_LIFE_H, masses, fraction)
