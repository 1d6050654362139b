"""The code of docs/curves.md runs as it stands, and its table is what `side_by_side` gives."""

import csv
import re

import numpy as np
import pytest

from calibration.curve_models import FAMILY
from calibration.curves import DEFAULT_MODELS, side_by_side


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "docs" / "curves.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_examples_run_and_say_what_the_page_says(page):
    assert page["found"].comparable
    assert page["found"].fit("tri_uptake").aicc is None
    assert page["kept"].tia_MBq_h > 0
    assert any(row.method.startswith("Jackson") for row in page["methods"])
    assert page["chosen"].best.model == "uptake"
    assert 0 < page["new"].prior_share < 1


def test_the_table_of_functions_is_the_family(text):
    rows = re.findall(r"^\| `(\w+)` \| .* \| (\d) \|(.*)\|$", text, re.MULTILINE)
    assert [(name, int(size)) for name, size, _ in rows] == [(m.name, m.size) for m in FAMILY.values()]
    assert {name for name, _, used in rows if used.strip()} == set(DEFAULT_MODELS)
    assert all(f"from {size}" in used for name, size, used in rows if used.strip())


def test_the_table_of_the_kidney_is_computed(text, shared):
    with (shared / "data" / "clinical" / "tac_177lu_psma_patient1.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["voi"] == "right kidney"]
    t, a = (np.array([float(row[k]) for row in rows]) for k in ("time_h", "activity_measured_MBq"))
    found = {row.method: row for row in side_by_side(t, a, 0.05 * a, nuclide="177Lu")}
    part = text.split("## One kidney by every method")[1].split("## A population")[0]
    shown = re.findall(r"^\| ([^|]+) \| (\d+) \| (\d*) ?\| (\d+) % \|$", part, re.MULTILINE)
    assert {method for method, *_ in shown} == set(found)
    for method, tia, sd, after in shown:
        # printed to 1 MBq h and 1 %
        assert float(tia) == pytest.approx(found[method].tia_MBq_h, abs=0.6), method
        assert float(after) == pytest.approx(100 * found[method].extrapolated_fraction, abs=0.6), method
        assert (sd == "") == (found[method].tia_sd_MBq_h is None)
        assert not sd or float(sd) == pytest.approx(found[method].tia_sd_MBq_h, abs=0.6), method


def test_the_example_of_the_voxel_page_runs(repository):
    """Its first block makes scans and a map, its last one that has no figure filters them and turns them into dose."""
    text = (repository / "docs" / "voxel-tia.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        if "savefig" not in block:
            exec(block, names)  # noqa: S102 - the page is ours
    # local deposition: the hottest voxel's dose is its integral times 0.0853 Gy g/(MBq h), the medium's density 1 g/mL
    hottest = names["found"].tia_MBq_h_mL[names["part"][1:]].max()
    assert names["dose"].dose_Gy.max() == pytest.approx(0.0853 * hottest, rel=0.05)
    assert "denoised" in names["cleaned"].method
