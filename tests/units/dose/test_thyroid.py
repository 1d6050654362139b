"""131I in benign disease: the curve from few measurements, activity and dose; the examples of docs/thyroid.md."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from dose.curves import hanscheid_tia
from dose.errors import InputError
from dose.nuclides import radionuclide
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.thyroid.benign import (
    LOBES,
    classic_activity_MBq,
    coefficient_Gy_per_MBq_h,
    ellipsoid_mL,
    plan_thyroid,
    target_Gy,
    thyroid_dose_Gy,
    thyroid_mass_g,
)
from dose.thyroid.uptake import fit_uptake, thyroid_value

LP = radionuclide("131I").decay_constant_per_h
T = np.array([2.0, 5.0, 24.0, 48.0, 96.0, 168.0])


def two_compartments(t, uptake_per_h, excretion_per_h, biological_h):
    """Blood iodide to gland or urine, and gland out by `biological_h`; biological shares, solved as an ODE."""

    def slopes(_, y):
        gland = uptake_per_h * y[0] - math.log(2) / biological_h * y[1]
        return [-(uptake_per_h + excretion_per_h) * y[0], gland]

    return solve_ivp(slopes, (0, float(np.max(t))), [1.0, 0.0], t_eval=t, rtol=1e-10, atol=1e-12).y[1]


def true_integral_h(uptake_per_h, excretion_per_h, biological_h):
    """Closed form of the 131I integral of the model above."""
    return uptake_per_h / (uptake_per_h + excretion_per_h + LP) / (math.log(2) / biological_h + LP)


def test_good_measurements_give_the_integral_of_an_independent_solution():
    """Kinetics at the prior's middle and away from it; 1 % errors leave the prior a pull below 1 %."""
    for rates in ((0.15, 0.08, 320.0), (0.1, 0.15, 150.0), (0.3, 0.2, 700.0)):
        found = fit_uptake(T, two_compartments(T, *rates), disease="graves", decay_corrected=True, relative_sd=0.01)
        assert found.tia_h.value == pytest.approx(true_integral_h(*rates), rel=0.01)
        assert found.share(24.0) == pytest.approx(two_compartments(T, *rates)[2] * math.exp(-24 * LP), rel=0.02)


def test_the_prior_gives_way_to_data():
    shares = two_compartments(T, 0.15, 0.08, 320.0)
    counts = (1, 3, 6)
    found = [fit_uptake(T[-n:], shares[-n:], disease="graves", decay_corrected=True, relative_sd=0.02) for n in counts]
    assert found[0].prior_share > found[1].prior_share > found[2].prior_share
    widths = [f.tia_h.high - f.tia_h.low for f in found]
    assert widths[0] > widths[1] > widths[2]


@pytest.mark.slow
def test_intervals_cover_patients_of_the_population():
    """300 patients drawn from the prior, 24 h and 120 h with 7 %: 95 % intervals hold 92 to 98 % (3 sds of 300)."""
    rng = np.random.default_rng(8)
    held = 0
    t = np.array([24.0, 120.0])
    physical_h, effective_h = math.log(2) / LP, 5.0 * 24
    median_h = 1 / (1 / effective_h - 1 / physical_h)
    for _ in range(300):
        slow = LP + math.log(2) / (median_h * math.exp(0.7 * rng.standard_normal()))
        fast = slow + math.log(2) / (3.0 * math.exp(0.5 * rng.standard_normal()))
        amplitude = rng.uniform(0.3, 0.7)
        shares = amplitude * (np.exp(-slow * t) - np.exp(-fast * t)) * np.exp(LP * t)
        measured = shares * (1 + 0.07 * rng.standard_normal(2))
        found = fit_uptake(t, np.minimum(measured, 1.0), disease="graves", decay_corrected=True, draws=1000)
        held += found.tia_h.low <= amplitude * (1 / slow - 1 / fast) <= found.tia_h.high
    assert 0.92 <= held / 300 <= 0.98


def test_a_wrong_sd_would_not_cover():
    """The control: told 1 % where the error is 7 %, intervals miss far too often."""
    rng = np.random.default_rng(9)
    t, held = np.array([24.0, 48.0, 120.0, 168.0]), 0
    truth = true_integral_h(0.15, 0.08, 320.0)
    for _ in range(30):
        noisy = two_compartments(t, 0.15, 0.08, 320.0) * (1 + 0.07 * rng.standard_normal(4))
        found = fit_uptake(t[2:], noisy[2:], disease="graves", decay_corrected=True, relative_sd=0.01, draws=500)
        held += found.tia_h.low <= truth <= found.tia_h.high
    assert held / 30 < 0.8


