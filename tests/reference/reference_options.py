"""Models with options, and ligand on albumin as pools of its own: what `Kinetics.unbound_fraction` is the limit of."""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from dose.nuclides import radionuclide
from pbpk.anatomy import STANDARD
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, ligand
from pbpk.reactions import NAME, network
from pbpk.scaling import kinetics, physiology
from pbpk.solve import Segments, solve

PATIENT = Covariates.of()


def made(name="PSMA-617", anatomy=STANDARD, values=None, **options) -> Kinetics:
    """The default man with a 20 mL tumour; `values` change the ligand."""
    drug = ligand(name).with_values("changed", values) if values else ligand(name)
    body = physiology(PATIENT, drug.target, {"tumour_1": 20.0}, anatomy)
    return kinetics(body, PATIENT, drug, radionuclide("177Lu"), {}, **options)


def tia(kin: Kinetics, seg: Segments) -> dict[str, float]:
    """Time-integrated amount of each organ at the end, nmol min."""
    found = solve(kin, seg, bed=False)
    assert not found.failed
    return dict(zip(kin.organs, np.asarray(found.integrals.organ)[-1, :, 0], strict=True))


def valued(formula, values):
    """A formula of the reaction network, which is made of names, numbers and + - * /."""
    return eval(formula, {}, values)  # noqa: S307


def explicit_albumin(kin: Kinetics, total_nmol, k_off_per_min, minutes) -> dict[str, float]:
    """Organ TIA (nmol min) when each plasma pool has a twin on albumin that flows along and exchanges with it.

    Made from the reactions that the SBML export writes, as text: it shares no equation with the solver.
    """
    free_fraction = float(kin.unbound_fraction[0])
    net = network(eqx.tree_at(lambda k: (k.unbound_fraction, k.decay), kin, (jnp.ones(1), jnp.ones(1) * 1e-300)))
    plasma = [p for p in net.pools if p.endswith("_vascular") or p in ("venous", "arterial")]
    twin = {p: f"{p}_albumin" for p in plasma}
    rows = [(r.source, r.target, r.rate) for r in net.reactions]
    rows += [(twin[s], twin[t], rate) for s, t, rate in rows if s in twin and t in twin]
    rows += [(p, twin[p], "to_albumin") for p in plasma] + [(twin[p], p, "from_albumin") for p in plasma]
    leak = [o for o, x in zip(kin.organs, np.asarray(kin.albumin_permeability)[:, 0], strict=True) if x > 0]
    values = {name: value for name, (value, _) in net.parameters.items()} | net.volumes_L
    values |= {f"{o}_albumin_permeability": float(kin.albumin_permeability[kin.organs.index(o), 0]) for o in leak}
    rows += [(f"{o}_vascular_albumin", f"{o}_interstitial", f"{o}_albumin_permeability / {o}_vascular") for o in leak]
    values |= {"to_albumin": k_off_per_min * (1 / free_fraction - 1), "from_albumin": k_off_per_min}
    pools = sorted({p for s, t, _ in rows for p in (s, t)})
    at = {p: k for k, p in enumerate(pools)}
    rules = {name: formula.replace("1 dimensionless", "1") for name, (formula, _) in net.rules.items()}
    fixed = {n: f for n, f in rules.items() if not n.endswith("_free_receptors")}
    for _ in fixed:
        values |= {n: valued(f, values) for n, f in fixed.items() if set(NAME.findall(f)) <= set(values)}
    free = {n: (values[n.replace("_free_", "_")], at[n.replace("_free_receptors", "_bound")])
            for n in rules if n.endswith("_free_receptors")}  # fmt: skip
    source, target = (np.array([at[row[k]] for row in rows]) for k in (0, 1))
    site = [next((n for n in NAME.findall(rate) if n in free), None) for *_, rate in rows]
    rate = np.array([valued(row[2], values | dict.fromkeys(free, 1.0)) for row in rows])
    binds = np.array([s is not None for s in site])
    capacity, bound = (np.array([free[s][k] if s else 0 for s in site]) for k in (0, 1))

    def derivative(_, y):
        flow = rate * y[source] * np.where(binds, capacity - y[bound], 1.0)
        change = np.zeros(len(pools))
        np.add.at(change, target, flow)
        np.add.at(change, source, -flow)
        return np.concatenate([change, y[: len(pools)]])

    start = np.zeros(2 * len(pools))
    start[at["venous"]], start[at[twin["venous"]]] = total_nmol * free_fraction, total_nmol * (1 - free_fraction)
    end = solve_ivp(derivative, (0, minutes), start, method="BDF", rtol=1e-7, atol=1e-9).y[len(pools) :, -1]
    inside = {o: [*net.regions[o], f"{o}_vascular_albumin"] for o in kin.organs}
    return {o: sum(end[at[p]] for p in names) for o, names in inside.items()}
