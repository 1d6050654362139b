"""Activity from a front and a back view: the conjugate view, its background, and the scale of one SPECT.

A = sqrt(I_A I_P / exp(-mu x)) f / C with f = (mu t/2) / sinh(mu t/2) (MIRD 16): the depth drops out of the product of
both views, f is for the thickness t of the source. Background is what lies in front of and behind the source: the
neighbouring counts times the part of the body's thickness that the source does not fill, 1 - t/x, or, where the depth
is known, the same with attenuation (derived here for even slabs; Buijs 1998 compares such corrections).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import numpy as np

from dose.errors import ImageError, InputError, describe
from imaging.geometry import Volume
from imaging.projections import Projections

ANGLE_TOLERANCE_DEG = 0.5
"""A view this near 0 (back) or 180 degrees (front) counts as it."""


@dataclass(frozen=True)
class PlanarActivity:
    """Activity in MBq with its sd, and the share of the geometric mean that was taken off as background."""

    activity_MBq: float
    sd_MBq: float
    background_share: float = 0.0


def self_attenuation(mu_per_cm: float, thickness_cm: float) -> float:
    """f = (mu t/2) / sinh(mu t/2) of a source of even activity and thickness t."""
    half = mu_per_cm * thickness_cm / 2
    return half / math.sinh(half) if half > 1e-8 else 1.0


def background_shares(
    mu_per_cm: float, body_cm: float, source_cm: float, depth_cm: float | None = None
) -> tuple[float, float]:
    """Part of the neighbouring counts that lies over the source too, (front, back).

    Without the depth of the source's front 1 - t/x for both (MIRD 16); with it, for even slabs,
    1 - exp(-mu d) (1 - exp(-mu t)) / (1 - exp(-mu x)) seen from the front, and likewise from behind.

    Raises:
        InputError: a source that does not fit into the body.
    """
    depth = (body_cm - source_cm) / 2 if depth_cm is None else depth_cm
    if not (0 < source_cm <= body_cm and 0 <= depth <= body_cm - source_cm + 1e-9):
        found, do = f"{source_cm:g} cm at depth {depth:g} cm in {body_cm:g} cm", "measure both on CT"
        raise InputError(describe("source thickness", found, "a source within the body", do))
    if depth_cm is None or mu_per_cm == 0:
        even = 1 - source_cm / body_cm
        return even, even
    part = -math.expm1(-mu_per_cm * source_cm) / -math.expm1(-mu_per_cm * body_cm)
    behind = body_cm - source_cm - depth
    return 1 - math.exp(-mu_per_cm * depth) * part, 1 - math.exp(-mu_per_cm * behind) * part


def conjugate_view(
    front_cps: float,
    back_cps: float,
    *,
    mu_per_cm: float,
    body_cm: float,
    source_cm: float,
    sensitivity_cps_per_MBq: float,
    front_sd_cps: float = 0.0,
    back_sd_cps: float = 0.0,
    front_background_cps: float = 0.0,
    back_background_cps: float = 0.0,
    front_background_sd_cps: float = 0.0,
    back_background_sd_cps: float = 0.0,
    depth_cm: float | None = None,
    mu_sd_per_cm: float = 0.0,
    body_sd_cm: float = 0.0,
    source_sd_cm: float = 0.0,
    sensitivity_relative_sd: float = 0.0,
) -> PlanarActivity:
    """Activity of a region seen from both sides, first-order sd with all inputs taken as independent.

    The sd leaves out what a wrong thickness does to the share of the background.

    `mu_per_cm` is the effective attenuation coefficient of the window (broad beam where scatter is not taken off).
    Backgrounds are neighbouring counts scaled to the region's area; of them `background_shares` is taken off.

    Raises:
        InputError: a length or the sensitivity not above zero, or a source that does not fit.
        ImageError: no counts left above background in one of the views.
    """
    if not (mu_per_cm >= 0 and sensitivity_cps_per_MBq > 0):
        found = f"mu {mu_per_cm:g}, sensitivity {sensitivity_cps_per_MBq:g}"
        raise InputError(describe("conjugate view", found, "mu of 0 or more, sensitivity above 0", "correct it"))
    shares = background_shares(mu_per_cm, body_cm, source_cm, depth_cm)
    front, back = front_cps - shares[0] * front_background_cps, back_cps - shares[1] * back_background_cps
    if not (front > 0 and back > 0):
        found, do = "no counts above the background", "check the regions, or report the region as not seen"
        raise ImageError(describe("conjugate view", found, "counts in both views", do))
    half = mu_per_cm * source_cm / 2
    bend = 1 - half / math.tanh(half) if half > 1e-8 else 0.0  # d ln f / d ln (mu t)
    relative = (
        math.hypot(front_sd_cps, shares[0] * front_background_sd_cps) / front / 2,
        math.hypot(back_sd_cps, shares[1] * back_background_sd_cps) / back / 2,
        (body_cm / 2 + (bend / mu_per_cm if mu_per_cm else 0.0)) * mu_sd_per_cm,
        mu_per_cm / 2 * body_sd_cm,
        bend / source_cm * source_sd_cm,
        sensitivity_relative_sd,
    )
    mean = math.sqrt(front * back * math.exp(mu_per_cm * body_cm))
    activity = mean * self_attenuation(mu_per_cm, source_cm) / sensitivity_cps_per_MBq
    taken = 1 - math.sqrt(front / front_cps * back / back_cps)
    return PlanarActivity(activity, activity * math.hypot(*relative), taken)


@dataclass(frozen=True)
class ConjugateViews:
    """Front and back counts/s [z, x], both with x towards the patient's left and z towards the head.

    `pixel_mm`, and `grid`, the empty volume whose columns along y each pixel sees.
    """

    front_cps: np.ndarray
    back_cps: np.ndarray
    front_s: float
    back_s: float
    grid: Volume


def conjugate_views(projections: Projections, window: int | None = None) -> ConjugateViews:
    """The two views of a planar acquisition, the back one turned so that both lie over each other.

    Raises:
        ImageError: not exactly one view from behind (0 degrees) and one from the front (180).
    """
    k = projections.window() if window is None else window
    turned = np.mod(projections.angles_deg + 90, 360) - 90
    back, front = (np.flatnonzero(np.abs(turned - a) < ANGLE_TOLERANCE_DEG) for a in (0, 180))
    if len(back) != 1 or len(front) != 1:
        found = f"{len(back)} views at 0 and {len(front)} at 180 degrees"
        raise ImageError(describe("planar projections", found, "one of each", "give a front and a back view"))
    f, b = int(front[0]), int(back[0])
    seconds = projections.frame_s
    counts = projections.counts[k].astype(float)
    return ConjugateViews(
        counts[f] / seconds[f], counts[b][:, ::-1] / seconds[b], seconds[f], seconds[b], projections.grid()
    )


def line_integrals(mu_per_mm: Volume, grid: Volume) -> np.ndarray:
    """Integral of the attenuation map along y through each pixel [z, x], without unit.

    Columns reach over all of the map, so that a body deeper than the detector's field is whole.
    """
    nz, ny, nx = mu_per_mm.array.shape
    corners = np.array(list(product((0, nx - 1), (0, ny - 1), (0, nz - 1))))
    y = mu_per_mm.to_lps_mm(corners)[:, 1]
    step = float(mu_per_mm.spacing_mm[1])
    affine = np.array(grid.affine)
    affine[:3, 1], affine[1, 3] = (0.0, step, 0.0), y.min()
    planes = round(float(np.ptp(y)) / step) + 1
    columns = Volume(np.zeros((grid.array.shape[0], planes, grid.array.shape[2])), affine)
    return mu_per_mm.resampled_onto(columns).array.sum(axis=1, dtype=float) * step


def planar_region(
    views: ConjugateViews,
    mask: np.ndarray,
    mu_per_mm: Volume,
    *,
    source_cm: float,
    source_mu_per_cm: float,
    sensitivity_cps_per_MBq: float,
    sensitivity_relative_sd: float = 0.0,
    background: np.ndarray | None = None,
    body_cm: float | None = None,
) -> PlanarActivity:
    """Activity under `mask` [z, x] from both views, attenuation from the map pixel by pixel.

    Each view's pixels are multiplied by exp(L/2), L the line integral, before they are summed: sums stay linear in
    the counts, so noise gives no bias, and the depth drops out where it is the same distance from the middle for all
    pixels. `background` [z, x] marks neighbouring pixels, whose mean is taken off by 1 - t/x (needs `body_cm`).

    Raises:
        ImageError: an empty mask or one of another shape, or no counts above background.
    """
    inside = np.asarray(mask, dtype=float)
    if inside.shape != views.front_cps.shape or not inside.any():
        raise ImageError(describe("mask", f"shape {inside.shape}", "pixels of the views [z, x]", "draw it on them"))
    gain = np.exp(line_integrals(mu_per_mm, views.grid) / 2)
    share = 0.0
    if background is not None:
        if body_cm is None:
            raise InputError(describe("body_cm", "nothing", "the body's thickness with a background", "give it"))
        share = background_shares(source_mu_per_cm, body_cm, source_cm)[0]
    sums, raws, variances = [], [], []
    for image, seconds in ((views.front_cps, views.front_s), (views.back_cps, views.back_s)):
        weight = inside * gain
        weight_off = np.zeros(weight.shape)
        if background is not None:
            around = np.asarray(background, dtype=float)
            weight_off = share * around * float(weight.sum()) / float(around.sum())
        raws.append(float(np.vdot(weight, image)))
        sums.append(raws[-1] - float(np.vdot(weight_off, image)))
        variances.append(float(np.vdot((weight - weight_off) ** 2, image)) / seconds)
    if not min(sums) > 0:
        found, do = "no counts above the background", "check the regions, or report the region as not seen"
        raise ImageError(describe("planar region", found, "counts in both views", do))
    factor = self_attenuation(source_mu_per_cm, source_cm) / sensitivity_cps_per_MBq
    activity = math.sqrt(sums[0] * sums[1]) * factor
    own = math.hypot(*(math.sqrt(v) / s / 2 for v, s in zip(variances, sums, strict=True)))
    taken = 1 - math.sqrt(sums[0] * sums[1] / (raws[0] * raws[1]))
    return PlanarActivity(activity, activity * math.hypot(own, sensitivity_relative_sd), taken)
