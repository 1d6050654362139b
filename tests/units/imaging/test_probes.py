"""Blood samples and whole-body probe: activities by hand, decay put back, sd by repeated counts, refusals."""

from __future__ import annotations

import math

import numpy as np
import pytest

from calibration.observations import Observations
from dose.errors import InputError
from dose.nuclides import radionuclide
from imaging.probes import blood_observations, whole_body_probe

DECAY = radionuclide("177Lu").decay_constant_per_h
TIMES = np.array([0.5, 2.0, 24.0])
BLOOD = {"nuclide": "177Lu", "efficiency_cps_per_Bq": 0.2, "blood_volume_mL": 5000.0}


def blood_counts(Bq_per_g, counted, seconds=600.0) -> np.ndarray:
    x = DECAY * seconds / 3600
    return Bq_per_g * 2.0 * 0.2 * np.exp(-DECAY * (counted - TIMES)) * -math.expm1(-x) / x * seconds


def test_blood_comes_back_to_the_time_of_drawing():
    truth, counted = np.array([500.0, 200.0, 20.0]), TIMES + np.array([1.0, 30.0, 100.0])
    found = blood_observations(TIMES, blood_counts(truth, counted), 600, 2.0, counted_at_h=counted, **BLOOD)
    np.testing.assert_allclose([r.concentration_Bq_per_mL for r in found], truth * 1.06, rtol=1e-12)
    np.testing.assert_allclose([r.activity_MBq for r in found], truth * 1.06 * 5000 / 1e6, rtol=1e-12)
    late = blood_observations(TIMES, blood_counts(truth, counted), 600, 2.0, **BLOOD)
    assert late[2].activity_MBq < 0.7 * found[2].activity_MBq  # negative control: decay not put back


def test_plasma_is_diluted_by_cells():
    counts = blood_counts(np.full(3, 100.0), TIMES)
    plasma = blood_observations(TIMES, counts, 600, 2.0, haematocrit=0.4, density_g_per_mL=1.0, **BLOOD)
    assert plasma[0].concentration_Bq_per_mL == pytest.approx(100 * 0.6, rel=1e-9)
    equal = blood_observations(
        TIMES, counts, 600, 2.0, haematocrit=0.4, density_g_per_mL=1.0, cell_to_plasma=1.0, **BLOOD
    )
    assert equal[0].concentration_Bq_per_mL == pytest.approx(100, rel=1e-9)
    assert plasma[0].modality == "plasma_sample"


def test_sd_of_blood_separates_what_is_shared():
    counts = blood_counts(np.full(3, 5.0), TIMES) + 600 * 0.5
    words = {"background_cps": 0.5, "mass_sd_g": 0.02, "efficiency_relative_sd": 0.03, "blood_volume_relative_sd": 0.08}
    found = blood_observations(TIMES, counts, 600, 2.0, **words, **BLOOD)
    rng = np.random.default_rng(1)
    draws = [
        blood_observations(TIMES, rng.poisson(counts), 600, 2 + rng.normal(0, 0.02), **words, **BLOOD)[0].activity_MBq
        for _ in range(1000)
    ]
    assert found[0].own_sd_MBq == pytest.approx(np.std(draws), rel=0.1)
    shared = math.hypot(0.03, 0.08) * found[0].activity_MBq
    assert found[0].sd_MBq == pytest.approx(math.hypot(found[0].own_sd_MBq, shared), rel=1e-9)


def probe_counts(retained, seconds=60.0) -> tuple[np.ndarray, np.ndarray]:
    """Front and back counts of a patient who stands nearer to the probe with his front."""
    times = np.array([0.25, 4.0, 24.0, 96.0])
    rate = 900 * np.asarray(retained) * np.exp(-DECAY * times)
    return 1.4 * rate * seconds, rate / 1.4 * seconds


def test_whole_body_activity_by_hand():
    times, kept = np.array([0.25, 4.0, 24.0, 96.0]), np.array([1.0, 0.7, 0.4, 0.3])
    found = whole_body_probe(times, *probe_counts(kept), 60, nuclide="177Lu", administered_MBq=7400)
    np.testing.assert_allclose([r.activity_MBq for r in found], 7400 * kept * np.exp(-DECAY * times), rtol=1e-12)
    assert found[0].own_sd_MBq == 0
    assert found[1].sd_MBq > found[1].own_sd_MBq > 0


def test_sd_of_a_probe_is_the_spread_of_repeated_readings():
    rng, times, kept = np.random.default_rng(3), np.array([0.25, 4.0, 24.0, 96.0]), np.array([1.0, 0.7, 0.4, 0.3])
    front, back = probe_counts(kept, 1.0)
    words = {"nuclide": "177Lu", "administered_MBq": 7400.0}
    exact = whole_body_probe(times, front, back, 1, **words)
    draws = [whole_body_probe(times, rng.poisson(front), rng.poisson(back), 1, **words) for _ in range(600)]
    for k in (1, 3):
        assert exact[k].sd_MBq == pytest.approx(np.std([d[k].activity_MBq for d in draws]), rel=0.12)


def test_readings_are_observations():
    front, back = probe_counts([1.0, 0.7, 0.4, 0.3])
    found = whole_body_probe([0.25, 4, 24, 96], front, back, 60, nuclide="177Lu", administered_MBq=7400, body_mL=7e4)
    rows = found[1:]  # the first only sets the scale
    names = ("region", "time_h", "activity_MBq", "own_sd_MBq", "volume_mL", "modality")
    columns = [[getattr(r, name) for r in rows] for name in names]
    assert len(Observations(*columns, cycle=[1] * 3)) == 3


def test_activity_that_grows_is_refused():
    front, back = probe_counts([1.0, 0.7, 0.9, 0.3])
    with pytest.raises(InputError, match="rises"):
        whole_body_probe([0.25, 4, 24, 96], front, back, 60, nuclide="177Lu", administered_MBq=7400)


def test_impossible_readings_are_refused():
    words = {"nuclide": "177Lu", "administered_MBq": 7400}
    with pytest.raises(InputError, match="rise"):
        whole_body_probe([4, 1], [9, 9], [9, 9], 60, **words)
    with pytest.raises(InputError, match="background"):
        whole_body_probe([1, 4], [9, 9], [9, 9], 60, background_cps=(1, 1), **words)
    with pytest.raises(InputError, match="clocks"):
        blood_observations([2.0], [100], 60, 2.0, counted_at_h=[1.0], **BLOOD)
    with pytest.raises(InputError, match="haematocrit"):
        blood_observations([2.0], [100], 60, 2.0, haematocrit=1.2, **BLOOD)
    with pytest.raises(InputError, match="background"):
        blood_observations([2.0], [10], 60, 2.0, background_cps=1.0, **BLOOD)
