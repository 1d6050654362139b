"""SPECT reconstruction: the system model and what is built on it. README.md says how the parts fit."""

from __future__ import annotations

from imaging.reconstruct.attenuation import attenuation_map, linear_attenuation_per_mm
from imaging.reconstruct.response import (
    Collimator,
    DetectorResponse,
    collimator_response,
    collimators,
    grid_gaussian,
)
from imaging.reconstruct.system import SpectSystem, spect_system

__all__ = [
    "Collimator",
    "DetectorResponse",
    "SpectSystem",
    "attenuation_map",
    "collimator_response",
    "collimators",
    "grid_gaussian",
    "linear_attenuation_per_mm",
    "spect_system",
]
