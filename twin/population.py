"""Populations at the doors: estimated from patients' studies, used for a patient's twin, kept in what the twin says of
itself.

A twin keeps the numbers of its population as text in its provenance, so that it is stored with them and `adapt` uses
the same ones for a new lesion and for the drift to a later cycle.
"""

from __future__ import annotations

from pathlib import Path

from twin._jax import configure

configure()

from calibration.belief import Belief  # noqa: E402
from calibration.parameters import Prior  # noqa: E402
from calibration.population import Patient, Population, estimate  # noqa: E402
from calibration.sequential import drifted, extended  # noqa: E402
from dose.errors import InputError, describe  # noqa: E402
from twin.body import body_of  # noqa: E402
from twin.later import UNNAMED  # noqa: E402
from twin.patient import PatientTwin, Study  # noqa: E402
from twin.population_files import fingerprint, population_of, text_of  # noqa: E402
from twin.study import read_study  # noqa: E402

KEY = "population"
"""Where a twin's provenance says in words which population was its prior; `NUMBERS` holds that one's file."""
NUMBERS = "population numbers"


def estimate_population(cohort, *, tracer: str | None = None, **words) -> Population:
    """The population of a cohort: a folder of study folders, or studies that were read; `words` go to
    `calibration.population.estimate`.

    Raises:
        InputError: no study, studies of several ligands, a patient given twice, or a study that can't be read.
        ImageError: a DICOM study that can't be read.
    """
    studies = read_cohort(cohort, tracer) if isinstance(cohort, str | Path) else list(cohort)
    _check_cohort(studies)
    return estimate([patient_of(study) for study in studies], studies[0].ligand, **words)


def read_cohort(folder, tracer: str | None = None) -> list[Study]:
    """The studies of a folder's sub-folders, in order of their names.

    Raises:
        InputError: no such folder, or none in it.
    """
    folder = Path(folder)
    inside = sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")) if folder.is_dir() else []
    if not inside:
        found = "a folder without sub-folders" if folder.is_dir() else f"no folder at {folder}"
        raise InputError(describe("cohort", found, "one study folder for each patient", "see docs/population.md"))
    return [read_study(path, tracer) for path in inside]


def patient_of(study: Study) -> Patient:
    """A study as the estimate sees it.

    Raises:
        InputError: a cycle was measured that was not given.
    """
    body = body_of(study)
    missing = sorted({c for c in study.observations.cycle if not any(course.has(c) for course in body.courses)})
    if missing:
        found = f"measurements of cycle {missing[0]} without an administration"
        raise InputError(describe("administrations", found, "one for each measured cycle", "add it to patient.toml"))
    return Patient(body.courses, study.observations, body.prior)


def _check_cohort(studies: list[Study]) -> None:
    if not studies:
        raise InputError(
            describe("cohort", "no studies", "at least one, better ten", "hand over the patients' studies")
        )
    ligands = sorted({study.ligand for study in studies})
    if len(ligands) > 1:
        do = "estimate a population for each ligand"
        raise InputError(describe("cohort: ligand", ", ".join(ligands), "one ligand", do))
    named = [study.id for study in studies if study.id != UNNAMED]
    twice = len(named) - len(set(named))
    if twice:
        do = "put all cycles of a patient into one study, or correct the id in patient.toml"
        raise InputError(describe("cohort: id", f"{twice} ids that occurred before", "each patient once", do))


def first_belief(population: Population | None, study: Study, prior: Prior) -> Belief | None:
    """What is known of a patient before any scan; None where the tables alone speak.

    Raises:
        InputError: a population of another ligand.
    """
    if population is None:
        return None
    if population.ligand != study.ligand:
        do = "estimate one from patients of this ligand, or leave it out"
        raise InputError(describe("population: ligand", population.ligand, study.ligand, do))
    return population.belief(prior)


def later_belief(twin: PatientTwin, prior: Prior, cycles_apart: int) -> Belief:
    """What is known of a twin's patient some cycles later, over all parameters of `prior`, by its population."""
    population, belief = population_in(twin), twin.posterior.belief
    if population is None:
        return drifted(extended(belief, prior), cycles_apart)
    return population.drifted(population.extended(belief, prior), cycles_apart)


def said_of(population: Population | None) -> dict[str, str]:
    """What a twin's provenance keeps of its population."""
    if population is None:
        return {}
    words = f"{population.patients} patients of {population.ligand}, {fingerprint(population)}"
    unsure = "" if population.converged else "; its estimate did not converge"
    return {KEY: words + unsure, NUMBERS: text_of(population)}


def population_in(twin: PatientTwin) -> Population | None:
    """The population that a twin was calibrated with.

    Raises:
        InputError: its numbers refer to other tables than the present ones.
    """
    text = twin.provenance.get(NUMBERS)
    return None if text is None else population_of(text)
