"""SPECT reconstruction: the system model and what is built on it. README.md says how the parts fit."""

from __future__ import annotations

from imaging.reconstruct.attenuation import (
    attenuation_map,
    covered_share,
    linear_attenuation_per_mm,
    uncovered_with_counts,
)
from imaging.reconstruct.decaying import decay_factors, decaying, view_weights
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.osem import Reconstruction, bsrem, mlem, osem
from imaging.reconstruct.reconstruction import Measured, reconstruct, reconstruct_regions
from imaging.reconstruct.response import (
    Collimator,
    DetectorResponse,
    collimator_response,
    collimators,
    grid_gaussian,
)
from imaging.reconstruct.scatter import ScatterEstimate, dew, tew
from imaging.reconstruct.system import SpectSystem, spect_system
from imaging.reconstruct.uncertainty import RegionTotals, region_uncertainty

__all__ = [
    "Collimator",
    "DetectorResponse",
    "Measured",
    "Reconstruction",
    "RegionTotals",
    "ScatterEstimate",
    "Settings",
    "SpectSystem",
    "attenuation_map",
    "bsrem",
    "collimator_response",
    "collimators",
    "covered_share",
    "decay_factors",
    "decaying",
    "dew",
    "grid_gaussian",
    "linear_attenuation_per_mm",
    "mlem",
    "osem",
    "reconstruct",
    "reconstruct_regions",
    "region_uncertainty",
    "spect_system",
    "tew",
    "uncovered_with_counts",
    "view_weights",
]
