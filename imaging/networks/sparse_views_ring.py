"""Views round the patient: their order, what stands for a range of training, and interpolation between neighbours."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from dose.errors import ImageError, describe
from dose.learning.ranges import is_number, positive, stated
from imaging.projections import Projections
from imaging.reconstruct.response import collimator_response, collimators

EVEN_deg = 0.5
"""How far a view may lie from its place in an even ring."""

REFERENCE_mm = 100.0
"""Distance from the collimator at which a camera's blur is stated."""

LEAST_VIEWS = 8
"""Fewer views are no ring to interpolate in."""


def next_view(projections: Projections) -> np.ndarray:
    """Index of the view that follows each view in the direction of its rotation, [view].

    Raises:
        ImageError: fewer than `LEAST_VIEWS` views, or views that are not spread evenly over the full circle.
    """
    angles, views = np.mod(projections.angles_deg, 360.0), len(projections.angles_deg)
    expected = f"{LEAST_VIEWS} views or more, evenly over 360 degrees"
    if views < LEAST_VIEWS:
        do = "give the whole rotation"
        raise ImageError(describe("projections.angles_deg", f"{views} views", expected, do))
    step = _wrapped(angles[1] - angles[0])
    wanted = angles + np.copysign(360.0 / views, step)
    apart = np.abs(_wrapped(angles[None, :] - wanted[:, None]))
    found = apart.argmin(axis=1)
    if apart.min(axis=1).max() > EVEN_deg or len(np.unique(found)) < views:
        found_deg = f"views up to {apart.min(axis=1).max():.2g} degrees from an even ring"
        raise ImageError(describe("projections.angles_deg", found_deg, expected, "resample the views, or reconstruct"))
    return found


def along(following: np.ndarray) -> np.ndarray:
    """Indices of the views one after the other round the circle, from the first one on."""
    order = [0]
    while len(order) < len(following):
        order.append(int(following[order[-1]]))
    return np.array(order)


def system_fwhm_mm(collimator: str, line_keV: float, intrinsic_fwhm_mm: float) -> float:
    """Blur of a camera 10 cm before the face of a collimator in mm; NaN for a collimator that is not listed."""
    if collimator not in collimators():
        return float("nan")
    return float(collimator_response(collimator, line_keV, intrinsic_fwhm_mm).fwhm_mm(REFERENCE_mm))


def between(first: np.ndarray, second: np.ndarray, number: int) -> Float[np.ndarray, "new ..."]:
    """`number` arrays evenly between two, linearly."""
    share = np.arange(1, number + 1) / (number + 1)
    share = share.reshape(-1, *([1] * first.ndim))
    return (1 - share) * first + share * second


def check_camera(line_keV: float | None, system_fwhm_mm: float | None) -> None:
    """Raises an InputError for an energy or a blur that is given and no number above zero; a blur may be NaN."""
    unknown = system_fwhm_mm is None or (is_number(system_fwhm_mm) and np.isnan(system_fwhm_mm))
    positive(**stated(line_keV=line_keV, system_fwhm_mm=None if unknown else system_fwhm_mm))


def features(projections: Projections, line_keV: float | None, blur_mm: float | None) -> dict[str, float]:
    """What tells whether an acquisition is like those of the training; a blur that is not known is NaN."""
    peak = projections.window("peak", line_keV)
    energy = projections.windows[peak]
    return {
        "counts per pixel and view": float(projections.counts[peak].mean(dtype=float)),
        "pixel_mm": float(projections.pixel_mm),
        "window's middle, keV": 0.5 * (energy.lower_keV + energy.upper_keV),
        "mean radius_mm": float(projections.radii_mm.mean()),
        "system_fwhm_mm": float("nan") if blur_mm is None else float(blur_mm),
    }


def line_windows(projections: Projections, line_keV: float | None) -> dict[str, int]:
    """Index of the peak window of a line, and of its scatter windows where it has them, by role."""
    found = {"peak": projections.window("peak", line_keV)}
    for role in ("lower", "upper"):
        try:
            found[role] = projections.window(role, line_keV)
        except ImageError:
            continue
    return found


def _wrapped(angle_deg):
    """The same angle from -180 up to 180 degrees."""
    return (np.asarray(angle_deg) + 180.0) % 360.0 - 180.0
