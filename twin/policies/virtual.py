"""Drawing virtual patients from the population prior, by an outlook whose draws are patients.

A twin that has seen nothing has draws of the prior for its posterior; its outlook's draw axis is then the patient axis.
Each patient's own departure of mass and S value and the drift of uptake between cycles are drawn anew from the
outlook's sds, so that two seeds share nothing.
"""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from calibration.belief import Belief, normal_draws
from calibration.observations import Observations
from calibration.parameters import between_patients
from calibration.posterior import Posterior
from dose.errors import InputError, describe, nearest
from pbpk.parameters import Covariates, ligand
from twin.body import body_of
from twin.outlook import MOST_CYCLES, Outlook, coming, outlook_of
from twin.outlook.read import doses_compiled
from twin.outlook.surface import Surfaces
from twin.patient import PatientTwin, Study
from twin.policies.cohort import Cohort
from twin.policies.numbers import number, subjects
from twin.study import split_tracer

CYCLES = 9
"""Cycles that a cohort holds: the most that patients of Sundlov 2022 had (row most_cycles of policies.csv)."""
ORGANS = ("kidneys", "red_marrow")
"""Organs kept beside the tumours: those that have limits."""
KINETICS, MASS, DRIFT = 1, 2, 3
STREAM = 20_041
"""Key of the random numbers of truths; KINETICS, MASS and DRIFT are below it and the seed."""
UNIT_MBq = 1000.0
"""Activity at which the surfaces are read before dividing by it: keeps digits of what the BED adds."""
WIDTHS = ("prior", "patients")


def virtual_cohort(
    tracer: str = "177Lu-PSMA-617",
    patients: int = 500,
    seed: int = 0,
    *,
    cycles: int = CYCLES,
    widths: str = "prior",
    tumour_trend_log_per_cycle: float = 0.0,
) -> Cohort:
    """Patients of one anatomy (the reference man, kidneys and lesions segmented) who differ as the prior does.

    The first n of a seed are the same for any number of patients. `widths`: "prior" takes the prior of a fit, which
    holds doubt about typical values too, "patients" the spread between patients alone (`between_patients`).
    `tumour_trend_log_per_cycle` is by how much the log of tumours' uptake changes with each cycle, beside the drift.

    Raises:
        InputError: an unknown tracer or width, fewer than two patients, or cycles outside 1 to 12.
    """
    _check(patients, cycles, widths)
    study = typical_study(tracer)
    outlook = outlook_of(_twin(study, patients, seed, widths))
    surfaces = _with_departures(outlook, seed)
    steps = coming([UNIT_MBq] * cycles, outlook.example.amount_nmol, 0.0, tumour_trend_log_per_cycle)
    found = doses_compiled(surfaces, steps)
    kept = [k for k, r in enumerate(outlook.regions) if r in ORGANS or k in outlook.surfaces.lesions]
    dose, weighted, bed = (np.asarray(x)[:, :cycles, kept] for x in (found.dose_Gy, found.weighted_Gy, found.bed_Gy))
    return Cohort(
        tracer=f"{study.nuclide}-{study.ligand}",
        regions=tuple(outlook.regions[k] for k in kept),
        mass_g=outlook.mass_g[kept],
        drift_sd=outlook.drift_sd[kept],
        key=np.arange(patients),
        dose=dose / UNIT_MBq,
        weighted=weighted / UNIT_MBq,
        quadratic=(bed - weighted) / UNIT_MBq**2,
    )


def _check(patients: int, cycles: int, widths: str) -> None:
    if patients < 2:
        raise InputError(describe("patients", f"{patients}", "two or more", "ask for a cohort, such as 500"))
    if not 1 <= cycles <= MOST_CYCLES:
        raise InputError(describe("cycles", f"{cycles}", f"1 to {MOST_CYCLES}", "ask for fewer"))
    if widths not in WIDTHS:
        expected = nearest(widths, WIDTHS) or "one of " + ", ".join(WIDTHS)
        raise InputError(describe("widths", f'"{widths}"', expected, "correct it"))


def typical_study(tracer: str) -> Study:
    """The reference patient with segmented lesions, and kidneys of the reference size segmented too."""
    drug, nuclide = split_tracer(tracer, "virtual_cohort")
    volumes = {subject: number("volume", subject) for subject, _ in subjects("volume")}
    volumes["tumour_rest"] = number("rest_volume", ligand(drug).target)
    study = Study("virtual cohort", Covariates.of(), drug, nuclide, (), Observations.empty(), volumes)
    body = body_of(study)
    size = lambda organ: 1000 * float(body.physiology.volume_L[body.organs.index(organ)])
    kidneys = {organ: size(organ) for organ in ("kidney_left", "kidney_right")}
    return replace(study, volumes_mL=kidneys | volumes)


def _twin(study: Study, patients: int, seed: int, widths: str) -> PatientTwin:
    """A twin that has seen nothing; each of its draws is one patient."""
    prior = body_of(study).prior
    spread = between_patients(prior) if widths == "patients" else prior
    draws = normal_draws(np.random.default_rng([STREAM, seed, KINETICS]), spread.covariance, patients)
    blank = {"chi2": 0.0, "observations_used": 0, "method": "prior"}
    return PatientTwin(study, Posterior.of(prior, Belief.of(spread), draws, **blank))


def _with_departures(outlook: Outlook, seed: int) -> Surfaces:
    """Surfaces whose independent errors are this seed's truth: one of mass and S value, a walk of uptake."""
    shape = (outlook.draws, len(outlook.regions))
    normals = lambda part, more: np.random.default_rng([STREAM, seed, part]).standard_normal(
        (shape[0], *more, shape[1])
    )
    error, step = normals(MASS, ()), normals(DRIFT, (MOST_CYCLES,))
    step[:, 0] = 0.0
    for x in (error, step):
        x[..., list(outlook.kidneys)] = x[..., [min(outlook.kidneys)]]
    drift = np.cumsum(step * outlook.drift_sd, axis=1)
    new = (jnp.asarray(error * outlook.error_sd), jnp.asarray(drift))
    return eqx.tree_at(lambda s: (s.error, s.drift), outlook.surfaces, new)
