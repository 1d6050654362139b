"""The plausibility gate: means and spreads against bands, with the scatter of few patients allowed for."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.trial_tables import make_trial
from twin.trial.gate import first_arms, gates, write_gate

TRACER = "177Lu-PSMA-617"


def kidneys(mean: float, cv: float, count: int = 5000) -> np.ndarray:
    sd = np.sqrt(np.log1p(cv**2))
    z = np.random.default_rng(2).standard_normal(count)
    return mean * np.exp(sd * (z - z.mean()) / z.std() - sd**2 / 2)


def judged(values: np.ndarray) -> dict[str, tuple[float, bool]]:
    return {g.quantity: (g.value, g.passes) for g in gates(TRACER, {"kidneys": values})}


def test_a_cohort_inside_the_bands_passes_with_its_own_mean_and_cv():
    found = judged(kidneys(0.55, 0.40))
    assert found["mean"] == (pytest.approx(0.55, rel=0.01), True)
    assert found["cv"] == (pytest.approx(0.40, rel=0.01), True)


@pytest.mark.parametrize(("mean", "cv", "fails"), [(0.85, 0.4, "mean"), (0.3, 0.4, "mean"), (0.55, 0.8, "cv")])
def test_a_cohort_outside_fails_where_it_is_outside(mean, cv, fails):
    found = judged(kidneys(mean, cv))
    assert not found[fails][1]
    assert all(passes for quantity, (_, passes) in found.items() if quantity != fails)


def test_few_patients_may_scatter_and_too_few_say_nothing():
    """A mean of 0.73 is 3 standard errors outside with 5000 patients, and not yet 2 with 60."""
    assert not judged(kidneys(0.73, 0.4))["mean"][1]
    assert judged(kidneys(0.73, 0.4, 60))["mean"][1]
    assert gates(TRACER, {"kidneys": kidneys(0.73, 0.4, 40)}) == ()


def test_a_tracer_without_bands_has_no_gate():
    assert gates("161Tb-PSMA-617", {"kidneys": kidneys(0.55, 0.4)}) == ()


def test_the_first_arm_of_each_tracer_is_judged():
    arms = [{"name": n, "tracer": t} for n, t in (("a", "x"), ("b", "x"), ("c", "y"))]
    assert first_arms(arms) == {"x": "a", "y": "c"}


def test_a_trial_s_folder_is_judged_by_its_own_tables(tmp_path):
    """The trials made by hand have 0.55 Gy/GBq in the kidneys; a dose twice as large in the tables fails."""
    folder = with_tracers(make_trial(tmp_path / "t", patients=200))
    found = {(g.organ, g.quantity): g for g in write_gate(folder)}
    assert found["kidneys", "mean"].value == pytest.approx(0.55, rel=0.15)
    assert found["kidneys", "mean"].passes
    said = json.loads((folder / "gate.json").read_text())
    assert {"organ", "quantity", "value", "low", "high", "passes", "source"} <= said[0].keys()


def with_tracers(folder):
    """A trial made by hand with the tracer of each arm written out, as a filled design has it."""
    path = folder / "manifest.json"
    words = json.loads(path.read_text())
    for arm in words["job"]["design"]["arms"]:
        arm["tracer"] = TRACER
    path.write_text(json.dumps(words))
    return folder
