"""The whole-body model against independent solutions of four courses, at the default tolerance."""

import equinox as eqx
import pytest

from pbpk.solve import solve
from tests.reference.reference_pbpk import CASES, errors, load

PEAK = 1e-5
"""Largest error of a species over its peak; measured about 4e-8."""
INTEGRAL = 1e-6
"""Relative error of a time integral."""
INTEGRATED = ("Kidney", "Liver", "Tumor1")
COMPARED = 110
"""Every case has at least as many columns of hot and cold amounts."""


def of(case, shared, change=lambda kin: kin):
    kin, seg, header, table = load(case, shared)
    kin = change(kin)
    solution = solve(kin, seg)
    assert not solution.failed
    return errors(solution, kin, seg, header, table)


def amounts(found):
    return {name: error for name, error in found.items() if not name.endswith("hot_integral")}


def wrong_transit(kin):
    """Kidney return divided by a volume twice too large."""
    return eqx.tree_at(lambda k: k.transit, kin, 2 * kin.transit)


@pytest.mark.parametrize("case", CASES)
def test_every_species_is_the_reference_solution(case, shared):
    found = of(case, shared)
    compared = amounts(found)
    assert len(compared) >= COMPARED
    assert {"urine_hot_nmol", "released_hot_nmol", "decayed_hot_nmol", "KidneyIntera.hot_nmol"} <= set(compared)
    assert {name: error for name, error in compared.items() if error > PEAK} == {}
    assert max(found[f"{organ}.hot_integral"] for organ in INTEGRATED) <= INTEGRAL


@pytest.mark.parametrize("case", CASES)
def test_a_wrong_transit_volume_is_seen(case, shared):
    """Negative control."""
    assert max(amounts(of(case, shared, wrong_transit)).values()) > PEAK
