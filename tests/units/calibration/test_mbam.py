"""MBAM on models whose edges are known, laws of geodesics, and the whole-body model with limits put in by hand."""

from __future__ import annotations

from dataclasses import replace

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.mbam import Reduced, reduce
from calibration.mbam_geodesic import FAR, Surface, geodesic, sloppiest
from calibration.mbam_model import ReducedModel, population_error, reductions
from calibration.mbam_pbpk import REABSORBED, SCALE, levers, predictions, with_change
from dose.errors import InputError
from tests import synthetic
from twin.body import body_of

NOISE = 0.05


def surface(function) -> Surface:
    """A toy's log predictions over NOISE, with its derivatives."""
    over = jax.jit(lambda theta: function(theta) / NOISE)

    def along(theta, basis):
        return np.asarray(over(theta)), np.asarray(jax.jacfwd(over)(jnp.asarray(theta))) @ basis

    def curvature(theta, direction):
        slope = lambda x: jax.jvp(over, (x,), (jnp.asarray(direction),))[1]
        return np.asarray(jax.jvp(slope, (jnp.asarray(theta),), (jnp.asarray(direction),))[1])

    return Surface(lambda theta: np.asarray(over(jnp.asarray(theta))), along, curvature)


def rate(substrate):
    """Log of the Michaelis-Menten rate v = V s / (K + s); parameters ln V, ln K."""
    s = jnp.asarray(substrate)
    return surface(lambda theta: theta[0] + jnp.log(s) - jnp.log(jnp.exp(theta[1]) + s))


def two_exponentials(times):
    """Log of exp(-a t) + exp(-b t); parameters ln a, ln b."""
    t = jnp.asarray(times)
    return surface(lambda theta: jnp.log(jnp.sum(jnp.exp(-jnp.exp(theta)[:, None] * t), axis=0)))


FAR_BELOW, FAR_ABOVE, AROUND = (np.geomspace(*ends, 6) for ends in ((1e-3, 1e-2), (1e2, 1e3), (0.1, 10.0)))
START = np.array([0.3, 0.0])


def found(toy, names, start=START, largest=0.02, **options):
    return list(reduce(toy, names, start, noise=NOISE, largest=largest, **options))


def test_far_below_saturation_only_the_ratio_of_rate_and_constant_is_left():
    """s << K: v = (V/K) s. The edge is V and K to infinity together: K is pinned far up, and V follows by its refit."""
    (step,) = found(rate(FAR_BELOW), ("V", "K"))
    assert len(step.reduced.free) == 1
    full = step.reduced.full(step.phi)
    assert full[0] - full[1] == pytest.approx(0.3, abs=0.02)
    assert full[1] > 5


def test_far_above_saturation_the_constant_is_gone():
    """s >> K: v = V."""
    (step,) = found(rate(FAR_ABOVE), ("V", "K"), zeros=frozenset({"K"}))
    assert step.reduced.limits == ("K -> 0",)
    assert step.reduced.full(step.phi) == pytest.approx([0.3, -np.inf], abs=0.01)


def test_around_saturation_nothing_can_go():
    """The control: predictions on both sides of K need both parameters."""
    assert found(rate(AROUND), ("V", "K")) == []


def test_a_fast_exponential_that_is_over_before_the_first_point_goes_to_infinity():
    """exp(-b t) with b = 20 at t >= 0.5 is 5e-5 of exp(-a t), far below the error allowed."""
    (step,) = found(two_exponentials(np.linspace(0.5, 3.0, 8)), ("a", "b"), np.log([0.5, 20.0]))
    assert step.reduced.limits == ("b -> infinity",)
    assert np.exp(step.phi) == pytest.approx([0.5], rel=1e-3)


def test_a_slow_exponential_that_has_not_begun_goes_to_zero():
    (step,) = found(two_exponentials(np.linspace(0.5, 3.0, 8)), ("a", "b"), np.log([0.5, 1e-4]))
    assert step.reduced.limits == ("b -> 0",)


