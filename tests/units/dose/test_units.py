"""Units at the boundary."""

import math

import pytest

from dose.errors import InputError, TheratwinError, describe, nearest
from dose.units import FACTORS, parse


@pytest.mark.parametrize(
    ("text", "unit", "expected"),
    [
        ("7.4 GBq", "MBq", 7400.0),
        ("200mCi", "MBq", 7400.0),
        ("2 d", "h", 48.0),
        ("90 min", "h", 1.5),
        ("1 kBq/mL", "MBq/L", 1.0),
        ("20 %", "1", 0.2),
        ("3", "g", 3.0),
        (5, "nmol", 5.0),
    ],
)
def test_a_quantity_becomes_the_number_of_the_wanted_unit(text, unit, expected):
    assert parse(text, unit, "field") == pytest.approx(expected, rel=1e-14)


@pytest.mark.parametrize("unit", sorted(FACTORS))
def test_a_number_in_its_own_unit_is_unchanged(unit):
    assert parse(f"2.5 {unit}", unit, "field") == 2.5


@pytest.mark.parametrize("value", [math.nan, math.inf, "nan", "7.4 Gbq", "3 h", "", None, True, "1 2"])
def test_what_is_no_finite_activity_is_refused(value):
    with pytest.raises(InputError, match="activity"):
        parse(value, "MBq", "activity")


def test_an_error_names_field_found_expected_and_what_to_do():
    text = describe("mass_g", "-1", "a mass above 0 g", "check the volume")
    assert all(part in text for part in ("mass_g", "-1", "a mass above 0 g", "check the volume"))
    assert issubclass(InputError, TheratwinError)


def test_the_nearest_name_is_offered_only_when_one_is_near():
    assert nearest("livr", ("liver", "spleen")) == "liver"
    assert nearest("xyzzy", ("liver", "spleen")) is None
