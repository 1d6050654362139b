"""What the checks of both scatter networks share: test scans, all methods on them, and what images make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache

import numpy as np
from scipy.ndimage import gaussian_filter

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.paired import Paired, paired
from dose.learning.recipe import Recipe
from dose.learning.weights import load_weights
from imaging.networks.acquisitions import image
from imaging.networks.scatter import RECIPES, estimated_scatter
from imaging.networks.scatter_cases import Scan, SMOOTHING_mm, scan
from imaging.projections import Projections
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.scatter import ScatterEstimate
from imaging.recovery import FWHM_PER_SIGMA

VIEWS, PHOTONS = 30, 300_000
OSEM = Settings(4, 6)

ORGANS = ("kidney_left", "kidney_right", "liver", "spleen")
LEAST_mL = 2.0
"""Smaller lesions are all noise."""

LINEAR = {
    "177Lu": {
        "tew": ((0.0, 1.0, 1.0), 30.0),
        "tew 15 mm": ((0.0, 1.0, 1.0), 15.0),
        "dew": ((0.0, 1.061, 0.0), 30.0),
        "fitted": ((0.082, 0.629, 0.272), 30.0),
    },
    "90Y": {
        "dew": ((0.0, 0.994, 0.0), 45.0),
        "fraction": ((0.635, 0.0, 0.0), 50.0),
        "fitted": ((0.184, 0.616, 0.220), 45.0),
    },
}
"""Weights of peak, lower and upper window and FWHM in mm of their Gaussian: least squares on 12 training cases, for
90Y on 14 (`python -m tests.fit_scatter`)."""

IMAGED = {"177Lu": ("truth", "network", "tew", "fitted"), "90Y": ("truth", "network", "dew", "fitted")}
"""Methods that images are made with."""


@dataclass(frozen=True)
class Judged:
    """One noisy scan: by method, NRMSE and total of the scatter over the true one, and activities of regions.

    `regions` [region] are means in Bq/mL by method; "truth" is with the expected scatter taken off, "activity" what is
    there. "model" is the scanner's own effective-source model, of the true activity.
    """

    nrmse: Mapping[str, float]
    total: Mapping[str, float]
    regions: Mapping[str, np.ndarray]
    names: tuple[str, ...]
    truth_noise: float

    def error(self, method: str, lesions: bool = False) -> float:
        """Mean size of the error that the estimate brings into organs, or lesions; nan without any (one field in four
        is of the head and neck)."""
        kept = [k for k, name in enumerate(self.names) if name.startswith("tumour_") == lesions]
        ratio = self.regions[method][kept] / self.regions["truth"][kept] - 1
        return float(np.abs(ratio).mean()) if kept else float("nan")


def linear(counts: np.ndarray, weights: Sequence[float], fwhm_mm: float, pixel_mm: float) -> np.ndarray:
    """Weighted windows through a Gaussian, [view, v, u]."""
    sigma = fwhm_mm / FWHM_PER_SIGMA / pixel_mm
    raw = np.tensordot(weights, counts, 1)
    return gaussian_filter(raw.astype(np.float32), (0, sigma, sigma), mode="reflect")


def estimates(made: Scan, noisy: Projections, scale: float) -> dict[str, np.ndarray]:
    """Scatter of the peak by every method, and the truth."""
    nuclide = made.seen.physics.nuclide
    found = {
        name: linear(noisy.counts, weights, fwhm, noisy.pixel_mm) for name, (weights, fwhm) in LINEAR[nuclide].items()
    }
    own = estimated_scatter(noisy, made.seen.ct, method="network")
    found |= {"network": own.estimate.counts, "truth": scale * made.scatter[0]}
    return found | ({"model": scale * made.seen.scatter[0]} if made.seen.scatter.any() else {})


def scale_of(recipe: Recipe, seed: int) -> float:
    low, high = np.log(recipe.config().data["scale"])
    return float(np.exp(np.random.default_rng([seed, 21]).uniform(low, high)))


def judged(made: Scan, scale: float, seed: int, *, images: bool = True) -> dict[str, np.ndarray]:
    """All of `Judged` as arrays, from one draw of the counts."""
    expected = scale * (made.seen.primary + made.scatter)
    noisy = made.seen.empty.with_counts(np.random.default_rng([seed, 22]).poisson(expected).astype(np.float32))
    found = estimates(made, noisy, scale)
    true = found["truth"]
    case: dict[str, np.ndarray] = {"truth_noise": np.array(relative(*made.halves[:, 0]) / 2)}
    names, masks = regions(made) if images else ((), [])
    case["names"] = np.array(names)
    for name, counts in found.items():
        case[f"nrmse/{name}"] = np.array(relative(counts, true))
        case[f"total/{name}"] = np.array(counts.sum(dtype=float) / true.sum(dtype=float))
        if images and name in IMAGED[made.seen.physics.nuclide]:
            made_image = image(noisy, made.seen, OSEM, scatter=ScatterEstimate(counts, ()))
            case[f"regions/{name}"] = np.array([made_image[mask].mean() for mask in masks])
    case["regions/activity"] = np.array([made.seen.activity.array[mask].mean() for mask in masks])
    return case


def relative(counts: np.ndarray, true: np.ndarray) -> float:
    """Root mean square error over root mean square."""
    return float(np.sqrt(((counts - true) ** 2).sum(dtype=float) / (true**2).sum(dtype=float)))


def regions(made: Scan) -> tuple[tuple[str, ...], list[np.ndarray]]:
    """Organs and larger lesions that the field holds whole."""
    found = {}
    for name in made.seen.names:
        mask = made.seen.mask(name)
        whole = mask.any() and not (mask[:2].any() or mask[-2:].any())
        large = name in ORGANS or mask.sum() * made.seen.ct.voxel_mL >= LEAST_mL
        if whole and large and (name in ORGANS or name.startswith("tumour_")):
            found[name] = mask
    return tuple(found), list(found.values())


def unpacked(case: Mapping[str, np.ndarray]) -> Judged:
    part = lambda kind: {k.split("/")[1]: v for k, v in case.items() if k.startswith(kind)}
    numbers = ({k: float(v) for k, v in part(kind).items()} for kind in ("nrmse", "total"))
    return Judged(*numbers, part("regions"), tuple(str(n) for n in case["names"]), float(case["truth_noise"]))


def remembered(nuclide: str, name: str, make: Callable[[], dict[str, np.ndarray]]) -> Judged:
    """A result kept on disk for as long as the weights stay the same."""
    card, scans_ = load_weights(RECIPES[nuclide]).card, {"views": VIEWS, "photons": PHOTONS, **asdict(OSEM)}
    judged_ = {"organs": ORGANS, "least_mL": LEAST_mL, "data": dict(RECIPES[nuclide].config().data)}
    depends_on = {"sha256": card["sha256"], "linear": LINEAR[nuclide], "smoothing": SMOOTHING_mm} | scans_ | judged_
    return unpacked(kept(cases_folder("ai_scatter_test", depends_on), name, make))


def test_scan(nuclide: str, seed: int) -> Scan:
    return scan(seed, RECIPES[nuclide].config().data, VIEWS, PHOTONS)


@cache
def scans(nuclide: str, number: int, *, images: bool) -> list[Judged]:
    """Scans of the test seeds at counts of their own."""
    recipe, seeds = RECIPES[nuclide], range(TEST_FROM, TEST_FROM + number)
    make = lambda seed: judged(test_scan(nuclide, seed), scale_of(recipe, seed), seed, images=images)
    kind = "" if images else "-plain"
    return [remembered(nuclide, f"{seed}{kind}", lambda seed=seed: make(seed)) for seed in seeds]


def compared(seen: Sequence[Judged], figure: Callable[[Judged, str], float], other: str) -> Paired:
    """The network and another method by a figure, over the scans that have it."""
    pairs = [(figure(one, "network"), figure(one, other)) for one in seen]
    both = [pair for pair in pairs if np.isfinite(pair).all()]
    return paired(*zip(*both))
