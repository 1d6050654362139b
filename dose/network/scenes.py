"""Scenes that the dose networks learn from: random densities and activities, with the dose of our Monte Carlo.

Three in five scenes are geometry: lung, soft tissue, bone and air as ellipsoids and plates. The others are cut from a
stylised adult (`dose.phantom`), a man for training and a woman for what is held out and tested. Activity lies in every
object at its own random level, and in lesions that sit on borders by preference. All three networks share the scenes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

from dose.learning.cases import HELD_OUT_FROM, Case, cases_folder, kept
from dose.montecarlo.run import Scale
from dose.phantom import phantom
from dose.voxels import voxel

NUCLIDES = ("177Lu", "90Y")
"""What the networks know, in the order of their number in a case."""

BODY_MM = 4.0
"""Voxel of the stylised adult; scenes take it as a voxel of their own size, so that bodies differ in size too."""

GEOMETRIC = 3
"""Of five scenes."""

AIR_G_CM3 = 0.0012
DENSITIES = {"lung": (0.15, 0.5), "bone": (1.15, 1.9), "soft": (0.92, 1.07), "air": (AIR_G_CM3, AIR_G_CM3)}
"""Ranges in g/cm3 from which an object's density is drawn, evenly."""

OBJECTS = {"lung": 0.4, "bone": 0.35, "soft": 0.18, "air": 0.07}
TEXTURE = 0.02
"""Relative sd of density within an object."""

MOTTLE = 1.5
"""Of the smoothed noise in the logarithm of activity: concentration varies by about a quarter within an object."""

FEW = Scale(lanes=2048, batch=2**18, workers=2)
"""For runs of few histories: with the usual 8192 lanes, most of the time goes to waiting for the last ones."""

MEAN_MBq_h_mL = 10.0


@dataclass(frozen=True, eq=False)
class Scene:
    """Maps [z, y, x] of one scene: density, decays by voxel, the number of each voxel's object (0 is outside)."""

    density_g_cm3: Float[np.ndarray, "z y x"]
    tia_MBq_h: Float[np.ndarray, "z y x"]
    labels: UInt8[np.ndarray, "z y x"]
    spacing_mm: tuple[float, float, float]
    nuclide: str


