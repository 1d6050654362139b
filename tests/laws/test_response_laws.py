"""Laws of the tumour response and of cycles coupled to it: closed forms, limits, order of splitting, clear refusals."""

import re
import runpy

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dose.errors import InputError
from pbpk.carried import fitted
from pbpk.cycles import Cycle, simulate_cycles
from pbpk.forms import BothSpecies
from pbpk.kinetics import Kinetics
from pbpk.response import Cells, Exposure, published, respond, typical
from pbpk.segments import segments
from pbpk.solve import solve
from pbpk.state import unpack
from tests.reference.reference_pbpk import default_patient

DAY_MIN = 1440.0
WEEKS_6 = 42 * DAY_MIN
VOLUMES_mL = {"tumour_1": 20.0}
PER_NMOL = {"tumour_1": 0.05}
"""Near that of 177Lu in 20 g, Gy/min per nmol."""
HOT_NMOL = 10.3
DOSE = Cycle(100.0, HOT_NMOL, WEEKS_6)
INERT = {"alpha_per_Gy": 0.0, "hit_per_Gy": 0.0, "clearance_per_min": 0.0}


@pytest.fixture(scope="module")
def kin() -> Kinetics:
    return default_patient()


def tumour(kin) -> int:
    return kin.organs.index("tumour_1")


def repeated(kin, count: int) -> Kinetics:
    return jax.tree.map(lambda x: jnp.repeat(x, count, axis=-1), kin)


def cells(mass_g) -> Cells:
    mass = jnp.atleast_2d(jnp.asarray(mass_g, float))
    return Cells(mass, 0 * mass, 0 * mass)


def constant(rate_Gy_per_min, minutes) -> Exposure:
    """The same dose rate throughout; `rate` [tumour, patient]."""
    rate = jnp.atleast_2d(jnp.asarray(rate_Gy_per_min, float))
    return Exposure(jnp.asarray([0.0, minutes]), jnp.stack([rate, rate]), rate[None])


def decaying(rate_Gy_per_min, decay_per_min, minutes, edges=2000) -> Exposure:
    edge = jnp.linspace(0.0, minutes, edges)
    at = (rate_Gy_per_min * jnp.exp(-decay_per_min * edge))[:, None, None]
    return Exposure(edge, at, -jnp.diff(at, axis=0) / (decay_per_min * jnp.diff(edge)[:, None, None]))


# Cells alone


def test_without_dose_a_tumour_follows_gompertz():
    """ln(M/K) decays at the growth rate, from any number of tumours and patients at once."""
    mass_g, minutes = np.array([[0.5, 2.0, 10.0], [1.0, 5.0, 10.9]]), 400 * DAY_MIN
    found = respond(typical(), cells(mass_g), constant(0 * mass_g, minutes), jnp.asarray(mass_g)).cells.mass_g
    rate, capacity_g = published("gompertz_growth"), published("capacity")
    expected = capacity_g * (mass_g / capacity_g) ** np.exp(-rate * minutes)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    exponential = respond(typical("exponential"), cells(mass_g), constant(0 * mass_g, minutes), jnp.asarray(mass_g))
    assert np.max(np.abs(exponential.cells.mass_g / expected - 1)) > 0.1  # negative control


def test_exponential_growth_doubles_in_the_doubling_time():
    minutes = published("doubling_time") * DAY_MIN
    found = respond(typical("exponential"), cells(7.0), constant(0.0, minutes), jnp.asarray([[7.0]]))
    np.testing.assert_allclose(found.cells.mass_g, 14.0, rtol=1e-6)


@pytest.mark.parametrize("dose_Gy", [0.1, 2.0, 10.0, 60.0])
def test_an_acute_dose_leaves_the_two_target_survival(dose_Gy):
    """exp(-alpha D) (1 - (1 - exp(-p D))^2), down to e^-66; no repair, which would count where few escape two hits."""
    response, minutes = typical(hit_per_Gy=0.61, alpha_per_Gy=0.5, repair_per_min=0.0), 1e-5
    found = respond(response, cells(1.0), constant(dose_Gy / minutes, minutes), jnp.ones((1, 1)))
    expected = -(0.5 + 0.61) * dose_Gy + np.log(2 - np.exp(-0.61 * dose_Gy))
    np.testing.assert_allclose(np.log(found.surviving_fraction), expected, rtol=1e-6)
    np.testing.assert_allclose(found.dose_Gy, dose_Gy, rtol=1e-6)


