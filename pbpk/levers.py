"""Levers: parameters that are multiplied, one field of `Kinetics` or several, in some organs or in all.

What `pbpk.sensitivity` moves. Changes are logs, so that a lever of 0 leaves the patient as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe, nearest
from pbpk.kinetics import Kinetics
from pbpk.parameters import Ligand

SIZE = ("plasma_flow", "vascular", "interstitial", "permeability", "albumin_permeability", "receptors")
"""Fields of `Kinetics` that grow with the volume of an organ at fixed perfusion, spaces and receptor density."""
FIELD = {
    "phi": ("filtration", "plasma filtration"),
    "receptor_density": ("receptors", "receptor density"),
    "nonsaturable_uptake": ("nonsaturable", "non-saturable uptake"),
    "release": ("release", "release"),
    "internalisation": ("internalisation", "internalisation"),
    "kPS": ("permeability", "permeability"),
    "protein_binding": ("protein_binding", "protein binding"),
}
"""The field of `Kinetics` that a parameter of pbpk/data/ligands.csv scales, and the parameter in words."""


@dataclass(frozen=True)
class Lever:
    """A parameter that is multiplied: fields of `Kinetics`, in the named organs or (none named) everywhere.

    `log_sd` is its standard deviation between patients on the log scale; elasticities do not use it. Parameters that
    rise and fall together, such as those of both kidneys, are one lever.
    """

    name: str
    fields: tuple[str, ...]
    organs: tuple[str, ...] = ()
    log_sd: float = 0.0


def levers_of(drug: Ligand, organs: Sequence[str]) -> tuple[Lever, ...]:
    """A lever for each row of the ligand's table that varies between patients, over the organs that share the row.

    Named "release, kidneys"; a default row beside rows of single organs is "release, others".
    """
    levers = []
    for (parameter, place), row in drug.rows.items():
        shared = tuple(o for o in organs if drug.get(parameter, o) is row and _takes_up(drug, o)) if place else ()
        if parameter in FIELD and row.cv > 0 and (shared or not place):
            field, words = FIELD[parameter]
            levers.append(Lever(words + _where(drug, parameter, place), (field,), shared, row.log_sd))
    return tuple(levers)


def _where(drug: Ligand, parameter: str, place: str) -> str:
    has_others = any(p == parameter and o not in ("", "default") for p, o in drug.rows)
    if place == "default":
        return ", others" if has_others else ""
    return f", {place.replace('_', ' ')}" if place else ""


def _takes_up(drug: Ligand, organ: str) -> bool:
    """Whether ligand ever gets inside the cells of an organ, so that its rates there mean anything."""
    return any(drug.get(kind, organ) for kind in ("receptor_density", "nonsaturable_uptake"))


def changed(kin: Kinetics, levers: Sequence[Lever], log_change: Float[Array, "parameter patient"]) -> Kinetics:
    """`kin` with each lever's fields multiplied by exp(log_change).

    Raises:
        InputError: a lever that names no field or organ of `kin`, or two levers of one name.
    """
    check(kin, levers)
    names = tuple(dict.fromkeys(name for lever in levers for name in lever.fields))
    scaled = [getattr(kin, name) * jnp.exp(_weights(kin, levers, name) @ log_change) for name in names]
    return eqx.tree_at(lambda k: [getattr(k, name) for name in names], kin, scaled)


def _weights(kin: Kinetics, levers: Sequence[Lever], field: str) -> np.ndarray:
    """Zeros and ones [organ, parameter], or [parameter] for a field that has no organs."""
    per_organ = getattr(kin, field).ndim == 2
    places = [lever.organs or kin.organs if field in lever.fields else () for lever in levers]
    rows = np.array([[organ in place for place in places] for organ in kin.organs], float)
    return rows if per_organ else np.array([float(field in lever.fields) for lever in levers])


def check(kin: Kinetics, levers: Sequence[Lever]) -> None:
    """Refuse levers that `kin` cannot follow.

    Raises:
        InputError: an unknown field or organ, organs for a field that has none, two levers of one name.
    """
    arrays = tuple(f.name for f in fields(kin) if eqx.is_array(getattr(kin, f.name)))
    for lever in levers:
        for name in lever.fields:
            known(f"lever {lever.name!r}: fields", name, arrays)
            if name.endswith("_fraction"):
                do = "change the ligand (Ligand.with_values), or solve with the fraction itself changed"
                raise InputError(describe(f"lever {lever.name!r}: fields", name, "a field that has no upper limit", do))
            if lever.organs and getattr(kin, name).ndim == 1:
                do = "leave its organs empty"
                raise InputError(describe(f"lever {lever.name!r}: organs", str(lever.organs), f"none for {name}", do))
        for organ in lever.organs:
            known(f"lever {lever.name!r}: organs", organ, kin.organs)
    names = [lever.name for lever in levers]
    if len(set(names)) < len(names) or not names:
        found = f"{len(names)} levers with {len(set(names))} names"
        raise InputError(describe("levers", found, "at least one, and a name of its own for each", "rename or add"))


def known(what: str, name: str, choices: Sequence[str]) -> None:
    """Refuse a name that is none of `choices`, and suggest the nearest."""
    if name not in choices:
        meant = nearest(name, choices) or "one of " + ", ".join(choices)
        raise InputError(describe(what, repr(name), meant, "correct the name"))
