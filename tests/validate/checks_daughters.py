"""Daughters of alpha emitters: against integration in time, conservation, and the few human figures there are."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dose.chains import chain_dose
from dose.nuclides import radionuclide
from pbpk.daughters import chain, daughters
from pbpk.freed import draw, typical
from tests.reference.reference_daughters import (
    INTEGRATED,
    REGIONS,
    MASSES_g,
    bismuth_in_a_volunteer,
    integrated_TIA_MBq_h,
    parent_TIA_MBq_h,
    psma_patient_ratios,
)
from tests.validate import check, close

CHAINS = ("225Ac", "212Pb", "223Ra", "211At")
LIUBCHENKO = "Liubchenko 2024, five patients after 225Ac-PSMA-I&T, SPECT at 24 and 48 h (abstract)"


def _register(parent: str):
    @check(
        f"pbpk/daughters {parent}: TIA of every daughter in every region",
        unit="worst relative difference",
        tolerance=f"{INTEGRATED:g}",
        source="Bateman equations of all compartments solved in time (scipy Radau, rtol 1e-9), then quadrature",
    )
    def integrated():
        redistribution = typical(REGIONS, MASSES_g)
        found = daughters(parent, parent_TIA_MBq_h(parent), redistribution).tia_MBq_h
        theirs = integrated_TIA_MBq_h(parent, redistribution)
        worst = max(float(np.max(np.abs(np.asarray(found[name]) / tia - 1))) for name, tia in theirs.items())
        return worst, worst <= INTEGRATED


for _parent in CHAINS[:3]:
    _register(_parent)


@check(
    "pbpk/daughters conservation of atoms, 100 draws of four chains",
    unit="worst relative difference",
    tolerance="1e-12",
    source="exact: decays of a daughter, excreted ones too, are branching times those of its mothers",
)
def conservation():
    drawn, worst = draw(jax.random.key(3), REGIONS, MASSES_g, 100), 0.0
    for parent in CHAINS:
        found = daughters(parent, parent_TIA_MBq_h(parent)[:, None], drawn)
        total = {n: found.tia_MBq_h[n].sum(axis=0) + found.left_MBq_h[n].sum(axis=0) for n in found.tia_MBq_h}
        for link in chain(parent):
            born = sum(b * total[mother] for mother, b in link.mothers)
            worst = max(worst, float(jnp.max(jnp.abs(total[link.nuclide.name] / born - 1))))
    return worst, worst <= 1e-12


@check(
    "pbpk/daughters 225Ac with full retention: alpha and recoil energy per parent decay",
    unit="MeV",
    tolerance="rel 1e-3 of 27.993",
    source="radioactivedecay 0.6.1 with ICRP-107 energies",
)
def full_retention():
    redistribution = typical(REGIONS, MASSES_g)
    staying = eqx.tree_at(lambda r: r.held, redistribution, jnp.ones(len(REGIONS)))
    dose = chain_dose(daughters("225Ac", jnp.ones(len(REGIONS)), staying).tia_MBq_h, REGIONS, MASSES_g)
    alone = radionuclide("225Ac").alpha_MeV + radionuclide("225Ac").recoil_MeV
    value = float(dose.alpha_Gy[:, 2].sum() / dose.alpha_Gy[0, 2]) * alone
    return value, close(value, 27.48 + 0.513, 1e-3)


@check(
    "pbpk/daughters free bismuth: blood at 7 h, lost by 47 h, liver's part of the body at 3 d",
    unit="parts of the injected, of the injected, of the body",
    tolerance="within 0.02, 0.10, 0.15 of 0.01, 0.55, 0.60",
    source="one volunteer, 207Bi citrate (abstract); ICRP built its model with him in view",
)
def volunteer():
    found = bismuth_in_a_volunteer()
    expected = zip(found, (0.01, 0.55, 0.60), (0.02, 0.10, 0.15), strict=True)
    return list(found), all(abs(value - wanted) <= within for value, wanted, within in expected)


@check(
    "pbpk/daughters 213Bi over 221Fr after 225Ac-PSMA-I&T, default patient: kidneys, lesion",
    unit="1",
    tolerance="within 0.2 of 1.12 and 1.06",
    source=LIUBCHENKO + ": kidneys 0.18/0.16, lesions 0.38/0.36 Sv/MBq",
)
def two_images():
    kidneys, tumour = psma_patient_ratios().mean(axis=1)
    return [float(kidneys), float(tumour)], abs(kidneys - 0.18 / 0.16) <= 0.2 and abs(tumour - 0.38 / 0.36) <= 0.2


@check(
    "pbpk/daughters alpha energies of 221Fr and 217At over their mothers'",
    unit="1",
    tolerance="rel 0.015 of 1.091 and 1.117",
    source="EJNMMI Phys 2021 (s40658-021-00410-6) table 5, spleen 110, 120, 134 mGy/MBq",
)
def published_shares():
    dose = chain_dose({name: [1.0] for name in ("225Ac", "221Fr", "217At")}, ("spleen",), {"spleen": 150.0}).alpha_Gy[
        :, 0
    ]
    found = [float(dose[1] / dose[0]), float(dose[2] / dose[1])]
    return found, close(found[0], 120 / 110, 0.015) and close(found[1], 134 / 120, 0.015)
