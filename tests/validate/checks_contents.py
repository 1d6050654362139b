"""Bladder and gut contents: against the model with contents as rows of its state, OLINDA's walls, and PET series."""

from __future__ import annotations

import csv
import math
from functools import cache

import numpy as np

from dose.nuclides import radionuclide
from dose.walls import wall_coefficient_Gy_per_MBq_h
from pbpk.contents import contents, excretion_times_min
from pbpk.course import HALF_LIVES_TO_THE_END
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import kinetics, physiology
from pbpk.solve import segments, solve
from pbpk.voiding import Voiding
from tests.reference import reference_contents as reference
from tests.validate import check, shared

RADAU = "the same terms with contents, integrals and faeces as rows, restarted at each void (scipy Radau, rtol 1e-9)"
OLINDA = {"90Y": ("Y-90", 0.005), "177Lu": ("Lu-177", 0.015), "131I": ("I-131", 0.08)}
MASSES_g = {
    ("bladder", "male"): 211.0, ("bladder", "female"): 160.0, ("small_intestine", "male"): 350.0,
    ("small_intestine", "female"): 280.0, ("right_colon", "male"): 150.0, ("right_colon", "female"): 160.0,
    ("left_colon", "male"): 75.0, ("left_colon", "female"): 80.0,
}  # fmt: skip
"""Masses of contents that OLINDA's 90Y factors imply."""
NAMES = {
    "bladder": ("Urinary Bladder Wall", "UB Cont"), "small_intestine": ("Small Intestine", "SI Cont"),
    "right_colon": ("ULI Wall", "ULI Cont"), "left_colon": ("LLI Wall", "LLI Cont"),
}  # fmt: skip


@cache
def _rows() -> reference.Rows:
    return reference.with_rows()


def _worst(times_min) -> float:
    off = reference.differences(reference.ours(times_min=times_min), _rows())
    return max(float(np.max(part)) for part in off.values())


@check(
    "pbpk/contents a bolus and an infusion, voids every 5 h: amounts, integrals, passed; fine times",
    unit="worst relative difference",
    tolerance="1e-8",
    source=RADAU,
)
def fine():
    worst = _worst(np.concatenate([t + 0.05 * 1.05 ** np.arange(240) for t in (0.0, 1440.0, 1470.0)]))
    return worst, worst <= 1e-8


@check(
    "pbpk/contents the same at the recommended times",
    unit="worst relative difference",
    tolerance="5e-6: a bladder after three days",
    source=RADAU,
)
def recommended():
    worst = _worst(None)
    return worst, worst <= 5e-6


def _register(nuclide: str, name: str, tolerance: float):
    @check(
        f"dose/walls {nuclide}: bladder, small intestine, right and left colon, both sexes, masses as there",
        unit="worst relative difference",
        tolerance=f"{tolerance:g}",
        source="OLINDA/EXM 2.2 factors, wall from contents: three digits, photons in its own phantoms",
    )
    def walls():
        path = shared("dose/olinda22_icrp89_dose_factors.csv")
        rows = csv.DictReader(line for line in path.read_text(encoding="utf-8").splitlines() if line[0] != "#")
        theirs = {(r["sex"], r["target"], r["source"]): float(r["mSv_per_MBq_s"]) * 3.6
                  for r in rows if r["nuclide"] == name}  # fmt: skip
        worst = 0.0
        for (where, sex), mass_g in MASSES_g.items():
            ours = wall_coefficient_Gy_per_MBq_h(where, nuclide, mass_g=mass_g, chain=False).total
            worst = max(worst, abs(ours / theirs[sex, *NAMES[where]] - 1))
        return worst, worst <= tolerance


for _nuclide, (_name, _tolerance) in OLINDA.items():
    _register(_nuclide, _name, _tolerance)


def _bladder_wall_mGy_per_MBq(agent: str, activity_MBq: float, amount_nmol: float, voiding: Voiding) -> float:
    """After a bolus of a 68Ga agent in the default patient of 80 kg, with the reference contents of the bladder."""
    patient, nuclide, drug = Covariates.of(weight_kg=80, height_m=1.711), radionuclide("68Ga"), ligand(agent)
    kin = kinetics(physiology(patient, drug.target, {"tumour_1": 20.0}), patient, drug, nuclide, {})
    end_min = 60 * HALF_LIVES_TO_THE_END * nuclide.half_life_h
    hot = activity_MBq / nuclide.activity_MBq_per_nmol
    seg = segments([0.0], [0.0], [amount_nmol], [hot], excretion_times_min(0.0, 0.0, end_min), end_min)
    found = contents(solve(kin, seg, bed=False), kin, seg, voiding).tia_MBq_h(nuclide)[0, 0]
    return 1000 * float(found) / activity_MBq * wall_coefficient_Gy_per_MBq_h("bladder", nuclide.name).total


@check(
    "pbpk/contents 68Ga-PSMA-11, default patient, a void every hour: bladder wall from its contents",
    unit="mGy/MBq",
    tolerance="within one sd, 0.059, of 0.13",
    source="Afshar-Oromieh 2016 (abstract), 4 patients, scans from hour to hour; when they voided is not said",
)
def psma():
    value = _bladder_wall_mGy_per_MBq("PSMA-11", 150.0, 3.0, Voiding(1.0))
    return value, abs(value - 0.13) <= 0.059


@check(
    "pbpk/contents 68Ga-DOTATATE, default patient, voids every hour, or none: bladder wall from its contents",
    unit="mGy/MBq",
    tolerance="0.125 between the two",
    source="PMC4472480 table 3, which adds that patients who may void receive less",
)
def dotatate():
    low, high = (_bladder_wall_mGy_per_MBq("DOTATATE", 150.0, 15.0, Voiding(h)) for h in (1.0, math.inf))
    return [low, high], low <= 0.125 <= high
