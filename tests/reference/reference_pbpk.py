"""Reference solutions of the whole-body model as `Kinetics` and `Segments`, and the default patient of the tests.

Each case of shared/data/pbpk is a JSON file of anatomy, ligand and administrations beside a CSV of amounts over time.
"""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from dose.nuclides import radionuclide
from pbpk.anatomy import Anatomy
from pbpk.check import FRACTIONS
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import kinetics, physiology
from pbpk.solve import Segments, Solution, segments
from pbpk.state import LEDGER

CASES = ("A", "B", "C", "D")
LEADING = ("Lungs", "Liver", "Spleen", "GI", "Kidney")
"""The organs whose place in `Kinetics` has a meaning: lungs, liver, the two that drain into it, kidneys."""
POOL_SUFFIXES = {
    "vascular": "Vas", "interstitial": "Int", "transit": "Intera", "bound": "Bound", "internalised": "Intern",
}  # fmt: skip
REPAIR_PER_MIN = np.log(2) / 168
WEEKS_6_MIN = 6 * 7 * 24 * 60


def default_patient() -> Kinetics:
    """Typical man with one tumour of 20 mL and the typical remaining burden; 177Lu-PSMA-617."""
    patient = Covariates.of(weight_kg=80, height_m=1.711, haematocrit=0.42, gfr_mL_min=100)
    drug = ligand("PSMA-617")
    body = physiology(patient, drug.target, {"tumour_1": 20.0})
    return kinetics(body, patient, drug, radionuclide("177Lu"), {})


def every_option() -> Kinetics:
    """A man with every option: parts of kidneys, small glands, albumin, ligand that returns to plasma, and bile."""
    patient = Covariates.of(gfr_mL_min=90)
    drug = ligand("PSMA-617").with_values(
        "PSMA-617 on albumin",
        {("KD_albumin", ""): 4e5, ("kPS_albumin", "tumour"): 0.02, ("returned_fraction", "default"): 0.4,
         ("biliary_fraction", ""): 0.7},
    )  # fmt: skip
    body = physiology(patient, drug.target, {"tumour_1": 20.0}, Anatomy(kidney_parts=True, small_glands=True))
    return kinetics(body, patient, drug, radionuclide("177Lu"), {})


def varied(kin: Kinetics, rng, count: int, log_sd: float) -> Kinetics:
    """`count` patients whose every field but decay and fractions is multiplied by a log-normal number of its own."""
    spread = lambda x: np.repeat(x, count, axis=-1) * np.exp(log_sd * rng.standard_normal((*x.shape[:-1], count)))
    many = jax.tree.map(lambda x: spread(np.asarray(x)), kin)
    held = lambda k: [getattr(k, name) for name in (*FRACTIONS, "decay")]
    return eqx.tree_at(held, many, [np.repeat(np.asarray(x), count, axis=-1) for x in held(kin)])


def bolus(total_nmol=100.0, hot_nmol=10.0, ask_min=(), end_min=1440.0) -> Segments:
    """One bolus at time 0."""
    return segments([0.0], [0.0], [total_nmol], [hot_nmol], ask_min, end_min)


def load(case: str, shared: Path) -> tuple[Kinetics, Segments, list[str], np.ndarray]:
    """Kinetics, segments asked at every time of the table, its header, and its rows [time, column]."""
    described = next((shared / "data" / "pbpk").glob(f"ref_{case}_*.json"))
    with described.with_suffix(".csv").open(encoding="utf-8", newline="") as file:
        header, *lines = csv.reader(file)
    table = np.array(lines, float)
    given = json.loads(described.read_text(encoding="utf-8"))
    return _kinetics(given["organs"], given["globals"]), _segments(given["administrations"], table[:, 0]), header, table


