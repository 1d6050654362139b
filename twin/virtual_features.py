"""Virtual patients as the learned organ doses see them: a diagnostic PET with its errors, covariates, and true doses.

Patients are those of virtual trials (`twin.trial.people`): block k of a case's seed k. Both tracers meet the same body,
lesions and offsets of parameters. The PET is read as `calibration.noise` says that a PET is: calibration, recovery,
contour and an error of the scan itself, each lognormal. A lesion's SUVs keep their loss by partial volume: that of a
sphere under the PET's point spread (imaging/data/measurement.csv), with the patient's own deviation from its width.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from scipy.special import erf

from calibration import noise
from calibration.forward import pool_weights
from dose.learning.cases import Case
from dose.learning.recipe import Config
from dose.network.features_input import CONTOURED, LESION_FEATURES, ORGANS, logs
from dose.nuclides import radionuclide
from dose.regions import density_g_per_mL, is_tumour
from imaging.recovery import measurement, sphere_recovery
from pbpk.anatomy import parts
from pbpk.kinetics import Kinetics
from pbpk.parameters import ligand
from twin.deposit import marrow_photons
from twin.outlook.nodes import Ask, Solved, per_MBq
from twin.study import split_tracer
from twin.trial.design import design_of
from twin.trial.people import EMPTY_ML, Group, group
from twin.trial.physics import SMALLEST_G, absorbed_energy, kinetics_of

FWHM_PER_SIGMA = 2 * np.sqrt(2 * np.log(2))
MOST_LESIONS = 10
"""Lesions of a patient that a case keeps, the first drawn: they are in no order."""
STEEPEST = 1.2
"""As `twin.trial.lesion_doses.STEEPEST`."""
SUV_MAX_SD = 0.10
"""Log sd of the noise of a highest voxel (or peak); a setting, not a measurement."""
SIZES_ML = np.geomspace(0.01, 5000.0, 80)


@dataclass(frozen=True)
class Change:
    """How patients differ from those of the training: factors of GFR and of all release rates of the therapy, log sd of
    a change of each region's uptake between the PET and the therapy."""

    gfr: float = 1.0
    release: float = 1.0
    uptake_log_sd: float = 0.0


USUAL = Change()


class Seen(NamedTuple):
    """What a PET shows: activity (MBq per MBq given, decay-corrected) and volume (mL) of organs [patient, organ]; of
    lesions [patient, lesion] volume, mean and highest concentration (per mL) without correction; `rest` [patient] per
    mL."""

    organ_MBq: np.ndarray
    organ_mL: np.ndarray
    lesion_mL: np.ndarray
    lesion_mean: np.ndarray
    lesion_max: np.ndarray
    rest: np.ndarray


@dataclass(frozen=True, eq=False)
class Virtual:
    """One block: `dose_Gy_per_GBq` [patient, organ], `lesion_Gy_per_GBq` [patient, lesion]; 0 where no lesion is."""

    group: Group
    seen: Seen
    dose_Gy_per_GBq: Float[np.ndarray, "patient organ"]
    lesion_Gy_per_GBq: Float[np.ndarray, "patient lesion"]


def people_of(seed: int, data) -> Group:
    """The block of this number."""
    arm = {"name": "one"}
    words = {"name": "virtual features", "seed": int(data["population"]), "tracer": data["tracer"], "arms": [arm]}
    return group(design_of(words | {"cohort": {"response": False, "drift": False}}), seed)


def virtual(seed: int, data, change: Change = USUAL) -> Virtual:
    """The patients of a block, scanned and treated. `data`: tracer, pet, time_h, population."""
    found = people_of(seed, data)
    gfr = found.people.gfr_mL_min * change.gfr
    found = replace(found, people=found.people._replace(gfr_mL_min=gfr))
    random = np.random.default_rng([seed, 11])
    pet = _solved(found, data["pet"], "diagnostic", float(data["time_h"]))
    therapy = _solved(found, data["tracer"], "therapy", 24.0, change.release)
    moved = np.exp(change.uptake_log_sd * random.standard_normal((found.count, len(ORGANS) + 1)))
    return Virtual(
        found,
        _scanned(found, pet.activity[:, 0], float(data["time_h"]), data["pet"], random),
        _organ_doses(found, therapy.tia, data["tracer"]) * moved[:, :-1],
        _lesion_doses(found, therapy.tia, data["tracer"]) * moved[:, -1:],
    )


def case(seed: int, config: Config) -> Case:
    """One block as a network learns from it."""
    return case_of(virtual(seed, config.data))


