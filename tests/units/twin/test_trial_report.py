"""The page of a trial: it stands alone, says what was done, counted and assumed, and warns."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from dose.errors import InputError
from tests.trial_tables import STANDARD, TWIN, ArmMade, make_trial
from twin import plots_trial
from twin.report import trial as report
from twin.report import trial_sections as sections
from twin.report.extras import NOTICE
from twin.trial import power as of_power
from twin.trial.results import open_trial
from twin.trial.schema import TABLES

GATE = [{"organ": "kidneys", "quantity": "mean Gy/GBq", "value": 0.58, "low": 0.4, "high": 0.7, "passes": True,
         "source": "pooled_gate"}]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return make_trial(tmp_path_factory.mktemp("report"), patients=80, chunk=40, bad=0.05, gate=GATE)


@pytest.fixture(scope="module")
def page(folder):
    with pytest.MonkeyPatch.context() as few:
        few.setattr(of_power, "DRAWS", {"mean": 200, "share": 200, "survival": 20})
        path = report.write_report(folder)
    assert path == folder / "report.html"
    return path.read_text(encoding="utf-8")


class Tags(HTMLParser):
    """Open and closed tags, and all addresses that a page names."""

    def __init__(self):
        super().__init__()
        self.open, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        self.addresses += [value for name, value in attrs if name in ("src", "href")]
        if tag not in ("meta", "br", "img", "link"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def parsed(text: str) -> Tags:
    tags = Tags()
    tags.feed(text)
    return tags


def test_the_page_is_whole_and_asks_for_nothing(page):
    tags = parsed(page)
    assert tags.open == []
    assert len(tags.addresses) > 10
    assert all(address.startswith(("#", "data:image/png")) for address in tags.addresses)
    assert "default-src 'none'" in page
    assert NOTICE in page


def test_an_address_elsewhere_would_be_seen():
    assert parsed('<p><img src="https://example.org/x.png"></p>').addresses == ["https://example.org/x.png"]


def test_the_page_has_each_section(page):
    found = re.findall(r'<section id="(\w+)">', page)
    assert found == [
        "design",
        "patients",
        "results",
        "survival",
        "cycles",
        "power",
        "published",
        "assumptions",
        "versions",
    ]
    assert page.count("<figure>") == 7


def test_the_page_says_the_design_and_the_lost(page, folder):
    assert "80 virtual patients, the same in each arm; tracer 177Lu-PSMA-617" in page
    assert "Does the twin give tumours more dose within the kidney limit?" in page
    found = open_trial(folder).patients(["arm", "status"])
    lost = int(((found["arm"] == TWIN.name) & (found["status"] == "step_limit")).sum())
    assert lost > 0
    assert f"twin: {lost} of 80 patients could not be computed" in page
    assert "not eligible" in page
    assert "step limit" in page


def test_the_numbers_of_the_page_are_those_of_the_table(page, folder):
    from twin.report.html import number
    from twin.trial.statistics import endpoint_table

    every = endpoint_table(open_trial(folder)).set_index(["endpoint", "arm"])
    row = every.loc[("tumour_dose_Gy", TWIN.name)]
    assert f"{number(row['value'])}<br><small>{number(row['lower95'])} to {number(row['upper95'])}" in page
    assert f"+{number(row['difference'])}<br>" in page


def test_published_cohorts_stand_beside_with_their_sources(page, folder):
    found = sections.published_beside(open_trial(folder)).set_index(["region", "source"])
    row = found.loc[("kidneys", "vision_dosimetry_2024")]
    assert (row["published"], row["published_sd"], row["published_patients"]) == (0.43, 0.16, 30)
    ok = open_trial(folder).patients(["kidney_dose_Gy", "activity_MBq"], arm=STANDARD.name)
    # the maker's kidneys get the same dose in each cycle
    assert row["mean"] == pytest.approx((1000 * ok["kidney_dose_Gy"] / ok["activity_MBq"]).mean())
    assert "VISION dosimetry substudy" in page


def test_the_gate_is_shown_and_a_failed_one_warns(page, tmp_path):
    assert "Plausibility gate" in page
    assert "should be quoted" not in page
    missed = [GATE[0] | {"value": 0.9, "passes": False}]
    trial = make_trial(tmp_path, (STANDARD,), patients=20, chunk=20, gate=missed)
    text = report.write_report(trial).read_text(encoding="utf-8")
    assert "outside of published bands: kidneys mean Gy/GBq 0.900; no result of this trial should be quoted" in text
    assert ">fails<" in text


def test_a_trial_of_one_arm_without_a_gate_says_so(tmp_path):
    text = report.write_report(make_trial(tmp_path, (STANDARD,), patients=20, chunk=20)).read_text(encoding="utf-8")
    assert "not checked against published bands" in text
    assert "Differences from" not in text
    assert 'id="power"' not in text


def test_a_gate_that_is_none_is_refused(tmp_path):
    (tmp_path / "gate.json").write_text('[{"organ": "kidneys"}]')
    with pytest.raises(InputError, match="rows with organ, quantity"):
        sections.read_gate(tmp_path)


def test_a_trial_that_is_not_complete_is_reported_as_such(tmp_path):
    folder = make_trial(tmp_path, (STANDARD,), patients=40, chunk=20)
    for name in TABLES:
        (folder / name / "part-00001.parquet").unlink()
    text = report.write_report(folder).read_text(encoding="utf-8")
    assert "The trial is not complete: 20 of 40 patients are there" in text


def test_a_trial_without_any_result_has_a_page(tmp_path):
    folder = make_trial(tmp_path, patients=20, chunk=20, bad=1.0)
    text = report.write_report(folder).read_text(encoding="utf-8")
    assert parsed(text).open == []
    assert "Endpoints by arm" in text


def test_text_of_a_design_is_escaped(tmp_path):
    folder = make_trial(tmp_path, (ArmMade("<script>alert(1)</script>"),), patients=10, chunk=10)
    text = report.write_report(folder).read_text(encoding="utf-8")
    assert "<script>" not in text
    assert "&lt;script&gt;" in text


def test_shares_and_signs_read_as_a_reader_expects(page):
    assert "−0.0%" not in page
    assert "+-" not in page
    assert "nan" not in re.sub(r'src="[^"]+"', "", page).lower().replace("nano", "")


def test_power_in_words_beyond_the_sizes():
    curve = of_power.PowerCurve(
        "e", "e", ("a", "b"), "t", np.array([10, 20]), np.array([0.9, 1.0]), np.zeros(2), *[np.nan] * 3
    )
    assert sections.needed(curve) == "at most 10"
    low = of_power.PowerCurve(
        "e", "e", ("a", "b"), "t", np.array([10, 20]), np.array([0.1, 0.2]), np.zeros(2), *[np.nan] * 3
    )
    assert sections.needed(low) == "more than 20"


def test_figures_draw_what_they_are_given(folder):
    trial = open_trial(folder)
    values = {arm: trial.patients(["kidney_bed_Gy"], arm=arm)["kidney_bed_Gy"].to_numpy() for arm in trial.arms}
    figure = plots_trial.distributions({"BED (Gy)": values}, "t", {"BED (Gy)": 40.0})
    axis = figure.axes[0]
    medians = [line.get_xdata()[0] for line in axis.lines if line.get_marker() == "o"]
    np.testing.assert_allclose(medians, [np.nanmedian(values[arm]) for arm in trial.arms])
    assert any(list(line.get_xdata()) == [40.0, 40.0] for line in axis.lines)


def test_numbers_at_risk_are_those_of_the_curve(folder):
    from twin.trial.statistics import survival_curves

    curves = survival_curves(open_trial(folder))
    figure = plots_trial.survival(curves)
    drawn = [t.get_text() for t in figure.axes[1].texts]
    firsts = [str(c.tally.patients) for c in curves.values()]
    assert [drawn[0], drawn[len(drawn) // 2]] == firsts
