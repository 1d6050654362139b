"""Every field of good dosimetry reporting is there, with its value or "not recorded", in the page and for machines."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from dose.errors import InputError
from twin.constraints import limit
from twin.report import NOTICE, Extras, as_json, page, read_recorded, reporting_fields
from twin.report.fields import NOT_RECORDED
from twin.results import write_results

ASKED = {
    "administration": (
        "patient_id",
        "administrations",
        "residual_activity",
        "ligand_mass",
        "activity_meter",
    ),
    "measurement": ("camera", "collimator", "energy_windows", "calibration_factor", "calibration_traceability"),
    "times": ("scan_times", "administration_clock"),
    "corrections": ("reconstruction", "attenuation_correction", "scatter_correction", "partial_volume_correction"),
    "regions": ("segmentation", "volumes"),
    "curves": ("time_activity_data", "fit_function", "parameters", "fit_quality", "parameter_correlation"),
    "integrals": ("tia", "tia_method"),
    "dose": ("s_values", "mass_scaling", "cross_dose", "doses", "dose_uncertainty"),
    "effect": ("bed_method", "bed_parameters", "bed"),
    "software": ("software", "seed", "command", "fingerprint"),
}
"""CLINICAL.md, section 5: what Lassmann et al. 2011 ask for, by our ids."""


@pytest.fixture
def every(results):
    return results[2].forecast


def values(patient, every, **extras) -> dict:
    return {f.id: f.value for f in reporting_fields(patient, every, Extras(**extras))}


@pytest.mark.parametrize("id", [name for group in ASKED.values() for name in group])
def test_each_field_is_in_the_page_and_in_the_json(id, patient, results, every):
    fields = {f.id: f for f in reporting_fields(patient, every, Extras())}
    assert fields[id].name in page(patient, every, results[2])
    found = json.loads(as_json(patient, tuple(fields.values()), results[2], (), Extras()))
    assert id in {f["id"] for f in found["fields"]}


def test_what_nobody_told_is_said_to_be_missing(patient, every, results):
    assert values(patient, every)["camera"] is None
    text = page(patient, every, results[2])
    assert f'<th scope="row">Collimator</th><td class="quiet">{NOT_RECORDED}</td>' in text


def test_what_the_user_recorded_is_shown(patient, every, results):
    extras = Extras(recorded={"camera": "Maker <X>, two heads"})
    assert values(patient, every, recorded=extras.recorded)["camera"] == "Maker <X>, two heads"
    assert "Maker &lt;X&gt;, two heads" in page(patient, every, results[2], (), extras)


@pytest.mark.parametrize(("id", "hint"), [("colimator", "collimator"), ("doses", "theratwin does not fill")])
def test_ids_that_are_none_or_known_already_are_refused(id, hint, patient, every):
    with pytest.raises(InputError, match=hint):
        values(patient, every, recorded={id: "x"})


def test_recorded_fields_are_read_from_a_file(tmp_path):
    path = tmp_path / "fields.toml"
    path.write_text('camera = "Maker, two heads"\n')
    assert read_recorded(path) == {"camera": "Maker, two heads"}
    path.write_text("camera = 3\n")
    with pytest.raises(InputError, match="a text"):
        read_recorded(path)
    with pytest.raises(InputError, match=r"docs/report\.md"):
        read_recorded(tmp_path / "nowhere.toml")


def test_only_cycles_given_are_reported(patient, every):
    found = values(patient, every)
    assert {row["cycle"] for row in found["doses"]} == {"1"}
    assert {row["cycle"] for row in found["tia"]} == {"1"}
    dose = next(row["dose_Gy"] for row in found["doses"] if row["region"] == "kidney_right")
    assert dose["lower90"] < dose["median"] < dose["upper90"]


def test_assumed_covariates_are_marked(patient, every):
    found = values(patient, every)
    assert found["weight_kg"] == "82 kg"
    assert "not measured" in found["gfr_mL_min"]


def test_bed_parameters_name_their_ranges_and_source(patient, every):
    rows = {row["tissue"]: row for row in values(patient, every)["bed_parameters"]}
    kidney = rows["kidney"]
    assert (kidney["alpha_beta_Gy"], kidney["range_Gy"], kidney["source"]) == (2.6, [1.5, 3.0], "prrt_tradition")
    assert rows["tumour"]["regions"] == ["tumour 1"]


def test_curves_are_rows_of_scans_in_order_of_time(patient, every):
    rows = values(patient, every)["time_activity_data"]
    kidney = next(row for row in rows if row["region"] == "kidney_right")
    assert kidney["time_h"] == [4.0, 24.0]
    assert kidney["activity_MBq"] == [80.0, 70.0]


def test_the_json_stands_beside_the_page_with_notice_limits_and_warnings(results, tmp_path, monkeypatch):
    monkeypatch.setattr("twin.plots.png", lambda figure: b"")
    patient, report, plan, *rest = results
    plan = replace(plan, limits=(replace(limit("kidney_bed_27"), set_by="Dr A"),))
    out = write_results(tmp_path / "out", patient, report, plan, *rest)
    found = json.loads((out / "reporting_fields.json").read_text())
    assert found["notice"] == NOTICE
    assert (found["limits"][0]["set_by"], found["limits"][0]["value_Gy"]) == ("Dr A", 27.0)
    assert "sundlov_2022" in found["limits"][0]["source"]
    assert "one scan only" in found["warnings"]
    assert {f["id"] for f in found["fields"] if not f["recorded"]} >= {"camera", "residual_activity"}


def test_the_same_twin_gives_the_same_json(patient, every, results):
    made = [as_json(patient, reporting_fields(patient, every, Extras()), results[2], (), Extras()) for _ in range(2)]
    assert made[0] == made[1]
