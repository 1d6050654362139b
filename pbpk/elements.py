"""A free element in the body: linear exchange of plasma with organs and excreta, in closed form.

With rates that don't change, N' = K N - lambda N + b, and the time integrals obey (lambda - K) int N = int b: no time
grid, one small solve for an element and draw. The compartments and rates are rows of `data/daughters.csv`.
"""

from __future__ import annotations

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.regions import is_tumour, region

BLOOD, EXCRETA = "blood", "excreta/"
ROUTES = ("urine", "faeces", "breath", "sweat")
"""Ways out of the tissues; bladder and bowel contents count as outside."""
HOURS_PER_DAY = 24
KINDS = {"kidney": "kidneys", "parotid": "salivary", "submandibular": "salivary", "lacrimal": "salivary"}
"""Kind of region by the beginning of its name, for the rows that several regions share."""


class Element(eqx.Module):
    """Linear kinetics of a free element; each field may carry trailing draw axes.

    `share` says which part of each compartment lies in which region; `paths` are (from, to) compartment names.
    """

    rate_per_h: Float[Array, "path ..."]
    escape_per_h: Float[Array, " ..."]
    share: Float[np.ndarray, "region compartment"]
    paths: tuple[tuple[str, str], ...] = eqx.field(static=True)


def kind(name: str) -> str:
    """The kind of region a row of the table speaks of: "kidney_left" is kidneys, "tumour_3" tumour."""
    word = region(name)
    shared = next((meant for begin, meant in KINDS.items() if word.startswith(begin)), word)
    return "tumour" if is_tumour(name) else shared


def compartments(paths: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """Compartments of an element in order of first mention, plasma ("blood") first; excreta are none."""
    named = (name for path in paths for name in path if not name.startswith(EXCRETA))
    return tuple(dict.fromkeys((BLOOD, *named)))


def share(names, mass, places) -> Float[np.ndarray, "region compartment"]:
    """Parts of each compartment by region: by mass within its kind; a kind that no region has counts as other."""
    kinds, wanted = np.array([kind(name) for name in names]), [place.split("/")[0] for place in places]
    rest = ~np.isin(kinds, wanted)
    weights = np.stack([np.where(kinds == w if w in kinds else rest, mass, 0.0) for w in wanted], axis=1)
    total = weights.sum(axis=0)
    if not total.all():
        expected = 'a region for the rest of the body, as "remainder"'
        raise InputError(describe("regions", ", ".join(names), expected, "add it with its mass"))
    return weights / total


def fates(element: Element, decay_per_h: float):
    """Where atoms that enter plasma decay: parts by region and, once excreted, by route; together they sum to 1."""
    places, rates = compartments(element.paths), element.rate_per_h
    flow = jnp.einsum("pij,p...->ij...", _incidence(element.paths, places), rates)
    integral = _from_plasma(decay_per_h * jnp.eye(len(places)).reshape(flow.shape[:2] + (1,) * (rates.ndim - 1)) - flow)
    start = np.array([places.index(source) for source, _ in element.paths])
    exits = np.array([[float(target == EXCRETA + route) for _, target in element.paths] for route in ROUTES])
    settled = decay_per_h * jnp.tensordot(element.share, integral, 1)
    return settled, jnp.tensordot(exits, rates * integral[start], 1)


def _from_plasma(matrix: Float[Array, "to from ..."]) -> Float[Array, "place ..."]:
    """Solution of matrix N = (1, 0, 0, ...): compartments are eliminated one by one, the last first, then filled again.

    No pivots are needed: lambda - K is dominated by its diagonal in each column. jnp.linalg.solve isn't used, because a
    program with several batched ones was seen to hang on two cores (jax 0.10.2).
    """
    order = jnp.arange(matrix.shape[0])
    before = lambda k: jnp.reshape(order < k, (-1,) + (1,) * (matrix.ndim - 2))

    def eliminate(reduced, k):
        down = jnp.where(before(k), -reduced[k] / reduced[k, k], 0.0)
        return reduced + jnp.where(before(k), reduced[:, k], 0.0)[:, None] * down[None], down

    def fill(filled, step):
        k, down = step
        return filled.at[k].set(jnp.sum(down * filled, axis=0)), None

    reduced, downs = jax.lax.scan(eliminate, matrix, order[:0:-1])
    plasma = jnp.zeros(matrix.shape[1:]).at[0].set(1 / reduced[0, 0])
    return jax.lax.scan(fill, plasma, (order[1:], downs[::-1]))[0]


@cache
def _incidence(paths, places) -> Float[np.ndarray, "path to from"]:
    """What a unit rate of each path adds to the matrix K of N' = K N."""
    found = np.zeros((len(paths), len(places), len(places)))
    for k, (source, target) in enumerate(paths):
        found[k, places.index(source), places.index(source)] -= 1
        if target in places:
            found[k, places.index(target), places.index(source)] += 1
    return found