def test_two_exponentials_that_both_show_stay():
    assert found(two_exponentials(np.linspace(0.1, 6.0, 12)), ("a", "b"), np.log([0.3, 3.0])) == []


def test_the_error_said_is_that_of_the_reduced_model():
    toy = rate(FAR_BELOW)
    (step,) = found(toy, ("V", "K"))
    error = NOISE * (toy.values(step.reduced.full(step.phi)) - toy.values(START))
    assert step.largest == pytest.approx(np.abs(error).max())
    assert step.rms == pytest.approx(np.sqrt(np.mean(error**2)))
    assert 0 < step.largest < 0.02


def test_a_geodesic_has_constant_speed_in_data_space():
    """By its equation; the steps' tolerance is 3 %. In parameter space it speeds up towards the edge."""
    toy = rate(AROUND)
    path = geodesic(toy, START)
    speeds = [np.linalg.norm(toy.problem(x)[1] @ v) for x, v in zip(path.theta, path.velocity, strict=True)]
    assert speeds == pytest.approx([speeds[0]] * len(speeds), rel=0.1)
    assert np.linalg.norm(path.velocity[-1]) > 2 * np.linalg.norm(path.velocity[0])


def test_the_geodesic_of_a_linear_model_is_straight():
    matrix = jnp.array([[3.0, 1.0], [1.0, 2.0], [0.5, -1.0]])
    path = geodesic(surface(lambda theta: matrix @ theta), np.zeros(2))
    assert path.velocity == pytest.approx(np.broadcast_to(path.velocity[0], path.velocity.shape), abs=1e-9)
    assert np.abs(path.theta[-1]).max() > FAR


def test_the_sloppiest_direction_is_the_least_seen():
    value, direction = sloppiest(np.diag([3.0, 0.1, 2.0]))
    assert value == pytest.approx(0.1)
    assert np.abs(direction) == pytest.approx([0.0, 1.0, 0.0])


def test_more_parameters_than_predictions_leave_a_direction_of_no_effect():
    assert sloppiest(np.array([[1.0, 1.0]]))[0] == 0.0


def test_a_tied_model_gives_the_full_parameters():
    whole = Reduced.whole(("a", "b", "c"))
    after, phi = whole.without(0, np.array([1.0, 2.0, 3.0]), up=True, zero=False, tied={2: 1.0})
    assert after.free == ("b", "c")
    assert after.full(phi) == pytest.approx([1.0 + FAR, 2.0, 3.0 + FAR])
    assert after.full(phi + np.array([0.0, 0.5]))[2] == pytest.approx(3.5 + FAR)


@pytest.fixture(scope="module")
def body():
    return body_of(synthetic.empty_study())


def by_hand(body, **changes) -> ReducedModel:
    """A model with the levers of `changes` at these log changes and all others free."""
    moved = levers(body.first.kinetics)
    places = {lever.name: k for k, lever in enumerate(moved)}
    theta = np.zeros(len(moved))
    for name, value in changes.items():
        theta[places[name]] = value
    free = tuple(name for name in places if name not in changes)
    return ReducedModel(moved, theta, free, tuple(changes), 0.0, 0.0)


def test_every_lever_moves_something_and_none_at_zero(body):
    kin = body.first.kinetics
    moved = levers(kin)
    same = with_change(kin, moved, np.zeros(len(moved)))
    assert all(
        bool(jnp.allclose(a, b, rtol=1e-15)) for a, b in zip(jax.tree.leaves(kin), jax.tree.leaves(same), strict=True)
    )
    for k in range(len(moved)):
        other = with_change(kin, moved, 0.1 * np.eye(len(moved))[k])
        assert any(not np.array_equal(a, b) for a, b in zip(jax.tree.leaves(kin), jax.tree.leaves(other), strict=True))


