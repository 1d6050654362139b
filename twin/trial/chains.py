"""Daughters of an alpha chain that leave the organ they were born in, for cohorts: the typical patient's correction.

`twin.chain_forecast` follows daughters for every draw of one patient. In a trial each organ's dose coefficient is that
of decay in place times a factor: what following them changes in the typical patient. For 225Ac-PSMA-617 kidneys get
14 % more and parotid glands 10 % less (docs/daughters.md); that it is the same in all patients is an approximation.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.regions import is_tumour
from pbpk.administration import Administration
from pbpk.anatomy import parts
from pbpk.daughters import is_followed
from pbpk.parameters import ligand
from twin.body import body_of
from twin.chain_forecast import coefficients
from twin.deposit import masses
from twin.outlook.nodes import Ask, solved
from twin.policies.virtual import typical_study

LATEST_H = np.array([1008.0])


@cache
def chain_factors(drug: str, nuclide: str, regions: tuple[str, ...]) -> dict[str, float]:
    """Dose coefficient with daughters followed over that of decay in place, by region; 1 for nuclides without such.

    Tumours share the factor of the first.
    """
    if not is_followed(nuclide):
        return dict.fromkeys(regions, 1.0)
    amount = ligand(drug).typical_amount_nmol("therapy")
    study = typical_study(f"{nuclide}-{drug}")
    body = body_of(study, (Administration(1, 0.0, 1.0, amount, 0.0, drug, nuclide),))
    names = (*(r for r in regions if parts(r, body.organs) and not is_tumour(r)), "tumour_1")
    one = np.ones(1)
    ask = Ask(amount * one, one, 0.0, 0.0, 0.0, 24 * one, LATEST_H)
    found = solved(body.first, body.prior.names, np.zeros((2, len(body.prior.names))), ask)
    mass, still = masses(names, body), np.ones((2, 1, len(names)))
    made = coefficients(body, study.covariates.sex, nuclide, names, mass, found.tia, still)
    place = [dose_coefficient_Gy_per_MBq_h(r, nuclide, float(m)).total for r, m in zip(names, mass, strict=True)]
    ratio = {r: float(np.ravel(c.total_Gy_per_MBq_h)[-1] / p) for r, c, p in zip(names, made, place, strict=True)}
    return {r: ratio["tumour_1"] if is_tumour(r) else ratio.get(r, 1.0) for r in regions}
