"""Patients for the lesion networks: labels without lesions and lesions apart, so that each draw may leave some out.

What a network sees is made on the fly from labels: uptake of every organ and lesion, texture, blur and noise are drawn
anew for each slab. Ureters, which the body lacks, are painted as hot threads: uptake that is no lesion.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import gaussian_filter, uniform_filter

from dose.learning.cases import Case
from imaging.geometry import Volume
from imaging.networks.acquisitions import HALF_WIDTH_mm, trunk
from imaging.networks.patients import SITES, body, concentrations, patient
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.reference_scan import without_arms

LOWEST_mm = -150.0
"""Scans reach from the thighs to the head."""

URETER = "ureter"
URETER_SUV = (1.0, 25.0)
ORGANS = (
    *(
        "kidney_left",
        "kidney_right",
        "spleen",
        "bladder_contents",
        "bladder",
        "small_intestine",
        "pancreas",
        "adrenals",
    ),
    *("parotid_left", "parotid_right", "submandibular_left", "submandibular_right", "sublingual", "lacrimal", "liver"),
)
"""Organs whose masks a user may give; physiological uptake lies in them."""

STANDS_OUT = 1.3
"""A lesion counts where its uptake is this many times the mean of what it replaces; fainter ones are not painted."""

POINTS = 400
"""Voxels kept of each kind, about which slabs are cut."""

PLACES = {"lesion_points": 0.5, "ureter_points": 0.2, "organ_points": 0.1, "body_points": 0.2}
"""About what slabs are cut, and how often; ureters have their own, as they are what is called falsely."""

HOT_URETERS = 0.8
"""Part of the slabs whose ureters hold urine."""

MARGIN = 3
"""Voxels about a slab that blur reaches in from."""


BLOCK = 5
"""Voxels over which texture is alike."""


@dataclass(frozen=True)
class Slab:
    """A piece of a patient as a scanner sees it, lesions drawn, base labels, CT numbers, and the SUV of each base label
    and each lesion of the patient, whether it is in the piece or not."""

    expected: Float[np.ndarray, "slice row column"]
    suv: Float[np.ndarray, "slice row column"]
    lesions: Bool[np.ndarray, "slice row column"]
    base: np.ndarray
    hu: np.ndarray
    tracer: str
    uptake: Float[np.ndarray, " label"]
    lesion_uptake: Float[np.ndarray, " lesion"]


@dataclass(frozen=True)
class Look:
    """How slabs look: ranges of blur (mm FWHM), width of the noise, sd of it at SUV 1, and most overshoot at edges."""

    voxel_mm: float
    fwhm_mm: tuple[float, float]
    noise_fwhm_mm: tuple[float, float]
    noise_sd: tuple[float, float]
    texture: tuple[float, float] = (0.0, 0.35)
    overshoot: float = 0.0


def lesion_case(seed: int, voxel_mm: float, lesions: tuple[int, int], sites=SITES) -> Case:
    """Labels and lesions of a patient from thighs to head, and places to cut slabs about."""
    random = np.random.default_rng([seed, 11])
    whole = patient(seed, voxel_mm, lesions=lesions, sites=sites).slab(LOWEST_mm, 1e4)
    if random.random() < 0.5:
        whole = trunk(without_arms(whole, HALF_WIDTH_mm))
    names = body(seed, voxel_mm).names
    plain = body(seed, voxel_mm).slab(LOWEST_mm, 1e4).labels
    lesion = np.where(whole.labels >= len(names), whole.labels - len(names) + 1, 0)
    base = with_ureters(np.where(whole.labels > 0, plain, 0), names, random)
    box = _box(base > 0)
    base, lesion = base[box], lesion[box]
    hu = np.append(_per_label(body(seed, voxel_mm)), 10.0)
    return {
        "base": base.astype(np.uint8),
        "lesion": lesion.astype(np.uint8),
        "names": np.array(json.dumps([*names, URETER])),
        "lesions": np.array(len(whole.names) - len(names)),
        "hu": hu.astype(np.float32),
        "counts": np.stack([np.bincount(plane.ravel(), minlength=len(hu)) for plane in base]),
        "lesion_points": _points(lesion > 0, random),
        "organ_points": _points(np.isin(base, _numbers(names, ORGANS)), random),
        "ureter_points": _points(base == len(names), random),
        "body_points": _points(base > 0, random),
    }


def with_ureters(base: np.ndarray, names, random: np.random.Generator) -> np.ndarray:
    """Labels with threads from kidneys to bladder, in pieces, as one more label after `names`."""
    out = base.copy()
    bladder = np.argwhere(base == names.index("bladder_contents"))
    for side in ("kidney_left", "kidney_right"):
        kidney = np.argwhere(base == names.index(side))
        if not len(kidney) or not len(bladder):
            continue
        ends = kidney.mean(axis=0) * [1, 1, 0.75] + bladder.mean(axis=0) * [0, 0, 0.25], bladder.mean(axis=0)
        path = np.linspace(*ends, 400) + np.cumsum(random.normal(0, 0.12, (400, 3)), axis=0) * [[0, 1, 1]]
        seen = np.repeat(random.random(20) < 0.4, 20)
        where = np.clip(np.round(path[seen]).astype(int), 0, np.array(base.shape) - 1)
        soft = [k for k in where if names[base[tuple(k)]] == "remainder"]
        if soft:
            out[tuple(np.array(soft).T)] = len(names)
    return out


def slab(case: Case, look: Look, shape: tuple[int, int, int], random: np.random.Generator) -> Slab:
    """A slab of [slice, row, column] voxels, its slices along a drawn axis, about a lesion, an organ or any place."""
    base, lesion = place(case, shape, random)
    tracer = ("psma", "sstr")[int(random.integers(2))]
    return seen(case, base, lesion, tracer, look, random)


def place(case: Case, shape: tuple[int, int, int], random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Labels without and of lesions about a drawn place, with `MARGIN` on each side, slices along a drawn axis."""
    plane, centre = int(random.integers(3)), _place(case, random)
    base, lesion = (np.moveaxis(case[name], plane, 0) for name in ("base", "lesion"))
    turned = np.array([centre[plane], *np.delete(centre, plane)])
    jitter = [0, *(int(j) for j in random.integers(-shape[1] // 3, shape[1] // 3 + 1, 2))]
    first, wide = turned + jitter - np.array(shape) // 2 - MARGIN, np.array(shape) + 2 * MARGIN
    return cut(base, first, wide), cut(lesion, first, wide)


def seen(case: Case, base, lesion, tracer: str, look: Look, random: np.random.Generator, keep=None) -> Slab:
    """Labels with uptake, blur and noise drawn; the margin is cut off. `keep` as in `painted`."""
    uptake = label_uptake(case, tracer, random)
    truth, drawn, _ = painted(uptake, base, lesion, random, keep)
    if look.texture[1]:
        truth = truth * texture(truth.shape, random, random.uniform(*look.texture))
    sigma = random.uniform(*look.fwhm_mm) / FWHM_PER_SIGMA / look.voxel_mm
    expected = gaussian_filter(truth, sigma).astype(np.float32)
    if look.overshoot:
        sharper = expected + random.uniform(0, look.overshoot) * (expected - gaussian_filter(expected, sigma))
        expected = np.maximum(sharper, 0)
    level = np.exp(random.uniform(*np.log(look.noise_sd)))
    suv = expected + level * np.sqrt(np.maximum(expected, 0)) * unit_noise(expected.shape, look, random)
    hu = case["hu"][base] + random.normal(0, 15, base.shape)
    inner = (slice(MARGIN, -MARGIN),) * 3
    return Slab(
        *(expected[inner], suv[inner], drawn[inner], base[inner], hu[inner].astype(np.float32)),
        *(tracer, uptake["base"], uptake["lesion"]),
    )


def painted(uptake: Mapping[str, np.ndarray], base, lesion, random: np.random.Generator, keep=None):
    """SUV of labels with each lesion in it that stands out, the lesions drawn, and the SUV without any.

    Args:
        uptake: as `label_uptake` gives it.
        keep: labels of the lesions that are there; a drawn part of them where not given.
    """
    plain = uptake["base"][base]
    truth, drawn = plain.copy(), np.zeros(base.shape, dtype=bool)
    share = random.choice([0.0, 0.5, 1.0], p=[0.1, 0.3, 0.6])
    kept = random.random(len(uptake["lesion"])) < share
    for k in np.unique(lesion[lesion > 0]):
        where = lesion == k
        there = kept[k - 1] if keep is None else k in keep
        if there and uptake["lesion"][k - 1] > STANDS_OUT * plain[where].mean():
            truth[where], drawn[where] = uptake["lesion"][k - 1], True
    return truth, drawn, plain


def label_uptake(case: Case, tracer: str, random: np.random.Generator) -> dict[str, np.ndarray]:
    """Standardised uptake of base labels and of lesions; labels without a row vary about the remainder's."""
    names, number = case_names(case), int(case["lesions"])
    of = concentrations(
        _bare((*names, *(f"tumour_{k + 1}" for k in range(number)))), tracer, int(random.integers(2**31))
    )
    base, lesion = of[: len(names)].copy(), of[len(names) :]
    same = (base == base[names.index("remainder")]) & (np.arange(len(base)) > 0)
    base[same] *= np.exp(random.normal(0, 0.4, int(same.sum())))
    hot = random.random() < HOT_URETERS
    base[names.index(URETER)] = np.exp(random.uniform(*np.log(URETER_SUV))) if hot else base[names.index("remainder")]
    return {"base": base, "lesion": lesion}


def organ_channel(case: Case, base: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Masks of organs as a user may give them: 1, the liver 1/2; most organs, or none (-1)."""
    if random.random() < 0.5:
        return np.full(base.shape, -1.0, np.float32)
    names = case_names(case)
    values = np.zeros(len(names), np.float32)
    for name in ORGANS:
        if name in names and random.random() < 0.9:
            values[names.index(name)] = 0.5 if name == "liver" else 1.0
    return values[base]


def texture(shape, random: np.random.Generator, strength: float) -> np.ndarray:
    """A smooth random factor about 1 with details of some centimetres."""
    made = random.standard_normal([n // BLOCK + 2 for n in shape])
    for axis in range(3):
        made = np.repeat(made, BLOCK, axis)
    fine = uniform_filter(made, BLOCK)
    return np.exp(strength * fine[tuple(slice(0, n) for n in shape)])


def unit_noise(shape, look: Look, random: np.random.Generator) -> np.ndarray:
    """Correlated Gaussian noise of sd 1."""
    sigma = random.uniform(*look.noise_fwhm_mm) / FWHM_PER_SIGMA / look.voxel_mm
    made = gaussian_filter(random.standard_normal(shape), sigma, mode="wrap")
    return made / max(float(made.std()), 1e-6)


def cut(array: np.ndarray, first, size) -> np.ndarray:
    """A box from an index on, filled up with zeros where the array holds nothing."""
    out = np.zeros(tuple(int(n) for n in size), dtype=array.dtype)
    spans = [(max(0, int(a)), min(n, int(a) + int(s)), int(a)) for a, n, s in zip(first, array.shape, size)]
    if all(low < high for low, high, _ in spans):
        there = tuple(slice(low - a, high - a) for low, high, a in spans)
        out[there] = array[tuple(slice(low, high) for low, high, _ in spans)]
    return out


def case_names(case: Case) -> list[str]:
    """Names of the base labels."""
    return _decoded(str(case["names"]))


@lru_cache(maxsize=64)
def _decoded(words: str) -> list[str]:
    return json.loads(words)


@lru_cache(maxsize=256)
def _bare(names: tuple[str, ...]) -> Anatomy:
    """An anatomy of names only: what uptake is drawn for."""
    nothing = np.zeros((1, 1, 1))
    return Anatomy(nothing, names, np.ones(len(names)), Volume(nothing, np.eye(4)))


def _place(case: Case, random: np.random.Generator) -> np.ndarray:
    found = case[str(random.choice(list(PLACES), p=list(PLACES.values())))]
    found = found if len(found) else case["body_points"]
    return found[int(random.integers(len(found)))]


def _numbers(names, wanted) -> list[int]:
    return [k for k, name in enumerate(names) if name in wanted]


def _points(mask: np.ndarray, random: np.random.Generator) -> np.ndarray:
    index = np.argwhere(mask)
    return index[random.permutation(len(index))[:POINTS]].astype(np.int16)


def _box(mask: np.ndarray) -> tuple[slice, ...]:
    index = np.argwhere(mask)
    return tuple(slice(int(a), int(b) + 1) for a, b in zip(index.min(axis=0), index.max(axis=0)))


def _per_label(anatomy: Anatomy) -> np.ndarray:
    found = np.zeros(len(anatomy.names))
    np.put(found, anatomy.labels.ravel(), anatomy.ct.array.ravel())
    return found
