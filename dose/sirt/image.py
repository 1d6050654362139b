"""From an image of 99mTc-MAA or 90Y to activity and dose of each voxel, checked on the way."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.regions import region
from dose.sirt.basics import NUCLIDE, checked, checked_GBq, checked_share, gray_kg_per_GBq, sirt_value
from dose.sirt.partition import PERFUSED, WHOLE

Map = Float[np.ndarray, "z y x"]
Engine = Callable[[Map, Map], object]
"""Dose in Gy (or a result with the field `dose_Gy`) from integrated activity in MBq h a voxel and density in g/mL."""


def liver_region(name: str) -> str:
    """A name of the partition model, or the canonical one of a tumour."""
    return name if name in (PERFUSED, WHOLE) else region(name)


def local_dose_Gy(activity_MBq: Map, voxel_mL: float, density_g_mL: Map | float) -> Map:
    """All electrons of 90Y stay in the voxel where they start: K A / m."""
    return gray_kg_per_GBq() * np.asarray(activity_MBq, float) / (voxel_mL * np.asarray(density_g_mL, float))


def checked_image(image, regions, voxel_mL: float) -> tuple[np.ndarray, dict[str, np.ndarray]]:
    """Image and masks as arrays of one grid, masks by canonical names.

    Raises:
        InputError: no map of finite values of 0 or more, masks that do not fit, a tumour or the liver missing.
    """
    values = np.asarray(image, float)
    checked("voxel_mL", voxel_mL, 0.0, 10.0, "multiply the spacings in cm", open_low=True)
    if values.ndim != 3 or not np.all(np.isfinite(values)) or np.any(values < 0):
        do = "set negative and missing values to 0, knowing why they are there"
        raise InputError(describe("image", f"shape {values.shape}", "finite values of 0 or more in [z, y, x]", do))
    names = [liver_region(name) for name in regions]
    masks = dict(zip(names, (np.asarray(mask, bool) for mask in regions.values()), strict=True))
    wrong = [name for name, mask in masks.items() if mask.shape != values.shape or not mask.any()]
    if wrong or PERFUSED not in masks or not any(name.startswith("tumour_") for name in masks):
        expected = f"tumours and {PERFUSED}, each with voxels on the grid {values.shape}"
        raise InputError(describe("regions", f"{names}; not fitting: {wrong}", expected, "resample and name the masks"))
    return values, masks


def perfused(masks: dict[str, np.ndarray]) -> np.ndarray:
    """Voxels of all tumours and the perfused normal liver.

    Raises:
        InputError: a voxel in two regions.
    """
    layers = np.sum([mask for name, mask in masks.items() if name != WHOLE], axis=0)
    if np.any(layers > 1):
        do = "take the tumours out of the normal liver, and each voxel into one tumour"
        raise InputError(describe("regions", f"{int(np.sum(layers > 1))} voxels in two", "no overlap", do))
    return layers == 1


def spilled(values: np.ndarray, perfused: np.ndarray) -> tuple[str, ...]:
    """A warning where many counts lie outside the perfused volume."""
    share = float(1 - np.sum(values[perfused]) / np.sum(values)) if np.any(values > 0) else 0.0
    if share <= sirt_value("spilled_share", scenario="post"):
        return ()
    return (f"{share:.0%} of the counts lie outside the perfused volume: check contours, registration and shunts",)


def scaled(values: np.ndarray, perfused: np.ndarray, activity_GBq: float, lung_shunt: float) -> np.ndarray:
    """MBq a voxel, so that the perfused volume holds the activity less the lungs'.

    Raises:
        InputError: no counts there.
    """
    inside = np.where(perfused, values, 0.0)
    if not np.sum(inside) > 0:
        raise InputError(describe("image", "no counts in the perfused volume", "some", "check masks and image"))
    kept = checked_GBq("activity_GBq", activity_GBq) * 1000 * (1 - checked_share("lung_shunt", lung_shunt))
    return inside / np.sum(inside) * kept


def total(activity_MBq: np.ndarray, activity_GBq: float, lung_shunt: float) -> tuple[str, ...]:
    """What the image's total says of its calibration.

    Raises:
        InputError: it is off by more than a factor of 5.
    """
    expected = checked_GBq("activity_GBq", activity_GBq) * 1000 * (1 - checked_share("lung_shunt", lung_shunt))
    ratio = float(np.sum(activity_MBq)) / expected
    if not 0.2 < ratio < 5:
        do = "check the unit (Bq/mL), the time and the decay correction, or leave hours_after out"
        found = f"{np.sum(activity_MBq):.4g} MBq at administration"
        raise InputError(describe("image", found, f"about {expected:.4g} MBq", do))
    if abs(ratio - 1) <= sirt_value("total_mismatch", scenario="post"):
        return ()
    return (f"the image holds {ratio:.0%} of the administered activity: check calibration, or scale it by counts",)


def dose(activity_MBq, perfused, voxel_mL: float, density_g_mL, engine: Engine | None) -> np.ndarray:
    """Dose map in Gy, by local deposition within the perfused volume or by the engine.

    Raises:
        InputError: a density that none of its tissues has, or a map of another grid.
    """
    density = sirt_value("liver_density") if density_g_mL is None else density_g_mL
    density = np.broadcast_to(np.asarray(density, float), activity_MBq.shape)
    if not np.all((density[perfused] > 0.05) & (density[perfused] < 22)):
        do = "turn CT numbers into g/mL first, or leave it out"
        raise InputError(describe("density_g_mL", "values outside 0.05 to 22 in the liver", "g/mL", do))
    if engine is None:
        return np.where(perfused, local_dose_Gy(activity_MBq, voxel_mL, np.where(perfused, density, 1.0)), 0.0)
    made = engine(activity_MBq / radionuclide(NUCLIDE).decay_constant_per_h, density)
    dose = np.asarray(getattr(made, "dose_Gy", made), float)
    if dose.shape != activity_MBq.shape:
        do = "return Gy on the grid of its input"
        raise InputError(describe("engine", f"a map of shape {dose.shape}", f"{activity_MBq.shape}", do))
    return dose
