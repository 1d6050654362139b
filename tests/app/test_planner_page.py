"""The planner page in a browser: load, move, optimise, export with keys alone; what it asks of whom; how it looks."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

SLOWEST_MOVE_S = 1.0
"""From a key press to another number, median of five."""
CONTROLS = (
    ("slider", "Coming cycles"),
    ("slider", "Activity of every cycle (GBq)"),
    ("button", "Each cycle by itself"),
    ("slider", "Cycle 2 (GBq)"),
    ("slider", "Interval (weeks)"),
    ("slider", "Ligand per cycle (nmol)"),
    ("slider", "Tumour uptake, change per cycle (%)"),
    ("select", "Kidney limit"),
    ("checkbox", "Marrow dose at most 2 Gy"),
    ("select", "Keep limits with probability"),
    ("select", "Objective"),
    ("button", "Optimise"),
    ("button", "Pareto front"),
    ("button", "Export report"),
    ("select", "Region"),
    ("select", "Show"),
    ("select", "Table of"),
    ("switch", "Show illustrative outcomes: tumour volume, PSA, platelets"),
)


@pytest.fixture(scope="module")
def short(drive):
    found = drive("short")
    times = ("seconds_to_start", "load_s", "median_move_s", "optimise_s", "export_s", "seconds_to_end")
    moves = {name: [round(s, 2) for s in found[name]] for name in ("moves_s", "hurried_moves_s")}
    print("; ".join(f"{name} {found[name]:.2f}" for name in times), moves)
    return found


def test_a_move_of_a_slider_changes_the_numbers_within_a_second(short):
    assert short["median_move_s"] < SLOWEST_MOVE_S
    assert "kidneys BED" in short["said"]


def test_optimising_says_what_holds_each_cycle(short):
    assert short["optimised"].startswith("Optimised for mean absorbed dose of all tumours")
    assert short["optimised"].count("held by") == 5


def test_the_export_is_the_schedule_on_the_page(short, twin_folder):
    folder = Path(short["exported"])
    assert folder == twin_folder.with_name("patient_planned_1")
    assert "Research software, not a medical device" in (folder / "report.html").read_text(encoding="utf-8")
    with (folder / "schedule.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    said = [f"cycle {r['cycle']}: {float(r['activity_MBq']) / 1000:.2f} GBq" for r in rows]
    assert len(rows) == 5
    assert all(text in short["optimised"] for text in said)


def test_the_report_can_be_downloaded(short):
    assert short["downloaded_bytes"] == (Path(short["exported"]) / "report.html").stat().st_size


def test_it_is_light_where_the_user_s_marimo_is_dark(short):
    assert short["is_light"]


def test_nothing_is_asked_of_another_host(short):
    assert [host.split(":")[0] for host in short["hosts"] if host] == ["127.0.0.1"]
    assert all(text.endswith(" csp") for text in short["refused"]), "the browser itself refuses what marimo would load"


def test_the_address_holds_neither_token_nor_path(short):
    assert short["address"].split("127.0.0.1:")[1].strip("0123456789") == "/"


def test_ctrl_c_leaves_nothing_running(short):
    assert short["exit_code"] == 0
    assert short["left"] == []


def test_the_focus_is_seen(short):
    assert short["focus_shows"]


@pytest.fixture(scope="module")
def guard(short):
    return short["guard"]


def test_it_listens_on_this_machine_alone(guard):
    assert guard["listens_on"] == ["127.0.0.1"]


def test_without_its_token_nothing_is_answered(guard):
    assert guard["without token"]["/"] == guard["wrong token"] == 303, "sent to the page that asks for the token"
    assert guard["without token"]["/api/status"] == 401
    assert guard["socket without token"] == 403
    assert guard["with token"] == 200, "the negative control: the same question with the token"


def test_another_host_or_origin_is_refused_even_with_the_token(guard):
    assert guard["other host"] == guard["other origin"] == guard["socket of another origin"] == 403


def test_no_file_outside_can_be_asked_for(guard):
    assert not [path for path, _, is_leaked in guard["files outside"] if is_leaked]


def test_no_code_or_file_can_be_sent(guard):
    assert set(guard["editing"].values()) <= {401, 403, 404, 405}


def test_the_page_may_load_from_its_own_server_only(guard):
    assert "default-src 'self'" in guard["policy"]
    assert "https:" not in guard["policy"]


@pytest.mark.slow
def test_tab_reaches_every_control_in_order_and_shows_where_it_is(drive):
    reached = drive("keyboard")["reached"]
    places = [next(k for k, (role, name, _) in enumerate(reached) if (role, name) == c) for c in CONTROLS]
    first = reached.index([*CONTROLS[0], True])
    turned = [(k - first) % cycle_of(reached) for k in places]
    assert turned == sorted(turned)
    assert all(shows for role, _, shows in reached if role != "body")


def cycle_of(reached) -> int:
    """After how many presses of Tab the same control comes again."""
    return reached[1:].index(reached[0]) + 1


@pytest.mark.slow
def test_neither_a_phone_nor_a_desk_scrolls_sideways(drive, tmp_path):
    found = drive("looks", str(tmp_path))
    assert {name: v for name, v in found.items() if name[:2] in ("14", "39") and max(v) > 0} == {}
    assert found["conflict"].startswith("Conflict: no schedule keeps")
    assert len(list(tmp_path.glob("*.png"))) == 6
