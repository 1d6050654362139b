"""A stop rule in the plan: what it simulates, that it keeps the limit, what it gains, and which scans it asks for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import InputError
from tests.outlooks import by_hand
from twin.constraints import Limit
from twin.planning import Choices, plan, scan_worth
from twin.planning.problem import evaluate
from twin.planning.scans import shown_by
from twin.planning.setting import problem_of, space_of
from twin.planning.stopping import Rule, cycles_given, even, judged, prefixes, typical_of

KIDNEY = Limit("kidney", "kidneys", "bed_Gy", 22.0, "test")
BED_PER_GY = 0.02


def outlook(draws=200, spread=0.2, drift_sd=0.12, given=(), **changes):
    rng = np.random.default_rng(3)
    doses = {"kidneys": 0.8 * np.exp(spread * rng.standard_normal(draws)), "tumour_1": np.full(draws, 4.0)}
    return by_hand(doses, bed_per_Gy=BED_PER_GY, drift_sd=drift_sd, error_sd=0.1, given=given, **changes)


def planned(look, limits=(KIDNEY,), objective="mean_tumour_dose", **choices):
    return plan(look.twin, limits, objective, outlook=look, **({"cycles": 6} | choices))


@pytest.fixture(scope="module")
def stopped():
    look = outlook()
    return look, planned(look, stop_at=("kidney",))


def test_the_rule_is_what_its_words_say():
    """By hand: 5 Gy in each cycle, 8 given before; the third would make 23."""
    rule = Rule(0, 22.0, np.full(12, 5.0), np.zeros(12), 8.0)
    assert int(cycles_given(rule, np.zeros(12), 6)) == 2
    assert int(cycles_given(rule._replace(threshold_Gy=23.0), np.zeros(12), 6)) == 3
    assert int(cycles_given(rule, np.full(12, np.log(0.2)), 6)) == 6
    assert int(cycles_given(rule._replace(past_Gy=18.0), np.zeros(12), 6)) == 0
    big = np.array([np.log(3.0), *np.zeros(11)])  # 15 Gy seen, 8 before, another 15 foreseen
    assert int(cycles_given(rule, big, 6)) == 1


def test_never_stopping_is_the_plan_without_a_rule():
    """All cycles given: objective and slack are those of the ordinary evaluation."""
    look, choices = outlook(), Choices(cycles=6)
    problem, space = problem_of(look, (KIDNEY,), choices, "mean_tumour_bed", 0.05, 1.0), space_of(look, choices, 6)
    assert space is not None
    v = even(space, np.zeros(space.size), 3000.0)
    value, slack = judged(problem, prefixes(problem, v), v, np.full(problem.moved.shape[:2], 6))
    found = evaluate(problem, v)
    assert float(value) == pytest.approx(float(found.objective), rel=1e-12)
    assert float(slack[0]) == pytest.approx(float(found.slack[0]), rel=1e-9)


def test_the_limit_is_kept_and_more_is_gained_than_without_a_rule(stopped):
    look, made = stopped
    fixed = planned(look)
    assert made.stopping is not None
    assert made.probability_exceeded["kidney"] <= 0.055
    assert made.value > 1.1 * fixed.value
    assert made.stopping.fixed_objective == pytest.approx(fixed.value)
    assert np.all(np.diff(made.stopping.given) <= 0)
    assert made.stopping.given[0] == 1.0


def test_an_independent_simulation_of_the_rule_finds_the_same(stopped):
    """New patients in numpy: true doses, drift, errors of mass, scans with their error, and the rule cycle by cycle.
    10 000 patients know a share of 5 % to 0.2 %; the plan was made on 3200 composites of the same 200 draws."""
    look, made = stopped
    assert made.stopping is not None
    rng, count, each = np.random.default_rng(11), 10_000, made.administrations[0].activity_MBq / 1000
    log = np.log(np.exp(np.asarray(look.surfaces.dose)[0, 0, :, 0]) * 1000)
    draw = rng.integers(0, len(log), count)
    walk = np.cumsum(0.12 * rng.standard_normal((count, 6)), axis=1)
    true = np.exp(log[draw][:, None] + walk + 0.1 * rng.standard_normal((count, 1))) * each
    v, problem = _problem(look, made)
    seen = shown_by(
        look, v, 6, 0, made.stopping.scans_h, np.tile(log[:, None], (1, 6)), 0.12**2 * np.arange(1, 7)
    )  # fmt: skip
    away = log[draw][:, None] - log.mean() + walk
    own = np.einsum("nd,cd->nc", rng.standard_normal((count, seen.root.shape[0])), seen.root)
    own = own.reshape(count, 6, -1)
    estimate = np.einsum("ncs,cs->nc", away[..., None] + own, seen.weight)
    linear, quadratic, _ = typical_of(problem, v, 0)
    believed = linear[:6] * np.exp(estimate) + quadratic[:6] * np.exp(2 * estimate)
    total = np.zeros(count)
    tumour = np.zeros(count)
    goes = np.ones(count, bool)
    for c in range(6):
        if c:
            goes &= believed[:, :c].sum(axis=1) + believed[:, c - 1] <= made.stopping.threshold_Gy
        total += goes * true[:, c] * (1 + BED_PER_GY * true[:, c])
        tumour += goes * 4.0 * each
        assert np.mean(goes) == pytest.approx(made.stopping.given[c], abs=0.02)
    assert np.mean(total > 22.0) == pytest.approx(0.05, abs=0.01)
    assert tumour.mean() == pytest.approx(made.value, rel=0.01)


def _problem(look, made):
    choices = Choices(cycles=6)
    problem, space = problem_of(look, (KIDNEY,), choices, "mean_tumour_dose", 0.05, 1.0), space_of(look, choices, 6)
    assert space is not None
    return even(space, np.zeros(space.size), made.administrations[0].activity_MBq), problem


def test_forecast_table_and_comparison_count_the_rule_in(stopped):
    look, made = stopped
    assert made.stopping is not None
    kidneys = made.forecast.dose_Gy[..., made.forecast.regions.index("kidneys")]
    np.testing.assert_allclose(np.mean(kidneys > 0, axis=0), made.stopping.given, atol=0.08)  # 200 draws of their own
    assert list(made.table()["share_given"]) == list(made.stopping.given)
    mine = made.schedules[0]
    assert np.mean(mine.tumour_dose_Gy) == pytest.approx(made.value, rel=0.04)
    assert "stop rule" in made.warnings[0]
    assert made.knowledge is not None
    assert made.knowledge.worth_MBq > 0


def test_the_price_is_what_a_looser_limit_brings(stopped):
    look, made = stopped
    loose = planned(look, (replace(KIDNEY, value_Gy=22.22),), stop_at=("kidney",))
    [price] = [p.value for p in made.prices]
    assert price == pytest.approx((loose.value - made.value) / 0.22, rel=0.5)  # a count of draws: steps of 1/3200


def test_goes_on_is_the_rule_for_the_clinic(stopped):
    _, made = stopped
    assert made.stopping is not None
    third = made.stopping.threshold_Gy / 3
    assert made.stopping.goes_on([third, 0.9 * third])
    assert not made.stopping.goes_on([third, 1.1 * third])


def test_two_scans_are_asked_for_only_where_they_bring_enough():
    """A dear scan is left out; where every scan is too dear there is no rule at all."""
    look = outlook()
    hours = lambda least: planned(look, stop_at=("kidney",), least_gain_per_scan=least).stopping
    cheap, usual, dear = hours(0.0), hours(0.01), hours(0.5)
    assert cheap is not None
    assert usual is not None
    assert len(cheap.scans_h) >= len(usual.scans_h)
    assert dear is None


def test_without_a_rule_the_scans_of_the_coming_cycle_are_chosen():
    look = outlook()
    made = planned(look, scans=((24.0,), (24.0, 96.0)))
    assert made.stopping is None
    assert [row.times_h for row in made.scans] in ([(24.0,), (24.0, 96.0)], [(24.0, 96.0), (24.0,)])
    assert made.scans[0].relative > 0.05
    dear = planned(look, scans=((24.0,),), least_gain_per_scan=3.0)
    assert dear.scans == ()
    assert "no scan" in dear.warnings[-1]
    at_cap = planned(look, (replace(KIDNEY, value_Gy=400.0),), scans=((24.0,),))
    assert at_cap.scans == ()  # more activity cannot be given whatever a scan shows


def test_more_scans_never_show_less():
    look = outlook()
    made = planned(look)
    one, two = (row.gain_MBq for row in sorted(scan_worth(look, made, (24.0, (24.0, 96.0))), key=lambda r: r.times_h))
    assert two > one - 1.0


def test_a_rule_can_meet_a_demand_that_no_fixed_schedule_meets():
    look = outlook()
    most = planned(look).value
    demand = Limit("tumour", "tumours", "dose_Gy", 1.1 * most, "test", rule="expectation", at_least=True)
    assert planned(look, (KIDNEY, demand)).conflict is not None
    made = planned(look, (KIDNEY, demand), stop_at=("kidney",))
    assert made.conflict is None
    assert made.stopping is not None
    assert np.isnan(made.stopping.fixed_objective)


def test_what_was_given_counts():
    look = outlook(given=by_hand({"kidneys": np.ones(2)}).given_administrations)
    made = planned(look, stop_at=("kidney",))
    assert made.probability_exceeded["kidney"] <= 0.055
    assert len(made.administrations) <= 5


@pytest.mark.parametrize(
    ("choices", "words"),
    [
        ({"stop_at": ("kidny",)}, "one of the plan's limits"),
        ({"stop_at": ("each",)}, "over the whole course"),
        ({"stop_at": ("kidney",), "scans": ((1e4,),)}, "different hours"),
        ({"scans": ((24.0, 24.0),)}, "different hours"),
        ({"least_gain_per_scan": -1.0}, "0 or more"),
    ],
)
def test_mistakes_are_told(choices, words):
    each = Limit("each", "kidneys", "dose_Gy", 9.0, "test", per="cycle")
    with pytest.raises(InputError, match=words):
        planned(outlook(draws=50), (KIDNEY, each), **choices)
