"""Patlak and Logan maps: straight lines after a time t*, one weighted linear fit for all voxels at once.

Patlak, Blasberg, Fenstermacher, J. Cereb. Blood Flow Metab. 3 (1983) 1: for irreversible uptake

    C(t) = Ki int Cp + V Cp                                     (the plot divides by Cp; the fit need not)

Logan, Fowler, Volkow et al., J. Cereb. Blood Flow Metab. 10 (1990) 740: for reversible uptake

    int C / C = VT int Cp / C + b

Noise in C stands on both sides of Logan's line and pulls VT down (Slifstein and Laruelle, J. Nucl. Med. 41 (2000)
2083); `form="ma1"` is the multilinear form of Ichise et al., J. Cereb. Blood Flow Metab. 22 (2002) 1271, pulled less:

    C(t) = -(VT/b) int Cp + (1/b) int C
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from imaging.parametric.frames import DynamicFrames
from imaging.parametric.input_function import InputFunction

LEAST_FRAMES = 4
"""Two parameters and a residual variance want two frames to spare."""
FORMS = ("graphical", "ma1")


@dataclass(frozen=True)
class ParametricMaps:
    """Maps [z, y, x] by name, their standard deviations from the residuals, and their units.

    `sd` is the root of an unbiased variance with `spare` degrees of freedom, so that it scatters where frames are few.
    `r2` is the share of the weighted variance that the fit explains. Voxels that cannot be fitted
    hold 0 and `valid` False.
    """

    maps: dict[str, np.ndarray]
    sd: dict[str, np.ndarray]
    units: dict[str, str]
    r2: np.ndarray
    valid: np.ndarray
    spare: int


def patlak(frames: DynamicFrames, plasma: InputFunction, *, t_star_min: float) -> ParametricMaps:
    """Ki (mL/min/mL) and the intercept V (mL/mL) of each voxel from the frames that begin at t* or later.

    Raises:
        InputError: fewer than four such frames, or plasma that ends before the scan or is of another nuclide.
    """
    late, plasma, weight = _prepared(frames, plasma, t_star_min)
    design = np.stack([mean_area(plasma, late), plasma.frame_means(late.start_min, late.end_min)], axis=1)
    values = late.array_Bq_per_mL.reshape(len(weight), -1).astype(float)
    beta, covariance, r2 = weighted_fit(design, values, weight)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    valid = values.any(axis=0)
    names = {"Ki": "mL/min/mL", "V": "mL/mL"}
    return _maps(names, beta, sd, r2, valid, frames, len(weight) - 2)


def logan(
    frames: DynamicFrames, plasma: InputFunction, *, t_star_min: float, form: str = "graphical"
) -> ParametricMaps:
    """The distribution volume VT (mL/mL) and Logan's intercept b (min) of each voxel.

    All frames serve for the integral of tissue, those from t* on for the line, at the middle of each. Gaps between
    frames are bridged by the mean of their neighbours.

    Raises:
        InputError: fewer than four frames after t*, an unknown form, or plasma that ends before the scan or is of
            another nuclide.
    """
    if form not in FORMS:
        raise InputError(describe("logan, form", f'"{form}"', f"one of {', '.join(FORMS)}", "choose one"))
    late, plasma, weight = _prepared(frames, plasma, t_star_min)
    first = len(frames.start_min) - len(late.start_min)
    whole = frames.corrected()
    values = whole.array_Bq_per_mL.reshape(len(whole.start_min), -1).astype(float)
    tissue_area = _tissue_area(whole, values)[first:]
    values = values[first:]
    plasma_area = plasma.integral(late.mid_min)
    pick = _ma1 if form == "ma1" else _line
    vt, b, sd_vt, sd_b, r2 = pick(values, tissue_area, plasma_area, weight)
    valid = (values > 0).all(axis=0) & np.isfinite(vt) & np.isfinite(sd_vt)
    names = {"VT": "mL/mL", "b": "min"}
    return _maps(names, np.stack([vt, b]), np.stack([sd_vt, sd_b]), r2, valid, frames, len(weight) - 2)


def weighted_fit(design: np.ndarray, values: np.ndarray, weight: np.ndarray):
    """Least squares of values [frame, voxel] on one design [frame, p] or one a voxel [voxel, frame, p].

    Returns beta [p, voxel], covariance [voxel, p, p] from the residuals, and r2 [voxel].
    """
    shared = np.broadcast_to(design, (values.shape[1], *design.shape[-2:])) if design.ndim == 2 else design
    # columns of size 1 keep the normal equations solvable: areas and concentrations differ by orders
    size = np.sqrt((weight[:, None] * design**2).sum(axis=-2, keepdims=True))
    size = np.where(size > 0, size, 1.0)
    scaled = shared / size
    normal = np.einsum("vfp,f,vfq->vpq", scaled, weight, scaled)
    inverse = np.linalg.pinv(normal, hermitian=True)
    scaled_beta = np.einsum("vpq,vfq,f,fv->vp", inverse, scaled, weight, values, optimize=True)
    residual = values.T - np.einsum("vfp,vp->vf", scaled, scaled_beta)
    spare = max(1, len(weight) - design.shape[-1])
    variance = (weight * residual**2).sum(axis=1) / spare
    per = np.broadcast_to(size, (len(inverse), 1, design.shape[-1])) if size.ndim == 3 else size[None]
    covariance = inverse * variance[:, None, None] / (per * np.swapaxes(per, 1, 2))
    mean = (weight[:, None] * values).sum(axis=0) / weight.sum()
    about = (weight[:, None] * (values - mean) ** 2).sum(axis=0)
    r2 = np.where(about > 0, 1 - (weight * residual**2).sum(axis=1) / np.where(about > 0, about, 1), 0.0)
    return (scaled_beta / per[:, 0]).T, covariance, r2


def _line(values, tissue_area, plasma_area, weight):
    safe = np.where(values > 0, values, 1.0)
    x, y = plasma_area[:, None] / safe, tissue_area / safe
    design = np.stack([x.T, np.ones_like(x.T)], axis=-1)
    # C stands under x and y: its error moves y - VT x - b by b times its relative error. So the weight is that of C
    # times C^2, from the mean curve as the weights are; over y^2, as if x were exact, VT scatters more (tested)
    relative = weight * values.mean(axis=1) ** 2
    beta, covariance, r2 = weighted_fit(design, y, relative)
    sd = np.sqrt(np.diagonal(covariance, axis1=1, axis2=2)).T
    return beta[0], beta[1], sd[0], sd[1], r2


def _ma1(values, tissue_area, plasma_area, weight):
    shared = np.broadcast_to(plasma_area[:, None], values.shape)
    beta, c, r2 = weighted_fit(np.stack([shared.T, tissue_area.T], axis=-1), values, weight)
    g1, g2 = beta
    with np.errstate(divide="ignore", invalid="ignore"):
        vt, b = -g1 / g2, 1 / g2
        slope = np.stack([-1 / g2, g1 / g2**2], axis=-1)
        sd_vt = np.sqrt(np.maximum(np.einsum("vp,vpq,vq->v", slope, c, slope), 0))
        sd_b = np.sqrt(c[:, 1, 1]) / g2**2
    return vt, b, sd_vt, sd_b, r2


def mean_area(plasma: InputFunction, frames: DynamicFrames) -> np.ndarray:
    """Mean over each frame of the area under plasma from 0, by Simpson's rule on pieces no longer than 0.05 min."""
    out = []
    for start, end in zip(frames.start_min, frames.end_min, strict=True):
        pieces = 2 * max(1, int(np.ceil((end - start) / 0.05)))
        area = plasma.integral(np.linspace(start, end, pieces + 1))
        out.append((area[0] + area[-1] + 4 * area[1::2].sum() + 2 * area[2:-1:2].sum()) / (3 * pieces))
    return np.array(out)


