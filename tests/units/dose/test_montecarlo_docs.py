"""The page's example runs and says what the page says."""

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parents[3] / "docs" / "montecarlo.md"


def test_the_example_of_the_page_keeps_the_energy_it_says():
    """Of 0.183 MeV a decay the electrons' 0.148 stay in a cube of 32 mm, and some of the photons' 0.035 in 128 mm."""
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL):
        exec(block, names)  # noqa: S102 - our own page
    assert 0.148 < names["kept_MeV"] < 0.183
    assert names["made"].electron_MeV.sum() + names["made"].local_MeV == pytest.approx(0.1478, rel=2e-3)