def test_no_activity_knows_the_litre(body):
    """An exact symmetry of the equations: all volumes, flows and permeabilities and k_on times c, KD over c."""
    kin = body.first.kinetics
    scaled = eqx.tree_at(
        lambda k: [getattr(k, name) for name in (*SCALE, "k_on")],
        kin,
        [getattr(kin, name) * 3.0 for name in (*SCALE, "k_on")],
    )
    seen, again = (predictions(body.first, k)((), np.zeros(0)) for k in (kin, scaled))
    assert again == pytest.approx(np.asarray(seen), abs=1e-9)
    other = eqx.tree_at(lambda k: k.k_on, scaled, kin.k_on)
    assert np.abs(predictions(body.first, other)((), np.zeros(0)) - seen).max() > 0.01


def test_the_shipped_model_keeps_curves_and_doses(body):
    """Validation says more (100 patients); here 4, and twice its tolerance."""
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(len(body.prior.names)), body.prior.covariance, 4)
    model = ReducedModel.shipped(body.first.kinetics)
    assert len(model.free) < len(model.levers) / 2
    found = population_error(model, body.first, body.prior, draws)
    assert np.all(found.tia_rms < 0.02)
    assert np.all(found.curve_rms < 0.04)


def test_without_reabsorption_all_filtrate_is_excreted(body):
    model = by_hand(body, **{REABSORBED: -np.inf})
    assert model.kinetics(body.first.kinetics).excreted_fraction == pytest.approx(1.0)


def test_the_prior_keeps_only_what_still_acts(body):
    model = by_hand(body, **{"permeability/parotid": FAR, "receptors/kidneys": 0.1})
    left = model.prior(body.prior)
    gone = {"kPS/parotid", "receptor_density/kidney_left", "receptor_density/kidney_right"}
    assert set(body.prior.names) - set(left.names) == gone
    assert left.covariance.shape == (len(left.names),) * 2
    k = left.names.index("release/kidney_left")
    assert left.log_sd[k] == body.prior.log_sd[body.prior.names.index("release/kidney_left")]


def test_a_reduced_course_is_calibrated_as_any_other(body):
    """Its information is that of the full model: flow through the parotid hardly limits its uptake."""
    from calibration.identifiability import information
    from tests.validate.checks_design import scans

    model = by_hand(body, **{"plasma_flow/parotid": FAR})
    seen = scans((24.0, 72.0), np.full(10, 20.0))
    full = information(body.courses, seen, body.prior)
    short = information((model.course(body.first),), seen, model.prior(body.prior))
    assert short.names == full.names
    sd = lambda info: np.sqrt(np.diag(info.posterior_covariance))
    assert sd(short) == pytest.approx(sd(full), rel=0.05)


def test_the_error_of_no_change_is_nothing_and_that_of_no_receptors_is_much(body):
    draws = np.random.default_rng(1).multivariate_normal(np.zeros(len(body.prior.names)), body.prior.covariance, 3)
    ask = lambda model: population_error(model, body.first, body.prior, draws, regions=("kidneys", "parotid"))
    assert np.all(ask(by_hand(body)).curve_largest < 1e-12)
    without = ask(by_hand(body, **{"receptors/kidneys": -np.inf}))
    assert without.tia_rms[0] > 1.0
    assert without.tia_rms[1] < 0.1


@pytest.mark.slow
def test_the_whole_body_model_loses_parameters_without_harm(body):
    """Six steps of about a hundred: harmless ones by a wide margin."""
    steps = reductions(body.first, body.prior, np.zeros((0, len(body.prior.names))), regions=("kidneys", "parotid"))
    last = [next(steps) for _ in range(6)][-1]
    assert len(last.free) == len(last.levers) - 6
    assert last.largest < 0.01


def test_bad_input_is_refused(body):
    none = np.zeros((0, len(body.prior.names)))
    with pytest.raises(InputError, match="0.05"):
        next(reductions(body.first, body.prior, none, largest=5.0))
    two = jax.tree.map(lambda x: jnp.concatenate([x, x], axis=-1), body.first.kinetics)
    with pytest.raises(InputError, match="one column"):
        next(reductions(replace(body.first, kinetics=two), body.prior, none))
