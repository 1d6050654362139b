"""A map of time-integrated activity per administered GBq, before therapy, from the diagnostic PET.

The kinetic model's cohort says what mean a region's uptake lets expect (`tia_tables`); the classical map has these
means, and within regions the PET's pattern. The network sees the means beside PET and CT and tells where voxels depart
from the map; in training, departures of the regions' means are punished (after Kassar et al., recalled), and
`tie="exact"` takes them away altogether.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose, positive
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import found_weights
from dose.regions import members
from imaging.geometry import Volume
from imaging.networks.organs_input import pieces_of
from imaging.networks.tia_batches import pet, pet_batch, scan_of
from imaging.networks.tia_checks import checked, checked_mass, masks_on, within_body
from imaging.networks.tia_inputs import (
    body_mask,
    label_map,
    limits_of,
    pet_channels,
    prior_fill,
    seen_features,
    without_class,
)
from imaging.networks.tia_model import loss, network
from imaging.networks.tia_rules import patterned, tied
from imaging.networks.tia_scans import class_of
from imaging.networks.tia_single import by_network, no_case
from imaging.networks.tia_tables import predicted_log_tia

NAME = "tia_from_pet"
TIES = ("loose", "exact")
UNEVEN_LOG_SD = 0.25
"""Sd of the logarithm of a voxel within its region, of the classical map: the simulation's own unevenness."""

LEAST_PIECE = 0.05
"""Of a union's voxels: smaller pieces are flecks, and no organ of their own."""


@dataclass(frozen=True)
class ForeseenTIA:
    """Time-integrated activity of each voxel per administered GBq.

    Attributes:
        volume: MBq h/mL per GBq, to the end of time.
        log_sd: of its logarithm, [z, y, x]: the network's second output, or the scatter of the cohort about the
            prediction with the unevenness of voxels.
        region_mean: the kinetic model's prediction for each region, MBq h/mL per GBq.
        choice: the method, and why not the network; and regions without a class, which are in the remainder.
    """

    volume: Volume
    log_sd: Float[np.ndarray, "z y x"]
    region_mean: Mapping[str, float]
    choice: Choice


def tia_from_pet_scan(
    suv: Volume,
    ct: Volume,
    regions: Mapping[str, np.ndarray | Volume],
    *,
    mass_g: float,
    tracer: str,
    fwhm_mm: float,
    tie: str = "loose",
    method: str = "auto",
    weights: Path | None = None,
    progress: Progress = silent,
) -> ForeseenTIA:
    """The map that a therapy with 177Lu would leave.

    Args:
        suv: PET an hour after 68Ga-PSMA-11 or 68Ga-DOTATATE, by body weight.
        ct: HU on the same grid.
        regions: masks by name as in `dose.regions`, arrays [z, y, x] or volumes: kidneys, liver, spleen, glands and
            tumours; all else of the body is one region. Voxels above one half are within.
        mass_g: of the patient.
        tracer: "psma" or "sstr".
        fwhm_mm: resolution of the PET.
        tie: "exact" scales the network's map in each region to the kinetic model's mean.
        method: "auto", "network" or "classical" (the kinetic model's mean in each region, with
            the PET's pattern).

    Raises:
        InputError: what is no volume, numbers not above 0, a mass of no patient, an unknown tracer, tie or method, no
            activity, more activity than SUVs of such a body can hold.
        ImageError: an image too small, a CT or mask on another grid, a mask without a voxel.
    """
    checked(suv, ct, tracer, "PET")
    positive(fwhm_mm=fwhm_mm)
    checked_mass(mass_g)
    within_body(suv, mass_g)
    if tie not in TIES:
        raise InputError(describe("tie", repr(tie), f"one of {TIES}", "choose one"))
    masks = masks_on(regions, suv)
    labels, names = label_map(masks, body_mask(ct.array))
    trained, why = found_weights(NETWORK, weights)
    known = seen_features(suv, suv.array, ct.array, fwhm_mm)
    limits = trained.limits if trained else None
    choice = choose(method, limits, known, default=bool(trained and trained.default), why=why)
    mL = np.bincount(labels.ravel(), minlength=len(names)) * suv.voxel_mL / _organs_in(labels, names)
    log_means = prior_fill(suv.array, labels, names, tracer, mL)
    log, sd = patterned(log_means, suv.array, labels), _classical_sd(labels, names, tracer)
    if choice.method == "network" and trained is not None:
        channels = pet_channels(suv.array, ct.array, labels, names, log_means, tracer, fwhm_mm)
        log, sd = by_network(trained.members, channels, log, progress)
        log = tied(log, labels, log_means) if tie == "exact" else log
    per_GBq = 1000.0 / mass_g
    array = np.where(labels > 0, np.exp(log) * per_GBq, 0.0).astype(np.float32)
    said = {name: float(np.exp(log_means[k]) * per_GBq) for k, name in enumerate(names) if k}
    choice = replace(choice, reasons=(*choice.reasons, *without_class(masks, "part of the remainder")))
    return ForeseenTIA(suv.with_array(array), sd, said, choice)


def _organs_in(labels: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """Organs that each label [label] holds, 1 or more: a union's pieces, at most as many as it has members.

    The regression on volume is of single organs: both kidneys in one mask are not a kidney of twice the size.
    """
    most = [len(members(name)) if class_of(name) in ("kidney", "gland") else 1 for name in names]
    return np.array([min(m, _pieces(labels == k)) if m > 1 else 1 for k, m in enumerate(most)])


def _pieces(mask: np.ndarray) -> int:
    """Connected pieces of a mask that are no flecks."""
    sizes = np.bincount(pieces_of(mask)[0][mask])
    return max(1, int((sizes >= LEAST_PIECE * max(sizes.sum(), 1)).sum()))


def _classical_sd(labels, names, tracer: str) -> np.ndarray:
    sd = [np.hypot(predicted_log_tia(tracer, class_of(name), 1.0, 1.0, 1.0)[1], UNEVEN_LOG_SD) for name in names]
    return np.array(sd, np.float32)[labels]


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Ranges of the features of simulated PETs of the training cases."""
    seen, random = [], np.random.default_rng(0)
    for case in cases:
        scan = scan_of(config.training, random)
        image, _ = pet(case, int(random.integers(len(case["tia"]))), scan, random)
        volume = Volume(image, np.diag([*case["spacing_mm"], 1.0]))
        seen.append(seen_features(volume, image, case["hu"].astype(np.float32), scan.fwhm_mm))
    return limits_of(seen, float(config.data["voxel_mm"]), {"fwhm_mm": config.training["fwhm_mm"]})


NETWORK = Recipe(NAME, "imaging.networks", no_case, pet_batch, partial(network, NAME), loss, limits)
"""The network but for its cases; with them it is `twin.network_recipes.TIA_FROM_PET`."""