def test_a_small_acute_dose_leaves_the_linear_quadratic_survival():
    """beta = p^2; the next term is p^3 D^3 = 1e-6."""
    response, dose_Gy, minutes = typical(hit_per_Gy=0.01), 1.0, 1e-5
    left = lambda r: float(
        respond(r, cells(1.0), constant(dose_Gy / minutes, minutes), jnp.ones((1, 1))).surviving_fraction[0, 0]
    )
    expected = float(jnp.exp(-response.alpha_per_Gy * dose_Gy - response.beta_per_Gy2 * dose_Gy**2))
    assert left(response) == pytest.approx(expected, rel=1e-5)
    assert left(typical(hit_per_Gy=0.0)) != pytest.approx(expected, rel=5e-5)  # negative control: no beta


def test_a_protracted_dose_carries_the_lea_catcheside_factor():
    """Dose rate with decay rate l: G = l / (l + mu); the kill is so small that mass and cells stay."""
    response, decay = typical("none", alpha_per_Gy=0.0), np.log(2) / 3000
    found = respond(response, cells(1.0), decaying(0.1 * decay, decay, 60_000.0), jnp.ones((1, 1)))
    g = decay / (decay + float(response.repair_per_min))
    ours = -np.log(float(found.surviving_fraction[0, 0])) / float(response.beta_per_Gy2 * found.dose_Gy[0, 0] ** 2)
    assert ours == pytest.approx(g, rel=5e-3)
    assert g < 0.04  # negative control: an acute dose has 1


@pytest.mark.parametrize("hit_per_Gy", [0.06, 0.3])
def test_the_pools_are_those_of_an_independent_solution(hit_per_Gy):
    """Masses as states, by scipy's Radau, on an analytic dose rate, with growth, clearance and changing mass."""
    p, decay, first = typical(hit_per_Gy=hit_per_Gy, smallest_mass_g=1e-9), np.log(2) / 3000, 0.006
    alpha, hit, mu = (float(x) for x in (p.alpha_per_Gy, p.hit_per_Gy, p.repair_per_min))

    def derivative(t, y):
        healthy, hurt, lethal, _ = y
        mass = healthy + hurt + lethal
        rate = first * np.exp(-decay * t) * 8.0 / mass
        grow = float(p.growth_per_min) * np.log(float(p.capacity_g) / mass) * healthy
        first_hit, second = 2 * hit * rate * healthy, (alpha + hit) * rate * hurt
        killed = alpha * rate * healthy
        gone = float(p.clearance_per_min) * lethal
        return [grow - killed - first_hit + mu * hurt, first_hit - second - mu * hurt, killed + second - gone, rate]

    theirs = solve_ivp(derivative, (0, 20_000), [8.0, 0, 0, 0], method="Radau", rtol=1e-10, atol=1e-24).y[:, -1]
    ours = respond(p, cells(8.0), decaying(first, decay, 20_000.0), jnp.full((1, 1), 8.0))
    np.testing.assert_allclose([float(x[0, 0]) for x in (*ours.cells, ours.dose_Gy)], theirs, rtol=1e-5)


# Cycles


def whole(kin, cycles, rtol):
    """The same administrations in one plain solve: organ integrals at the end of each cycle."""
    ends = np.cumsum([c.length_min for c in cycles])
    amounts = np.array([[c.total_nmol, c.hot_nmol] for c in cycles]).T
    seg = segments(ends - cycles[0].length_min, [c.infusion_min for c in cycles], *amounts, ends[:-1], ends[-1])
    integral = np.asarray(solve(kin, seg, rtol=rtol, bed=False, form="total and hot").integrals.organ)
    at = [np.argmin(np.abs(seg.end_min - end)) for end in ends]
    return np.diff(integral[at], axis=0, prepend=0.0)


