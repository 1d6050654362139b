"""131I in the thyroid against the EANM procedures, OLINDA, published blood doses and independent solutions."""

from __future__ import annotations

import csv
import math

import numpy as np
from scipy.integrate import quad, solve_ivp

from dose.curves import hanscheid_tia
from dose.nuclides import radionuclide
from dose.organ import gray_per_MeV
from dose.regions import reference_mass_g
from dose.thyroid.benign import LOBES, classic_activity_MBq, coefficient_Gy_per_MBq_h, plan_thyroid
from dose.thyroid.blood import blood_dose_single, blood_volume_mL
from dose.thyroid.lesion import iodine_lesion
from dose.thyroid.uptake import fit_uptake, thyroid_value
from tests.validate import check, close, shared

IODINE = radionuclide("131I")
LP = IODINE.decay_constant_per_h
GLANDS_G = {"male": 20.0, "female": 17.0}
"""ICRP 89, as OLINDA 2.2 uses them."""
BODY = ("Tot Body", "Total Body")


def gland(mass_g: float) -> float:
    return coefficient_Gy_per_MBq_h(mass_g, LOBES).total


def olinda() -> list[dict[str, str]]:
    with shared("dose/olinda22_self_dose_factors.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


@check(
    "dose/thyroid/energy deposited in a gland of 20 g per MBq d",
    unit="Gy g/(MBq d)",
    tolerance="rel 0.02 of 2.808",
    source="EANM procedure for benign thyroid disease (Haenscheid 2013; recalled)",
)
def energy():
    value = gland(20.0) * 20 * 24
    return value, close(value, thyroid_value("energy"), 0.02)


@check(
    "dose/thyroid/constant of the one-line formula from our energy at 20 g",
    unit="MBq d %/(Gy g)",
    tolerance="rel 0.02 of 24.7",
    source="EANM procedure for benign thyroid disease (Haenscheid 2013; recalled)",
)
def classic():
    value = 100 * math.log(2) / (gland(20.0) * 20 * 24)
    return value, close(value, thyroid_value("classic_constant"), 0.02)


@check(
    "dose/thyroid/131I self-dose of the gland, both sexes: worst against OLINDA",
    unit="relative difference",
    tolerance="0.015",
    source="OLINDA/EXM 2.2 (verification only, read beside the checkout)",
)
def self_dose():
    """Two spheres for two lobes; OLINDA prints three digits. One sphere would be 2.9 % too high."""
    rows = [row for row in olinda() if row["organ"] == "Thyroid" and row["nuclide"] == "I-131"]
    found = [gland(GLANDS_G[row["sex"]]) * 1e3 / 3600 / float(row["mSv_per_MBq_s"]) - 1 for row in rows]
    worst = max(found, key=abs)
    return worst, len(found) == 2 and abs(worst) <= 0.015


@check(
    "dose/thyroid/uptake curve against the two-compartment ODE: worst integral",
    unit="relative difference",
    tolerance="0.01",
    source="own, independent: scipy solve_ivp and quad (rtol 1e-10), six measurements with 1 % sds",
)
def ode():
    t, worst = np.array([2.0, 5.0, 24.0, 48.0, 96.0, 168.0]), 0.0
    for uptake, excretion, biological_h in ((0.15, 0.08, 320.0), (0.1, 0.15, 150.0), (0.3, 0.2, 700.0)):

        def slopes(_, y, u=uptake, e=excretion, b=biological_h):
            return [-(u + e) * y[0], u * y[0] - math.log(2) / b * y[1]]

        solved = solve_ivp(slopes, (0, 2000), [1.0, 0.0], rtol=1e-10, atol=1e-13, dense_output=True, method="LSODA")
        integral = quad(lambda s, y=solved: y.sol(s)[1] * math.exp(-LP * s), 0, 2000, limit=400, epsrel=1e-9)[0]
        found = fit_uptake(t, solved.sol(t)[1], disease="graves", decay_corrected=True, relative_sd=0.01)
        worst = max(worst, abs(found.tia_h.value / integral - 1))
    return worst, worst <= 0.01


@check(
    "dose/thyroid/one measurement at 144 h against 2t/ln 2",
    unit="relative difference",
    tolerance="0.08",
    source="rule of Haenscheid 2018, which is within 6 % of the truth from 3 to 8 days of half-life at this time",
)
def late_rule():
    found = fit_uptake([144.0], [0.5], disease="graves", decay_corrected=True)
    value = found.tia_h.value / hanscheid_tia(0.5 * math.exp(-LP * 144), 144.0) - 1
    return value, abs(value) <= 0.08


@check(
    "dose/thyroid/24 h measurement and 5 d assumed, against the full curve: sd of the error",
    unit="log sd",
    tolerance="0.1 to 0.5",
    source="Berg 1996: activities by an assumed half-life differ considerably from those by a measured one",
)
def assumed_half_life():
    """Patients of the prior, exact uptake at 24 h: what a fixed half-life of 5 d costs, and what our interval says."""
    rng, errors = np.random.default_rng(3), []
    median_h = 1 / (1 / 120.0 - LP / math.log(2))
    for _ in range(200):
        slow = LP + math.log(2) / (median_h * math.exp(0.7 * rng.standard_normal()))
        fast = slow + math.log(2) / 3.0
        at_24 = math.exp(-24 * slow) - math.exp(-24 * fast)
        errors.append(math.log(at_24 * math.exp(24 * math.log(2) / 120) * 120 / math.log(2) / (1 / slow - 1 / fast)))
    value = float(np.std(errors))
    found = fit_uptake([24.0], [0.5], disease="graves", decay_corrected=True)
    stated = math.log(found.tia_h.high / found.tia_h.low) / (2 * 1.96)
    return value, 0.1 <= value <= 0.5 and close(stated, math.hypot(value, 0.07), 0.25)


@check(
    "dose/thyroid/one-line formula over ours, Graves, six measurements, 20 g",
    unit="1",
    tolerance="1.0 to 1.15",
    source="own reasoning: it starts at the maximum what begins before it",
)
def one_line():
    t = np.array([2.0, 5.0, 24.0, 48.0, 96.0, 168.0])
    shares = 0.7 * (np.exp(-0.0022 * t) - np.exp(-0.23 * t))
    found = fit_uptake(t, shares, disease="graves", decay_corrected=True, relative_sd=0.02)
    plan = plan_thyroid(found, 20.0, 250.0)
    value = classic_activity_MBq(250, 20, found.peak, found.effective_half_life_h.value / 24) / plan.activity_MBq.value
    return value, 1.0 <= value <= 1.15


@check(
    "dose/thyroid/blood: dose of a mL of blood by its own electrons",
    unit="Gy mL/(GBq h)",
    tolerance="rel 0.05 of 108",
    source="EANM procedure for blood dosimetry (Lassmann 2008; recalled)",
)
def blood_self():
    """ICRP-107 electrons, all absorbed, at 1.06 g/mL; the procedure's constant has some photons besides."""
    value = IODINE.electron_MeV * gray_per_MeV(1.06) * 1000
    return value, close(value, thyroid_value("blood_self"), 0.05)


@check(
    "dose/thyroid/blood: photons of the body, both sexes: worst",
    unit="relative difference",
    tolerance="0.1",
    source="OLINDA/EXM 2.2 whole-body self-dose less ICRP-107 electrons (verification only), against 0.0188 / w^(2/3)",
)
def blood_body():
    """The recalled constant of the procedure against another source: whole-body photon dose of 73 and 60 kg. The
    formula scales one body by its weight, and we give it a log sd of 0.1 (`blood_model_log_sd`)."""
    weights, found = {"male": 73.0, "female": 60.0}, []
    for row in olinda():
        if row["organ"] in BODY and row["nuclide"] == "I-131":
            weight_kg = weights[row["sex"]]
            photons = float(row["mSv_per_MBq_s"]) * 3600 - 1000 * IODINE.electron_MeV * gray_per_MeV(weight_kg * 1000)
            found.append(thyroid_value("blood_body") / weight_kg ** (2 / 3) / photons - 1)
    worst = max(found, key=abs)
    return worst, len(found) == 2 and abs(worst) <= 0.1


@check(
    "dose/thyroid/blood dose of women off hormone, residence time 21.97 h",
    unit="Gy/GBq",
    tolerance="0.025 (the group's sd) of 0.118",
    source="23 women of PMC5020787 (abstract): 0.118 +- 0.025 mGy/MBq; body of ICRP 89 taken",
)
def blood_women():
    volume_mL = blood_volume_mL(163, 60, "female")
    found = blood_dose_single(24, math.exp(-24 / 21.97), weight_kg=60, blood_mL=volume_mL)
    value = found.dose_Gy_per_GBq.value
    return value, abs(value - 0.118) <= 0.025


@check(
    "dose/thyroid/residence time of an effective half-life of 15.6 h",
    unit="h",
    tolerance="rel 0.05 of 22.0",
    source="medians of JNMT 2022;50:233 (abstract): 15.6 h and 22.0 h of one group",
)
def residence():
    found = blood_dose_single(24, 2 ** (-24 / 15.6), weight_kg=70, blood_mL=5000)
    return found.body_h, close(found.body_h, 22.0, 0.05)


@check(
    "dose/thyroid/blood volume of ICRP-89 adults: worst",
    unit="relative difference",
    tolerance="0.05",
    source="ICRP 89: 5300 and 3900 g of blood, at 1.06 g/mL",
)
def blood_volume():
    bodies = (("male", 176, 73), ("female", 163, 60))
    found = [
        blood_volume_mL(height, weight, sex) / (reference_mass_g("blood", sex) / 1.06) - 1
        for sex, height, weight in bodies
    ]
    worst = max(found, key=abs)
    return worst, abs(worst) <= 0.05


@check(
    "dose/thyroid/lesions on 124I PET at 24, 48, 96 h: intervals that hold the truth",
    unit="share of 200 lesions",
    tolerance="0.90 to 0.99",
    source="own simulation: kinetics drawn from the prior, 10 % errors",
)
def lesions():
    """95 % intervals of the 131I integral; three sds of 200 lesions are 5 %."""
    rng, held = np.random.default_rng(6), 0
    t = np.array([24.0, 48.0, 96.0])
    l124 = radionuclide("124I").decay_constant_per_h
    median_h = 1 / (1 / 72.0 - LP / math.log(2))
    for _ in range(200):
        slow = math.log(2) / (median_h * math.exp(rng.standard_normal()))
        fast = slow + math.log(2) / (6.0 * math.exp(0.5 * rng.standard_normal()))
        biology = 0.003 * (np.exp(-slow * t) - np.exp(-fast * t))
        measured = 40 * biology * np.exp(-l124 * t) * (1 + 0.1 * rng.standard_normal(3))
        found = iodine_lesion("lesion 1", t, measured, administered_MBq=40, mass_g=1.0, draws=1000)
        held += found.tia_h.low <= 0.003 * (1 / (slow + LP) - 1 / (fast + LP)) <= found.tia_h.high
    return held / 200, 0.90 <= held / 200 <= 0.99
