"""Virtual patients of the networks: the picture's lesions, curves that decay, and integrals that fit them."""

from __future__ import annotations

import numpy as np
import pytest

from imaging.networks.tia_inputs import NAMED
from imaging.networks.tia_scans import HOURS_h, LU_HALF_LIFE_h, RATES_per_h, class_of, integrals, names_of
from twin.network_recipes import TIA_FROM_PET, TIA_SINGLE
from twin.virtual_tia import virtual_patients

SEED = 1
DATA = {"voxel_mm": 6.0, "draws": 6}


@pytest.fixture(scope="module")
def case():
    return virtual_patients(SEED, DATA)


def test_every_label_has_a_curve_and_all_but_air_take_up(case):
    number = len(names_of(case))
    assert case["curve"].shape == (6, number, len(HOURS_h))
    assert case["labels"].max() < number
    assert (case["tia"][:, 1:] > 0).all()
    assert (case["tia"][:, 0] == 0).all()


def test_integrals_are_those_of_the_curves(case):
    for name in ("kidney_left", "liver", "spleen"):
        k = names_of(case).index(name)
        np.testing.assert_allclose(integrals(case["curve"][:, k], [0.0])[:, 0], case["tia"][:, k], rtol=0.05)


def test_late_curves_fall_at_least_as_fast_as_the_nuclide_decays(case):
    late = np.log(case["curve"][:, 1:, -2] / case["curve"][:, 1:, -1]) / (HOURS_h[-1] - HOURS_h[-2])
    assert (late > 0.999 * np.log(2) / LU_HALF_LIFE_h).all()


def test_no_voxel_of_a_region_that_is_judged_clears_slower_than_the_nuclide_decays(case):
    held = [k for k, name in enumerate(names_of(case)) if class_of(name) in NAMED and (case["labels"] == k).any()]
    late = np.log(case["curve"][:, held, -2] / case["curve"][:, held, -1]) / (HOURS_h[-1] - HOURS_h[-2])
    assert held
    assert (late + RATES_per_h[0] > np.log(2) / LU_HALF_LIFE_h).all()


def test_slower_kinetics_stay_longer(case):
    slow = virtual_patients(SEED, {**DATA, "slower": 1.5})
    k = names_of(case).index("kidney_left")
    assert (slow["tia"][:, k] > 1.05 * case["tia"][:, k]).all()


def test_a_seed_gives_the_same_again_and_recipes_are_joined(case):
    again = virtual_patients(SEED, DATA)
    np.testing.assert_array_equal(again["curve"], case["curve"])
    assert TIA_SINGLE.case is TIA_FROM_PET.case
