"""Low-count PET made quieter: frames of a quarter of the usual time towards the noise-free image.

Trained on the virtual PET scanner (`imaging.scanner.pet`): random bodies with raised arms and lesions, 68Ga and 18F,
PSMA and SSTR uptake, two frames with noise of their own. The target keeps resolution and positron range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dose.learning.cases import Case, Progress, silent
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import found_weights
from imaging.geometry import Volume, as_volume
from imaging.networks import denoise, denoise_batches
from imaging.networks.acquisitions import FIELDS, HALF_WIDTH_mm, trunk
from imaging.networks.denoise import Denoised, Filter, denoised
from imaging.networks.denoise_kept import put_back
from imaging.networks.patients import assigned, body_mass_g, concentrations, patient, uptake_map
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.pet import Frames, pet_scanner, simulate_pet
from imaging.scanner.positron_range import positron_range
from imaging.scanner.reference_scan import without_arms

AROUND_mm = 25.0
"""Air about the body that stays in the field."""

FILTER = Filter(fwhm_mm=5.0, left_over=1.99)
"""Of least RMSE on the training cases, by `imaging.networks.denoise_gaussian.chosen_filter`."""

LESIONS = (0, 6)
"""Least and most of a patient."""

RANGE = "positron range in mm"


def denoised_pet(
    volume: Volume, *, nuclide: str, method: str = "auto", weights: Path | None = None, progress: Progress = silent
) -> Denoised:
    """A low-count PET image with less noise, at the resolution that it has.

    The network's answer is the mean of those to four mirror images; what it took away though noise does not explain it
    is put back (`imaging.networks.denoise_kept`).

    Args:
        volume: Bq/mL (or SUV); voxels below zero are expected in cold places.
        nuclide: the positron emitter.
        method: "auto", "network", or "classical" (a Gaussian filter).
        weights: folder of a user's own.
        progress: called with slices done.

    Raises:
        InputError: a nuclide without positrons, what is no volume, an image that is too small or holds no activity,
            another method, "network" without weights.
    """
    as_volume(volume, "volume")
    trained, why = found_weights(RECIPE, weights)
    more, how = {RANGE: positron_range(nuclide).mean_mm}, {"mirrors": denoise.MIRRORS, "finish": put_back}
    return denoised(volume, trained, why, FILTER, method=method, more=more, **how, progress=progress)


def case(seed: int, config: Config, lesions: tuple[int, int] = LESIONS) -> Case:
    """Two low-count frames of one patient and the noise-free image, in Bq/mL."""
    data, random = config.data, np.random.default_rng([seed, 6])
    anatomy = field(seed, data["voxel_mm"], int(data["slices"]), random, lesions)
    uptake = concentrations(anatomy, assigned(seed, "tracer", data["tracers"]), seed)
    in_body_MBq = _between(random, data["in_body_MBq"])
    activity = uptake_map(anatomy, uptake, in_body_MBq, body_mass_g(seed, data["voxel_mm"]))
    nuclide = assigned(seed, "nuclide", data["nuclides"])
    frame_s = float(data["part"]) * _between(random, data["full_s"])
    filter_fwhm_mm = float(random.uniform(*data["filter_fwhm_mm"]))
    return frames(activity, anatomy, nuclide, frame_s, filter_fwhm_mm, seed)


def frames(activity: Volume, anatomy: Anatomy, nuclide: str, frame_s: float, filter_fwhm_mm: float, seed: int) -> Case:
    """As `case`, of an activity at the start of the scan."""
    scanner = pet_scanner(filter_fwhm_mm=filter_fwhm_mm)
    seen = [
        simulate_pet(activity, anatomy.ct, scanner, nuclide, Frames.static(frame_s), seed=noise)[0].volume.array
        for noise in (None, 2 * seed, 2 * seed + 1)
    ]
    return {
        **dict(zip(("noise_free", "first", "second"), seen)),
        "activity": activity.array,
        "labels": anatomy.labels,
        "names": np.array(anatomy.names),
        "spacing_mm": activity.spacing_mm,
        RANGE: np.array(positron_range(nuclide).mean_mm),
        "frame_s": np.array(frame_s),
        "resolution_mm": np.array(scanner.fwhm_mm),
    }


def field(
    seed: int, voxel_mm: float, slices: int, random: np.random.Generator, lesions: tuple[int, int] = LESIONS
) -> Anatomy:
    """A patient with raised arms, cut to a bed position about the kidneys or the salivary glands, in some air."""
    anatomy = trunk(without_arms(patient(seed, voxel_mm, lesions=lesions), HALF_WIDTH_mm))
    organ = anatomy.mask(assigned(seed, "field", FIELDS))
    middle = np.argwhere(organ)[:, 0].mean() + random.uniform(-0.25, 0.25) * slices
    first = int(np.clip(middle - slices / 2, 0, len(anatomy.labels) - slices))
    return cut(anatomy, first, slices)


def cut(anatomy: Anatomy, first: int, slices: int) -> Anatomy:
    """Some slices of an anatomy, in the least rectangle that holds their body with AROUND_mm."""
    chosen = anatomy.labels[first : first + slices] > 0
    margin = int(np.ceil(AROUND_mm / anatomy.ct.spacing_mm[0]))
    planes = [np.flatnonzero(chosen.any(axis=axes)) for axes in ((0, 2), (0, 1))]
    rectangle = (slice(max(0, int(p[0]) - margin), int(p[-1]) + margin + 1) for p in planes)
    where = (slice(first, first + slices), *rectangle)
    affine = anatomy.affine.copy()
    affine[:3, 3] = anatomy.ct.to_lps_mm(np.array([s.start for s in where])[::-1])
    return replace(anatomy, labels=anatomy.labels[where], ct=Volume(anatomy.ct.array[where], affine))


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """`denoise.limits`, and the positron range."""
    ranges = [float(case[RANGE]) for case in cases]
    return denoise.limits(cases, config) | {RANGE: (0.95 * min(ranges), 1.05 * max(ranges))}


def _between(random: np.random.Generator, bounds) -> float:
    return float(np.exp(random.uniform(*np.log(bounds))))


RECIPE = Recipe(
    "denoise_pet", "imaging.networks", case, denoise_batches.batch, denoise.network, denoise_batches.loss, limits
)
