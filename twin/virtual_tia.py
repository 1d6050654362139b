"""Virtual patients for the networks of time-integrated activity: bodies in voxels with the kinetic model's curves.

A case is one body with lesions (`imaging.networks.acquisitions.field_of_view`) and many draws of kinetics on it: people
and spreads as in virtual trials (`pbpk.population`, `calibration.parameters.between_patients`), the lesions' volumes
those of the picture. Therapy with 177Lu-PSMA-617 or 177Lu-DOTATATE, before it a PET with 68Ga-PSMA-11 or
68Ga-DOTATATE. Activities are in SUV, so that a patient's mass and administered activity leave the numbers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import jax
import numpy as np

from calibration.observations import Observations
from calibration.parameters import between_patients
from dose.errors import InputError
from dose.learning.recipe import Case, Config
from imaging.geometry import Volume
from imaging.networks.acquisitions import field_of_view
from imaging.networks.tia_scans import TRACERS, HOURS_h
from imaging.scanner.anatomy import Anatomy
from pbpk.administration import Administration
from pbpk.parameters import Covariates, ligand
from pbpk.population import draw_people
from twin.body import Body, body_of
from twin.forecast import states, tia_MBq_h
from twin.patient import Study

LIGANDS = {"psma": ("PSMA-617", "PSMA-11"), "sstr": ("DOTATATE", "DOTATATE")}
"""Of therapy and of the PET before it."""

THERAPY_MBq, PET_MBq, PET_h = 7400.0, 150.0, 1.0
AMOUNT_LOG_SD = 0.15
"""Spread of the ligand amount about the usual one: an assumption."""

LESIONS = 6
"""Slots for lesions; those that a body lacks have EMPTY_ML."""

EMPTY_ML = 1e-3
REST_mL, REST_GSD = 60.0, 3.0
"""Burden outside of the picture, log-normal: an assumption made wide."""

TRACER_LOG_SD = 0.1
"""By which a region's PET uptake departs from what the therapy's parameters say: an assumption."""

MARGIN_mm = 30.0
"""Air that is kept about the body."""

BLOOD, SOFT, MARROW = ("blood",), ("muscle", "adipose", "remainder"), ("red_marrow", "bone")
POOLS: dict[str, tuple[str, ...]] = {
    **{name: (name,) for name in ("kidney_left", "kidney_right", "liver", "spleen", "lungs", "lacrimal")},
    **{name: (name,) for name in ("adrenals", "prostate", "brain", "heart", "skin")},
    **{f"{gland}_{side}": (gland,) for gland in ("parotid", "submandibular") for side in ("left", "right")},
    "sublingual": ("submandibular",),
    **dict.fromkeys(("stomach", "small_intestine", "left_colon", "right_colon", "rectosigmoid"), ("gi",)),
    **dict.fromkeys(("skull", "mandible", "cervical_spine", "thoracic_spine", "lumbar_spine", "sacrum"), MARROW),
    **dict.fromkeys(("ribs", "sternum", "clavicles", "scapulae", "humeri_upper", "os_coxae", "femora_upper"), MARROW),
    "heart_contents": BLOOD,
    "bladder_contents": BLOOD,
}
"""Pools of the kinetic model whose mean concentration a label has; all other labels have that of SOFT."""

URINE_OVER_BLOOD = (5.0, 50.0)
"""Urine follows the blood with a factor drawn evenly in the logarithm; the bladder is judged nowhere."""


def tia_case(seed: int, config: Config) -> Case:
    """The case of a seed; `config.data` has voxel_mm, draws, and may have `slower`."""
    return virtual_patients(seed, config.data)


def virtual_patients(seed: int, data: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Labels and CT of one body, and by kinetic draw and label what each holds.

    Returns:
        labels [z, y, x], hu, names (JSON), spacing_mm, tracer (index of TRACERS), curve [draw, label, hour] in SUV at
        HOURS_h with the decay of 177Lu, tia [draw, label] in SUV h, pet [draw, label] in SUV after an hour.
    """
    random = np.random.default_rng([seed, 9])
    tracer = TRACERS[int(random.integers(2))]
    anatomy = trimmed(field_of_view(seed, float(data["voxel_mm"])))
    body = _body(anatomy, tracer, seed, random)
    prior = between_patients(body.prior)
    draws = int(data["draws"])
    offsets = random.multivariate_normal(np.zeros(len(prior.names)), prior.covariance, method="eigh", size=draws)
    slower = np.log(float(data.get("slower", 1.0)))
    offsets = offsets - slower * np.array([name.startswith(("release", "filtration")) for name in prior.names])
    therapy, pet = _uptake(body, prior.names, offsets)
    mix = _mix(anatomy.names, body, random)
    curve, tia, seen = (np.einsum("lp,pd...->dl...", mix, pools) for pools in (therapy[0], therapy[1], pet))
    seen = seen * np.exp(TRACER_LOG_SD * random.standard_normal(seen.shape))
    return {
        "labels": anatomy.labels.astype(np.uint8),
        "hu": anatomy.ct.array.astype(np.float16),
        "names": np.array(json.dumps(anatomy.names)),
        "spacing_mm": anatomy.ct.spacing_mm,
        "tracer": np.array(TRACERS.index(tracer)),
        "curve": curve.astype(np.float32),
        "tia": tia.astype(np.float32),
        "pet": seen.astype(np.float32),
    }


