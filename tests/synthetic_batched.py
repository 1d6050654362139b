"""Virtual patients with a known truth for the estimator of trials (`calibration.batched`), one protocol for all."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import NamedTuple

import numpy as np

from calibration import noise
from calibration.batched import SWEEPS, Fitted, Given, Scans, Shared, laplace_batch, scans_of
from calibration.observations import Observations
from calibration.posterior import Z90
from tests import synthetic
from tests import synthetic_cohort as cohort
from twin.body import Body, body_of

QUANTITIES = cohort.QUANTITIES
KIDNEY, TUMOUR = QUANTITIES.index("kidney_left"), QUANTITIES.index("tumour_1")


class Setting(NamedTuple):
    """A patient's body and the scans of the template, with their errors."""

    body: Body
    seen: Observations
    scans: Scans
    errors: noise.Errors

    @property
    def given(self) -> Given:
        a = self.body.first.administrations[0]
        return Given(a.activity_MBq, a.amount_nmol, a.infusion_h, a.cold_nmol, a.cold_lead_h)

    @property
    def parameters(self) -> int:
        return len(self.body.prior.names)


@cache
def setting(**administration) -> Setting:
    """The study of `tests.synthetic`, its administration with other fields where these are given."""
    study = synthetic.empty_study()
    study = replace(study, administrations=(replace(study.administrations[0], **administration),))
    body, seen = body_of(study), cohort.template()
    scans = scans_of(synthetic.REGIONS, cohort.SPECT_H, body.organs, QUANTITIES)
    return Setting(body, seen, scans, noise.errors(seen))


def drawn(of: Setting, patients: int, seed: int) -> cohort.Truth:
    """Patients drawn from the fit's prior, and what scans with the template's errors show of them."""
    return cohort.truth(of.body, of.seen, patients, np.random.default_rng(seed))


def shared(of: Setting, part: float = 1.0, follow=None) -> Shared:
    """The shared errors of the template, their sd times `part`."""
    return Shared(of.errors.shared.loads, np.diag((part * of.errors.shared.sd) ** 2), follow)


def estimated(of: Setting, log_seen, prior=None, *, part: float = 1.0, sweeps=SWEEPS) -> Fitted:
    """Posteriors of patients; `prior` as `calibration.batched.carried` gives it, `part` of the errors' true sd."""
    start = np.zeros((of.parameters, log_seen.shape[1])), of.body.prior.covariance, None
    mean, covariance, follow = prior or start
    own, course = np.diag((part * of.errors.sd) ** 2), of.body.first
    return laplace_batch(
        course.kinetics, course.nuclide, of.given, of.body.prior.names, mean, covariance, of.scans, log_seen, own,
        shared=shared(of, part, follow), sweeps=sweeps,
    )  # fmt: skip


def standardised(fitted: Fitted, log_tia_sd: np.ndarray, true_log_tia: np.ndarray, activity_MBq: float) -> np.ndarray:
    """Error of the log TIA over its stated sd, [region, patient]; the truth in MBq h."""
    return (fitted.log_tia + np.log(activity_MBq) - true_log_tia) / log_tia_sd


def covered(errors: np.ndarray) -> np.ndarray:
    """Share of patients [region] whose truth lies in the 90 % interval."""
    return np.mean(np.abs(errors) <= Z90, axis=-1)
