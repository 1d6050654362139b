"""Region names."""

import pytest

from dose.errors import InputError
from dose.regions import density_g_per_mL, is_tumour, known_regions, members, reference_mass_g, region


@pytest.mark.parametrize("name", known_regions())
def test_a_canonical_name_is_its_own_name_in_any_case(name):
    assert region(name) == name
    assert region(name.upper().replace("_", " ")) == name


@pytest.mark.parametrize(
    ("given", "canonical"),
    [
        ("right kidney", "kidney_right"),
        ("Kidney_L", "kidney_left"),
        ("kidney", "kidneys"),
        ("Left Parotid Gland", "parotid_left"),
        ("bone marrow", "red_marrow"),
        ("remaining", "remainder"),
        ("lesion 1", "tumour_1"),
        ("tumor1", "tumour_1"),
        ("Lesion_liver", "tumour_liver"),
        ("Heart wall", "heart"),
        ("right colon", "right_colon"),
        ("Urinary bladder contents", "bladder_contents"),
        ("thyroid gland", "thyroid"),
        ("osteogenic cells", "bone_surface"),
    ],
)
def test_the_spellings_of_users_are_understood(given, canonical):
    assert region(given) == canonical


@pytest.mark.parametrize(
    ("wrong", "hint"), [("kidny_left", "kidney_left"), ("splen", "spleen"), ("tumour", "tumour_1")]
)
def test_a_misspelt_region_is_refused_with_the_nearest_name(wrong, hint):
    with pytest.raises(InputError, match=hint):
        region(wrong)


def test_a_side_is_refused_for_an_organ_that_has_none():
    with pytest.raises(InputError, match="left liver"):
        region("left liver")


def test_unions_hold_known_regions_and_weigh_what_their_members_weigh():
    for union in ("kidneys", "parotid", "submandibular"):
        parts = sum(reference_mass_g(part, "male") for part in members(union))
        assert parts == pytest.approx(reference_mass_g(union, "male"))
    assert members("liver") == ("liver",)
    assert is_tumour("lesion 2")
    assert not is_tumour("liver")


def test_reference_masses_are_those_of_icrp_89(shared):
    import csv

    lines = (shared / "data/dose/icrp89_organ_masses.csv").read_text().splitlines()
    table = {row["organ"]: row for row in csv.DictReader(line for line in lines if not line.startswith("#"))}
    names = {"kidneys": "kidney", "liver": "liver", "spleen": "spleen", "salivary": "salivary glands"}
    for ours, theirs in names.items():
        for sex in ("male", "female"):
            assert reference_mass_g(ours, sex) == float(table[theirs][f"{sex}_g"])


@pytest.mark.parametrize(("name", "sex"), [("tumour_1", "male"), ("remainder", "female"), ("liver", "unknown")])
def test_a_mass_that_is_not_known_is_not_invented(name, sex):
    with pytest.raises(InputError):
        reference_mass_g(name, sex)


def test_density_is_that_of_the_table_or_its_default():
    assert density_g_per_mL("tumour_1") == 1.0
    assert density_g_per_mL("adipose") < 1.0
