"""BED of voxels: each of the three doors against one voxel solved alone, and against the others."""

from __future__ import annotations

import math

import numpy as np
import pytest

from dose import bed_maps as bm
from dose import curves
from dose.errors import InputError
from dose.exposure import Exposure
from dose.tissues import Repair, Tissue, tissue, tissue_draws

SHAPE = (4, 5, 6)
FALL = math.log(2) / 50.0
TIMES = np.array([0.0, 4.0, 24.0, 72.0, 168.0])
LABELS = np.zeros(SHAPE, dtype=int)
LABELS[0:2, :3], LABELS[2:, 3:] = 1, 2
REGIONS = {"kidney_left": LABELS == 1, "tumour_1": LABELS == 2}
CURVE = Exposure((FALL,), (FALL,))
KINETICS = {"kidney_left": CURVE, "tumour_1": CURVE}
KIDNEY = REGIONS["kidney_left"]


@pytest.fixture
def dose(rng) -> np.ndarray:
    return rng.uniform(1, 8, SHAPE)


def test_each_voxel_has_the_bed_of_its_own_dose(dose):
    found = bm.bed_of_kinetics(dose, REGIONS, KINETICS)
    for name, mask in REGIONS.items():
        values = tissue(name)
        alone = [CURVE.scaled(d).bed_Gy(values) for d in dose[mask]]
        np.testing.assert_allclose(found.bed_Gy[mask], alone, rtol=1e-12)
    assert np.all(np.isnan(found.bed_Gy[LABELS == 0]))
    assert found.alpha_Gy is None
    assert found.method == "the region's curve"


def test_the_three_doors_agree_where_all_voxels_fall_alike(dose):
    """One exponential a voxel: exact in each of them (the rule "log" with a tail of the last two)."""
    known = bm.bed_of_kinetics(dose, REGIONS, KINETICS).bed_Gy
    curves_ = bm.bed_of_curves((dose * FALL)[None], np.full((1, *SHAPE), FALL), REGIONS)
    scans = dose * FALL * np.exp(-FALL * TIMES)[:, None, None, None]
    sampled = bm.bed_of_scans(scans, TIMES, "177Lu", REGIONS, tail="last_two", rule="log")
    np.testing.assert_allclose(curves_.bed_Gy, known, rtol=1e-12)
    np.testing.assert_allclose(sampled.bed_Gy, known, rtol=1e-12)
    assert sampled.warnings == ()
    mean_only = known[KIDNEY].mean()
    at_mean = CURVE.scaled(dose[KIDNEY].mean()).bed_Gy(tissue("kidney_left"))
    assert mean_only > at_mean * 1.005  # negative control: BED of the mean dose is not the mean BED


def test_voxels_with_curves_of_their_own(rng):
    a = rng.uniform(0.05, 0.1, (2, *SHAPE)) * np.array([1.0, -0.5])[:, None, None, None]
    rate = rng.uniform(0.005, 0.02, (2, *SHAPE))
    rate[1] += 0.3
    a[:, 0, 0, 0] = 0.0  # a voxel without dose
    a[1, 0, 0, 1], rate[1, 0, 0, 1] = 0.0, np.nan  # one without a second phase
    found = bm.bed_of_curves(a, rate, REGIONS)
    assert found.bed_Gy[0, 0, 0] == 0
    assert found.bed_Gy[0, 0, 1] == pytest.approx(
        Exposure((a[0, 0, 0, 1],), (rate[0, 0, 0, 1],)).bed_Gy(tissue("kidneys")), rel=1e-12
    )
    for at in ((1, 2, 3), (3, 4, 5)):
        name = "kidney_left" if LABELS[at] == 1 else "tumour_1"
        alone = Exposure(tuple(a[:, *at]), tuple(rate[:, *at]))
        assert found.bed_Gy[at] == pytest.approx(alone.bed_Gy(tissue(name)), rel=1e-12)