def test_without_radiosensitivity_the_kinetics_are_those_of_the_plain_solve(kin):
    """Two cycles three days apart, ligand taken along, one of them split; and an infusion."""
    still = typical("none", **INERT)
    cycles = [Cycle(100.0, HOT_NMOL, 3 * DAY_MIN, infusion_min=30.0)] * 2
    run = lambda cycles, **more: simulate_cycles(kin, cycles, still, VOLUMES_mL, PER_NMOL, rtol=1e-8, **more)
    plain, ours = whole(kin, cycles, 1e-8), run(cycles, carry_above=0.0)
    np.testing.assert_allclose(ours.tia_nmol_min, plain, rtol=1e-9)
    assert ours.carried == (False, True)
    assert float(ours.left_over[1, 0]) > 0.01
    split = [Cycle(100.0, HOT_NMOL, 3 * DAY_MIN, infusion_min=30.0, split_min=(10.0, 600.0))] * 2
    np.testing.assert_allclose(run(split, carry_above=0.0).tia_nmol_min, plain, rtol=1e-8)
    dropped = run(cycles, carry_above=10.0)  # negative control
    assert dropped.carried == (False, False)
    assert np.max(np.abs(dropped.tia_nmol_min / plain - 1)) > 1e-2
    np.testing.assert_allclose(ours.end_mL, 20.0, rtol=1e-12)


def test_more_activity_never_leaves_more_cells(kin):
    hot = HOT_NMOL * np.array([0.0, 0.25, 0.5, 1.0, 2.0, 4.0])
    cycles = [Cycle(100.0, hot, WEEKS_6)] * 3
    found = simulate_cycles(repeated(kin, len(hot)), cycles, typical("exponential"), VOLUMES_mL, PER_NMOL)
    assert np.all(np.diff(found.viable, axis=-1) < 0)
    assert np.all(np.diff(found.dose_Gy, axis=-1) > 0)
    np.testing.assert_allclose(found.surviving_fraction[..., 0], 1.0)
    grown = 2 ** (np.arange(1, 4) * 42 / published("doubling_time"))
    np.testing.assert_allclose(found.viable[:, 0, 0], grown, rtol=1e-6)


def test_a_patient_in_a_batch_is_the_patient_alone(kin):
    hot = HOT_NMOL * np.array([0.5, 2.0])
    run = lambda kin, hot: simulate_cycles(kin, [Cycle(100.0, hot, WEEKS_6)] * 2, typical("exponential"), VOLUMES_mL,
                                           PER_NMOL, rtol=1e-8)  # fmt: skip
    both, alone = run(repeated(kin, 2), hot), run(kin, hot[1])
    for name in ("tia_nmol_min", "dose_Gy", "end_mL", "surviving_fraction"):
        np.testing.assert_allclose(getattr(both, name)[..., 1], getattr(alone, name)[..., 0], rtol=1e-7)


def test_a_drift_of_zero_changes_nothing_and_another_acts_from_the_second_cycle_on(kin):
    run = lambda drift: simulate_cycles(
        kin, [DOSE] * 3, typical("none", **INERT), VOLUMES_mL, PER_NMOL, drift_log_per_cycle=drift
    )
    plain, zero, falling = run(None), run({"tumour_1": 0.0, "kidney_left": 0.0}), run({"tumour_1": -0.2})
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(zero), strict=True):
        np.testing.assert_array_equal(a, b)
    ratio = np.asarray(falling.receptors_nmol / plain.receptors_nmol)[:, tumour(kin), 0]
    np.testing.assert_allclose(ratio, np.exp([0.0, -0.2, -0.4]), rtol=1e-12)
    uptake = np.asarray(falling.tia_nmol_min / plain.tia_nmol_min)[:, tumour(kin), 0]
    assert uptake[0] == 1
    assert np.all(np.diff(uptake) < -0.05)


