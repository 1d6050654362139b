"""MBAM on the whole-body model: every rate, flow and volume of `Kinetics` as a log parameter, and what comes of it.

Predictions to be kept are the log activities of the regions that scans measure and doses are wanted of, from 1 h to
7 d, and their log time-integrated activities. A reduced model is a change of `Kinetics`: the same engine, with
parameters pinned at their limits, so it stands wherever the full one does (`Course`, `Experiment`, a forecast).
"""

from __future__ import annotations

from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from calibration.forward import Course, pool_weights
from calibration.mbam_geodesic import Surface
from dose.regions import is_tumour
from pbpk.anatomy import KIDNEYS
from pbpk.compiled import compiled
from pbpk.kinetics import Kinetics
from pbpk.levers import Lever
from pbpk.solve import Grid, freeze, solve_on

HOURS = (1.0, 4.0, 24.0, 48.0, 96.0, 168.0)
"""Hours at which activities are to be kept: the scans of a therapy, and one before them."""
REGIONS = ("kidneys", "liver", "spleen", "parotid", "submandibular", "lacrimal", "red_marrow", "whole_body")
"""Regions to be kept, with the tumours: those with a dose in every report, and what whole-body counts see."""
NOISE = 0.05
"""Relative sd of a prediction, the same for all: it sets the scale of sloppiness and no limit depends on it."""
FREEZE_RTOL, FREEZE_MULTIPLE = 1e-4, 32
"""Tolerance of the frozen steps: predictions to 1e-5, so that limits are not mistaken for errors of the solve."""
COLUMNS = 16
"""Directions are padded to a multiple of this, so that few programs are compiled."""
REABSORBED = "reabsorbed"
"""The part of the filtrate that is not excreted, 1 - f_exc: its limit 0 drops the kidneys' transit."""
SCALE = ("plasma_flow", "vascular", "interstitial", "transit", "permeability", "filtration", "arterial", "venous")
"""Fields that may all be multiplied by one factor, with k_on, and KD divided by it, and no activity changes: amounts in
nmol do not know the litre. Filtration is held, or a reduction would drift along this direction."""
PER_ORGAN = ("plasma_flow", "vascular", "interstitial", "transit", "permeability", "receptors", "internalisation",
             "release", "nonsaturable")  # fmt: skip
SHARED = {
    "arterial": ("arterial",),
    "venous": ("venous",),
    "protein_binding": ("protein_binding",),
    "protein_return": ("protein_return",),
    "k_on at the same KD": ("k_on", "k_off"),
    "KD": ("k_off",),
}
ZEROS = ("permeability", "receptors", "internalisation", "release", "nonsaturable", "protein_binding",
         "protein_return", REABSORBED)  # fmt: skip
"""Fields that may be exactly zero: no volume and no flow that something is divided by."""


def levers(kin: Kinetics) -> tuple[Lever, ...]:
    """One lever for each number of `kin` that acts: "field/organ", both kidneys as one, and the shared ones.

    Left out are numbers without effect: rates in organs where nothing binds, exchange of the brain, flow of the lungs
    (it is the sum of the others). Filtration is the scale of the others (`SCALE`).
    """
    found = [Lever(name, fields) for name, fields in SHARED.items()]
    for field in PER_ORGAN:
        for organ in kin.organs:
            group = KIDNEYS if organ in KIDNEYS else (organ,)
            acts = organ == group[0] and _acts(kin, field, kin.organs.index(organ))
            if acts:
                found.append(Lever(f"{field}/{'kidneys' if organ in KIDNEYS else organ}", (field,), group))
    return (*found, Lever(REABSORBED, (REABSORBED,)))


def _acts(kin: Kinetics, field: str, k: int) -> bool:
    """Whether a number of organ k enters any equation that has an effect."""
    at = lambda name: float(np.asarray(getattr(kin, name))[k, 0])
    takes_up = at("receptors") + at("nonsaturable") > 0
    exchanges = at("permeability") + at("filtration") > 0
    rules = {
        "plasma_flow": kin.organs[k] != "lungs",
        "interstitial": exchanges,
        "transit": at("filtration") > 0,
        "internalisation": at("receptors") > 0,
        "release": takes_up,
    }
    return at(field) > 0 and rules.get(field, True)