def test_scans_integrate_as_named_and_a_tail_below_decay_is_held_and_reported(dose):
    slow = math.log(2) / 300.0  # slower than 177Lu, 159.5 h
    scans = dose * slow * np.exp(-slow * TIMES)[:, None, None, None]
    held = bm.bed_of_scans(scans, TIMES, "177Lu", REGIONS, tail="last_two")
    physical = bm.bed_of_scans(scans, TIMES, "177Lu", REGIONS, tail="physical")
    np.testing.assert_array_equal(held.bed_Gy, physical.bed_Gy)
    assert held.warnings[0].startswith(f"{int((LABELS > 0).sum())} voxels")
    assert physical.warnings == ()
    late = bm.bed_of_scans(scans[2:], TIMES[2:], "177Lu", REGIONS, start="plateau")
    early = bm.bed_of_scans(scans[2:], TIMES[2:], "177Lu", REGIONS, start="triangle")
    difference = (late.low_LET_Gy - early.low_LET_Gy)[KIDNEY]
    np.testing.assert_allclose(difference, 12.0 * scans[2][KIDNEY], rtol=1e-12)  # half of 24 h


def test_a_voxel_that_is_empty_at_the_end_has_no_tail(dose):
    scans = np.stack([dose, dose, 0 * dose])
    found = bm.bed_of_scans(scans, [0.0, 1.0, 2.0], "177Lu", REGIONS, tail="last_two")
    np.testing.assert_allclose(found.low_LET_Gy[KIDNEY], 1.5 * dose[KIDNEY], rtol=1e-12)


def test_alphas_stay_apart(dose, rng):
    alpha = rng.uniform(0, 1, SHAPE)
    found = bm.bed_of_kinetics(dose, REGIONS, KINETICS, alpha_Gy=alpha, rbe_max=5.0)
    plain = bm.bed_of_kinetics(dose, REGIONS, KINETICS)
    np.testing.assert_allclose((found.bed_Gy - plain.bed_Gy)[KIDNEY], 5 * alpha[KIDNEY], rtol=1e-9)
    np.testing.assert_array_equal(found.alpha_Gy[KIDNEY], alpha[KIDNEY])
    np.testing.assert_allclose(found.values_Gy("kidney_left", "dose"), (dose + alpha)[KIDNEY], rtol=1e-12)
    assert found.rbe_max == 5.0
    rates = np.stack([dose, 0.5 * dose])
    scanned = bm.bed_of_scans(rates, [0.0, 10.0], "225Ac", REGIONS, alpha_rate_Gy_per_h=2 * rates, rbe_max=4.0)
    np.testing.assert_allclose(scanned.alpha_Gy, 2 * scanned.low_LET_Gy, rtol=1e-12)
    with pytest.raises(InputError, match="rbe_max"):
        bm.bed_of_kinetics(dose, REGIONS, KINETICS, alpha_Gy=alpha)


def test_draws_of_tissue_and_of_dose_give_draws_of_bed(dose):
    drawn = {"kidney_left": tissue_draws("kidney_left", 3, 1), "tumour_1": tissue("tumour_1")}
    several = dose * np.array([0.9, 1.0, 1.2])[:, None, None, None]
    doors = (
        lambda d, t: bm.bed_of_kinetics(d, REGIONS, KINETICS, tissues=t),
        lambda d, t: bm.bed_of_curves((d * FALL)[None], np.full((1, *SHAPE), FALL), REGIONS, tissues=t),
    )
    for door in doors:
        found = door(dose, drawn)
        assert found.bed_Gy.shape == (3, *SHAPE)
        for k in range(3):
            own = Tissue(drawn["kidney_left"].alpha_beta_Gy[k], drawn["kidney_left"].repair_half_time_h[k], "")
            one = door(dose, {"kidney_left": own})
            np.testing.assert_allclose(found.bed_Gy[k], one.bed_Gy, rtol=1e-12)
    both = bm.bed_of_kinetics(several, REGIONS, KINETICS, tissues=drawn)
    np.testing.assert_allclose(both.bed_Gy[1], bm.bed_of_kinetics(dose, REGIONS, KINETICS, tissues=drawn).bed_Gy[1])
    assert both.histogram("kidney_left", 0.1).dose_at(95).shape == (3,)
    assert both.eubed_Gy("tumour_1", 0.3).shape == (3,)
    with pytest.raises(InputError, match="draws"):
        bm.bed_of_kinetics(several[:2], REGIONS, KINETICS, tissues=drawn)


def test_two_repair_components_reach_the_voxels(dose):
    two = Tissue(2.6, 0.7, "", 3.8, 0.62)
    found = bm.bed_of_kinetics(dose, REGIONS, KINETICS, tissues={"kidney_left": two})
    assert two.repair == Repair((0.38, 0.62), (0.7, 3.8))
    at = (0, 1, 2)
    assert found.bed_Gy[at] == pytest.approx(CURVE.scaled(dose[at]).bed_Gy(two), rel=1e-12)


