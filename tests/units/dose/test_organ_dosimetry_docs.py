"""The example of docs/organ-dosimetry.md runs as it stands, and its figures are those of the code."""

import re

import numpy as np
import pytest


@pytest.fixture(scope="module")
def page(repository):
    text = (repository / "docs" / "organ-dosimetry.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_kidneys_get_what_the_page_says(page):
    """Printed to three digits; the interval to two."""
    assert page["kidneys"] == pytest.approx(3.50, abs=0.015)
    row = page["dose"].table().loc["kidneys"]
    assert row["photon_Gy"] / row["total_Gy"] == pytest.approx(0.03, abs=0.005)
    assert 1 - row["from_kidneys_Gy"] / row["total_Gy"] == pytest.approx(0.01, abs=0.003)
    assert (page["low"], page["high"]) == pytest.approx((3.2, 3.8), abs=0.06)


def test_marrow_and_cross_dose_are_as_printed(page):
    assert page["marrow"].self_Gy == pytest.approx(0.06, abs=0.005)
    assert page["marrow"].cross_Gy == pytest.approx(0.04, abs=0.005)
    assert page["cross"].total.shape == (2, 3)
    assert np.all(page["cross"].total > 0)
