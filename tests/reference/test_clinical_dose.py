"""CLINICAL.md section 6, cases V13 and V14: absorbed dose from an organ S value, and our coefficients against it."""

import csv

import pytest

from dose.organ import dose_coefficient_Gy_per_MBq_h

KIDNEY_TIA_MBq_h = 7423.1
KIDNEY_MASS_G, KIDNEY_S_mGy_PER_MBq_s = 157.011, 1.5283e-4
"""OpenDose, ICRP 110 adult male, right kidney, 177Lu, as stored in dsarrut/rpt_dosi (commit 0eced2a)."""
ORGANS = {
    "right kidney C+M+P": "kidney_right",
    "left kidney C+M+P": "kidney_left",
    "liver": "liver",
    "spleen": "spleen",
}


def opendose_rows(shared):
    """Self rows of both phantoms: (region, mass in g, S in Gy/(MBq h))."""
    lines = (shared / "data/clinical/s_values_lu177_opendose.csv").read_text().splitlines()
    rows = [row for row in csv.DictReader(lines) if row["source"] == row["target"]]
    return [(ORGANS[r["source"]], float(r["target_mass_g"]), float(r["S_mGy_per_MBq_s"]) * 3.6) for r in rows]


def test_v13_dose_from_the_opendose_s_value():
    s = KIDNEY_S_mGy_PER_MBq_s * 3.6
    dose_Gy = KIDNEY_TIA_MBq_h * s
    # 1e-4: V13's digits
    assert dose_Gy == pytest.approx(4.0841, rel=1e-4)
    assert dose_Gy / 6.783 == pytest.approx(0.6021, rel=1e-4)
    assert dose_Gy * KIDNEY_MASS_G / 130 == pytest.approx(4.9327, rel=1e-4)


@pytest.mark.parametrize(("mass_g", "expected_Gy"), [(157.011, 4.0841), (130.0, 4.9327)])
def test_v13_dose_from_our_own_coefficient(mass_g, expected_Gy):
    """1.5%: a sphere holds slightly more photon energy than a kidney, and V13 scales photons like electrons."""
    ours = KIDNEY_TIA_MBq_h * dose_coefficient_Gy_per_MBq_h("kidney_right", "177Lu", mass_g).total
    assert ours == pytest.approx(expected_Gy, rel=0.015)


def test_v14_energy_per_mass_of_opendose_and_of_ours(shared):
    """OpenDose's own products lie within 0.0853..0.0895 Gy g/(MBq h); ours follow each within 1.5% (organ shape)."""
    for region, mass_g, s in opendose_rows(shared):
        ours = dose_coefficient_Gy_per_MBq_h(region, "177Lu", mass_g).total
        assert 0.0853 <= s * mass_g <= 0.0895
        assert 0.0853 <= ours * mass_g <= 0.0895
        assert ours == pytest.approx(s, rel=0.015), region


def test_v14_the_printed_products(shared):
    products = {region: s * mass for region, mass, s in opendose_rows(shared)[:4]}
    expected = {"kidney_right": 0.08639, "kidney_left": 0.08626, "liver": 0.08885, "spleen": 0.08620}
    # 1e-3 is V14's
    assert products == pytest.approx(expected, rel=1e-3)


def test_v14_band_refuses_betas_alone():
    """Negative control: without conversion and Auger electrons (0.1333 MeV) a kidney leaves the band."""
    ours = dose_coefficient_Gy_per_MBq_h("kidney_right", "177Lu", 157.011)
    assert (ours.photon + ours.electron * 0.1333 / 0.1479) * 157.011 < 0.0853
