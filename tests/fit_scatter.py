"""Fits the classical estimates of scatter on training cases and prints them: `python -m tests.fit_scatter 90Y 14`.

Each estimate is a weighted sum of windows through a Gaussian. For each width of WIDTHS_mm the weights are those of
least squares, each scan relative to its true scatter, at counts drawn from the range of the network's training; the
width with the least error is taken. Where weights are given (TEW), the width alone is chosen. Cases are those of the
network's training, which finds them on disk afterwards.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

from dose.learning.cases import Case, cases_of
from dose.learning.recipe import Config
from imaging.networks.scatter import RECIPES
from tests.validate.ai_scatter import LINEAR, linear
from twin._jax import configure

WIDTHS_mm = np.arange(10.0, 65.0, 5.0)
DRAWS = 4
"""Of counts for each case."""

GIVEN = ("tew",)
"""Estimates whose weights are not fitted."""

SHIFTED = "tew 15 mm"
"""An estimate of LINEAR with a width of its own."""


class Fitted(NamedTuple):
    """Weights of peak, lower and upper window, FWHM of the Gaussian, root mean square of the scans' NRMSE."""

    weights: tuple[float, ...]
    fwhm_mm: float
    error: float


class Scan(NamedTuple):
    """Noisy counts [window, view, v, u] and true scatter of the peak [view, v, u], over the scatter's rms."""

    counts: np.ndarray
    truth: np.ndarray


def scans(cases: Sequence[Case], config: Config, random: np.random.Generator) -> Iterator[Scan]:
    """DRAWS of each case at counts even in the logarithm."""
    for case in cases:
        scatter = (case["first"] + case["second"]) / 2
        for _ in range(DRAWS):
            scale = float(np.exp(random.uniform(*np.log(config.data["scale"]))))
            counts = random.poisson(scale * (case["primary"] + scatter)).astype(np.float32)
            yield scan_of(counts, scale * scatter[0])


def scan_of(counts: np.ndarray, truth: np.ndarray) -> Scan:
    """Both over the scatter's root mean square."""
    rms = float(np.sqrt(np.mean(truth**2, dtype=float)))
    return Scan(counts / rms, truth / rms)


def fitted(seen: Sequence[Scan], sums: np.ndarray, pixel_mm: float, *, free: bool = True) -> Fitted:
    """The best of the widths and, if `free`, of the weights of `sums` [sum, window]; else each weighs one."""
    return min((_at(seen, sums, width, pixel_mm, free) for width in WIDTHS_mm), key=lambda found: found.error)


def _at(seen: Sequence[Scan], sums: np.ndarray, width_mm: float, pixel_mm: float, free: bool) -> Fitted:
    gram, right = np.zeros((len(sums), len(sums))), np.zeros(len(sums))
    for scan in seen:
        x = np.stack([linear(scan.counts, one, width_mm, pixel_mm).ravel() for one in sums]).astype(float)
        gram, right = gram + x @ x.T / x.shape[1], right + x @ scan.truth.ravel() / x.shape[1]
    weights = np.linalg.solve(gram, right) if free else np.ones(len(sums))
    error = 1 + (weights @ gram @ weights - 2 * weights @ right) / len(seen)
    return Fitted(tuple((weights @ sums).tolist()), float(width_mm), float(np.sqrt(max(error, 0.0))))


def main(nuclide: str, number: int) -> None:
    recipe = RECIPES[nuclide]
    config = recipe.config()
    seen = list(scans(cases_of(recipe, config, range(number)), config, np.random.default_rng(7)))
    for name, (weights, _) in LINEAR[nuclide].items():
        if name != SHIFTED:
            sums = np.array([weights]) if name in GIVEN else np.eye(3)[np.flatnonzero(weights)]
            found = fitted(seen, sums, float(config.data["pixel_mm"]), free=name not in GIVEN)
            print(f"{nuclide} {name}: {np.round(found.weights, 3)}, {found.fwhm_mm:g} mm, error {found.error:.4f}")


if __name__ == "__main__":
    configure()
    main(sys.argv[1], int(sys.argv[2]))
