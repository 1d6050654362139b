"""Walls irradiated by contents: OLINDA's factors, limits, and what is refused."""

import csv
import math

import pytest

from dose.errors import InputError
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.walls import CONTENTS, contents_mass_g, wall_coefficient_Gy_per_MBq_h

WALLS = {
    ("bladder", "male"): ("Urinary Bladder Wall", "UB Cont", 211.0),
    ("bladder", "female"): ("Urinary Bladder Wall", "UB Cont", 160.0),
    ("small_intestine", "male"): ("Small Intestine", "SI Cont", 350.0),
    ("small_intestine", "female"): ("Small Intestine", "SI Cont", 280.0),
    ("right_colon", "male"): ("ULI Wall", "ULI Cont", 150.0),
    ("right_colon", "female"): ("ULI Wall", "ULI Cont", 160.0),
    ("left_colon", "male"): ("LLI Wall", "LLI Cont", 75.0),
    ("left_colon", "female"): ("LLI Wall", "LLI Cont", 80.0),
    ("rectosigmoid", "male"): ("Rectum", "Rectum", 75.0),
    ("rectosigmoid", "female"): ("Rectum", "Rectum", 80.0),
}
"""Target and source in OLINDA, and the mass of contents that its 90Y factors imply: E / (2 m), to three digits."""
NUCLIDES = {"Y-90": 0.005, "Pb-209": 0.005, "Lu-177": 0.015, "Tb-161": 0.035, "I-131": 0.08}
"""0.5%: pure beta emitters test the half of the equilibrium dose, rounded to three digits. The others add photons,
for which a sphere or tube of the contents' mass is off by a third: of 3%, 5% and 20% of the dose."""


def olinda_Gy_per_MBq_h(shared, nuclide, sex, target, source):
    path = shared / "data/dose/olinda22_icrp89_dose_factors.csv"
    rows = csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#"))
    wanted = (nuclide, sex, target, source)
    names = ("nuclide", "sex", "target", "source")
    return next(float(r["mSv_per_MBq_s"]) * 3.6 for r in rows if tuple(r[n] for n in names) == wanted)


@pytest.mark.parametrize("nuclide", NUCLIDES)
@pytest.mark.parametrize(("contents", "sex"), WALLS, ids=str)
def test_walls_agree_with_olinda_once_masses_do(shared, contents, sex, nuclide):
    target, source, mass_g = WALLS[contents, sex]
    theirs = olinda_Gy_per_MBq_h(shared, nuclide, sex, target, source)
    ours = wall_coefficient_Gy_per_MBq_h(contents, nuclide, mass_g=mass_g, chain=False)
    assert ours.total == pytest.approx(theirs, rel=NUCLIDES[nuclide])


def test_the_comparison_fails_for_the_whole_equilibrium_dose(shared):
    """Negative control: 90Y with the mean dose of the contents instead of half of it."""
    theirs = olinda_Gy_per_MBq_h(shared, "Y-90", "male", "Urinary Bladder Wall", "UB Cont")
    assert dose_coefficient_Gy_per_MBq_h("bladder", "90Y", 211.0).total > 1.5 * theirs


def test_alphas_do_not_reach_the_wall_in_olinda_nor_here(shared):
    theirs = olinda_Gy_per_MBq_h(shared, "Ac-225", "male", "Urinary Bladder Wall", "UB Cont")
    ours = wall_coefficient_Gy_per_MBq_h("bladder", "225Ac", mass_g=211.0, chain=False)
    assert ours.alpha == 0
    assert ours.total == pytest.approx(theirs, rel=0.05)  # mostly photons of low energy
    counted = wall_coefficient_Gy_per_MBq_h("bladder", "225Ac", mass_g=211.0, chain=False, alpha_share=0.005)
    assert counted.alpha > theirs


def test_electrons_give_half_of_what_large_contents_absorb():
    """A sphere of 10 kg of 90Y loses 2% of its electrons' energy, a part of it as bremsstrahlung."""
    inside = dose_coefficient_Gy_per_MBq_h("remainder", "90Y", 1e4).electron
    assert wall_coefficient_Gy_per_MBq_h("bladder", "90Y", mass_g=1e4).electron == pytest.approx(inside / 2, rel=0.025)


def test_twice_the_contents_halve_the_electron_dose():
    one, two = (wall_coefficient_Gy_per_MBq_h("left_colon", "177Lu", mass_g=m) for m in (75.0, 150.0))
    assert one.electron == pytest.approx(2 * two.electron, rel=1e-12)
    assert one.photon < 2 * two.photon


def test_progeny_is_counted_unless_left_out():
    whole, alone = (wall_coefficient_Gy_per_MBq_h("bladder", "225Ac", chain=c).electron for c in (True, False))
    assert whole > 20 * alone


def test_the_spread_of_the_reference_mass_is_in_the_uncertainty_and_said():
    reference = wall_coefficient_Gy_per_MBq_h("bladder", "177Lu")
    own = wall_coefficient_Gy_per_MBq_h("bladder", "177Lu", mass_g=200.0)
    assert own.total == reference.total
    assert reference.relative_sd > 0.5 > 0.06 > own.relative_sd
    assert "reference mass 50% (assumed)" in reference.method
    assert "mass as given" in own.method


@pytest.mark.parametrize("sex", ["male", "female"])
def test_reference_masses_sum_to_the_large_intestines_contents(sex):
    parts = sum(contents_mass_g(part, sex) for part in CONTENTS[2:])
    assert parts == {"male": 300.0, "female": 320.0}[sex]  # ICRP 89, recalled


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"contents": "bladdr"}, "bladder"),
        ({"sex": "mal"}, "male"),
        ({"nuclide": "999Lu"}, "nuclide"),
        ({"mass_g": 0.0}, "mass_g"),
        ({"mass_g": math.nan}, "mass_g"),
        ({"alpha_share": 2.0}, "alpha_share"),
    ],
)
def test_what_is_wrong_is_named(options, field):
    given = {"contents": "bladder", "nuclide": "177Lu"} | options
    with pytest.raises(InputError, match=field):
        wall_coefficient_Gy_per_MBq_h(given.pop("contents"), given.pop("nuclide"), **given)
