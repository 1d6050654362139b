"""From covariates, segmented volumes and a ligand to the explicit `Kinetics` of one patient.

Scaling rules: physiology.csv (Vp from body surface and haematocrit, organ volumes from body weight unless segmented,
flows as parts of the total plasma flow). Tumour flow comes on top of the cardiac output; what the named organs leave of
body volume, plasma and flow is the remainder, which must stay positive (PBPK.md sections 3 and 8).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk.anatomy import CORTEX, MEDULLA, PORTAL_COUNT, STANDARD, Anatomy, filters, kind_of
from pbpk.check import checked
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, Ligand, known_ligands, ligand

TRANSIT_SHARE = 2 / 3
"""Intracellular transit volume as a share of what the kidney's plasma and tubules leave (PBPK.md section 2)."""
DEFAULT_REPAIR_PER_MIN = np.log(2) / (1.5 * 60)
"""Repair rate where no tissue value is given (half-time 1.5 h, DOSE.md section 6)."""


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


@cache
def _rules() -> dict[tuple[str, str], tuple[str, float]]:
    rows = load_table("pbpk", "physiology.csv")
    return {(row["organ"], row["quantity"]): (row["basis"], float(row["value"])) for row in rows}


def physiology(
    patient: Covariates, target: str, volumes_mL: dict[str, float], anatomy: Anatomy = STANDARD
) -> Physiology:
    """Scale the tables to one patient; tumours are the `tumour_*` keys of `volumes_mL`.

    `volumes_mL["tumour_rest"]` is the burden not segmented one by one: a typical value if absent, none if 0.
    `anatomy` divides kidneys into cortex and medulla, or adds small glands.

    Raises:
        InputError: a remainder of volume, plasma or flow that is not positive, naming it.
    """
    tumours = _tumour_volumes(target, volumes_mL)
    organs = anatomy.organs(target, patient.sex, tuple(tumours))
    base = _Basis.of(patient)
    volume = {o: tumours.get(o) or _volume(o, patient, volumes_mL) for o in organs if o != "remainder"}
    table = {o: _organ_row(o, volume[o], base, target) for o in organs if o != "remainder"}
    table["remainder"] = _remainder(patient, base, volume, table)
    columns = np.array([table[o] for o in organs]).T
    transit = np.array([_transit(o, *table[o][:3]) for o in organs])
    return Physiology(
        organs, *columns[:3], transit, columns[3], columns[4], base.arterial_L, base.venous_L,
        frozenset(o for o in organs if _whole(o) in volumes_mL or (_share(o) < 1 and "kidneys" in volumes_mL)),
    )  # fmt: skip


@dataclass(frozen=True)
class _Basis:
    plasma_L: float
    flow_L_min: float
    arterial_L: float
    venous_L: float
    haematocrit: float

    @classmethod
    def of(cls, p: Covariates) -> _Basis:
        plasma = _rules()["blood", f"plasma_volume_{p.sex}"][1] * (1 - p.haematocrit) * p.body_surface_m2
        share = {q: _rules()["blood", q][1] for q in ("arterial", "venous", "plasma_flow")}
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
    rest = volumes_mL.get("tumour_rest", 1000 * _rules()["tumour_rest", f"volume_{target}"][1]) / 1000
    return named | ({"tumour_rest": rest} if rest > 0 else {})


def _volume(organ: str, patient: Covariates, volumes_mL) -> float:
    if organ in volumes_mL:
        return volumes_mL[organ] / 1000
    basis, value = _rules()[kind_of(organ), "volume"]
    if _share(organ) < 1:
        both = volumes_mL.get("kidneys", 1000 * value) / 1000
        return 2 * _share(organ) * volumes_mL.get(_whole(organ), 500 * both) / 1000
    return value * (patient.weight_kg if basis == "body_weight" else 1.0)


def _whole(organ: str) -> str:
    """The kidney that a part belongs to; any other organ itself."""
    return organ.replace("_cortex", "").replace("_medulla", "")


def _share(organ: str, of: str = "volume") -> float:
    """Part of both kidneys' volume, plasma flow that an organ has; 1 for organs that are none of theirs."""
    if kind_of(organ) != "kidneys":
        return 1.0
    medulla = _rules()["kidney_medulla", f"{of}_share"][1]
    return 0.5 * (medulla if organ in MEDULLA else 1 - medulla if organ in CORTEX else 1.0)


def _organ_row(organ: str, volume: float, base: _Basis, target: str):
    row = f"tumour_{target}" if is_tumour(organ) else "kidney_medulla" if organ in MEDULLA else kind_of(organ)
    vascular = base.scale(_rules()[row, "vascular"], volume)
    interstitial = base.scale(_rules()[row, "interstitial"], volume, vascular)
    flow = base.scale(_rules()[kind_of(organ) if organ in MEDULLA else row, "plasma_flow"], volume)
    if organ == "tumour_rest":
        flow *= _rules()["tumour_rest", "plasma_flow"][1]
    return volume, vascular, interstitial, flow * _share(organ, "flow"), _rules()[row, "kPS"][1]


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
    interstitial = _rules()["remainder", "interstitial"][1] * left["volume"]
    return left["volume"], left["plasma volume"], interstitial, left["plasma flow"], _rules()["remainder", "kPS"][1]


