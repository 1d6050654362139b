"""S matrices: laws on a made-up table of photon fractions; scaling, unions, remainder, draws, files, refusals."""

import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from dose.organ import equilibrium_chain, gray_per_MeV
from dose.smatrix import SMatrix, smatrix_from
from dose.smatrix.files import read_smatrix, unit_factor, write_smatrix
from dose.smatrix.saf import WHOLE_BODY, absorbed_MeV_per_kg, check_table
from tests.synthetic_saf import saf_table

TABLE = saf_table("male")


@pytest.fixture(scope="module")
def lutetium():
    return smatrix_from(TABLE, "177Lu")


@pytest.fixture(scope="module")
def actinium():
    return smatrix_from(TABLE, "225Ac")


def test_a_line_at_a_grid_energy_gives_the_table():
    value, sd = absorbed_MeV_per_kg(TABLE, np.array([0.1]), np.array([2.0]))
    assert value == pytest.approx(TABLE.per_kg[:, :, 2] * 0.2, rel=1e-9)
    assert sd == pytest.approx(0.05 * value, rel=1e-9)


def test_between_energies_both_logarithms_are_interpolated():
    middle = np.sqrt(0.1 * 0.3)
    value, _ = absorbed_MeV_per_kg(TABLE, np.array([middle]), np.array([1.0]))
    expected = middle * np.sqrt(TABLE.per_kg[:, :, 2] * TABLE.per_kg[:, :, 3])
    assert value == pytest.approx(expected, rel=1e-9)


def test_soft_photons_stay_in_their_organ():
    value, _ = absorbed_MeV_per_kg(TABLE, np.array([0.001]), np.array([1.0]))
    i, j = TABLE.targets.index("liver"), TABLE.sources.index("liver")
    assert value[i, j] == pytest.approx(0.001 / 1.8, rel=1e-9)


def test_independent_lines_add_their_variances_at_one_energy_coherently():
    """Two lines at one grid energy share its error; at two, the errors are independent."""
    together = absorbed_MeV_per_kg(TABLE, np.array([0.1, 0.1]), np.array([1.0, 1.0]))
    apart = absorbed_MeV_per_kg(TABLE, np.array([0.1, 1.0]), np.array([1.0, 1.0]))
    assert together[1] == pytest.approx(0.05 * together[0])
    assert np.all(apart[1] < 0.05 * apart[0])


def test_electrons_of_a_large_organ_stay_in_it(lutetium):
    """177Lu in 1.8 kg: 0.147923 MeV, less than 1 % escape or bremsstrahlung."""
    own = lutetium.electron[lutetium.target("liver"), lutetium.source("liver")]
    assert own == pytest.approx(0.147923 * gray_per_MeV(1800.0), rel=0.01)


def test_no_target_gets_more_energy_than_was_emitted(lutetium, actinium):
    for matrix in (lutetium, actinium):
        links = equilibrium_chain(matrix.nuclide)
        energy = sum(
            m.decays * (m.nuclide.electron_MeV + m.nuclide.photon_MeV + m.nuclide.alpha_MeV + m.nuclide.recoil_MeV)
            for m in links
        )
        masses = np.array([matrix.masses_g[name] for name in matrix.targets])
        assert np.all(matrix.total * masses[:, None] <= energy * gray_per_MeV(1.0) * 1.001)


def test_all_of_a_decay_s_short_ranged_energy_is_in_the_whole_body(lutetium):
    row = lutetium.electron[lutetium.target(WHOLE_BODY)]
    assert row == pytest.approx(np.full(len(row), 0.147923 * gray_per_MeV(73e3)), rel=1e-3)


def test_the_chain_is_the_sum_of_its_members():
    whole = smatrix_from(TABLE, "213Bi")
    parts = [(m.decays, smatrix_from(TABLE, m.nuclide.name, chain=False)) for m in equilibrium_chain("213Bi")]
    for word in ("alpha", "electron", "photon"):
        summed = sum(decays * getattr(matrix, word) for decays, matrix in parts)
        assert getattr(whole, word) == pytest.approx(summed, rel=1e-9)
    assert len(parts) == 4


def test_alphas_stay_apart_and_the_weight_is_the_caller_s(actinium):
    i, j = actinium.target("kidneys"), actinium.source("kidneys")
    assert actinium.alpha[i, j] > 10 * actinium.electron[i, j]
    assert actinium.weighted(5.0)[i, j] - actinium.total[i, j] == pytest.approx(4 * actinium.alpha[i, j])
    assert actinium.alpha[actinium.target("spleen"), j] == 0