def test_one_late_measurement_agrees_with_the_rule_that_needs_no_half_life():
    """At 144 h, 1.2 half-lives, the rule 2t/ln 2 is within 6 % of the truth for 3 to 8 d; ours has a prior besides."""
    found = fit_uptake([144.0], [0.5], disease="graves", decay_corrected=True)
    assert found.tia_h.value == pytest.approx(hanscheid_tia(0.5 * math.exp(-LP * 144), 144.0), rel=0.08)
    assert found.prior_share > 0.9
    assert any("half-life is mostly assumed" in note for note in found.warnings)


def test_the_tracers_decay_is_taken_out():
    biological = two_compartments(T, 0.15, 0.08, 320.0)
    present = biological * np.exp(-radionuclide("124I").decay_constant_per_h * T)
    one = fit_uptake(T, present, disease="graves", decay_corrected=False, tracer="124I")
    other = fit_uptake(T, biological, disease="graves", decay_corrected=True)
    assert one.tia_h.value == pytest.approx(other.tia_h.value, rel=1e-9)


def test_clearance_never_is_slower_than_decay():
    rising = fit_uptake([24.0, 168.0], [0.5, 0.6], disease="graves", decay_corrected=True)
    assert rising.effective_half_life_h.high < math.log(2) / LP
    assert rising.tia_h.value < 0.7 / LP


def test_points_off_one_curve_are_reported_and_widen_the_interval():
    shares = two_compartments(T, 0.15, 0.08, 320.0)
    wrong = shares * np.array([1, 1, 1, 0.4, 1, 1])
    good, bad = (fit_uptake(T, s, disease="graves", decay_corrected=True, relative_sd=0.03) for s in (shares, wrong))
    assert any("one curve" in note for note in bad.warnings)
    assert not good.warnings
    assert bad.tia_h.high - bad.tia_h.low > good.tia_h.high - good.tia_h.low


def test_little_uptake_is_reported():
    found = fit_uptake([24.0], [0.05], disease="graves", decay_corrected=True)
    assert any("other treatments" in note for note in found.warnings)


def test_seeds_reproduce_and_tables_have_rows():
    one, two, three = (fit_uptake([24.0], [0.5], disease="graves", decay_corrected=True, seed=s) for s in (4, 4, 5))
    assert one.tia_h == two.tia_h
    assert one.tia_h != three.tia_h
    assert "integral_h" in list(one.table()["quantity"])


def test_activity_is_dose_over_integral_and_coefficient():
    found = fit_uptake(T, two_compartments(T, 0.15, 0.08, 320.0), disease="graves", decay_corrected=True)
    plan = plan_thyroid(found, 25.0)
    coefficient = dose_coefficient_Gy_per_MBq_h("tumour_1", "131I", 12.5, chain=False).total / 2  # two lobes
    assert plan.activity_MBq.value == pytest.approx(250 / (found.tia_h.value * coefficient))
    assert plan.dose_Gy.value == pytest.approx(250)
    assert thyroid_dose_Gy(found, 25.0, plan.activity_MBq.value).value == pytest.approx(250)
    assert plan.activity_MBq.low < plan.activity_MBq.value < plan.activity_MBq.high
    assert list(plan.table()["quantity"])[:2] == ["activity_MBq", "dose_Gy"]


def test_the_interval_of_the_dose_is_that_of_its_parts():
    """Log sds in quadrature: mass 17 % (dose goes as m^-0.97), coefficient 4 %, integral 1 %; 10 % for tails."""
    shares = two_compartments(T, 0.15, 0.08, 320.0)
    found = fit_uptake(T, shares, disease="graves", decay_corrected=True, relative_sd=0.01)
    dose = thyroid_dose_Gy(found, 25.0, 400.0)
    integral = math.log(found.tia_h.high / found.tia_h.low)
    expected = math.hypot(2 * 1.96 * 0.17 * 0.97, 2 * 1.96 * 0.0385, integral)
    assert math.log(dose.high / dose.low) == pytest.approx(expected, rel=0.1)


def test_two_lobes_keep_less_than_one_sphere_and_more_than_half_spheres_alone():
    one, two = coefficient_Gy_per_MBq_h(25.0), coefficient_Gy_per_MBq_h(25.0, LOBES)
    assert 0.95 * one.total < two.total < one.total
    assert two.electron + two.photon == pytest.approx(two.total)


