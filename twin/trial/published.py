"""The sampler of a published in-silico trial of 500 patients with 177Lu-PSMA, and its doses of the first cycle.

Each parameter is drawn uniformly and independently (`twin/data/insilico_trial.csv`). A mean SUV of the whole body of 1
gives the rest of the body its SUV, so that the share of the activity in tissue i is SUV_i m_i / body mass. It leaves by
one exponential and all its energy stays in the tissue:

    dose_i = share_i A E / (m_i (clearance_i + decay))

so that masses cancel, and the tumour has a dose even where its mass is near zero. What the original does besides: the
tumour's mass changes during the cycle and enters its dose as m^-0.99; marrow receives photons of the whole body
(`marrow_photon_Gy` here, beside the rest); a cycle's doses end with its six weeks, which leaves less than 0.1 % to the
next cycle, and up to 1.2 % of the tumour's.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from dose.errors import InputError, describe
from dose.provenance import load_table

TISSUES = ("tumour", "kidneys", "parotids", "lacrimals", "marrow")
G_PER_KG = 1000.0


def ranges() -> dict[str, tuple[float, float, str]]:
    """Lowest and highest value and unit of each parameter, in the order of the draws; a fixed one has both equal."""
    rows = load_table("twin", "insilico_trial.csv")
    return {row["parameter"]: (float(row["low"]), float(row["high"]), row["unit"]) for row in rows}


def sampled(patients: int, seed: int) -> pa.Table:
    """Virtual patients: a row each, with every parameter, `rest_suv` and the doses of the first cycle.

    Patient k is the same whatever number of patients is asked for. A column's unit is in its field's metadata.

    Raises:
        InputError: a number of patients below 1.
    """
    if patients < 1:
        raise InputError(describe("patients", f"{patients}", "1 or more", "ask for at least one virtual patient"))
    drawn = _parameters(patients, seed)
    doses = first_cycle_Gy(drawn)
    units = {name: unit for name, (_, _, unit) in ranges().items()} | {"rest_suv": "1"} | dict.fromkeys(doses, "Gy")
    columns = drawn | {"rest_suv": rest_suv(drawn)} | doses
    fields = [pa.field(name, pa.float64(), nullable=False, metadata={"unit": units[name]}) for name in columns]
    return pa.table(list(columns.values()), schema=pa.schema(fields))


def _parameters(patients: int, seed: int) -> dict[str, np.ndarray]:
    table = ranges()
    between = np.random.default_rng(seed).random((patients, len(table)))
    return {name: low + (high - low) * between[:, k] for k, (name, (low, high, _)) in enumerate(table.items())}


def rest_suv(drawn: dict[str, np.ndarray]) -> np.ndarray:
    """Mean SUV of the rest of the body, with which the whole body has a mean of 1, [patient]."""
    body_g = G_PER_KG * drawn["body_mass_kg"]
    held = sum(drawn[f"{tissue}_suv"] * drawn[f"{tissue}_mass_g"] for tissue in TISSUES)
    return (body_g - held) / _rest_g(drawn)


def _rest_g(drawn: dict[str, np.ndarray]) -> np.ndarray:
    return G_PER_KG * drawn["body_mass_kg"] - sum(drawn[f"{tissue}_mass_g"] for tissue in TISSUES)


def first_cycle_Gy(drawn: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Absorbed doses of the first cycle, [patient]: `<tissue>_Gy`, and `marrow_photon_Gy` from the whole body."""
    integrals = {tissue: _tia_per_g(drawn, tissue, drawn[f"{tissue}_suv"]) for tissue in TISSUES}
    doses = {f"{tissue}_Gy": drawn["energy_mJ_per_MBq_h"] * tia for tissue, tia in integrals.items()}
    whole = _rest_g(drawn) * _tia_per_g(drawn, "rest", rest_suv(drawn))
    whole = whole + sum(drawn[f"{tissue}_mass_g"] * tia for tissue, tia in integrals.items())
    per_MBq_h = drawn["photon_Gy_kg23_per_MBq_h"] / drawn["body_mass_kg"] ** (2 / 3)
    return doses | {"marrow_photon_Gy": per_MBq_h * whole}


def _tia_per_g(drawn: dict[str, np.ndarray], tissue: str, suv: np.ndarray) -> np.ndarray:
    """Time-integrated activity of a gram of tissue, MBq h/g, [patient]."""
    at_once = suv * drawn["activity_MBq"] / (G_PER_KG * drawn["body_mass_kg"])
    return at_once / (drawn[f"{tissue}_clearance_per_h"] + drawn["decay_per_h"])
