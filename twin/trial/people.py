"""One block of a trial's patients: who they are, their lesions, their parameters, all by patient number and seed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import jax
import numpy as np

from calibration.parameters import Prior, between_patients, prior
from dose.regions import is_tumour
from pbpk.lesions import Lesions, draw_lesions, lesion_law
from pbpk.parameters import Covariates, Ligand, ligand
from pbpk.population import Bodies, People, bodies, draw_people, normals
from twin.study import split_tracer
from twin.trial.cohort_file import known_covariates
from twin.trial.design import TrialDesign

PEOPLE, LESIONS, KINETICS, DRIFT, SCANS, DROPOUT, RESPONSE = range(7)
"""Streams of random numbers under a trial's seed."""
BLOCK = 48
"""Patients solved together: block b holds patients 48 b to 48 b + 47, whatever chunk, worker or number is asked for."""
CLASSES = 6
"""Compartments that all lesions of a patient are put into, by receptor density."""
EMPTY_ML = 1e-3
"""Volume of a class without a lesion: it takes up nothing that counts."""


@dataclass(frozen=True)
class Group:
    """One block. `classes` [patient, lesion] is the class of each lesion (-1: none),
    `class_mL` and `class_uptake` [patient, class] volume and mean relative uptake."""

    design: TrialDesign
    people: People
    lesions: Lesions
    classes: np.ndarray
    class_mL: np.ndarray
    class_uptake: np.ndarray
    bodies: Bodies

    @property
    def count(self) -> int:
        return self.people.count

    @property
    def receptor_density_nmol_L(self) -> np.ndarray:
        """Of each lesion, [patient, lesion], by the table of the design's own ligand."""
        drug = ligand(split_tracer(self.design.tracer, "tracer")[0])
        return drug.number("receptor_density", "tumour_1") * self.lesions.relative_uptake

    def normals(self, stream: int, *shape: int) -> np.ndarray:
        """The group's standard normal numbers of a stream, [patient, *shape]."""
        first = int(self.people.number[0])
        drawn = normals(stream_key(self.design.seed, stream), first, first + self.count, int(np.prod(shape)))
        return drawn.reshape(self.count, *shape)


def stream_key(seed: int, stream: int):
    """The key of a stream of a trial's random numbers."""
    return jax.random.fold_in(jax.random.key(seed), stream)


def group(design: TrialDesign, block: int, parts: int = CLASSES) -> Group:
    """The patients of one block. Trials compute block by block, so that no result depends on how many are asked for.
    Lesions are put into `parts` classes."""
    first, last = BLOCK * block, BLOCK * (block + 1)
    target = design.target
    known = known_covariates(design.cohort.file, first, last)
    people = draw_people(target, stream_key(design.seed, PEOPLE), first, last, known)
    lesions = draw_lesions(lesion_law(target.upper()), stream_key(design.seed, LESIONS), first, last)
    classes = classes_of(lesions, parts)
    inside = [classes == k for k in range(parts)]
    mL = np.stack([np.sum(lesions.volume_mL * here, axis=1) for here in inside], axis=1)
    sites = np.stack([np.sum(lesions.volume_mL * lesions.relative_uptake * here, axis=1) for here in inside], axis=1)
    uptake = np.where(mL > 0, sites / np.maximum(mL, 1e-12), 1.0)
    mL = np.where(mL > 0, mL, EMPTY_ML)
    return Group(design, people, lesions, classes, mL, uptake, bodies(people, target, mL))


def classes_of(lesions: Lesions, parts: int = CLASSES) -> np.ndarray:
    """Class of each lesion by rank of its uptake among the patient's, in classes of equal numbers; -1: no lesion."""
    count = lesions.count[:, None]
    there = np.arange(lesions.volume_mL.shape[1]) < count
    rank = np.argsort(np.argsort(np.where(there, lesions.relative_uptake, np.inf), axis=1), axis=1)
    return np.where(there, np.minimum(rank * parts // np.maximum(count, parts), parts - 1), -1)


def offsets(group: Group, drug: Ligand) -> tuple[tuple[str, ...], np.ndarray]:
    """Names, and log offsets [patient, parameter] from typical, as patients differ.

    All tumours of a patient share their rates, since their densities come with the lesions; GFR is a covariate, so
    filtration varies by what is left (phi).
    """
    law = spread(drug.name, group.bodies.organs)
    root = np.linalg.cholesky(law.covariance + 1e-12 * np.eye(len(law.names)))
    return law.names, shared_by_tumours(law.names, group.normals(KINETICS, len(law.names)) @ root.T)


def shared_by_tumours(names: tuple[str, ...], drawn: np.ndarray) -> np.ndarray:
    """Offsets with those of the first tumour for all of them, and none of their receptor density."""
    found = drawn.copy()
    for k, name in enumerate(names):
        kind, _, organ = name.partition("/")
        if organ and is_tumour(organ):
            found[:, k] = 0.0 if kind == "receptor_density" else drawn[:, names.index(f"{kind}/tumour_1")]
    return found


@cache
def spread(drug: str, organs: tuple[str, ...]) -> Prior:
    """The spread between patients of a ligand's parameters in bodies with these organs."""
    found = between_patients(prior(ligand(drug), organs, Covariates.of()))
    at = found.names.index("filtration")
    scale = np.ones(len(found.names))
    scale[at] = ligand(drug).rows["phi", ""].log_sd / found.log_sd[at]
    return replace(found, covariance=found.covariance * np.outer(scale, scale))
