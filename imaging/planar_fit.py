"""Activities of overlapping regions from planar views (or any projections) by Poisson maximum likelihood.

Counts are Poisson about sum_k a_k x template_k + background, templates being what one MBq of region k would count in
each pixel (from PET or CT regions through a projector with attenuation and blur). The likelihood is concave in a, so
EM's start and Newton's steps on the regions above zero reach its one maximum; a has covariance F^-1 with the Fisher
information F_jk = sum_p T_jp T_kp / mean_p. A normal prior may be added, in precision and in slope.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import CalibrationError, ImageError, describe

EM_STEPS, NEWTON_STEPS = 20, 50
"""EM steps of the start, and Newton steps at most; the likelihood is concave, so few are used."""

TOLERANCE = 1e-10
"""Relative gain of log likelihood below which Newton stops."""

LARGEST_CONDITION = 1e10
"""Fisher information worse than this cannot tell two templates apart."""


@dataclass(frozen=True)
class TemplateFit:
    """Activities [region] in MBq, their covariance [region, region], and how well the model fits.

    `deviance` is that of the Poisson model for `dof` pixels less regions. Regions at zero have `is_at_zero` true; the
    information is taken where every region gives at least one count, as at nothing the Poisson law has none.
    """

    activity_MBq: np.ndarray
    covariance: np.ndarray
    deviance: float
    dof: int
    is_at_zero: np.ndarray

    @property
    def sd_MBq(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


def fit_templates(
    counts, templates, *, background=0.0, prior_MBq=None, prior_covariance=None, used=None
) -> TemplateFit:
    """Non-negative activities from counts [...] and templates [region, ...] in counts per MBq.

    `background` counts are known (scatter, room). `used` [...] marks the pixels to look at. `prior_MBq` [region] with
    `prior_covariance` [region, region] adds what is known before.

    Raises:
        ImageError: shapes that differ, negative values, counts where nothing is expected, or an empty template.
        CalibrationError: templates that cannot be told apart.
    """
    y, t, b = _pixels(counts, templates, background, used)
    prior = None
    if prior_MBq is not None:
        prior = (np.asarray(prior_MBq, dtype=float), np.linalg.inv(np.asarray(prior_covariance, dtype=float)))
    a = _em_start(y, t, b)
    value = _log_likelihood(a, y, t, b, prior)
    for _ in range(NEWTON_STEPS):
        a_new, gain = _newton_step(a, y, t, b, prior, value)
        a, value = a_new, value + gain
        if gain <= TOLERANCE * max(1.0, abs(value)):
            break
    fisher = _fisher(t, np.maximum(a, 1 / t.sum(axis=1)) @ t + b, prior)
    if not np.linalg.cond(fisher) < LARGEST_CONDITION:
        found, do = "templates that are all but equal", "join these regions, or give a prior"
        raise CalibrationError(describe("templates", found, "regions that differ in the views", do))
    mean = a @ t + b
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(y > 0, y * np.log(y / mean), 0.0) - (y - mean)
    covariance = np.linalg.inv(fisher)
    return TemplateFit(a, covariance, float(2 * terms.sum()), y.size - len(a), a <= 0)


def _pixels(counts, templates, background, used):
    """Counts [pixel], templates [region, pixel] and background [pixel] where something is expected."""
    y, t = np.asarray(counts, dtype=float), np.asarray(templates, dtype=float)
    if t.ndim != y.ndim + 1 or t.shape[1:] != y.shape:
        found = f"{y.shape} counts and {t.shape} templates"
        raise ImageError(describe("templates", found, "[region, ...] over the shape of the counts", "project them"))
    b = np.broadcast_to(np.asarray(background, dtype=float), y.shape)
    keep = np.ones(y.shape, bool) if used is None else np.asarray(used, bool)
    y, t, b = y[keep], t[:, keep], b[keep]
    if not (np.isfinite(t).all() and min(y.min(), t.min(), b.min()) >= 0 and t.sum(axis=1).min() > 0):
        found = "negative or not finite values, or an empty template"
        raise ImageError(describe("template fit", found, "counts and templates of zero or more", "check both"))
    if not y.any():
        do = "report the regions as not seen, with the limit of the counting time"
        raise ImageError(describe("template fit", "no counts at all", "counts in the views", do))
    seen = t.sum(axis=0) + b > 0
    if y[~seen].any():
        do = "add a background, or a region for what is left of the body"
        raise ImageError(describe("template fit", "counts where no template reaches", "none there", do))
    return y[seen], t[:, seen], b[seen]


def _em_start(y, t, b) -> np.ndarray:
    norm = t.sum(axis=1)
    a = np.full(len(t), max(y.sum() - b.sum(), 1.0) / norm.sum())
    for _ in range(EM_STEPS):
        a = a * (t @ (y / np.maximum(a @ t + b, np.finfo(float).tiny))) / norm
    return a


def _log_likelihood(a, y, t, b, prior) -> float:
    mean = a @ t + b
    with np.errstate(divide="ignore", invalid="ignore"):
        value = float((np.where(y > 0, y * np.log(mean), 0.0) - mean).sum())
    if prior is None:
        return value
    off = a - prior[0]
    return value - 0.5 * float(off @ prior[1] @ off)


def _fisher(t, mean, prior) -> np.ndarray:
    fisher = (t / mean) @ t.T
    return fisher if prior is None else fisher + prior[1]


def _newton_step(a, y, t, b, prior, value):
    """A step on the regions that are above zero or want to be, shortened until the likelihood rises, and its gain."""
    mean = np.maximum(a @ t + b, np.finfo(float).tiny)
    slope = t @ (y / mean - 1)
    curvature = (t * (y / mean / mean)) @ t.T
    if prior is not None:
        slope, curvature = slope - prior[1] @ (a - prior[0]), curvature + prior[1]
    free = (a > 0) | (slope > 0)
    step = np.zeros(len(a))
    small = 1e-12 * float(np.trace(curvature)) / len(a) * np.eye(int(free.sum()))
    step[free] = np.linalg.solve(curvature[np.ix_(free, free)] + small, slope[free])
    for length in 0.5 ** np.arange(30):
        candidate = np.clip(a + length * step, 0.0, None)
        gain = _log_likelihood(candidate, y, t, b, prior) - value
        if gain >= 0:
            return candidate, gain
    return a, 0.0
