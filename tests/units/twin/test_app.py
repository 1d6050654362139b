"""The planner page without a browser: what its controls mean, what it draws and says, whom its server answers."""

from __future__ import annotations

import ast
import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("marimo")
pytest.importorskip("plotly")

from calibration.observations import Observations
from dose.errors import InputError
from tests.outlooks import GIVEN, by_hand
from twin.app import desk as desks
from twin.app import drawing, export, figures, guard, launch, settings, tiles, view, words
from twin.app.desk import Desk
from twin.outlook.surface import Axis
from twin.patient import Conflict, Plan
from twin.planning import Front, FrontPoint
from twin.schedules import label_schedule
from twin.what_if import whatif

PLANNER = Path(launch.__file__).with_name("planner.py")
DRAWS = 400


def doses(rng):
    """Kidneys of 0.8 Gy/GBq with 20 % spread, a marrow far below its limit, a tumour of 4 Gy/GBq."""
    spread = np.exp(0.2 * rng.standard_normal(DRAWS))
    return {"kidneys": 0.8 * spread, "red_marrow": 0.01 * spread, "tumour_1": np.full(DRAWS, 4.0)}


def desk_of(look, **more) -> Desk:
    label = label_schedule(look.twin.study.ligand, look.twin.study.nuclide)
    return Desk(look.twin, Path("results"), look, more.pop("curves", {}), label, 7400.0, **more)


@pytest.fixture
def desk(rng):
    return desk_of(by_hand(doses(rng), bed_per_Gy=0.02))


@pytest.fixture
def first(desk):
    return settings.first_settings(desk)


@pytest.fixture
def shown(desk, first):
    return settings.answer(desk, first)


# Controls to settings


def test_activities_are_in_the_unit_of_the_desk(desk, first):
    plain = {"interval_weeks": 6, "amount_nmol": 90.0, "limits": first.limits, "tail": 0.05, "trend_percent": -10}
    asked = settings.asked(desk, activities=(7.4, 3.7), **plain)
    assert asked.activities_MBq == (7400.0, 3700.0)
    assert asked.interval_days == 42.0
    assert asked.amount_nmol is None, "the usual amount needs no further surfaces"
    assert np.exp(asked.trend_log_per_cycle) == pytest.approx(0.9)


def test_small_activities_of_alpha_emitters_are_in_mbq(desk):
    small = replace(desk, cap_MBq=8.0)
    assert (small.unit, small.unit_MBq) == ("MBq", 1.0)
    assert (desk.unit, desk.unit_MBq) == ("GBq", 1000.0)


def test_the_first_settings_are_the_label_s_remaining_cycles(desk, first):
    assert first.activities_MBq == (7400.0,) * 5
    assert [lim.name for lim in first.limits] == ["kidney_bed_40", "marrow_dose_2"]


@pytest.mark.parametrize("moved", [False, True])
def test_sliders_of_cycles_stand_at_the_plan_until_all_are_moved(moved):
    start = settings.Start(4.0, (6.0, 2.0))
    assert settings.places(start, 4.5, 3, moved) == ([4.5] * 3 if moved else [6.0, 2.0, 4.5])


def test_a_cycle_that_a_plan_leaves_out_is_a_slider_at_zero(desk):
    planned = [replace(GIVEN, cycle=2, activity_MBq=6670.0), replace(GIVEN, cycle=4, activity_MBq=5000.0)]
    assert settings.start_of(desk, planned, 3).each == (6.67, 0.0, 5.0)


def test_amounts_on_the_slider_are_covered_and_hold_the_usual_one(desk):
    steps = settings.amount_steps(desk)
    assert desk.outlook.example.amount_nmol in steps
    assert steps == sorted(steps)
    assert steps[0] >= 90 / 3 * (1 - 1e-9)
    assert steps[-1] <= 90 * 3


def test_a_limit_of_one_s_own_says_who_set_it(desk):
    limits = settings.limits_of(desk, "dose of my own", 21.0, marrow=False)
    assert [(lim.quantity, lim.value_Gy, lim.set_by) for lim in limits] == [("dose_Gy", 21.0, "the planner page")]


def test_limits_on_what_a_twin_does_not_have_are_left_out(rng):
    desk = desk_of(by_hand({"liver": doses(rng)["kidneys"]}))
    name = next(iter(settings.kidney_choices(desk).values()))
    assert settings.limits_of(desk, name, 30.0, True) == ()
    assert not desk.has_trade


# Answers


def test_the_answer_is_that_of_whatif(desk, first, shown):
    same = whatif(desk.outlook, list(first.activities_MBq), limits=first.limits)
    np.testing.assert_allclose(shown.report.dose_Gy, same.report.dose_Gy)
    assert [row.exceeded for row in shown.limits] == [row.exceeded for row in same.limits]


