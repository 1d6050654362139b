"""Scatter in the peak window of 177Lu or 90Y: by a network on each view, or by the windows beside the peak.

Truth in training is Monte Carlo in voxel bodies (`imaging.scanner.scatter_truth`). For 90Y scatter means photons of the
bremsstrahlung that scattered in the body before they were counted. What comes out goes into `imaging.reconstruct`:
`Measured(scatter=found.estimate, ...)`. See docs/ai/scatter_177lu.md and docs/ai/scatter_90y.md.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import METHODS, Choice, choose, positive, stated, with_reasons
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import Trained, found_weights
from dose.nuclides import radionuclide
from imaging.geometry import Volume, as_volume
from imaging.networks.scatter_cases import WINDOWS_90Y, scatter_case, water_mm
from imaging.networks.scatter_model import WINDOWS, batch, channels, features, level_of, limits_of, loss, network
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct.attenuation import uncovered_with_counts
from imaging.reconstruct.response import collimators
from imaging.reconstruct.scatter import ScatterEstimate, dew, has_window, tew
from imaging.scanner.camera import windows

LINE_keV = {"177Lu": 208.4, "90Y": 135.0}
"""Peak windows that there are networks for."""

TEW_FWHM_mm = 30.0
"""Of the Gaussian over the classical estimate of 177Lu, chosen on 12 training scans (tests/fit_scatter.py), and of
nuclides without a network."""

DEW_90Y = {"k": 0.994, "fwhm_mm": 45.0}
"""Of the classical estimate of 90Y, with `WINDOWS_90Y`: least squares on 14 training scans (tests/fit_scatter.py)."""

LEAST_COVERED = 0.95
"""Share of the peak's counts that must lie level with the CT: blur carries a few per cent beyond a body's end."""

AT_ONCE = 10
"""Views that go through the network together."""


@dataclass(frozen=True)
class EstimatedScatter:
    """Scatter in the peak window.

    Attributes:
        estimate: counts [view, v, u], for `imaging.reconstruct.Measured(scatter=...)`.
        sd: of each pixel of it, counts: the network's own second output (bias and noise together); of the classical
            estimates, by counting statistics, without their bias.
        choice: the method, why not the network, and where the constants of the classical method do not belong to the
            windows.
    """

    estimate: ScatterEstimate
    sd: Float[np.ndarray, "view v u"]
    choice: Choice


def estimated_scatter(
    projections: Projections,
    ct: Volume | None,
    *,
    nuclide: str | None = None,
    line_keV: float | None = None,
    method: str = "auto",
    weights: Path | None = None,
    progress: Progress = silent,
) -> EstimatedScatter:
    """Scatter counts of the peak window, of each view by itself.

    Args:
        projections: with a peak window and the windows below and above it, as counted (not smoothed).
        ct: in HU, over the field of the projections; without one (None) the windows alone.
        nuclide: the header's by default.
        line_keV: of the peak, where there are several; that of `LINE_keV` by default.
        method: "auto", "network", or "classical" (TEW; for 90Y a fitted multiple of the lower window).
        weights: folder of a user's own.
        progress: called with views done.

    Raises:
        InputError: no nuclide, another method, "network" without a CT, without weights or for another nuclide; a CT
            that is no volume, an energy that is no number above zero.
        ImageError: a window that is missing, or no counts in the peak.
    """
    _check(ct, line_keV)
    name = nuclide or projections.radiopharmaceutical.nuclide
    if name is None:
        raise InputError(describe("nuclide", "none in the projections", "one", "give it"))
    name = radionuclide(name).name
    line = line_keV or LINE_keV.get(name)
    if not projections.counts[projections.window("peak", line)].any():
        raise ImageError(describe("projections.counts", "no counts in the peak", "some", "check the acquisition"))
    if name not in RECIPES or abs((line or 0) - LINE_keV[name]) > 1:
        return _without_network(projections, name, line, method)
    trained, why = found_weights(RECIPES[name], weights)
    if method == "classical":
        return _classical(projections, name, line, choose(method, None, {}, default=False))
    if ct is None or (method == "auto" and not has_window(projections, "upper", line)):
        return _classical(projections, name, line, _incomplete(method, ct))
    counts, water = _of_line(projections, line), water_mm(ct, projections)
    ordered = [projections.windows[projections.window(role, line)] for role in WINDOWS]
    asked = features(counts, water, projections.radii_mm, projections.pixel_mm, ordered)
    bounds = trained and trained.limits
    choice = choose(method, bounds, asked, default=bool(trained and trained.default), why=why)
    choice = with_reasons(choice, method, _unlike(projections, ct, line, trained))
    if choice.method == "classical" or trained is None:
        return _classical(projections, name, line, choice)
    return _by_network(trained, counts, water, choice, progress)


def _check(ct: Volume | None, line_keV: float | None) -> None:
    if ct is not None:
        as_volume(ct, "ct")
    positive(**stated(line_keV=line_keV))


def _incomplete(method: str, ct: Volume | None) -> Choice:
    """The classical method, where there is no CT or no window above the peak."""
    if ct is None and method == "network":
        raise InputError(
            describe("ct", "none", "a CT over the field of the projections", 'give it, or use "classical"')
        )
    choose(method, {}, {}, default=False)  # refuses another method
    return Choice("classical", ("no CT in their frame" if ct is None else "no window above the peak",))


def _unlike(projections: Projections, ct: Volume, line: float | None, trained: Trained | None) -> tuple[str, ...]:
    """What no feature of the card tells: another collimator, and counts level with slices that the CT does not show."""
    own, said = str(trained.card.get("data", {}).get("collimator", "")) if trained else "", []
    if own and projections.collimator != own and projections.collimator in collimators():
        said.append(f"collimator is {projections.collimator}, trained for {own}")
    covered = 1 - uncovered_with_counts(projections, ct, line)
    if covered < LEAST_COVERED:
        said.append(f"{covered:.0%} of the counts lie level with the CT, at least {LEAST_COVERED:.0%} are asked")
    return tuple(said)


def _of_line(projections: Projections, line_keV: float | None) -> np.ndarray:
    return projections.counts[[projections.window(role, line_keV) for role in WINDOWS]]


def _without_network(projections: Projections, name: str, line: float | None, method: str) -> EstimatedScatter:
    if method not in METHODS or method == "network":
        found = f'"{method}" for {name}' + ("" if line is None else f" at {line:g} keV")
        raise InputError(describe("method", found, f"a network for {LINE_keV}", 'use method="classical"'))
    reason = f"no network for {name}" + ("" if line is None else f" at {line:g} keV")
    return _classical(projections, name, line, Choice("classical", (reason,) if method == "auto" else ()))


def _classical(projections: Projections, name: str, line: float | None, choice: Choice) -> EstimatedScatter:
    if name == "90Y":
        estimate = dew(projections, line_keV=line, **DEW_90Y)
        choice = replace(choice, reasons=(*choice.reasons, *_other_windows(projections, line)))
    else:
        has_upper = has_window(projections, "upper", line)
        estimate = tew(projections, line_keV=line, fwhm_mm=TEW_FWHM_mm, has_upper=has_upper)
    return EstimatedScatter(estimate, np.sqrt(estimate.variance()), choice)


def _other_windows(projections: Projections, line: float | None) -> tuple[str, ...]:
    """Windows of 90Y for which `DEW_90Y` was not fitted."""
    seen = {role: projections.windows[projections.window(role, line)] for role in ("peak", "lower")}
    fitted = {w.role: w for w in WINDOWS_90Y}
    return tuple(
        f"{role} window {w.lower_keV:g} to {w.upper_keV:g} keV, the factor was fitted for "
        f"{fitted[role].lower_keV:g} to {fitted[role].upper_keV:g}"
        for role, w in seen.items()
        if abs(w.lower_keV - fitted[role].lower_keV) > 1 or abs(w.upper_keV - fitted[role].upper_keV) > 1
    )


@torch.no_grad()
def _by_network(trained: Trained, counts, water, choice: Choice, progress: Progress) -> EstimatedScatter:
    views = counts.shape[1]
    level = np.array([level_of(counts[:, k]) for k in range(views)], np.float32)[:, None, None]
    member, found = trained.members[0], []
    for first in range(0, views, AT_ONCE):
        progress(first, views, "views")
        now = range(first, min(first + AT_ONCE, views))
        seen = np.stack([channels(counts[:, k], water[k], member.base) for k in now])  # type: ignore[arg-type]
        found.append(member(torch.from_numpy(seen)).numpy())
    progress(views, views, "views")
    mean, sd = np.concatenate(found).transpose(1, 0, 2, 3) * level
    mean = np.maximum(mean, 0)
    return EstimatedScatter(ScatterEstimate(mean, ((1.0, sd**2),)), sd, choice)


def windows_177lu() -> tuple[EnergyWindow, ...]:
    """Peak, lower and upper of the 208 keV line, as the camera table has them."""
    of_line = {w.role: w for w in windows("177Lu") if w.line_keV == LINE_keV["177Lu"]}
    return tuple(of_line[role] for role in WINDOWS)


def _limits_177lu(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    return limits_of(cases, config, windows_177lu())


def _limits_90y(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    return limits_of(cases, config, WINDOWS_90Y)


_PARTS = ("imaging.networks", scatter_case, batch, network, loss)
RECIPE_177LU = Recipe("scatter_177lu", *_PARTS, _limits_177lu)
RECIPE_90Y = Recipe("scatter_90y", *_PARTS, _limits_90y)
RECIPES = {"177Lu": RECIPE_177LU, "90Y": RECIPE_90Y}