def _kinetics(organs: dict[str, dict[str, float]], common: dict[str, float]) -> Kinetics:
    binds = [name for name in organs if name not in LEADING and organs[name].get("R0", 0.0) > 0]
    others = [name for name in organs if name not in LEADING and name not in binds]
    names = (*LEADING, *binds, *others)
    column = lambda key: jnp.array([[organs[name].get(key, 0.0)] for name in names])
    in_kidney = lambda value, elsewhere: jnp.array([[value if name == "Kidney" else elsewhere] for name in names])
    one = lambda value: jnp.array([float(value)])
    interstitial = column("V_interstitial")
    return Kinetics(
        plasma_flow=column("F"),
        vascular=column("V_vascular"),
        interstitial=jnp.where(interstitial > 0, interstitial, 1.0),
        transit=in_kidney(common["V_kidney_intracellular"], 1.0),
        permeability=column("PS"),
        filtration=in_kidney(common["GFR"] * common["phi"], 0.0),
        receptors=column("R0"),
        internalisation=column("lambda_int"),
        release=column("lambda_rel"),
        nonsaturable=0 * interstitial,
        returned_fraction=0 * interstitial,
        albumin_permeability=0 * interstitial,
        repair=jnp.full_like(interstitial, REPAIR_PER_MIN),
        k_on=one(common["k_on"]),
        k_off=one(common["k_off"]),
        excreted_fraction=one(common["f_exc"]),
        biliary_fraction=one(0),
        unbound_fraction=one(1),
        arterial=one(common["V_arterial"]),
        venous=one(common["V_venous"]),
        protein_binding=one(0),
        protein_return=one(0),
        decay=one(common["lambda_phys"]),
        organs=names,
        portal_count=2,
        kidney_count=1,
        specific_count=len(LEADING) - 1 + len(binds),
    )


def _segments(given: list[dict[str, float]], t_min) -> Segments:
    start, duration, hot, cold = (
        np.array([g[key] for g in given]) for key in ("t_min", "duration_min", "hot_nmol", "cold_nmol")
    )
    return segments(start, duration, hot + cold, hot, t_min, t_min[-1])


class Flat(NamedTuple):
    """One patient: amounts [pool, organ, time] of both species, blood and ledger [row, time], organ integrals."""

    total: np.ndarray
    hot: np.ndarray
    total_blood: np.ndarray
    hot_blood: np.ndarray
    organ: np.ndarray
    ledger: np.ndarray


def flat(solution: Solution, at=slice(None)) -> Flat:
    """The solution of the first patient at some of its segments' ends, time last."""
    last = lambda x: np.moveaxis(np.asarray(x)[at][..., 0], 0, -1)
    total, hot, integrals = solution.total, solution.hot, solution.integrals
    by_organ = (last(x.by_organ(solution.layout)) for x in (total, hot))
    return Flat(*by_organ, last(total.blood), last(hot.blood), last(integrals.organ), last(integrals.ledger))


def errors(solution: Solution, kin: Kinetics, seg: Segments, header: list[str], table: np.ndarray) -> dict[str, float]:
    """Largest error of every column over the column's peak, from the first time after 0 on; a zero column is absent.

    Hot integrals are compared per organ, at the last time, relative to their value; keys "<organ>.hot_integral".
    """
    theirs = dict(zip(header, table[1:].T, strict=True))
    nearest = np.argmin(np.abs(seg.end_min[None, :] - table[1:, :1]), axis=1)
    state = flat(solution, nearest)
    ours = _columns(state, kin.organs)
    found = {name: _relative(ours[name], theirs[name]) for name in ours if name in theirs and theirs[name].any()}
    for k, organ in enumerate(kin.organs):
        parts = [theirs.get(f"{organ}{suffix}.hot_integral_nmol_min", [0.0])[-1] for suffix in POOL_SUFFIXES.values()]
        found[f"{organ}.hot_integral"] = _relative(state.organ[k, -1:], sum(parts))
    return found


def _relative(ours, theirs) -> float:
    return float(np.max(np.abs(ours - theirs)) / np.max(np.abs(theirs)))


def _columns(state: Flat, organs) -> dict:
    columns = {f"{name}_hot_nmol": state.ledger[k] for k, name in enumerate(LEDGER)}
    cold = (state.total - state.hot, state.total_blood - state.hot_blood)
    for kind, (pools, blood) in (("hot", (state.hot, state.hot_blood)), ("cold", cold)):
        for p, suffix in enumerate(POOL_SUFFIXES.values()):
            columns |= {f"{o}{suffix}.{kind}_nmol": pools[p, k] for k, o in enumerate(organs)}
        columns |= {f"{name}.{kind}_nmol": blood[k] for k, name in enumerate(("Vein", "Art"))}
    return columns