def case_of(of: Virtual) -> Case:
    """Logs, NaN nowhere: `patient` [patient, feature], `dose` [patient, organ] (of Gy/GBq); of up to `MOST_LESIONS` of
    each patient `lesion` [lesion, feature], `lesion_dose` and `whose` [lesion], the row of its patient."""
    good = np.isfinite(of.dose_Gy_per_GBq).all(axis=1) & (of.dose_Gy_per_GBq > 0).all(axis=1) & of.group.bodies.possible
    there = (of.lesion_Gy_per_GBq > 0) & (np.arange(of.lesion_Gy_per_GBq.shape[1]) < MOST_LESIONS) & good[:, None]
    whose, which = np.nonzero(there)
    suv = of.group.people.weight_kg[:, None] * 1000
    rows = (of.seen.lesion_mL, of.seen.lesion_mean * suv, of.seen.lesion_max * suv)
    return {
        "patient": logs(_features(of))[good],
        "dose": np.log(of.dose_Gy_per_GBq[good]),
        "lesion": logs(np.stack([row[whose, which] for row in rows], axis=1), LESION_FEATURES),
        "lesion_dose": np.log(of.lesion_Gy_per_GBq[whose, which]),
        "whose": (np.cumsum(good) - 1)[whose],
        "number": of.group.people.number[good],
    }


def _features(of: Virtual) -> np.ndarray:
    """In the order of `dose.network.features_input.FEATURES`, [patient, feature]."""
    seen, people = of.seen, of.group.people
    suv = people.weight_kg * 1000
    lesion = seen.lesion_mL > 0
    return np.column_stack([
        seen.organ_MBq / seen.organ_mL * suv[:, None],
        seen.rest * suv,
        seen.lesion_mL.sum(axis=1),
        np.sum(seen.lesion_mL * seen.lesion_mean, axis=1) * suv,
        lesion.sum(axis=1),
        seen.lesion_max.max(axis=1) * suv,
        seen.organ_mL[:, [ORGANS.index(organ) for organ in CONTOURED]],
        people.weight_kg, people.height_m, people.age_y, people.gfr_mL_min, people.haematocrit, people.female,
    ])  # fmt: skip


def _solved(of: Group, tracer: str, use: str, time_h: float, release: float = 1.0) -> Solved:
    """Per MBq: TIA and activity at one hour, [pool, patient]; lanes that failed are NaN."""
    drug, name = split_tracer(tracer, "tracer")
    kin, amount = kinetics_of(of, drug, name), ligand(drug).typical_amount_nmol(use)
    kin = Kinetics(**{**vars(kin), "release": kin.release * release})
    one = np.ones(1)
    ask = Ask(amount * one, one, 0.0, 0.0, 0.0, time_h * one, np.array([]))
    found, failed = per_MBq(jax.tree.map(jnp.asarray, kin), radionuclide(name), ask, amount)
    return found._replace(tia=np.where(failed, np.nan, np.asarray(found.tia)), activity=np.asarray(found.activity))


def mL_of(of: Group, region: str) -> np.ndarray:
    """Volume of a region, [patient]."""
    rows = [of.bodies.organs.index(o) for o in parts(region, of.bodies.organs)]
    return 1000 * of.bodies.volume_L[rows].sum(axis=0)


def _in_regions(of: Group, pools: np.ndarray, regions) -> np.ndarray:
    """Sums over pools [pool, patient] of each region, [patient, region]."""
    return np.stack([pool_weights(r, of.bodies.organs, frozenset()) @ pools for r in regions], axis=1)


def _classes(of: Group) -> tuple[str, ...]:
    return tuple(o for o in of.bodies.organs if is_tumour(o))


def _organ_doses(of: Group, tia: np.ndarray, tracer: str) -> np.ndarray:
    """Gy per GBq, [patient, organ]."""
    nuclide = split_tracer(tracer, "tracer")[1]
    doses = 1000 * _in_regions(of, tia, ORGANS)
    for k, organ in enumerate(ORGANS):
        grams = mL_of(of, organ) * density_g_per_mL(organ)
        doses[:, k] *= absorbed_energy(organ, nuclide)[0](grams) / grams
    doses[:, ORGANS.index("red_marrow")] += 1000 * marrow_photons(nuclide) * tia.sum(axis=0)
    return doses


def _lesion_doses(of: Group, tia: np.ndarray, tracer: str) -> np.ndarray:
    grams = of.lesions.volume_mL * density_g_per_mL("tumour_1")
    absorbed = absorbed_energy("tumour_1", split_tracer(tracer, "tracer")[1])[0]
    per_g = absorbed(np.maximum(grams, SMALLEST_G)) / density_g_per_mL("tumour_1")
    return 1000 * per_g * in_lesions(of, _in_regions(of, tia, _classes(of)) / of.class_mL)