def test_a_nodule_is_less_certain_than_a_gland():
    gland, nodule = (
        fit_uptake([24.0, 144.0], [0.5, 0.45], disease=d, decay_corrected=True)
        for d in ("toxic_multinodular", "toxic_adenoma")
    )
    widths = [plan_thyroid(f, 20.0, 200.0) for f in (gland, nodule)]
    assert (
        widths[1].activity_MBq.high - widths[1].activity_MBq.low
        > widths[0].activity_MBq.high - widths[0].activity_MBq.low
    )


def test_the_classic_formula_by_hand():
    """24.7 x 200 Gy x 20 g / (60 % x 5 d)."""
    assert classic_activity_MBq(200, 20, 0.6, 5.0) == pytest.approx(24.7 * 200 * 20 / (60 * 5))
    assert thyroid_value("classic_constant") == pytest.approx(100 * math.log(2) / thyroid_value("energy"), rel=1e-3)


def test_volume_of_a_lobe():
    assert ellipsoid_mL(2, 2, 2) == pytest.approx(4 / 3 * math.pi)
    assert ellipsoid_mL(5, 2, 2, factor="brunn") == pytest.approx(0.479 * 20)
    assert thyroid_mass_g(20.0) == 20.0


def test_an_unusual_activity_is_reported():
    found = fit_uptake([24.0, 144.0], [0.12, 0.1], disease="goitre", decay_corrected=True)
    assert any("unusual" in note for note in plan_thyroid(found, 200.0).warnings)


FOUND = fit_uptake([24.0], [0.5], disease="graves", decay_corrected=True, draws=200)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: fit_uptake([24], [45], disease="graves", decay_corrected=True), "percent"),
        (lambda: fit_uptake([24], [-0.1], disease="graves", decay_corrected=True), "above 0"),
        (lambda: fit_uptake([0], [0.4], disease="graves", decay_corrected=True), "above 0 h"),
        (lambda: fit_uptake([24, 24], [0.4, 0.4], disease="graves", decay_corrected=True), "distinct"),
        (lambda: fit_uptake([24], [math.nan], disease="graves", decay_corrected=True), "equally long"),
        (lambda: fit_uptake([240], [0.9], disease="graves", decay_corrected=False), "decay_corrected"),
        (lambda: fit_uptake([24], [0.4], disease="grave", decay_corrected=True), "graves"),
        (lambda: fit_uptake([24], [0.4], disease="graves", decay_corrected=True, relative_sd=5.0), "relative sds"),
        (lambda: plan_thyroid(FOUND, 25_000.0), "grams"),
        (lambda: plan_thyroid(FOUND, 25.0, -5.0), "dose_Gy"),
        (lambda: plan_thyroid(FOUND, 25.0, mass_log_sd=17.0), "mass_log_sd"),
        (lambda: thyroid_dose_Gy(FOUND, 25.0, 0.0), "activity_MBq"),
        (lambda: ellipsoid_mL(52, 21, 22), "millimetres"),
        (lambda: classic_activity_MBq(200, 20, 60, 5.0), "percent"),
        (lambda: target_Gy("thyroiditis"), "disease"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "docs/thyroid.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    names: dict = {"print": lambda *_: None}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_table_of_measurements_is_computed(page, text):
    rows = re.findall(r"^\| ([\d, ]+ h) \| (\d+) \((\d+) to (\d+)\) \| ([\d.]+) .*\| ([\d.]+) \|$", text, re.M)
    assert len(rows) == 3
    for row, name in zip(rows, ("one", "late", "many"), strict=True):
        found = page[name]
        shown = [float(x) for x in row[1:]]
        integral = (found.tia_h.value, found.tia_h.low, found.tia_h.high)
        assert shown[:3] == pytest.approx(integral, abs=0.6)  # printed to 1 h
        assert shown[3] == pytest.approx(found.effective_half_life_h.value / 24, abs=0.06)
        assert shown[4] == pytest.approx(found.prior_share, abs=0.006)


def test_the_table_of_targets_is_that_of_the_data(text):
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \((\d+) to (\d+)\)", text, re.M)
    assert {name: float(value) for name, value, *_ in rows} == {name: target_Gy(name) for name, *_ in rows}
    assert len(rows) == 4


def test_the_examples_of_the_page_say_what_it_says(page):
    shown = {10.0: 0.113, 20.0: 0.115, 60.0: 0.119}
    for mass_g, value in shown.items():
        assert coefficient_Gy_per_MBq_h(mass_g, LOBES).total * mass_g == pytest.approx(value, abs=5e-4)
    assert page["plan"].dose_Gy.value == pytest.approx(250)
    assert page["treatment"].active == "target"
    assert page["sampled"].dose_Gy_per_GBq.value == pytest.approx(0.118, abs=5e-4)
