"""Decay of a nuclide and its progeny: activities and decays over time, in JAX, for any chain of ICRP 107.

Atoms follow N' = A N with A = (B - 1) Lambda - beta: B holds the branching, Lambda the decay constants, beta a
biological removal. Textbook sums of exponentials cancel when two constants are close, and half-lives here go from
0.3 us to 1e17 y, so exp(A t) is built another way: a Taylor step over t / 2^128, doubled 128 times. All entries of the
matrices are positive, so nothing cancels, and the diagonal is put in exactly at each doubling, so rounding adds up
instead of multiplying (Xue and Ye, Numer Math 2013;124:137 for the first, Al-Mohy and Higham, SIAM J Matrix Anal Appl
2009;31:970 for the second; both recalled). Decays are counted by a second matrix that is doubled along.

All results are linear in the activities and can be differentiated in activity, time and half-life. Float64 is needed.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import HOURS, radionuclide
from dose.progeny import Initial, chain, given

DOUBLINGS = 128
"""1e12 y are 2^86 lives of 212Po (0.3 us): a step of 1e-12 of the shortest life, to begin with."""
LONGEST_H = 1e12 * HOURS["y"]
"""Times beyond are refused: the doublings would not reach them, and the universe is younger."""
BOUNDS = {
    "initial activity in MBq": (lambda x: (x >= 0) & jnp.isfinite(x), "0 or more, finite"),
    "time_h": (lambda x: (x >= 0) & (x <= LONGEST_H), f"0 to {LONGEST_H:.2g} h"),
    "half_life_h": (lambda x: (x > 0) & jnp.isfinite(x), "above 0 h and finite"),
    "biological_half_life_h": (lambda x: x > 0, "above 0 h"),
}
"""What each number may be."""


def activities_MBq(
    initial: Initial,
    time_h: Float[Array, " time"] | float,
    *,
    follow: float = math.inf,
    half_life_h: Mapping[str, float] | None = None,
    biological_half_life_h: float | Mapping[str, float] = math.inf,
) -> dict[str, Float[Array, " time"]]:
    """Activity of every nuclide of the chain at `time_h`, by name, mothers before daughters.

    `initial` is a nuclide (of 1 MBq) or activities at time 0, which may hold an impurity; `follow` as in
    `dose.progeny.chain`; `half_life_h` replaces half-lives of the table by name; `biological_half_life_h` removes
    every nuclide alike, or those of a mapping each at its own.

    Raises:
        InputError: unknown nuclide, a negative or not finite activity, time or half-life (NaN in the result where jit
            hides the value), or float32 arithmetic.
    """
    problem = _problem(initial, follow, half_life_h, biological_half_life_h)
    return _by_name(problem, time_h, decays=False)


def cumulated_MBq_h(
    initial: Initial,
    time_h: Float[Array, " time"] | float = math.inf,
    *,
    follow: float = math.inf,
    half_life_h: Mapping[str, float] | None = None,
    biological_half_life_h: float | Mapping[str, float] = math.inf,
) -> dict[str, Float[Array, " time"]]:
    """Decays of every nuclide of the chain from 0 to `time_h`; arguments as of `activities_MBq`.

    As it stands all decays, however late: a daughter of 33 years counts in full unless `follow` leaves it out.

    Raises:
        InputError: as `activities_MBq`.
    """
    problem = _problem(initial, follow, half_life_h, biological_half_life_h)
    if isinstance(time_h, float) and time_h == math.inf:
        return _all_decays(problem)
    return _by_name(problem, time_h, decays=True)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Arrays of a chain: start [nuclide] in MBq, decay and biological rates [nuclide] per h, branching."""

    names: tuple[str, ...]
    start_MBq: Array
    decay_per_h: Array
    removal_per_h: Array
    branching: np.ndarray


