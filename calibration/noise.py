"""How far a measured activity may lie from the truth: errors of its own, and errors it shares with other measurements.

On the log scale, ln y = ln A + sum of shared errors (each with its load) + an error of its own. Shared are the
scanner's calibration factor (all regions and scans of a modality), a region's recovery coefficient (all its scans) and
the volume of its contour, which moves the mass too. Own errors have a proportional and an additive part, by modality
(diagnostic PET, therapeutic SPECT) and for organs and tumours (noise.csv).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from calibration.observations import Observations
from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk.anatomy import kind_of

COUNTED = ("blood_sample", "plasma_sample", "probe")
"""What is counted without an image: no recovery coefficient, no contour."""


@cache
def _table() -> tuple[tuple[str, str, float, float], ...]:
    rows = load_table("calibration", "noise.csv")
    return tuple((r["modality"], r["region"], float(r["until_h"]), float(r["value"])) for r in rows)


def relative_sd(kind: str, region: str, time_h: float = 0.0) -> float:
    """Value from noise.csv: the row of the region (tumours share one), the tightest time limit not yet passed."""
    name = "tumour" if region.startswith("tumour_") else region
    for wanted in (name, "default"):
        rows = [(until, value) for m, r, until, value in _table() if m == kind and r == wanted and time_h <= until]
        if rows:
            return min(rows)[1]
    raise KeyError(f"noise.csv has no row for {kind}, {region}")


def drift_log_sd(region: str, cycles_apart: int) -> float:
    """Log sd of the change in uptake over a number of cycles, a random walk from cycle to cycle."""
    return relative_sd("drift", region) * np.sqrt(abs(cycles_apart))


def log_sd(observations: Observations) -> np.ndarray:
    """Sd of each log activity's own error, [observation]: stated, proportional and additive, in quadrature."""
    obs = observations
    model = np.array([relative_sd(m, r, t) for m, r, t in zip(obs.modality, obs.region, obs.time_h, strict=True)])
    floor = np.array([relative_sd("additive", m) for m in obs.modality]) * _hottest(obs) / obs.activity_MBq
    return np.sqrt(np.log1p((obs.sd_MBq / obs.activity_MBq) ** 2 + floor**2) + model**2)


def _hottest(obs: Observations) -> np.ndarray:
    """Activity of the hottest region of each observation's scan, the body and its rest apart, [observation]."""
    scans = list(zip(obs.cycle, np.round(obs.time_h, 3), strict=True))
    hottest: dict = {}
    for scan, name, activity in zip(scans, obs.region, obs.activity_MBq, strict=True):
        if name not in ("remainder", "whole_body"):
            hottest[scan] = max(hottest.get(scan, 0.0), activity)
    return np.array([hottest.get(scan, 0.0) for scan in scans])


@dataclass(frozen=True)
class SharedErrors:
    """Errors common to several observations: `names`, `sd` [error], `loads` [observation, error] on the log."""

    names: tuple[str, ...]
    sd: np.ndarray
    loads: np.ndarray

    @property
    def covariance(self) -> np.ndarray:
        """What they add to the covariance of the log activities, [observation, observation]."""
        return (self.loads * self.sd**2) @ self.loads.T


def shared_errors(observations: Observations) -> SharedErrors:
    """Calibration, recovery and volume errors of these observations; a sd that they state goes before the table."""
    obs = observations
    entries = [_shared(*row) for row in zip(obs.region, obs.modality, strict=True)]
    sds = {name: obs.shared_sd.get(name, sd) for row in entries for name, sd, _ in row}
    names = tuple(sds)
    loads = np.zeros((len(observations), len(names)))
    for k, row in enumerate(entries):
        for name, _, load in row:
            loads[k, names.index(name)] = load
    return SharedErrors(names, np.array([sds[n] for n in names]), loads)


@dataclass(frozen=True)
class Errors:
    """All errors of some observations: `sd` [observation] of each one's own, and the shared ones."""

    sd: np.ndarray
    shared: SharedErrors


def errors(observations: Observations) -> Errors:
    """Own and shared errors as noise.csv has them."""
    return Errors(log_sd(observations), shared_errors(observations))


def covariance(observations: Observations) -> np.ndarray:
    """Covariance of the log activities given the model, own and shared errors, [observation, observation]."""
    return np.diag(log_sd(observations) ** 2) + shared_errors(observations).covariance


def _shared(region: str, modality: str) -> list[tuple[str, float, float]]:
    """(name, sd, load) of the errors that one observation shares; those without effect are left out."""
    calibration = (f"calibration/{modality}", relative_sd("calibration", modality), 1.0)
    if modality in COUNTED:
        return [calibration]
    candidates = [
        calibration,
        (f"recovery/{pair(region)}", relative_sd("recovery", region), 1.0),
        (f"volume/{region}", volume_log_sd(region), relative_sd("volume_load", region)),
    ]
    return [(name, sd, load) for name, sd, load in candidates if sd > 0 and load != 0]


def volume_log_sd(region: str, segmented: bool = True) -> float:
    """Log sd of a region's volume, and so of its mass: that of its contour, or (not segmented) of the population."""
    word = "segmented" if segmented else "unsegmented"
    return relative_sd("mass_tumour" if is_tumour(region) else "mass", word)


def pair(region: str) -> str:
    """What two sides of an organ share: "kidney_left" -> "kidneys", "parotid_left" -> "parotid"."""
    if region == "kidneys" or kind_of(region) == "kidneys":
        return "kidneys"
    return region.removesuffix("_left").removesuffix("_right")
