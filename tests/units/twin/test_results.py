"""Tables, figures, report and the results folder."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from dose.errors import InputError
from twin import results as writing
from twin.report import number
from twin.results import NAMES, check_writable, write_results
from twin.tables import doses_table, joined, posterior_table, to_xarray


def test_the_folder_holds_what_was_promised(results, tmp_path):
    out = write_results(tmp_path / "out", *results)
    assert {f.name for f in out.iterdir()} == set(NAMES)
    table = pd.read_csv(out / "doses.csv")
    assert list(table["cycle"]) == ["1", "1", "2", "2", "cumulative", "cumulative"]
    assert {"dose_Gy_lower90", "bed_Gy_median", "tia_MBq_h_upper90", "extrapolated_fraction", "kind"} <= set(table)
    assert list(pd.read_csv(out / "schedule.csv"))[-1] == "active_constraint"
    assert (out / "figures" / "time_activity_cycle_1.png").stat().st_size > 5000


def test_the_report_is_self_contained_and_warns_first(results, tmp_path):
    page = (write_results(tmp_path / "out", *results) / "report.html").read_text()
    assert "Research software, not a medical device" in page
    assert "<script" not in page
    assert 'src="http' not in page
    assert page.index("one scan only") < page.index("<table")
    for part in ("gfr_mL_min", "S values and masses", "data:image/png;base64", "plan by hand", "[pbpk: "):
        assert part in page


def test_words_of_a_patient_file_cannot_become_markup(results, tmp_path):
    from dataclasses import replace

    patient, *rest = results
    patient = replace(patient, study=replace(patient.study, id="<b>x</b>"))
    page = (write_results(tmp_path / "out", patient, *rest) / "report.html").read_text()
    assert "<b>x</b>" not in page


def test_cumulative_dose_is_the_sum_draw_by_draw(results):
    every = results[2].forecast
    table = doses_table(every).set_index(["cycle", "region"])
    total = every.dose_Gy[:, :, 0].sum(axis=1)
    assert table.loc[("cumulative", "kidney_right"), "dose_Gy_median"] == np.median(total)
    assert table.loc[("cumulative", "kidney_right"), "kind"] == "forecast"
    assert np.isnan(table.loc[("cumulative", "kidney_right"), "truth_Gy"])  # cycle 2 has no known truth


def test_joining_keeps_the_first_report_of_a_cycle(results):
    _, first, plan, *_ = results
    both = joined(first, plan.forecast)
    assert both.cycles == (1, 2)
    assert np.array_equal(both.dose_Gy[:, 0], first.dose_Gy[:, 0])
    assert both.extrapolated_fraction.shape == (2, 2)


def test_the_posterior_table_gives_intervals_around_its_median(patient):
    table = posterior_table(patient)
    assert (table["lower90"] < table["median"]).all()
    assert (table["median"] < table["upper90"]).all()
    assert table["contraction"][0] == pytest.approx(1 - 0.01 / 0.16)


def test_xarray_names_units_and_axes(results):
    data = to_xarray(results[1])
    assert data["dose_Gy"].dims == ("draw", "cycle", "region")
    assert data["dose_Gy"].attrs["units"] == "Gy"
    assert float(data["mass_g"].sel(region="tumour_1")) == 12.0


def test_other_files_of_an_existing_folder_stay(results, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "mine.txt").write_text("keep")
    write_results(out, *results)
    write_results(out, *results)
    assert {f.name for f in out.iterdir()} == {*NAMES, "mine.txt"}


def test_a_place_that_cannot_be_written_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("x")
    with pytest.raises(InputError, match="output folder"):
        check_writable(tmp_path / "file" / "out")


def test_an_error_half_way_leaves_the_old_results(results, tmp_path, monkeypatch):
    out = write_results(tmp_path / "out", *results)
    before = (out / "doses.csv").read_bytes()

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(writing, "save", fail)
    with pytest.raises(InputError, match="No space left"):
        write_results(out, *results)
    assert (out / "doses.csv").read_bytes() == before
    assert sorted(f.name for f in tmp_path.iterdir()) == ["out", "study"]


@pytest.mark.parametrize(("value", "text"), [(0.5034, "0.503"), (7400.0, "7400"), (12.345, "12.3"), (float("nan"), "")])
def test_numbers_show_three_digits(value, text):
    assert number(value) == text