def _transit(organ: str, volume, vascular, interstitial) -> float:
    return TRANSIT_SHARE * (volume - vascular - interstitial) if filters(organ) else 1.0


def kinetics(
    body: Physiology,
    patient: Covariates,
    drug: Ligand,
    nuclide: Radionuclide,
    repair_per_min,
    *,
    amino_acids: bool | None = None,
) -> Kinetics:
    """Kinetics of one patient (patient axis of length 1); `repair_per_min` maps organs to repair rates.

    `amino_acids` says whether they are infused along with the ligand, which takes kidney sites away; left out, as the
    ligand's table assumes.

    Raises:
        InputError: a value that no patient can have (`check.checked`); `amino_acids` given where the ligand's table
            has no row for their effect.
    """
    col = lambda values: jnp.asarray(np.asarray(values, float)[:, None])
    one = lambda value: jnp.asarray([float(value)])
    per_organ = lambda parameter: np.array([_typical(drug, parameter, o) for o in body.organs])
    kps = np.array([_kps(drug, o, k) for o, k in zip(body.organs, body.kps_per_min, strict=True)])
    in_kidney = np.array([filters(o) for o in body.organs], float) * body.volume_L
    sites = np.array([_sites(drug, o, amino_acids) for o in body.organs])
    filtered = patient.gfr_mL_min / 1000 * drug.rows["phi", ""].value
    k_on = drug.rows["k_on", ""].value
    found = Kinetics(
        plasma_flow=col(body.plasma_flow_L_min),
        vascular=col(body.vascular_L),
        interstitial=col(body.interstitial_L),
        transit=col(body.transit_L),
        permeability=col(kps * body.volume_L),
        filtration=col(filtered * in_kidney / in_kidney.sum()),
        receptors=col(sites * body.volume_L),
        internalisation=col(per_organ("internalisation")),
        release=col(per_organ("release")),
        nonsaturable=col(per_organ("nonsaturable_uptake")),
        returned_fraction=col(per_organ("returned_fraction")),
        albumin_permeability=col(per_organ("kPS_albumin") * body.volume_L),
        repair=col([repair_per_min.get(o, DEFAULT_REPAIR_PER_MIN) for o in body.organs]),
        k_on=one(k_on),
        k_off=one(k_on * drug.rows["KD", ""].value),
        excreted_fraction=one(drug.rows["f_exc", ""].value),
        biliary_fraction=one(drug.number("biliary_fraction")),
        unbound_fraction=one(_unbound(drug)),
        arterial=one(body.arterial_L),
        venous=one(body.venous_L),
        protein_binding=one(drug.rows["protein_binding", ""].value),
        protein_return=one(drug.rows["protein_return", ""].value),
        decay=one(nuclide.decay_constant_per_min),
        organs=body.organs,
        portal_count=PORTAL_COUNT,
        kidney_count=sum(map(filters, body.organs)),
        specific_count=_specific_count(drug.target, body.organs),
    )
    return checked(found)


@cache
def _specific_count(target: str, organs: tuple[str, ...]) -> int:
    """Organs from the liver to the last that takes up any ligand of this target, so that tracers share a layout."""
    drugs = [d for d in map(ligand, known_ligands()) if d.target == target]
    takes_up = lambda o: any(_typical(d, p, o) > 0 for d in drugs for p in ("receptor_density", "nonsaturable_uptake"))
    return max(k for k, organ in enumerate(organs) if takes_up(organ))


def _typical(drug: Ligand, parameter: str, organ: str) -> float:
    return drug.number(parameter, organ)


def _sites(drug: Ligand, organ: str, amino_acids: bool | None) -> float:
    """Density of binding sites (nmol/L): in parts of a kidney their share, and with amino acids what these leave."""
    density = drug.number("receptor_density", organ)
    if kind_of(organ) != "kidneys":
        return density
    if organ in (*CORTEX, *MEDULLA):
        share = drug.number("medulla_share", "kidneys")
        density *= (share if organ in MEDULLA else 1 - share) / (2 * _share(organ))
    return density * _left_by_amino_acids(drug, amino_acids)


def _left_by_amino_acids(drug: Ligand, amino_acids: bool | None) -> float:
    """Kidney sites over those of the ligand's table, whose values hold with amino acids where it has the row."""
    left = drug.get("amino_acid_kidney_sites", "kidneys")
    if amino_acids is None or (amino_acids and left):
        return 1.0
    if left is None:
        do = "leave amino_acids out, or give the ligand a row amino_acid_kidney_sites"
        raise InputError(describe("amino_acids", f"{amino_acids} for {drug.name}", "a ligand with their effect", do))
    return 1 / left.value


def _unbound(drug: Ligand) -> float:
    """Part of the ligand in plasma that albumin, in excess and in equilibrium, leaves free."""
    affinity = drug.get("KD_albumin")
    return 1.0 if affinity is None else affinity.value / (affinity.value + _rules()["blood", "albumin"][1])


def _kps(drug: Ligand, organ: str, from_physiology: float) -> float:
    own = drug.rows.get(("kPS", organ))
    return own.value if own else from_physiology
