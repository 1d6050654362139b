"""Daughters against a direct integration in time of every atom of the chain, and against published human figures."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.nuclides import radionuclide
from pbpk.daughters import daughters
from pbpk.freed import draw, typical
from tests.reference.reference_daughters import (
    INTEGRATED,
    REGIONS,
    MASSES_g,
    bismuth_in_a_volunteer,
    integrated_TIA_MBq_h,
    parent_TIA_MBq_h,
    psma_patient_ratios,
    table,
)


@pytest.mark.parametrize("parent", ["225Ac", "212Pb", "223Ra"])
def test_tia_of_each_daughter_is_that_of_a_direct_integration_in_time(parent):
    """Bateman equations of all nuclides in all compartments, from the rows of the table, for bi-exponential parents."""
    for redistribution in (typical(REGIONS, MASSES_g), one_draw()):
        found = daughters(parent, parent_TIA_MBq_h(parent), redistribution).tia_MBq_h
        theirs = integrated_TIA_MBq_h(parent, redistribution)
        for name, tia in theirs.items():
            np.testing.assert_allclose(found[name], tia, rtol=INTEGRATED, err_msg=name)


def one_draw():
    return jax.tree.map(
        lambda x: x[..., 0] if isinstance(x, jax.Array) else x, draw(jax.random.key(5), REGIONS, MASSES_g, 1)
    )


def test_a_retention_changed_by_a_thousandth_is_seen_by_the_integration():
    """Negative control."""
    redistribution = typical(REGIONS, MASSES_g)
    theirs = integrated_TIA_MBq_h("225Ac", redistribution)["213Bi"]
    changed = eqx.tree_at(lambda r: r.held, redistribution, redistribution.held.at[1].multiply(0.999))
    found = daughters("225Ac", parent_TIA_MBq_h("225Ac"), changed).tia_MBq_h["213Bi"]
    assert float(jnp.max(jnp.abs(found / theirs - 1))) > 10 * INTEGRATED


def test_free_bismuth_behaves_as_in_a_volunteer():
    """207Bi citrate in one man (abstract): blood 1% at 7 h, 55% lost by 47 h, liver 60% of the body after 3 d.

    One person, and ICRP built its model with him in view: within 0.02 of blood, 0.1 of the loss, 0.15 of the liver.
    """
    blood, lost, liver = bismuth_in_a_volunteer()
    assert blood == pytest.approx(0.01, abs=0.02)
    assert lost == pytest.approx(0.55, abs=0.10)
    assert liver == pytest.approx(0.60, abs=0.15)


def test_images_of_two_daughters_give_the_doses_seen_in_patients():
    """225Ac-PSMA-I&T, five patients at 24 and 48 h (Liubchenko 2024): dose from 213Bi over that from 221Fr images.

    Kidneys 0.18/0.16, lesions 0.38/0.36 Sv/MBq, sd of a third between patients: within 0.2 of 1.12 and 1.06. The trend
    isn't met: their kidney ratio rose by 9% from 24 to 48 h, ours falls as blood and liver clear.
    """
    kidneys, tumour = psma_patient_ratios().mean(axis=1)
    assert kidneys == pytest.approx(0.18 / 0.16, abs=0.2)
    assert tumour == pytest.approx(0.38 / 0.36, abs=0.2)


def test_daughters_of_225ac_share_the_dose_as_published_where_they_stay(shared):
    """EJNMMI Phys 2021, s40658-021-00410-6 table 5 (DOSE.md section 7): spleen 110, 120, 134 mGy/MBq, RBE 1.

    1.5%: three digits, and another evaluation of the energies.
    """
    assert "110, 120, 134" in (shared / "DOSE.md").read_text(encoding="utf-8")
    energy = [radionuclide(n).alpha_MeV + radionuclide(n).recoil_MeV for n in ("225Ac", "221Fr", "217At")]
    assert energy[1] / energy[0] == pytest.approx(120 / 110, rel=0.015)
    assert energy[2] / energy[1] == pytest.approx(134 / 120, rel=0.015)


def test_the_table_takes_the_rows_of_the_icrp_model_of_bismuth():
    """ICRP 137 table 10.3, by plasma's total outflow: 20+4+0.5+300+4.2+1.3+30+30+5+2.5+2.5 = 400."""
    out = sum(float(row["value"]) for row in table("Bi") if row["source"] == "blood")
    assert out == pytest.approx(400.0, rel=1e-6)
