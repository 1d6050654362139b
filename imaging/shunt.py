"""Lung shunt before radioembolisation: the part of the injected particles that reached the lungs.

LSF = lung / (lung + liver), of geometric means of planar views, of SPECT/CT activities, or of a fit of both regions'
templates (`imaging.planar_fit`). Planar counts take no account of how much less the lungs attenuate, nor of scatter
and of the liver's dome under them, and so show more shunt than there is; activities do not have that fault.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from imaging.planar_fit import TemplateFit


class LungShunt(NamedTuple):
    """Fraction 0 to 1 with its standard deviation."""

    fraction: float
    sd: float


def lung_shunt(lung: float, liver: float, covariance) -> LungShunt:
    """The fraction of amounts in lungs and liver (MBq, or counts on one scale) with covariance [2, 2].

    First order: u^2 = ((1 - q)^2 u_lung^2 + q^2 u_liver^2 - 2 q (1 - q) u_both) / (lung + liver)^2.

    Raises:
        InputError: a negative amount, none at all, or a covariance of another shape.
    """
    cov = np.asarray(covariance, dtype=float)
    if not (lung >= 0 and liver >= 0 and lung + liver > 0) or cov.shape != (2, 2):
        found = f"lung {lung:g}, liver {liver:g}, covariance of shape {cov.shape}"
        raise InputError(describe("lung shunt", found, "amounts of zero or more, [2, 2]", "check both regions"))
    q = lung / (lung + liver)
    slope = np.array([1 - q, -q]) / (lung + liver)
    return LungShunt(q, math.sqrt(max(float(slope @ cov @ slope), 0.0)))


def planar_lung_shunt(
    lung_counts, liver_counts, *, lung_background=(0.0, 0.0), liver_background=(0.0, 0.0), background_sd=None
) -> LungShunt:
    """From (front, back) counts of both regions: geometric means of net counts, sd by Poisson counting.

    Backgrounds are counts scaled to the regions' areas; `background_sd` ((lung front, back), (liver front, back)) is
    their sd, or Poisson of themselves where not given.

    Raises:
        InputError: net counts not above zero in a view of the liver, or below zero in one of the lungs.
    """
    grosses, offs = np.array([lung_counts, liver_counts], float), np.array([lung_background, liver_background], float)
    off_variance = offs if background_sd is None else np.array(background_sd, float) ** 2
    net = grosses - offs
    if not (net[1].min() > 0 and net[0].min() > 0):
        do = "check both regions, or give the shunt as below what the background allows"
        raise InputError(describe("lung shunt", "no counts above background", "net counts in both views", do))
    mean = np.sqrt(net.prod(axis=1))
    variance = mean**2 / 4 * ((grosses + off_variance) / net**2).sum(axis=1)
    return lung_shunt(float(mean[0]), float(mean[1]), np.diag(variance))


def fitted_lung_shunt(fit: TemplateFit, lung: int | tuple[int, ...], liver: int | tuple[int, ...]) -> LungShunt:
    """From a template fit: indices of the regions that are lung and that are liver (tumours belong to it)."""
    pick = np.zeros((2, len(fit.activity_MBq)))
    pick[0, np.atleast_1d(lung)] = 1.0
    pick[1, np.atleast_1d(liver)] = 1.0
    amounts = pick @ fit.activity_MBq
    return lung_shunt(float(amounts[0]), float(amounts[1]), pick @ fit.covariance @ pick.T)