def test_a_region_has_its_histogram_eqd2_and_eubed(dose):
    found = bm.bed_of_kinetics(dose, REGIONS, {**KINETICS, "tumour_1": curves.uptake(1.0, FALL, 0.4)})
    bed = found.bed_Gy[KIDNEY]
    histogram = found.histogram("kidney_left", 0.1)
    assert (histogram.mean_Gy, histogram.min_Gy) == pytest.approx((bed.mean(), bed.min()))
    np.testing.assert_allclose(found.values_Gy("kidney_left", "eqd2"), bed / (1 + 2 / 2.6), rtol=1e-12)
    density = np.where(np.arange(SHAPE[2]) < 3, 1.0, 2.0) * np.ones(SHAPE)
    by_mass = -np.log(np.average(np.exp(-0.3 * bed), weights=density[KIDNEY])) / 0.3
    assert found.eubed_Gy("kidney_left", 0.3, density) == pytest.approx(by_mass, rel=1e-10)
    assert found.eubed_Gy("kidney_left", 0.3) != pytest.approx(by_mass, rel=1e-4)


def test_chunks_do_not_show(monkeypatch, dose):
    amplitudes, rates = (dose * FALL)[None], np.full((1, *SHAPE), FALL)
    whole = bm.bed_of_curves(amplitudes, rates, REGIONS).bed_Gy
    monkeypatch.setattr(bm, "CHUNKS", (7,))
    np.testing.assert_allclose(bm.bed_of_curves(amplitudes, rates, REGIONS).bed_Gy, whole, rtol=1e-13)


def test_a_dose_a_thousand_times_too_large_is_noticed(dose):
    assert "unit" in bm.bed_of_kinetics(2000 * dose, REGIONS, KINETICS).warnings[0]


def put(array, value):
    changed = np.array(array)
    changed[1, 1, 1] = value
    return changed


BAD = {
    "negative": lambda d: bm.bed_of_kinetics(put(d, -1.0), REGIONS, KINETICS),
    "nan": lambda d: bm.bed_of_kinetics(put(d, np.nan), REGIONS, KINETICS),
    "grid": lambda d: bm.bed_of_kinetics(d[:, :, :4], REGIONS, KINETICS),
    "no curve": lambda d: bm.bed_of_kinetics(d, REGIONS, {"kidney_left": CURVE}),
    "overlap": lambda d: bm.bed_of_kinetics(d, REGIONS | {"liver": np.ones(SHAPE)}, KINETICS | {"liver": CURVE}),
    "empty": lambda d: bm.bed_of_kinetics(d, {"liver": np.zeros(SHAPE)}, {"liver": CURVE}),
    "no region": lambda d: bm.bed_of_kinetics(d, {}, {}),
    "rate": lambda d: bm.bed_of_curves(d[None], np.zeros((1, *SHAPE)), REGIONS),
    "components": lambda d: bm.bed_of_curves(d[None], np.ones((2, *SHAPE)), REGIONS),
    "times": lambda d: bm.bed_of_scans(np.stack([d, d]), [24.0, 4.0], "177Lu", REGIONS),
    "tail": lambda d: bm.bed_of_scans(np.stack([d, d]), [4.0, 24.0], "177Lu", REGIONS, tail="exponential"),
    "one scan": lambda d: bm.bed_of_scans(d[None], [24.0], "177Lu", REGIONS, tail="last_two"),
    "rbe": lambda d: bm.bed_of_kinetics(d, REGIONS, KINETICS, alpha_Gy=d, rbe_max=0.0),
    "alpha": lambda d: bm.bed_of_kinetics(d, REGIONS, KINETICS).eubed_Gy("kidney_left", 0.0),
    "density": lambda d: bm.bed_of_kinetics(d, REGIONS, KINETICS).eubed_Gy("kidney_left", 0.3, np.zeros(SHAPE)),
    "quantity": lambda d: bm.bed_of_kinetics(d, REGIONS, KINETICS).histogram("kidney_left", 0.1, "eud"),
    "name": lambda d: bm.bed_of_kinetics(d, REGIONS, KINETICS).histogram("kidney", 0.1),
}


@pytest.mark.parametrize("wrong", BAD.values(), ids=BAD)
def test_impossible_input_is_refused(wrong, dose):
    with pytest.raises(InputError, match="To do"):
        wrong(dose)
