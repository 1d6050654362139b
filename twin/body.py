"""From a study to what the engine works with: courses of one tracer each, and the prior of the parameters that move."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from calibration.forward import Course
from calibration.parameters import Prior, prior
from dose.nuclides import radionuclide
from dose.provenance import numbers_of
from dose.regions import is_tumour
from dose.tissues import Tissue, tissue
from pbpk.administration import Administration
from pbpk.anatomy import parts
from pbpk.parameters import ligand
from pbpk.scaling import Physiology, kinetics, physiology
from twin.patient import Study

Tissues = Callable[[str], Tissue]
"""From the name of a region to how its tissue responds."""
STANDARD_TISSUES: Tissues = tissue


@dataclass(frozen=True)
class Body:
    """Anatomy and prior of a study; courses in order of tracer, the therapy's first where it was given."""

    physiology: Physiology
    courses: tuple[Course, ...]
    prior: Prior
    tissues: Tissues

    @property
    def organs(self) -> tuple[str, ...]:
        return self.physiology.organs

    @property
    def first(self) -> Course:
        return self.courses[0]


def body_of(
    study: Study, administrations: tuple[Administration, ...] | None = None, tissues: Tissues = STANDARD_TISSUES
) -> Body:
    """Scale the model to the study's patient; `administrations` (default: the study's) are what is given.

    `tissues` says how fast each organ repairs, and its alpha/beta.

    Raises:
        InputError: volumes or covariates that leave no room for the rest of the body.
    """
    given = study.administrations if administrations is None else administrations
    drug = ligand(study.ligand)
    scaled = physiology(study.covariates, drug.target, _volumes(study), study.anatomy)
    tracers = dict.fromkeys([(study.ligand, study.nuclide), *((a.ligand, a.nuclide) for a in given)])
    courses = (_course(study, scaled, given, tissues, *tracer) for tracer in tracers)
    courses = tuple(course for course in courses if course.administrations)
    return Body(scaled, courses, prior(drug, scaled.organs, study.covariates, study.amino_acids), tissues)


def tables() -> str:
    """A fingerprint of the tables that a posterior's offsets refer to."""
    return " ".join(numbers_of("pbpk", name) for name in ("ligands.csv", "physiology.csv"))


def _volumes(study: Study) -> dict[str, float]:
    """Segmented volumes as the model's organs: two sides of a lumped gland are added, unseen tumours get a volume."""
    volumes = dict(study.volumes_mL)
    for gland in ("parotid", "submandibular"):
        sides = [volumes.pop(f"{gland}_{side}", None) for side in ("left", "right")]
        known = [v for v in sides if v is not None]
        if known and gland not in volumes:
            volumes[gland] = 2 * sum(known) / len(known)
    seen = (r for r in study.observations.region if is_tumour(r) and r not in volumes)
    volumes |= dict.fromkeys(seen, UNSEGMENTED_TUMOUR_ML)
    organs = study.anatomy.organs(ligand(study.ligand).target, study.covariates.sex, ())
    usable = lambda r: is_tumour(r) or r.startswith("kidney_") or bool(parts(r, organs))
    return {r: v for r, v in volumes.items() if usable(r)}


UNSEGMENTED_TUMOUR_ML = 10.0
"""Volume of a tumour that was measured without one: its dose then carries the wide mass error of noise.csv."""


def _course(study: Study, scaled: Physiology, given, tissues: Tissues, drug_name: str, nuclide_name: str) -> Course:
    nuclide = radionuclide(nuclide_name)
    repair = {o: tissues(o).repair_rate_per_h / 60 for o in scaled.organs}
    drug = ligand(drug_name)
    therapy = (drug_name, nuclide_name) == (study.ligand, study.nuclide)
    kin = kinetics(scaled, study.covariates, drug, nuclide, repair, amino_acids=study.amino_acids if therapy else None)
    mine = tuple(a for a in given if (a.ligand, a.nuclide) == (drug_name, nuclide_name))
    return Course(kin, nuclide, mine)
