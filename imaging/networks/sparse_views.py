"""The views between the measured ones: 120 from 30, by a network in projection space or by interpolation in angle.

After the idea of Ryden et al. (J. Nucl. Med. 62 (2021) 528-535, recalled; their U-Net is not reproduced): of each four
measured views in a row the network makes the three between the middle two, as what linear interpolation leaves over.
It does so for the peak window and its scatter windows; windows of other lines are interpolated.

On simulated patients the network brings images nearer, but lesions of a few mL lose activity (docs/ai/sparse_views.md).

Views made up are no measurement: their errors hang together, and they add no counts. An uncertainty that takes them for
Poisson counts (`imaging.reconstruct.reconstruct_regions`) is too small; `sd` here is of single pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Bool, Float

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose, whole
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import Trained, found_weights
from imaging.networks.sparse_views_model import ViewsNet, drawn, views_case, views_limits, views_loss
from imaging.networks.sparse_views_ring import along, between, check_camera, features, line_windows, next_view
from imaging.projections import Projections

FACTOR = 4
"""Views that the network gives for each measured one, which is among them."""

SEEN = 4
"""Measured views in a row that the network sees; it fills in between the middle two."""

MEASURED_VIEWS = 30
"""Of the training: 12 degrees apart."""

AT_ONCE = 10
"""Views that go through the network together."""


@dataclass(frozen=True)
class CompletedViews:
    """A full rotation, of which some views were measured.

    Attributes:
        projections: all views; measured ones are unchanged, and each is followed by those made after it.
        sd: of each pixel, counts [window, view, v, u]: of a measured view by Poisson statistics; of an interpolated one
            by those of its neighbours, without the error of interpolation; of one by the network by its own second
            output, both errors together.
        measured: which views were measured, [view].
        choice: which method was used, and why not the network.
    """

    projections: Projections
    sd: Float[np.ndarray, "window view v u"]
    measured: Bool[np.ndarray, " view"]
    choice: Choice


def complete_views(
    projections: Projections,
    views: int = 120,
    *,
    method: str = "auto",
    line_keV: float | None = None,
    system_fwhm_mm: float | None = None,
    weights: Path | None = None,
    progress: Progress = silent,
) -> CompletedViews:
    """Projections of `views` views from some evenly spread over the full circle.

    Args:
        projections: measured views in any order of heads.
        views: in all; a whole multiple of the measured.
        method: "classical" interpolates linearly in angle; "network" needs 4 views for each measured; "auto" takes the
            network where it is the default and the acquisition is like those of its training.
        line_keV: of the peak, where the acquisition has several.
        system_fwhm_mm: blur 10 cm before the collimator (`system_fwhm_mm` of `sparse_views_ring`); without it, the
            camera counts as unlike those of the training.
        weights: folder with other weights than those shipped.

    Raises:
        InputError: an unknown method, views that are no multiple, "network" for another multiple than 4, or what is
            no number.
        ImageError: views that are not evenly spread over the full circle, or no counts.
    """
    whole(views=views)
    check_camera(line_keV, system_fwhm_mm)
    factor = _factor(projections, views)
    trained, why = found_weights(RECIPE, weights)
    asked = features(projections, line_keV, system_fwhm_mm) | {"measured views": len(projections.angles_deg)}
    choice = choose(method, trained and trained.limits, asked, default=bool(trained and trained.default), why=why)
    if choice.method == "network" and factor != FACTOR:
        found, expected = f"{factor} views for each measured", f"{FACTOR}"
        raise InputError(describe("views", found, expected, 'use method="classical"'))
    following = next_view(projections)
    counts, variance = interpolated_views(projections.counts, following, factor)
    if choice.method == "network" and trained is not None:
        for k in line_windows(projections, line_keV).values():
            made, sd = network_views(trained, projections.counts[k], following, progress)
            counts[k, :, 1:], variance[k, :, 1:] = made, sd**2
    return _completed(projections, following, counts, variance, choice)


def interpolated_views(counts: np.ndarray, following: np.ndarray, factor: int) -> tuple[np.ndarray, np.ndarray]:
    """Each measured view and those linearly between it and the next, with the variance of Poisson counts.

    Returns:
        Counts and variance, float32 [window, measured view, factor, v, u].
    """
    share = (np.arange(factor) / factor)[:, None, None].astype(np.float32)
    here, there = counts[:, :, None], counts[:, following][:, :, None]
    return (1 - share) * here + share * there, (1 - share) ** 2 * here + share**2 * there


@torch.no_grad()
def network_views(
    trained: Trained, counts: np.ndarray, following: np.ndarray, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray]:
    """The three views after each measured one and their sd, float32 [measured view, 3, v, u]; counts are [view, v, u].

    The mean over the members; to the mean of their variances comes that of their means.
    """
    order = along(following)
    ring = counts[order]
    views = np.stack([np.roll(ring, shift, axis=0) for shift in (1, 0, -1, -2)], axis=1).astype(np.float32)
    base = np.moveaxis(between(views[:, 1], views[:, 2], FACTOR - 1), 0, 1).astype(np.float32)
    made, sd = np.empty_like(base), np.empty_like(base)
    for first in range(0, len(ring), AT_ONCE):
        progress(first, len(ring), "making views")
        now = slice(first, first + AT_ONCE)
        answers = [member(torch.from_numpy(views[now]), torch.from_numpy(base[now])) for member in trained.members]
        means = torch.stack([mean.clamp(min=0) for mean, _ in answers])
        variance = torch.stack([spread.square() for _, spread in answers]).mean(dim=0) + means.var(dim=0, correction=0)
        made[order[now]], sd[order[now]] = means.mean(dim=0).numpy(), variance.sqrt().numpy()
    progress(len(ring), len(ring), "making views")
    return made, sd


def sparse(projections: Projections, factor: int = FACTOR) -> Projections:
    """Every `factor`-th view of each head, as if the others had not been measured.

    Raises:
        InputError: views of a head that are no multiple of `factor`.
    """
    per_head = len(projections.angles_deg) // projections.heads
    if factor < 1 or per_head % factor:
        found = f"{per_head} views of each head"
        raise InputError(describe("projections", found, f"a multiple of {factor}", "choose another factor"))
    kept = np.arange(0, len(projections.angles_deg), factor)
    per_view = {name: getattr(projections, name)[kept] for name in ("angles_deg", "radii_mm", "frame_s")}
    return replace(projections, counts=projections.counts[:, kept], **per_view)


def _factor(projections: Projections, views: int) -> int:
    measured = len(projections.angles_deg)
    if views < 2 * measured or views % measured:
        found = f"{views} from {measured} measured"
        raise InputError(describe("views", found, "a whole multiple, two or more", "choose another number"))
    if not projections.counts.any():
        raise ImageError(describe("projections.counts", "no counts", "some", "check the acquisition"))
    return views // measured


def _completed(projections: Projections, following, counts, variance, choice: Choice) -> CompletedViews:
    windows, measured, factor, *pixels = counts.shape
    share = np.arange(factor) / factor
    turn = (projections.angles_deg[following] - projections.angles_deg + 180.0) % 360.0 - 180.0
    per_view = {"angles_deg": np.mod(projections.angles_deg[:, None] + share * turn[:, None], 360.0).ravel()}
    for name in ("radii_mm", "frame_s"):
        here = getattr(projections, name)
        per_view[name] = ((1 - share) * here[:, None] + share * here[following][:, None]).ravel()
    flat = (windows, measured * factor, *pixels)
    made = replace(projections, counts=counts.reshape(flat), **per_view)
    sd = np.sqrt(variance).reshape(flat).astype(np.float32)
    return CompletedViews(made, sd, np.arange(measured * factor) % factor == 0, choice)


def _batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> Mapping[str, np.ndarray]:
    measured, wanted = [], []
    for _ in range(int(config.training["batch"])):
        expected, scale = drawn(cases, random, config, (SEEN - 1) * FACTOR + 1)
        measured.append(random.poisson(scale * expected[::FACTOR]))
        wanted.append(scale * expected[FACTOR + 1 : 2 * FACTOR])
    views = np.array(measured, dtype=np.float32)
    base = np.moveaxis(between(views[:, 1], views[:, 2], FACTOR - 1), 0, 1)
    return {"views": views, "base": base, "target": np.array(wanted)}


def _network(config: Config) -> ViewsNet:
    return ViewsNet(SEEN, FACTOR - 1, **config.network)


def _limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    return views_limits(cases, config) | {"measured views": (MEASURED_VIEWS, MEASURED_VIEWS)}


RECIPE = Recipe("sparse_views", "imaging.networks", views_case, _batch, _network, views_loss, _limits)