def test_unsaturated_uptake_is_linear_in_receptor_density(kin):
    """A trace in a tumour of few receptors: what receptors add to the TIA doubles with them; saturated, it does not."""
    row = tumour(kin)

    def tia(factor, total_nmol):
        few = eqx.tree_at(lambda k: k.receptors, kin, kin.receptors.at[row].multiply(factor))
        cycles = [Cycle(total_nmol, total_nmol / 2, WEEKS_6)] * 2
        found = simulate_cycles(
            few, cycles, typical("none", **INERT), VOLUMES_mL, PER_NMOL, drift_log_per_cycle={"tumour_1": np.log(2)},
            carry_above=1e9, rtol=1e-8,
        )  # fmt: skip
        return np.asarray(found.tia_nmol_min)[:, row, 0] / total_nmol

    added = tia(1e-5, 1e-4) - tia(1e-30, 1e-4)
    assert added[1] / added[0] == pytest.approx(2.0, rel=1e-3)
    many = tia(1.0, 1e-4) - tia(1e-30, 1e-4)
    assert many[1] / many[0] < 1.9  # negative control: limited by flow and permeability


@pytest.mark.parametrize("with_volume", [False, True])
def test_receptors_follow_the_volume(kin, with_volume):
    response = typical("exponential", density_with_volume=with_volume)
    found = simulate_cycles(kin, [DOSE] * 2, response, VOLUMES_mL, PER_NMOL)
    shrunk = float(found.start_mL[1, 0, 0]) / 20
    power = 1.25 if with_volume else 1.0
    row = tumour(kin)
    assert shrunk < 0.5
    assert float(found.receptors_nmol[1, row, 0] / kin.receptors[row, 0]) == pytest.approx(shrunk**power, rel=1e-12)
    others = np.delete(np.asarray(found.receptors_nmol[1] - kin.receptors), row, axis=0)
    np.testing.assert_array_equal(others, 0)


def test_dose_with_mass_change_exceeds_that_of_the_starting_mass_only_if_the_tumour_shrinks(kin):
    shrinks = simulate_cycles(kin, [DOSE], typical("exponential"), VOLUMES_mL, PER_NMOL)
    stays = simulate_cycles(kin, [DOSE], typical("none", **INERT), VOLUMES_mL, PER_NMOL)
    assert float(shrinks.dose_Gy[0, 0, 0]) > 1.1 * float(shrinks.dose_of_start_mass_Gy[0, 0, 0])
    np.testing.assert_allclose(stays.dose_Gy, stays.dose_of_start_mass_Gy, rtol=1e-8)


def test_splitting_is_of_first_order_and_converges(kin):
    """Pieces of two days, within which all uptake lies: as they are halved, so is the error in the end."""

    def dose_Gy(pieces):
        split = tuple(np.linspace(0, 2 * DAY_MIN, pieces + 1)[1:-1])
        found = simulate_cycles(
            kin, [Cycle(100.0, HOT_NMOL, 2 * DAY_MIN, split_min=split)], typical("exponential"), VOLUMES_mL, PER_NMOL
        )
        return float(found.dose_Gy[0, 0, 0])

    found = np.array([dose_Gy(n) for n in (16, 32, 64, 128, 256)])
    order = np.log2(np.diff(found)[:-1] / np.diff(found)[1:])
    assert np.all(np.diff(order) > 0)
    assert order[-1] == pytest.approx(1.0, abs=0.08)
    limit = 2 * found[-1] - found[-2]
    assert abs(found[0] / limit - 1) < 3e-3


# Ligand taken along


def test_ligand_beyond_the_receptors_is_moved_and_none_is_lost(kin):
    loaded = solve(kin, Cycle(300.0, HOT_NMOL, 600.0).pieces()[0], bed=False, form=BothSpecies.name)
    lost = eqx.tree_at(lambda k: k.receptors, kin, 0.3 * kin.receptors)
    before, after = loaded.y[-1], fitted(loaded.y[-1], lost)
    sums = lambda y: [float(part.sum()) for part in jnp.split(y, 2)]
    np.testing.assert_allclose(sums(after), sums(before), rtol=1e-14)
    bound = lambda y: unpack(jnp.split(y, 2)[0], kin.layout).bound
    free = lost.receptors[kin.layout.binding] - bound(after)
    assert float(free.min()) >= -1e-12
    assert float((lost.receptors[kin.layout.binding] - bound(before)).min()) < -1e-3  # negative control
    np.testing.assert_array_equal(fitted(before, kin), before)


