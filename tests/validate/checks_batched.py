"""The estimator of virtual trials: beside the fit of one patient, and its intervals of the time integrals.

Doses of a region are its time integral times a constant, so coverage of the one is coverage of the other.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from calibration import noise
from calibration.batched import SWEEPS, Fitted, Shared, Status, carried, laplace_batch, log_tia_sd
from tests import synthetic_batched as batched
from tests import synthetic_cohort as cohort
from tests.validate import check

COMPARED = 24
"""Patients that are calibrated one by one as well."""
PATIENTS, FOLLOWED, CYCLES = 1008, 480, 3
VIRTUAL = f"{PATIENTS} virtual patients of the prior, three SPECT"
DRIFTED = f"{FOLLOWED} virtual patients whose uptake drifts, three SPECT a cycle, shared errors the same"


@cache
def _beside():
    """Largest differences of mean (posterior sds) and sd (relative) of each patient from `calibration.fit`'s."""
    from calibration.fit import calibrate

    of = batched.setting()
    truth = batched.drawn(of, COMPARED, 11)
    activity = np.exp(truth.log_observed)
    seen = [replace(of.seen, activity_MBq=a, sd_MBq=cohort.COUNTING_SD * a) for a in activity.T]
    ones = [calibrate((of.body.first,), each, of.body.prior, method="laplace", draws=2) for each in seen]
    found = _fitted(of, truth.log_observed, np.stack([np.diag(noise.errors(each).sd ** 2) for each in seen]))
    plain = [k for k, one in enumerate(ones) if not one.warnings]  # sds widened by a missed curve are another matter
    sd = np.sqrt(np.stack([np.diag(ones[k].covariance) for k in plain]))
    mine = np.sqrt(np.stack([np.diag(found.covariance[k]) for k in plain]))
    mean = np.abs(found.mean[:, plain].T - np.stack([ones[k].map_log for k in plain])) / sd
    return mean.max(axis=1), np.abs(mine / sd - 1).max(axis=1)


def _fitted(of, log_seen, own) -> Fitted:
    course, start = of.body.first, np.zeros((of.parameters, log_seen.shape[1]))
    return laplace_batch(
        course.kinetics, course.nuclide, of.given, of.body.prior.names, start, of.body.prior.covariance, of.scans,
        log_seen, own, shared=Shared(of.errors.shared.loads, np.diag(of.errors.shared.sd**2)), sweeps=SWEEPS,
    )  # fmt: skip


@check(
    "trial/estimator means beside the fit of one patient: median and worst of patients",
    unit="posterior sd",
    tolerance="below 0.05, 0.3",
    source=f"calibration.fit, worst of all parameters, up to {COMPARED} virtual patients",
)
def means():
    away, _ = _beside()
    return [round(float(np.median(away)), 4), round(float(away.max()), 4)], np.median(away) < 0.05 and away.max() < 0.3


@check(
    "trial/estimator sds beside the fit of one patient: median and worst of patients",
    unit="%",
    tolerance="below 3, 10",
    source="as above",
)
def sds():
    _, wide = _beside()
    return [round(100 * float(x), 2) for x in (np.median(wide), wide.max())], np.median(
        wide
    ) < 0.03 and wide.max() < 0.1


@cache
def _errors(part: float = 1.0):
    """Standardised errors of log time integrals [region, patient], errors taken for `part` of what they are; status."""
    of = batched.setting()
    truth = batched.drawn(of, PATIENTS, 12)
    found = batched.estimated(of, truth.log_observed, part=part)
    return batched.standardised(found, log_tia_sd(found), truth.log_tia, of.given.activity_MBq), found.status


def _region(k: int):
    name = batched.QUANTITIES[k]

    @check(f"trial/estimator coverage of {name}, 90 %", unit="%", tolerance="87 to 93", source=VIRTUAL)
    def coverage():
        share = 100 * float(batched.covered(_errors()[0])[k])
        return share, 87 <= share <= 93

    @check(f"trial/estimator sd of standardised errors, {name}", unit="1", tolerance="0.92 to 1.08", source=VIRTUAL)
    def spread():
        sd = float(np.std(_errors()[0][k]))
        return sd, 0.92 <= sd <= 1.08

    @check(f"trial/estimator coverage negative control {name}", unit="%", tolerance="below 87", source="half the noise")
    def too_narrow():
        share = 100 * float(batched.covered(_errors(0.5)[0])[k])
        return share, share < 87


for _k in (batched.KIDNEY, batched.TUMOUR):
    _region(_k)


@check("trial/estimator patients not converged", unit="%", tolerance="below 2", source=VIRTUAL)
def not_converged():
    share = 100 * float(np.mean(_errors()[1] != Status.OK))
    return share, share < 2


@cache
def _followed():
    """Standardised errors and stated sds of log time integrals [cycle, region, patient] of cycles one after another."""
    from calibration.sequential import drift_covariance

    of, rng = batched.setting(), np.random.default_rng(13)
    truth = batched.drawn(of, FOLLOWED, 13)
    change = drift_covariance(of.body.prior.names, 1)
    offsets, prior, rows = truth.offsets, None, []
    for _ in range(CYCLES):
        own = of.errors.sd[:, None] * rng.standard_normal((len(of.seen), FOLLOWED))
        shared = of.errors.shared.loads @ truth.errors.T
        found = batched.estimated(of, np.log(cohort.shown(of.body, of.seen, offsets)) + shared + own, prior)
        sd, exact = log_tia_sd(found), cohort.log_tia(of.body, offsets)
        rows.append((batched.standardised(found, sd, exact, of.given.activity_MBq), sd))
        prior = carried(found, change)
        offsets = offsets + rng.multivariate_normal(np.zeros(of.parameters), change, size=FOLLOWED, method="eigh")
    return tuple(np.stack(x) for x in zip(*rows, strict=True))


@check(
    f"trial/estimator coverage after cycle {CYCLES}, 90 %: kidney and tumour",
    unit="%",
    tolerance="86 to 94",
    source=DRIFTED,
)
def later():
    share = 100 * batched.covered(_followed()[0][-1])[[batched.KIDNEY, batched.TUMOUR]]
    return [round(float(x), 2) for x in share], bool(np.all((share >= 86) & (share <= 94)))


@check(
    f"trial/estimator median stated sd of log kidney dose, cycles 1 to {CYCLES}",
    unit="log",
    tolerance="falls from 1 to 2",
    source=DRIFTED,
)
def narrowing():
    sd = np.median(_followed()[1][:, batched.KIDNEY], axis=1)
    return [round(float(x), 4) for x in sd], bool(sd[1] < sd[0])
