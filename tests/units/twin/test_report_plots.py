"""Figures of the report draw what they are given: levels, marks, order, bands."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.histograms import dvh
from twin.patient import Comparison, LedgerEntry
from twin.planning.front import Front, FrontPoint
from twin.plots import BLUE, GREEN
from twin.plots_ledger import _level, coverage, residuals
from twin.plots_lesions import histograms, lesions_by_dose, waterfall
from twin.plots_plan import pareto, plan_fan, therapeutic_index
from twin.report import Extras, pictures

DRAWS = 40


def entry(observed: float, cycle: int = 2, time_h: float = 24.0) -> LedgerEntry:
    return LedgerEntry(cycle, "liver", time_h, observed, 100.0, 80.0, 125.0)


def made(name: str, scale: float) -> Comparison:
    ones = scale * np.linspace(0.9, 1.1, DRAWS)
    return Comparison(name, 1.0, 30_000 * scale, 4, 60 * ones, 70 * ones, 35 * ones, {})


def texts(figure) -> str:
    return " ".join(t.get_text() for axis in figure.axes for t in axis.texts)


@pytest.mark.parametrize(("observed", "level"), [(100.0, 0.0), (125.0, 0.9), (80.0, 0.9)])
def test_the_bounds_of_the_ledger_are_its_90_percent_interval(observed, level):
    assert _level(entry(observed)) == pytest.approx(level, abs=1e-12)


def test_coverage_counts_what_lies_inside():
    figure = coverage([entry(100.0)] * 6 + [entry(1000.0)] * 2)
    assert texts(figure) == "6/8 6/8 6/8"


def test_residuals_have_a_mark_for_each_cycle_and_the_trend_of_the_hours():
    figure = residuals([entry(90.0), entry(110.0, 3), entry(130.0, 3, 96.0)])
    labels = figure.axes[0].get_legend_handles_labels()[1]
    assert labels == ["cycle 2", "cycle 3"]
    trend = figure.axes[0].lines[2].get_xydata()
    assert np.allclose(trend, [[24, 1.0], [96, 1.3]])


def test_the_fan_is_blue_where_cycles_were_given_and_shows_the_label(results):
    limit = replace_region(results[4][0])
    every = replace(results[2].forecast, regions=("kidneys", "tumour_1"))
    figure = plan_fan(every, [limit], given=(1,), label=made("label: 6 x 7.4 GBq", 2.0))
    axis = figure.axes[0]
    given = next(line for line in axis.lines if line.get_marker() == "o")
    assert (len(given.get_xdata()), given.get_color()) == (1, BLUE)
    label = next(line for line in axis.lines if line.get_marker() == "s")
    assert label.get_color() == GREEN
    assert label.get_ydata()[0] == pytest.approx(70.0)
    assert axis.get_ylim()[1] > 35 * 2.2


def replace_region(limit):
    return replace(limit, region="kidneys")


def test_the_front_names_the_label_and_the_plan():
    point = FrontPoint(40.0, made("", 1.0).tumour_bed_Gy, made("", 1.0).kidney_bed_Gy, 20e3, ())
    words = texts(pareto(Front((point,), made("label: x", 1.5), None), made("this plan", 1.0)))
    assert "label, 45.0 GBq" in words
    assert "this plan, 30.0 GBq" in words
    assert "20" in words
    assert "label" not in texts(pareto(Front((point,), None, None)))


def test_each_schedule_has_a_row_with_its_median():
    figure = therapeutic_index([made("this plan", 1.0), made("label: 4 x 7.4 GBq", 2.0)])
    axis = figure.axes[0]
    assert [t.get_text() for t in axis.get_yticklabels()] == ["label:\n4 x 7.4 GBq", "this plan"]
    assert texts(figure) == "2 2"


def test_lesions_stand_in_order_of_dose(results, rng):
    report = results[2].forecast
    two = replace(report, regions=("tumour_2", "tumour_1"))
    assert lesions_by_dose(two) == ["tumour_1", "tumour_2"]
    changed = waterfall(two, (1,), {"tumour_2": rng.normal(-0.3, 0.1, DRAWS)})
    assert len(changed.axes) == 2
    assert len(waterfall(two).axes) == 1


def test_a_histogram_has_a_band_only_where_its_map_has_draws(rng):
    draws = 20 * np.exp(rng.normal(0, 0.2, (10, 50)))
    figure = histograms({"liver": dvh(draws, np.ones(50), 0.1), "spleen": dvh(draws[0], np.ones(50), 0.1)})
    assert [len(axis.collections) for axis in figure.axes[:2]] == [1, 0]
    assert "D50%" in texts(figure)


def test_voxel_doses_and_volume_changes_reach_the_report(results, rng, monkeypatch):
    monkeypatch.setattr("twin.plots.png", lambda figure: b"")
    patient, _, plan, _, _ = results
    volumes = {"liver": dvh(20 * np.ones(5), np.ones(5), 0.1)}
    extras = Extras(histograms=volumes, volume_change={"tumour_1": rng.normal(-0.3, 0.1, 9)})
    found = {p.name: p for p in pictures(patient, plan.forecast, plan, {}, (), extras)}
    assert found["histograms"].section == "voxels"
    assert "liver: D50% 20.0 Gy" in found["histograms"].alt
    height = found["lesions"].size[1]
    alone = {p.name: p for p in pictures(patient, plan.forecast, plan, {}, (), Extras())}
    assert height > alone["lesions"].size[1]
