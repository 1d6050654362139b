"""Red marrow from blood and images: published ratios, the EANM's cancelling mass, cross-dose, refusals."""

import pytest

from dose.errors import InputError
from dose.smatrix import smatrix_from
from dose.smatrix.marrow import (
    MarrowActivity,
    marrow_dose,
    marrow_from_blood,
    marrow_from_concentration,
    marrow_from_image,
    marrow_to_blood_ratio,
    patient_marrow_mass_g,
    reference_ratio,
)
from tests.synthetic_saf import saf_table


@pytest.fixture(scope="module")
def matrix():
    return smatrix_from(saf_table("male"), "177Lu")


def test_the_ratio_of_sgouros():
    """0.36 at a haematocrit of 0.47 (abstract of the paper, two digits)."""
    assert marrow_to_blood_ratio(0.47) == pytest.approx(0.36, abs=0.005)
    assert reference_ratio("Lu-177") == 1.0


def test_blood_gives_the_marrow_its_activity_by_mass():
    found = marrow_from_blood(0.5, 1170.0, ratio=1.0)
    assert found.tia_MBq_h == pytest.approx(0.5 / 1.06 * 1170)
    assert marrow_from_blood(0.5, 1170.0, haematocrit=0.47).tia_MBq_h == pytest.approx(found.tia_MBq_h * 0.19 / 0.53)


def test_the_patient_s_mass_cancels_in_the_dose_from_blood(matrix):
    """EANM 2010: the dose of the marrow to itself depends on the concentration in blood, not on the marrow's mass."""
    doses = [marrow_dose(matrix, marrow_from_blood(0.2, mass, ratio=1.0)).self_Gy for mass in (800.0, 1170.0, 1600.0)]
    assert doses[0] == pytest.approx(doses[1], rel=0.05)  # photons grow with the mass, 2 % of the dose
    assert doses[2] == pytest.approx(doses[1], rel=0.05)


def test_the_marrow_s_mass_goes_with_the_body():
    assert patient_marrow_mass_g("male", 73.0) == pytest.approx(1170.0)
    assert patient_marrow_mass_g("female", 90.0) == pytest.approx(1350.0)


def test_two_ways_through_the_image_agree_for_one_activity():
    """The same decays per gram of active marrow everywhere: concentration inside lumbar vertebrae, or their total."""
    per_g = 0.01
    total = marrow_from_image(per_g * 1170.0 * 0.123, 1170.0, region="lumbar_spine").tia_MBq_h
    assert total == pytest.approx(per_g * 1170.0)
    share = 0.5  # of active marrow in the spongy bone, by volume
    found = marrow_from_concentration(per_g * 1.03 * share, 1170.0, site="lumbar_spine").tia_MBq_h
    assert found == pytest.approx(total, rel=0.15)


def test_cross_dose_and_remainder_add_to_the_marrow_s_own(matrix):
    own = MarrowActivity(300.0, 0.3, 1170.0, "given")
    alone = marrow_dose(matrix, own)
    with_organs = marrow_dose(matrix, own, {"kidneys": 2000.0, "spleen": 1000.0}, whole_body_MBq_h=20_000.0)
    assert with_organs.self_Gy == pytest.approx(alone.self_Gy)
    assert set(with_organs.by_organ_Gy) == {"kidneys", "spleen"}
    assert with_organs.total_Gy == pytest.approx(alone.total_Gy + with_organs.cross_Gy)
    assert with_organs.remainder_Gy > 0
    assert with_organs.sd_Gy > 0.3 * alone.self_Gy
    assert alone.alpha_Gy == 0


def test_alpha_dose_of_the_marrow_is_kept_apart():
    matrix = smatrix_from(saf_table("female"), "225Ac")
    made = marrow_dose(matrix, MarrowActivity(1.0, 0.3, 900.0, "given"))
    assert 0.9 < made.alpha_Gy / made.total_Gy < 1


@pytest.mark.parametrize("haematocrit", [42.0, 0.0, -0.4, float("nan")])
def test_an_impossible_haematocrit_is_refused(haematocrit):
    with pytest.raises(InputError, match="haematocrit"):
        marrow_to_blood_ratio(haematocrit)


def test_what_is_missing_or_doubled_is_named(matrix):
    with pytest.raises(InputError, match="both or neither"):
        marrow_from_blood(1.0, 1170.0)
    with pytest.raises(InputError, match="both or neither"):
        marrow_from_blood(1.0, 1170.0, haematocrit=0.4, ratio=1.0)
    with pytest.raises(InputError, match="blood_MBq_h_per_mL"):
        marrow_from_blood(-1.0, 1170.0, ratio=1.0)
    with pytest.raises(InputError, match="L2-L4"):
        marrow_from_image(1.0, 1170.0, region="L2-L5")
    with pytest.raises(InputError, match="share"):
        marrow_from_image(1.0, 1170.0, share=6.7)
    with pytest.raises(InputError, match="site"):
        marrow_from_concentration(1.0, 1170.0, site="legs_lower")
    with pytest.raises(InputError, match="ratio"):
        reference_ratio("90Y")
    with pytest.raises(InputError, match="weight_kg"):
        patient_marrow_mass_g("male", -70.0)
    with pytest.raises(InputError, match="whole_body_MBq_h"):
        marrow_dose(matrix, MarrowActivity(300.0, 0.3, 1170.0, "x"), {"liver": 800.0}, whole_body_MBq_h=1000.0)
