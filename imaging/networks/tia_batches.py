"""Batches for the two networks of time-integrated activity, drawn from virtual patients (`twin.virtual_tia`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from dose.learning.recipe import Case, Config
from imaging.networks import tia_scans as scans
from imaging.networks.tia_inputs import label_map, named_regions, pet_channels, prior_fill, spect_channels
from imaging.networks.tia_rules import by_rules, patterned
from imaging.networks.tia_scans import TRACERS, LU_HALF_LIFE_h, names_of

VOXELS = {"kidney": 1.0, "tumour": 1.5, "liver": 0.7, "spleen": 0.7, "gland": 0.5, "gut": 0.05, "marrow": 0.003}
VOXEL_WEIGHTS = VOXELS | {"soft": 0.01, "lungs": 0.01, "blood": 0.0}
"""What a label of a class weighs in the likelihood of voxels."""

REGION_WEIGHTS = {"kidney": 1.0, "tumour": 1.5, "liver": 0.7, "spleen": 0.7, "gland": 0.4}
"""What a label of a class weighs in the errors of sums."""

LABELS = 96
LEAST_SUV = 1e-3
LEAST_VOXELS = 4
"""Regions of which a crop holds less count for nothing."""

MISSED = 0.1
"""Part of the regions that the SPECT network is not told of in training, as a user's masks may lack a lesion."""


@dataclass(frozen=True)
class Spect:
    """One simulated scan, [z, y, x] each: `seen` the noisy SUV, `truth` the SUV h of the same blur, `log_factor_h` the
    logarithm of noise-free `truth` over activity."""

    seen: np.ndarray
    truth: np.ndarray
    log_factor_h: np.ndarray
    time_h: float
    half_life_h: float


@dataclass(frozen=True)
class Scan:
    """How a scan is taken."""

    fwhm_mm: float
    noise: float
    time_h: float = 0.0
    half_life_h: float = LU_HALF_LIFE_h


def scan_of(training: Mapping, random: np.random.Generator) -> Scan:
    """A scan drawn from the ranges of [training]."""
    fwhm, noise = float(random.uniform(*training["fwhm_mm"])), scans.between(random, training["noise"])
    if "time_h" not in training:
        return Scan(fwhm, noise)
    other = random.random() < 0.25
    half = scans.between(random, training["half_life_h"]) if other else LU_HALF_LIFE_h
    return Scan(fwhm, noise, float(random.uniform(*training["time_h"])), half)


def spect(case: Case, draw: int, scan: Scan, random: np.random.Generator) -> Spect:
    """The SPECT of one draw of a case."""
    spacing = float(case["spacing_mm"][0])
    fine = scans.texture(case["labels"], names_of(case), spacing, random)
    mean = scans.blurred(scans.activity(case, draw, fine, scan.time_h, scan.half_life_h), scan.fwhm_mm, spacing)
    truth = scans.blurred(scans.integrated(case, draw, fine, scan.half_life_h), scan.fwhm_mm, spacing)
    seen = scans.noisy(mean, scan.noise, 0.7 * scan.fwhm_mm, spacing, random)
    log = np.log(np.maximum(truth, LEAST_SUV)) - np.log(np.maximum(mean, LEAST_SUV / 100))
    return Spect(seen, truth, log, scan.time_h, scan.half_life_h)


def pet(case: Case, draw: int, scan: Scan, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """The noisy PET in SUV and the true SUV h, which is not blurred."""
    spacing = float(case["spacing_mm"][0])
    fine = scans.texture(case["labels"], names_of(case), spacing, random)
    mean = scans.blurred(scans.suv_of_pet(case, draw, fine), scan.fwhm_mm, spacing)
    return scans.noisy(mean, scan.noise, 0.7 * scan.fwhm_mm, spacing, random), scans.integrated(case, draw, fine)


def single_batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    """A batch of `tia_model.loss` for the SPECT network."""
    return _stacked(cases, random, config, _single)


def pet_batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    """A batch of `tia_model.loss` for the PET network."""
    return _stacked(cases, random, config, _from_pet)


def _stacked(cases, random, config, make: Callable) -> dict[str, np.ndarray]:
    """Parts of whole pictures: regions are seen whole, as they are when the network is used."""
    made = []
    for _ in range(int(config.training["batch"])):
        case = cases[int(random.integers(len(cases)))]
        draw = int(random.integers(len(case["tia"])))
        whole = {**make(case, draw, config, random), "labels": case["labels"]}
        part = scans.cut(whole, config.training["patch"], random)
        made.append({**part, **_weights(part["labels"], names_of(case))})
    return {name: np.stack([one[name] for one in made]) for name in made[0]}


def _single(case: Case, draw: int, config: Config, random: np.random.Generator) -> dict[str, np.ndarray]:
    scan = scan_of(config.training, random)
    taken = spect(case, draw, scan, random)
    tracer, regions = TRACERS[int(case["tracer"])], named_regions(case["labels"], names_of(case))
    regions = {name: mask for name, mask in regions.items() if random.random() >= MISSED}
    known = tracer, taken.time_h, taken.half_life_h
    blur = {"fwhm_mm": scan.fwhm_mm, "spacing_mm": case["spacing_mm"][::-1]}
    base = by_rules(taken.seen, *known, regions, **blur)[0]
    return {
        "x": spect_channels(taken.seen, case["hu"], regions, base, *known, **blur),
        "base": base,
        "value": np.maximum(taken.seen, 0),
        "log_true": taken.log_factor_h,
        "truth": taken.truth,
        "prior": np.zeros(LABELS, np.float32),
        "tie": np.array(0.0, np.float32),
    }


def _from_pet(case: Case, draw: int, config: Config, random: np.random.Generator) -> dict[str, np.ndarray]:
    scan = scan_of(config.training, random)
    seen, truth = pet(case, draw, scan, random)
    tracer, names = TRACERS[int(case["tracer"])], names_of(case)
    labels, merged = label_map(named_regions(case["labels"], names), case["labels"] > 0)
    mL = np.bincount(labels.ravel(), minlength=len(merged)) * float(np.prod(case["spacing_mm"])) / 1000
    means = prior_fill(seen, labels, merged, tracer, mL)
    prior = [means[merged.index(name)] if name in merged else means[1] for name in names]
    return {
        "x": pet_channels(seen, case["hu"], labels, merged, means, tracer, scan.fwhm_mm),
        "base": patterned(means, seen, labels),
        "value": (case["labels"] > 0).astype(np.float32),
        "log_true": np.log(np.maximum(truth, LEAST_SUV)),
        "truth": truth,
        "prior": np.pad(np.array(prior, np.float32), (0, LABELS - len(prior))),
        "tie": np.array(config.training["tie"], np.float32),
    }


def _weights(labels: np.ndarray, names: Sequence[str]) -> dict[str, np.ndarray]:
    counts = np.bincount(labels.ravel(), minlength=LABELS)
    region = np.zeros(LABELS, np.float32)
    for k, name in enumerate(names):
        if k and counts[k] >= LEAST_VOXELS and name not in scans.ODD:
            region[k] = REGION_WEIGHTS.get(scans.class_of(name), 0.0)
    weight = scans.balance(labels, names, VOXEL_WEIGHTS)
    return {"weight": weight, "region_weight": region / max(float(region.sum()), 1e-9)}
