"""A second way to the daughters' decays: all atoms of a chain in all compartments, integrated in time by scipy.

Shares with `pbpk` the nuclide table and the numbers of a `Redistribution`, not the closed form: the matrix is put
together here, state by state, and solved with an implicit method that knows nothing of its structure.
"""

from __future__ import annotations

import csv
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp
from scipy.linalg import expm
from scipy.sparse import csc_matrix

from dose.nuclides import known_nuclides, radionuclide
from pbpk.daughters import daughters
from pbpk.freed import typical
from pbpk.parameters import Covariates, ligand
from pbpk.scaling import kinetics, physiology
from pbpk.solve import segments, solve

REGIONS = ("blood", "kidneys", "liver", "bone", "tumour_1", "remainder")
MASSES_g = dict(zip(REGIONS, (5300.0, 310.0, 1800.0, 5500.0, 20.0, 60000.0), strict=True))
AMPLITUDE_MBq = np.array([[6.0, -0.0], [2.0, -1.9], [1.0, -0.8], [0.5, -0.3], [1.5, -1.5], [3.0, -1.0]])
"""Parent at time 0 in each region: slow and fast part of A = a1 exp(-(l+k1) t) + a2 exp(-(l+k2) t)."""
BIOLOGICAL_PER_H = np.array([[0.3, 5.0], [0.02, 0.6], [0.01, 0.5], [0.005, 0.4], [0.004, 0.3], [0.05, 0.7]])
INTEGRATED = 1e-6
"""Relative agreement asked for: Radau at rtol 1e-9 with its cubic interpolant between steps."""
LEFT, FIRST_PANEL_H, PANELS, POINTS = 40, 1e-5, 120, 8
"""Followed for 40 mean lives of the slowest; Gauss-Legendre quadrature on panels in geometric order."""
GIVEN_MBq = 7.7
"""Mean activity of the five patients of Liubchenko 2024."""
KEPT_PLACES = {"kidneys": "kidneys", "liver": "liver", "bone": "bone"}
"""Kinds of the table that have a region of their own here; all others are the tumour's and the remainder's, by mass."""


def _slopes(parent: str):
    return BIOLOGICAL_PER_H + radionuclide(parent).decay_constant_per_h


def parent_TIA_MBq_h(parent: str):
    return jnp.asarray(np.sum(AMPLITUDE_MBq / _slopes(parent), axis=1))


def table(element: str) -> list[dict[str, str]]:
    path = Path(__file__).resolve().parents[2] / "pbpk/data/daughters.csv"
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [r for r in csv.DictReader(lines) if r["element"] == element and r["parameter"] == "transfer"]


def _states(parent: str):
    """Names of the states: (nuclide, "held"/"loose"/compartment, region or "")."""
    found, order = [], []
    queue = [parent]
    while queue:
        for name, _ in radionuclide(queue.pop(0)).progeny:
            if name in known_nuclides():
                order = [n for n in order if n != name] + [name]
                queue.append(name)
    for name in order:
        found += [(name, state, region) for region in REGIONS for state in ("held", "loose")]
        places = {p for r in table(_symbol(name)) for p in (r["source"], r["target"]) if not p.startswith("excreta")}
        found += [(name, place, "") for place in sorted(places)]
    return order, {state: k for k, state in enumerate(found)}


def _symbol(name: str) -> str:
    return "".join(c for c in name if c.isalpha())


def _region_parts(place: str):
    """Where a compartment lies: (region, part)."""
    kind = place.split("/")[0]
    if kind == "blood":
        return [("blood", 1.0)]
    if kind in KEPT_PLACES:
        return [(KEPT_PLACES[kind], 1.0)]
    total = MASSES_g["tumour_1"] + MASSES_g["remainder"]
    return [(region, MASSES_g[region] / total) for region in ("tumour_1", "remainder")]