def with_change(kin: Kinetics, moved: Sequence[Lever], log_change) -> Kinetics:
    """`kin` with each lever multiplied by exp(log_change) [lever]; minus infinity makes it zero."""
    factor = jnp.exp(jnp.asarray(log_change))
    for name in dict.fromkeys(field for lever in moved for field in lever.fields if field != REABSORBED):
        value = getattr(kin, name)
        for k, lever in enumerate(moved):
            if name in lever.fields:
                rows = np.array([o in (lever.organs or kin.organs) for o in kin.organs])
                value = jnp.where(rows[:, None], value * factor[k], value) if value.ndim == 2 else value * factor[k]
        kin = eqx.tree_at(lambda x, name=name: getattr(x, name), kin, value)
    if moved and moved[-1].name == REABSORBED:
        left = 1 - (1 - kin.excreted_fraction) * factor[-1]
        kin = eqx.tree_at(lambda x: x.excreted_fraction, kin, left)
    return kin


class Predictions(eqx.Module):
    """What a model is reduced for: log amounts of regions at ends of segments, and their log integrals, of patients."""

    kinetics: Kinetics
    grid: Grid
    segment: np.ndarray
    weights: np.ndarray

    def __call__(self, moved, log_change):
        """Log predictions [time or integral, region, patient], flattened, at log changes of levers [lever]."""
        kin = with_change(self.kinetics, moved, log_change)
        solved = solve_on(kin, self.grid, bed=False)
        pools = jnp.concatenate([solved.hot.organ_total(kin.layout), solved.hot.blood], axis=1)
        whole = jnp.concatenate([solved.integrals.organ[-1], solved.integrals.blood[-1]])
        seen = jnp.concatenate([pools[jnp.asarray(self.segment)], whole[None]])
        return jnp.log(jnp.einsum("rp,tpn->trn", jnp.asarray(self.weights), seen)).ravel()


def predictions(
    course: Course, patients: Kinetics, regions: Sequence[str] = REGIONS, hours: Sequence[float] = HOURS
) -> Predictions:
    """Tumours and `regions` of patients at `hours` after a course's first administration, and their TIAs."""
    organs = patients.organs
    kept = [*regions, *filter(is_tumour, organs)]
    weights = [pool_weights(r, organs, frozenset()) for r in kept]
    seg = course.segments(60 * np.asarray(hours, float))
    grid = freeze(patients, seg, rtol=FREEZE_RTOL, multiple=FREEZE_MULTIPLE)
    at = [int(np.argmin(np.abs(seg.end_min - 60 * h))) for h in hours]
    return Predictions(patients, grid, np.array(at), np.stack([w for w in weights if w is not None]))


def surface(seen: Predictions, moved: tuple[Lever, ...]) -> Surface:
    """Predictions over `NOISE` as a surface of the log changes of levers."""
    run = lambda function, *x: jax.tree.map(lambda y: np.asarray(y) / NOISE, compiled(function)(seen, moved, *x))

    def along(theta, basis):
        spare = np.zeros((len(theta), -basis.shape[1] % COLUMNS))
        value, slopes = run(_along, jnp.asarray(theta), jnp.asarray(np.hstack([basis, spare])))
        return value, slopes[:, : basis.shape[1]]

    values = lambda theta: run(_values, jnp.asarray(theta))
    return Surface(values, along, lambda theta, v: run(_second, jnp.asarray(theta), jnp.asarray(v)))


def _values(seen, moved, theta):
    return seen(moved, theta)


def _along(seen, moved, theta, basis):
    function = lambda x: seen(moved, x)
    push = lambda column: jax.jvp(function, (theta,), (column,))[1]
    return function(theta), jax.vmap(push, in_axes=1, out_axes=1)(basis)


def _second(seen, moved, theta, direction):
    function = lambda x: seen(moved, x)
    along = lambda x: jax.jvp(function, (x,), (direction,))[1]
    return jax.jvp(along, (theta,), (direction,))[1]
