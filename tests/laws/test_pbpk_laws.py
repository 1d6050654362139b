"""Laws that every solution of the whole-body model obeys, on a default patient."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbpk import elimination
from pbpk.general import solve_general
from pbpk.kinetics import rates
from pbpk.model import right_hand_side
from pbpk.rosenbrock import step
from pbpk.scaling import KIDNEYS
from pbpk.solve import freeze, segments, solve, solve_on
from pbpk.state import rows, species_rows, unpack
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient

KIN = default_patient()
ORGANS = len(KIN.organs)
TOTAL, HOT = 100.0, 10.0
TIMES_MIN = (10.0, 60.0, 240.0, 1440.0, 10080.0)
HELD = 1e-12
"""Rows below this peak are zero but for rounding (nmol, or nmol times time)."""
COURSE = bolus(TOTAL, HOT, TIMES_MIN, WEEKS_6_MIN)


def scaled(kin, **factors):
    """A copy with whole fields multiplied."""
    return eqx.tree_at(
        lambda k: [getattr(k, n) for n in factors], kin, [f * getattr(kin, n) for n, f in factors.items()]
    )


def states(kin=KIN, seg=COURSE, **options):
    solution = solve(kin, seg, **options)
    assert not solution.failed
    return np.asarray(solution.y[..., 0])


def hot(y):
    """Hot amounts [segment, row]."""
    size = species_rows(ORGANS)
    return y[:, size : 2 * size]


def per_peak(a, b):
    """Largest difference of each row over its peak, over rows that hold more than rounding errors."""
    peak = np.max(np.abs(b), axis=0)
    held = peak > HELD
    return float(np.max(np.max(np.abs(a - b), axis=0)[held] / peak[held]))


# amounts


def imbalance(y, injected):
    """Hot ligand in the body and in the ledger less that injected, over that injected."""
    ledger = np.array([unpack(row, ORGANS).integrals.ledger.sum() for row in y[..., None]])
    return float(np.max(np.abs(hot(y).sum(axis=1) + ledger - injected)) / injected)


def test_hot_ligand_is_in_the_body_decayed_in_urine_or_released():
    assert imbalance(states(), HOT) <= 1e-9


def test_a_lost_nanomole_is_seen():
    """Negative control: the balance without what was released."""
    y = states().copy()
    released = 2 * species_rows(ORGANS) + 3 * ORGANS + 3 + 1
    y[:, released] = 0
    assert imbalance(y, HOT) > 1e-4


def test_an_infusion_balances_too():
    seg = segments([0.0, 2000.0], [30.0, 30.0], [50.0, 50.0], [5.0, 5.0], (), 4000.0)
    assert imbalance(states(seg=seg)[-1:], HOT) <= 1e-9


def test_no_amount_is_negative():
    size = 2 * species_rows(ORGANS)
    assert states()[:, :size].min() >= -1e-12 * TOTAL


# hot and cold


def decayed_apart(with_decay, without):
    """How far hot(lambda) is from exp(-lambda t) hot(0)."""
    surviving = np.exp(-float(KIN.decay[0]) * COURSE.end_min)[:, None]
    return per_peak(hot(with_decay), surviving * hot(without))


def test_decay_only_scales_the_hot_ligand():
    assert decayed_apart(states(), states(scaled(KIN, decay=0.0))) <= 1e-7


def test_hot_ligand_with_another_affinity_is_seen():
    """Negative control."""
    assert decayed_apart(states(), states(scaled(KIN, decay=0.0, k_off=1.001))) > 1e-7


def test_hot_ligand_is_linear_at_the_same_total():
    assert per_peak(hot(states(seg=bolus(TOTAL, 2 * HOT))), 2 * hot(states(seg=bolus(TOTAL, HOT)))) <= 1e-9


# amounts and occupancy


def test_equal_boluses_at_once_are_one():
    n = 4
    parts = segments(np.zeros(n), np.zeros(n), np.full(n, TOTAL / n), np.full(n, HOT / n), (), 1440.0)
    assert per_peak(states(seg=parts), states(seg=bolus())) <= 1e-12


def nonlinearity(total_nmol):
    once, twice = (states(seg=bolus(k * total_nmol, k * total_nmol / 10)) for k in (1, 2))
    return per_peak(hot(twice), 2 * hot(once))


def test_little_ligand_is_linear():
    # 1e-6 nmol occupies less than 1e-6 of any organ's receptors
    assert nonlinearity(1e-6) <= 1e-6


def test_receptors_saturate():
    """Negative control."""
    assert nonlinearity(TOTAL) > 1e-2


# linear algebra and order


@cache
def an_hour_in():
    return solve(KIN, bolus(end_min=60.0)).y[-1]


def dense_jacobian(y, r):
    nothing = jnp.zeros((2, 1))
    return np.asarray(jax.jacfwd(lambda u: right_hand_side(u[:, None], r, nothing)[:, 0])(y[:, 0]))


@pytest.mark.parametrize("shift", [1e-3, 0.1, 10.0])
def test_elimination_is_the_dense_solve(shift, rng):
    y, r = an_hour_in(), rates(KIN)
    b = rng.normal(size=(rows(ORGANS), 1))
    ours = np.asarray(elimination.solve(elimination.factor(y, r, jnp.asarray(shift)), r, jnp.asarray(b)))
    matrix = shift * np.eye(rows(ORGANS)) - dense_jacobian(y, r)
    theirs = np.linalg.solve(matrix, b)
    size = 2 * species_rows(ORGANS)
    for part in (slice(0, size), slice(size, None)):
        assert np.max(np.abs(ours[part] - theirs[part])) <= 1e-12 * np.max(np.abs(theirs[part]))


def test_a_wrong_pivot_is_seen(rng):
    """Negative control: a factor made for another shift."""
    y, r = an_hour_in(), rates(KIN)
    b = jnp.asarray(rng.normal(size=(rows(ORGANS), 1)))
    right, wrong = (elimination.solve(elimination.factor(y, r, jnp.asarray(s)), r, b) for s in (0.1, 0.1000001))
    assert np.max(np.abs(right - wrong)) > 1e-12 * np.max(np.abs(right))


@jax.jit
def with_steps(kin, y, h, count):
    r, nothing = rates(kin), jnp.zeros((2, 1))
    return jax.lax.fori_loop(0, count, lambda _, u: step(u, r, nothing, h)[0], y)


def order_of_convergence(kin, minutes, counts):
    """Slope of log error over log step, amounts only, against 32 times the finest number of steps."""
    size = 2 * species_rows(ORGANS)
    start = solve(kin, bolus(end_min=60.0)).y[-1]
    *coarse, exact = (np.asarray(with_steps(kin, start, minutes / n, n))[:size] for n in (*counts, 32 * counts[-1]))
    return -np.polyfit(np.log(counts), [np.log(np.max(np.abs(y - exact))) for y in coarse], 1)[0]


def test_a_step_is_of_order_five():
    # exchange slowed until steps of minutes resolve it; with a patient's stiff rates the slope falls to about 3 or 4
    # once the error is below 1e-7 nmol, as for any Rosenbrock method
    slow = scaled(KIN, **dict.fromkeys(("plasma_flow", "permeability", "filtration", "k_on", "k_off"), 0.003))
    assert order_of_convergence(slow, 120.0, (2, 4, 8, 16)) == pytest.approx(5, abs=0.4)


# derivatives

PARAMETERS = (
    ("plasma_flow", KIDNEYS), ("receptors", KIDNEYS), ("release", KIDNEYS), ("filtration", KIDNEYS),
    ("plasma_flow", ("tumour_1",)), ("receptors", ("tumour_1",)), ("permeability", ("tumour_1",)),
    ("internalisation", ("tumour_1",)), ("k_on", ()), ("excreted_fraction", ()),
)  # fmt: skip


def with_logs(theta, kin=KIN):
    """Each of `PARAMETERS` multiplied by exp(theta), theta [parameter] or [parameter, patient]."""
    for (name, organs), value in zip(PARAMETERS, jnp.exp(theta), strict=True):
        field = getattr(kin, name)
        at = np.array([KIN.organs.index(organ) for organ in organs], int)
        changed = field.at[at].multiply(value, unique_indices=True) if organs else field * value
        kin = eqx.tree_at(lambda k, n=name: getattr(k, n), kin, changed)
    return kin


def log_tia(y):
    """Logarithm of the time-integrated activity of kidneys and tumour, [2, patient]."""
    integrals = unpack(y, ORGANS).integrals.organ
    at = [KIN.organs.index(organ) for organ in (*KIDNEYS, "tumour_1")]
    return jnp.log(jnp.stack([integrals[at[0]] + integrals[at[1]], integrals[at[2]]]))


@cache
def derivatives(mode):
    """Of log TIA by log parameter, [2, parameter]; `mode` is `jax.jacfwd` or `jax.jacrev`."""
    grid = freeze(KIN, bolus(TOTAL, HOT, (), WEEKS_6_MIN))
    on_grid = lambda theta: log_tia(solve_on(with_logs(theta), grid)[-1])[:, 0]
    return np.asarray(jax.jit(mode(on_grid))(jnp.zeros(len(PARAMETERS))))


def differences(half_step=1e-3):
    """Central differences of order 4 of adaptive solves; all shifted patients are one batch."""
    n = len(PARAMETERS)
    shifts = np.concatenate([k * half_step * np.eye(n) for k in (-2, -1, 1, 2)], axis=1)
    many = jax.tree.map(lambda x: jnp.repeat(x, 4 * n, axis=-1), KIN)
    solution = solve(with_logs(jnp.asarray(shifts), many), bolus(TOTAL, HOT, (), WEEKS_6_MIN), rtol=1e-10)
    far_left, left, right, far_right = np.split(np.asarray(log_tia(solution.y[-1])), 4, axis=1)
    return (far_left - 8 * left + 8 * right - far_right) / (12 * half_step)


def test_derivatives_on_the_frozen_grid_are_central_differences():
    # of log TIA by log parameter, so 1e-5 is a part of the activity itself
    np.testing.assert_allclose(derivatives(jax.jacfwd), differences(), rtol=0, atol=1e-5)


def test_the_derivatives_are_not_trivial():
    """Negative control: each parameter moves an organ, by more than the tolerance above."""
    assert np.abs(derivatives(jax.jacfwd)).max(axis=0).min() > 1e-4


def test_reverse_derivatives_are_the_forward_ones():
    np.testing.assert_allclose(derivatives(jax.jacrev), derivatives(jax.jacfwd), rtol=0, atol=1e-10)


def test_the_frozen_grid_is_the_adaptive_solution():
    seg = bolus(TOTAL, HOT, (60.0,), 1440.0)
    assert per_peak(np.asarray(solve_on(KIN, freeze(KIN, seg)))[..., 0], states(seg=seg)) <= 1e-12


# the general door


@pytest.mark.slow
def test_the_general_door_agrees():
    seg = bolus(TOTAL, HOT, TIMES_MIN[:3], 1440.0)
    general = solve_general(KIN, seg)
    assert not general.failed
    assert per_peak(states(seg=seg), np.asarray(general.y[..., 0])) <= 1e-6


def test_the_general_door_takes_one_patient():
    with pytest.raises(ValueError, match="2 patients"):
        solve_general(jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), KIN), bolus())
