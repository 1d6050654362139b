"""Options of the whole-body model against an explicit reaction and a label."""

from __future__ import annotations

import equinox as eqx

from tests.reference.reference_options import explicit_albumin, made, tia
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus
from tests.validate import check

K_OFF_PER_MIN, ALBUMIN = 3000.0, 1e-4
LABEL = (0.34, 0.59)


@check(
    "pbpk/albumin in equilibrium",
    "worst relative error of 10 h of TIA",
    f"{ALBUMIN:g}",
    f"scipy BDF, ligand on albumin as pools of its own, dissociation {K_OFF_PER_MIN:g} per min",
)
def albumin():
    """14 % free in plasma; kidney, tumour, parotid and muscle. The error falls in proportion to the rate."""
    kin = made(values={("KD_albumin", ""): 1e5, ("kPS_albumin", "tumour"): 0.02})
    stable = eqx.tree_at(lambda k: k.decay, kin, 1e-9 * kin.decay)
    ours = tia(stable, bolus(100.0, 100.0, (), 600.0))
    theirs = explicit_albumin(kin, 100.0, K_OFF_PER_MIN, 600.0)
    worst = max(abs(ours[o] / theirs[o] - 1) for o in ("kidney_left", "tumour_1", "parotid", "muscle"))
    return worst, worst <= ALBUMIN


@check("pbpk/amino acids", "reduction of the kidney TIA", f"{LABEL[0]:g} to {LABEL[1]:g}", "US label of Lutathera [S2]")
def amino_acids():
    """The site factor is the label's 0.53, so this shows only that the dose follows the sites."""
    course = bolus(100.0, 10.0, (), WEEKS_6_MIN)
    given, left_out = (tia(made("DOTATATE", amino_acids=x), course)["kidney_left"] for x in (True, False))
    reduction = 1 - given / left_out
    return reduction, LABEL[0] <= reduction <= LABEL[1]
