"""V26: the sampler of a published in-silico trial, and the closed form of its moments."""

from __future__ import annotations

import math

import numpy as np

from tests.validate import check, close
from twin.trial.published import G_PER_KG, ranges, sampled

PATIENTS, SEED = 200_000, 26
EXPECTED_Gy = {"kidneys": (7.16, 4.82), "parotids": (3.31, 1.34), "lacrimals": (1.37, 0.56)}
"""Mean and standard deviation of the first cycle."""
WITHIN = 0.02
SOURCE = (
    "V26 of the project notes: parameters of github matteo-italia94, commit dc72116; moments from 1e5 draws and more"
)


def moments_Gy(tissue: str) -> tuple[float, float]:
    """Mean and standard deviation in closed form: SUV, body mass and clearance are independent and uniform.

    E[1/x] = ln(b/a) / (b - a), E[1/x^2] = 1 / (a b); where a = b, 1/a and 1/a^2.
    """
    table = {name: (low, high) for name, (low, high, _) in ranges().items()}
    low, high = table[f"{tissue}_suv"]
    factor = table["activity_MBq"][0] * table["energy_mJ_per_MBq_h"][0] / G_PER_KG
    mean, square = factor * (low + high) / 2, factor**2 * (low**2 + low * high + high**2) / 3
    decay = table["decay_per_h"][0]
    for a, b in (table["body_mass_kg"], tuple(x + decay for x in table[f"{tissue}_clearance_per_h"])):
        mean *= 1 / a if a == b else math.log(b / a) / (b - a)
        square /= a * b
    return mean, math.sqrt(square - mean**2)


def _row(tissue: str):
    @check(
        f"trial/V26 {tissue} first cycle of 7400 MBq: mean and sd of {PATIENTS:,} patients",
        unit="Gy",
        tolerance=f"{EXPECTED_Gy[tissue][0]:g} +/- {EXPECTED_Gy[tissue][1]:g}, each within 2 %",
        source=SOURCE,
    )
    def row():
        dose = sampled(PATIENTS, SEED)[f"{tissue}_Gy"].to_numpy()
        found = [float(dose.mean()), float(dose.std())]
        return found, all(close(got, want, WITHIN) for got, want in zip(found, EXPECTED_Gy[tissue], strict=True))

    return row


for _tissue in EXPECTED_Gy:
    _row(_tissue)


@check(
    "trial/V26 means and sds of all tissues against closed forms: worst difference",
    unit="standard errors",
    tolerance="4 (tumour, kidneys, parotids, lacrimal glands, marrow)",
    source="moments of products of independent uniform variables, by hand",
)
def closed_forms():
    table = sampled(PATIENTS, SEED)
    worst = 0.0
    for tissue in ("tumour", "kidneys", "parotids", "lacrimals", "marrow"):
        dose = table[f"{tissue}_Gy"].to_numpy()
        mean, sd = moments_Gy(tissue)
        fourth = np.mean((dose - mean) ** 4)
        error_of_sd = math.sqrt((fourth - sd**4) / len(dose)) / (2 * sd)
        off = abs(dose.mean() - mean) / (sd / math.sqrt(len(dose))), abs(dose.std() - sd) / error_of_sd
        worst = max(worst, *off)
    return float(worst), worst <= 4.0
