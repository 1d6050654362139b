"""A tumour with perfusion, density and release of its own; perfusions that no organ can have."""

import numpy as np
import pytest

from dose.errors import InputError
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import physiology
from pbpk.solve import solve
from tests.reference.reference_options import made
from tests.reference.reference_pbpk import bolus

LESIONS = {"tumour_1": 20.0, "tumour_liver": 8.0}


def scaled(**perfusion):
    return physiology(Covariates.of(), "psma", LESIONS, perfusion_per_min=perfusion)


def test_a_perfusion_is_that_tumours_alone():
    usual, slow = scaled(), scaled(tumour_liver=0.05)
    at = usual.organs.index("tumour_liver")
    assert slow.plasma_flow_L_min[at] == pytest.approx(0.05 * 0.008)
    others = np.arange(len(usual.organs)) != at
    np.testing.assert_array_equal(slow.plasma_flow_L_min[others], usual.plasma_flow_L_min[others])


def test_an_organs_perfusion_comes_out_of_the_remainder():
    usual, more = scaled(), scaled(muscle=0.02)
    flow = lambda body, organ: body.plasma_flow_L_min[body.organs.index(organ)]
    gained = flow(more, "muscle") - flow(usual, "muscle")
    assert flow(usual, "remainder") - flow(more, "remainder") == pytest.approx(gained)


def test_density_and_release_can_be_those_of_one_tumour():
    values = {("receptor_density", "tumour_1"): 30.0, ("release", "tumour_1"): 2e-4}
    usual, own = made(), made(values=values)
    k, rest = usual.organs.index("tumour_1"), usual.organs.index("tumour_rest")
    assert float(own.receptors[k, 0] / usual.receptors[k, 0]) == pytest.approx(
        30.0 / ligand("PSMA-617").number("receptor_density", "tumour")
    )
    assert float(own.release[k, 0]) == 2e-4
    assert float(own.receptors[rest, 0]) == float(usual.receptors[rest, 0])
    amount = [solve(kin, bolus(end_min=1440.0), bed=False).integrals.organ[-1, k, 0] for kin in (usual, own)]
    assert float(amount[1]) < 0.6 * float(amount[0])


@pytest.mark.parametrize(
    ("says", "perfusion"),
    {
        "expected tumour_liver": {"tumour_livr": 0.1},
        "perfusion_per_min of tumour_1: found 0": {"tumour_1": 0.0},
        "perfusion_per_min of tumour_1: found nan": {"tumour_1": float("nan")},
        "remainder of the body: plasma flow": {"muscle": 5.0},
    }.items(),
)
def test_an_impossible_perfusion_is_refused(says, perfusion):
    with pytest.raises(InputError, match=says):
        scaled(**perfusion)