def test_walls_get_half_of_the_equilibrium_dose_of_their_contents(lutetium):
    wall = lutetium.electron[lutetium.target("bladder"), lutetium.source("bladder_contents")]
    assert wall == pytest.approx(0.5 * 0.147923 * gray_per_MeV(200.0), rel=1e-3)
    assert lutetium.electron[lutetium.target("bladder"), lutetium.source("stomach_contents")] == 0


def test_marrow_and_bone_exchange_electrons(lutetium):
    i = lutetium.target("red_marrow")
    own = lutetium.electron[i, lutetium.source("red_marrow")] / (0.147923 * gray_per_MeV(1170.0))
    assert 0.5 < own < 0.65
    from_bone = [lutetium.electron[i, lutetium.source(f"trabecular_{where}")] for where in ("bone", "surface")]
    assert 0 < from_bone[0] < from_bone[1]
    assert lutetium.electron[i, lutetium.source("cortical_bone")] == 0
    assert lutetium.electron[lutetium.target("osteogenic cells"), lutetium.source("cortical_bone")] > 0


def test_names_are_read_in_many_spellings(lutetium):
    assert lutetium.target("Left kidney") == lutetium.target("kidney_left")
    assert lutetium.target("osteogenic cells") == lutetium.target("bone_surface")
    assert lutetium.source("bone marrow") == lutetium.source("red_marrow")
    with pytest.raises(InputError, match="pancreas"):
        lutetium.target("pancras")


def test_unions_are_means_by_mass(lutetium):
    both = lutetium.value("kidneys", "liver")
    left, right = lutetium.value("kidney_left", "liver"), lutetium.value("kidney_right", "liver")
    assert both == pytest.approx((left + right) / 2)
    four = [lutetium.value(t, s) for t in ("kidney_left", "kidney_right") for s in ("kidney_left", "kidney_right")]
    assert lutetium.value("kidneys", "kidneys") == pytest.approx(np.mean(four))
    assert lutetium.masses_g["salivary"] == pytest.approx(85.0)


def test_half_the_mass_gives_nearly_twice_the_electron_dose_and_more_photons(lutetium):
    half = lutetium.scaled({"liver": 900.0})
    i, j = lutetium.target("liver"), lutetium.source("liver")
    assert half.electron[i, j] / lutetium.electron[i, j] == pytest.approx(2, rel=0.01)
    assert half.photon[i, j] / lutetium.photon[i, j] == pytest.approx(2 ** (2 / 3), rel=0.1)
    assert half.photon[lutetium.target("spleen"), j] == lutetium.photon[lutetium.target("spleen"), j]
    assert half.masses_g["liver"] == 900.0
    assert half.mass_sd[i] == 0.05 < lutetium.mass_sd[i]


def test_scaling_there_and_back_is_nothing(lutetium):
    back = lutetium.scaled({"kidneys": 400.0, "bladder_contents": 400.0, "whole_body": 90e3}).scaled(
        {"kidneys": 310.0, "bladder_contents": 200.0, "whole_body": 73e3}
    )
    for word in ("alpha", "electron", "photon"):
        assert getattr(back, word) == pytest.approx(getattr(lutetium, word), rel=1e-6, abs=1e-16)


def test_a_fuller_bladder_dilutes_what_its_wall_gets(lutetium):
    full = lutetium.scaled({"bladder_contents": 400.0})
    i, j = lutetium.target("bladder"), lutetium.source("bladder_contents")
    assert full.electron[i, j] == pytest.approx(lutetium.electron[i, j] / 2)
    assert lutetium.photon[i, j] / 2 < full.photon[i, j] < lutetium.photon[i, j]


def test_a_heavier_patient_takes_a_lower_dose_from_activity_everywhere(lutetium):
    heavy = lutetium.scaled({"whole_body": 146e3})
    i, j = lutetium.target("liver"), lutetium.source(WHOLE_BODY)
    assert heavy.electron[i, j] == pytest.approx(lutetium.electron[i, j] / 2)
    assert heavy.photon[i, j] < lutetium.photon[i, j]


