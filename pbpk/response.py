"""Response of tumours to their dose rate: cells that proliferate, cells with sublethal damage, cells that die.

With dose rate R and mass M = P + S + L of the three pools (docs/response.md derives the limits):

    P' = G(M) P - (alpha + 2 p) R P + mu S      G = g ln(K/M) (Gompertz) or ln 2 / doubling time (exponential)
    S' = 2 p R P - (alpha + p) R S - mu S
    L' = alpha R P + (alpha + p) R S - c L

A cell has two targets: one hit is sublethal and may be repaired, the second kills, and alpha kills at once. A short
dose D leaves exp(-alpha D) (1 - (1 - exp(-p D))^2), which is the linear-quadratic model with beta = p^2 while p D is
small; a protracted one carries the Lea-Catcheside factor of repair rate mu.

Solved are ln P, S/P, L, dose and kill, so that a survival of e^-100 is as exact as one of a half. Constants and names
of the pools: pbpk/data/response.csv (illustrative, not validated); the equations are our reading of them.
"""

from __future__ import annotations

from typing import NamedTuple

import diffrax
import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.provenance import load_table
from pbpk.compiled import compiled
from pbpk.levers import known

GROWTH = ("gompertz", "exponential", "none")
RTOL = 1e-9
ATOL = 1e-11
"""Of quantities whose scale is 1: logs, ratios, masses over the reference mass."""
MAX_STEPS = 200_000
MIN_PER_DAY = 1440.0


class Response(eqx.Module):
    """Parameters of the response, each an array of no axes, [tumour, 1] or [tumour, patient].

    `density_exponent` e makes receptor density go as (V/V0)^e; 0 keeps density, so receptors go with volume. Below
    `smallest_mass_g` dose per amount and kinetics no longer follow the mass: electrons leave so small a tumour.

    Raises:
        InputError: a negative or non-finite value, capacity not above zero, a growth law that is none of `GROWTH`.
    """

    alpha_per_Gy: Array
    hit_per_Gy: Array
    repair_per_min: Array
    growth_per_min: Array
    capacity_g: Array
    clearance_per_min: Array
    density_exponent: Array
    smallest_mass_g: Array
    growth: str = eqx.field(static=True, default="gompertz")

    def __check_init__(self):
        known("response: growth", self.growth, GROWTH)
        for name, value in vars(self).items():
            if name != "growth":
                require(value, f"response: {name}", name in ("capacity_g", "smallest_mass_g"))

    @property
    def beta_per_Gy2(self) -> Array:
        """The beta of the linear-quadratic model that the hits of a small acute dose amount to."""
        return jnp.square(self.hit_per_Gy)


class Cells(NamedTuple):
    """Masses of the pools in g, [tumour, patient]."""

    proliferating_g: Float[Array, "tumour patient"]
    sublethal_g: Float[Array, "tumour patient"]
    lethal_g: Float[Array, "tumour patient"]

    @property
    def mass_g(self):
        return self.proliferating_g + self.sublethal_g + self.lethal_g


class Exposure(NamedTuple):
    """Dose rate at the reference mass: at the edges of intervals, and its exact mean over each, in Gy/min.

    Within an interval it is the parabola with these ends and this mean, so the dose of every interval is exact.
    """

    edge_min: Float[Array, " edge"]
    at_edge_Gy_per_min: Float[Array, "edge tumour patient"]
    mean_Gy_per_min: Float[Array, "interval tumour patient"]

    def at(self, t_min):
        k = jnp.clip(jnp.searchsorted(self.edge_min, t_min, side="right") - 1, 0, len(self.edge_min) - 2)
        x = (t_min - self.edge_min[k]) / (self.edge_min[k + 1] - self.edge_min[k])
        left, right = self.at_edge_Gy_per_min[k], self.at_edge_Gy_per_min[k + 1]
        bulge = 6 * (self.mean_Gy_per_min[k] - (left + right) / 2)
        return left + (right - left) * x + bulge * x * (1 - x)


class Outcome(NamedTuple):
    """Cells at the end, dose with the mass of each moment (Gy), and the part of cells that the dose left alive.

    `surviving_fraction` leaves growth out: exp(-kill). All [tumour, patient].
    """

    cells: Cells
    dose_Gy: Float[Array, "tumour patient"]
    surviving_fraction: Float[Array, "tumour patient"]


