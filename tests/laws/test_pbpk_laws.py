"""Laws that every solution of the whole-body model obeys, on a default patient."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from pbpk.anatomy import KIDNEYS
from pbpk.forms import FORMS, BothSpecies, Drive, OneProfile
from pbpk.general import solve_general
from pbpk.kinetics import rates
from pbpk.rosenbrock import after, stages
from pbpk.solve import form_of, freeze, segments, solve, solve_on
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient, flat

KIN = default_patient()
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
    """One patient: amounts [pool, organ, time], blood, ledger and integrals, time last."""
    solution = solve(kin, seg, **options)
    assert not solution.failed
    return flat(solution)


def hot(found):
    """Hot amounts [time, pool]."""
    return np.concatenate([*found.hot, found.hot_blood]).T


def everything(found):
    """All that was solved, [time, row]."""
    return np.concatenate([*found.hot, *found.total, *found[2:]]).T


def per_peak(a, b):
    """Largest difference of each row over its peak, over rows that hold more than rounding errors."""
    peak = np.max(np.abs(b), axis=0)
    held = peak > HELD
    return float(np.max(np.max(np.abs(a - b), axis=0)[held] / peak[held]))


# amounts


def imbalance(found, injected):
    """Hot ligand in the body and in the ledger less that injected, over that injected."""
    return float(np.max(np.abs(hot(found).sum(axis=1) + found.ledger.sum(axis=0) - injected)) / injected)


@pytest.mark.parametrize("form", FORMS)
def test_hot_ligand_is_in_the_body_decayed_in_urine_or_released(form):
    assert imbalance(states(form=form), HOT) <= 1e-9


def test_a_lost_nanomole_is_seen():
    """Negative control: the balance without what was released."""
    found = states()
    assert imbalance(found._replace(ledger=found.ledger[[0, 1, 3]]), HOT) > 1e-4


def test_an_infusion_balances_too():
    found = states(seg=segments([0.0, 2000.0], [30.0, 30.0], [50.0, 50.0], [5.0, 5.0], (), 4000.0))
    at_end = type(found)(*(part[..., -1:] for part in found))
    assert imbalance(at_end, HOT) <= 1e-9


@pytest.mark.parametrize("form", FORMS)
def test_no_amount_is_negative(form):
    found = states(form=form)
    assert min(part.min() for part in found) >= -1e-12 * TOTAL


# hot and cold


def decayed_apart(with_decay, without):
    """How far hot(lambda) is from exp(-lambda t) hot(0)."""
    surviving = np.exp(-float(KIN.decay[0]) * COURSE.end_min)[:, None]
    return per_peak(hot(with_decay), surviving * hot(without))


BOTH = {"form": BothSpecies.name}


def test_decay_only_scales_the_hot_ligand():
    assert decayed_apart(states(**BOTH), states(scaled(KIN, decay=0.0), **BOTH)) <= 1e-7


def test_hot_ligand_with_another_affinity_is_seen():
    """Negative control."""
    assert decayed_apart(states(**BOTH), states(scaled(KIN, decay=0.0, k_off=1.001), **BOTH)) > 1e-7


def test_hot_ligand_is_linear_at_the_same_total():
    assert per_peak(hot(states(seg=bolus(TOTAL, 2 * HOT))), 2 * hot(states(seg=bolus(TOTAL, HOT)))) <= 1e-9


# amounts and occupancy


def test_equal_boluses_at_once_are_one():
    n = 4
    parts = segments(np.zeros(n), np.zeros(n), np.full(n, TOTAL / n), np.full(n, HOT / n), (), 1440.0)
    assert per_peak(everything(states(seg=parts)), everything(states(seg=bolus()))) <= 1e-12


def nonlinearity(total_nmol):
    once, twice = (states(seg=bolus(k * total_nmol, k * total_nmol / 10)) for k in (1, 2))
    return per_peak(hot(twice), 2 * hot(once))


def test_a_solve_goes_on_from_what_was_left():
    """One solve cut in two, begun again from either form, is the whole."""
    whole = solve(KIN, bolus(TOTAL, HOT, (1440.0,), WEEKS_6_MIN), bed=False)
    nothing = segments([], [], [], [], (), WEEKS_6_MIN - 1440.0)
    for form in FORMS:
        first = solve(KIN, bolus(TOTAL, HOT, (), 1440.0), bed=False, form=form)
        second = solve(KIN, nothing, bed=False, start=first.left())
        both = first.integrals.organ[-1] + second.integrals.organ[-1]
        np.testing.assert_allclose(both, whole.integrals.organ[-1], rtol=1e-7)


@pytest.mark.parametrize(
    ("says", "spoil"),
    {
        "start: shape": lambda rows: rows[:71],
        "0 <= hot <= total": lambda rows: -rows,
        "hot above total": lambda rows: np.concatenate([rows[71:], rows[:71]]),
        "not finite": lambda rows: rows * np.nan,
    }.items(),
)
def test_a_start_that_cannot_be_is_refused(says, spoil):
    left = np.asarray(solve(KIN, bolus(TOTAL, HOT, (), 60.0), bed=False).left())
    with pytest.raises(InputError, match=says):
        solve(KIN, bolus(TOTAL, HOT, (), 60.0), start=spoil(left))


@pytest.mark.parametrize(
    ("says", "dose"),
    {
        "start_min": ([-5.0], [0.0], [100.0], [10.0]),
        "duration_min": ([0.0], [-1.0], [100.0], [10.0]),
        "total -100": ([0.0], [0.0], [-100.0], [0.0]),
        "hot 200": ([0.0], [0.0], [100.0], [200.0]),
    }.items(),
)
def test_a_dose_that_cannot_be_is_refused(says, dose):
    with pytest.raises(InputError, match=says):
        segments(*dose, (), 60.0)


def test_a_grid_that_needs_too_many_steps_is_refused():
    with pytest.raises(InputError, match="solve of the kinetics"):
        freeze(KIN, bolus(TOTAL, HOT, (), 60.0), rtol=1e-18)


def test_little_ligand_is_linear():
    # 1e-6 nmol occupies less than 1e-6 of any organ's receptors
    assert nonlinearity(1e-6) <= 1e-6


def test_receptors_saturate():
    """Negative control."""
    assert nonlinearity(TOTAL) > 1e-2


# forms


def test_one_bolus_needs_one_profile_and_an_infusion_both():
    assert form_of(KIN, bolus()) == OneProfile.name
    assert form_of(KIN, segments([0.0], [30.0], [TOTAL], [HOT], (), 1440.0)) == BothSpecies.name
    assert form_of(KIN, segments([0.0, 1000.0], [0.0, 0.0], [TOTAL] * 2, [HOT] * 2, (), 1440.0)) == BothSpecies.name


def test_two_doses_of_one_vial_share_its_profile():
    left = np.exp(-float(KIN.decay[0]) * 500.0)
    vial = segments([0.0, 500.0], [0.0, 0.0], [TOTAL] * 2, [HOT, HOT * left], TIMES_MIN, WEEKS_6_MIN)
    assert form_of(KIN, vial) == OneProfile.name
    assert per_peak(everything(states(seg=vial)), everything(states(seg=vial, **BOTH))) <= 1e-6


def test_one_profile_is_the_solution_of_both_species():
    # the default tolerance leaves about 4e-8 of a peak in either
    assert per_peak(everything(states()), everything(states(**BOTH))) <= 1e-6


def test_one_profile_of_another_ratio_is_seen():
    """Negative control: a bolus with one percent less unlabelled ligand."""
    other = bolus(0.99 * TOTAL, HOT, TIMES_MIN, WEEKS_6_MIN)
    assert per_peak(hot(states(seg=other)), hot(states(**BOTH))) > 1e-6


def test_one_profile_is_refused_for_an_infusion():
    with pytest.raises(InputError, match="total and hot"):
        solve(KIN, segments([0.0], [30.0], [TOTAL], [HOT], (), 1440.0), form=OneProfile.name)


# linear algebra and order


@cache
def an_hour_in(form):
    """Rows, rates and drive of a form an hour after a bolus."""
    solution = solve(KIN, bolus(end_min=60.0), form=form.name)
    return solution.y[-1], rates(KIN), Drive(jnp.zeros((2, 1)), solution.ratio[-1])


def dense_jacobian(form, y, r, drive):
    return np.asarray(jax.jacfwd(lambda u: form.derivative(u[:, None], r, drive)[:, 0])(y[:, 0]))


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("shift", [1e-3, 0.1, 10.0])
def test_elimination_is_the_dense_solve(shift, form, rng):
    y, r, drive = an_hour_in(form)
    b = rng.normal(size=y.shape)
    ours = np.asarray(form.solve(form.factor(y, r, drive, jnp.asarray(shift)), r, jnp.asarray(b)))
    theirs = np.linalg.solve(shift * np.eye(len(b)) - dense_jacobian(form, y, r, drive), b)
    assert np.max(np.abs(ours - theirs)) <= 1e-12 * np.max(np.abs(theirs))


def test_a_wrong_pivot_is_seen(rng):
    """Negative control: a factor made for another shift."""
    form = BothSpecies
    y, r, drive = an_hour_in(form)
    b = jnp.asarray(rng.normal(size=y.shape))
    right, wrong = (form.solve(form.factor(y, r, drive, jnp.asarray(s)), r, b) for s in (0.1, 0.1000001))
    assert np.max(np.abs(right - wrong)) > 1e-12 * np.max(np.abs(right))


@eqx.filter_jit
def with_steps(form, kin, y, drive, h, count):
    r = rates(kin)
    go = lambda i, u: after(u, stages(form, u, r, drive.later(i * h, r.decay), h))[0]
    return jax.lax.fori_loop(0, count, go, y)


def order_of_convergence(form, kin, minutes, counts):
    """Slope of log error over log step against 32 times the finest number of steps."""
    y, _, drive = an_hour_in(form)
    *coarse, exact = (np.asarray(with_steps(form, kin, y, drive, minutes / n, n)) for n in (*counts, 32 * counts[-1]))
    return -np.polyfit(np.log(counts), [np.log(np.max(np.abs(y - exact))) for y in coarse], 1)[0]


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_a_step_is_of_order_five(form):
    # exchange slowed until steps of minutes resolve it; with a patient's stiff rates the slope falls to about 3 or 4
    # once the error is below 1e-7 nmol, as for any Rosenbrock method
    slow = scaled(KIN, **dict.fromkeys(("plasma_flow", "permeability", "filtration", "k_on", "k_off"), 0.003))
    assert order_of_convergence(form, slow, 120.0, (4, 8, 16, 32)) == pytest.approx(5, abs=0.3)


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


def log_tia(solution):
    """Logarithm of the time-integrated activity of kidneys and tumour at the end, [2, patient]."""
    integrals = solution.integrals.organ[-1]
    at = [KIN.organs.index(organ) for organ in (*KIDNEYS, "tumour_1")]
    return jnp.log(jnp.stack([integrals[at[0]] + integrals[at[1]], integrals[at[2]]]))


ONE_BOLUS = bolus(TOTAL, HOT, (), WEEKS_6_MIN)
TWO_INFUSIONS = segments([0.0, 30_000.0], [30.0, 30.0], [TOTAL, 0.7 * TOTAL], [HOT, HOT], (), WEEKS_6_MIN)


@cache
def derivatives(mode, adjoint=False, infused=False):
    """Of log TIA by log parameter, [2, parameter]; `mode` is `jax.jacfwd` or `jax.jacrev`."""
    grid = freeze(KIN, TWO_INFUSIONS if infused else ONE_BOLUS)
    on_grid = lambda theta: log_tia(solve_on(with_logs(theta), grid, bed=False, adjoint=adjoint))[:, 0]
    return np.asarray(jax.jit(mode(on_grid))(jnp.zeros(len(PARAMETERS))))


def differences(half_step=1e-3):
    """Central differences of order 4 of adaptive solves; all shifted patients are one batch."""
    n = len(PARAMETERS)
    shifts = np.concatenate([k * half_step * np.eye(n) for k in (-2, -1, 1, 2)], axis=1)
    many = jax.tree.map(lambda x: jnp.repeat(x, 4 * n, axis=-1), KIN)
    solution = solve(with_logs(jnp.asarray(shifts), many), ONE_BOLUS, rtol=1e-10)
    far_left, left, right, far_right = np.split(np.asarray(log_tia(solution)), 4, axis=1)
    return (far_left - 8 * left + 8 * right - far_right) / (12 * half_step)


def test_derivatives_on_the_frozen_grid_are_central_differences():
    # of log TIA by log parameter, so 1e-5 is a part of the activity itself
    np.testing.assert_allclose(derivatives(jax.jacfwd), differences(), rtol=0, atol=1e-5)


def test_the_derivatives_are_not_trivial():
    """Negative control: each parameter moves an organ, by more than the tolerance above."""
    assert np.abs(derivatives(jax.jacfwd)).max(axis=0).min() > 1e-4


def test_reverse_derivatives_are_the_forward_ones():
    np.testing.assert_allclose(derivatives(jax.jacrev), derivatives(jax.jacfwd), rtol=0, atol=1e-10)


@pytest.mark.parametrize("infused", [False, True])
def test_the_adjoint_is_the_automatic_derivative(infused):
    # same grid, same arithmetic but for rounding
    by_hand, automatic = derivatives(jax.jacrev, True, infused), derivatives(jax.jacfwd, False, infused)
    np.testing.assert_allclose(by_hand, automatic, rtol=0, atol=1e-10)


def test_an_adjoint_on_another_grid_is_seen():
    """Negative control: the looser grid moves derivatives by more than the tolerance above."""
    grid = freeze(KIN, ONE_BOLUS, rtol=1e-3)
    on_grid = lambda theta: log_tia(solve_on(with_logs(theta), grid, bed=False, adjoint=True))[:, 0]
    by_hand = np.asarray(jax.jit(jax.jacrev(on_grid))(jnp.zeros(len(PARAMETERS))))
    assert np.abs(by_hand - derivatives(jax.jacfwd)).max() > 1e-10


def of_doses(amounts, grid, adjoint):
    """Kidney kill and urine for doses [segment, species] on a grid: what the BED and the doses' derivatives need."""
    found = solve_on(KIN, eqx.tree_at(lambda g: g.bolus_nmol, grid, amounts), adjoint=adjoint).integrals
    return jnp.log(found.kill[-1, KIN.organs.index("kidney_left"), 0]) + found.ledger[-1, 0, 0]


