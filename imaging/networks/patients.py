"""Random patients for training: stylised bodies kept on disk, with lesions, and uptake drawn from wide ranges.

Bodies of training seeds, held-out seeds and test seeds (`dose.learning.cases`) are never the same. Even seeds are men,
odd ones women; what else a seed decides is balanced against that (`assigned`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.learning.cases import HELD_OUT_FROM, TEST_FROM, cases_folder, kept
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.scanner.anatomy import OUTSIDE, Anatomy
from imaging.scanner.body import virtual_body
from imaging.scanner.lesions import LEAST_VOXELS, sampled_lesions, with_lesions

BODIES = {"training": 32, "held out": 8, "test": 16}
"""Bodies of each kind; patients of one body differ by lesions, uptake and what a recipe does to them."""

ASYMMETRY = 0.1
"""Sd of the logarithm of right over left."""

SITES = ("bone", "node", "liver")

Option = TypeVar("Option")


def body(seed: int, voxel_mm: float) -> Anatomy:
    """The randomised body of a patient, without lesions; made once for each voxel size (seconds) and kept on disk."""
    kind, first = _kind(seed)
    number = first + (seed - first) % BODIES[kind]
    return _unpacked(kept(cases_folder("body", {"voxel_mm": voxel_mm}), str(number), lambda: _packed(number, voxel_mm)))


def patient(seed: int, voxel_mm: float, *, lesions: tuple[int, int] = (0, 6), sites=SITES) -> Anatomy:
    """A body with lesions.

    Args:
        lesions: least and most of them; those that find no room are left out, too small ones made larger.
        sites: where they may lie (`imaging.scanner.lesions`).
    """
    random = np.random.default_rng([seed, 1])
    anatomy = body(seed, voxel_mm)
    numbers = {site: int(n) for site, n in zip(sites, random.multinomial(_number(random, lesions), _even(sites)))}
    least_mL = (LEAST_VOXELS + 1) * anatomy.voxel_mL
    sampled = [replace(one, volume_mL=max(one.volume_mL, least_mL)) for one in sampled_lesions(numbers, seed)]
    return with_lesions(anatomy, sampled, [seed, 4], leave_out=True)


def assigned(seed: int, purpose: str, options: Sequence[Option]) -> Option:
    """One of the options, balanced: of 16 training or test seeds from a multiple of 16 on, each sex has each of two
    tracers and of four fields equally often. A body gets another one each time that it comes again.
    """
    kind, first = _kind(seed)
    k = seed - first
    turn = k // BODIES[kind]
    number = {"tracer": k // 2, "field": k + k // 4, "arms": k + k // 4, "nuclide": k // 2 + k // 4}[purpose] + turn
    return options[number % len(options)]


def body_mass_g(seed: int, voxel_mm: float) -> float:
    """Mass of a patient's whole body, from head to feet; lesions keep it."""
    return mass_g(body(seed, voxel_mm))


def mass_g(anatomy: Anatomy) -> float:
    """Mass of what an anatomy holds."""
    return float((anatomy.counts * anatomy.density_g_cm3)[1:].sum() * anatomy.voxel_mL)


def concentrations(anatomy: Anatomy, tracer: str, seed: int) -> Float[np.ndarray, " label"]:
    """Standardised uptake of each label, drawn evenly in the logarithm (`data/uptake_ranges.csv`); 0 outside.

    Raises:
        InputError: a tracer that the table does not hold.
    """
    rows = {row["region"]: row for row in load_table("imaging", "uptake_ranges.csv") if row["tracer"] == tracer}
    if not rows:
        known = sorted({row["tracer"] for row in load_table("imaging", "uptake_ranges.csv")})
        raise InputError(describe("tracer", f'"{tracer}"', f"one of {known}", "choose one"))
    random = np.random.default_rng([seed, 2])
    found = {name: _drawn(row, random) for name, row in rows.items()}
    turn = {name: float(np.exp(ASYMMETRY * random.standard_normal())) for name in rows if name.endswith("_left")}
    for left, factor in turn.items():
        found[left.replace("_left", "_right")] = found[left] * factor
    lesions = {n: _drawn(rows["lesion"], random) for n in anatomy.names if n.startswith("tumour_")}
    by_name = {OUTSIDE: 0.0} | lesions
    return np.array([by_name.get(name, found.get(name, found["remainder"])) for name in anatomy.names])


def uptake_map(anatomy: Anatomy, per_label: Float[np.ndarray, " label"], activity_MBq: float, body_g: float) -> Volume:
    """Bq/mL of standardised uptakes, for this activity in a whole body of this mass, of which this is a part."""
    return anatomy.ct.with_array((per_label * activity_MBq * 1e6 / body_g)[anatomy.labels].astype(np.float32))


def _kind(seed: int) -> tuple[str, int]:
    """What a seed is for, and the first of its kind."""
    kind = "training" if seed < HELD_OUT_FROM else "held out" if seed < TEST_FROM else "test"
    return kind, {"training": 0, "held out": HELD_OUT_FROM, "test": TEST_FROM}[kind]


def _number(random: np.random.Generator, lesions: tuple[int, int]) -> int:
    return int(random.integers(lesions[0], lesions[1] + 1))


def _even(sites) -> list[float]:
    return [1.0 / len(sites)] * len(sites)


def _drawn(row, random: np.random.Generator) -> float:
    return float(np.exp(random.uniform(np.log(float(row["low"])), np.log(float(row["high"])))))


def _packed(seed: int, voxel_mm: float) -> dict[str, np.ndarray]:
    made = virtual_body("female" if seed % 2 else "male", voxel_mm=voxel_mm, seed=seed)
    words = json.dumps({"names": made.names, "unions": {k: dict(v) for k, v in made.unions.items()}})
    per_label = np.zeros(len(made.names))
    np.put(per_label, made.labels.ravel(), made.ct.array.ravel())
    return {
        "labels": made.labels,
        "words": np.array(words),
        "density": made.density_g_cm3,
        "affine": made.affine,
        "hu": per_label,
    }


def _unpacked(case) -> Anatomy:
    words, labels = json.loads(str(case["words"])), case["labels"]
    ct = Volume(case["hu"][labels], case["affine"])
    return Anatomy(labels, tuple(words["names"]), case["density"], ct, words["unions"])