def in_lesions(of: Group, of_class: Float[np.ndarray, "patient class"]) -> Float[np.ndarray, "patient lesion"]:
    """Concentration in each lesion from that in the classes they are solved in: by receptor density, on log scales,
    with the sum in each class kept (as `twin.trial.lesion_doses`). 0 where there is no lesion."""
    out = np.zeros_like(of.lesions.volume_mL)
    for k in range(of.count):
        used, there = of.class_mL[k] > EMPTY_ML, of.classes[k] >= 0
        x, y = np.log(of.class_uptake[k][used]), np.log(np.maximum(of_class[k][used], 1e-300))
        out[k, there] = np.exp(_between(np.log(of.lesions.relative_uptake[k][there]), x, y))
        for c in np.flatnonzero(used):
            mine = there & (of.classes[k] == c)
            mL = of.lesions.volume_mL[k][mine]
            out[k, mine] *= of_class[k, c] * mL.sum() / np.sum(mL * out[k, mine])
    return out


def _between(at: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Interpolated in rising x, continued with the slopes at its ends; proportional where there is one point."""
    keep = np.concatenate([[True], np.diff(x) > 1e-6])
    x, y = x[keep], y[keep]
    slope = np.clip(np.diff(y) / np.diff(x), 0.0, STEEPEST) if len(x) > 1 else np.ones(1)
    return np.interp(at, x, y) + np.minimum(at - x[0], 0.0) * slope[0] + np.maximum(at - x[-1], 0.0) * slope[-1]


def _scanned(of: Group, pools: np.ndarray, time_h: float, tracer: str, random: np.random.Generator) -> Seen:
    """What the PET shows of activities [pool, patient] at its time."""
    undecayed = np.exp(np.log(2) * time_h / radionuclide(split_tracer(tracer, "pet")[1]).half_life_h)
    pools = pools * undecayed
    camera = noise.relative_sd("calibration", "PET") * random.standard_normal((of.count, 1))
    organ_mL = np.stack([mL_of(of, organ) for organ in ORGANS], axis=1)
    MBq = _in_regions(of, pools, ORGANS)
    lesions = in_lesions(of, _in_regions(of, pools, _classes(of)) / of.class_mL)
    outside = pools.sum(axis=0) - MBq.sum(axis=1) - _in_regions(of, pools, _classes(of)).sum(axis=1)
    left_mL = 1000 * of.people.weight_kg - organ_mL.sum(axis=1) - of.class_mL.sum(axis=1)
    contour, read = errors("kidneys", MBq.shape, random)
    rest = (
        outside
        / left_mL
        * np.exp(camera[:, 0] + noise.relative_sd("PET", "kidneys") * random.standard_normal(of.count))
    )
    return Seen(
        MBq * np.exp(camera + read), organ_mL * np.exp(contour), *_lesions_seen(of, lesions, camera, random), rest
    )


def errors(region: str, shape: tuple[int, ...], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Log errors of a contour's volume, and of the activity found in it, calibration apart."""
    contour = noise.volume_log_sd(region) * random.standard_normal(shape)
    own = np.hypot(noise.relative_sd("PET", region), noise.relative_sd("recovery", region))
    return contour, noise.relative_sd("volume_load", region) * contour + own * random.standard_normal(shape)


def _lesions_seen(of: Group, true: np.ndarray, camera: np.ndarray, random: np.random.Generator):
    """Volume, mean and highest concentration of each lesion as seen."""
    pet, mL = measurement("PET"), of.lesions.volume_mL
    width = np.exp(pet.fwhm_cv * random.standard_normal((of.count, 1)))
    contour, read = errors("tumour_1", mL.shape, random)
    there = mL > 0
    safe = np.where(there, mL, 1.0)
    lost, peak = (recovery(safe / width**3) for recovery in (mean_recovery, peak_recovery))
    seen_mL = np.where(there, mL * np.exp(contour), 0.0)
    mean = true * lost * np.exp(camera + read - contour)
    highest = true * peak * np.exp(camera + SUV_MAX_SD * random.standard_normal(mL.shape))
    return seen_mL, np.where(there, mean, 0.0), np.where(there, np.maximum(highest, mean), 0.0)


def mean_recovery(mL: np.ndarray) -> np.ndarray:
    """Of a sphere's mean under the PET's point spread."""
    return np.interp(np.log(mL), np.log(SIZES_ML), _recoveries())


@cache
def _recoveries() -> np.ndarray:
    return np.array([sphere_recovery(float(mL), measurement("PET").fwhm_mm) for mL in SIZES_ML])


def peak_recovery(mL: np.ndarray) -> np.ndarray:
    """At the middle of a sphere under a Gaussian point spread: the share of it within the radius."""
    u = 10 * (3 * mL / (4 * np.pi)) ** (1 / 3) * FWHM_PER_SIGMA / measurement("PET").fwhm_mm
    return erf(u / np.sqrt(2)) - np.sqrt(2 / np.pi) * u * np.exp(-(u**2) / 2)
