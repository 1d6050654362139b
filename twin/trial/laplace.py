"""The estimator `laplace`: the PBPK model of every patient calibrated after every cycle's scans.

The estimator knows a patient's covariates, organ volumes and, at each cycle, the volume of all tumours together, which
it takes for one compartment; perfusion, densities and rates it does not know. It has the wide prior of a twin's fit. A
cycle's posterior, widened by the drift, is the prior of the next (`calibration.batched`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.batched import Given, Shared, carried, laplace_batch, log_tia_sd, scans_of
from calibration.parameters import Prior, prior
from calibration.sequential import drift_covariance
from dose.nuclides import radionuclide
from dose.tissues import tissue
from pbpk.kinetics import Kinetics
from pbpk.levers import SIZE, Lever, changed
from pbpk.parameters import Covariates, ligand
from pbpk.population import batch_kinetics, bodies
from twin.constraints import limit
from twin.study import split_tracer
from twin.trial.counted import Counted, of_totals, reading_for, totals
from twin.trial.cycle_belief import CycleBelief
from twin.trial.design import Regimen
from twin.trial.estimators import AbstractEstimator, Estimate, Learned, scan_rest
from twin.trial.reading import PerMBq, at_size
from twin.trial.scan_noise import (
    REGIONS,
    counting_error,
    error_names,
    observed,
    own_normals,
    shared_normals,
    with_additive,
)

if TYPE_CHECKING:
    from twin.trial.unfolding import Scene

SEEN = {"psma": ("kidneys", "liver", "parotid", "tumour_1"), "sstr": ("kidneys", "spleen", "liver", "tumour_1")}
"""Regions measured in each scan; tumour_1 is all of them."""
TUMOUR = (Lever("volume of tumours", SIZE, ("tumour_1",)),)
LEAST_MBQ = 1e-3


class State(NamedTuple):
    """What is carried from cycle to cycle: the next prior, and the belief that the policy sees."""

    scene: Scene
    belief: CycleBelief
    kin: Kinetics
    law: Prior
    mean: np.ndarray
    covariance: np.ndarray
    follow: np.ndarray | None


@dataclass(frozen=True)
class Laplace(AbstractEstimator):
    """Calibrates every patient by Laplace's method; `learned` gives what is believed before the first scan, and how the
    quadratic part of the BED goes with the dose."""

    arm: Regimen
    learned: Learned

    def start(self, scene: Scene) -> State:
        group = scene.group
        drug, nuclide = split_tracer(self.arm.tracer, "tracer")
        people = group.people._replace(perfusion=np.ones(group.count), tumour_perfusion=np.ones(group.count))
        total = group.lesions.volume_mL.sum(axis=1, keepdims=True)
        body = bodies(people, group.design.target, total)
        repair = {o: tissue(o).repair_rate_per_h / 60 for o in body.organs}
        kin = batch_kinetics(body, people, ligand(drug), radionuclide(nuclide), repair)
        law = prior(ligand(drug), body.organs, Covariates.of(gfr_mL_min=100.0))
        place = scene.truth.regions.index(limit(self.arm.limit).region)
        belief = CycleBelief.before(self.learned, place, group.count)
        kin = jax.tree.map(jnp.asarray, kin)
        return State(scene, belief, kin, law, np.zeros((len(law.names), group.count)), law.covariance, None)

    def after(
        self, known: State, cycle: int, activity_MBq: np.ndarray, per: PerMBq, log_size: np.ndarray
    ) -> tuple[State, Estimate]:
        scene, target = known.scene, known.scene.group.design.target
        errors = self._errors(target)
        log_true = log_activities(scene, self.arm, per, activity_MBq)
        scan = log_counted(scene, self.arm, per, activity_MBq)
        own_sd = np.hypot(self._own_sd(log_true, errors), scan.sd)
        seen = self._seen(scene, log_true + scan.shift, own_sd, errors, cycle)
        found = self._fitted(known, log_size, activity_MBq, seen, own_sd)
        error = self._by_region(scene, found.log_tia) - true_log_tia(scene, per)
        error = np.where(np.isfinite(error), error, 0.0)  # a fit that failed: its sd is NaN, and says so
        sd = self._by_region(scene, log_tia_sd(found))
        region = limit(self.arm.limit).region
        k, common = scene.truth.regions.index(region), common_sd(errors, target, region, self.times)
        good = (activity_MBq > 0) & np.isfinite(sd[:, k])
        belief = known.belief.seen(cycle, np.log(per.dose[:, k]) + error[:, k], sd[:, k], good, common)
        mean, covariance, follow = carried(found, drift_covariance(known.law.names, 1))
        given = np.where(activity_MBq > 0, activity_MBq, np.nan)[:, None]
        said = Estimate(np.log(given * per.dose) + error, np.where(given > 0, sd, np.nan), np.exp(error))
        return known._replace(belief=belief, mean=mean, covariance=covariance, follow=follow), said

    def _fitted(self, known: State, log_size, activity_MBq: np.ndarray, log_seen: np.ndarray, own_sd: np.ndarray):
        """The posteriors after one cycle's scans, with the tumours' volume of that cycle."""
        scene, times = known.scene, self.arm.imaging.times_h
        scans = scans_of(SEEN[scene.group.design.target], times, known.kin.organs, self._told(scene))
        errors = self._errors(scene.group.design.target)
        kin = changed(known.kin, TUMOUR, jnp.asarray(total_log_size(scene, log_size))[None])
        given = Given(np.maximum(activity_MBq, LEAST_MBQ), self.arm.amount_nmol)
        shared = Shared(errors.shared.loads, np.diag(errors.shared.sd**2), known.follow)
        own = np.einsum("pi,ij->pij", np.nan_to_num(own_sd, nan=1.0) ** 2, np.eye(own_sd.shape[1]))
        nuclide = radionuclide(split_tracer(self.arm.tracer, "tracer")[1])
        return laplace_batch(
            kin, nuclide, given, known.law.names, known.mean, known.covariance, scans, log_seen, own, shared=shared
        )

    @property
    def times(self) -> int:
        return len(self.arm.imaging.times_h)

    def _told(self, scene: Scene) -> tuple[str, ...]:
        """Regions whose integrals are asked for: all organs that the trial reports, and all tumours as one."""
        organs = [r for k, r in enumerate(scene.truth.regions) if k not in scene.truth.tumours]
        return (*organs, "tumour_1")

    def _by_region(self, scene: Scene, told: np.ndarray) -> np.ndarray:
        """Values [told, patient] as [patient, region]; every class of tumours has that of all."""
        organs, last = iter(range(len(told) - 1)), len(told) - 1
        rows = [last if k in scene.truth.tumours else next(organs) for k in range(len(scene.truth.regions))]
        return told[rows].T

    def _errors(self, target: str) -> noise.Errors:
        return noise.errors(observed(SEEN[target], self.arm.imaging.times_h, counting_error(self.arm.imaging)))

    def _seen(self, scene: Scene, log_true: np.ndarray, own_sd: np.ndarray, errors: noise.Errors, cycle: int):
        """Log activities as scanned, [observation, patient], from true ones [patient, observation]; those of patients
        without activity are NaN."""
        rows = [REGIONS.index(r) for r in SEEN[scene.group.design.target]]
        own = own_normals(scene.group, cycle, self.times)[:, rows].reshape(log_true.shape)
        columns = [error_names().index(name) for name in errors.shared.names]
        lasting = shared_normals(scene.group)[:, columns] * errors.shared.sd
        return (log_true + own_sd * own + lasting @ errors.shared.loads.T).T

    def _own_sd(self, log_true: np.ndarray, errors: noise.Errors) -> np.ndarray:
        """Own errors of the scans with those of the design, [patient, observation]."""
        own = np.sqrt(errors.sd**2 + np.log1p(self.arm.imaging.proportional**2))
        return with_additive(own, np.exp(log_true), self.arm.imaging)


def log_activities(scene: Scene, arm: Regimen, per: PerMBq, activity_MBq: np.ndarray) -> np.ndarray:
    """True log activities at the scans, [patient, observation]: regions of SEEN, each at all hours."""
    now = _activities_now(scene, arm, per)
    given = np.where(activity_MBq > 0, activity_MBq, np.nan)
    return np.log(_as_seen(scene, now) * given[:, None])


def log_counted(scene: Scene, arm: Regimen, per: PerMBq, activity_MBq: np.ndarray) -> Counted:
    """What counting and spill-over do to these logs, [patient, observation]; zeros without the measurement model."""
    if arm.imaging.model == "constant":
        return Counted(0.0, 0.0)
    given = np.maximum(activity_MBq, LEAST_MBQ)
    now = _activities_now(scene, arm, per) * given[:, None, None]
    found = totals(reading_for(arm), scene.truth, scene.group, now, scan_rest(scene.truth, arm) * given[:, None])
    return of_totals(*(_as_seen(scene, part) for part in (*found, now)))


def _activities_now(scene: Scene, arm: Regimen, per: PerMBq) -> np.ndarray:
    """True activity per MBq at the scans, [patient, region, scan]."""
    truth, group = scene.truth, scene.group
    first = at_size(truth, np.zeros_like(group.class_mL), group.class_mL)
    at = [truth.times_h.index(t) for t in arm.imaging.times_h]
    return np.maximum(truth.activity[..., at], 1e-12) * (per.tia / first.tia)[..., None]


def _as_seen(scene: Scene, values: np.ndarray) -> np.ndarray:
    """Values [patient, region, scan] of the regions of SEEN, [patient, observation]; tumours together."""
    truth, rows = scene.truth, []
    for region in SEEN[scene.group.design.target]:
        inside = truth.tumours if region == "tumour_1" else [truth.regions.index(region)]
        rows.append(values[:, inside].sum(axis=1))
    return np.concatenate(rows, axis=1)


def total_log_size(scene: Scene, log_size: np.ndarray) -> np.ndarray:
    """Log size of all tumours together, [patient]."""
    mL = scene.group.class_mL
    return np.log(np.sum(np.exp(log_size) * mL, axis=1) / mL.sum(axis=1))


def true_log_tia(scene: Scene, per: PerMBq) -> np.ndarray:
    """Log TIA per MBq, [patient, region]; of every class of tumours that of all."""
    tia = per.tia.copy()
    tia[:, scene.truth.tumours] = per.tia[:, scene.truth.tumours].sum(axis=1, keepdims=True)
    return np.log(tia)


def common_sd(errors: noise.Errors, target: str, region: str, times: int) -> float:
    """Sd of what scans of a region share in every cycle; of a region that is not seen, the camera's calibration."""
    squares = (errors.shared.loads * errors.shared.sd) ** 2
    row = SEEN[target].index(region) * times if region in SEEN[target] else None
    calibration = errors.shared.names.index("calibration/SPECT")
    return float(np.sqrt(squares[0, calibration] if row is None else squares[row].sum()))
