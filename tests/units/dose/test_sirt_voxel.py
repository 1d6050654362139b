"""90Y dose maps: partition's means, known truth found again, conservation, and what is refused or reported."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from dose.sirt.basics import gray_kg_per_GBq
from dose.sirt.comparison import compare
from dose.sirt.image import local_dose_Gy
from dose.sirt.liver import Liver, SirtSpread, Tumour
from dose.sirt.partition import PERFUSED, WHOLE, coefficients_Gy_per_GBq, partition_doses
from dose.sirt.voxel import delivered_voxels, predict_voxels
from dose.voxels import voxel

VOXEL_mL = 0.064
SURE = SirtSpread(0, 0, 0, 0, 0, 0)
Z, Y, X = np.indices((16, 24, 24)) * 0.4
LIVER = ((Z - 3.2) / 3) ** 2 + ((Y - 4.8) / 4) ** 2 + ((X - 4.8) / 4) ** 2 < 1
TUMOUR = (Z - 3.2) ** 2 + (Y - 4.8) ** 2 + (X - 6.4) ** 2 < 1.5**2
MASKS = {"tumour_1": TUMOUR, PERFUSED: LIVER & ~TUMOUR}
UNIFORM = 1.0 * LIVER + 3.0 * TUMOUR
"""Concentrations 1 and 4: a ratio of 4."""
GIVEN = {"voxel_mL": VOXEL_mL, "activity_GBq": 1.0, "lung_shunt": 0.05}


def region(found, name):
    return next(one for one in found.regions if one.region == name)


def test_uniform_regions_get_the_doses_of_the_partition_model():
    found = predict_voxels(UNIFORM, MASKS, **GIVEN)
    grams = [1.03 * VOXEL_mL * MASKS[name].sum() for name in ("tumour_1", PERFUSED)]
    expected = coefficients_Gy_per_GBq(Liver((Tumour("tumour_1", grams[0], 4.0),), grams[1], 0.05))
    for name in ("tumour_1", PERFUSED):
        assert region(found, name).mean_Gy.value == pytest.approx(expected[name], rel=1e-9)
        assert region(found, name).d95_Gy.value == pytest.approx(expected[name], rel=1e-9)


def test_the_intervals_are_those_of_the_partition_model():
    """Both hold ratio, masses, shunt and activity; lungs and the ratio's own mass term differ: ends within 10 %."""
    found = region(predict_voxels(UNIFORM, MASKS, **GIVEN), "tumour_1").mean_Gy
    grams = [1.03 * VOXEL_mL * MASKS[name].sum() for name in ("tumour_1", PERFUSED)]
    other = partition_doses(Liver((Tumour("tumour_1", grams[0], 4.0),), grams[1], 0.05), 1.0).of("tumour_1")
    assert found.low == pytest.approx(other.low, rel=0.1)
    assert found.high == pytest.approx(other.high, rel=0.1)


def test_local_dose_keeps_the_energy_whatever_the_density(rng):
    activity, density = rng.uniform(0, 5, (4, 5, 6)), rng.uniform(0.2, 1.9, (4, 5, 6))
    dose = local_dose_Gy(activity, VOXEL_mL, density)
    energy = np.sum(dose * density * VOXEL_mL)
    assert energy == pytest.approx(gray_kg_per_GBq() * activity.sum())  # Gy kg/GBq is Gy g/MBq


def test_counts_have_no_scale():
    one, many = predict_voxels(UNIFORM, MASKS, **GIVEN), predict_voxels(1e4 * UNIFORM, MASKS, **GIVEN)
    np.testing.assert_allclose(one.dose_Gy, many.dose_Gy, rtol=1e-12)


def test_an_engine_gets_the_integrated_activity():
    seen = {}

    def engine(tia_MBq_h, density):
        seen["total"] = tia_MBq_h.sum()
        return 2.0 * local_dose_Gy(tia_MBq_h * radionuclide("90Y").decay_constant_per_h, VOXEL_mL, density)

    found = predict_voxels(UNIFORM, MASKS, **GIVEN, engine=engine)
    plain = predict_voxels(UNIFORM, MASKS, **GIVEN)
    assert seen["total"] == pytest.approx(950.0 * 64.1 / math.log(2))  # 950 MBq in the liver
    assert region(found, "tumour_1").mean_Gy.value == pytest.approx(2 * region(plain, "tumour_1").mean_Gy.value)