def test_uniform_activity_gives_the_same_dose_through_remainder_and_whole_body(lutetium):
    """Spread by mass over kidneys and remainder, activity is spread over the whole body."""
    mass = lutetium.masses_g["kidneys"]
    split = lutetium.dose({"kidneys": 1000 * mass / 73e3, "remainder": 1000 * (1 - mass / 73e3)})
    whole = lutetium.dose({"whole_body": 1000.0})
    far = [k for k, name in enumerate(lutetium.targets) if name not in ("kidneys", "kidney_left", "kidney_right")]
    assert split.total_Gy[far] == pytest.approx(whole.total_Gy[far], rel=1e-9)


def test_the_remainder_is_never_below_zero_and_shrinks_with_what_is_named(lutetium):
    parts, mass = lutetium.remainder(("kidneys", "liver", "Spleen"))
    assert mass == pytest.approx(73e3 - 310 - 1800 - 150)
    assert all(np.all(part >= 0) for part in parts.values())


def test_dose_is_linear_and_its_parts_add(lutetium):
    one = lutetium.dose({"kidneys": 100.0, "liver": 500.0})
    two = lutetium.dose({"kidneys": 200.0, "liver": 1000.0})
    assert two.total_Gy == pytest.approx(2 * one.total_Gy)
    assert one.by_source_Gy.sum(axis=1) == pytest.approx(one.total_Gy)
    table = one.table()
    assert table.loc["kidneys", "total_Gy"] == pytest.approx(one.of("kidneys"))
    assert table.loc["kidneys", "from_liver_Gy"] == pytest.approx(500 * lutetium.value("kidneys", "liver"))
    assert np.all(one.sd_Gy > 0)
    assert one.weighted_Gy(5.0) == pytest.approx(one.total_Gy)


def test_draws_have_the_mean_and_the_spread_that_the_matrix_tells(lutetium):
    """4000 draws: means to 4 standard errors of a few thousand pairs, spreads to 15 %."""
    draws = lutetium.draws(4000, seed=3)
    seen = lutetium.total > 0
    mean, sd = draws.mean(axis=0)[seen], draws.std(axis=0)[seen]
    assert mean == pytest.approx(lutetium.total[seen], rel=0.035)
    i, j = lutetium.target("liver"), lutetium.source("liver")
    assert draws[:, i, j].std() / lutetium.total[i, j] == pytest.approx(lutetium.relative_sd[i, j], rel=0.1)
    assert np.median(sd / mean / lutetium.relative_sd[seen]) == pytest.approx(1, rel=0.05)
    assert np.array_equal(draws[:5], lutetium.draws(4000, seed=3)[:5])
    assert draws.min() >= 0


def test_a_target_s_mass_moves_its_own_dose_alone(lutetium):
    """The correlation of two sources' doses to one target is the mass's only where the source is the target."""
    draws = lutetium.draws(2000, seed=1)
    i = lutetium.target("liver")
    far = [draws[:, i, lutetium.source(name)] for name in ("spleen", "thyroid")]
    assert abs(np.corrcoef(far)[0, 1]) < 0.1


@pytest.mark.parametrize(
    ("tia", "field"),
    [
        ({"kidneys": -1.0}, "kidneys"),
        ({"kidneys": float("nan")}, "kidneys"),
        ({"livr": 1.0}, "liver"),
        ({"kidneys": 1.0, "kidney_left": 1.0}, "kidney_left"),
        ({}, "no source"),
    ],
)
def test_impossible_activities_are_refused(lutetium, tia, field):
    with pytest.raises(InputError, match=field):
        lutetium.dose(tia)


@pytest.mark.parametrize("masses", [{"kidneys": 0.0}, {"kidneys": float("inf")}, {"nose": 3.0}])
def test_impossible_masses_are_refused(lutetium, masses):
    with pytest.raises(InputError, match="masses_g"):
        lutetium.scaled(masses)


def test_a_table_with_more_than_all_energy_is_refused():
    wrong = saf_table()
    wrong.per_kg[0] *= 1e6
    with pytest.raises(InputError, match="absorbed fraction"):
        check_table(wrong)
    right = saf_table()
    assert check_table(right) is right


def test_a_matrix_survives_its_file(lutetium, tmp_path):
    path = tmp_path / "lu.csv"
    write_smatrix(lutetium, path)
    read = read_smatrix(path, nuclide="177Lu", chain=True)
    assert read.targets == lutetium.targets
    assert read.sources == lutetium.sources
    for word in ("alpha", "electron", "photon"):
        assert getattr(read, word) == pytest.approx(getattr(lutetium, word), rel=1e-5)
    assert read.model_sd == pytest.approx(lutetium.model_sd, rel=1e-2)
    assert read.scaled({"liver": 900.0}).value("liver", "liver") > 1.9 * lutetium.value("liver", "liver")


