"""Expected counts of a short SPECT scan from its noisy ones, by a network on successive views or by a Gaussian.

The network sees twelve successive views and denoises the middle four. It is trained on expected counts of simulated
patients and Poisson counts of them: a scan thinned binomially is Poisson again, so that a shorter scan is drawn
directly. `refine_on_own` trains on a user's own acquisition without any truth: its counts are split binomially into two
independent halves, and the network learns to tell the one from the other (noise2noise, Lehtinen et al. 2018; recalled).

On simulated patients OSEM of the short scan as it is keeps lesions better than either (docs/ai/short_scan.md).

The answer's pixels share their errors and are no Poisson counts: `imaging.reconstruct.reconstruct_regions` must not be
given them. Ask it for the uncertainty of the short scan as it was counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose, not_negative
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import found_weights
from imaging.networks.short_scan_windows import CENTRE, SIDE, smooth_base, smoothed_variance, smoothed_views, stacks
from imaging.networks.sparse_views_model import ViewsNet, drawn, expected_counts, views_case, views_limits, views_loss
from imaging.networks.sparse_views_ring import along, check_camera, features, line_windows, next_view
from imaging.projections import Projections

GAUSSIAN_FWHM_mm = 7.0
"""Of the classical filter: of 0, 3, 5, 7, 9 and 11 mm that of least mean error of the image on training seeds 0 to 7
(12.1 %; 13.1 % with 5 or 9 mm, 13.5 % without)."""

AT_ONCE = 5
"""Stacks that go through the network together."""


@dataclass(frozen=True)
class DenoisedScan:
    """Expected counts of an acquisition.

    Attributes:
        projections: the acquisition with its counts replaced by their estimates, in the same time.
        sd: of each pixel of them, counts [window, view, v, u]: by the network's second output, bias and noise together;
            of the Gaussian, by counting statistics without the bias that blurring brings; windows that were not touched
            have that of Poisson counts.
        choice: which method was used, and why not the network.
    """

    projections: Projections
    sd: Float[np.ndarray, "window view v u"]
    choice: Choice


def denoise_short_scan(
    projections: Projections,
    *,
    method: str = "auto",
    line_keV: float | None = None,
    system_fwhm_mm: float | None = None,
    fwhm_mm: float = GAUSSIAN_FWHM_mm,
    network: ViewsNet | None = None,
    weights: Path | None = None,
    progress: Progress = silent,
) -> DenoisedScan:
    """Estimates of the expected counts in the peak window, and in its scatter windows by the network.

    Args:
        projections: evenly over the full circle, a multiple of 4 views, for the network; any for the Gaussian.
        method: "classical" is a Gaussian of `fwhm_mm` over each view of the peak window; "auto" takes the network where
            it is the default and the acquisition is like those of its training.
        line_keV: of the peak, where the acquisition has several.
        system_fwhm_mm: blur 10 cm before the collimator (`sparse_views_ring.system_fwhm_mm`); without it, the camera
            counts as unlike those of the training.
        network: one that `refine_on_own` trained; it is used whatever `method` says.
        weights: folder with other weights than those shipped.

    Raises:
        InputError: an unknown method, a width below zero, what is no number or no network.
        ImageError: no counts, or views that the network cannot take.
    """
    _counted(projections)
    not_negative(fwhm_mm=fwhm_mm)
    check_camera(line_keV, system_fwhm_mm)
    _check_network(network)
    members, choice = (network,), Choice("network", ("trained on the user's own counts: no range is known",))
    if network is None:
        trained, why = found_weights(RECIPE, weights)
        asked = features(projections, line_keV, system_fwhm_mm) | {"views": len(projections.angles_deg)}
        choice = choose(method, trained and trained.limits, asked, default=bool(trained and trained.default), why=why)
        members = trained.members if trained else ()
    counts, variance = projections.counts.copy(), projections.counts.copy()
    chosen = line_windows(projections, line_keV)
    if choice.method == "network":
        order = ring_order(projections)
        for k in chosen.values():
            counts[k], variance[k] = _through(members, projections.counts[k], order, progress)
    else:
        k, given = chosen["peak"], (fwhm_mm, projections.pixel_mm)
        counts[k] = smoothed_views(projections.counts[k], *given)
        variance[k] = smoothed_variance(projections.counts[k], *given)
    return DenoisedScan(projections.with_counts(counts), np.sqrt(variance), choice)


def ring_order(projections: Projections) -> np.ndarray:
    """Indices of the views round the circle.

    Raises:
        ImageError: views that are not spread evenly over it, or are no multiple of 4.
    """
    views = len(projections.angles_deg)
    if views % CENTRE:
        found, do = f"{views} views", 'use method="classical"'
        raise ImageError(describe("projections.angles_deg", found, f"a multiple of {CENTRE}", do))
    return along(next_view(projections))


@torch.no_grad()
def _through(members, counts: np.ndarray, order: np.ndarray, progress: Progress) -> tuple[np.ndarray, np.ndarray]:
    """Mean over members and variance of one window's views [view, v, u]; together they have as many counts as came."""
    seen = stacks(counts[order])
    made, variance = (np.empty((len(seen), CENTRE, *counts.shape[1:]), dtype=np.float32) for _ in range(2))
    for first in range(0, len(seen), AT_ONCE):
        progress(first, len(seen), "denoising views")
        now = slice(first, first + AT_ONCE)
        views = torch.from_numpy(seen[now])
        answers = [member(views, smooth_base(views)) for member in members]
        means = torch.stack([mean.clamp(min=0) for mean, _ in answers])
        spread = torch.stack([sd.square() for _, sd in answers]).mean(dim=0) + means.var(dim=0, correction=0)
        made[now], variance[now] = means.mean(dim=0).numpy(), spread.numpy()
    progress(len(seen), len(seen), "denoising views")
    back, total = np.argsort(order), float(made.sum(dtype=float))
    kept = np.float32(counts.sum(dtype=float) / total) if total > 0 else np.float32(1)
    return kept * made.reshape(counts.shape)[back], kept**2 * variance.reshape(counts.shape)[back]


def _counted(projections: Projections) -> None:
    if not projections.counts.any():
        raise ImageError(describe("projections.counts", "no counts", "some", "check the acquisition"))


def _check_network(network: ViewsNet | None) -> None:
    if network is not None and not isinstance(network, torch.nn.Module):
        do = 'give what refine_on_own returns; a method by name goes into method, "network"'
        raise InputError(describe("network", f"a {type(network).__name__}", "a trained network", do))


def _batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    seen, wanted = [], []
    for _ in range(int(config.training["batch"])):
        expected, scale = drawn(cases, random, config, 2 * SIDE + CENTRE)
        seen.append(random.poisson(scale * expected))
        wanted.append(scale * expected[SIDE : SIDE + CENTRE])
    views = np.array(seen, dtype=np.float32)
    return {"views": views, "base": smooth_base(torch.from_numpy(views)).numpy(), "target": np.array(wanted)}


def _network(config: Config) -> ViewsNet:
    return ViewsNet(2 * SIDE + CENTRE, CENTRE, **config.network)


def _limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    views = float(expected_counts(int(cases[0]["seed"])).shape[1])
    return views_limits(cases, config) | {"views": (views, views)}


RECIPE = Recipe("short_scan", "imaging.networks", views_case, _batch, _network, views_loss, _limits)
