"""SUV: the reference value V20 of the clinical notes, and a clear refusal without a weight."""

from __future__ import annotations

import pytest

from dose.errors import ImageError
from imaging.suv import suv_body_weight

V20 = {"weight_kg": 80, "administered_MBq": 150, "half_life_h": 67.71 / 60, "delay_h": 70 / 60}


def test_suv_decays_the_injected_activity_to_a_start_corrected_image():
    # 25e3 Bq/mL x 80e3 g / (150e6 Bq x 2^(-70/67.71)); tolerance as in the notes
    assert suv_body_weight(25_000, **V20, decay_correction="START") == pytest.approx(27.2992, rel=1e-5)


def test_suv_takes_the_injected_activity_as_it_is_with_admin():
    assert suv_body_weight(25_000, **V20, decay_correction="ADMIN") == pytest.approx(13.3333, rel=1e-5)


@pytest.mark.parametrize("missing", ["weight_kg", "administered_MBq"])
def test_suv_without_weight_or_activity_is_refused(missing):
    with pytest.raises(ImageError, match="PatientWeight|RadionuclideTotalDose"):
        suv_body_weight(25_000, **{**V20, missing: None}, decay_correction="START")
