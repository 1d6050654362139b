"""Blood samples and a whole-body probe beside scans: what they are in the model, and what their errors share."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import noise
from calibration.forward import modelled, pool_weights
from calibration.observations import Observations
from imaging.probes import blood_observations, whole_body_probe
from pbpk.parameters import Covariates
from pbpk.physiology import rules
from pbpk.scaling import physiology

ORGANS = physiology(Covariates.of(weight_kg=80.0, height_m=1.75), "psma", {"tumour_1": 20.0}).organs


def readings() -> Observations:
    """Three blood samples, and a probe whose first reading stands for what was given."""
    blood = blood_observations(
        [1.0, 4.0, 24.0], [9000, 4000, 900], 60.0, 1.0,
        nuclide="177Lu", efficiency_cps_per_Bq=0.002, blood_volume_mL=5300.0,
    )  # fmt: skip
    body = whole_body_probe(
        [0.1, 24.0, 72.0],
        [20000, 8000, 4000],
        [18000, 7000, 3500],
        60.0,
        administered_MBq=7400.0,
        nuclide="177Lu",
        body_mL=80_000.0,
    )[1:]
    rows = [*blood, *body]
    columns = {name: [getattr(r, name) for r in rows] for name in ("time_h", "activity_MBq", "volume_mL")}
    words = {name: tuple(getattr(r, name) for r in rows) for name in ("region", "modality")}
    return Observations(**columns, sd_MBq=[r.own_sd_MBq for r in rows], **words, cycle=(1,) * len(rows))


def test_readings_have_a_counterpart_in_the_model():
    assert modelled(readings(), ORGANS).all()


def test_blood_is_the_large_vessels_plasma_over_their_share_of_it():
    share = rules()["blood", "arterial"][1] + rules()["blood", "venous"][1]
    weights = pool_weights("blood", ORGANS, frozenset())
    assert not weights[: len(ORGANS)].any()
    # a body whose plasma is even, 1 MBq in all: the vessels hold their share, and the sample tells the whole again
    assert weights[-3] * rules()["blood", "arterial"][1] + weights[-2] * rules()["blood", "venous"][1] == pytest.approx(
        1
    )
    assert weights[-3] == pytest.approx(1 / share)


def test_a_blood_sample_takes_nothing_from_the_remainder_of_the_body():
    with_blood, without = (pool_weights("remainder", ORGANS, frozenset({"liver", *more})) for more in (["blood"], []))
    assert np.array_equal(with_blood, without)


def test_samples_share_their_counter_and_nothing_of_an_image():
    found = noise.shared_errors(readings())
    assert set(found.names) == {"calibration/blood_sample", "calibration/probe"}
    assert np.all(noise.log_sd(readings()) > 0.05)