def _problem(initial: Initial, follow: float, half_life_h, biological_half_life_h) -> _Problem:
    if not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        do = 'call jax.config.update("jax_enable_x64", True) first'
        raise InputError(describe("arithmetic", "float32", "float64: chains span 30 powers of ten", do))
    found = chain(initial, follow)
    start = dict.fromkeys(found.names, 0.0) | {entry.name: value for entry, value in given(initial).items()}
    lives = dict(zip(found.names, found.half_life_h, strict=True)) | _named(half_life_h or {}, found.names)
    removal = dict.fromkeys(found.names, biological_half_life_h)
    if isinstance(biological_half_life_h, Mapping):
        removal = dict.fromkeys(found.names, math.inf) | _named(biological_half_life_h, found.names)
    column = lambda field, value: _checked(field, jnp.stack([jnp.asarray(value[name], float) for name in found.names]))
    return _Problem(
        found.names,
        column("initial activity in MBq", start),
        math.log(2) / column("half_life_h", lives),
        math.log(2) / column("biological_half_life_h", removal),
        np.array(found.branching),
    )


def _named(values: Mapping, names: tuple[str, ...]) -> dict:
    found = {radionuclide(name).name: value for name, value in values.items()}
    for name in found:
        if name not in names:
            expected = f"a nuclide of the chain ({', '.join(names)})"
            raise InputError(describe("half-life of", name, expected, "leave it out"))
    return found


def _checked(field: str, value: Array) -> Array:
    """The value; refused where it is impossible, NaN there under jit."""
    allows, expected = BOUNDS[field]
    good = allows(value)
    if isinstance(good, Tracer):
        return jnp.where(good, value, jnp.nan)
    if not bool(good.all()):
        wrong = np.asarray(value)[~np.asarray(good)].flat[0]
        raise InputError(describe(field, f"{wrong:g}", expected, "check the value and its unit"))
    return value


def _all_decays(problem: _Problem) -> dict[str, Array]:
    """Decays of each nuclide to the end: what is born or there at first, times the part that is not removed."""
    decayed = problem.decay_per_h / (problem.decay_per_h + problem.removal_per_h)
    atoms, found = problem.start_MBq / problem.decay_per_h, []
    for k, row in enumerate(problem.branching):
        born = sum((part * found[j] for j, part in enumerate(row[:k]) if part), jnp.zeros(()))
        found.append(decayed[k] * (atoms[k] + born))
    return dict(zip(problem.names, found, strict=True))


def _by_name(problem: _Problem, time_h, decays: bool) -> dict[str, Array]:
    time = _checked("time_h", jnp.asarray(time_h, float))
    arrays = (problem.start_MBq, problem.decay_per_h, problem.removal_per_h, problem.branching)
    found = _solve(*arrays, time.ravel(), decays)
    return {name: found[:, k].reshape(time.shape) for k, name in enumerate(problem.names)}


@partial(jax.jit, static_argnames="decays")
def _solve(start_MBq, decay_per_h, removal_per_h, branching, time_h, decays: bool) -> Float[Array, "time nuclide"]:
    atoms = start_MBq / decay_per_h
    left, decayed = jax.vmap(lambda t: _propagators(decay_per_h, removal_per_h, branching, t))(time_h)
    return decayed @ atoms if decays else decay_per_h * (left @ atoms)


def _propagators(decay_per_h, removal_per_h, branching, time_h):
    """exp(A t) [to, from], and the decays of each nuclide per atom of another from 0 to t."""
    loss, births = decay_per_h + removal_per_h, branching * decay_per_h
    step = time_h / 2.0**DOUBLINGS
    left, decayed = _first_step(loss, births, decay_per_h, step)

    def doubled(carry, _):
        left, decayed, step = carry
        decayed = decayed @ left + decayed
        left = _with_diagonal(left @ left, jnp.exp(-2 * step * loss))
        return (left, decayed, 2 * step), None

    (left, decayed, _), _ = jax.lax.scan(doubled, (left, decayed, step), None, length=DOUBLINGS)
    return left, decayed


def _first_step(loss, births, decay_per_h, step):
    """Taylor series to second order in loss times step, a small number: see `DOUBLINGS`."""
    rates = births - jnp.diag(loss)
    whole = jnp.eye(len(loss))
    left = whole + step * rates + step**2 / 2 * rates @ rates
    decayed = decay_per_h[:, None] * step * (whole + step / 2 * rates + step**2 / 6 * rates @ rates)
    return _with_diagonal(left, jnp.exp(-step * loss)), decayed


def _with_diagonal(matrix, diagonal):
    return matrix * (1 - jnp.eye(len(diagonal))) + jnp.diag(diagonal)
