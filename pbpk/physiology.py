"""From covariates and segmented volumes to the anatomy of one patient: volumes, spaces and flows of every organ.

Scaling rules: physiology.csv (Vp from body surface and haematocrit, organ volumes from body weight unless segmented,
flows as parts of the total plasma flow). Tumour flow comes on top of the cardiac output; what the named organs leave of
body volume, plasma and flow is the remainder, which must stay positive (PBPK.md sections 3 and 8).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk.anatomy import CORTEX, MEDULLA, SMALL_GLANDS, STANDARD, Anatomy, filters, kind_of
from pbpk.parameters import Covariates
from pbpk.segmented import canonical, of_organs

TRANSIT_SHARE = 2 / 3
"""Intracellular transit volume as a share of what the kidney's plasma and tubules leave (PBPK.md section 2)."""


@dataclass(frozen=True)
class Physiology:
    """Explicit anatomy of one patient, before the ligand: arrays of shape [organ], L, L/min and per min."""

    organs: tuple[str, ...]
    volume_L: np.ndarray
    vascular_L: np.ndarray
    interstitial_L: np.ndarray
    transit_L: np.ndarray
    plasma_flow_L_min: np.ndarray
    kps_per_min: np.ndarray
    arterial_L: float
    venous_L: float
    segmented: frozenset[str]
    target: str


@cache
def rules() -> dict[tuple[str, str], tuple[str, float]]:
    rows = load_table("pbpk", "physiology.csv")
    return {(row["organ"], row["quantity"]): (row["basis"], float(row["value"])) for row in rows}


def physiology(
    patient: Covariates,
    target: str,
    volumes_mL: dict[str, float],
    anatomy: Anatomy = STANDARD,
    perfusion_per_min: Mapping[str, float] = MappingProxyType({}),
) -> Physiology:
    """Scale the tables to one patient; tumours are the `tumour_*` keys of `volumes_mL`.

    `volumes_mL["tumour_rest"]` is the burden not segmented one by one: a typical value if absent, none if 0.
    `anatomy` divides kidneys into cortex and medulla, or adds small glands. `perfusion_per_min` gives organs or tumours
    a plasma flow per volume of their own.

    Raises:
        InputError: an unknown target, volumes that this body cannot take; a remainder of volume, plasma or flow that is
            not positive, naming it; a perfusion of no organ of this body, or one that is not above zero.
    """
    if target not in SMALL_GLANDS:
        raise InputError(describe("target", repr(target), f"one of {tuple(SMALL_GLANDS)}", "take the ligand's target"))
    volumes_mL = canonical(volumes_mL)
    tumours = _tumour_volumes(target, volumes_mL)
    organs = anatomy.organs(target, patient.sex, tuple(tumours))
    given = of_organs(
        {name: v for name, v in volumes_mL.items() if v > 0}, organs, rules()["kidney_medulla", "volume_share"][1]
    )
    _check_perfusion(perfusion_per_min, organs)
    base = _Basis.of(patient)
    volume = {o: tumours.get(o) or _volume(o, patient, given) for o in organs if o != "remainder"}
    table = {o: _organ_row(o, volume[o], base, target) for o in organs if o != "remainder"}
    for organ, per_min in perfusion_per_min.items():
        volume_L, vascular, interstitial, _, kps = table[organ]
        table[organ] = volume_L, vascular, interstitial, per_min * volume_L, kps
    table["remainder"] = _remainder(patient, base, volume, table)
    columns = np.array([table[o] for o in organs]).T
    transit = np.array([_transit(o, *table[o][:3]) for o in organs])
    return Physiology(
        organs, *columns[:3], transit, columns[3], columns[4], base.arterial_L, base.venous_L,
        frozenset(given), target,
    )  # fmt: skip


def _check_perfusion(perfusion_per_min, organs: tuple[str, ...]) -> None:
    fixed = ("lungs", "remainder")
    choices = tuple(o for o in organs if o not in fixed)
    for organ, per_min in perfusion_per_min.items():
        if organ not in choices:
            meant = nearest(organ, choices) or "one of " + ", ".join(choices)
            raise InputError(describe("perfusion_per_min", repr(organ), meant, "name an organ or tumour of this body"))
        if not (np.isfinite(per_min) and per_min > 0):
            expected = "plasma flow per volume above zero, 1/min (tumours about 0.05 to 0.5)"
            raise InputError(describe(f"perfusion_per_min of {organ}", f"{per_min:g}", expected, "correct the value"))