def _tissue_area(frames: DynamicFrames, values: np.ndarray) -> np.ndarray:
    """Area under tissue from 0 to the middle of each frame [frame, voxel], half of each frame's own area included."""
    own = values * frames.duration_min[:, None]
    gap = np.diff(frames.start_min, append=frames.end_min[-1]) - frames.duration_min
    after = np.vstack([(values[1:] + values[:-1]) / 2, values[-1:]]) * gap[:, None]
    before = np.vstack([np.zeros_like(own[:1]), np.cumsum(own + after, axis=0)[:-1]])
    return before + own / 2 + values[:1] * frames.start_min[0] / 2


def _prepared(frames: DynamicFrames, plasma: InputFunction, t_star_min: float):
    """Late frames and plasma without decay, and the late frames' weights."""
    first = int(np.searchsorted(frames.start_min, t_star_min - 1e-6))
    if len(frames.start_min) - first < LEAST_FRAMES:
        found = f"{len(frames.start_min) - first} frames from {t_star_min:g} min on"
        raise InputError(describe("t_star_min", found, f"{LEAST_FRAMES} or more", "begin earlier, or scan longer"))
    late = frames.corrected().from_frame(first)
    weight = frames.weights()[first:]
    return late, plasma.beside(frames), weight / weight.mean()


def _maps(units, values, sd, r2, valid, frames: DynamicFrames, spare: int) -> ParametricMaps:
    shape = frames.array_Bq_per_mL.shape[1:]

    def shaped(row):
        return np.where(valid, row, 0).reshape(shape).astype(np.float32)

    maps = {name: shaped(row) for name, row in zip(units, values, strict=True)}
    spread = {name: shaped(row) for name, row in zip(units, sd, strict=True)}
    return ParametricMaps(maps, spread, dict(units), shaped(r2), valid.reshape(shape), spare)
