"""Cycles of therapy in which tumours shrink or grow and receptors drift, and the kinetics follow.

Operator splitting: within a cycle, or a piece of one (`Cycle.split_min`), the kinetics keep the tumour volumes of its
start, while the response runs on with the mass of each moment; at the next start the kinetics take the new volumes.
That is first order in the length of a piece; docs/response.md has its error measured. Illustrative, not validated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.regions import density_g_per_mL
from pbpk.carried import fitted, left_over
from pbpk.forms import BothSpecies
from pbpk.kinetics import Kinetics
from pbpk.levers import SIZE, Lever, changed
from pbpk.response import Cells, Exposure, Outcome, Response, respond
from pbpk.segments import Segments
from pbpk.solve import AUDIT_RTOL, Solution, finished, solve
from pbpk.state import unpack
from pbpk.therapy import Cycle, Tumours, check, drift_of, per_patient, tumours_of

__all__ = ["CARRY_ABOVE", "Cycle", "Cycles", "simulate_cycles"]

CARRY_ABOVE = 1e-4
"""Ligand left in the body, over the amount given next, above which it is taken along (six weeks leave 7e-5)."""


class Cycles(eqx.Module):
    """What each cycle did; volumes in mL, doses in Gy, TIA in nmol min of hot ligand within the cycle.

    `dose_Gy` takes the mass of each moment, `dose_of_start_mass_Gy` that of the cycle's start. `surviving_fraction`
    counts the cycle's killing alone, `viable` is the mass of cells not lethally damaged at its end over the first
    cycle's mass. `left_over` is the ligand in the body at the cycle's start over the amount given then, and `carried`
    whether it was taken along or dropped.
    """

    tia_nmol_min: Float[Array, "cycle organ patient"]
    dose_Gy: Float[Array, "cycle tumour patient"]
    dose_of_start_mass_Gy: Float[Array, "cycle tumour patient"]
    start_mL: Float[Array, "cycle tumour patient"]
    end_mL: Float[Array, "cycle tumour patient"]
    surviving_fraction: Float[Array, "cycle tumour patient"]
    viable: Float[Array, "cycle tumour patient"]
    receptors_nmol: Float[Array, "cycle organ patient"]
    left_over: Float[Array, "cycle patient"]
    carried: tuple[bool, ...] = eqx.field(static=True)
    organs: tuple[str, ...] = eqx.field(static=True)
    tumours: tuple[str, ...] = eqx.field(static=True)


def simulate_cycles(
    kin: Kinetics,
    cycles: Sequence[Cycle],
    response: Response,
    volumes_mL: Mapping[str, Any],
    dose_rate_Gy_per_nmol_min: Mapping[str, Any],
    *,
    drift_log_per_cycle: Mapping[str, Any] | None = None,
    carry_above: float = CARRY_ABOVE,
    rtol: float = AUDIT_RTOL,
) -> Cycles:
    """Follow kinetics and tumours through the cycles; the tumours are the keys of `volumes_mL`, in that order.

    `kin` holds the tumours at these volumes. `dose_rate_Gy_per_nmol_min` is each tumour's dose rate (Gy/min) per nmol
    of hot ligand at its first volume. `drift_log_per_cycle` is the change of log receptor density of an organ from
    cycle to cycle. Values are numbers or arrays [patient].

    Raises:
        InputError: no cycle, an unknown tumour or organ, a volume not above zero, a tumour above its Gompertz capacity.
    """
    tumours = tumours_of(kin, volumes_mL, dose_rate_Gy_per_nmol_min)
    drift = drift_of(kin, drift_log_per_cycle or {})
    check(cycles, response, tumours, carry_above)
    mass = tumours.first_mass_g
    cells, body, rows, carried = Cells(mass, 0 * mass, 0 * mass), None, [], []
    for number, cycle in enumerate(cycles):
        left = left_over(body, cycle.total_nmol, kin)
        carried.append(bool(np.max(left) > carry_above))
        body = body if carried[-1] else None
        drifted = _with_log_receptors(kin, {organ: number * np.asarray(x, float) for organ, x in drift.items()})
        cells, body, row = _cycle(drifted, cycle, response, tumours, cells, body, rtol)
        rows.append((*row, left))
    columns = (jnp.stack(column) for column in zip(*rows, strict=True))
    return Cycles(*columns, tuple(carried), kin.organs, tumours.names)


def _cycle(kin: Kinetics, cycle: Cycle, response: Response, tumours: Tumours, cells: Cells, body, rtol):
    """One cycle, piece by piece: cells and rows in the body at its end, and its row of `Cycles` less `left_over`."""
    start_g, tia, dose_Gy, survival = cells.mass_g, jnp.zeros(()), 0.0, 1.0
    receptors = _sized(kin, response, tumours, start_g).receptors
    for seg in cycle.pieces():
        sized = _sized(kin, response, tumours, cells.mass_g)
        solution = _solved(sized, seg, body, rtol)
        found = _exposed(solution, seg, body, response, tumours, cells)
        cells, body = found.cells, solution.y[-1]
        tia = tia + solution.integrals.organ[-1]
        dose_Gy, survival = dose_Gy + found.dose_Gy, survival * found.surviving_fraction
    density = np.array([[density_g_per_mL(name)] for name in tumours.names])
    per_nmol = tumours.dose_rate_Gy_per_nmol_min * tumours.first_mass_g / jnp.maximum(start_g, response.smallest_mass_g)
    fixed_Gy = per_nmol * tia[tumours.rows]
    viable = (cells.proliferating_g + cells.sublethal_g) / tumours.first_mass_g
    return cells, body, (tia, dose_Gy, fixed_Gy, start_g / density, cells.mass_g / density, survival, viable, receptors)


def _solved(kin: Kinetics, seg: Segments, body, rtol) -> Solution:
    start = None if body is None else fitted(body, kin)
    return finished(solve(kin, seg, rtol=rtol, bed=False, form=BothSpecies.name, start=start))


def _exposed(solution: Solution, seg: Segments, body, response: Response, tumours: Tumours, cells: Cells) -> Outcome:
    """The response to a solved piece that began with the rows `body`."""
    layout, at, length = solution.layout, tumours.rows, seg.length_min[:, None, None]
    hot = solution.hot.organ_total(layout)[:, at]
    first = 0 * hot[:1] if body is None else unpack(jnp.split(body, 2)[1], layout).organ_total(layout)[None, at]
    integral = solution.integrals.organ[:, at]
    mean = jnp.diff(integral, axis=0, prepend=0.0) / length
    per_nmol = tumours.dose_rate_Gy_per_nmol_min
    edges = jnp.asarray(np.append(0.0, seg.end_min))
    exposure = Exposure(edges, per_nmol * jnp.concatenate([first, hot]), per_nmol * mean)
    return respond(response, cells, exposure, tumours.first_mass_g)


def _sized(kin: Kinetics, response: Response, tumours: Tumours, mass_g) -> Kinetics:
    """`kin` with flow, spaces, permeability and receptors of tumours at `mass_g` [tumour, patient], or the smallest."""
    log_size = jnp.log(jnp.maximum(mass_g, response.smallest_mass_g) / tumours.first_mass_g)
    size = [Lever(f"volume of {name}", SIZE, (name,)) for name in tumours.names]
    density = [Lever(f"density of {name}", ("receptors",), (name,)) for name in tumours.names]
    log_density = jnp.broadcast_to(response.density_exponent, log_size.shape) * log_size
    return changed(kin, (*size, *density), jnp.concatenate([log_size, log_density]))


def _with_log_receptors(kin: Kinetics, log_change: Mapping[str, Any]) -> Kinetics:
    if not log_change:
        return kin
    levers = [Lever(f"drift of {organ}", ("receptors",), (organ,)) for organ in log_change]
    return changed(kin, levers, jnp.stack([per_patient(kin, organ, x) for organ, x in log_change.items()]))
