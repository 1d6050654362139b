"""Scenes and figures by which the dose networks are judged beside the kernel engine, all against our Monte Carlo.

Each test scene has two independent Monte Carlo runs A and B. For a method's map m the mean of (m - A)(m - B) is its
mean squared error without the noise of either run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

import numpy as np
from scipy import ndimage

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.network import maps, residual
from dose.network.predict import NETWORKS, learned_dose
from dose.network.scenes import NUCLIDES, Scene, furnished, part_of, scene, simulated, with_doses
from imaging.networks.patients import body
from tests.validate import shared

SOURCE = "our own Monte Carlo, two independent runs a scene; 8 scenes of one woman, 12 of a body each, 4 of geometry"
BODIES = tuple(TEST_FROM + k for k in (106, 107, 108, 109, 116, 117, 118, 119))
"""Scenes cut from the woman, whom no training scene shows; even seeds are of 177Lu, odd ones of 90Y."""

GEOMETRY = tuple(TEST_FROM + k for k in (100, 101, 102, 103))
SHAPES = tuple(TEST_FROM + 200 + k for k in range(12))
"""Scenes cut from twelve random bodies (`imaging.networks.patients`), six men and six women, one each."""

SHAPE_MM = 4.4
TESTS = BODIES + GEOMETRY + SHAPES
GROUPS = (0,) * len(BODIES) + tuple(range(1, 1 + len(GEOMETRY) + len(SHAPES)))
"""Scenes that hang together: those of the one woman."""

LEAST_VOXELS = 50
"""Of an object that counts as an organ."""

MOST_NOISE = 0.02
"""Relative sd of one run's mean dose, above which an organ does not count: its truth is not known well enough."""

HISTORIES = 2**20
DATA = {**residual.RECIPE.config().data, "histories": HISTORIES}
"""Four times the histories of a training scene."""
CLASSICAL = {"kernel": "tissue-wise kernels", "single": "one kernel, density scaling", "local": "local deposition"}


@cache
def case(seed: int):
    """A test scene with all classical maps and both Monte Carlo runs."""
    if seed not in SHAPES:
        return simulated(seed, DATA)
    folder = cases_folder("dose_shapes", {"histories": HISTORIES, "voxel_mm": SHAPE_MM, "side": SIDE})
    return kept(folder, str(seed), lambda: with_doses(shape(seed), HISTORIES, seed, second=True))


SIDE = 32


