"""Pictures of a virtual patient's kinetics: the scan of an hour, the time-integrated activity, the PET before therapy.

A case (`twin.virtual_tia`) holds curves by label; here they are put into voxels with unevenness of uptake and of
clearance within organs, blurred, and given noise. The scanner is a model in the domain of images: a Gaussian blur, and
noise whose variance goes with the local activity and which is correlated by a blur of its own. No projections.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.ndimage import distance_transform_edt, gaussian_filter

from dose.errors import InputError
from dose.learning.recipe import Case
from dose.regions import members
from imaging.recovery import FWHM_PER_SIGMA

HOURS_h = np.array([0.5, 1, 2, 4, 8, 14, 20, 30, 40, 55, 72, 96, 120, 145, 170, 200, 250, 320, 420, 560.0])
"""At which curves are held; between them they are straight in the logarithm, and after them as between the last two."""

LU_HALF_LIFE_h = 159.528
"""Of 177Lu, with whose decay curves are held; `tests` hold it to `dose.nuclides`."""

TRACERS = ("psma", "sstr")

STEPS_h = np.concatenate([np.linspace(0.0, 40.0, 81), np.geomspace(41.0, 2500.0, 160)])
RATES_per_h = np.linspace(-0.0024, 0.006, 9)
"""Departures of a voxel's clearance from its region's, for which integrals are tabled. The least keeps every kidney,
organ and lesion of the model clearing at least as fast as 177Lu decays."""

CLEARANCE_SD_per_h = 0.0015
"""Of clearance within a region; uptake varies by UPTAKE_LOG_SD. Both are assumptions."""

UPTAKE_LOG_SD = 0.2
GRAIN_mm = 15.0
"""FWHM of the fields that make regions uneven."""

RIM_mm = 6.0
CORTEX_mm = 9.0
REFERENCE_SUV = 5.0
"""SUV of a voxel whose relative noise is the `noise` of a scan."""

CLASSES = ("kidney", "liver", "spleen", "gland", "gut", "marrow", "lungs", "blood", "soft", "tumour")
OF_CLASS = {
    "kidney": ("kidney_left", "kidney_right"),
    "liver": ("liver",),
    "spleen": ("spleen",),
    "gland": ("parotid_left", "parotid_right", "submandibular_left", "submandibular_right", "sublingual", "lacrimal"),
    "gut": ("stomach", "small_intestine", "left_colon", "right_colon", "rectosigmoid"),
    "marrow": (
        *("skull", "mandible", "cervical_spine", "thoracic_spine", "lumbar_spine", "sacrum", "ribs", "sternum"),
        *("clavicles", "scapulae", "humeri_upper", "os_coxae", "femora_upper"),
    ),
    "lungs": ("lungs",),
    "blood": ("heart_contents", "bladder_contents"),
}


@cache
def class_of(name: str) -> str:
    """The class of a label whose kinetics it shares; what is not named is "soft".

    Names and aliases are those of `dose.regions`; a union has the class of its members.
    """
    try:
        parts = members(name)
    except InputError:  # bones of the simulated bodies
        parts = (name,)
    if parts[0].startswith("tumour"):
        return "tumour"
    return next((group for group, names in OF_CLASS.items() if set(parts) <= set(names)), "soft")


@dataclass(frozen=True)
class Texture:
    """Unevenness within labels of one picture: factors on uptake of mean 1, and clearance beyond the label's."""

    uptake: Float[np.ndarray, "z y x"]
    clearance_per_h: Float[np.ndarray, "z y x"]


def names_of(case: Case) -> list[str]:
    """Of the labels."""
    return json.loads(str(case["names"]))


