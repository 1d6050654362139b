"""Simulated pairs for learned registration: one body in several poses, its CT and emission, known displacements.

Pose 0 is the body at rest. Every other pose shows at x what lay at x + u(x); u is the curl of a random smooth
potential (organs move and bend and keep their volume), breathing of the upper abdomen, a bladder that fills or
empties, and a small turn and shift as a rigid registration leaves it. Lesions have shrunk there. CT numbers are
shifted by organ and textured, the texture moving with the body; emission is uptake blurred.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, map_coordinates

from dose.learning.recipe import Case, Config
from imaging.geometry import Volume
from imaging.networks.acquisitions import HALF_WIDTH_mm, trunk
from imaging.networks.patients import assigned, concentrations, patient
from imaging.networks.warp_grid import GRID_mm, ct_channel, emission_channel
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.anatomy import REMAINDER, Anatomy
from imaging.scanner.deform import LEAST_JACOBIAN, Motion, displacement_mm, jacobian
from imaging.scanner.reference_scan import without_arms

HEIGHT_mm = 400.0
"""Of the field, about the kidneys."""

AROUND = 4
"""Voxels of air beside the body."""

SHAPE = (48, 40, 52)
"""Voxels of a training image along z, y, x, of GRID_mm."""

ORGANS = ("liver", "spleen", "kidney_left", "kidney_right", "stomach", "pancreas", "bladder_contents")
"""Scored ones."""

TEXTURE_HU, ORGAN_HU = 40.0, 12.0
BLUR_fwhm_mm = (6.0, 16.0)
NOISE_HU = (2.0, 12.0)
LESIONS = (3, 8)


def case(seed: int, config: Config) -> Case:
    """CT (HU) and emission of the poses, labels of pose 0 and pose 1, u in mm of pose 1 ([3, z, y, x], x first)."""
    random = np.random.default_rng([seed, 9])
    anatomy = abdomen(patient(seed, float(config.data["voxel_mm"]), lesions=LESIONS), random)
    uptake = concentrations(anatomy, assigned(seed, "tracer", ("psma", "sstr")), seed)
    return posed(anatomy, hounsfields(anatomy, random), uptake, config, random)


def posed(anatomy: Anatomy, hu: np.ndarray, uptake: np.ndarray, config: Config, random: np.random.Generator) -> Case:
    """As `case`, of an anatomy with its CT numbers and the uptake of each label."""
    sigma = np.exp(random.uniform(*np.log(BLUR_fwhm_mm))) / FWHM_PER_SIGMA / anatomy.ct.spacing_mm[0]
    fields = [np.zeros((3, *anatomy.labels.shape), np.float32)]
    fields += [motion_mm(anatomy, config.data, random) for _ in range(int(config.data["poses"]) - 1)]
    at_rest = [anatomy.labels] + [shrunk(anatomy, float(random.uniform(*config.data["shrink"]))) for _ in fields[1:]]
    labels = [moved(now, u, anatomy, 0) for now, u in zip(at_rest, fields)]
    hus = [healed(hu, anatomy, now) for now in at_rest]
    return {
        "ct": np.stack([moved(image, u, anatomy, 1, -1000.0) for image, u in zip(hus, fields)]).astype(np.float16),
        "emission": np.stack([gaussian_filter(uptake[k].astype(np.float32), sigma) for k in labels]).astype(np.float16),
        "labels": np.stack(labels[:2]).astype(np.uint8),
        "u_mm": fields[1].astype(np.float16),
        "names": np.array(json.dumps(anatomy.names)),
        "affine": anatomy.affine,
    }


def abdomen(anatomy: Anatomy, random: np.random.Generator) -> Anatomy:
    """A field about the kidneys, without arms."""
    anatomy = trunk(without_arms(anatomy, HALF_WIDTH_mm))
    step = anatomy.ct.spacing_mm[2]
    middle = np.argwhere(anatomy.mask("kidney_left"))[:, 0].mean() + random.uniform(-90, 50) / step
    first = int(np.clip(middle - 0.5 * HEIGHT_mm / step, 0, None))
    slab = slice(first, first + int(HEIGHT_mm / step))
    planes = np.argwhere(anatomy.labels[slab].any(axis=0))
    low, high = np.maximum(planes.min(axis=0) - AROUND, 0), planes.max(axis=0) + AROUND + 1
    where = (slab, slice(low[0], high[0]), slice(low[1], high[1]))
    affine = anatomy.affine.copy()
    affine[:3, 3] = anatomy.ct.to_lps_mm([low[1], low[0], first])
    return replace(anatomy, labels=anatomy.labels[where], ct=Volume(anatomy.ct.array[where], affine))


def hounsfields(anatomy: Anatomy, random: np.random.Generator) -> np.ndarray:
    """CT with organs shifted by some HU and a texture of two scales, strongest between organs."""
    table = np.zeros(len(anatomy.names))
    np.put(table, anatomy.labels.ravel(), anatomy.ct.array.ravel())
    table += ORGAN_HU * random.standard_normal(len(table))
    rest = np.array([name == REMAINDER for name in anatomy.names])
    size = np.where(rest, random.uniform(0.2, 1.5) * TEXTURE_HU, random.uniform(0, 0.3) * TEXTURE_HU)
    size[0], table[0] = 0.0, -1000.0
    grain = sum(_noise(anatomy.labels.shape, s, random) for s in (1.0, 2.5)) / np.sqrt(2)
    return (table[anatomy.labels] + size[anatomy.labels] * grain).astype(np.float32)


def motion_mm(anatomy: Anatomy, data: Mapping, random: np.random.Generator) -> np.ndarray:
    """u of a pose, [3, z, y, x] in mm; made smaller until no voxel falls below LEAST_JACOBIAN."""
    spacing = anatomy.ct.spacing_mm
    bend = curl(_noise_vector(anatomy.labels.shape, random.uniform(50, 90) / 2.5 / spacing[0], random))
    bend *= random.uniform(*data["field_mm"]) / bend.std()
    rigid = Motion(
        rotation_deg=tuple(random.normal(0, data["turn_deg"], 3)),
        translation_mm=tuple(random.normal(0, data["shift_mm"], 3)),
        breathing_mm=float(random.uniform(*data["breathing_mm"])),
        fade_mm=float(random.uniform(40, 80)),
    )
    made = bend + displacement_mm(anatomy, rigid) + filling_mm(anatomy, float(random.uniform(*data["filling"])))
    while jacobian(made, spacing).min() < LEAST_JACOBIAN:
        made *= 0.8
    return made.astype(np.float32)


def curl(potential: np.ndarray) -> np.ndarray:
    """Curl of [3, z, y, x]: a field without sources, which changes no volume to first order."""
    dz, dy, dx = (np.gradient(potential, axis=axis) for axis in (1, 2, 3))
    return np.stack([dy[2] - dz[1], dz[0] - dx[2], dx[1] - dy[0]])


def filling_mm(anatomy: Anatomy, share: float) -> np.ndarray:
    """The bladder wider by this share of its radius (narrower below zero), fading about it."""
    inside = np.argwhere(anatomy.mask("bladder_contents")) if "bladder_contents" in anatomy.names else np.zeros((0, 3))
    if len(inside) == 0:
        return np.zeros((3, *anatomy.labels.shape), np.float32)
    step = float(anatomy.ct.spacing_mm[0])
    reach = 1.5 * (3 * len(inside) / (4 * np.pi)) ** (1 / 3) * step
    at = np.stack(np.meshgrid(*(np.arange(n) for n in anatomy.labels.shape), indexing="ij"))[::-1]
    off = (at - inside.mean(axis=0)[::-1].reshape(3, 1, 1, 1)) * step
    return -share * off * np.exp(-0.5 * (off**2).sum(axis=0) / reach**2)


def shrunk(anatomy: Anatomy, share: float) -> np.ndarray:
    """Labels with every lesion down to a share of its volume about its middle; the rest is its commonest neighbour."""
    labels = anatomy.labels.copy()
    for k, name in enumerate(anatomy.names):
        at = np.argwhere(labels == k) if name.startswith("tumour_") else np.zeros((0, 3), int)
        if len(at):
            far = np.linalg.norm(at - at.mean(axis=0), axis=1)
            lost = at[np.argsort(far, kind="stable")[max(1, round(share * len(at))) :]]
            box = tuple(slice(max(0, a - 1), b + 2) for a, b in zip(at.min(axis=0), at.max(axis=0)))
            around = labels[box][labels[box] != k]
            labels[tuple(lost.T)] = np.bincount(around).argmax() if around.size else k
    return labels


def healed(hu: np.ndarray, anatomy: Anatomy, now: np.ndarray) -> np.ndarray:
    """The CT with what a lesion lost filled by the nearest voxel outside of lesions."""
    lost = anatomy.labels != now
    if not lost.any():
        return hu
    ill = np.isin(anatomy.labels, [k for k, name in enumerate(anatomy.names) if name.startswith("tumour_")])
    nearest = distance_transform_edt(ill, return_distances=False, return_indices=True)
    return np.where(lost, hu[tuple(nearest)], hu)  # type: ignore[arg-type]


def moved(image: np.ndarray, u_mm: np.ndarray, anatomy: Anatomy, order: int, outside: float = 0.0) -> np.ndarray:
    """What an image shows at x + u(x) at each of its voxels."""
    at = np.indices(image.shape, dtype=np.float32) + u_mm[::-1] / anatomy.ct.spacing_mm[::-1].reshape(3, 1, 1, 1)
    return map_coordinates(image, at, order=order, mode="constant" if order else "nearest", cval=outside)


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    """Pairs on the network's grid, turned about left and right, larger or smaller, noisy; half without moving CT."""
    drawn = [_pair(cases[random.integers(len(cases))], random) for _ in range(int(config.training["batch"]))]
    found = {name: np.stack([pair[name] for pair in drawn]) for name in ("fixed", "moving", "emission")}
    seen = (np.arange(len(drawn)) % 2 == 0).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    carried = (random.random(len(drawn)) < 0.75).astype(np.float32).reshape(-1, 1, 1, 1, 1)
    emission = found["emission"] * np.maximum(carried, 1 - seen)
    return found | {"inputs": np.concatenate([found["fixed"], found["moving"] * seen, emission], axis=1)}


