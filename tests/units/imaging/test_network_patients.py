"""Random patients and acquisitions that the networks learn from."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import InputError
from dose.learning.cases import HELD_OUT_FROM, TEST_FROM
from imaging.networks import patients
from imaging.networks.acquisitions import SHAPE, NOMINAL_MBq, Physics, acquisition, image
from imaging.networks.patients import body, concentrations, patient, uptake_map

COARSE_mm = 8.0


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def someone():
    return patient(3, COARSE_mm, lesions=(4, 4))


def test_a_patient_is_the_same_again_and_another_with_another_seed(someone):
    again, other = patient(3, COARSE_mm, lesions=(4, 4)), patient(3 + patients.BODIES["training"], COARSE_mm)
    assert (again.labels == someone.labels).all()
    assert again.names == someone.names
    assert other.labels.shape == someone.labels.shape  # of the same body
    assert (other.labels != someone.labels).any()


def test_kept_bodies_are_as_they_were_made(monkeypatch):
    kept = body(5, COARSE_mm)
    monkeypatch.setattr(patients, "virtual_body", None)
    again = body(5, COARSE_mm)
    assert (kept.labels == again.labels).all()
    np.testing.assert_array_equal(kept.ct.array, again.ct.array)
    assert again.mass_g("red_marrow") == kept.mass_g("red_marrow") > 0


def test_bodies_to_learn_from_and_to_test_by_are_never_the_same(monkeypatch):
    asked = []
    monkeypatch.setattr(patients, "kept", lambda folder, name, make: asked.append(int(name)))
    monkeypatch.setattr(patients, "_unpacked", lambda case: None)
    for seed in (0, 31, 32, HELD_OUT_FROM - 1, HELD_OUT_FROM, HELD_OUT_FROM + 8, TEST_FROM, TEST_FROM + 17):
        body(seed, COARSE_mm)
    assert max(asked[:4]) < 32
    assert all(HELD_OUT_FROM <= number < TEST_FROM for number in asked[4:6])
    assert asked[6:] == [TEST_FROM, TEST_FROM + 1]


def test_lesions_lie_in_the_body_and_may_be_none(someone):
    lesions = [name for name in someone.names if name.startswith("tumour_")]
    assert 1 <= len(lesions) <= 4
    assert not [n for n in patient(3, COARSE_mm, lesions=(0, 0)).names if n.startswith("tumour_")]


@pytest.mark.parametrize("tracer", ["psma", "sstr"])
def test_uptakes_lie_in_their_ranges(someone, tracer):
    drawn = np.array([concentrations(someone, tracer, seed) for seed in range(200)])
    by_name = dict(zip(someone.names, drawn.T))
    low, high = {"psma": (10, 70), "sstr": (6, 40)}[tracer]
    assert low <= by_name["kidney_left"].min() < 1.5 * low
    assert 0.7 * high < by_name["kidney_left"].max() <= high
    assert (by_name["outside"] == 0).all()
    ratio = np.log(by_name["kidney_right"] / by_name["kidney_left"])
    assert ratio.std() == pytest.approx(patients.ASYMMETRY, rel=0.2)  # 4 sd of an sd from 200 draws


def test_an_unknown_tracer_is_told(someone):
    with pytest.raises(InputError, match="tracer"):
        concentrations(someone, "fdg", 0)


def test_standardised_uptake_is_what_its_name_says(someone):
    ones = np.ones(len(someone.names))
    ones[0] = 0.0
    made = uptake_map(someone, ones, 500.0)
    mass_g = float((someone.counts * someone.density_g_cm3)[1:].sum() * someone.voxel_mL)
    assert made.array[someone.labels > 0] == pytest.approx(500e6 / mass_g, rel=1e-6)


@pytest.fixture(scope="module")
def scan():
    return acquisition(4, Physics(voxel_mm=COARSE_mm, views=12))


@pytest.mark.slow
def test_an_acquisition_holds_its_truth(scan):
    assert scan.activity.array.shape == SHAPE == scan.labels.shape
    assert scan.activity.array.sum(dtype=float) * scan.activity.voxel_mL / 1e6 == pytest.approx(NOMINAL_MBq, rel=1e-5)
    assert scan.expected.shape == (3, 12, SHAPE[0], SHAPE[2])
    assert scan.mask("kidney_left").any()
    assert not scan.mask("no_such_label").any()
    for side in (scan.labels[:, 0], scan.labels[:, -1], scan.labels[:, :, 0], scan.labels[:, :, -1]):
        assert side.max() == 0  # air round the body
    assert scan.labels[:, scan.labels.shape[1] // 2].max() > 0
    again = acquisition(4, Physics(voxel_mm=COARSE_mm, views=12))
    np.testing.assert_array_equal(scan.expected, again.expected)


@pytest.mark.slow
def test_counts_are_poisson_about_the_expected(scan):
    drawn = np.stack([scan.counted(0.5, np.random.default_rng(seed)).counts for seed in range(30)])
    hot = scan.expected > 20
    excess = (drawn.mean(axis=0) - 0.5 * scan.expected)[hot] / np.sqrt(0.5 * scan.expected[hot] / 30)
    assert abs(excess.mean()) < 4 / np.sqrt(hot.sum())
    assert excess.std() == pytest.approx(1.0, abs=0.05)


@pytest.mark.slow
def test_the_image_of_expected_counts_holds_the_activity(scan):
    made = image(scan.empty.with_counts(scan.expected), scan)
    assert made.shape == SHAPE
    total = made.sum(dtype=float) * scan.activity.voxel_mL / 1e6
    assert total == pytest.approx(NOMINAL_MBq, rel=0.05)  # TEW takes scatter for a straight line: 1 to 3 % too little