def texture(labels: np.ndarray, names, spacing_mm: float, random: np.random.Generator) -> Texture:
    """Smooth random fields; kidneys with more in their cortex, lesions with more or less in their rim."""
    log = UPTAKE_LOG_SD * _field(labels.shape, spacing_mm, random)
    for k, name in enumerate(names):
        depth = CORTEX_mm if name.startswith("kidney") else RIM_mm if name.startswith("tumour") else 0.0
        if not depth or not (inside := labels == k).any():
            continue
        box = tuple(slice(max(0, int(a.min()) - 1), int(a.max()) + 2) for a in np.nonzero(inside))
        outer = np.asarray(distance_transform_edt(np.pad(inside[box], 1))) * spacing_mm <= depth
        low, high = (0.3, 0.9) if name.startswith("kidney") else (-0.3, 0.6)
        log[box] += np.where(outer[1:-1, 1:-1, 1:-1] & inside[box], random.uniform(low, high), 0.0)
    uptake = np.exp(log)
    sums, counts = (np.bincount(labels.ravel(), w, len(names)) for w in (uptake.ravel(), None))
    uptake = uptake * (counts / np.maximum(sums, 1e-9))[labels]
    clearance = CLEARANCE_SD_per_h * _field(labels.shape, spacing_mm, random)
    return Texture(uptake.astype(np.float32), np.clip(clearance, *RATES_per_h[[0, -1]]).astype(np.float32))


def at_hour(curve: np.ndarray, time_h) -> np.ndarray:
    """Curves [..., hour] of HOURS_h at other hours, [..., time]; straight in the logarithm, from zero on level."""
    time_h = np.atleast_1d(time_h)
    log = np.log(np.maximum(curve, 1e-12))
    k = np.clip(np.searchsorted(HOURS_h, time_h) - 1, 0, len(HOURS_h) - 2)
    part = np.maximum((time_h - HOURS_h[k]) / (HOURS_h[k + 1] - HOURS_h[k]), 0.0)
    return np.exp(log[..., k] + part * (log[..., k + 1] - log[..., k]))


def integrals(curve: np.ndarray, rates_per_h) -> np.ndarray:
    """Integral of curves [..., hour] with further exponential clearance of each rate, [..., rate]."""
    fine = at_hour(curve, STEPS_h)
    fading = np.exp(-np.asarray(rates_per_h)[:, None] * STEPS_h)
    return np.einsum("...t,rt->...r", fine * np.gradient(STEPS_h), fading)


def decay_beyond(half_life_h: float) -> float:
    """Decay per hour beyond that of 177Lu."""
    return float(np.log(2) * (1.0 / half_life_h - 1.0 / LU_HALF_LIFE_h))


def activity(case: Case, draw: int, fine: Texture, time_h: float, half_life_h: float = LU_HALF_LIFE_h) -> np.ndarray:
    """SUV (as it is then, not corrected for decay) in each voxel at an hour, [z, y, x]."""
    per_label = at_hour(case["curve"][draw], time_h)[:, 0] * np.exp(-decay_beyond(half_life_h) * time_h)
    per_label[0] = 0.0
    return per_label[case["labels"]] * fine.uptake * np.exp(-fine.clearance_per_h * time_h)


def integrated(case: Case, draw: int, fine: Texture, half_life_h: float = LU_HALF_LIFE_h) -> np.ndarray:
    """SUV h in each voxel to the end of time, [z, y, x]."""
    curve, more = case["curve"][draw], decay_beyond(half_life_h)
    whole = integrals(curve, [0.0])[:, 0]
    table = integrals(curve, RATES_per_h + more) * (case["tia"][draw] / np.maximum(whole, 1e-9))[:, None]
    table[0] = 0.0
    step = RATES_per_h[1] - RATES_per_h[0]
    at = (fine.clearance_per_h - RATES_per_h[0]) / step
    low = np.clip(at.astype(int), 0, len(RATES_per_h) - 2)
    part, labels = at - low, case["labels"]
    return fine.uptake * ((1 - part) * table[labels, low] + part * table[labels, low + 1])


def blurred(array: np.ndarray, fwhm_mm: float, spacing_mm: float) -> np.ndarray:
    """Through a Gaussian; nothing lies outside of the picture."""
    return gaussian_filter(array.astype(np.float32), fwhm_mm / spacing_mm / FWHM_PER_SIGMA, mode="constant", truncate=3)