@pytest.mark.parametrize(
    ("unit", "factor"),
    [("Gy/(MBq h)", 1.0), ("mGy/(MBq s)", 3.6), ("mGy per MBq s", 3.6), ("Gy/(GBq*h)", 1e-3), ("mSv/MBq-s", 3.6),
     ("µGy/(kBq h)", 1e-3), ("rad/(uCi h)", 0.01 / 0.037), ("Gy/(Bq s)", 3.6e9)],
)  # fmt: skip
def test_units_of_s_values(unit, factor):
    assert unit_factor(unit)[0] == pytest.approx(factor)


@pytest.mark.parametrize("unit", ["", "Gy", "Gy/MBq", "mGy/(MBq s) h", "eV/(MBq h)"])
def test_other_units_are_refused(unit):
    with pytest.raises(InputError, match="unit"):
        unit_factor(unit)


SQUARE = "# unit: mGy/(MBq s)\nregion,Kidneys,Liver\nKidneys,7.76e-5,1.2e-7\nLiver,1.18e-7,1.37e-5\n"


def written(tmp_path, text):
    path = tmp_path / "own.csv"
    path.write_text(text)
    return path


def test_a_square_table_in_its_own_unit_is_read(tmp_path):
    matrix = read_smatrix(written(tmp_path, SQUARE), nuclide="Lu-177")
    assert isinstance(matrix, SMatrix)
    assert matrix.value("kidneys", "kidneys") == pytest.approx(7.76e-5 * 3.6)
    assert matrix.value("liver", "kidneys") == pytest.approx(1.18e-7 * 3.6)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("# unit: mGy/(MBq s)\n", "", "unit"),
        ("7.76e-5", "-7.76e-5", "row 1"),
        ("7.76e-5", "much", "row 1"),
        ("7.76e-5", "nan", "row 1"),
        ("7.76e-5,1.2e-7", "7.76e-5", "columns"),
        ("Liver,1.18e-7", "Kidneys,1.18e-7", "again"),
        ("mGy/(MBq s)", "Gy/(MBq s)", "1e3"),
        ("mGy/(MBq s)", "mGy/(Bq s)", "1e6"),
        ("mGy/(MBq s)", "mGy/(MBq h)", "3600"),
        ("7.76e-5", "7.76e-3", "itself"),
    ],
)
def test_a_faulty_table_says_what_is_wrong(tmp_path, old, new, words):
    assert old in SQUARE
    with pytest.raises(InputError, match=words):
        read_smatrix(written(tmp_path, SQUARE.replace(old, new, 1)), nuclide="177Lu")


def test_a_pair_that_is_missing_is_named(tmp_path):
    long = "target,source,value,unit\nliver,liver,0.05,mGy/(MBq h)\nspleen,spleen,0.6,mGy/(MBq h)\n"
    with pytest.raises(InputError, match="liver from spleen"):
        read_smatrix(written(tmp_path, long))


def test_a_weighted_total_of_an_alpha_emitter_cannot_be_used(tmp_path):
    text = SQUARE.replace("mGy", "mSv")
    assert read_smatrix(written(tmp_path, text), nuclide="177Lu").value("liver", "liver") > 0
    with pytest.raises(InputError, match="alpha"):
        read_smatrix(
            written(tmp_path, text.replace("7.76e-5", "1.52e-2").replace("1.37e-5", "2.6e-3")), nuclide="225Ac"
        )


def test_a_matrix_without_a_nuclide_is_not_scaled(tmp_path):
    matrix = read_smatrix(written(tmp_path, SQUARE))
    assert matrix.dose({"kidneys": 1.0}).of("liver") > 0
    with pytest.raises(InputError, match="nuclide"):
        matrix.scaled({"liver": 900.0})


def test_any_nuclide_of_the_publication_has_a_matrix():
    """Not only those of the therapies: 177mLu, 99Mo and a pure Auger emitter."""
    for name in ("177mLu", "99Mo", "125I"):
        matrix = smatrix_from(TABLE, name)
        assert matrix.value("liver", "liver") > 0
        assert matrix.nuclide == radionuclide(name).name