def scene(seed: int, data: Mapping[str, Any]) -> Scene:
    """The scene of a seed; `data` is the [data] of a configuration: side, spacings_mm."""
    random = np.random.default_rng([seed, 3])
    side = int(data["side"])
    edge = float(random.choice(data["spacings_mm"]))
    geometric = (seed // 2) % 5 < GEOMETRIC
    density, labels = _geometry(random, side) if geometric else _part_of_body(random, side, _sex(seed))
    return furnished(random, density, labels, edge, NUCLIDES[seed % 2])


def furnished(random: np.random.Generator, density, labels, edge_mm: float, nuclide: str) -> Scene:
    """A scene of objects [z, y, x] with texture, lesions and activity drawn; label 0 is outside."""
    density = np.where(labels > 0, density * (1 + TEXTURE * random.standard_normal(density.shape)), density)
    concentration = _levels(random, labels)
    density, labels, concentration = _with_lesions(random, density, labels, concentration)
    concentration *= np.exp(MOTTLE * ndimage.gaussian_filter(random.standard_normal(labels.shape), 1.0))
    concentration[density < 0.05] = 0.0
    tia = concentration * (MEAN_MBq_h_mL * (edge_mm / 10) ** 3 / concentration.mean())
    return Scene(density, tia, labels, (edge_mm,) * 3, nuclide)


def simulated(seed: int, data: Mapping[str, Any]) -> Case:
    """The scene with dose maps in Gy: Monte Carlo, tissue-wise kernels, one kernel over the voxel's mass; kept on disk.

    Training scenes carry one Monte Carlo ("electron_Gy", "photon_Gy"), held-out and test scenes a second one that is
    independent ("second_..."): the product of two differences has no share of their noise.
    """
    folder = cases_folder("dose_scene", {key: data[key] for key in ("side", "spacings_mm", "histories")})
    return kept(folder, str(seed), lambda: _made(seed, data))


def with_doses(made: Scene, histories: int, seed: int, second: bool = False) -> dict[str, np.ndarray]:
    """Dose maps of a scene by all methods, as a case holds them."""
    about = (made.tia_MBq_h, made.density_g_cm3, made.nuclide, made.spacing_mm)
    case = classical(*about)
    for k, word in enumerate(("", "second_")[: 1 + second]):
        found = voxel(*about, engine="montecarlo", histories=histories, seed=2 * seed + k, scale=FEW)
        case |= {f"{word}electron_Gy": found.electron_Gy, f"{word}photon_Gy": found.photon_Gy}
    return {
        **case,
        "density": made.density_g_cm3.astype(np.float32),
        "tia": made.tia_MBq_h.astype(np.float32),
        "labels": made.labels,
        "spacing_mm": np.array(made.spacing_mm),
        "nuclide": np.array(NUCLIDES.index(made.nuclide) if made.nuclide in NUCLIDES else -1),
    }


WAYS = {"kernel": "tissue", "single": "density"}
"""Word of a case for a dose map of the kernel engine, and how that treats the body."""


def classical(
    tia_MBq_h, density_g_cm3, nuclide: str, spacing_mm, words: Sequence[str] = tuple(WAYS)
) -> dict[str, np.ndarray]:
    """What the networks start from: dose maps in Gy of the kernel engine, tissue-wise and by density scaling."""
    case = {}
    for word in words:
        found = voxel(tia_MBq_h, density_g_cm3, nuclide, spacing_mm, heterogeneity=WAYS[word])
        case |= {f"{word}_electron_Gy": found.electron_Gy, f"{word}_photon_Gy": found.photon_Gy}
    return case


def _made(seed: int, data: Mapping[str, Any]) -> Case:
    return with_doses(scene(seed, data), int(data["histories"]), seed, second=seed >= HELD_OUT_FROM)


def _sex(seed: int) -> str:
    return "male" if seed < HELD_OUT_FROM else "female"


def _grid(side: int) -> np.ndarray:
    return np.stack(np.meshgrid(*(np.arange(side) - (side - 1) / 2,) * 3, indexing="ij"))


def _turned(random: np.random.Generator, side: int) -> np.ndarray:
    """Coordinates in voxels about a random point, turned at random, [axis, z, y, x]."""
    turn, _ = np.linalg.qr(random.standard_normal((3, 3)))
    centre = random.uniform(-side / 2, side / 2, size=(3, 1, 1, 1))
    return np.einsum("ab,bzyx->azyx", turn, _grid(side) - centre)


def _geometry(random: np.random.Generator, side: int) -> tuple[np.ndarray, np.ndarray]:
    density = np.full((side,) * 3, random.uniform(*DENSITIES["soft"]))
    labels = np.ones(density.shape, np.uint8)
    for number in range(2, 2 + int(random.integers(3, 10))):
        kind = str(random.choice(list(OBJECTS), p=list(OBJECTS.values())))
        at = _turned(random, side)
        if random.random() < 0.35:
            inside = np.abs(at[0]) < random.uniform(1.0, side / 5)
        else:
            radii = np.exp(random.uniform(np.log(2.0), np.log(side / 2.5), size=(3, 1, 1, 1)))
            inside = ((at / radii) ** 2).sum(0) < 1
        density[inside] = random.uniform(*DENSITIES[kind])
        labels[inside] = 0 if kind == "air" else number
    if random.random() < 0.4:
        outside = _turned(random, side)[0] > side / 4
        density[outside], labels[outside] = AIR_G_CM3, 0
    return (density, labels) if np.mean(labels > 0) > 0.2 else _geometry(random, side)


def _part_of_body(random: np.random.Generator, side: int, sex: str) -> tuple[np.ndarray, np.ndarray]:
    body = kept(cases_folder("dose_body", {"voxel_mm": BODY_MM}), sex, lambda: _body(sex))
    return part_of(body["labels"], body["density"], side, random)


def part_of(labels, density_g_cm3, side: int, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Density and labels of a cube of a body about a voxel of an organ drawn evenly of all organs.

    Args:
        labels: of the body, [z, y, x], 0 outside.
        density_g_cm3: [label].
    """
    padded, organ = np.pad(labels, side), random.choice(np.unique(labels)[1:])
    at = random.choice(np.argwhere(padded == organ)) - side // 2 + random.integers(-side // 4, side // 4 + 1, size=3)
    at = np.clip(at, 0, np.array(padded.shape) - side)
    part = padded[tuple(slice(a, a + side) for a in at)]
    return np.where(part > 0, density_g_cm3[part], AIR_G_CM3), part.astype(np.uint8)


def _body(sex: str) -> dict[str, np.ndarray]:
    made = phantom(sex, BODY_MM)
    return {"labels": made.labels, "density": made.density_g_cm3}


def _levels(random: np.random.Generator, labels: np.ndarray) -> np.ndarray:
    """Concentration of each object: over two decades, a quarter of them ten times hotter."""
    level = np.exp(random.uniform(np.log(0.01), 0.0, size=256)) * np.where(random.random(256) < 0.25, 10.0, 1.0)
    return level[labels]


def _with_lesions(random: np.random.Generator, density, labels, concentration):
    """Up to five spheres, two in three of them on a border between objects; most are of soft tissue."""
    inside = labels > 0
    border = inside & (ndimage.maximum_filter(labels, 3) != ndimage.minimum_filter(labels, 3))
    for number in range(int(random.integers(0, 6))):
        places = np.argwhere(border if random.random() < 2 / 3 and border.any() else inside)
        centre = random.choice(places).reshape(3, 1, 1, 1)
        at = np.indices(labels.shape) - centre
        sphere = ((at**2).sum(0) < random.uniform(1.0, 4.0) ** 2) & inside
        concentration[sphere] = np.exp(random.uniform(0.0, np.log(30.0)))
        labels[sphere] = 250 - number
        if random.random() < 0.7:
            density[sphere] = random.uniform(*DENSITIES["soft"])
    return density, labels, concentration