# The page


def test_the_example_of_the_page_gives_the_table_of_the_page(repository, tmp_path):
    page = (repository / "docs/response.md").read_text(encoding="utf-8")
    script = tmp_path / "example.py"
    script.write_text(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], encoding="utf-8")
    found = runpy.run_path(str(script))
    shown = re.findall(r"^\| (0\.\d+) \| (.*?) \| (.*?) \| (.*?) \|$", page, re.MULTILINE)
    assert len(shown) == 3
    for alpha, *columns in shown:
        x = found["found"][float(alpha)]
        ours = (x.dose_Gy, x.end_mL, x.surviving_fraction)
        for text, value in zip(columns, ours, strict=True):
            np.testing.assert_allclose([float(n) for n in text.split(", ")], np.asarray(value)[:, 0, 0], rtol=0.006)


def test_a_vanishing_tumour_runs_away_as_the_page_says(kin):
    run = lambda **change: simulate_cycles(
        kin, [DOSE], typical("exponential", **change), VOLUMES_mL, {"tumour_1": 0.0513}
    )
    found = run(alpha_per_Gy=published("alpha", "high"))
    assert float(found.dose_Gy[0, 0, 0]) > 800
    assert float(found.dose_of_start_mass_Gy[0, 0, 0]) < 30
    assert float(run(hit_per_Gy=published("hit_listed")).surviving_fraction[0, 0, 0]) < 1e-200


# Refusals


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"volumes_mL": {"tumour_1": -20.0}}, "volumes_mL of tumour_1: found -20"),
        ({"volumes_mL": {"tumour_1": np.nan}}, "volumes_mL of tumour_1: found nan"),
        ({"volumes_mL": {"tumour_2": 20.0}}, "expected tumour_1"),
        ({"volumes_mL": {"liver": 20.0}}, "volumes_mL: found 'liver'"),
        ({"volumes_mL": {}}, "tumours: found 0 tumours"),
        ({"volumes_mL": {"tumour_1": [20.0, 30.0]}}, "value of tumour_1: found shape"),
        ({"volumes_mL": {"tumour_1": 1e-4}}, "smallest_mass_g"),
        ({"dose_rate_Gy_per_nmol_min": {"tumour_1": -1.0}}, "dose_rate_Gy_per_nmol_min of tumour_1"),
        ({"dose_rate_Gy_per_nmol_min": {"tumour_rest": 1.0}}, "0 tumours|both for each|1 tumours"),
        ({"cycles": []}, "cycles: found none"),
        ({"response": typical()}, "capacity_g: found a tumour 9 g heavier"),
        ({"drift_log_per_cycle": {"kidneyleft": 0.1}}, "expected kidney_left"),
        ({"drift_log_per_cycle": {"tumour_1": np.inf}}, "drift_log_per_cycle of tumour_1"),
        ({"carry_above": -1.0}, "carry_above: found -1"),
    ],
)
def test_bad_input_is_refused_by_name(kin, change, words):
    given = {"cycles": [DOSE], "response": typical("exponential"), "volumes_mL": VOLUMES_mL,
             "dose_rate_Gy_per_nmol_min": PER_NMOL}  # fmt: skip
    with pytest.raises(InputError, match=words):
        simulate_cycles(kin, **(given | change))


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: typical(alpha_per_Gy=-0.1), "alpha_per_Gy: found -0.1"),
        (lambda: typical(capacity_g=0.0), "capacity_g: found 0"),
        (lambda: typical("gompert"), "expected gompertz"),
        (lambda: typical(alfa_per_Gy=0.1), "expected alpha_per_Gy"),
        (lambda: published("alfa"), "expected alpha"),
        (lambda: Cycle(10.0, 20.0, 100.0), "hot_nmol: found more than total_nmol"),
        (lambda: Cycle(10.0, 1.0, 0.0), "length_min: found 0"),
        (lambda: Cycle(10.0, 1.0, 100.0, infusion_min=200.0), "infusion 200"),
        (lambda: Cycle(10.0, 1.0, 100.0, split_min=(50.0, 20.0)), "splits"),
    ],
)
def test_impossible_parameters_and_cycles_are_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