def test_beside_it_stands_the_label_until_its_cycles_are_over(desk, first, rng):
    _, beside = settings.answers(desk, first)
    assert beside is not None
    assert len(beside.administrations) == 5
    six = tuple(replace(GIVEN, cycle=c, time_h=1008.0 * (c - 1)) for c in range(1, 7))
    late = desk_of(by_hand(doses(rng), given=six))
    assert settings.answers(late, settings.first_settings(late))[1] is None


def test_no_activity_at_all_is_refused_with_what_to_do(desk, first):
    with pytest.raises(InputError, match="move an activity slider up"):
        settings.answer(desk, replace(first, activities_MBq=(0.0, 0.0)))


def test_other_amounts_are_slow_once(rng):
    look = by_hand(doses(rng), amount=Axis(30.0, 270.0, 3))
    desk = desk_of(look)
    other = replace(settings.first_settings(desk), amount_nmol=180.0)
    assert settings.is_slow(desk, other)
    desk.kept[True, False] = look
    assert not settings.is_slow(desk, other)
    assert settings.answer(desk, other).administrations[0].amount_nmol == 180.0


# Numbers in words


@pytest.mark.parametrize(
    ("value", "text"), [(61.374, "61.4"), (0.1234, "0.123"), (1234.5, "1234"), (0.0, "0"), (np.nan, "–")]
)
def test_numbers_have_three_digits(value, text):
    assert words.number(value) == text


CHANCES = [(0, "0 %"), (0.004, "under 1 %"), (0.0512, "5.1 %"), (0.13, "13 %"), (0.999, "over 99 %"), (1, "100 %")]


@pytest.mark.parametrize(("share", "text"), CHANCES)
def test_chances_do_not_round_to_certainty(share, text):
    assert words.percent(share).replace(words.NO_BREAK, " ") == text


def test_a_limit_is_coloured_and_worded(desk, first, shown):
    kidney = shown.limits[0]
    assert tiles.verdict(replace(kidney, exceeded=0.05), 0.05) == ("good", "within")
    kind, said = tiles.verdict(replace(kidney, exceeded=0.13), 0.05)
    assert (kind, said.replace(words.NO_BREAK, " ")) == ("bad", "passed with 13 %")


def test_tiles_show_the_numbers_of_the_answer(desk, first, shown):
    _, beside = settings.answers(desk, first)
    page = tiles.tiles(desk, shown, beside, first.tail)
    middle, low, high = map(words.number, np.percentile(shown.tumour_dose_Gy, (50, 5, 95)))
    assert f'<div class="value">{middle} Gy</div><div class="more">90 %: {low} to {high}</div>' in page
    assert "44.4 GBq" in page
    assert "label: 6 x 7.4 GBq every 6 weeks" in page


def test_the_sentence_for_screen_readers_is_a_live_region(shown):
    said = tiles.status(shown, 0.05)
    assert 'role="status" aria-live="polite"' in said
    assert "kidneys BED" in said


def test_the_table_holds_each_cycle_and_the_sum(desk, shown):
    page = tiles.cycles_table(desk, shown, "dose_Gy")
    assert page.count("<tr") == 1 + 6 + 1
    assert page.count("to come") == 5
    total = shown.report.dose_Gy[..., shown.report.regions.index("kidneys")].sum(axis=1)
    assert words.interval(total) in page


def test_a_twin_without_tumour_and_kidneys_has_dashes(rng):
    desk = desk_of(by_hand({"liver": doses(rng)["kidneys"]}))
    shown, beside = settings.answers(desk, settings.first_settings(desk))
    assert tiles.tiles(desk, shown, beside, 0.05).count("not in this twin") == 3


def test_words_of_a_study_cannot_become_markup(desk):
    study = replace(desk.twin.study, id="<script>x</script>", source="<b>", warnings=("<img>",))
    named = replace(desk, twin=replace(desk.twin, study=study))
    page = view.patient_line(named) + view.warnings_box(named, None)
    assert "<script>" not in page
    assert "<b>" not in page
    assert "<img>" not in page


def test_a_conflict_interrupts_and_names_its_members(desk, first):
    conflict = Conflict(("a", "b"), ("a: passes", "b: falls short"), {})
    made = export.Optimised(Plan((), (), None, conflict=conflict), first, "mean_tumour_dose")
    page = view.optimised_box(desk, made, True)
    assert 'role="alert"' in page
    assert "no schedule keeps these limits together" in page
    assert "b: falls short" in page


# Figures


