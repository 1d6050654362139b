"""The report page says what it must: notice, conflict, limits and who set them, the plan in words, its figures."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from twin.constraints import limit
from twin.patient import Comparison, Conflict, Knowledge, LedgerEntry, Price
from twin.planning.front import Front, FrontPoint
from twin.report import NOTICE, Extras, Stage, page, pictures
from twin.report.html import escaped, heading, table
from twin.report.planning import price_in_words

DRAWS = 40


def comparison(name: str, scale: float, rng) -> Comparison:
    draws = scale * np.exp(rng.normal(0, 0.1, (3, DRAWS))) * np.array([[60.0], [66.0], [33.0]])
    return Comparison(name, 60 * scale, 28_000 * scale, 4, *draws, {"kidney_bed_40": 0.05 * scale})


@pytest.fixture(autouse=True)
def _unpainted(monkeypatch):
    """Figures are drawn but not turned into pixels, which takes most of the time."""
    monkeypatch.setattr("twin.plots.png", lambda figure: type(figure).__name__.encode())


@pytest.fixture
def full(results, rng):
    """The twin, its doses with a cycle to come, a plan with everything, curves, and all extras that need no solve."""
    patient, report, plan, curves, _ = results
    seen = [LedgerEntry(1, "kidney_right", 24.0 * k, 60.0 + k, 62.0, 50.0, 78.0, 0.1) for k in range(1, 11)]
    label = comparison("label: 6 x 7.4 GBq every 6 weeks", 1.5, rng)
    plan = replace(
        plan,
        objective="mean_tumour_dose",
        value=62.9,
        prices=(Price("kidney_bed_40", 1.3, "Gy"),),
        schedules=(comparison("this plan", 1.0, rng), label),
        knowledge=Knowledge(np.full(DRAWS, 19e3), np.full(DRAWS, 75.0), 5440.0, 12.6),
        limits=(replace(limit("kidney_bed_40"), region="kidney_right", set_by="Dr A, tumour board"),),
    )
    point = FrontPoint(30.0, label.tumour_bed_Gy, label.kidney_bed_Gy, 20e3, (7400.0,))
    front = Front((point, replace(point, kidney_limit_Gy=40.0)), label, None)
    stages = (Stage("none", None, report), Stage("cycle 1", 1, report))
    extras = Extras(front=front, stages=stages, without_last_scan=report, command="theratwin plan study", seed=3)
    return replace(patient, ledger=tuple(seen)), plan.forecast, plan, curves, extras


@pytest.fixture
def text(full) -> str:
    patient, every, plan, _, extras = full
    return page(patient, every, plan, (), extras)


def names(patient, every, plan, curves, extras) -> set[str]:
    return {p.name for p in pictures(patient, every, plan, curves, plan.limits, extras)}


def test_the_notice_is_in_the_page_once_and_on_every_sheet(text):
    body = text[text.index("<body>") :]
    assert body.count(NOTICE) == 1
    margin = re.search(r"@page \{.*?@bottom-left \{ content: \"(.*?)\"", text, flags=re.DOTALL)
    assert margin is not None
    assert margin[1] == NOTICE


def test_limits_appear_with_their_source_and_who_set_them(text):
    for words in ("kidney_bed_40", "Dr A, tumour board", "with probability 95%", "Sundlov", "at most 40.0"):
        assert words in text


def test_the_plan_is_told_in_words(text):
    for words in (
        "mean absorbed dose of all tumours, by mass (Gy). It comes to 62.9",
        "1 Gy more of kidney_bed_40 would add 1.30 Gy of mean tumour dose",
        "would allow 5.44 GBq more on average",
        "label: 6 x 7.4 GBq every 6 weeks",
    ):
        assert words in text


def test_a_demand_that_costs_activity_is_said_so():
    price = Price("label_effect", -0.2, "Gy")
    assert price_in_words(price, "least_activity") == "1 Gy more of label_effect would need another 0.200 GBq"
    share = Price("platelets", 3.0, "share of it")
    assert price_in_words(share, "activity") == "1% more of platelets would add 0.0300 GBq in all"


def test_conflicting_limits_stand_in_a_red_box_once(full):
    patient, every, plan, _, extras = full
    conflict = Conflict(("a", "b"), ("a <passed by 10 %>", "b passed by 3 %"), {"a": 0.1, "b": 0.03})
    broken = replace(plan, conflict=conflict, warnings=(str(conflict),))
    text = page(patient, every, broken, (), extras)
    assert text.count('class="conflict" role="alert"') == 1
    assert "a &lt;passed by 10 %&gt;" in text
    assert "limits conflict: " not in text


def test_a_demand_is_missed_and_a_limit_passed(full):
    patient, every, plan, _, extras = full
    demand = replace(plan.limits[0], at_least=True)
    assert "misses kidney_bed_40" in page(patient, every, replace(plan, limits=(demand,)), (), extras)
    bare = replace(plan, schedules=(), probability_exceeded={"kidney_bed_40": 0.03})
    assert "chance of passing kidney_bed_40: 3.0%" in page(patient, every, bare, (), extras)


def test_without_a_conflict_there_is_no_box(text):
    assert 'role="alert"' not in text


def test_the_questions_are_answered_from_the_data(text):
    for words in (
        "cycle 1: unknown at 4, 24 h",
        "kidney right: 150 g, segmented volume, 150 mL",
        "kidney: half-time 2.8 h",
        "receptor density/kidney right: 1.22 of the population&#x27;s value, 94% of the variance removed",
        "Doses without the last scan",
        "seed of the draws 3",
        "theratwin plan study",
    ):
        assert words in text


def test_a_bare_report_draws_only_what_it_has(results):
    patient, _, plan, curves, limits = results
    drawn = {p.name for p in pictures(replace(patient, ledger=()), plan.forecast, plan, curves, limits, Extras())}
    assert drawn == {"plan", "doses", "time_activity_cycle_1", "lesions", "posterior"}


def test_each_extra_brings_its_figure(full):
    assert names(*full) == {
        "plan", "front", "therapeutic_index", "doses", "time_activity_cycle_1", "dose_forecasts", "ledger", "residuals",
        "coverage", "lesions", "posterior", "worth_of_scans",
    }  # fmt: skip


def test_a_short_ledger_says_nothing_of_coverage(full):
    patient, *rest = full
    assert "coverage" not in names(replace(patient, ledger=patient.ledger[:7]), *rest)


def test_figures_without_tumours_or_cycles_are_left_out(full):
    patient, every, plan, curves, extras = full
    none = np.zeros(DRAWS)
    schedules = tuple(replace(s, tumour_bed_Gy=none) for s in plan.schedules)
    front = replace(extras.front, points=(replace(extras.front.points[0], tumour_bed_Gy=none),))
    plan = replace(plan, schedules=schedules)
    blank = replace(patient, posterior=replace(patient.posterior, observations_used=0))
    found = names(blank, every, plan, curves, replace(extras, front=front))
    assert not {"front", "therapeutic_index", "posterior"} & found
    text = page(blank, every, plan, (), extras)
    assert "tumour BED, Gy" not in text
    assert "nothing: no measurement was used" in text


def test_limits_per_cycle_and_demands_are_not_drawn_on_sums(full):
    patient, every, plan, curves, extras = full
    lims = tuple(replace(plan.limits[0], **change) for change in ({"per": "cycle"}, {"at_least": True}))
    assert "plan" not in {p.name for p in pictures(patient, every, plan, curves, lims, extras)}


def test_images_have_words_and_tables_have_headers(full):
    patient, every, plan, curves, extras = full
    text = page(patient, every, plan, tuple(pictures(patient, every, plan, curves, plan.limits, extras)), extras)
    images = re.findall(r"<img ([^>]*?)src=", text)
    assert len(images) == 12
    assert all(re.search(r'alt="[^"]{20,}"', image) and "width=" in image for image in images)
    assert '<html lang="en">' in text
    assert all("scope=" in th for th in re.findall(r"<th\b[^>]*>", text))
    assert not re.findall(r"(?:src|href)=\"(?!data:image/png|#)", text)


def test_only_the_time_differs_between_two_reports(full):
    patient, every, plan, curves, extras = full
    at = [replace(extras, made_at=t) for t in ("yesterday", "today")]
    drawn = [tuple(pictures(patient, every, plan, curves, plan.limits, e)) for e in at]
    assert drawn[0] == drawn[1]
    first, second = (page(patient, every, plan, drawn[0], e) for e in at)
    assert first != second
    assert first.replace("yesterday", "today") == second


def test_many_cycles_make_several_tables(full):
    patient, every, plan, _, extras = full
    k = [0, *[1] * 8]
    cube = {n: getattr(every, n)[:, k] for n in ("dose_Gy", "bed_Gy", "tia_MBq_h")}
    rows = {n: getattr(every, n)[k] for n in ("administered_MBq", "extrapolated_fraction")}
    many = replace(every, cycles=tuple(range(1, 10)), kind=("assimilated", *["forecast"] * 8), **cube, **rows)
    text = page(patient, many, plan, (), extras)
    assert text.count("Absorbed dose by region, cycles ") == 2
    assert text.count("dose of the course, Gy") == 1


def test_text_is_escaped_and_markup_is_not_escaped_twice():
    made = table(["a<b", "dose"], [["x&y", 1.234]], 'the "label"')
    assert "a&lt;b" in made
    assert 'aria-label="the &quot;label&quot;"' in made
    assert '<th scope="row">x&amp;y</th><td class="number">1.23</td>' in made
    assert escaped(table(["h"], [], "t")).startswith("<div")


@pytest.mark.parametrize(
    ("key", "words"), [("dose_Gy", "dose, Gy"), ("mass_g", "mass, g"), ("Gy_per_GBq", "Gy/GBq"), ("h", "h")]
)
def test_keys_of_records_become_headers(key, words):
    assert heading(key) == words