def by(engine):
    return lambda tia, density: voxel(tia, density, "90Y", (4.0, 4.0, 4.0), engine=engine)


def test_the_local_engine_is_local_deposition():
    """Its maps are of single precision."""
    found, plain = predict_voxels(UNIFORM, MASKS, **GIVEN, engine=by("local")), predict_voxels(UNIFORM, MASKS, **GIVEN)
    np.testing.assert_allclose(found.dose_Gy, plain.dose_Gy, rtol=1e-6)


@pytest.mark.slow
def test_the_kernel_engine_lets_electrons_leave_a_sharp_tumour(monkeypatch, tmp_path):
    """16 mL, about 15 g, of four times its surroundings: a sphere of 15 g keeps 86 % of its own (-14 %), and the
    surroundings give a quarter of that back (+3.5 %): 10.5 %, to 2 points for a ragged sphere."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    means = [
        region(predict_voxels(UNIFORM, MASKS, **GIVEN, engine=engine), "tumour_1").mean_Gy.value
        for engine in (by("kernel"), None)
    ]
    assert means[0] / means[1] == pytest.approx(0.895, abs=0.02)


def test_an_engine_may_return_a_result_with_a_map():
    class Made:
        dose_Gy = np.full(LIVER.shape, 7.0)

    assert region(predict_voxels(UNIFORM, MASKS, **GIVEN, engine=lambda tia, rho: Made()), PERFUSED).mean_Gy.value == 7


def test_a_quantitative_image_gives_the_dose_of_its_decayed_activity():
    concentration = 950e6 * UNIFORM / UNIFORM.sum() / VOXEL_mL * 2 ** (-24 / 64.1)  # Bq/mL a day later
    found = delivered_voxels(concentration, MASKS, **GIVEN, hours_after=24.0)
    relative = delivered_voxels(UNIFORM, MASKS, **GIVEN)
    np.testing.assert_allclose(found.dose_Gy, relative.dose_Gy, rtol=1e-9)
    assert not [note for note in found.warnings if "calibration" in note]


def test_a_noisy_image_of_known_truth_gives_its_means(rng):
    """Poisson counts of a hundred a voxel: means of 200 voxels and more are good to 1 %."""
    truth = delivered_voxels(UNIFORM, MASKS, **GIVEN)
    noisy = delivered_voxels(rng.poisson(100 * UNIFORM).astype(float), MASKS, **GIVEN)
    for name in MASKS:
        assert region(noisy, name).mean_Gy.value == pytest.approx(region(truth, name).mean_Gy.value, rel=0.01)
        assert region(noisy, name).d95_Gy.value < region(truth, name).d95_Gy.value  # noise widens the histogram


def test_without_spread_all_ends_meet():
    found = predict_voxels(UNIFORM, MASKS, **GIVEN, spread=SURE).regions[0]
    assert found.mean_Gy.low == pytest.approx(found.mean_Gy.high)
    assert found.v_level_percent.low == found.v_level_percent.high


def test_the_share_above_the_level_is_that_of_the_histogram(rng):
    counts = rng.uniform(0, 1, LIVER.shape) * LIVER
    found = predict_voxels(counts, MASKS, **GIVEN, level_Gy=180.0)
    for one in found.regions:
        assert one.v_level_percent.value == pytest.approx(found.histograms[one.region].volume_above(180.0))
        assert one.v_level_percent.low <= one.v_level_percent.value <= one.v_level_percent.high
    assert 0 < found.regions[0].v_level_percent.value < 100


def test_the_activity_for_a_dose_gives_it():
    found = predict_voxels(UNIFORM, MASKS, **GIVEN)
    activity = found.activity_GBq_for("lesion 1", 205.0)
    again = predict_voxels(UNIFORM, MASKS, **(GIVEN | {"activity_GBq": activity}))
    assert region(again, "tumour_1").mean_Gy.value == pytest.approx(205)
    assert found.activity_GBq_for("tumour_1", 205.0, percent=95) == pytest.approx(activity)


def test_a_corrected_ratio_moves_activity_out_of_the_tumour():
    plain = predict_voxels(UNIFORM, MASKS, **GIVEN)
    less = predict_voxels(UNIFORM, MASKS, **GIVEN, spread=SirtSpread(0, 0, 0, 0, 0, 0, tn_factor=0.75))
    ratio = region(less, "tumour_1").mean_Gy.value / region(less, PERFUSED).mean_Gy.value
    assert ratio == pytest.approx(3.0)
    assert np.sum(less.dose_Gy) == pytest.approx(np.sum(plain.dose_Gy))


def test_the_whole_liver_may_be_reported():
    whole = LIVER & ~TUMOUR | (X < 1.0)
    found = predict_voxels(UNIFORM, MASKS | {WHOLE: whole}, **GIVEN)
    assert region(found, WHOLE).mean_Gy.value < region(found, PERFUSED).mean_Gy.value


def test_prediction_against_result():
    before = predict_voxels(UNIFORM, MASKS, **GIVEN)
    same = compare(before, delivered_voxels(UNIFORM, MASKS, **GIVEN))
    assert [one.ratio for one in same.regions] == pytest.approx([1, 1])
    assert all(one.foreseen for one in same.regions)
    missed = compare(before, delivered_voxels(1.0 * LIVER, MASKS, **GIVEN)).regions[0]
    assert missed.ratio < 0.5
    assert not missed.foreseen
    assert list(same.table()["region"]) == ["tumour_1", PERFUSED]


def test_counts_outside_and_wrong_totals_are_reported():
    spilled = UNIFORM + 0.5 * ~LIVER
    assert any("outside the perfused" in note for note in predict_voxels(spilled, MASKS, **GIVEN).warnings)
    low = 0.6 * 950e6 * UNIFORM / UNIFORM.sum() / VOXEL_mL
    found = delivered_voxels(low, MASKS, **GIVEN, hours_after=0.0)
    assert any("60%" in note for note in found.warnings)


def test_a_table_has_a_row_for_each_region():
    table = predict_voxels(UNIFORM, MASKS, **GIVEN).table()
    assert list(table["region"]) == ["tumour_1", PERFUSED]
    assert {"mean_Gy", "D95_Gy_low", "V205_percent_high"} <= set(table.columns)


def without(name):
    return {key: mask for key, mask in MASKS.items() if key != name}


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: predict_voxels(-UNIFORM, MASKS, **GIVEN), "0 or more"),
        (lambda: predict_voxels(np.full(LIVER.shape, np.nan), MASKS, **GIVEN), "finite"),
        (lambda: predict_voxels(UNIFORM[:-1], MASKS, **GIVEN), "not fitting"),
        (lambda: predict_voxels(UNIFORM, without(PERFUSED), **GIVEN), PERFUSED),
        (lambda: predict_voxels(UNIFORM, without("tumour_1"), **GIVEN), "tumours"),
        (lambda: predict_voxels(UNIFORM, MASKS | {PERFUSED: LIVER}, **GIVEN), "no overlap"),
        (lambda: predict_voxels(0 * UNIFORM, MASKS, **GIVEN), "no counts"),
        (lambda: predict_voxels(UNIFORM, MASKS, **(GIVEN | {"activity_GBq": 1000.0})), "not MBq"),
        (lambda: predict_voxels(UNIFORM, MASKS, **(GIVEN | {"voxel_mL": 64.0})), "voxel_mL"),
        (lambda: predict_voxels(UNIFORM, MASKS, **GIVEN, density_g_mL=-100.0), "CT numbers"),
        (lambda: predict_voxels(UNIFORM, MASKS, **GIVEN, engine=lambda tia, rho: tia[0]), "on the grid"),
        (lambda: predict_voxels(UNIFORM, MASKS, **GIVEN, level_Gy=-1.0), "level_Gy"),
        (lambda: delivered_voxels(UNIFORM, MASKS, **GIVEN, hours_after=1.0), "Bq/mL"),
        (lambda: predict_voxels(UNIFORM, MASKS, **GIVEN).activity_GBq_for("tumour_3", 100.0), "one of"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_unlike_levels_are_not_compared():
    one, other = (predict_voxels(UNIFORM, MASKS, **GIVEN, level_Gy=level) for level in (100.0, 205.0))
    with pytest.raises(InputError, match="one level"):
        compare(one, other)