def shape(seed: int) -> Scene:
    """A cube of a random body, 177Lu in the first six, 90Y in the others: both sexes have both."""
    random, number = np.random.default_rng([seed, 3]), SHAPES.index(seed)
    whole = body(TEST_FROM + number, SHAPE_MM)
    density, labels = part_of(whole.labels, whole.density_g_cm3, SIDE, random)
    return furnished(random, density, labels, SHAPE_MM, NUCLIDES[number // 6])


@cache
def answer(name: str, seed: int):
    """Dose and sd of a network on a test scene, in Gy."""
    found = learned_dose(*inputs(case(seed)), method="network", network=name)
    return found.dose_Gy, found.sd_Gy


def inputs(one: Mapping) -> tuple:
    """What `learned_dose` and `dose.voxel` take, of a case."""
    tia, density = one["tia"].astype(float), one["density"].astype(float)
    return tia, density, NUCLIDES[int(one["nuclide"])], tuple(float(e) for e in one["spacing_mm"])


def dose_of(method: str, seed: int) -> np.ndarray:
    """Dose map of a test scene by a network or by a classical method, in Gy."""
    if method in NETWORKS:
        return answer(method, seed)[0]
    return classical_map(method, case(seed))


def classical_map(method: str, one: Mapping) -> np.ndarray:
    """Dose map of a case by a method of `CLASSICAL`."""
    return maps.local_Gy(one) if method == "local" else maps.stacked(one, f"{method}_").sum(0)


def runs(one: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """Both Monte Carlo dose maps of a case."""
    return maps.stacked(one, "").sum(0), maps.stacked(one, "second_").sum(0)


def judged(one: Mapping) -> np.ndarray:
    """Voxels of tissue that get any dose."""
    return (one["density"] >= maps.AIR) & (sum(runs(one)) > 0)


def interfaces(one: Mapping) -> np.ndarray:
    """Voxels of tissue that touch an object of another group (by its mean density): lung, soft tissue or bone."""
    labels = one["labels"].astype(int)
    counts = np.maximum(np.bincount(labels.ravel()), 1)
    of_object = (np.bincount(labels.ravel(), weights=one["density"].ravel()) / counts)[labels]
    tissue = one["density"] >= maps.AIR
    group = np.where(tissue, np.digitize(of_object, [maps.AIR, 0.7, 1.12]), 0)
    low = ndimage.minimum_filter(np.where(tissue, group, 9), 3)
    high = ndimage.maximum_filter(group, 3)
    return tissue & (low != high) & judged(one)


def root(square: float) -> float:
    """The root of a mean square without the runs' noise, which may be below 0: then minus the root of its size, so that
    noise cancels over scenes."""
    return float(np.sign(square) * np.sqrt(abs(square)))


def relative_rms(dose: np.ndarray, one: Mapping, where: np.ndarray) -> float:
    """`root` of mean squared error over mean squared dose in these voxels, percent; nan where there are none."""
    if not where.any():
        return float("nan")
    a, b = (run.astype(float) for run in runs(one))
    return 100 * root(float(np.mean(((dose - a) * (dose - b))[where]) / np.mean((a * b)[where])))


def organ_masks(one: Mapping) -> list[np.ndarray]:
    """Objects of `LEAST_VOXELS` or more whose mean dose both runs know to `MOST_NOISE`; label 0 is outside."""
    inside, labels = judged(one), np.unique(one["labels"])
    found = [inside & (one["labels"] == label) for label in labels[labels > 0]]
    return [mask for mask in found if mask.sum() >= LEAST_VOXELS and run_noise(one, mask) <= MOST_NOISE]


def run_noise(one: Mapping, mask: np.ndarray) -> float:
    """Relative sd of one run's mean dose in a mask, from the voxels' differences between both runs."""
    a, b = (run.astype(float)[mask] for run in runs(one))
    mean = 0.5 * (a.mean() + b.mean())
    return float(np.sqrt(np.sum((a - b) ** 2) / 2) / len(a) / mean) if mean > 0 else np.inf


def organs(dose: np.ndarray, one: Mapping) -> list[float]:
    """Squared difference of each organ's mean dose from Monte Carlo's, without the runs' noise, percent squared."""
    a, b = runs(one)
    found = []
    for mask in organ_masks(one):
        mean, first, second = (float(x[mask].mean(dtype=float)) for x in (dose, a, b))
        found.append(1e4 * (mean - first) * (mean - second) / (first * second))
    return found


def organ_square(dose: np.ndarray, one: Mapping) -> float:
    """Mean square over organs of the difference in mean dose, percent squared: noise may bring it below 0, and a scene
    without an organ that is known well enough has nan."""
    found = organs(dose, one)
    return float(np.mean(found)) if found else float("nan")


def organ_rms(dose: np.ndarray, one: Mapping) -> float:
    """Its root, percent."""
    return root(organ_square(dose, one))


def organ_noise(one: Mapping) -> float:
    """Root mean square over organs of the noise of both runs' mean, percent: differences below it are not seen."""
    return 100 * float(np.sqrt(np.mean([run_noise(one, mask) ** 2 for mask in organ_masks(one)]) / 2))


def counting_variance(one: Mapping) -> np.ndarray:
    """Variance of one run's dose in each voxel, estimated over the map, in Gy^2."""
    first, second, made = (maps.stacked(one, word) for word in ("", "second_", "kernel_"))
    expected = np.where(judged(one), made / np.maximum(one["density"], maps.AIR), 0.0)
    levels = np.sum(((first - second) ** 2 / 2)[:, judged(one)], axis=1) / expected.sum(axis=(1, 2, 3))
    return (levels[:, None, None, None] * expected).sum(0)


def slabs() -> Scene:
    """Layers of soft tissue, lung, soft tissue, bone and soft tissue, 4 mm; hot between lung and bone, 90Y."""
    density, tia = np.full((32, 32, 32), 1.03), np.full((32, 32, 32), 0.05)
    labels = np.ones(density.shape, np.uint8)
    for number, (first, last, rho, level) in enumerate(((8, 16, 0.26, 0.05), (16, 20, 1.03, 1.0), (20, 24, 1.9, 0.05))):
        density[first:last], tia[first:last], labels[first:last] = rho, level, number + 2
    return Scene(density, tia, labels, (4.0, 4.0, 4.0), "90Y")


def spheres() -> Scene:
    """Hot spheres of 10 to 37 mm (NEMA's diameters) in warm water round a lung insert, 4 mm, 177Lu."""
    density, tia = np.full((32, 32, 56), 1.0), np.full((32, 32, 56), 0.1)
    labels = np.ones(density.shape, np.uint8)
    z, y, x = np.indices(density.shape)
    insert = (y - 16) ** 2 + (x - 28) ** 2 < 6.25**2
    density[insert], tia[insert], labels[insert] = 0.3, 0.0, 2
    for number, diameter_mm in enumerate((10, 13, 17, 22, 28, 37)):
        angle = 2 * np.pi * number / 6
        at = (16, 16 + 9.5 * np.sin(angle), 28 + 17 * np.cos(angle))
        sphere = (z - at[0]) ** 2 + (y - at[1]) ** 2 + (x - at[2]) ** 2 < (diameter_mm / 8) ** 2
        density[sphere], tia[sphere], labels[sphere] = 1.0, 1.0, number + 3
    return Scene(density, tia, labels, (4.0, 4.0, 4.0), "177Lu")


ORGANS = (1.0, 0.3, 2.0)
"""Relative concentrations of the CT's labels, in their order, over again."""


def abdomen() -> Scene:
    """The real labelled CT, brought to 4 mm; activity in its organs, a twentieth of it elsewhere in the body."""
    from dose.ct import density_from_ct
    from imaging.nifti import read_nifti

    ct = read_nifti(shared("images/ct_nifti/ct_abdomen_3mm.nii.gz"))
    part = read_nifti(shared("images/ct_nifti/organs_totalsegmentator_labels_crop30.nii.gz")).array
    depth = min(len(ct.array), 48)
    labels = np.zeros((depth, *part.shape[1:]), np.uint8)
    labels[: len(part)] = part
    density = ndimage.zoom(density_from_ct(ct.array[:depth]), 0.75, order=1)
    labels = ndimage.zoom(labels, 0.75, order=0)
    inside = density > 0.2
    level = np.array([0.05, *(ORGANS[k % len(ORGANS)] for k in range(255))])
    return Scene(density, np.where(inside, level[labels], 0.0), np.where(inside, labels, 0), (4.0, 4.0, 4.0), "177Lu")


def torso() -> Scene:
    """A cube of 48 voxels a side of the woman's chest, larger than any scene of the training."""
    made = scene(TEST_FROM + 17, {"side": 48, "spacings_mm": [4.0]})
    return replace(made, nuclide="177Lu")


OTHERS = {"slabs": slabs, "spheres": spheres, "abdomen": abdomen, "torso": torso}


@cache
def other(name: str):
    """One of `OTHERS` with all doses, kept on disk."""
    made = OTHERS[name]()
    folder = cases_folder("dose_other", {"histories": HISTORIES, "scene": _checksum(made)})
    return kept(folder, name, lambda: with_doses(made, HISTORIES, TEST_FROM - 1, second=True))


def _checksum(made: Scene) -> str:
    """Of what a scene is made of, so that a changed one is not read from an older file."""
    parts = (made.density_g_cm3, made.tia_MBq_h, made.labels)
    return hashlib.sha256(b"".join(np.ascontiguousarray(part, np.float32).tobytes() for part in parts)).hexdigest()[:16]


@cache
def other_answer(network: str, name: str) -> np.ndarray:
    """Dose of a network on one of `OTHERS`, in Gy."""
    return learned_dose(*inputs(other(name)), method="network", network=network).dose_Gy