def typical(growth: str = "gompertz", *, density_with_volume: bool = False, **changes) -> Response:
    """The response of pbpk/data/response.csv, with `changes` to named fields; exponential growth takes a doubling time.

    Raises:
        InputError: a change to an unknown field, or values that `Response` refuses.
    """
    fields = tuple(name for name in Response.__annotations__ if name != "growth")
    for name in changes:
        known("response", name, fields)
    exponential_per_min = np.log(2) / (published("doubling_time") * MIN_PER_DAY)
    rates_per_min = {"gompertz": published("gompertz_growth"), "exponential": exponential_per_min}
    values = {
        "alpha_per_Gy": published("alpha"),
        "hit_per_Gy": published("hit"),
        "repair_per_min": published("repair"),
        "growth_per_min": rates_per_min.get(growth, 0.0),
        "capacity_g": published("capacity"),
        "clearance_per_min": published("clearance"),
        "density_exponent": published("density_exponent") if density_with_volume else 0.0,
        "smallest_mass_g": published("smallest_mass"),
    }
    return Response(**{name: jnp.asarray(x, float) for name, x in (values | changes).items()}, growth=growth)


def published(parameter: str, column: str = "value") -> float:
    """A value of pbpk/data/response.csv, or the `low` or `high` end of its range."""
    rows = {row["parameter"]: row for row in load_table("pbpk", "response.csv")}
    known("response.csv", parameter, tuple(rows))
    return float(rows[parameter][column])


def require(value, field: str, above_zero: bool) -> None:
    """Refuse numbers that are not finite, negative, or (if so asked) zero."""
    numbers = np.asarray(value, float)
    good = np.isfinite(numbers) & ((numbers > 0) if above_zero else (numbers >= 0))
    if not good.all():
        expected = "finite numbers " + ("above zero" if above_zero else "of zero or more")
        raise InputError(describe(field, f"{numbers[~good].flat[0]:g}", expected, "check the value and its unit"))


def respond(
    response: Response, cells: Cells, exposure: Exposure, reference_mass_g: Float[Array, "tumour patient"]
) -> Outcome:
    """Cells after an exposure; dose rate goes as reference mass over mass (all the energy stays in the tumour).

    Dose and survival count from the start of this exposure. Tsit5 of diffrax, one step sequence for all.
    """
    return compiled(_respond)(response, cells, exposure, reference_mass_g)


def _respond(response: Response, cells: Cells, exposure: Exposure, reference_mass_g) -> Outcome:
    relative = Cells(*(x / reference_mass_g for x in cells))
    zero = jnp.zeros_like(relative.lethal_g)
    ratio = relative.sublethal_g / relative.proliferating_g
    y = jnp.stack([jnp.log(relative.proliferating_g), ratio, relative.lethal_g, zero, zero])
    span = exposure.edge_min[0], exposure.edge_min[-1]
    worst = lambda error: jnp.max(jnp.abs(error))
    adaptive = diffrax.PIDController(rtol=RTOL, atol=ATOL, norm=worst)
    control = diffrax.ClipStepSizeController(adaptive, step_ts=exposure.edge_min)  # none across a kink of the rate
    terms = diffrax.ODETerm(lambda t, y, args: _derivative(args, y, exposure.at(t), reference_mass_g))
    solver, first = diffrax.Tsit5(), None
    found = diffrax.diffeqsolve(
        terms, solver, *span, first, y, args=response, stepsize_controller=control, max_steps=MAX_STEPS
    )
    assert found.ys is not None
    log_p, ratio, lethal, dose_Gy, kill = found.ys[-1]
    alive_g = reference_mass_g * jnp.exp(log_p)
    return Outcome(Cells(alive_g, ratio * alive_g, reference_mass_g * lethal), dose_Gy, jnp.exp(-kill))


def _derivative(p: Response, y, rate_at_reference, reference_mass_g):
    """Derivatives of ln P, S/P, L over the reference mass, dose and kill."""
    log_p, ratio, lethal, _, _ = y
    alive = jnp.exp(log_p)
    mass = alive * (1 + ratio) + lethal
    rate = rate_at_reference / jnp.maximum(mass, p.smallest_mass_g / reference_mass_g)
    killing = (p.alpha_per_Gy + (p.alpha_per_Gy + p.hit_per_Gy) * ratio) * rate
    damage, repaired = 2 * p.hit_per_Gy * rate, p.repair_per_min * ratio
    d_log_p = _growth(p, mass * reference_mass_g) - p.alpha_per_Gy * rate - damage + repaired
    d_ratio = damage - (p.alpha_per_Gy + p.hit_per_Gy) * rate * ratio - repaired - ratio * d_log_p
    d_lethal = killing * alive - p.clearance_per_min * lethal
    return jnp.stack([*jnp.broadcast_arrays(d_log_p, d_ratio, d_lethal, rate, killing / (1 + ratio))])


def _growth(p: Response, mass_g):
    """Growth rate of proliferating cells per minute."""
    return p.growth_per_min * (jnp.log(p.capacity_g / mass_g) if p.growth == "gompertz" else 1.0)
