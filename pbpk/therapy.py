"""What is given in each cycle and which tumours are followed, checked before anything is solved."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.regions import density_g_per_mL, is_tumour
from pbpk.kinetics import Kinetics
from pbpk.levers import known
from pbpk.response import Response, require
from pbpk.segments import Segments, segments

ASKED = 63
"""Times in a piece at which the dose rate is read; the dose of a cycle is then within 5e-6 of that of 511 times."""
FIRST_ASKED_MIN = 1.0


@dataclass(frozen=True)
class Cycle:
    """One administration at time 0 and what follows until the next; amounts in nmol, one or [patient].

    At the times `split_min` the kinetics take the tumours' volumes anew.

    Raises:
        InputError: no length, an infusion longer than the cycle, hot above total, splits outside of the cycle.
    """

    total_nmol: Any
    hot_nmol: Any
    length_min: float
    infusion_min: float = 0.0
    split_min: tuple[float, ...] = ()

    def __post_init__(self):
        require(self.length_min, "cycle: length_min", True)
        for name in ("total_nmol", "hot_nmol", "infusion_min"):
            require(getattr(self, name), f"cycle: {name}", False)
        if np.any(np.asarray(self.hot_nmol) > np.asarray(self.total_nmol)):
            do = "count labelled and unlabelled ligand in the total"
            raise InputError(describe("cycle: hot_nmol", "more than total_nmol", "at most as much", do))
        edges = (0.0, *self.split_min, self.length_min)
        if self.infusion_min > self.length_min or np.any(np.diff(edges) <= 0):
            found = f"infusion {self.infusion_min:g}, splits {self.split_min} min"
            expected = f"increasing times within the {self.length_min:g} min of the cycle"
            raise InputError(describe("cycle", found, expected, "lengthen the cycle or correct the times"))

    def pieces(self) -> list[Segments]:
        """The stretches between splits, each with its part of the dose and its times asked."""
        edges = np.array([0.0, *self.split_min, self.length_min])
        return [self._piece(a, b) for a, b in zip(edges[:-1], edges[1:], strict=True)]

    def _piece(self, start_min: float, end_min: float) -> Segments:
        length_min = end_min - start_min
        infused_min = max(min(end_min, self.infusion_min) - start_min, 0.0)
        part = infused_min / self.infusion_min if self.infusion_min > 0 else float(start_min == 0)
        asked = np.geomspace(min(FIRST_ASKED_MIN, length_min / ASKED), length_min, ASKED)[:-1]
        amounts = (part * x[None] for x in np.broadcast_arrays(np.asarray(self.total_nmol, float), self.hot_nmol))
        return segments([0.0], [infused_min], *amounts, asked, length_min)


class Tumours(NamedTuple):
    """The tumours followed: names, rows in `Kinetics`, [tumour, patient] mass at the start and dose coefficient."""

    names: tuple[str, ...]
    rows: np.ndarray
    first_mass_g: Any
    dose_rate_Gy_per_nmol_min: Any


def tumours_of(kin: Kinetics, volumes_mL: Mapping[str, Any], dose_rate_Gy_per_nmol_min: Mapping[str, Any]) -> Tumours:
    names, present = tuple(volumes_mL), [o for o in kin.organs if is_tumour(o)]
    for field, given in (("volumes_mL", names), ("dose_rate_Gy_per_nmol_min", dose_rate_Gy_per_nmol_min)):
        for name in given:
            known(field, name, present)
    if not names or set(names) != set(dose_rate_Gy_per_nmol_min):
        found = f"{len(names)} tumours with a volume, {len(dose_rate_Gy_per_nmol_min)} with a dose rate"
        raise InputError(describe("tumours", found, "both for each, and at least one", "give the missing values"))
    for name in names:
        require(volumes_mL[name], f"volumes_mL of {name}", True)
        require(dose_rate_Gy_per_nmol_min[name], f"dose_rate_Gy_per_nmol_min of {name}", False)
    mass_g = jnp.stack([density_g_per_mL(name) * per_patient(kin, name, volumes_mL[name]) for name in names])
    per_nmol = jnp.stack([per_patient(kin, name, dose_rate_Gy_per_nmol_min[name]) for name in names])
    return Tumours(names, np.array([kin.organs.index(name) for name in names]), mass_g, per_nmol)


def drift_of(kin: Kinetics, drift_log_per_cycle: Mapping[str, Any]) -> Mapping[str, Any]:
    for organ, value in drift_log_per_cycle.items():
        known("drift_log_per_cycle", organ, kin.organs)
        require(np.abs(value), f"drift_log_per_cycle of {organ}", False)
    return drift_log_per_cycle


def per_patient(kin: Kinetics, name: str, value):
    value = np.asarray(value, float)
    if value.shape not in ((), (1,), (kin.patients,)):
        found, expected = f"shape {value.shape}", f"one number, or one for each of {kin.patients} patients"
        raise InputError(describe(f"value of {name}", found, expected, "give an array [patient]"))
    return jnp.broadcast_to(jnp.asarray(value), (kin.patients,))


def check(cycles: Sequence[Cycle], response: Response, tumours: Tumours, carry_above: float) -> None:
    require(carry_above, "carry_above", False)
    if not cycles:
        raise InputError(describe("cycles", "none", "at least one", "give what is administered"))
    largest = np.max(np.asarray(tumours.first_mass_g) - np.asarray(response.capacity_g))
    if response.growth == "gompertz" and largest > 0:
        found = f"a tumour {largest:.3g} g heavier than it"
        do = "give capacity_g of this tumour, or take exponential growth"
        raise InputError(describe("response: capacity_g", found, "the largest mass the tumour can reach", do))
    if np.any(np.asarray(tumours.first_mass_g) < np.asarray(response.smallest_mass_g)):
        found, expected = "a tumour below smallest_mass_g", "tumours that take up their own electrons' energy"
        raise InputError(describe("volumes_mL", found, expected, "leave it out, or lower smallest_mass_g"))
