"""Activity for a target within limits: which holds, what follows, how likely limits are passed."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import InputError
from dose.sirt.limits import SirtLimit, sirt_limits, tumour_target_Gy
from dose.sirt.liver import Liver, SirtSpread, Tumour
from dose.sirt.partition import LUNGS, PERFUSED, WHOLE, coefficients_Gy_per_GBq
from dose.sirt.plan import plan_activity

LIVER = Liver((Tumour("tumour_1", 300, 4.0), Tumour("tumour_2", 50, 2.0)), 700, 0.05, unperfused_g=800, lungs_g=1000)
SURE = SirtSpread(0, 0, 0, 0, 0, 0)


def dose(plan, name):
    return next(d.dose_Gy for d in plan.doses if d.region == name)


def test_the_target_is_reached_in_the_coldest_tumour():
    plan = plan_activity(LIVER, product="glass")
    assert (plan.active, plan.reaches_target) == ("target", True)
    assert dose(plan, "tumour_2").value == pytest.approx(205)
    assert dose(plan, "tumour_1").value == pytest.approx(410)


@pytest.mark.parametrize("on", ["tumour_1", "lesion 2", "mean"])
def test_the_target_may_be_of_one_tumour_or_the_mean(on):
    plan = plan_activity(LIVER, 150.0, product="glass", on=on)
    reached = {
        "tumour_1": dose(plan, "tumour_1").value,
        "lesion 2": dose(plan, "tumour_2").value,
        "mean": (300 * dose(plan, "tumour_1").value + 50 * dose(plan, "tumour_2").value) / 350,
    }
    assert reached[on] == pytest.approx(150)


def test_resin_is_held_by_the_perfused_liver():
    plan = plan_activity(LIVER, product="resin")
    assert plan.active == PERFUSED
    assert dose(plan, PERFUSED).value == pytest.approx(40)
    assert any("holds the activity" in note for note in plan.warnings)
    weak = plan_activity(LIVER, product="resin", function="compromised")
    assert dose(weak, PERFUSED).value == pytest.approx(30)


@pytest.mark.parametrize(("function", "limit"), [("default", 75), ("preserved", 90), ("compromised", 50)])
def test_glass_is_held_by_the_whole_liver_by_its_function(function, limit):
    plan = plan_activity(LIVER, 2000.0, product="glass", function=function, spread=SURE)
    assert plan.active == WHOLE
    assert dose(plan, WHOLE).value == pytest.approx(limit)


def test_with_little_reserve_the_perfused_liver_counts_as_well():
    alone = Liver(LIVER.tumours, 700, 0.05, unperfused_g=100)
    assert PERFUSED in [limit.name for limit in sirt_limits("glass", alone)]
    assert PERFUSED not in [limit.name for limit in sirt_limits("glass", LIVER)]


def test_earlier_lung_dose_is_taken_off_the_course():
    """15 % to the lungs: 30 Gy in the session; after 30 Gy earlier, 20 are left of 50."""
    liver = Liver(LIVER.tumours, 700, 0.15, unperfused_g=800, lungs_g=600)
    plan = plan_activity(liver, 800.0, product="glass", spread=SURE)
    assert plan.active == "lungs_session"
    assert dose(plan, LUNGS).value == pytest.approx(30)
    again = plan_activity(liver, 800.0, product="glass", earlier_lungs_Gy=30, spread=SURE)
    assert again.active == "lungs_course"
    assert dose(again, LUNGS).value == pytest.approx(20)


def test_glass_limits_activity_in_the_lungs_and_resin_the_shunt():
    liver = Liver(LIVER.tumours, 700, 0.21, unperfused_g=800, lungs_g=2000)
    glass = plan_activity(liver, 400.0, product="glass", spread=SURE)
    assert glass.active == "lung_activity"
    assert glass.activity_GBq.value * 0.21 == pytest.approx(0.61)
    resin = plan_activity(liver, product="resin", spread=SURE)
    assert (resin.activity_GBq.value, resin.active) == (0.0, "lung_share")
    assert any("no activity can be given" in note for note in resin.warnings)


def test_probabilities_are_those_of_the_draws():
    """At the point limit about half of the draws pass it; with 90 % confidence a tenth."""
    plan = plan_activity(LIVER, product="resin", draws=4000)
    check = next(c for c in plan.limits if c.limit.name == PERFUSED)
    assert 0.4 < check.probability_passed < 0.6
    careful = plan_activity(LIVER, 500.0, product="resin", confidence=0.9, draws=4000)
    check = next(c for c in careful.limits if c.limit.name == PERFUSED)
    assert check.probability_passed == pytest.approx(0.1, abs=1e-3)  # the quantile of the same draws
    assert careful.activity_GBq.value < plan.activity_GBq.value


def test_without_spread_the_interval_is_a_point_and_the_target_certain():
    plan = plan_activity(LIVER, product="glass", spread=SURE)
    assert plan.activity_GBq.low == pytest.approx(plan.activity_GBq.high)
    assert plan.target_probability == 1.0


def test_the_activity_is_the_least_of_all_it_may_be():
    plan = plan_activity(LIVER, product="resin")
    assert plan.activity_GBq.value == min([plan.target_activity_GBq, *(c.allows_GBq for c in plan.limits)])
    assert all(c.reached <= c.limit.value * (1 + 1e-9) for c in plan.limits)


def test_own_limits_replace_the_tables():
    mine = (SirtLimit("mine", "dose_Gy", 55.0, PERFUSED, earlier_Gy=5.0),)
    plan = plan_activity(LIVER, product="glass", limits=mine, spread=SURE)
    assert plan.active == "mine"
    assert dose(plan, PERFUSED).value == pytest.approx(50)
    assert plan_activity(LIVER, product="glass", limits=(), spread=SURE).reaches_target


def test_a_limit_without_a_shunt_limits_nothing():
    liver = Liver(LIVER.tumours, 700, 0.0, unperfused_g=800)
    limit = next(c for c in plan_activity(liver, product="glass").limits if c.limit.name == "lung_activity")
    assert limit.allows_GBq == np.inf
    assert limit.reached == 0


def test_tables_name_their_sources():
    plan = plan_activity(LIVER, product="glass")
    assert list(plan.table()["region"]) == [d.region for d in plan.doses]
    assert set(plan.limits_table()["source"]) == {"eanm_sirt_2022", "van_roekel", "sirt_label"}


def test_the_whole_liver_at_once_is_named():
    assert any(
        "whole liver" in note for note in plan_activity(Liver(LIVER.tumours, 700, 0.05), product="glass").warnings
    )


def test_products_have_their_targets():
    assert (tumour_target_Gy("glass"), tumour_target_Gy("resin", "mcrc")) == (205, 100)


def test_an_activity_beyond_any_vial_is_named():
    liver = Liver((Tumour("tumour_1", 3000, 1.0),), 3000, 0.0, unperfused_g=1000)
    plan = plan_activity(liver, 300.0, product="glass", limits=())
    assert plan.activity_GBq.value == pytest.approx(300 / coefficients_Gy_per_GBq(liver)["tumour_1"])
    assert any("vials" in note for note in plan.warnings)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: plan_activity(LIVER, product="plastic"), "tumour_target"),
        (lambda: plan_activity(LIVER, 205.0, product="plastic"), "one of glass, resin"),
        (lambda: plan_activity(LIVER, product="glass", function="good"), "preserved"),
        (lambda: plan_activity(LIVER, product="glass", on="tumour_7"), "one of tumour_1"),
        (lambda: plan_activity(LIVER, -5.0, product="glass"), "target_Gy"),
        (lambda: plan_activity(LIVER, product="resin", confidence=1.5), "confidence"),
        (lambda: SirtLimit("x", "bed_Gy", 10.0), "kind"),
        (lambda: SirtLimit("x", "dose_Gy", 0.0), "value of x"),
        (lambda: plan_activity(LIVER, product="glass", earlier_lungs_Gy=-1), "earlier"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()
