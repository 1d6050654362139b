"""SUV: the reference value V20 of the clinical notes, the other normalisations, and clear refusals."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.body_size import body_surface_m2, lean_mass_kg
from imaging.geometry import Volume
from imaging.series import ImageSeries, Radiopharmaceutical
from imaging.suv import KINDS, suv_body_weight, suv_image

V20 = {"weight_kg": 80, "administered_MBq": 150, "half_life_h": 67.71 / 60, "delay_h": 70 / 60}


def series(**changes) -> ImageSeries:
    """The case V20 as a series: 25 kBq/mL, 80 kg, 150 MBq of 68Ga, 70 min."""
    given = Radiopharmaceutical("68Ga", 67.71 / 60, 150.0, datetime(2026, 1, 1, 8))
    base = ImageSeries(
        Volume(np.full((3, 2, 2), 25_000.0), np.eye(4)),
        "PET",
        "Bq/mL",
        "a",
        "b",
        decay_correction="START",
        reference_at=datetime(2026, 1, 1, 9, 10),
        radiopharmaceutical=given,
        weight_kg=80,
        height_m=1.8,
        sex="male",
    )
    return replace(base, **changes)


def test_suv_decays_the_injected_activity_to_a_start_corrected_image():
    # 25e3 Bq/mL x 80e3 g / (150e6 Bq x 2^(-70/67.71)); tolerance as in the notes
    assert suv_body_weight(25_000, **V20, decay_correction="START") == pytest.approx(27.2992, rel=1e-5)


def test_suv_takes_the_injected_activity_as_it_is_with_admin():
    assert suv_body_weight(25_000, **V20, decay_correction="ADMIN") == pytest.approx(13.3333, rel=1e-5)


@pytest.mark.parametrize("missing", ["weight_kg", "administered_MBq"])
def test_suv_without_weight_or_activity_is_refused(missing):
    with pytest.raises(ImageError, match="PatientWeight|RadionuclideTotalDose"):
        suv_body_weight(25_000, **{**V20, missing: None}, decay_correction="START")


def test_the_same_activity_has_one_suv_however_the_scanner_corrected_it():
    start = suv_image(series()).array
    admin = series(decay_correction="ADMIN")
    admin = replace(admin, volume=admin.volume.with_array(admin.volume.array * 2 ** (70 / 67.71)))
    mid_s = np.array([60.0, 300.0, 900.0])
    as_measured = np.exp(-np.log(2) * mid_s / 3600 / (67.71 / 60))
    none = series(decay_correction="NONE", slice_mid_s=mid_s)
    none = replace(none, volume=none.volume.with_array(none.volume.array * as_measured[:, None, None]))
    # float32 voxels; the nuclide table's half-life of 68Ga (67.71 min) undoes NONE
    np.testing.assert_allclose(suv_image(admin).array, start, rtol=1e-5)
    np.testing.assert_allclose(suv_image(none).array, start, rtol=1e-4)
    assert start[0, 0, 0] == pytest.approx(27.2992, rel=1e-5)


def test_slices_without_their_times_are_refused():
    with pytest.raises(ImageError, match="DecayCorrection"):
        suv_image(series(decay_correction="NONE"))


def test_body_sizes_by_hand():
    # 80 kg, 1.8 m: BMI 24.691; each from the formula on paper
    assert body_surface_m2(80, 1.8) == pytest.approx(0.007184 * 80**0.425 * 180**0.725, rel=1e-12)
    assert body_surface_m2(70, 1.7) == pytest.approx(1.810, abs=0.002)
    assert lean_mass_kg(80, 1.8, "male") == pytest.approx(9270 * 80 / (6680 + 216 * 80 / 3.24), rel=1e-12)
    assert lean_mass_kg(80, 1.8, "female") == pytest.approx(9270 * 80 / (8780 + 244 * 80 / 3.24), rel=1e-12)
    assert lean_mass_kg(80, 1.8, "male", "james") == pytest.approx(88 - 128 * (80 / 180) ** 2, rel=1e-12)
    assert lean_mass_kg(80, 1.8, "female", "james") == pytest.approx(85.6 - 148 * (80 / 180) ** 2, rel=1e-12)


def test_kinds_differ_by_what_they_divide_by():
    by = {kind: float(suv_image(series(), kind).array[0, 0, 0]) for kind in KINDS}
    assert by["bsa"] / by["bw"] == pytest.approx(1e4 * body_surface_m2(80, 1.8) / 80e3, rel=1e-6)
    assert by["lbm"] / by["bw"] == pytest.approx(lean_mass_kg(80, 1.8, "male") / 80, rel=1e-6)
    assert by["lbm_james"] < by["bw"]


def test_an_image_in_g_per_mL_is_taken_as_it_stands():
    ready = series(unit="g/mL", decay_correction="", radiopharmaceutical=Radiopharmaceutical())
    np.testing.assert_array_equal(suv_image(ready).array, ready.volume.array)
    assert suv_image(ready, "lbm").array[0, 0, 0] < ready.volume.array[0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({"unit": "counts"}, "bw"),
        ({"height_m": None}, "bsa"),
        ({"sex": None}, "lbm"),
        ({"weight_kg": 160.0}, "lbm_james"),
    ],
)
def test_what_cannot_be_known_is_refused(changes, kind):
    with pytest.raises(ImageError):
        suv_image(series(**changes), kind)


def test_an_unknown_kind_is_refused():
    with pytest.raises(InputError, match="SUV kind"):
        suv_image(series(), "ideal")
