"""Simulated PET scans with their truth, by the virtual scanner: what lesion networks are tested on, never trained on.

Training slabs have Gaussian blur and noise drawn over wide ranges; here positron range, resolution, decay and counting
statistics are those of `imaging.scanner.pet`, with another scanner, nuclide, activity and time for each seed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from scipy.ndimage import label

from dose.learning.cases import Case, cases_folder, kept
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.networks.lesions_cases import ORGANS, case_names, label_uptake, lesion_case, painted
from imaging.networks.patients import assigned, body_mass_g
from imaging.scanner.pet import Frames, pet_scanner, simulate_pet

NUCLIDES = ("68Ga", "18F")
WAIT_h = 1.0
CONTRAST = 1.5
"""Lesions that a test counts: mean of the noise-free image within them over that without them."""

CRYSTALS_mm, FILTERS_mm, SECONDS, GIVEN_MBq = (3.0, 6.3), (3.0, 6.0), (120.0, 300.0), (100.0, 250.0)
"""Ranges that the seeds draw from: crystal, filter, time a bed and activity."""

CT_SD_HU = 12.0


@dataclass(frozen=True)
class LesionScan:
    """A scan: SUV as measured, CT, labels of lesions, and of each lesion its volume and contrast, [lesion]."""

    suv: Volume
    ct: Volume
    truth: Volume
    organs: Mapping[str, Volume]
    volumes_mL: np.ndarray
    contrasts: np.ndarray
    tracer: str
    nuclide: str

    @property
    def counted(self) -> np.ndarray:
        """Labels of the lesions with a contrast that a reader could see."""
        return 1 + np.flatnonzero(self.contrasts >= CONTRAST)


def lesion_scan(
    seed: int, voxel_mm: float = 5.0, *, lesions: tuple[int, int] = (0, 8), amplification=None
) -> LesionScan:
    """The PET scan of a seed; seconds, then from disk."""
    depends_on = {"voxel_mm": voxel_mm, "lesions": list(lesions), "amplification": amplification}
    folder = cases_folder("lesion-pet", depends_on)
    made = kept(folder, str(seed), lambda: _simulated(seed, voxel_mm, lesions, amplification))
    grid = Volume(made["suv"], np.diag([voxel_mm] * 3 + [1.0]))
    names = case_names(made)
    organs = {
        name: grid.with_array(made["base"] == names.index(name))
        for name in ORGANS
        if name in names and (made["base"] == names.index(name)).any()
    }
    truth, ct = (grid.with_array(made[key].astype(np.float32)) for key in ("truth", "ct"))
    tracer, nuclide = _kind(seed)
    return LesionScan(grid, ct, truth, organs, made["volumes_mL"], made["contrasts"], tracer, nuclide)


def _kind(seed: int) -> tuple[str, str]:
    return assigned(seed, "tracer", ("psma", "sstr")), assigned(seed, "nuclide", NUCLIDES)


def _simulated(seed: int, voxel_mm: float, lesions, amplification) -> Case:
    random = np.random.default_rng([seed, 21])
    (tracer, nuclide), case = _kind(seed), lesion_case(seed, voxel_mm, lesions)
    everything = range(1, int(case["lesions"]) + 1)
    with_all, drawn, without = painted(
        label_uptake(case, tracer, random), case["base"], case["lesion"], random, everything
    )
    ct = Volume(case["hu"][case["base"]], np.diag([voxel_mm] * 3 + [1.0]))
    changes = {} if amplification is None else {"amplification": amplification}
    body_g = body_mass_g(seed, voxel_mm)
    suv, expected, plain = pet_of([with_all, with_all, without], ct, nuclide, body_g, seed, **changes)
    labels = np.unique(np.where(drawn, case["lesion"], 0), return_inverse=True)[1].reshape(drawn.shape)
    each = [labels == k for k in range(1, int(labels.max()) + 1)]
    return {
        "suv": suv,
        "truth": labels.astype(np.uint8),
        "ct": (ct.array + random.normal(0, CT_SD_HU, drawn.shape)).astype(np.float16),
        "base": case["base"],
        "names": case["names"],
        "volumes_mL": np.array([float(own.sum() * ct.voxel_mL) for own in each]),
        "contrasts": np.array([float(expected[own].mean() / plain[own].mean()) for own in each]),
    }


def pet_of(truths, ct: Volume, nuclide: str, body_g: float, seed: int, **changes) -> list[np.ndarray]:
    """Images in SUV of maps of SUV by a scanner, time and activity that the seed draws; the first one with noise.

    Args:
        body_g: mass of the whole body, of which the maps may hold a part.
    """
    random = np.random.default_rng([seed, 22])
    given = float(random.uniform(*GIVEN_MBq)) * 2.0 ** (-WAIT_h / radionuclide(nuclide).half_life_h)
    crystal, filter_ = (float(random.uniform(*ends)) for ends in (CRYSTALS_mm, FILTERS_mm))
    scanner = pet_scanner(crystal_mm=crystal, filter_fwhm_mm=filter_, **changes)
    frames, per_suv = Frames.static(float(random.uniform(*SECONDS))), given * 1e6 / body_g
    return [
        simulate_pet(ct.with_array(truth * per_suv), ct, scanner, nuclide, frames, seed=None if k else seed)[
            0
        ].volume.array
        / per_suv
        for k, truth in enumerate(truths)
    ]


@dataclass(frozen=True)
class Found:
    """How a mask did on one scan: by counted lesion whether found and its Dice; islands that touch no lesion."""

    found: np.ndarray
    touched: np.ndarray
    dice: np.ndarray
    false_positives: int
    volume_mL: float
    true_volume_mL: float


COVERED = 0.3
"""A lesion is found where the mask covers this part of it."""


def scored(mask: np.ndarray, scan: LesionScan) -> Found:
    """Compare a mask with the truth; a lesion's Dice is with the islands that touch it, cut at other lesions."""
    truth = scan.truth.array.astype(int)
    islands, number = label(mask, structure=np.ones((3, 3, 3)))  # type: ignore[misc]
    shares, dices = [], []
    for k in scan.counted:
        own = truth == k
        near = np.isin(islands, np.setdiff1d(np.unique(islands[own]), [0])) & ((truth == 0) | own)
        shares.append(float(mask[own].mean()))
        dices.append(2.0 * float((near & own).sum()) / float(near.sum() + own.sum()))
    touching = np.setdiff1d(np.unique(islands[truth > 0]), [0])
    share = np.array(shares)
    return Found(
        share >= COVERED, share > 0, np.array(dices), number - len(touching),
        float(mask.sum()) * scan.suv.voxel_mL, float((truth > 0).sum()) * scan.suv.voxel_mL,
    )  # fmt: skip
