"""V26, the sampler of a published in-silico trial: doses, shares that close, draws, errors."""

import numpy as np
import pytest

from dose.errors import InputError
from tests.validate.checks_trial_published import PATIENTS, SEED, WITHIN, EXPECTED_Gy, closed_forms, moments_Gy
from twin.trial.published import TISSUES, first_cycle_Gy, ranges, rest_suv, sampled

TABLE = ranges()


@pytest.fixture(scope="module")
def many() -> dict[str, np.ndarray]:
    table = sampled(PATIENTS, SEED)
    return {name: table[name].to_numpy() for name in table.column_names}


@pytest.mark.parametrize("tissue", EXPECTED_Gy)
def test_doses_are_those_of_v26_within_two_per_cent(many, tissue):
    mean, sd = EXPECTED_Gy[tissue]
    assert many[f"{tissue}_Gy"].mean() == pytest.approx(mean, rel=WITHIN)
    assert many[f"{tissue}_Gy"].std() == pytest.approx(sd, rel=WITHIN)


@pytest.mark.parametrize("tissue", EXPECTED_Gy)
def test_so_are_the_closed_forms(tissue):
    assert moments_Gy(tissue) == pytest.approx(EXPECTED_Gy[tissue], rel=WITHIN)


def test_draws_agree_with_the_closed_forms():
    worst, passed = closed_forms()
    assert passed, worst


@pytest.mark.parametrize(
    ("name", "factor"), [("decay_per_h", 1.3), ("energy_mJ_per_MBq_h", 1.03), ("kidneys_suv", 0.9)]
)
def test_another_recipe_misses_v26(many, name, factor):
    """Negative control: with one constant or range off, the kidney's mean or sd is off by more than 2 %."""
    dose = first_cycle_Gy(many | {name: factor * many[name]})["kidneys_Gy"]
    mean, sd = EXPECTED_Gy["kidneys"]
    assert abs(dose.mean() / mean - 1) > WITHIN or abs(dose.std() / sd - 1) > WITHIN


def test_one_patient_by_hand():
    """A kidney of 300 g, SUV 10, 80 kg: 3.75 % of 7400 MBq, 277.5 MBq; 0.0849 x 277.5 / (300 x 0.0144) Gy."""
    one = {name: np.array([low]) for name, (low, _, _) in TABLE.items()}
    at = {"kidneys_mass_g": 300.0, "kidneys_suv": 10.0, "body_mass_kg": 80.0, "kidneys_clearance_per_h": 0.01}
    one |= {name: np.array([value]) for name, value in at.items()}
    assert first_cycle_Gy(one)["kidneys_Gy"][0] == pytest.approx(0.0849 * 277.5 / (300 * 0.0144), rel=1e-12)


def test_the_whole_body_has_a_mean_suv_of_one(many):
    held = sum(many[f"{tissue}_suv"] * many[f"{tissue}_mass_g"] for tissue in TISSUES)
    rest_g = 1000 * many["body_mass_kg"] - sum(many[f"{tissue}_mass_g"] for tissue in TISSUES)
    np.testing.assert_allclose(held + many["rest_suv"] * rest_g, 1000 * many["body_mass_kg"], rtol=1e-12)
    assert many["rest_suv"].min() > 0
    np.testing.assert_array_equal(many["rest_suv"], rest_suv(many))


def test_photons_from_the_whole_body_come_from_all_decays(many):
    """If nothing were cleared, each MBq gives 1 / decay MBq h wherever it is."""
    still = many | {name: np.zeros(PATIENTS) for name in TABLE if name.endswith("_clearance_per_h")}
    expected = 1.85e-6 * 7400 / 0.0044 / many["body_mass_kg"] ** (2 / 3)
    np.testing.assert_allclose(first_cycle_Gy(still)["marrow_photon_Gy"], expected, rtol=1e-9)


def test_parameters_are_uniform_within_their_ranges(many):
    """Mean and variance of a uniform variable, 5 standard errors of both (30 parameters)."""
    for name, (low, high, _) in TABLE.items():
        values = many[name]
        assert values.min() >= low
        assert values.max() <= high
        if high > low:
            z = (values - low) / (high - low)
            assert abs(z.mean() - 0.5) < 5 / np.sqrt(12 * PATIENTS)
            assert abs(np.mean((z - 0.5) ** 2) - 1 / 12) < 5 * np.sqrt(1 / 180 / PATIENTS)


def test_parameters_are_independent(many):
    varying = np.stack([many[name] for name, (low, high, _) in TABLE.items() if high > low])
    off = np.corrcoef(varying) - np.eye(len(varying))
    assert np.abs(off).max() < 5 / np.sqrt(PATIENTS)


def test_a_patient_is_the_same_whatever_number_is_asked_for():
    few, more = sampled(3, 1), sampled(500, 1)
    assert few.equals(more.slice(0, 3))
    assert not few.equals(sampled(3, 2))


def test_columns_carry_their_units():
    schema = sampled(1, 1).schema
    assert {field.metadata[b"unit"].decode() for field in schema} >= {"Gy", "g", "1/h", "MBq", "1"}
    assert schema.field("kidneys_Gy").metadata == {b"unit": b"Gy"}


@pytest.mark.parametrize("patients", [0, -1])
def test_no_patients_are_refused(patients):
    with pytest.raises(InputError, match="patients"):
        sampled(patients, 1)
