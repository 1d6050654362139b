"""The code of docs/solver.md runs as it stands and says what the page says."""

import re

import numpy as np
import pytest

from pbpk.batch import Status


@pytest.fixture(scope="module")
def page(repository):
    text = (repository / "docs" / "solver.md").read_text(encoding="utf-8")
    names: dict = {}
    for block in re.findall(r"```python\n(.*?)```", text, re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_map_is_the_solve(page):
    one = page["schedules"](np.array([7400.0]), np.array([100.0])).tia_MBq_h[0, page["kidney"]]
    assert float(one) == pytest.approx(float(page["tia_MBq_h"]), rel=1e-5)


def test_the_page_states_its_numbers(page):
    assert page["found"].form == "one profile"
    assert page["kin"].layout.rows == 71
    assert page["error"] < 1e-6
    assert page["how"].startswith("solved directly: cycles closer")
    assert page["left_over"] == pytest.approx(6e-5, rel=0.1)


def test_derivative_and_cohort_came_out(page):
    assert float(page["slope"].receptors[page["kidney"], 0]) > 0
    assert page["organ_MBq_h"].shape == (len(page["kin"].organs), 200)
    assert page["unsolved"] == 0
    assert set(page["parts"].status) == {Status.OK}
