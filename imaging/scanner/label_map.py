"""Any label map as an anatomy: a user's segmentation of a CT, or TotalSegmentator's."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from dose.regions import density_g_per_mL, region
from imaging.geometry import Volume
from imaging.scanner.anatomy import MOST_LABELS, OUTSIDE, REMAINDER, Anatomy, density_of_hounsfield, hounsfield

BODY_HU = -300.0
"""CT number that parts body from air where no label says which."""

AIR_G_CM3 = 0.0012


def totalsegmentator_regions() -> dict[int, str]:
    """Region by label number of TotalSegmentator's task "total", version 2 (`data/totalsegmentator_labels.csv`)."""
    return {int(row["id"]): row["region"] for row in load_table("imaging", "totalsegmentator_labels.csv")}


def from_label_map(
    labels: Volume,
    names: Mapping[int, str],
    *,
    ct: Volume | None = None,
    density_g_cm3: Mapping[str, float] | None = None,
) -> Anatomy:
    """An anatomy whose label numbers are named; several numbers may share a name.

    With a CT (HU, same grid) densities are the means of its voxels and what is unlabelled but above -300 HU is the
    remainder; without one, unlabelled voxels are outside and densities are those given or of `dose.regions`.

    Raises:
        ImageError: numbers that are not whole, a CT on another grid or without air or tissue.
        InputError: a number without a name, a name that is no region, a density not above zero.
    """
    numbers = _numbers(labels)
    called = _called(numbers, names)
    body = np.zeros(numbers.shape, bool) if ct is None else _body(labels, ct)
    order = (OUTSIDE, *sorted({*called.values(), REMAINDER}))
    table = np.zeros(int(numbers.max()) + 1, dtype=np.uint16)
    for number, name in called.items():
        table[number] = order.index(name)
    made = table[numbers]
    made[(made == 0) & body] = order.index(REMAINDER)
    density = _densities(made, order, ct, density_g_cm3 or {})
    image = labels.with_array(hounsfield(density)[made]) if ct is None else ct
    return Anatomy(made, order, density, image)


def _numbers(labels: Volume) -> np.ndarray:
    whole = np.rint(labels.array)
    if np.abs(labels.array - whole).max() > 1e-3 or whole.min() < 0 or whole.max() > MOST_LABELS:
        found, do = "values that are no label numbers", "resample with nearest neighbours"
        raise ImageError(describe("labels", found, f"whole numbers of 0 to {MOST_LABELS}", do))
    return whole.astype(np.int64)


def _called(numbers: np.ndarray, names: Mapping[int, str]) -> dict[int, str]:
    present = [int(n) for n in np.unique(numbers) if n > 0]
    missing = [n for n in present if n not in names]
    if missing:
        found = ", ".join(str(n) for n in missing[:5])
        raise InputError(describe("names", f"no name for label {found}", "one for each", 'name it, or "remainder"'))
    return {n: region(names[n]) for n in present}


def _body(labels: Volume, ct: Volume) -> np.ndarray:
    if not ct.is_on_grid_of(labels):
        do = "resample one onto the other"
        raise ImageError(describe("ct", "another grid than the labels'", "the same grid", do))
    return ct.array > BODY_HU


def _densities(made: np.ndarray, order, ct: Volume | None, given: Mapping[str, float]) -> np.ndarray:
    own = {region(name): float(value) for name, value in given.items()}
    density = np.array([AIR_G_CM3, *(own.get(name) or density_g_per_mL(name) for name in order[1:])])
    if ct is not None:
        each = density_of_hounsfield(ct.array).ravel()
        counts = np.bincount(made.ravel(), minlength=len(order))
        sums = np.bincount(made.ravel(), weights=each, minlength=len(order))
        measured = (counts > 0) & np.array([name not in own for name in order])
        density[measured] = sums[measured] / counts[measured]
    if not (np.isfinite(density).all() and density.min() > 0):
        do = "give densities in g/cm3"
        raise InputError(describe("density_g_cm3", f"{density.min():g}", "values above zero", do))
    return density
