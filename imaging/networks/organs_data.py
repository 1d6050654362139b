"""Simulated patients for organ segmentation: CT and emission made anew from labels for every patch.

A case is a body with lesions and several draws of uptake. `made` turns a box of its labels into images: CT numbers of
each label shifted, fat and muscle mixed at random in the remainder, contrast agent, noise; emission blurred as by PET
or SPECT, noisy, displaced against the CT; organs taken out. Left and right are never mirrored. The ranges are domain
randomisation, not a population.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates
from scipy.spatial.transform import Rotation

from dose.learning.recipe import Case, Config
from imaging.networks.acquisitions import HALF_WIDTH_mm, trunk
from imaging.networks.organs_input import OUTSIDE_HU, channels
from imaging.networks.organs_result import ORGANS
from imaging.networks.patients import assigned, body, concentrations, patient
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.anatomy import REMAINDER, Anatomy
from imaging.scanner.reference_scan import without_arms

PARTS = {"bladder": ("bladder", "bladder_contents")}
TRACERS = ("psma", "sstr")
BELOW_mm = -80.0
"""Bodies end this far below the crotch: legs hold nothing to segment."""

MARGIN = 4
"""Voxels round a patch that blur reaches in from."""

REMOVABLE = (
    ("kidney_left",),
    ("kidney_right",),
    ("spleen",),
    ("parotid_left", "submandibular_left"),
    ("parotid_right", "submandibular_right"),
)
ENHANCED = ("kidney_left", "kidney_right", "liver", "spleen", "heart", "heart_contents", "pancreas")
"""What a contrast agent brightens."""


@dataclass(frozen=True)
class Spread:
    """Ranges of the randomisation (even unless said): of trainings, and with other values of tests outside of them."""

    organ_HU: float = 12.0
    offset_HU: float = 10.0
    contrast_HU: float = 100.0
    texture: float = 0.4
    noise_HU: tuple[float, float] = (2.0, 20.0)
    blur_fwhm_mm: tuple[float, float] = (4.0, 16.0)
    noise: tuple[float, float] = (0.02, 0.25)
    shift_mm: float = 6.0
    field: float = 0.6
    missing: float = 0.25
    no_emission: float = 0.1
    scale: tuple[float, float] = (0.88, 1.14)
    turn_deg: float = 6.0
    remove: tuple[str, ...] = ()


def case(seed: int, config: Config) -> Case:
    """Labels with and without lesions, CT number of each label, and draws of uptake.

    Half of the patients have arms raised. A lesion within an organ counts as organ.
    """
    voxel_mm = float(config.data["voxel_mm"])
    ill, whole = patient(seed, voxel_mm), body(seed, voxel_mm)
    drawn = [concentrations(ill, TRACERS[k % 2], seed + 7919 * k) for k in range(int(config.data["draws"]))]
    if assigned(seed, "arms", (False, True)):
        ill, whole = (trunk(without_arms(a, HALF_WIDTH_mm)) for a in (ill, whole))
    box = above_thighs(ill)
    return {
        "labels": ill.labels[box].astype(np.uint8),
        "organs": organ_classes(whole)[box],
        "hu": _hu(ill),
        "uptake": np.array(drawn, dtype=np.float32),
        "counts": np.bincount(ill.labels[box].ravel(), minlength=len(ill.names)),
        "names": np.array(json.dumps(ill.names)),
        "voxel_mm": np.array(voxel_mm),
    }


def organ_classes(anatomy: Anatomy) -> np.ndarray:
    """Index of `ORGANS` plus one for each voxel, 0 elsewhere; uint8 [z, y, x]."""
    table = np.zeros(len(anatomy.names), dtype=np.uint8)
    for k, organ in enumerate(ORGANS, start=1):
        for part in PARTS.get(organ, (organ,)):
            if part in anatomy.names:
                table[anatomy.names.index(part)] = k
    return table[anatomy.labels]


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """`inputs` [case, channel, z, y, x] and `organs` [case, z, y, x] of patches, most of them about an organ."""
    patch = [int(n) for n in config.training["patch"]]
    made_ = [_patch(cases[random.integers(len(cases))], patch, random) for _ in range(int(config.training["batch"]))]
    inputs, organs = zip(*made_)
    return {"inputs": np.stack(inputs), "organs": np.stack(organs)}


def _patch(case: Case, patch: Sequence[int], random: np.random.Generator, spread: Spread = Spread()):
    size = np.array(patch) + 2 * MARGIN
    points = _points(_centre(case, random), size, random, spread)
    labels, organs = (_nearest(case[name], points) for name in ("labels", "organs"))
    hu, emission, organs = made(case, labels, organs, random, spread)
    inner = tuple(slice(MARGIN, -MARGIN) for _ in patch)
    x_mm = (points[2] - middle_column(case) + random.normal(0, 1.5)) * float(case["voxel_mm"])
    return channels(hu[inner], emission[inner], x_mm[inner]), organs[inner]


def whole(case: Case, random: np.random.Generator, spread: Spread):
    """HU, emission in units of the body's mean, and organ classes of a whole case, without turn or zoom."""
    return made(case, case["labels"], case["organs"], random, spread)