def test_the_adjoint_reaches_doses_and_the_integrals_of_the_bed():
    grid = freeze(KIN, bolus(TOTAL, HOT, (60.0,), 1440.0), form=BothSpecies.name)
    amounts = jnp.asarray(grid.bolus_nmol)
    by_hand, automatic = (
        jax.jit(jax.grad(lambda a, way=way: of_doses(a, grid, way)))(amounts) for way in (True, False)
    )
    assert np.abs(automatic).max() > 1e-3
    np.testing.assert_allclose(by_hand, automatic, rtol=0, atol=1e-10 * np.abs(automatic).max())


def test_the_adjoint_of_a_batch_is_that_of_each_patient(rng):
    shifts = jnp.asarray(0.2 * rng.standard_normal((len(PARAMETERS), 3)))
    grid = freeze(KIN, ONE_BOLUS, rtol=1e-4)
    many = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=-1), KIN)
    wide = eqx.tree_at(lambda g: g.ratio, grid, np.repeat(grid.ratio, 3))
    total = lambda theta, kin, on: jnp.sum(log_tia(solve_on(with_logs(theta, kin), on, bed=False, adjoint=True)))
    together = jax.jit(jax.grad(lambda theta: total(theta, many, wide)))(shifts)
    alone = jax.jit(jax.grad(lambda theta: total(theta[:, None], KIN, grid)))
    np.testing.assert_allclose(together, np.stack([alone(s) for s in shifts.T], axis=1), rtol=0, atol=1e-12)


