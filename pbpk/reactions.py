"""The whole-body model of one patient as pools and reactions with named rates, for other simulators.

The same equations as `pbpk.model`, said in another way: hot and cold ligand as two species, decay as a reaction from
hot to cold, and every other reaction as a rate times the amount of its source. Only the fields of `Kinetics` are read,
so a slip in our own rates or elimination cannot hide here. Equations: docs/equations.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import jax
import numpy as np

from dose.errors import InputError, describe
from pbpk.check import FRACTIONS
from pbpk.kinetics import Kinetics
from pbpk.state import FIRST_PORTAL, LIVER, LUNGS

VOLUMES = ("vascular", "interstitial", "transit", "arterial", "venous")
"""Fields that divide an amount, so that zero has no meaning."""
ORGAN_UNITS = {
    "plasma_flow": "litre_per_minute", "permeability": "litre_per_minute", "filtration": "litre_per_minute",
    "receptors": "nmol", "internalisation": "per_minute", "release": "per_minute", "nonsaturable": "per_minute",
    "returned_fraction": "dimensionless", "albumin_permeability": "litre_per_minute",
}  # fmt: skip
COMMON_UNITS = {
    "k_on": "litre_per_nmol_minute", "k_off": "per_minute", "excreted_fraction": "dimensionless",
    "biliary_fraction": "dimensionless", "unbound_fraction": "dimensionless",
    "protein_binding": "per_minute", "protein_return": "per_minute", "decay": "per_minute",
}  # fmt: skip
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
RESERVED = ("venous", "arterial", "protein", "total", "free", "infusion", "administration")
"""Words that other ids of the file begin with."""
ENDS, OUTSIDE = ("urine", "bile", "released"), "excreta"
"""Pools that collect what has left, and their compartment, whose size of 1 L has no influence."""


class Reaction(NamedTuple):
    """`source` becomes `target` at `rate` (per minute; a product or quotient of names) times the amount of `source`."""

    name: str
    source: str
    target: str
    rate: str


@dataclass(frozen=True)
class Network:
    """What happens to one ligand; hot and cold share it, and pools carry no "_hot" or "_cold" here.

    `volumes_L` sizes the compartments; `pools` names the compartment of each pool; `regions` the pools of each organ
    and of the blood; `parameters` holds (value, unit), `rules` (formula, unit).
    """

    volumes_L: dict[str, float]
    pools: dict[str, str]
    regions: dict[str, tuple[str, ...]]
    reactions: tuple[Reaction, ...]
    parameters: dict[str, tuple[float, str]]
    rules: dict[str, tuple[str, str]]


def network(kin: Kinetics) -> Network:
    """Pools that can be filled, and the reactions between them that have a rate, of one patient.

    Raises:
        InputError: several patients, names that are no identifiers, numbers out of range.
    """
    check(kin)
    kin = jax.tree.map(np.asarray, kin)
    regions = {o: tuple(f"{o}_{pool}" for pool in _filled(kin, o)) for o in kin.organs}
    regions |= {"venous": ("venous",), "arterial": ("arterial",)}
    regions |= {"protein": ("protein",)} if _common(kin, "protein_binding") > 0 else {}
    pools = {pool: _compartment(pool) for region in regions.values() for pool in region}
    pools |= dict.fromkeys(ENDS, OUTSIDE)
    parameters = _parameters(kin)
    zero = {name for name, (value, _) in parameters.items() if value == 0}
    runs = lambda r: {r.source, r.target} <= set(pools) and not zero & set(NAME.findall(r.rate))
    reactions = tuple(r for r in _reactions(kin) if runs(r))
    used = set(NAME.findall(" ".join(r.rate for r in reactions)))
    rules = {name: rule for name, rule in _rules(kin).items() if name in used}
    formulas = " ".join([*used, *(formula for formula, _ in rules.values()), "decay"])
    named = set(NAME.findall(formulas))
    parameters = {name: row for name, row in parameters.items() if name in named}
    return Network(_volumes(kin, pools), pools, regions, reactions, parameters, rules)


def _filled(kin: Kinetics, organ: str) -> tuple[str, ...]:
    """The pools of an organ that ligand can reach at all: a brain without permeability has plasma only."""
    at = lambda field: _of(kin, field, organ)
    interstitial = at("permeability") + at("filtration") > 0
    bound = interstitial and at("receptors") * _common(kin, "k_on") > 0
    reached = {
        "vascular": True,
        "interstitial": interstitial,
        "transit": at("filtration") * (1 - _common(kin, "excreted_fraction")) > 0,
        "bound": bound,
        "internalised": (bound and at("internalisation") > 0) or (interstitial and at("nonsaturable") > 0),
    }
    return tuple(pool for pool, yes in reached.items() if yes)


def check(kin: Kinetics) -> None:
    """Refuse what cannot be written as the model of one patient."""
    if kin.patients != 1:
        do = "take one column: jax.tree.map(lambda x: x[..., k : k + 1], kinetics)"
        raise InputError(describe("kinetics: patients", str(kin.patients), "one, as SBML holds one model", do))
    odd = [o for o in kin.organs if not NAME.fullmatch(o) or kin.organs.count(o) > 1 or o in RESERVED]
    if odd or len(kin.organs) < FIRST_PORTAL + kin.portal_count:
        found = ", ".join(map(repr, odd)) or f"{len(kin.organs)} organs"
        expected = f"lungs, liver, {kin.portal_count} portal organs and others, each once, of letters, digits and _"
        raise InputError(describe("kinetics.organs", found, expected, "rename the organs (see dose.regions)"))
    for field in (*ORGAN_UNITS, *COMMON_UNITS, *VOLUMES):
        _check_field(kin, field)


def _check_field(kin: Kinetics, field: str) -> None:
    values = np.asarray(getattr(kin, field), float)[..., 0]
    highest = 1.0 if field in FRACTIONS else np.finfo(float).max
    good = (values > 0 if field in VOLUMES else values >= 0) & (values <= highest)
    if not np.all(good):
        at = int(np.argmin(good))
        where = f" of {kin.organs[at]}" if values.ndim else ""
        expected = "above 0" if field in VOLUMES else "0 to 1" if highest == 1 else "a finite number, 0 or more"
        do = "check how these kinetics were made (pbpk.scaling.kinetics)"
        raise InputError(describe(f"kinetics.{field}{where}", f"{values.flat[at]:g}", expected, do))


def _of(kin: Kinetics, field: str, organ: str) -> float:
    return float(getattr(kin, field)[kin.organs.index(organ), 0])


def _common(kin: Kinetics, field: str) -> float:
    return float(getattr(kin, field)[0])


def _compartment(pool: str) -> str:
    """Ligand on and in cells is listed under the interstitium, the protein pool under the vein: these are amounts."""
    return re.sub("_(bound|internalised)$", "_interstitial", "venous" if pool == "protein" else pool)


def _volumes(kin: Kinetics, pools: dict[str, str]) -> dict[str, float]:
    fluids = ("vascular", "interstitial", "transit")
    sizes = {f"{o}_{fluid}": _of(kin, fluid, o) for o in kin.organs for fluid in fluids}
    sizes |= {"venous": _common(kin, "venous"), "arterial": _common(kin, "arterial"), OUTSIDE: 1.0}
    return {name: size for name, size in sizes.items() if name in pools.values()}


def _parameters(kin: Kinetics) -> dict[str, tuple[float, str]]:
    organ = {f"{o}_{f}": (_of(kin, f, o), unit) for o in kin.organs for f, unit in ORGAN_UNITS.items()}
    return {f: (_common(kin, f), unit) for f, unit in COMMON_UNITS.items()} | organ


def _rules(kin: Kinetics) -> dict[str, tuple[str, str]]:
    """Flows through lungs and liver, what is not excreted, and the receptors that neither hot nor cold ligand holds."""
    liver, portal = kin.organs[LIVER], kin.organs[FIRST_PORTAL : FIRST_PORTAL + kin.portal_count]
    total = lambda organs: (" + ".join(f"{o}_plasma_flow" for o in organs), "litre_per_minute")
    free = lambda o: (f"{o}_receptors - {o}_bound_hot - {o}_bound_cold", "nmol")
    return {
        "total_plasma_flow": total(kin.organs[LIVER:]),
        f"{liver}_outflow": total((liver, *portal)),
        "reabsorbed_fraction": ("1 dimensionless - excreted_fraction", "dimensionless"),
        "on_albumin": ("1 dimensionless - unbound_fraction", "dimensionless"),
        **{f"{o}_lost_fraction": (f"1 dimensionless - {o}_returned_fraction", "dimensionless") for o in kin.organs},
        "outside_bile": ("1 dimensionless - biliary_fraction", "dimensionless"),
        **{f"{o}_free_receptors": free(o) for o in kin.organs if "bound" in _filled(kin, o)},
    }


def _reactions(kin: Kinetics) -> Iterator[Reaction]:
    yield Reaction("protein_association", "venous", "protein", "unbound_fraction * protein_binding")
    yield Reaction("protein_dissociation", "protein", "venous", "protein_return")
    for k, organ in enumerate(kin.organs):
        yield from _perfusion(kin, k, organ)
        yield from _exchange(organ)
        yield from _cells(organ)
        yield from _release(organ, k == LIVER)


def _perfusion(kin: Kinetics, k: int, o: str) -> Iterator[Reaction]:
    """The lungs take the whole flow from the vein; portal organs drain into the liver, all others into the vein."""
    into = out = f"{o}_plasma_flow"
    source, drain = "arterial", "venous"
    if k == LUNGS:
        into, out, source, drain = "total_plasma_flow", "total_plasma_flow", "venous", "arterial"
    elif k == LIVER:
        out = f"{o}_outflow"
    elif k < FIRST_PORTAL + kin.portal_count:
        drain = f"{kin.organs[LIVER]}_vascular"
    yield Reaction(f"{o}_perfusion", source, f"{o}_vascular", f"{into} / {source}")
    yield Reaction(f"{o}_drainage", f"{o}_vascular", drain, f"{out} / {o}_vascular")


def _exchange(o: str) -> Iterator[Reaction]:
    """Permeability between plasma and interstitium; filtration into tubules, and from there to urine or back."""
    plasma, tissue, transit = f"{o}_vascular", f"{o}_interstitial", f"{o}_transit"
    yield Reaction(f"{o}_extravasation", plasma, tissue, f"unbound_fraction * {o}_permeability / {plasma}")
    yield Reaction(f"{o}_albumin_leak", plasma, tissue, f"on_albumin * {o}_albumin_permeability / {plasma}")
    yield Reaction(f"{o}_intravasation", tissue, plasma, f"{o}_permeability / {tissue}")
    yield Reaction(f"{o}_glomerular_filtration", plasma, tissue, f"unbound_fraction * {o}_filtration / {plasma}")
    yield Reaction(f"{o}_excretion", tissue, "urine", f"excreted_fraction * {o}_filtration / {tissue}")
    yield Reaction(f"{o}_reabsorption", tissue, transit, f"reabsorbed_fraction * {o}_filtration / {tissue}")
    yield Reaction(f"{o}_transit_return", transit, plasma, f"reabsorbed_fraction * {o}_filtration / {transit}")


def _cells(o: str) -> Iterator[Reaction]:
    """Receptors, internalisation, and uptake that needs no receptor."""
    tissue, bound, inside = f"{o}_interstitial", f"{o}_bound", f"{o}_internalised"
    yield Reaction(f"{o}_association", tissue, bound, f"k_on * {o}_free_receptors / {tissue}")
    yield Reaction(f"{o}_dissociation", bound, tissue, "k_off")
    yield Reaction(f"{o}_endocytosis", bound, inside, f"{o}_internalisation")
    yield Reaction(f"{o}_uptake", tissue, inside, f"{o}_nonsaturable")


def _release(o: str, is_liver: bool) -> Iterator[Reaction]:
    """What cells let go: back to the interstitium, into bile, or lost otherwise."""
    tissue, inside, lost = f"{o}_interstitial", f"{o}_internalised", f"{o}_lost_fraction * {o}_release"
    yield Reaction(f"{o}_return", inside, tissue, f"{o}_release * {o}_returned_fraction")
    yield Reaction(f"{o}_clearance", inside, "released", f"outside_bile * {lost}" if is_liver else lost)
    if is_liver:
        yield Reaction(f"{o}_biliary_clearance", inside, "bile", f"biliary_fraction * {lost}")
