"""Where the daughters of an alpha emitter decay: time-integrated activity of each nuclide of a chain, region by region.

A daughter is born where its mother decayed. The part `held` stays to its own decay; the rest is free and leaves the
region for plasma at the rate `escape`, in competition with its own decay (so a daughter of milliseconds decays where it
was born, whatever its retention, without a list of exceptions). From plasma a free element follows linear kinetics.

All is linear, so time integrals need no time course: births are branching times the mother's TIA, and a free element's
fate is one solve (`pbpk.elements`). Equations, sources and limits: docs/daughters.md.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, known_nuclides, radionuclide
from dose.provenance import load_table
from pbpk.elements import BLOOD, ROUTES, fates
from pbpk.freed import Redistribution

OUTLIVES = 10
"""A daughter is followed while it lives less than this many parent half-lives, as in dose.organ (a test compares)."""
LOCAL_HALF_LIFE_H = 5 / 3600
"""An element without kinetics may live this long (5 s): its free atoms decay where they are born. At and Po
of the followed chains live less than 1 s."""


class Link(NamedTuple):
    """A daughter and its mothers with the branching of each."""

    nuclide: Radionuclide
    mothers: tuple[tuple[str, float], ...]


class ChainTIA(eqx.Module):
    """Time-integrated activity of parent and daughters in MBq h, the parent first, mothers before daughters.

    `outside` counts decays of atoms that were excreted, and of their progeny.
    """

    inside: Float[Array, "nuclide region ..."]
    outside: Float[Array, "nuclide route ..."]
    nuclides: tuple[str, ...] = eqx.field(static=True)
    regions: tuple[str, ...] = eqx.field(static=True)
    routes: tuple[str, ...] = eqx.field(static=True, default=ROUTES)

    @property
    def tia_MBq_h(self) -> dict[str, Float[Array, "region ..."]]:
        """By nuclide, as `dose.chains.chain_dose` takes it."""
        return dict(zip(self.nuclides, self.inside, strict=True))

    @property
    def left_MBq_h(self) -> dict[str, Float[Array, "route ..."]]:
        """Decays outside of the tissues by nuclide."""
        return dict(zip(self.nuclides, self.outside, strict=True))


@cache
def chain(parent: str) -> tuple[Link, ...]:
    """The daughters of a nuclide that are followed, mothers before daughters.

    Raises:
        InputError: unknown nuclide, or one without a daughter that decays soon enough to matter.
    """
    links = _links(radionuclide(parent).name)
    if not links:
        expected = "the parent of a chain, as 225Ac, 212Pb, 223Ra or 211At"
        raise InputError(describe("chain", f'"{parent}"', expected, "use its dose without daughters"))
    return links


@cache
def is_followed(parent: str) -> bool:
    """Whether `daughters` takes a nuclide: it has a chain whose members have kinetics or live too short to move.

    Raises:
        InputError: unknown nuclide.
    """
    rows = {row["element"] for row in load_table("pbpk", "daughters.csv") if row["parameter"] == "escape"}
    links = _links(radionuclide(parent).name)
    return bool(links) and all(_element(link.nuclide) in rows or not is_mobile(link.nuclide) for link in links)


def _links(parent: str) -> tuple[Link, ...]:
    first = radionuclide(parent)
    order = list(reversed(_last_first(first.name, first, [])))
    branches = [(m, d, b) for m in order for d, b in radionuclide(m).progeny if d in order]
    return tuple(Link(radionuclide(x), tuple((m, b) for m, d, b in branches if d == x)) for x in order[1:])


def _last_first(name: str, parent: Radionuclide, seen: list[str]) -> list[str]:
    """Depth first: a nuclide is appended after everything it leads to."""
    for daughter, _ in radionuclide(name).progeny:
        known = daughter in known_nuclides() and daughter not in seen
        if known and radionuclide(daughter).half_life_h < OUTLIVES * parent.half_life_h:
            _last_first(daughter, parent, seen)
    seen.append(name)
    return seen


def daughters(parent: str, tia_MBq_h: Float[Array, "region ..."], redistribution: Redistribution) -> ChainTIA:
    """TIA of every daughter in every region, from that of the parent.

    Draw axes trail and broadcast as numpy's do: a TIA [region, cycle, draw] goes with parameters [region, draw]. Can be
    differentiated in the TIA and in every field of `redistribution` but `share`.

    Raises:
        InputError: unknown chain, TIA of another number of regions or below zero, retention outside 0 to 1, a negative
            rate, or a free element that lives long enough to move and has no kinetics. Under jit, values give
            NaN or equinox's runtime error, as EQX_ON_ERROR says.
    """
    chain(parent)
    tia_MBq_h, redistribution = _checked(jnp.asarray(tia_MBq_h, float), redistribution)
    return _follow(radionuclide(parent).name, tia_MBq_h, redistribution)


@eqx.filter_jit
def _follow(parent: str, tia_MBq_h: Float[Array, "region ..."], redistribution: Redistribution) -> ChainTIA:
    inside, outside = {parent: tia_MBq_h}, {parent: jnp.zeros((len(ROUTES), *tia_MBq_h.shape[1:]))}
    for link in chain(parent):
        held = free = left = jnp.zeros(())
        for mother, branching in link.mothers:
            stays = _stays(parent, mother, link.nuclide, redistribution, tia_MBq_h.ndim)
            held = held + branching * stays * inside[mother]
            free = free + branching * (1 - stays) * inside[mother]
            left = left + branching * outside[mother]
        settled, excreted = _spread(link.nuclide, free, redistribution)
        inside[link.nuclide.name] = held + settled
        outside[link.nuclide.name] = left + excreted
    stack = lambda found: jnp.stack(jnp.broadcast_arrays(*found.values()))
    return ChainTIA(stack(inside), stack(outside), tuple(inside), redistribution.regions)


def _stays(parent: str, mother: str, daughter: Radionuclide, redistribution: Redistribution, ndim: int):
    """Part of the daughter's atoms that stay where born; the chelate may keep one born in it without recoil."""
    held = _align(redistribution.held, ndim)
    if mother == parent and _mass_number(mother) == _mass_number(daughter.name):
        held = held + (1 - held) * redistribution.chelate_kept
    return held


