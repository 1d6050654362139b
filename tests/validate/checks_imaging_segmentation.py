"""Classical segmentation against known volumes, and lesion matching against fates that were dealt out."""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import label

from tests.validate import check

NEMA = "NEMA IEC spheres of 17 to 37 mm, virtual PET, 18F at 8:1, 300 s, voxels of 2 mm: known volumes"
SPHERES = slice(2, 6)
DEALT = "lesions placed here, with fates from a seed"


@cache
def sphere_errors() -> dict[str, np.ndarray]:
    """Relative error of the volume of each sphere by fuzzy C-means and by 41 % of the maximum."""
    from imaging.geometry import Volume
    from imaging.scanner.nema import nema_iec
    from imaging.scanner.pet import Frames, pet_scanner, simulate_pet
    from imaging.segmentation import fuzzy_means
    from imaging.tumour_burden import relative_mask

    phantom = nema_iec(5300.0, 8.0, voxel_mm=2.0)
    seen = simulate_pet(
        phantom.activity_Bq_per_mL, phantom.ct, pet_scanner(), "18F", Frames.static(300.0), seed=7
    )[0].volume  # fmt: skip
    found: dict[str, list[float]] = {"fuzzy": [], "share": []}
    for sphere in phantom.spheres[SPHERES]:
        index = np.argwhere(sphere > 0)
        box = tuple(slice(int(a) - 6, int(b) + 7) for a, b in zip(index.min(axis=0), index.max(axis=0)))
        part = Volume(seen.array[box], seen.affine)
        others = (phantom.spheres.sum(axis=0) - sphere)[box] == 0
        hot = fuzzy_means(part, part.with_array(others)).hottest
        pieces = label(hot > 0.5)[0]  # type: ignore[index]
        centre = tuple(np.round(index.mean(axis=0)).astype(int) - [s.start for s in box])
        hot = hot * ((pieces == pieces[centre]) | (hot <= 0.5)) * (hot > 0.05)
        truth = float(sphere.sum())
        found["fuzzy"].append(float(hot.sum()) / truth - 1)
        found["share"].append(float(relative_mask(part, part.with_array(others)).array.sum()) / truth - 1)
    return {name: np.array(errors) for name, errors in found.items()}


@check("imaging/segmentation/fuzzy C-means, volumes of spheres", unit="rel", tolerance="each within 0.25", source=NEMA)
def fuzzy_spheres():
    errors = sphere_errors()["fuzzy"]
    return errors, bool(np.abs(errors).max() <= 0.25)


@check(
    "imaging/segmentation/mean absolute error of volume: fuzzy C-means, 41 % of the maximum",
    unit="rel",
    tolerance="fuzzy below 41 %",
    source=NEMA,
)
def fuzzy_or_share():
    means = [float(np.abs(sphere_errors()[name]).mean()) for name in ("fuzzy", "share")]
    return means, means[0] < means[1]


FATES = ("same", "split", "merged", "vanished", "appeared")
SIDE = 24


def _dealt(seed: int):
    """Two scans of labels, a cell for each fate, the second moved by up to a voxel, and the fates."""
    from imaging.geometry import Volume

    random = np.random.default_rng(seed)
    chosen = [FATES[k] for k in random.integers(len(FATES), size=6)]
    scans = [np.zeros((SIDE, SIDE, SIDE * len(chosen))) for _ in range(2)]
    moved = random.integers(-1, 2, 3)
    for k, fate in enumerate(chosen):
        whole = [(12, 12, 12 + SIDE * k)]
        parts = [(12, 12, 8 + SIDE * k), (12, 12, 16 + SIDE * k)]
        sides = {"same": (whole, whole), "split": (whole, parts), "merged": (parts, whole)}
        sides |= {"vanished": (whole, []), "appeared": ([], whole)}
        for n, places in enumerate(sides[fate]):
            for centre in places:
                at = np.array(centre) + (moved if n else 0)
                radius = 3 if len(places) == 2 else 7
                far = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[:SIDE, :SIDE, : scans[0].shape[2]], at))
                scans[n][far <= radius**2] = scans[n].max() + 1
    return [Volume(s, np.diag([4.0, 4.0, 4.0, 1.0])) for s in scans], chosen


@check("imaging/segmentation/fates recovered by matching, 20 pairs of scans", unit="1", tolerance="all", source=DEALT)
def fates():
    from imaging.segmentation import match_lesions

    right = 0
    for seed in range(20):
        (before, after), chosen = _dealt(seed)
        right += sorted(r.kind for r in match_lesions(before, after).rows) == sorted(chosen)
    return right / 20, right == 20


@check(
    "imaging/segmentation/fates recovered when the second scan lies 10 cm off, which must fail",
    unit="1",
    tolerance="below a half",
    source=DEALT,
)
def misregistered():
    from imaging.segmentation import match_lesions

    right = 0
    for seed in range(20):
        (before, after), chosen = _dealt(seed)
        off = after.with_array(np.roll(after.array, 25, axis=2))
        right += sorted(r.kind for r in match_lesions(before, off).rows) == sorted(chosen)
    return right / 20, right < 10
