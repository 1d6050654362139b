"""A dose map as a picture: projections of its maximum, and slices with the outlines of regions.

Seen as radiologists do: the patient's right is on the left of coronal and axial views, the head is up.
"""

from __future__ import annotations

from collections.abc import Mapping

import matplotlib
import numpy as np
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from dose.regions import is_tumour
from imaging.geometry import Volume
from twin.plots import STYLE, heading, readable

VIEWS = {"coronal": 1, "sagittal": 2, "axial": 0}
"""Name of a view and the array axis [z, y, x] it looks along."""

ENDS = {"coronal": "RL", "sagittal": "AP", "axial": "RL"}
LINES = ("#56B4E9", "#009E73", "#F0E442", "#CC79A7", "#FFFFFF", "#D55E00")
COLOURS = "inferno"
HOT_VOXELS = 20
"""So many voxels may exceed the dose at which the colours end: one does not darken the rest."""
GAMMA = 0.6
"""Colours go by dose to this power, so that organs show beside lesions."""

BAR_MM = 100.0
LEAST_SHARE = 0.02
"""Planes whose brightest voxel is below this share of the scale are cut from the picture's borders."""


def dose_slices(dose_Gy: Volume, regions: Mapping[str, np.ndarray], title: str) -> Figure:
    """Two rows of three views; `regions` are shares of voxels [z, y, x] on the grid of the dose."""
    return volume_slices(dose_Gy, regions, title, "Gy")


def volume_slices(volume: Volume, regions: Mapping[str, np.ndarray], title: str, unit: str) -> Figure:
    """As `dose_slices`, of any volume that is not below zero on the whole."""
    dose, turned = _upright(volume.array, volume), {k: _upright(v, volume) for k, v in regions.items()}
    top = max(float(np.sort(dose, axis=None)[-min(HOT_VOXELS, dose.size)]), float(dose.max()) / 10, 1e-12)
    box = _box(dose, top)
    dose, turned = dose[box], {k: v[box] for k, v in turned.items()}
    through = _through(dose, turned)
    spacing = volume.spacing_mm[::-1]
    colours = dict(zip(turned, (LINES[k % len(LINES)] for k in range(len(turned))), strict=True))
    with matplotlib.rc_context({**STYLE, "axes.grid": False}):
        figure = Figure(figsize=(10.5, 7.6), layout="constrained")
        axes = figure.subplots(2, 3, width_ratios=_widths(dose.shape, spacing))
        image = None
        for column, (view, axis) in enumerate(VIEWS.items()):
            flat, cut = dose.max(axis), dose.take(through[axis], axis)
            image = _draw(axes[0, column], flat, view, spacing, top, f"{view}, maximum along the view")
            _draw(axes[1, column], cut, view, spacing, top, f"{view}, slice")
            _outlines(
                axes[1, column], {k: v.take(through[axis], axis) for k, v in turned.items()}, view, spacing, colours
            )
        figure.colorbar(image, ax=axes, shrink=0.7, label=unit, extend="max")
        marks = [Line2D([], [], color=colours[k], label=readable(k)) for k in list(turned)[: len(LINES)]]
        if marks:
            axes[1, 2].legend(handles=marks, loc="upper right", fontsize=7, facecolor="#555555", labelcolor="white")
        key = "R, L, A, P: right, left, front, back of the patient; bar: 10 cm. Research only, not a medical device."
        heading(figure, title, key)
        return figure


def _upright(array: np.ndarray, grid: Volume) -> np.ndarray:
    """Index axes turned so that they rise to head, back and left."""
    signs = np.sign(np.diag(grid.affine[:3, :3]))[::-1]
    return np.flip(array, [axis for axis in range(3) if signs[axis] < 0])


def _box(dose: np.ndarray, top: float) -> tuple[slice, ...]:
    """Where there is something to see; the length of the body stays."""
    seen = np.argwhere(dose > LEAST_SHARE * top)
    low, high = seen.min(0), seen.max(0) + 1
    return (slice(None), slice(max(low[1] - 2, 0), high[1] + 2), slice(max(low[2] - 2, 0), high[2] + 2))


def _through(dose: np.ndarray, regions: Mapping[str, np.ndarray]) -> tuple[int, ...]:
    """The voxel whose planes are shown: middle of the lesion (or else the region) that took up most energy, or the
    hottest voxel where none is drawn."""
    some = {k: v for k, v in regions.items() if is_tumour(k)} or regions
    held = {k: float((v * dose).sum()) for k, v in some.items() if v.sum() > 0}
    if not held:
        return tuple(int(k) for k in np.unravel_index(int(np.argmax(dose)), dose.shape))
    weight = regions[max(held, key=lambda k: held[k])]
    places = np.indices(weight.shape).reshape(3, -1) @ weight.ravel() / weight.sum()
    return tuple(round(float(p)) for p in places)


def _widths(shape, spacing) -> list[float]:
    z, y, x = (n * s for n, s in zip(shape, spacing, strict=True))
    return [x, y, x]


def _plane(view: str, spacing) -> tuple[float, float]:
    """Spacing of a view's rows and columns."""
    rest = [s for axis, s in enumerate(spacing) if axis != VIEWS[view]]
    return rest[0], rest[1]


def _draw(axis, values, view: str, spacing, top: float, title: str):
    down, across = _plane(view, spacing)
    origin = "upper" if view == "axial" else "lower"
    height, width = values.shape[0] * down, values.shape[1] * across
    extent = (0, width, height, 0) if view == "axial" else (0, width, 0, height)
    image = axis.imshow(values, origin=origin, extent=extent, cmap=COLOURS, norm=PowerNorm(GAMMA, 0, top))
    axis.set_title(title)
    axis.set_axis_off()
    for place, letter in zip((0.02, 0.98), ENDS[view], strict=True):
        axis.text(place, 0.5, letter, color="white", transform=axis.transAxes, ha="center", va="center")
    low = height - 12 if view == "axial" else 12
    axis.plot([12, 12 + BAR_MM], [low, low], color="white", linewidth=2)
    return image


def _outlines(axis, masks: Mapping[str, np.ndarray], view: str, spacing, colours: Mapping[str, str]) -> None:
    down, across = _plane(view, spacing)
    for name, mask in masks.items():
        if mask.max() > 0.5 > mask.min():
            y, x = (np.arange(mask.shape[0]) + 0.5) * down, (np.arange(mask.shape[1]) + 0.5) * across
            axis.contour(x, y, mask, levels=[0.5], colors=colours[name], linewidths=1.1)