def _mass_number(name: str) -> int:
    return int("".join(c for c in name.rstrip("m") if c.isdigit()))


def _align(x, ndim: int):
    """Put axes of length 1 behind the first, so that draws stay last."""
    return x.reshape(x.shape[0], *(1,) * (ndim - x.ndim), *x.shape[1:])


def _spread(nuclide: Radionuclide, free: Float[Array, "region ..."], redistribution: Redistribution):
    """TIA of free atoms by region and by route, from where they are born (both in MBq h)."""
    element = redistribution.elements.get(_element(nuclide))
    if element is None:
        _refuse_mobile(nuclide)
        return free, jnp.zeros((len(ROUTES), *free.shape[1:]))
    decay = nuclide.decay_constant_per_h
    in_blood = _align(jnp.asarray([float(r == BLOOD) for r in redistribution.regions]), free.ndim)
    escaped = element.escape_per_h / (decay + element.escape_per_h)
    escaped = in_blood + (1 - in_blood) * escaped
    plasma = jnp.sum(escaped * free, axis=0)
    settled, excreted = fates(element, decay)
    ndim = max(free.ndim, plasma.ndim + 1)
    return (1 - escaped) * free + _align(settled, ndim) * plasma, _align(excreted, ndim) * plasma


def _element(nuclide: Radionuclide) -> str:
    return nuclide.name.lstrip("0123456789m")


def is_mobile(nuclide: Radionuclide) -> bool:
    """Whether its atoms live long enough for a free one to leave the region where it was born."""
    return nuclide.half_life_h > LOCAL_HALF_LIFE_H


def _refuse_mobile(nuclide: Radionuclide) -> None:
    if is_mobile(nuclide):
        found = f"{nuclide.name}, half-life {nuclide.half_life_h:.3g} h, without kinetics of its element"
        do = "add escape and transfer rows of the element to pbpk/data/daughters.csv"
        raise InputError(describe("free daughter", found, f"under {LOCAL_HALF_LIFE_H:.2g} h to decay in place", do))


def _checked(tia_MBq_h, redistribution: Redistribution):
    """The same values, refused where they are impossible."""
    count = len(redistribution.regions)
    if tia_MBq_h.ndim == 0 or tia_MBq_h.shape[0] != count:
        found = f"shape {tia_MBq_h.shape}"
        raise InputError(describe("tia_MBq_h", found, f"{count} regions on the first axis", "order them as regions"))
    tia_MBq_h = _within(tia_MBq_h, np.inf, "tia_MBq_h")
    for get, high, field in (
        (lambda r: r.held, 1.0, "held"),
        (lambda r: r.chelate_kept, 1.0, "chelate_kept"),
        (lambda r: [x for e in r.elements.values() for x in (e.rate_per_h, e.escape_per_h)], np.inf, "rates"),
    ):
        redistribution = eqx.tree_at(get, redistribution, replace_fn=lambda x, h=high, f=field: _within(x, h, f))
    return tia_MBq_h, redistribution


def _within(value, high: float, field: str):
    good = (value >= 0) & (value <= high) & jnp.isfinite(value)
    text = lambda found: describe(field, found, f"0 to {high:g}, finite", "check the value and its unit")
    if isinstance(good, Tracer):
        return eqx.error_if(value, jnp.any(~good), text("a value outside"))
    if not good.all():
        raise InputError(text(f"{np.asarray(value)[~np.asarray(good)][0]:g}"))
    return value
