"""Pairs unlike those of training: a real CT bent by known fields, on other voxels."""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.recipe import Case, Config
from imaging.geometry import Volume
from imaging.networks.patients import assigned, concentrations
from imaging.networks.warp import RECIPE
from imaging.networks.warp_cases import posed
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.lesions import Lesion, with_lesions
from tests.validate import shared
from tests.validate.ai_warp import Pair, registered, scored, simulated

REAL = {"spleen": 1, "kidney_right": 2, "kidney_left": 3, "liver": 5, "stomach": 6}
"""Regions and their numbers among TotalSegmentator's labels, which cover the lowest 30 slices of the CT."""

VOXEL_mm = 5.0
SITES = (("liver", 8.0), ("spleen", 4.0), ("kidney_left", 3.0))


def real_anatomy() -> Anatomy:
    """The real abdominal CT on cubic voxels along LPS, with its organs and lesions put into three of them."""
    from imaging.nifti import read_nifti

    names = ("ct_abdomen_3mm", "organs_totalsegmentator_labels_crop30")
    ct, part = (read_nifti(shared(f"images/ct_nifti/{name}.nii.gz")) for name in names)
    size = np.array(ct.array.shape[::-1])
    low = np.minimum(ct.to_lps_mm([0, 0, 0]), ct.to_lps_mm(size - 1))
    affine = np.diag([VOXEL_mm] * 3 + [1.0])
    affine[:3, 3] = low
    grid = Volume(np.zeros(np.floor((size - 1) * ct.spacing_mm / VOXEL_mm).astype(int)[::-1] + 1), affine)
    on_grid = ct.resampled_onto(grid, outside=-1000.0)
    numbers = part.resampled_onto(grid, interpolation="nearest").array
    labels = (on_grid.array > -500).astype(np.uint16)
    for k, number in enumerate(REAL.values(), start=2):
        labels[numbers == number] = k
    bare = Anatomy(labels, ("outside", "remainder", *REAL), np.array([0.0012] + [1.0] * 6), on_grid)
    lesions = [Lesion(f"tumour_{k}", mL, site) for k, (site, mL) in enumerate(SITES, start=1)]
    return with_lesions(bare, lesions, seed=0)


def real_cases(config: Config, first: int, number: int) -> dict[str, Case]:
    """The real CT in so many poses, with simulated emission."""
    folder, found = cases_folder("warp_real", {**config.data, "voxel_mm": VOXEL_mm}), {}
    for seed in range(first, first + number):

        def made(seed: int = seed) -> Case:
            anatomy, random = real_anatomy(), np.random.default_rng([seed, 10])
            hu = np.clip(anatomy.ct.array, -1000, 1500)
            uptake = concentrations(anatomy, assigned(seed, "tracer", ("psma", "sstr")), seed)
            return posed(anatomy, hu, uptake, config, random)

        found[f"real-{seed}"] = kept(folder, str(seed), made)
    return found


@cache
def chosen(name: str, number: int) -> dict[str, Case]:
    """The first cases of a set of pairs: "ct", simulated ones, or "real"."""
    make = real_cases if name == "real" else simulated
    return make(RECIPE.config(), TEST_FROM, number)


@cache
def pairs(name: str, number: int) -> tuple[Pair, ...]:
    """The pairs of a set with the transforms of every method."""
    return tuple(registered(case, key) for key, case in chosen(name, number).items())


@cache
def seen(name: str, number: int) -> tuple[dict[str, dict[str, float]], ...]:
    """Scores by method of each pair of a set."""
    return tuple(scored(one) for one in pairs(name, number))
