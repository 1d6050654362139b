"""Virtual cohorts of a population whose typical values and spreads are known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from calibration import noise
from calibration.observations import Observations
from calibration.population import Patient, Population
from calibration.sequential import drift_covariance
from pbpk.administration import Administration
from tests import synthetic
from tests.synthetic_cohort import COUNTING_SD, shown, template
from twin.body import Body, body_of
from twin.patient import Study

LIGAND = "PSMA-617"
SHIFTS = {"release/kidneys": np.log(1.3), "receptor_density/tumours": np.log(0.7)}
"""How the population of the checks differs from the table: kidneys let go faster, tumours hold fewer receptors."""


@dataclass(frozen=True)
class Cohort:
    """Patients with their log observed activities [observation, patient], the truth of these, and what shapes them."""

    body: Body
    study: Study
    truth: Population
    offsets: np.ndarray
    template: Observations
    log_observed: np.ndarray

    @property
    def patients(self) -> list[Patient]:
        return [Patient(self.body.courses, self.seen(k), self.body.prior) for k in range(self.log_observed.shape[1])]

    def seen(self, k: int) -> Observations:
        activity = np.exp(self.log_observed[:, k])
        return replace(self.template, activity_MBq=activity, sd_MBq=COUNTING_SD * activity)


def study_of(lesions: int = 2, cycles: int = 1) -> Study:
    """One typical patient: so many segmented lesions, cycles six weeks apart."""
    study = synthetic.empty_study()
    given = tuple(Administration(c + 1, 1008.0 * c, 7400.0, 90.0, 0.0, LIGAND, "177Lu") for c in range(cycles))
    volumes = {f"tumour_{k + 1}": 30.0 / (k + 1) for k in range(lesions)} | {"tumour_rest": 100.0}
    return replace(study, administrations=given, volumes_mL=volumes)


def shifted(population: Population, shifts=None, spreads=None) -> Population:
    """The population with other typical values (log offsets) and spreads (factors), by group."""
    shift, spread = population.shift_log.copy(), population.spread_log.copy()
    for group, value in (shifts or {}).items():
        shift[population.index(group)] = value
    for group, value in (spreads or {}).items():
        spread[population.index(group)] *= value
    return replace(population, shift_log=shift, spread_log=spread)


def cohort(
    truth: Population,
    patients: int,
    seed: int,
    *,
    study: Study | None = None,
    regions=None,
    times_h=(24.0, 72.0, 168.0),
    drift: float = 1.0,
    cameras: bool = False,
) -> Cohort:
    """Patients drawn from `truth`, their scans with the errors of noise.csv: own ones, and those of one camera, or of
    a camera for each (`cameras`)."""
    study = study or study_of()
    body, rng = body_of(study), np.random.default_rng(seed)
    regions = regions or ("kidney_left", "kidney_right", "liver", "parotid", "tumour_1", "tumour_2")
    cycles = [a.cycle for a in study.administrations]
    seen = template(regions, times_h)
    for cycle in cycles[1:]:
        seen = seen.join(template(regions, times_h, cycle=cycle))
    offsets = truth.draw(body.prior, patients, rng)
    change = drift**2 * drift_covariance(body.prior.names, 1)
    steps = rng.multivariate_normal(np.zeros(len(change)), change, size=(len(cycles), patients), method="eigh")
    log_true, now = np.empty((len(seen), patients)), offsets
    for k, cycle in enumerate(cycles):
        now = now + steps[k] if k else now
        mine = np.array([c == cycle for c in seen.cycle])
        log_true[mine] = np.log(shown(body, seen.select(mine), now))
    return Cohort(body, study, truth, offsets, seen, log_true + _errors(seen, patients, rng, cameras))


def _errors(seen: Observations, patients: int, rng, cameras: bool) -> np.ndarray:
    """Errors of log activities [observation, patient]; a camera's calibration is the same for all its patients."""
    shared = noise.shared_errors(seen)
    drawn = rng.standard_normal((len(shared.names), patients))
    camera = [name.startswith("calibration/") for name in shared.names]
    drawn[camera] = drawn[camera] if cameras else drawn[camera][:, :1]
    own = noise.log_sd(seen)[:, None] * rng.standard_normal((len(seen), patients))
    return (shared.loads * shared.sd) @ drawn + own