def trimmed(anatomy: Anatomy) -> Anatomy:
    """The anatomy without the air that lies farther than MARGIN_mm from the body in a slice's plane."""
    margin = round(MARGIN_mm / anatomy.ct.spacing_mm[0])
    inside = [np.flatnonzero((anatomy.labels > 0).any(axis=axes)) for axes in ((0, 2), (0, 1))]
    where = [slice(max(0, int(k[0]) - margin), int(k[-1]) + margin + 1) for k in inside]
    affine = anatomy.affine.copy()
    affine[:3, 3] = anatomy.ct.to_lps_mm([where[1].start, where[0].start, 0])
    return replace(
        anatomy,
        labels=anatomy.labels[:, where[0], where[1]],
        ct=Volume(anatomy.ct.array[:, where[0], where[1]], affine),
    )


def _body(anatomy: Anatomy, tracer: str, seed: int, random: np.random.Generator) -> Body:
    """The kinetic model of a drawn person with the picture's lesions."""
    drug, diagnostic = LIGANDS[tracer]
    amounts = ligand(drug).typical_amount_nmol("therapy"), ligand(diagnostic).typical_amount_nmol("diagnostic")
    nmol = np.array(amounts) * np.exp(AMOUNT_LOG_SD * random.standard_normal(2))
    given = (
        Administration(1, 0.0, THERAPY_MBq, float(nmol[0]), 0.0, drug, "177Lu"),
        Administration(0, -168.0, PET_MBq, float(nmol[1]), 0.0, diagnostic, "68Ga"),
    )
    volumes = {f"tumour_{k + 1}": EMPTY_ML for k in range(LESIONS)}
    held = {n: anatomy.volume_mL(n) for n in anatomy.names if n.startswith("tumour_")}
    volumes |= {name: volume for name, volume in held.items() if volume > 0}
    volumes["tumour_rest"] = float(np.exp(np.log(REST_mL) + np.log(REST_GSD) * random.standard_normal()))
    person = draw_people(tracer, jax.random.key(0), seed, seed + 1).covariates(0)
    study = Study("virtual", person, drug, "177Lu", given, Observations.empty(), volumes)
    try:
        return body_of(study)
    except InputError:  # parts that do not fit into this person
        return body_of(replace(study, covariates=Covariates.of(sex="male", weight_kg=80.0, height_m=1.75)))


def _uptake(body: Body, names, offsets):
    """SUV [pool, draw, hour] and its integral in SUV h [pool, draw] of the therapy, SUV [pool, draw] of the PET."""
    therapy, pet = body.courses
    per_mL = _mass_g(body) / _volumes_mL(body)[:, None]
    found = states(therapy, names, offsets, np.array([*(60 * HOURS_h), therapy.end_min]))
    MBq = therapy.nuclide.activity_MBq_per_nmol * found.amount[:, :-1]
    curve = np.moveaxis(MBq, 1, 2) * per_mL[..., None] / THERAPY_MBq
    tia = tia_MBq_h(found, therapy)[:, -1] * per_mL / THERAPY_MBq
    early = states(pet, names, offsets, np.array([60 * PET_h, pet.end_min])).amount[:, 0]
    grown = np.exp(pet.nuclide.decay_constant_per_h * PET_h)  # SUV is corrected to the administration
    return (curve, tia), grown * pet.nuclide.activity_MBq_per_nmol * early * per_mL / PET_MBq


def _mass_g(body: Body) -> float:
    """Of the whole patient, at 1 g/mL of the model's volumes."""
    return 1000.0 * float(body.physiology.volume_L.sum())


def _volumes_mL(body: Body) -> np.ndarray:
    """Of organs, then of the large vessels' plasma by vein, artery and protein."""
    scaled = body.physiology
    blood = float(np.sum(scaled.arterial_L) + np.sum(scaled.venous_L))
    return 1000.0 * np.concatenate([np.ravel(scaled.volume_L), np.full(3, blood)])


def _mix(names, body: Body, random: np.random.Generator) -> np.ndarray:
    """Weights [label, pool] of concentrations: by volume among the pools of a label."""
    volumes = _volumes_mL(body)
    mix = np.zeros((len(names), len(volumes)))
    urine = float(np.exp(random.uniform(*np.log(URINE_OVER_BLOOD))))
    for k, name in enumerate(names):
        if k == 0:
            continue
        pools = (name,) if name.startswith("tumour_") else POOLS.get(name, SOFT)
        if pools == BLOOD:
            mix[k, -3:] = urine if name == "bladder_contents" else 1.0
            continue
        held = pools if set(pools) <= set(body.organs) else SOFT  # women of the model lack a prostate
        at = [body.organs.index(pool) for pool in held]
        mix[k, at] = volumes[at] / volumes[at].sum()
    return mix