def integrated_TIA_MBq_h(parent: str, redistribution) -> dict[str, np.ndarray]:
    """TIA [region] of each daughter; atoms are counted in MBq h, so a birth rate is the mother's activity."""
    order, at = _states(parent)
    held = dict(zip(REGIONS, np.asarray(redistribution.held), strict=True))
    kept = float(redistribution.chelate_kept)
    decay = {n: radionuclide(n).decay_constant_per_h for n in order}
    # rows of `home` say in which region each state's decays are counted
    home = {s: [(s[2], 1.0)] if s[2] else _region_parts(s[1]) for s in at}
    matrix, forcing = np.zeros((len(at), len(at))), np.zeros((len(at), len(REGIONS)))

    def birth(column, mother, region, amount, into):
        for daughter, branching in radionuclide(mother).progeny:
            if daughter not in order:
                continue
            stays = held[region]
            if mother == parent and daughter[:3] == parent[:3]:
                stays = stays + (1 - stays) * kept
            into[at[daughter, "held", region], column] += branching * stays * amount
            plasma = (daughter, "blood", "")
            loose = plasma if region == "blood" and plasma in at else (daughter, "loose", region)
            into[at[loose], column] += branching * (1 - stays) * amount

    for column, region in enumerate(REGIONS):
        birth(column, parent, region, 1.0, forcing)
    for state, k in at.items():
        name, place, region = state
        matrix[k, k] -= decay[name]
        for where, part in home[state]:
            birth(k, name, where, part * decay[name], matrix)
        element = redistribution.elements.get(_symbol(name))
        if place == "loose" and element is not None:
            escape = float(element.escape_per_h)
            matrix[k, k] -= escape
            matrix[at[name, "blood", ""], k] += escape
        if not region:
            rates = np.asarray(element.rate_per_h)
            for row, rate in zip(table(_symbol(name)), rates, strict=True):
                if row["source"] == place:
                    matrix[k, k] -= rate
                    if (name, row["target"], "") in at:
                        matrix[at[name, row["target"], ""], k] += rate
    atoms = _integral(matrix, forcing, parent, min(decay.values()))
    tia = {n: np.zeros(len(REGIONS)) for n in order}
    for state, k in at.items():
        for where, part in home[state]:
            tia[state[0]][REGIONS.index(where)] += part * decay[state[0]] * atoms[k]
    return tia


def _integral(matrix, forcing, parent: str, slowest: float) -> np.ndarray:
    """Time integral of every state: Radau steps from 0 to when nothing is left, then quadrature of what they gave.

    The quadrature is apart because a Runge-Kutta method that carries the integral along as a state obeys the linear
    relation of the closed form at any step length: it would test the matrix, not the time course.
    """
    slopes = _slopes(parent)
    end = LEFT / min(slowest, slopes.min())
    edges = np.concatenate([[0.0], np.geomspace(FIRST_PANEL_H, end, PANELS)])
    nodes, weights = np.polynomial.legendre.leggauss(POINTS)
    half = np.diff(edges) / 2
    times = (edges[:-1] + half)[:, None] + half[:, None] * nodes
    slope = lambda t, y: matrix @ y + forcing @ np.sum(AMPLITUDE_MBq * np.exp(-slopes * t), axis=1)
    start = np.zeros(len(matrix))
    sparse = csc_matrix(matrix)
    done = solve_ivp(slope, (0, end), start, "Radau", times.ravel(), rtol=1e-9, atol=1e-16, jac=sparse, first_step=1e-9)
    return done.y @ (half[:, None] * weights).ravel()


def bismuth_in_a_volunteer() -> tuple[float, float, float]:
    """Stable bismuth injected at time 0: in blood at 7 h, lost by 47 h, liver's part of the body at 72 h."""
    rows = table("Bi")
    places = sorted({p for r in rows for p in (r["source"], r["target"])})
    matrix = np.zeros((len(places), len(places)))
    for row in rows:
        k, to, rate = places.index(row["source"]), places.index(row["target"]), float(row["value"]) / 24
        matrix[k, k] -= rate
        matrix[to, k] += rate
    start = np.eye(len(places))[places.index("blood")]

    def part(hours, word):
        amounts = expm(hours * matrix) @ start
        return sum(a for a, p in zip(amounts, places, strict=True) if p.split("/")[0] == word)

    return part(7, "blood"), part(47, "excreta"), part(72, "liver") / (1 - part(72, "excreta"))


def psma_patient_ratios(hours=(24.0, 48.0)) -> np.ndarray:
    """213Bi over 221Fr activity in kidneys and tumour [region, time] of the default patient after 225Ac-PSMA-I&T.

    The map is linear and its slowest daughter (66 min mean life) far quicker than the organs (a day): applied to the
    parent's activities, it gives the daughters' at that time.
    """
    nuclide, drug, patient = radionuclide("225Ac"), ligand("PSMA-I&T"), Covariates.of()
    body = physiology(patient, drug.target, {"tumour_1": 50.0, "tumour_rest": 200.0})
    kin = kinetics(body, patient, drug, nuclide, {})
    course = segments([0.0], [0.0], [100.0], [GIVEN_MBq / nuclide.activity_MBq_per_nmol], 60 * np.asarray(hours), 3000)
    at = [int(np.argmin(np.abs(course.end_min - 60 * hour))) for hour in hours]
    solution = solve(kin, course)
    organ, blood = solution.hot.organ_total(solution.layout), solution.hot.blood.sum(axis=1, keepdims=True)
    pools = jnp.moveaxis(jnp.concatenate([organ, blood], axis=1)[jnp.asarray(at)], 1, 0)
    activity_MBq = nuclide.activity_MBq_per_nmol * pools
    regions = (*body.organs, "blood")
    masses = dict(zip(body.organs, 1000 * body.volume_L, strict=True)) | {"blood": MASSES_g["blood"]}
    found = daughters("225Ac", activity_MBq[..., 0], typical(regions, masses)).tia_MBq_h
    return np.asarray(found["213Bi"] / found["221Fr"])[[regions.index("kidney_left"), regions.index("tumour_1")]]
