"""Time-integrated activity of voxels without a network: of a SPECT by its hour and regions, of a PET by its pattern."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imaging.networks.tia_inputs import NAMED
from imaging.networks.tia_scans import class_of, means, recovered_mean
from imaging.networks.tia_tables import hanscheid_log_sd, population_factor

PATTERN = (0.05, 20.0)
"""Bounds of a voxel over its region's mean in a PET's pattern: noise is below zero in places."""


def by_rules(
    suv,
    tracer: str,
    time_h: float,
    half_life_h: float,
    regions: Mapping,
    *,
    fwhm_mm: float,
    spacing_mm,
    height: bool = True,
):
    """Log of the factor on activity, h, and its sd, [z, y, x] each: the cohort's in regions of NAMED, else
    2 t/ln 2.

    Args:
        suv: with decay as it is.
        fwhm_mm: blur of the scan, which is undone in the regions' means.
        spacing_mm: along z, y, x.
        regions: boolean masks with voxels, as `tia_checks.masks_on` gives them.
        height: let the region's mean tell of its clearance too.
    """
    log = np.full(suv.shape, np.log(2 * time_h / np.log(2)), np.float32)
    sd = np.full(suv.shape, hanscheid_log_sd(tracer, time_h, half_life_h), np.float32)
    for name, mask in regions.items():
        if class_of(name) not in NAMED:
            continue
        inside = np.asarray(mask, bool)
        seen = recovered_mean(suv, inside, fwhm_mm, spacing_mm) if height else None
        factor = population_factor(tracer, class_of(name), time_h, half_life_h, seen)
        log[inside], sd[inside] = np.log(factor.factor_h), factor.log_sd
    return log, sd


def patterned(log_means: np.ndarray, suv: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Log of a map [z, y, x] with these means [label] of regions, which lies within them as the PET does."""
    usual = np.maximum(means(suv, labels, len(log_means)), 1e-6)
    return tied(np.log(np.clip(suv / usual[labels], *PATTERN)), labels, log_means)


def tied(log: np.ndarray, labels: np.ndarray, log_means: np.ndarray) -> np.ndarray:
    """The map scaled in each region so that the region's mean is the one given."""
    found = np.log(np.maximum(means(np.exp(log), labels, len(log_means)), 1e-30))
    return (log + (log_means - found)[labels]).astype(np.float32)