def test_vmap_of_either_mode_is_a_loop(rng):
    grid = freeze(KIN, ONE_BOLUS)
    on_grid = lambda theta, adjoint: log_tia(solve_on(with_logs(theta), grid, bed=False, adjoint=adjoint))[1, 0]
    thetas = jnp.asarray(-0.1 * rng.random((3, len(PARAMETERS))))  # no excreted fraction above 1
    forward = jax.jit(jax.jacfwd(lambda theta: on_grid(theta, False)))
    reverse = jax.jit(jax.grad(lambda theta: on_grid(theta, True)))
    for derivative in (forward, reverse):
        together = np.asarray(jax.jit(jax.vmap(derivative))(thetas))
        alone = np.stack([np.asarray(derivative(theta)) for theta in thetas])
        assert np.max(np.abs(together - alone)) <= 1e-12 * np.max(np.abs(alone))
        assert np.max(np.abs(together[0] - together[1])) > 1e-3


def test_the_frozen_grid_is_the_adaptive_solution():
    seg = bolus(TOTAL, HOT, (60.0,), 1440.0)
    ours, adaptive = (everything(flat(s)) for s in (solve_on(KIN, freeze(KIN, seg)), solve(KIN, seg)))
    assert per_peak(ours, adaptive) <= 1e-12


def test_single_precision_is_close_where_it_is_asked_for():
    # rounding of 6e-8 over some hundred steps
    single = jax.tree.map(lambda x: x.astype(jnp.float32), KIN)
    found = solve(single, COURSE, rtol=1e-4)
    assert found.y.dtype == jnp.float32
    assert per_peak(everything(flat(found)), everything(states(rtol=1e-4))) <= 1e-4


# the general door


@pytest.mark.slow
def test_the_general_door_agrees():
    seg = bolus(TOTAL, HOT, TIMES_MIN[:3], 1440.0)
    general = solve_general(KIN, seg)
    assert not general.failed
    assert per_peak(everything(states(seg=seg)), everything(flat(general))) <= 1e-6
    kill = np.asarray(general.integrals.kill[..., 0])
    assert per_peak(np.asarray(solve(KIN, seg).integrals.kill[..., 0]), kill) <= 1e-6


def test_the_general_door_takes_one_patient():
    with pytest.raises(ValueError, match="2 patients"):
        solve_general(jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), KIN), bolus())
