"""Chains: who follows whom, how often, and the energy of all of them."""

import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import known_nuclides, radionuclide
from dose.organ import equilibrium_chain
from dose.progeny import KINDS, chain, chain_energy_MeV, energy_MeV, equilibrium_decays


def test_every_chain_ends_and_runs_from_mother_to_daughter():
    """All 1252; the longest has 30 members."""
    sizes = {}
    for name in known_nuclides():
        found = chain(name)
        sizes[name] = len(found.names)
        assert found.names[0] == name
        assert not np.triu(np.array(found.branching)).any(), name
    assert max(sizes.values()) == sizes["254mEs"] == 30


@pytest.mark.parametrize(
    ("parent", "members"),
    [
        ("225Ac", "225Ac 221Fr 217At 213Bi 209Tl 213Po 209Pb"),
        ("223Ra", "223Ra 219Rn 215Po 211Pb 211Bi 211Po 207Tl"),
        ("227Th", "227Th 223Ra 219Rn 215Po 211Pb 211Bi 211Po 207Tl"),
        ("212Pb", "212Pb 212Bi 212Po 208Tl"),
        ("211At", "211At 211Po"),
        ("213Bi", "213Bi 213Po 209Tl 209Pb"),
    ],
)
def test_the_chains_of_alpha_therapy(parent, members):
    assert set(chain(parent, follow=10).names) == set(members.split())


@pytest.mark.parametrize("parent", ["225Ac", "223Ra", "227Th", "212Pb", "211At", "213Bi", "232Th", "238U", "131I"])
def test_decays_are_those_of_the_organ_module(parent):
    """Another way to count: one walks all paths, the other sums from mother to daughter."""
    theirs = {link.nuclide.name: link.decays for link in equilibrium_chain(parent)}
    assert equilibrium_decays(parent) == pytest.approx(theirs, rel=1e-12)


def test_a_daughter_that_far_outlives_the_parent_is_followed_when_asked():
    assert "207Bi" not in chain("211At", follow=10).names
    assert "207Bi" in chain("211At").names


def test_the_balance_of_a_chain():
    """All decays of members that lead to others, times branching, are the births: no atom is lost or made."""
    decays = equilibrium_decays("238U", follow=np.inf)
    for name, number in decays.items():
        born = sum(decays[m] * part for m in decays for d, part in radionuclide(m).progeny if d == name)
        assert number == pytest.approx(born + (name == "238U"), rel=1e-12)


def test_the_energy_of_a_chain_is_that_of_its_members():
    decays = equilibrium_decays("212Pb")
    total = sum(chain_energy_MeV("212Pb").values())
    members = [(radionuclide(name), number) for name, number in decays.items()]
    by_hand = sum(n * (x.electron_MeV + x.photon_MeV + x.alpha_MeV + x.recoil_MeV) for x, n in members)
    # six digits in the table
    assert total == pytest.approx(by_hand, rel=1e-5)
    assert set(chain_energy_MeV("212Pb")) == set(KINDS)
    assert energy_MeV({"177Lu": 2.0})["beta"] == pytest.approx(2 * radionuclide("177Lu").beta_MeV)


def test_the_matrix_moves_atoms_by_branching():
    found = chain("99Mo", follow=10)
    matrix = found.matrix_per_h
    assert found.names == ("99Mo", "99mTc")
    part = dict(radionuclide("99Mo").progeny)["99mTc"]
    assert matrix[1, 0] == pytest.approx(part * radionuclide("99Mo").decay_constant_per_h, rel=1e-14)
    assert matrix[0, 1] == 0


def test_a_start_with_its_own_daughter_is_one_chain():
    assert chain({"177Lu": 1.0, "177mLu": 0.1}).names == ("177mLu", "177Lu")
    assert chain({"177mLu": 0.1, "177Lu": 1.0}).names == ("177mLu", "177Lu")


@pytest.mark.parametrize("wrong", [{}, {"225Ac": 1.0, "Ac-225": 1.0}, "177Hf", "999Lu"])
def test_an_impossible_start_is_refused(wrong):
    with pytest.raises(InputError):
        chain(wrong)
