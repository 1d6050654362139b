"""From the anatomy of one patient and a ligand to explicit `Kinetics`."""

from __future__ import annotations

from functools import cache

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.anatomy import CORTEX, MEDULLA, PORTAL_COUNT, filters, kind_of
from pbpk.check import checked
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, Ligand, known_ligands, ligand
from pbpk.physiology import Physiology, kidney_share, physiology, rules

__all__ = ["DEFAULT_REPAIR_PER_MIN", "Physiology", "kinetics", "physiology"]

DEFAULT_REPAIR_PER_MIN = np.log(2) / (1.5 * 60)
"""Repair rate where no tissue value is given (half-time 1.5 h, DOSE.md section 6)."""


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
        InputError: a ligand of another target than the body's; a value that no patient can have (`check.checked`);
            `amino_acids` given where the ligand's table has no row for their effect.
    """
    if drug.target != body.target:
        do = "scale the body for the ligand's target"
        raise InputError(describe("ligand", f"{drug.name} of {drug.target}", f"a ligand of {body.target}", do))
    col = lambda values: jnp.asarray(np.asarray(values, float)[:, None])
    one = lambda value: jnp.asarray([float(value)])
    per_organ = lambda parameter: np.array([drug.number(parameter, o) for o in body.organs])
    kps = np.array([drug.number("kPS", o, k) for o, k in zip(body.organs, body.kps_per_min, strict=True)])
    in_kidney = np.array([filters(o) for o in body.organs], float) * body.volume_L
    sites = np.array([sites_nmol_L(drug, o, amino_acids) for o in body.organs])
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
        specific_count=max(_specific_count(drug.target, body.organs), _last_that_takes_up((drug,), body.organs)),
    )
    return checked(found)


@cache
def _specific_count(target: str, organs: tuple[str, ...]) -> int:
    """Organs from the liver to the last that takes up any ligand of this target, so that tracers share a layout."""
    return _last_that_takes_up([d for d in map(ligand, known_ligands()) if d.target == target], organs)


def _last_that_takes_up(drugs, organs: tuple[str, ...]) -> int:
    takes_up = lambda o: any(d.number(p, o) > 0 for d in drugs for p in ("receptor_density", "nonsaturable_uptake"))
    return max(k for k, organ in enumerate(organs) if takes_up(organ))


def sites_nmol_L(drug: Ligand, organ: str, amino_acids: bool | None) -> float:
    """Density of binding sites: in parts of a kidney their share, and with amino acids what these leave."""
    density = drug.number("receptor_density", organ)
    if kind_of(organ) != "kidneys":
        return density
    if organ in (*CORTEX, *MEDULLA):
        share = drug.number("medulla_share", "kidneys")
        density *= (share if organ in MEDULLA else 1 - share) / (2 * kidney_share(organ))
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
    return 1.0 if affinity is None else affinity.value / (affinity.value + rules()["blood", "albumin"][1])
