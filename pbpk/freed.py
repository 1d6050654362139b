"""What a daughter does after the decay that made it: is held where it was born, or free to move, each with its doubt.

Rows of `data/daughters.csv`: `held` (part that stays to its own decay, by kind of region), `chelate_kept` (part that a
beta or electron-capture decay of the labelled nuclide leaves in the chelate), `escape` (rate at which a free atom
leaves tissue for plasma) and `transfer` (exchange of the free element, `pbpk.elements`). Most spreads and every held
fraction are assumptions, and say so in the table. How sure they are: docs/daughters.md.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Callable, Mapping
from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.provenance import load_table
from dose.regions import members, region
from pbpk.elements import BLOOD, EXCRETA, HOURS_PER_DAY, Element, compartments, kind, share


class Redistribution(eqx.Module):
    """Everything that decides where daughters decay, for given regions; all rates per h, fractions 0 to 1."""

    held: Float[Array, "region ..."]
    chelate_kept: Float[Array, " ..."]
    elements: dict[str, Element]
    regions: tuple[str, ...] = eqx.field(static=True)


@cache
def _rows(parameter: str) -> tuple[dict[str, str], ...]:
    return tuple(row for row in load_table("pbpk", "daughters.csv") if row["parameter"] == parameter)


def typical(regions: tuple[str, ...], masses_g: Mapping[str, float]) -> Redistribution:
    """The table's central values for these regions.

    `masses_g` shares what an element gives to two kidneys, or to "other" tissues, in proportion to mass.

    Raises:
        InputError: an unknown region, regions that overlap, no "blood" among them, a mass missing or not above zero,
            or no region that stands for the rest of the body.
    """
    return _build(regions, masses_g, lambda row, group: jnp.asarray(float(row["value"])))


def draw(key: Array, regions: tuple[str, ...], masses_g: Mapping[str, float], draws: int) -> Redistribution:
    """Random values, one per draw on a trailing axis: beta for fractions, log-normal for rates.

    Rows of one element that lead to the same kind of region move together; a region added or left out changes no
    other draw.

    Raises:
        InputError: as `typical`, or fewer than one draw.
    """
    if draws < 1:
        raise InputError(describe("draws", f"{draws}", "one or more", "ask for at least one draw"))

    def value(row, group):
        own = jax.random.fold_in(key, zlib.crc32(group.encode()))
        return _random(own, row, draws)

    return _build(regions, masses_g, value)


def _random(key: Array, row: dict[str, str], draws: int) -> Float[Array, " draw"]:
    mean, cv = float(row["value"]), float(row["cv"])
    if cv == 0:
        return jnp.full(draws, mean)
    if row["parameter"] in ("held", "chelate_kept"):
        size = (1 - mean) / (mean * cv**2) - 1
        return jax.random.beta(key, mean * size, (1 - mean) * size, (draws,))
    return mean * jnp.exp(math.sqrt(math.log1p(cv**2)) * jax.random.normal(key, (draws,)))


def _build(regions, masses_g, value: Callable) -> Redistribution:
    names, mass = _checked(regions, masses_g)
    held = {row["target"]: row for row in _rows("held")}
    kinds = [kind(name) if kind(name) in held else "default" for name in names]
    return Redistribution(
        held=jnp.stack([value(held[k], f"held {k}") for k in kinds]),
        chelate_kept=value(_rows("chelate_kept")[0], "chelate_kept"),
        elements={row["element"]: _element(row, names, mass, value) for row in _rows("escape")},
        regions=names,
    )


def _element(escape: dict[str, str], names, mass, value: Callable) -> Element:
    mine = [row for row in _rows("transfer") if row["element"] == escape["element"]]
    paths = tuple((row["source"], row["target"]) for row in mine)
    return Element(
        rate_per_h=jnp.stack([value(row, _group(row)) for row in mine]) / HOURS_PER_DAY,
        escape_per_h=value(escape, f"{escape['element']} escape") / HOURS_PER_DAY,
        share=share(names, mass, compartments(paths)),
        paths=paths,
    )


def _group(row: dict[str, str]) -> str:
    """Rows of one group get the same random number: one element, one source, one kind of region."""
    target = row["target"] if row["target"].startswith(EXCRETA) else row["target"].split("/")[0]
    return f"{row['element']} {row['source']} to {target}"


def _checked(regions, masses_g) -> tuple[tuple[str, ...], np.ndarray]:
    names, masses = tuple(map(region, regions)), {region(name): mass for name, mass in masses_g.items()}
    parts = [part for name in names for part in members(name)]
    if len(set(parts)) < len(parts) or BLOOD not in names or "whole_body" in names:
        expected = 'regions that do not overlap, "blood" among them'
        raise InputError(describe("regions", ", ".join(names), expected, "correct the list"))
    for name in names:
        mass = masses.get(name, math.nan)
        if not (math.isfinite(mass) and mass > 0):
            raise InputError(describe(f"mass_g of {name}", f"{mass}", "a mass above zero", "give every region a mass"))
    return names, np.array([float(masses[name]) for name in names])
