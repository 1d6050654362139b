"""Dose of each member of a chain, by region and kind of radiation."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.chains import chain_dose
from dose.errors import InputError
from dose.organ import dose_coefficient_Gy_per_MBq_h

REGIONS = ("kidneys", "liver", "tumour_1")
MASSES_g = {"kidneys": 310.0, "liver": 1800.0, "tumour_1": 10.0}
TIA_MBq_h = {"225Ac": np.array([30.0, 10.0, 5.0]), "213Bi": np.array([40.0, 12.0, 4.0])}
MEV_PER_G = 1.602176634e-13 * 1e6 * 3600 / 1e-3
"""Gy for one MBq h of 1 MeV in 1 g."""


def test_each_part_is_tia_times_the_coefficient_of_that_nuclide_alone():
    dose = chain_dose(TIA_MBq_h, REGIONS, MASSES_g)
    for j, nuclide in enumerate(dose.nuclides):
        for k, name in enumerate(REGIONS):
            alone = dose_coefficient_Gy_per_MBq_h(name, nuclide, MASSES_g[name], chain=False)
            for part in ("alpha", "electron", "photon"):
                ours = float(getattr(dose, f"{part}_Gy")[j, k])
                assert ours == pytest.approx(getattr(alone, part) * TIA_MBq_h[nuclide][k], rel=1e-13)


def test_alpha_dose_is_energy_over_mass():
    """225Ac: 5.78718 + 0.104813 MeV per decay (ICRP 107)."""
    dose = chain_dose(TIA_MBq_h, REGIONS, MASSES_g)
    assert float(dose.alpha_Gy[0, 2]) == pytest.approx(5.0 * (5.78718 + 0.104813) * MEV_PER_G / 10, rel=1e-12)


def test_totals_are_sums_and_rbe_weighs_alphas_only():
    dose = chain_dose(TIA_MBq_h, REGIONS, MASSES_g)
    np.testing.assert_allclose(dose.by_nuclide_Gy.sum(axis=0), dose.total_Gy, rtol=1e-14)
    np.testing.assert_allclose(dose.weighted_Gy(1.0), dose.total_Gy, rtol=1e-14)
    gain = dose.weighted_by_nuclide_Gy(5.0) - dose.by_nuclide_Gy
    np.testing.assert_allclose(gain, 4 * dose.alpha_Gy, rtol=1e-12)


def test_draws_trail_and_the_dose_is_linear():
    drawn = {name: value[:, None, None] * np.ones((1, 2, 4)) for name, value in TIA_MBq_h.items()}
    dose, one = chain_dose(drawn, REGIONS, MASSES_g), chain_dose(TIA_MBq_h, REGIONS, MASSES_g)
    assert dose.total_Gy.shape == (3, 2, 4)
    np.testing.assert_allclose(dose.total_Gy[:, 1, 3], one.total_Gy, rtol=1e-13)
    assert dose.relative_sd.shape == (2, 3)


def test_it_can_be_differentiated_in_the_tia():
    total = lambda tia: chain_dose({"213Bi": tia}, REGIONS, MASSES_g).weighted_Gy(5.0).sum()
    at = jnp.asarray(TIA_MBq_h["213Bi"])
    assert float(jax.grad(total)(at) @ at) == pytest.approx(float(total(at)), rel=1e-13)


@pytest.mark.parametrize(
    ("tia", "regions", "masses", "message"),
    [
        ({"213Bi": [1.0, -1.0, 0.0]}, REGIONS, MASSES_g, "tia_MBq_h of 213Bi"),
        ({"213Bi": [1.0, np.nan, 0.0]}, REGIONS, MASSES_g, "tia_MBq_h of 213Bi"),
        ({"213Bi": [1.0, 2.0]}, REGIONS, MASSES_g, "3 regions"),
        ({"213Bj": [1.0, 2.0, 3.0]}, REGIONS, MASSES_g, "213Bi"),
        ({}, REGIONS, MASSES_g, "no nuclide"),
        (TIA_MBq_h, ("kidneyz", "liver", "tumour_1"), MASSES_g, "kidneys"),
        (TIA_MBq_h, REGIONS, {"kidneys": 310.0}, "none for liver"),
        (TIA_MBq_h, REGIONS, {**MASSES_g, "liver": -1.0}, "mass_g"),
    ],
)
def test_impossible_input_is_refused(tia, regions, masses, message):
    with pytest.raises(InputError, match=message):
        chain_dose(tia, regions, masses)


def test_under_jit_a_negative_tia_gives_nan_as_the_house_asks():
    """twin._jax sets EQX_ON_ERROR=nan; elsewhere equinox raises."""
    total = eqx.filter_jit(lambda x: chain_dose({"213Bi": x}, REGIONS, MASSES_g).total_Gy)
    assert bool(jnp.isnan(total(jnp.asarray([1.0, -1.0, 0.0]))).all())
    assert bool(jnp.isfinite(total(jnp.asarray([1.0, 1.0, 0.0]))).all())
