"""Tumour volume from cycle to cycle: exponential growth and linear-quadratic kill. Illustrative, not validated.

With dose rate D', dose D, sublethal damage y (y' = D' - mu y) and doubling time Td (Kletting 2019, J Nucl Med 60:65):

    V' = (ln 2 / Td - alpha D' - 2 beta D' y) V    so    ln(V_end / V_start) = ln 2 T / Td - alpha BED

over a cycle of length T after which nothing is left, with BED = D + G D^2 / (alpha/beta). `pbpk.response` holds the
fuller model, of dose that follows the mass; this one is a closed form, cheap enough for each draw of a plan. alpha is
an effective value of volumes, ten times below that of cells, and uncertain by a factor: report ranges over it.
Constants: pbpk/data/outcomes.csv.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.provenance import load_table
from pbpk.levers import known
from pbpk.response import require

LN2 = 0.6931471805599453
H_PER_DAY = 24.0


class VolumeLaw(NamedTuple):
    """Kill per BED and doubling time of the untreated tumour, numbers or arrays [draw], [draw, lesion], ..."""

    alpha_per_Gy: Float[Array, ...]
    doubling_time_h: Float[Array, ...]


def typical(**changes) -> VolumeLaw:
    """The law of pbpk/data/outcomes.csv, with `changes` to named fields.

    Raises:
        InputError: an unknown field, a negative or non-finite value, a doubling time of zero.
    """
    values = {"alpha_per_Gy": published("alpha"), "doubling_time_h": H_PER_DAY * published("doubling_time")}
    return checked(VolumeLaw, values | changes, may_be_zero=("alpha_per_Gy",))


def published(parameter: str, column: str = "value") -> float:
    """A value of pbpk/data/outcomes.csv, or the `low` or `high` end of its range.

    Raises:
        InputError: no such parameter.
    """
    rows = {row["parameter"]: row for row in load_table("pbpk", "outcomes.csv")}
    known("outcomes.csv", parameter, tuple(rows))
    return float(rows[parameter][column])


def checked(kind, values: dict, *, may_be_zero: tuple[str, ...] = ()):
    """The named tuple `kind` of these values; shared by `pbpk.psa` and `pbpk.platelets`.

    Raises:
        InputError: a field that `kind` lacks; a value not finite, negative, or zero where it may not be.
    """
    for name, value in values.items():
        known(kind.__name__, name, kind._fields)
        require(value, f"{kind.__name__}: {name}", name not in may_be_zero)
    return kind(**{name: jnp.asarray(value, float) for name, value in values.items()})


def log_volume_change(law: VolumeLaw, bed_Gy, hours):
    """ln(V_end / V_start) over that many hours in which that BED was given; all arguments broadcast."""
    return LN2 * hours / law.doubling_time_h - law.alpha_per_Gy * bed_Gy


@jax.jit
def volume_curve(
    law: VolumeLaw,
    volume_mL: Float[Array, ...],
    starts_h: Float[Array, " cycle"],
    bed_Gy: Float[Array, "... cycle"],
    effective_half_life_h: Float[Array, "... cycle"],
    time_h: Float[Array, " time"],
) -> Float[Array, "... time"]:
    """Volume in mL at `time_h`, which counts from when it was `volume_mL`; leading axes broadcast.

    The BED of a cycle accrues as its dose does, bed (1 - 2^(-(t - start) / half-life)): exact for the linear part and
    at the end of a cycle. The quadratic part is given late, so ln V is too high in between, by at most alpha G D^2 /
    (alpha/beta) / 4 where repair is fast. Damage of one cycle is taken to be repaired before the next. A padded cycle
    has BED 0 and any half-life above zero.
    """
    law = jax.tree.map(lambda x: jnp.asarray(x)[..., None], law)
    accrued_Gy = _accrued_Gy(starts_h, bed_Gy, effective_half_life_h, time_h)
    return jnp.asarray(volume_mL)[..., None] * jnp.exp(log_volume_change(law, accrued_Gy, time_h))


def _accrued_Gy(starts_h, bed_Gy, effective_half_life_h, time_h):
    """BED up to each time, [..., time]."""
    since_h = jnp.maximum(time_h[:, None] - starts_h, 0.0)
    share = -jnp.expm1(-LN2 * since_h / effective_half_life_h[..., None, :])
    return jnp.sum(bed_Gy[..., None, :] * share, axis=-1)
