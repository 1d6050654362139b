"""The examples of docs/nuclear-data.md run as they stand, and its numbers are those of the code."""

import re

import numpy as np
import pytest

from dose.emissions import emissions
from dose.nuclides import radionuclide
from dose.progeny import chain_energy_MeV


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "docs" / "nuclear-data.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_impurity_takes_over_as_the_page_says(page):
    np.testing.assert_allclose(page["share"], [0.0005, 0.001, 0.016, 0.81], rtol=0.02)


def test_a_shorter_half_life_gives_less_dose_for_the_same_activity(page):
    # decays without end are activity over decay constant: 9.920 d over 10.0 d
    assert page["change"] == pytest.approx(9.920 / 10.0 - 1, abs=1e-12)
    assert radionuclide("225Ac").half_life_h == 240.0


def test_daughters_stay_when_only_the_parent_is_removed(page):
    assert float(page["tumour"]["213Bi"]) == pytest.approx(float(page["tumour"]["225Ac"]), rel=2e-4)


def test_the_table_of_chains_is_computed(text):
    rows = re.findall(r"^\| (\d+\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|", text, re.MULTILINE)
    assert len(rows) == 5
    for parent, *shown in rows:
        found = chain_energy_MeV(parent)
        ours = found["alpha"], found["recoil"], found["beta"] + found["conversion"], found["photon"]
        # printed to three or four digits
        assert [float(x) for x in shown] == pytest.approx(ours, rel=5e-4, abs=5.1e-4)


def test_the_lines_of_the_comparison_are_ours(text):
    rows = re.findall(r"^\| (\d+\w+) (\d+) keV \| ([\d.]+) % \| ([\d.]+) % \| \+([\d.]+) % \|$", text, re.MULTILINE)
    assert len(rows) == 4
    for nuclide, energy_keV, ours, theirs, more in rows:
        gamma = emissions(nuclide).gamma
        near = np.abs(1e3 * gamma.energy_MeV - float(energy_keV)) < 0.8
        found = 100 * float(gamma.per_decay[near].sum())
        assert float(ours) == pytest.approx(found, rel=5e-3)
        assert 100 * (found / float(theirs) - 1) == pytest.approx(float(more), abs=0.6)
