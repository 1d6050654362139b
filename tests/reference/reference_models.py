"""Numbers from outside for the models of the general door, and what is compared with them."""

from __future__ import annotations

from functools import cache

import numpy as np

from pbpk.administration import Administration
from pbpk.models.microspheres import Microspheres
from pbpk.simulate import simulate
from tests.problems import saturable

V21_TIA = (11585.236, 63953.845, 27765.737)
V21_AT_24_H = (57.277, 1003.398, 166.899)
"""Cases V21 to V23 of the verification list: MBq h of blood, kidney and tumour, and MBq at 24 h, for 7400 MBq."""
V22 = (
    (1.0, 92610.4, 280096.2), (10.0, 91777.7, 255419.6), (50.0, 84270.9, 169906.5), (100.0, 71162.5, 112202.2),
    (200.0, 50001.6, 66246.2),
)  # fmt: skip
V22_NO_LIGAND = (92680.1, 282938.1)
V23_KIDNEY = ((2.0, 74103.6), (8.0, 71162.5), (40.0, 54906.0), (160.0, 20977.9))
"""Total ligand or tumour receptors (nmol), then MBq h of kidney and tumour."""
CLINIC_90Y, CLINIC_166HO = 49.67, 15.87
"""Gy kg/GBq: 90Y as clinics use it (CLINICAL.md, DOSE.md 8); 166Ho from J Nucl Med 2016;57 suppl 2:199."""
ACTIVITY_MBQ = 7400.0


def given(activity_MBq, amount_nmol, nuclide="177Lu"):
    return [Administration(1, 0.0, activity_MBq, amount_nmol, 0.0, "test", nuclide)]


@cache
def saturable_tia(total_nmol, tumour_nmol=8.0):
    """For 7400 MBq. Less is given, as 7400 MBq are 10 nmol: activity is linear at the same ligand (a law)."""
    share = 1e-2 if total_nmol >= 1 else 1e-5
    found = simulate(saturable(tumour_nmol), given(share * ACTIVITY_MBQ, total_nmol), [24.0])
    return np.asarray(found.tia_to_end_MBq_h) / share


def whole_liver(nuclide):
    """Gy per GBq to a kilogram that takes up everything alike."""
    model = Microspheres.of(uptake_ratio=1.0, lung_shunt=0.0, tumour_g=400.0, normal_liver_g=600.0, nuclide=nuclide)
    return 1000 * np.asarray(model.dose_Gy_per_MBq())[:2]
