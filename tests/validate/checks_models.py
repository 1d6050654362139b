"""Kinetic models of the general door against the numbers of the verification list and of clinics."""

from __future__ import annotations

import numpy as np

from dose.nuclides import radionuclide
from pbpk.models.poppk import PSMA617
from pbpk.models.reduced import reduced
from pbpk.models.thyroid import Thyroid
from pbpk.simulate import simulate
from pbpk.whole_body import WholeBody
from tests.problems import LU, REDUCED_TARGETS, three_pools
from tests.reference.reference_iodine import iodine
from tests.reference.reference_models import (
    ACTIVITY_MBQ,
    CLINIC_90Y,
    CLINIC_166HO,
    V21_TIA,
    V22,
    V23_KIDNEY,
    given,
    saturable_tia,
    whole_liver,
)
from tests.reference.reference_pbpk import default_patient
from tests.validate import check

CASES = "verification list (scipy): "
MASS_KIDNEYS_G, DOSE_PER_TIAC_G = 310.0, 85.3
"""Adult reference mass, and Gy g/GBq per h of 177Lu kept in a tissue (PBPK_DEFAULTS.md section 1)."""
PUBLISHED_KIDNEY_GY_PER_GBQ = (0.39, 0.82)
"""Range over the studies of CLINICAL.md."""


def worst(found, expected) -> float:
    return float(np.max(np.abs(np.asarray(found) / np.asarray(expected) - 1)))


@check("pbpk/V21 linear three-compartment TIA", "worst relative error", "1e-6", CASES + "V21")
def v21():
    found = worst(simulate(three_pools(), given(ACTIVITY_MBQ, 100.0), [24.0]).tia_to_end_MBq_h, V21_TIA)
    return found, found <= 1e-6


@check("pbpk/V22 saturable receptors TIA", "worst relative error", "1e-5", CASES + "V22, five ligand amounts")
def v22():
    found = max(worst(saturable_tia(total), expected) for total, *expected in V22)
    return found, found <= 1e-5


@check("pbpk/V23 tumour sink, kidney TIA", "worst relative error", "1e-5", CASES + "V23, four tumour sizes")
def v23():
    found = max(worst(saturable_tia(100.0, tumour)[:1], [kidney]) for tumour, kidney in V23_KIDNEY)
    return found, found <= 1e-5


@check("pbpk/90Y microspheres", "Gy kg/GBq", "rel 3e-3 of 49.67", "factor used in clinics")
def spheres_90y():
    found = float(whole_liver("90Y")[0])
    return found, worst(found, CLINIC_90Y) <= 3e-3


@check("pbpk/166Ho microspheres", "Gy kg/GBq", "rel 2.5e-2 of 15.87", "J Nucl Med 2016;57 suppl 2:199 (abstract)")
def spheres_166ho():
    found = float(whole_liver("166Ho")[0])
    return found, worst(found, CLINIC_166HO) <= 2.5e-2


@check(
    "pbpk/131I thyroid beside ICRP 137", "worst relative error", "0.02", "ICRP 137 table 5.4: uptake at 24 h and TIA"
)
def thyroid():
    theirs = iodine(24 * radionuclide("131I").decay_constant_per_h)
    ours = simulate(Thyroid.of(), given(100.0, 1.0, "131I"), [24.0])
    expected = 100 * theirs.at(1.0), 2400 * theirs.integral_d()
    found = worst((ours.activity_MBq[1, 0], ours.tia_to_end_MBq_h[1]), expected)
    return found, found <= 0.02


@check("pbpk/population PSMA-617, kidney dose", "Gy/GBq", "0.39 to 0.82", "published organ doses of 177Lu-PSMA-617")
def population_psma():
    model = PSMA617.of()
    found = simulate(model, given(6000.0, 100.0), [24.0])
    tiac_h = float(found.tia_to_end_MBq_h[found.index("kidneys")]) / 6000.0
    dose = tiac_h * DOSE_PER_TIAC_G / MASS_KIDNEYS_G
    return dose, PUBLISHED_KIDNEY_GY_PER_GBQ[0] <= dose <= PUBLISHED_KIDNEY_GY_PER_GBQ[1]


@check("pbpk/reduced model beside its parent", "worst relative error of TIA", "0.01", "own whole-body model")
def reduced_model():
    kin, course = default_patient(), given(ACTIVITY_MBQ, 100.0)
    full = simulate(WholeBody(kin, LU), course, [24.0])
    small = simulate(reduced(kin, LU, REDUCED_TARGETS), course, [24.0])
    at = [full.index(name) for name in REDUCED_TARGETS]
    found = worst(small.tia_to_end_MBq_h[: len(at)], np.asarray(full.tia_to_end_MBq_h)[at])
    return found, found <= 0.01
