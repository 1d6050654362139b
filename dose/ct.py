"""CT number to mass density and tissue: the stoichiometric calibration of Schneider et al. (2000), or a curve of yours.

Density is piecewise linear in the CT number (`data/ct_calibration.csv`), good to 0.04 g/cm3 by the paper; the published
lines do not meet at 100, where connective tissue ends and bone with marrow begins. Composition is that of the paper's
24 bins (`data/ct_tissues.csv`). The curve is that of the paper's scanner at 120 kV: a clinic's own curve is better,
and matters most in bone. Average densities, not CT numbers, when a CT is brought to a coarser grid.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table

if TYPE_CHECKING:
    from dose.montecarlo.materials import Material

LOWEST_HU, HIGHEST_HU = -5000.0, 32767.0
"""What a scanner can write: some mark what lies outside their circle by -2000 to -3024; extended scales go to 30710."""

METAL_HU = 3071.0
"""End of the twelve-bit scale: metal and its streaks lie there, and no curve of tissues holds."""

MOST_METAL = 0.02
"""Share of voxels above `METAL_HU` beyond which an image is no CT of a patient in CT numbers."""


RAW_AIR, RAW_TISSUE = 200.0, (900.0, 1200.0)
"""Where air ends and tissues lie in a CT whose intercept of -1000 or -1024 was not applied."""


@dataclass(frozen=True, eq=False)
class CtCurve:
    """Density in g/cm3 at CT numbers [point]; straight between points, held at the ends.

    Raises:
        InputError: fewer than two points, CT numbers that do not rise, a density not above 0 or above 22.6.
    """

    hu: np.ndarray
    density_g_cm3: np.ndarray
    name: str

    def __post_init__(self):
        hu, density = (np.asarray(values, dtype=float) for values in (self.hu, self.density_g_cm3))
        whole = hu.ndim == 1 and hu.shape == density.shape and len(hu) >= 2 and np.isfinite(hu).all()
        if not (whole and np.all(np.diff(hu) > 0) and np.all((density > 0) & (density <= 22.6))):
            found = f"CT numbers {hu.tolist()}, densities {density.tolist()}"
            expected = "two or more rising CT numbers, densities above 0 and up to 22.6 g/cm3"
            raise InputError(describe(f"curve {self.name}", found, expected, "sort the points and give g/cm3"))
        object.__setattr__(self, "hu", hu)
        object.__setattr__(self, "density_g_cm3", density)


@cache
def schneider_curve() -> CtCurve:
    """The published curve, as `data/ct_calibration.csv` holds it."""
    rows = load_table("dose", "ct_calibration.csv")
    points = np.array([(float(row["hu"]), float(row["density"])) for row in rows])
    return CtCurve(points[:, 0], points[:, 1], "Schneider 2000")


def read_curve(path) -> CtCurve:
    """A curve of a scanner from a CSV file with columns `hu` and `density_g_cm3`; lines that begin with # are comments.

    Raises:
        InputError: other columns, an entry that is no number, or points that make no curve.
    """
    lines = [line for line in Path(path).read_text(encoding="utf-8-sig").splitlines() if not line.startswith("#")]
    try:
        points = np.array([(float(row["hu"]), float(row["density_g_cm3"])) for row in csv.DictReader(lines)])
        hu, density = points.T
    except (KeyError, TypeError, ValueError) as error:
        expected = "columns hu and density_g_cm3 with a number in every row"
        raise InputError(describe("CT curve", f"{error}", expected, "rewrite the file")) from error
    return CtCurve(hu, density, Path(path).name)


def density_from_ct(hu, curve: CtCurve | None = None) -> np.ndarray:
    """Mass density in g/cm3 of every voxel, in the shape of `hu`.

    Raises:
        InputError: values that are no CT numbers (NaN, out of any scanner's range, no rescale intercept, densities).
    """
    values, used = checked_hu(hu), curve or schneider_curve()
    return np.interp(values, used.hu, used.density_g_cm3).astype(np.float32)


def checked_hu(hu) -> np.ndarray:
    """CT numbers, or an error that says what they may be instead.

    Raises:
        InputError: see `density_from_ct`.
    """
    values = np.asarray(hu, dtype=float)
    if values.size == 0 or not np.isfinite(values).all():
        found = f"{int((~np.isfinite(values)).sum())} of {values.size} values NaN or infinite"
        raise InputError(describe("hu", found, "a CT number in every voxel", "fill gaps with -1000 (air)"))
    least, middle, most = float(values.min()), float(np.median(values)), float(values.max())
    found, expected = f"{least:.4g} to {most:.4g}, median {middle:.4g}", "CT numbers: air -1000, water 0"
    if least < LOWEST_HU or most > HIGHEST_HU or float((values > METAL_HU).mean()) > MOST_METAL:
        raise InputError(describe("hu", found, expected, "apply the rescale slope and intercept of the header"))
    body = values[values > RAW_AIR]
    if least >= 0 and body.size > 1 and ((body > RAW_TISSUE[0]) & (body < RAW_TISSUE[1])).mean() > 0.5:
        raise InputError(describe("hu", found, expected, "subtract the rescale intercept (1000 or 1024)"))
    if least >= 0 and 0 < most < 25 and np.any(values % 1):
        do = "these look like densities in g/cm3: give them to dose.voxel as they are"
        raise InputError(describe("hu", found, expected, do))
    return values


@cache
def _rows() -> tuple[dict[str, str], ...]:
    return tuple(load_table("dose", "ct_tissues.csv"))


def tissue_from_ct(hu) -> np.ndarray:
    """Index into `ct_tissues()` of every voxel: the bin of Schneider et al. its CT number falls in, as whole numbers.

    Metal falls in the densest bone.

    Raises:
        InputError: as `density_from_ct`.
    """
    begins = np.array([float(row["hu_from"]) for row in _rows()])[1:]
    return np.searchsorted(begins, checked_hu(hu), side="right").astype(np.uint8)


@cache
def ct_tissues() -> tuple[Material, ...]:
    """The materials of the 24 bins, at the density of the middle of each: compositions for Monte Carlo.

    Their I values are those of Bragg's rule with the elements' values of ICRU 37.
    """
    from dose.montecarlo.materials import Material

    begins = [float(row["hu_from"]) for row in _rows()]
    ends = [*begins[1:], begins[-1] + 100.0]
    middle = np.interp((np.array(begins) + ends) / 2, schneider_curve().hu, schneider_curve().density_g_cm3)
    made = []
    for row, density in zip(_rows(), middle):
        pairs = (part.split(":") for part in row["composition"].split(";"))
        composition = tuple((int(z), float(share)) for z, share in pairs)
        made.append(Material(row["tissue"], float(density), float(row["I_eV"]), composition))
    return tuple(made)


def nearest_kernel_materials() -> tuple[str, ...]:
    """For each of `ct_tissues()` the shipped material of `dose.point_kernels` that stands for it."""
    return tuple(row["kernel_material"] for row in _rows())


def to_coarser(density_g_cm3, factors: Sequence[int]) -> np.ndarray:
    """Means over blocks of `factors` [z, y, x] voxels: masses are kept, which averages of CT numbers would not do.

    Raises:
        InputError: a shape that the factors do not divide.
    """
    density, steps = np.asarray(density_g_cm3, dtype=float), tuple(int(f) for f in factors)
    if density.ndim != 3 or len(steps) != 3 or any(f < 1 or n % f for n, f in zip(density.shape, steps)):
        do = "crop the CT, or resample its densities to the activity's grid"
        raise InputError(describe("factors", f"{steps} for shape {density.shape}", "three divisors of the shape", do))
    blocks = [size for n, f in zip(density.shape, steps) for size in (n // f, f)]
    return density.reshape(blocks).mean(axis=(1, 3, 5)).astype(np.float32)


def metal_share(hu) -> float:
    """Share of voxels above `METAL_HU`, where neither density nor composition of the curve holds."""
    return float((np.asarray(hu) > METAL_HU).mean()) if math.prod(np.shape(hu)) else 0.0
