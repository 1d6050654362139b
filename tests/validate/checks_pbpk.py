"""The whole-body model against independent solutions, its own balance, exact properties and differences."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from pbpk.amount_map import amount_map
from pbpk.anatomy import KIDNEYS
from pbpk.batch import solve_many, together
from pbpk.forms import FORMS, BothSpecies
from pbpk.solve import freeze, solve, solve_on
from tests.reference.reference_pbpk import CASES, WEEKS_6_MIN, bolus, default_patient, errors, flat, load, varied
from tests.validate import check, shared

TIMES_MIN = (10.0, 60.0, 240.0, 1440.0, 10080.0)
HOT = 10.0
COURSE = bolus(100.0, HOT, TIMES_MIN, WEEKS_6_MIN)
PEAK, BALANCE, EXACT, GRADIENT = 1e-6, 1e-9, 1e-7, 1e-6


def _register(case: str):
    @check(f"pbpk/reference_{case}", "worst error over peak", f"{PEAK:g}", "independent solution of the same equations")
    def reference():
        folder = shared("pbpk").parent.parent
        kin, seg, header, table = load(case, folder)
        found = errors(solve(kin, seg), kin, seg, header, table)
        worst = max(error for name, error in found.items() if not name.endswith("hot_integral"))
        return worst, worst <= PEAK


for _case in CASES:
    _register(_case)


@check(
    "pbpk/balance", "part of the injected", f"{BALANCE:g}", "hot ligand is in the body, decayed, in urine or released"
)
def balance():
    kin = default_patient()
    worst = 0.0
    for form in FORMS:
        found = flat(solve(kin, COURSE, form=form))
        inside = found.hot.sum(axis=(0, 1)) + found.hot_blood.sum(axis=0)
        worst = max(worst, float(np.max(np.abs(inside + found.ledger.sum(axis=0) - HOT)) / HOT))
    return worst, worst <= BALANCE


@check("pbpk/hot_cold", "worst error over peak", f"{EXACT:g}", "exact: hot = exp(-lambda t) times hot without decay")
def hot_cold():
    kin = default_patient()
    stable = eqx.tree_at(lambda k: k.decay, kin, 0 * kin.decay)
    both = (solve(k, COURSE, form=BothSpecies.name) for k in (kin, stable))
    ours, without = (np.concatenate([*x.hot, x.hot_blood]).T for x in map(flat, both))
    exact = np.exp(-float(kin.decay[0]) * COURSE.end_min)[:, None] * without
    peak = exact.max(axis=0)
    held = peak > 1e-12
    worst = float(np.max(np.abs(ours - exact).max(axis=0)[held] / peak[held]))
    return worst, worst <= EXACT


@check("pbpk/gradient", "of log TIA by log parameter", f"{GRADIENT:g}", "central differences of solves at rtol 1e-10")
def gradient():
    """Kidneys and tumour by receptors everywhere, affinity and excretion."""
    kin, half_step = default_patient(), 1e-3
    names = ("receptors", "k_on", "excreted_fraction")
    get = lambda k: [getattr(k, name) for name in names]
    change = lambda theta, k: eqx.tree_at(get, k, [v * f for v, f in zip(get(k), jnp.exp(theta), strict=True)])
    at = np.array([kin.organs.index(organ) for organ in (*KIDNEYS, "tumour_1")])
    seg = bolus(100.0, HOT, (), WEEKS_6_MIN)

    def log_tia(solution):
        kept = solution.integrals.organ[-1, at]
        return jnp.log(jnp.stack([kept[0] + kept[1], kept[2]]))

    grid = freeze(kin, seg)
    ours = jax.jit(jax.jacfwd(lambda theta: log_tia(solve_on(change(theta, kin), grid))[:, 0]))(jnp.zeros(3))
    shifts = np.concatenate([k * half_step * np.eye(3) for k in (-2, -1, 1, 2)], axis=1)
    many = change(jnp.asarray(shifts), jax.tree.map(lambda x: jnp.repeat(x, 12, axis=-1), kin))
    far_left, left, right, far_right = np.split(np.asarray(log_tia(solve(many, seg, rtol=1e-10))), 4, axis=1)
    theirs = (far_left - 8 * left + 8 * right - far_right) / (12 * half_step)
    worst = float(np.max(np.abs(np.asarray(ours) - theirs)))
    return worst, worst <= GRADIENT


PATIENTS, SPREAD, TIA = 240, 0.2, 1e-5


@check(
    f"pbpk/population, worst TIA error of {PATIENTS}",
    "relative",
    f"{TIA:g}",
    "solves at rtol 1e-10, one patient a lane",
)
def population_error():
    """Every organ and patient of a cohort in which every field varies, at the planning tolerance."""
    many = varied(default_patient(), np.random.default_rng(11), PATIENTS, SPREAD)
    seg = bolus(100.0, HOT, (), WEEKS_6_MIN)
    ours = together(solve_many(many, PATIENTS, seg)).organ
    exact = together(solve_many(many, PATIENTS, seg, rtol=1e-10)).organ
    worst = float(np.max(np.abs(ours / exact - 1)))
    return worst, worst <= TIA


@check("pbpk/adjoint", "of log TIA by log receptors", "1e-10", "automatic forward derivative on the same grid")
def adjoint():
    kin = default_patient()
    grid = freeze(kin, bolus(100.0, HOT, (), WEEKS_6_MIN))
    scaled = lambda t: eqx.tree_at(lambda k: k.receptors, kin, kin.receptors * jnp.exp(t)[:, None])
    tia = lambda t, by_hand: jnp.sum(jnp.log(solve_on(scaled(t), grid, bed=False, adjoint=by_hand).integrals.organ[-1]))
    zero = jnp.zeros(len(kin.organs))
    ours = jax.jit(jax.grad(lambda t: tia(t, True)))(zero)
    theirs = jax.jit(jax.jacfwd(lambda t: tia(t, False)))(zero)
    worst = float(jnp.max(jnp.abs(ours - theirs)))
    return worst, worst <= 1e-10


@check("pbpk/amount map, 25 to 200 nmol", "relative", "1e-5", "direct solves between the nodes, every organ and blood")
def map_error():
    worst = float(amount_map(default_patient(), 25.0, 200.0).error.max())
    return worst, worst <= 1e-5