def noisy(mean: np.ndarray, noise: float, grain_mm: float, spacing_mm: float, random: np.random.Generator):
    """A picture with noise of variance in proportion to it, `noise` relative at REFERENCE_SUV, blurred by grain_mm."""
    white = blurred(random.standard_normal(mean.shape), grain_mm, spacing_mm)
    return mean + noise * np.sqrt(REFERENCE_SUV * np.maximum(mean, 0)) * white / max(float(white.std()), 1e-9)


def suv_of_pet(case: Case, draw: int, fine: Texture) -> np.ndarray:
    """SUV of the PET before therapy in each voxel, [z, y, x]."""
    per_label = case["pet"][draw].copy()
    per_label[0] = 0.0
    return per_label[case["labels"]] * fine.uptake


def means(array: np.ndarray, labels: np.ndarray, number: int) -> np.ndarray:
    """Mean of each label, [label]; 0 for those without a voxel."""
    counts = np.bincount(labels.ravel(), minlength=number)
    return np.bincount(labels.ravel(), array.ravel(), minlength=number) / np.maximum(counts, 1)


def recovered_mean(array: np.ndarray, mask: np.ndarray, fwhm_mm: float, spacing_mm) -> float:
    """Mean of a blurred picture in a mask [z, y, x], over what of the mask the blur leaves within it.

    What is about the mask is taken for empty.

    Args:
        fwhm_mm: of the blur.
        spacing_mm: along z, y, x.
    """
    box = tuple(slice(int(at.min()), int(at.max()) + 1) for at in np.nonzero(mask))
    inside = mask[box]
    sigma = fwhm_mm / np.asarray(spacing_mm, float) / FWHM_PER_SIGMA
    left = gaussian_filter(inside.astype(np.float32), sigma, mode="constant", truncate=3)
    return float(array[box][inside].mean() / left[inside].mean())


def between(random: np.random.Generator, bounds) -> float:
    """Drawn evenly in the logarithm."""
    return float(np.exp(random.uniform(*np.log(bounds))))


def cut(whole: Mapping[str, np.ndarray], patch, random: np.random.Generator) -> dict[str, np.ndarray]:
    """A random part of all pictures [..., z, y, x], filled up by their edges (labels by 0) where they are smaller;
    mirrored left and right half of the time, with labels as they are."""
    shape = whole["labels"].shape
    fill = [(0, max(0, p - n)) for p, n in zip(patch, shape)]
    first = [int(random.integers(0, max(n - p, 0) + 1)) for p, n in zip(patch, shape)]
    where = (..., *(slice(a, a + p) for a, p in zip(first, patch)))
    turn = slice(None, None, -1 if random.random() < 0.5 else 1)
    found = dict(whole)
    for name, array in whole.items():
        if array.ndim >= 3:
            wide = [(0, 0)] * (array.ndim - 3) + fill
            filled = np.pad(array, wide) if name == "labels" else np.pad(array, wide, mode="edge")
            found[name] = filled[where][..., turn]
    return found


def _field(shape, spacing_mm: float, random: np.random.Generator) -> np.ndarray:
    field = blurred(random.standard_normal(shape), GRAIN_mm, spacing_mm)
    return field / max(float(field.std()), 1e-9)


def balance(labels: np.ndarray, names, weights: Mapping[str, float]) -> np.ndarray:
    """Weight of each voxel: each label weighs by its class in all, spread over its voxels; the sum is 1."""
    counts = np.bincount(labels.ravel(), minlength=len(names))
    per = np.array([weights.get(class_of(name), 0.0) * min(1.0, counts[k] / 8.0) for k, name in enumerate(names)])
    per[0] = 0.0
    each = (per / np.maximum(counts, 1))[labels]
    return (each / max(float(each.sum()), 1e-12)).astype(np.float32)


ODD = ("bladder_contents",)
"""Labels that are judged nowhere."""