def made(case: Case, labels: np.ndarray, organs: np.ndarray, random: np.random.Generator, spread: Spread):
    """Images of a box of labels: HU, emission in units of the body's mean (zero: none), and organs that are there."""
    names = json.loads(str(case["names"]))
    labels, organs = _without(_missing(random, spread), names, labels, organs)
    hu = _ct(case, names, labels, random, spread)
    if random.random() < spread.no_emission:
        return hu, np.zeros_like(hu), organs
    return hu, _emission(case, labels, random, spread), organs


def middle_column(case: Case) -> float:
    """Median column of the body's voxels."""
    columns = (case["labels"] > 0).sum(axis=(0, 1))
    return float(np.searchsorted(np.cumsum(columns), columns.sum() / 2))


def _missing(random: np.random.Generator, spread: Spread) -> tuple[str, ...]:
    if spread.remove:
        return spread.remove
    return REMOVABLE[random.integers(len(REMOVABLE))] if random.random() < spread.missing else ()


def _without(gone: Sequence[str], names, labels: np.ndarray, organs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Labels and classes where the organs gone, with the lesions in them, are remainder."""
    if not gone:
        return labels, organs
    out = np.isin(organs, [ORGANS.index(name) + 1 for name in gone])
    labels, organs = labels.copy(), organs.copy()
    labels[out], organs[out] = names.index(REMAINDER), 0
    return labels, organs


def _ct(case: Case, names, labels: np.ndarray, random: np.random.Generator, spread: Spread) -> np.ndarray:
    per_label = case["hu"] + spread.organ_HU * random.uniform(-1, 1, len(names)) * (case["hu"] > -500)
    if random.random() < 0.3:
        brighter = np.isin(names, ENHANCED)
        per_label = per_label + random.uniform(0, spread.contrast_HU) * brighter * random.uniform(0.4, 1, len(names))
    hu = per_label[labels].astype(np.float32)
    hu[labels > 0] += random.uniform(-spread.offset_HU, spread.offset_HU)
    if random.random() < spread.texture:
        soft = labels == names.index(REMAINDER)
        hu[soft] = _fat_and_muscle(labels.shape, random)[soft]
    hu = gaussian_filter(hu, random.uniform(0, 0.6))
    hu += random.uniform(*spread.noise_HU) * random.standard_normal(hu.shape, dtype=np.float32)
    return np.clip(hu, OUTSIDE_HU, 2000.0)


def _fat_and_muscle(shape, random: np.random.Generator) -> np.ndarray:
    """CT numbers of two tissues in blobs of random size, -120 to -60 and 20 to 70 HU."""
    field_ = gaussian_filter(random.standard_normal(shape, dtype=np.float32), random.uniform(0.7, 3.0))
    mixed = 1 / (1 + np.exp(-(field_ / field_.std() - random.uniform(-1, 1)) * 4))
    fat, muscle = random.uniform(-120, -60), random.uniform(20, 70)
    return fat + (muscle - fat) * mixed


def _emission(case: Case, labels: np.ndarray, random: np.random.Generator, spread: Spread) -> np.ndarray:
    uptake = case["uptake"][random.integers(len(case["uptake"]))]
    uptake = uptake * np.exp(0.25 * random.standard_normal(len(uptake)))
    mean = float((uptake * case["counts"])[1:].sum() / case["counts"][1:].sum())
    mean *= np.exp(random.uniform(-spread.field, spread.field))  # a scan sees a part of the body, with another mean
    sigma = random.uniform(*spread.blur_fwhm_mm) / float(case["voxel_mm"]) / FWHM_PER_SIGMA
    rough = gaussian_filter(random.standard_normal(labels.shape, dtype=np.float32), 2.0)
    image = (uptake / mean)[labels].astype(np.float32) * (1 + random.uniform(0, 0.3) * rough / rough.std())
    image = gaussian_filter(np.maximum(image, 0), sigma)
    steps = np.rint(random.uniform(-1, 1, 3) * [1.0, 0.5, 0.5] * spread.shift_mm / float(case["voxel_mm"])).astype(int)
    image = np.roll(image, steps, axis=(0, 1, 2))
    grain = gaussian_filter(random.standard_normal(labels.shape, dtype=np.float32), 0.6 * sigma + 1e-3)
    level = np.exp(random.uniform(*np.log(spread.noise)))
    return np.maximum(image + level * np.sqrt(image + 0.02) * grain / grain.std(), 0)


def _centre(case: Case, random: np.random.Generator) -> np.ndarray:
    """Near a voxel of a random organ in four of five, else anywhere in the body."""
    if random.random() < 0.8:
        chosen = np.flatnonzero(case["organs"].ravel() == random.integers(1, len(ORGANS) + 1))
    else:
        chosen = np.flatnonzero(case["labels"].ravel())
    chosen = chosen if chosen.size else np.flatnonzero(case["labels"].ravel())
    at = np.unravel_index(int(random.choice(chosen)), case["labels"].shape)
    return np.array(at) + random.uniform(-8, 8, 3)


def _points(centre: np.ndarray, size: np.ndarray, random: np.random.Generator, spread: Spread) -> np.ndarray:
    """Where the voxels of a patch lie in its case, [3, z, y, x] in indices: turned and zoomed."""
    turn = Rotation.from_euler("xyz", random.uniform(-spread.turn_deg, spread.turn_deg, 3), degrees=True).as_matrix()
    matrix = turn @ np.diag(1 / (random.uniform(*spread.scale) * random.uniform(0.95, 1.05, 3)))
    grid = np.stack(np.meshgrid(*(np.arange(n) - (n - 1) / 2 for n in size), indexing="ij"))
    return (np.tensordot(matrix, grid, axes=1) + centre[:, None, None, None]).astype(np.float32)


def _nearest(array: np.ndarray, points: np.ndarray) -> np.ndarray:
    return map_coordinates(array, points, order=0, mode="constant", cval=0)


def _hu(anatomy: Anatomy) -> np.ndarray:
    per_label = np.full(len(anatomy.names), 0.0)
    np.put(per_label, anatomy.labels.ravel(), anatomy.ct.array.ravel())
    return per_label


def above_thighs(anatomy: Anatomy) -> tuple[slice, ...]:
    """Round the body above the thighs, with two voxels of air."""
    z_mm = anatomy.ct.to_lps_mm(np.array([[0, 0, k] for k in range(len(anatomy.labels))]))[:, 2]
    inside = (anatomy.labels > 0) & (z_mm > BELOW_mm)[:, None, None]
    found = []
    for axis in range(3):
        there = np.flatnonzero(inside.any(axis=tuple(a for a in range(3) if a != axis)))
        low = there[0] if axis == 0 else max(0, there[0] - 2)
        found.append(slice(low, there[-1] + 3))
    return tuple(found)
