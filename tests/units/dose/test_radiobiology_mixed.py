"""Alphas beside low-LET dose: never only the weighted number."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import InputError
from dose.exposure import Exposure
from dose.mixed import MixedDose
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.tissues import tissue, tissue_draws

KIDNEY = tissue("kidneys")


def test_physical_and_weighted_dose_of_an_actinium_kidney():
    s = dose_coefficient_Gy_per_MBq_h("kidneys", "225Ac", 310.0)
    dose = MixedDose.of_tia(s, 20.0)
    assert dose.physical_Gy == pytest.approx(20 * s.total, rel=1e-12)
    assert dose.weighted_Gy(5.0) == pytest.approx(20 * s.weighted(5.0), rel=1e-12)
    assert dose.alpha_Gy > 0.9 * dose.physical_Gy  # 28 of 29 MeV


def test_the_alpha_part_of_bed_has_no_g_and_the_rest_has():
    dose = MixedDose(2.0, 3.0)
    low = 2.0 * (1 + 0.05 * 2.0 / 2.6)
    assert dose.bed_Gy(KIDNEY, 5.0, 0.05) == pytest.approx(low + 15.0, rel=1e-12)
    assert MixedDose(0.0, 3.0).bed_Gy(KIDNEY, 5.0, 1.0) == pytest.approx(15.0)
    assert MixedDose(2.0, 0.0).bed_Gy(KIDNEY, 5.0, 0.05) == pytest.approx(low)


def test_a_table_never_shows_the_weighted_dose_alone():
    table = MixedDose(2.0, 3.0).table(5)
    assert table == {"physical dose, Gy": 5.0, "of it alpha, Gy": 3.0, "weighted dose, Gy(RBE 5)": 17.0}


def test_draws_stand_in_the_first_axis(rng):
    drawn, exposure = tissue_draws("kidneys", 4, 1), Exposure((0.05,), (0.0134,))
    g, rbe = exposure.g(drawn), np.array([3.0, 4.0, 5.0, 6.0])
    low, alpha = rng.uniform(1, 3, (4, 7)), rng.uniform(0, 1, (4, 7))
    found = MixedDose(low, alpha).bed_Gy(drawn, rbe, g)
    for k in range(4):
        expected = low[k] * (1 + g[k] * low[k] / drawn.alpha_beta_Gy[k]) + rbe[k] * alpha[k]
        np.testing.assert_allclose(found[k], expected, rtol=1e-12)
    assert MixedDose(2.0, 1.0).bed_Gy(drawn, 5.0, g).shape == (4,)
    with pytest.raises(InputError, match="draws"):
        MixedDose(low[:3], alpha[:3]).bed_Gy(drawn, 5.0, g)


BAD = [
    (lambda: MixedDose(-1.0, 0.0), "low_LET_Gy"), (lambda: MixedDose(1.0, np.nan), "alpha_Gy"),
    (lambda: MixedDose(np.ones(3), np.ones(4)), "shape"), (lambda: MixedDose(1.0, 1.0).weighted_Gy(0.5), "rbe"),
    (lambda: MixedDose(1.0, 1.0).weighted_Gy(5000.0), "rbe"),
    (lambda: MixedDose(1.0, 1.0).bed_Gy(KIDNEY, 5.0, 1.5), "g:"),
    (lambda: MixedDose(1.0, 1.0).bed_Gy(KIDNEY, np.nan, 0.5), "rbe_max"),
]  # fmt: skip


@pytest.mark.parametrize(("wrong", "said"), BAD, ids=range(len(BAD)))
def test_impossible_input_is_refused(wrong, said):
    with pytest.raises(InputError, match=said):
        wrong()