def test_courses_have_a_gap_between_cycles(shown):
    days, *_ = figures.coming_course(shown, "kidneys")
    assert len(drawing.pieces(days)) == len(shown.administrations)
    assert len(drawing.pieces(np.array([np.nan, 1.0, 2.0, np.nan]))) == 1


def test_measurements_of_a_union_are_sums_where_all_members_were_seen(desk):
    regions, hours = ("kidney_left", "kidney_right", "kidney_left"), np.array([24.0, 24.0, 72.0])
    activity, nan = np.array([30.0, 40.0, 20.0]), np.full(3, np.nan)
    seen = Observations(regions, hours, activity, 0.1 * activity, nan, ("SPECT",) * 3, (1,) * 3)
    twin = replace(desk.twin, study=replace(desk.twin.study, observations=seen))
    assert figures.measured(replace(desk, twin=twin), "kidneys") == [(1.0, 70.0, 5.0)]
    assert len(figures.measured(replace(desk, twin=twin), "kidney_left")) == 2


def trace(drawn, name: str):
    return next(t for t in drawn.data if (t.name or "").startswith(name))


def test_the_fan_ends_at_the_sum_of_all_cycles(desk, first, shown):
    limit = first.limits[0]
    drawn = figures.kidney_fan(shown, None, limit)
    last = trace(drawn, "to come")
    total = shown.report.bed_Gy[..., shown.report.regions.index("kidneys")].sum(axis=1)
    assert last.y[-1] == pytest.approx(np.median(total))
    assert set(trace(drawn, "limit 40 Gy").y) == {40.0}


def test_a_given_cycle_is_drawn_with_its_band(desk, shown):
    time_h = np.linspace(0, 100, 5)
    curve = 100 * np.exp(-0.02 * time_h)
    drawn = figures.time_activity(
        replace(desk, curves={1: (time_h, {"kidneys": (curve, 0.8 * curve, 1.2 * curve)})}), shown, "kidneys", 1
    )
    np.testing.assert_allclose(trace(drawn, "given").y, curve)
    assert drawn.layout.xaxis.range[1] == figures.SHOWN_DAYS


def test_index_front_and_outcomes_can_be_drawn(desk, first, shown):
    _, beside = settings.answers(desk, first)
    assert len(figures.index_distribution(shown, beside).data) == 2
    kidney, tumour = figures.course_beds(shown)
    np.testing.assert_allclose(tumour / kidney, shown.therapeutic_index)
    point = FrontPoint(40.0, tumour, kidney, 44400.0, ())
    assert len(figures.pareto(Front((point,), None, point), shown).data) == 3
    assert len(figures.outcome_bands(settings.outcomes_of(desk, shown)).data) == 6


def test_colours_are_those_of_okabe_and_ito():
    okabe_ito = {"#0072B2", "#E69F00", "#009E73", "#D55E00"}
    used = {drawing.BLUE, drawing.ORANGE, drawing.GREEN, drawing.RED}
    assert used == okabe_ito


# Optimising and exporting


def test_the_optimum_is_one_that_the_sliders_can_show(desk, first):
    tight = replace(first, limits=settings.limits_of(desk, "kidney_bed_27", 1.0, True))
    made = export.optimise(desk, tight, "mean_tumour_dose", 60.0)
    start = settings.start_of(desk, made.plan.administrations, 5)
    again = replace(tight, activities_MBq=tuple(round(a * 1000, 6) for a in start.each))
    shown = settings.answer(desk, again)
    assert settings.is_same(shown.administrations, made.plan.administrations)
    assert export.stands(made, again, shown)
    assert export.plan_shown(again, shown, made).prices == made.plan.prices
    assert shown.limits[0].exceeded <= 0.05 + 1e-9


def test_a_schedule_moved_since_is_exported_as_chosen_by_hand(desk, first):
    made = export.optimise(desk, first, "mean_tumour_dose", 60.0)
    other = replace(first, activities_MBq=(5000.0,) * 5)
    chosen = export.plan_shown(other, settings.answer(desk, other), made)
    assert set(chosen.active_constraint) == {export.BY_HAND}
    assert chosen.limits == first.limits


def test_a_front_is_of_its_settings_whatever_the_activities(first):
    assert export.is_of(first, replace(first, activities_MBq=(1.0,) * 5))
    assert not export.is_of(first, replace(first, activities_MBq=(7400.0,) * 4))
    assert not export.is_of(first, replace(first, tail=0.01))


def test_an_export_never_takes_the_place_of_another(tmp_path):
    folder = tmp_path / "results"
    (tmp_path / "results_planned_1").mkdir()
    assert export.free_name(folder) == tmp_path / "results_planned_2"