def _pair(case: Case, random: np.random.Generator) -> dict[str, np.ndarray]:
    fixed, moving = random.permutation(len(case["ct"]))[:2]
    at = _points(case["ct"].shape[1:], case["affine"], random)
    noise = random.uniform(*NOISE_HU)

    def seen(image: np.ndarray, outside: float) -> np.ndarray:
        smooth = gaussian_filter(image.astype(np.float32), 0.4)
        return map_coordinates(smooth, at, order=1, mode="constant", cval=outside)

    ct = [ct_channel(seen(case["ct"][k], -1000.0) + noise * random.standard_normal(SHAPE)) for k in (fixed, moving)]
    emission = emission_channel(noisy(seen(case["emission"][moving], 0.0), random.uniform(0.02, 0.2), random))
    return {"fixed": ct[0][None], "moving": ct[1][None], "emission": emission[None]}


def noisy(emission: np.ndarray, level: float, random: np.random.Generator) -> np.ndarray:
    """Noise whose variance is the mean's: `level` of the 99th percentile there, correlated over a voxel."""
    top = max(float(np.quantile(emission, 0.99)), 1e-6)
    grain = gaussian_filter(random.standard_normal(emission.shape), 0.7)
    return np.maximum(emission + level * np.sqrt(top * np.maximum(emission, 0)) * grain / grain.std(), 0)


def _points(shape, affine: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Indices [3, z, y, x] of the network's grid in a case's arrays."""
    step = GRID_mm / np.linalg.norm(affine[:3, :3], axis=0)[::-1] * random.uniform(0.9, 1.1)
    middle = 0.5 * (np.array(shape) - 1) + random.uniform(-4, 4, 3)
    turned = np.array([1, 1, random.choice([-1, 1])])
    rest = np.indices(SHAPE, dtype=np.float32) - 0.5 * (np.array(SHAPE).reshape(3, 1, 1, 1) - 1)
    return rest * (step * turned).reshape(3, 1, 1, 1) + middle.reshape(3, 1, 1, 1)


def _noise(shape, sigma: float, random: np.random.Generator) -> np.ndarray:
    made = gaussian_filter(random.standard_normal(shape).astype(np.float32), sigma)
    return made / made.std()


def _noise_vector(shape, sigma: float, random: np.random.Generator) -> np.ndarray:
    return np.stack([_noise(shape, sigma, random) for _ in range(3)])