@dataclass(frozen=True)
class _Basis:
    plasma_L: float
    flow_L_min: float
    arterial_L: float
    venous_L: float
    haematocrit: float

    @classmethod
    def of(cls, p: Covariates) -> _Basis:
        plasma = rules()["blood", f"plasma_volume_{p.sex}"][1] * (1 - p.haematocrit) * p.body_surface_m2
        share = {q: rules()["blood", q][1] for q in ("arterial", "venous", "plasma_flow")}
        flow = share["plasma_flow"] * plasma
        return cls(plasma, flow, share["arterial"] * plasma, share["venous"] * plasma, p.haematocrit)

    def scale(self, rule: tuple[str, float], volume: float, vascular: float = 0.0) -> float:
        basis, value = rule
        sizes = {
            "Vp": self.plasma_L,
            "F": self.flow_L_min,
            "volume": volume,
            "volume*(1-H)": volume * (1 - self.haematocrit),
            "vascular": vascular,
        }
        return value * sizes[basis]


def _tumour_volumes(target: str, volumes_mL) -> dict[str, float]:
    named = {name: v / 1000 for name, v in volumes_mL.items() if is_tumour(name) and name != "tumour_rest"}
    rest = volumes_mL.get("tumour_rest", 1000 * rules()["tumour_rest", f"volume_{target}"][1]) / 1000
    return named | ({"tumour_rest": rest} if rest > 0 else {})


def _volume(organ: str, patient: Covariates, volumes_mL) -> float:
    if organ in volumes_mL:
        return volumes_mL[organ] / 1000
    basis, value = rules()[kind_of(organ), "volume"]
    return kidney_share(organ) * value * (patient.weight_kg if basis == "body_weight" else 1.0)


def kidney_share(organ: str, of: str = "volume") -> float:
    """Part of both kidneys' volume or plasma flow that an organ has; 1 for organs that are none of theirs."""
    if kind_of(organ) != "kidneys":
        return 1.0
    medulla = rules()["kidney_medulla", f"{of}_share"][1]
    return 0.5 * (medulla if organ in MEDULLA else 1 - medulla if organ in CORTEX else 1.0)


def _organ_row(organ: str, volume: float, base: _Basis, target: str):
    row = f"tumour_{target}" if is_tumour(organ) else "kidney_medulla" if organ in MEDULLA else kind_of(organ)
    vascular = base.scale(rules()[row, "vascular"], volume)
    interstitial = base.scale(rules()[row, "interstitial"], volume, vascular)
    flow = base.scale(rules()[kind_of(organ) if organ in MEDULLA else row, "plasma_flow"], volume)
    if organ == "tumour_rest":
        flow *= rules()["tumour_rest", "plasma_flow"][1]
    return volume, vascular, interstitial, flow * kidney_share(organ, "flow"), rules()[row, "kPS"][1]


def _remainder(patient: Covariates, base: _Basis, volume, table):
    healthy = [row for organ, row in table.items() if not is_tumour(organ)]
    left = {
        "volume": patient.weight_kg - sum(volume.values()),
        "plasma volume": base.plasma_L - sum(row[1] for row in table.values()) - base.arterial_L - base.venous_L,
        "plasma flow": base.flow_L_min - sum(row[3] for row in healthy),
    }
    for name, value in left.items():
        if value <= 0:
            expected = "more than zero after all named organs and tumours"
            do = "check body weight, height and the segmented volumes (mL)"
            raise InputError(describe(f"remainder of the body: {name}", f"{value:.3g}", expected, do))
    interstitial = rules()["remainder", "interstitial"][1] * left["volume"]
    return left["volume"], left["plasma volume"], interstitial, left["plasma flow"], rules()["remainder", "kPS"][1]


def _transit(organ: str, volume, vascular, interstitial) -> float:
    return TRANSIT_SHARE * (volume - vascular - interstitial) if filters(organ) else 1.0