def test_what_is_exported_is_what_is_shown(desk, first, shown, monkeypatch, tmp_path):
    written = {}
    monkeypatch.setattr(export, "write_results", lambda out, *a, **k: written.update(out=out, parts=a, **k) or out)
    chosen = export.plan_shown(first, shown, None)
    out = export.export(replace(desk, folder=tmp_path / "results"), first, chosen)
    assert out == tmp_path / "results_planned_1"
    assert written["parts"][2].forecast is shown.report
    assert written["extras"].probability == first.tail


# Opening and serving


def test_a_folder_without_twin_or_study_is_refused(tmp_path):
    with pytest.raises(InputError, match="no twin in .* give the folder that theratwin plan wrote"):
        desks.open_desk(str(tmp_path))


def test_a_broken_study_is_told_as_a_study(tmp_path):
    (tmp_path / "patient.toml").write_text("weight = 3")
    with pytest.raises(InputError) as told:
        desks.open_desk(str(tmp_path))
    assert "no twin in" not in str(told.value)


def test_a_page_started_by_other_means_says_how_to_start_it(monkeypatch):
    monkeypatch.delenv(desks.PATH, raising=False)
    with pytest.raises(InputError, match="theratwin app"):
        desks.page_desk()


def test_exports_of_a_results_folder_go_beside_it(tmp_path):
    (tmp_path / "results" / "twin").mkdir(parents=True)
    (tmp_path / "results" / "report.html").touch()
    (tmp_path / "results" / "twin" / "twin.json").touch()
    assert desks.holds_twin(tmp_path / "results")
    assert desks._shown(tmp_path / "results" / "twin") == (tmp_path / "results").resolve()


def test_nothing_at_a_path_is_said(tmp_path):
    with pytest.raises(InputError, match="nothing at"):
        launch.checked_path(tmp_path / "no such")


def test_a_port_that_is_taken_is_refused():
    with launch.bound(None) as taken:
        assert taken.getsockname()[0] == "127.0.0.1"
        with pytest.raises(InputError, match="a port that is free"):
            launch.bound(taken.getsockname()[1])
    with pytest.raises(InputError, match="a port that is free"):
        launch.bound(70_000)


def test_missing_packages_are_named(monkeypatch):
    monkeypatch.setattr(launch, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"theratwin\[app\]"):
        launch.require_packages()


def test_what_to_open_is_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv(desks.PATH, "")
    monkeypatch.setenv(desks.TRACER, "")
    launch.named_for_the_page(tmp_path, "177Lu-DOTATATE")
    assert (os.environ[desks.PATH], os.environ[desks.TRACER]) == (str(tmp_path), "177Lu-DOTATATE")


@pytest.mark.parametrize(
    ("host", "origin", "is_own"),
    [
        ("127.0.0.1:80", None, True),
        ("localhost:80", "http://localhost:80", True),
        ("127.0.0.1:81", None, False),
        ("evil.example:80", None, False),
        ("127.0.0.1:80", "http://127.0.0.1:81", False),
        ("127.0.0.1:80", "null", False),
    ],
)
def test_requests_under_other_names_or_from_other_pages_are_not_ours(host, origin, is_own):
    headers = [(b"host", host.encode())] + ([(b"origin", origin.encode())] if origin else [])
    assert guard.is_own(headers, 80) is is_own


@pytest.mark.parametrize(("host", "first"), [(b"127.0.0.1:80", 200), (b"evil.example", 403)])
def test_the_guard_answers_and_adds_its_policy(host, first):
    sent = []

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    async def send(message):
        sent.append(message)

    scope = {"type": "http", "headers": [(b"host", host)]}
    asyncio.run(guard.only_here(app, 80)(scope, None, send))
    assert sent[0]["status"] == first
    assert (b"content-security-policy" in dict(sent[0]["headers"])) is (first == 200)


def test_a_socket_of_another_origin_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "headers": [(b"host", b"127.0.0.1:80"), (b"origin", b"http://127.0.0.1:1")]}
    asyncio.run(guard.only_here(None, 80)(scope, None, send))
    assert sent == [{"type": "websocket.close", "code": guard.POLICY_VIOLATION}]


# The notebook


def test_the_notebook_holds_no_model_and_no_field_for_a_path():
    text = PLANNER.read_text(encoding="utf-8")
    tree = ast.walk(ast.parse(text))
    modules = {n.module for n in tree if isinstance(n, ast.ImportFrom)}
    assert modules == {"twin.app", "twin.app.desk"}
    assert not [name for name in ("ui.text", "ui.file", "query_params", "cli_args") if name in text]


def test_marimo_finds_nothing_wrong_with_the_notebook(repository):
    command = [sys.executable, "-m", "marimo", "check", "--strict", str(PLANNER)]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
