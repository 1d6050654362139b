"""What one MBq does to each patient of a block: the PBPK model of every one solved, and doses made of it.

The block is solved in lockstep at a few tumour sizes, between which Chebyshev polynomials run
(`twin.outlook.surface`).
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from calibration.forward import pool_weights
from calibration.parameters import Scaling
from dose.nuclides import radionuclide
from dose.organ import HEAVIEST_G, dose_coefficient_Gy_per_MBq_h
from dose.regions import density_g_per_mL, is_tumour
from dose.tissues import tissue
from pbpk.anatomy import parts
from pbpk.batch import Status
from pbpk.kinetics import Kinetics
from pbpk.parameters import ligand
from pbpk.population import batch_kinetics
from twin.deposit import constants, marrow_photons
from twin.outlook.nodes import Ask, Solved, per_MBq, resized
from twin.outlook.surface import Axis
from twin.study import split_tracer
from twin.trial.chains import chain_factors
from twin.trial.design import TRIAL_ORGANS
from twin.trial.people import Group, offsets

SIZE = Axis(0.02, 3.0, 4)
ONE = Axis(1.0, 1.0, 1)
LEFT_H = np.array([1008.0])
USUAL_G = 3.0
"""Mass of a lesion whose energy per decay stands in for a class without any."""
MASS_NODES, SMALLEST_G = 40, 0.02
"""Masses (g) between which the energy absorbed per decay is interpolated; lesions are of 1 mL and more."""
SMALLEST = 1e-300


@dataclass(frozen=True)
class Source:
    """What is given: tracer and ligand amount (nmol), and the hours at which its activity is wanted."""

    tracer: str
    amount_nmol: float
    times_h: tuple[float, ...]


@dataclass(frozen=True)
class Truth:
    """Per MBq of one source, logs [size term, patient, region] of dose, weighted dose, what the BED adds and TIA (Gy,
    Gy, Gy/MBq^2, MBq h); `activity` [patient, region, time] and `rest` [patient, time], what is in the body beside the
    regions (MBq), at `times_h`; `mass_g` [patient, region]; `status` [patient]."""

    regions: tuple[str, ...]
    times_h: tuple[float, ...]
    physical_half_life_h: float
    size: Axis
    dose: np.ndarray
    weighted: np.ndarray
    quadratic: np.ndarray
    tia: np.ndarray
    activity: np.ndarray
    rest: np.ndarray
    mass_g: np.ndarray
    status: np.ndarray

    @property
    def tumours(self) -> np.ndarray:
        return np.flatnonzero([is_tumour(r) for r in self.regions])


def truth_of(group: Group, source: Source) -> Truth:
    """The block's patients under one source."""
    drug, nuclide = split_tracer(source.tracer, "tracer")
    size = SIZE if group.design.cohort.response else ONE
    ask = Ask(np.full(size.nodes, source.amount_nmol), size.values, 0.0, 0.0, 0.0, np.array(source.times_h), LEFT_H)
    kin = kinetics_of(group, drug, nuclide)
    nodes = [_node(kin, nuclide, ask, n) for n in range(size.nodes)]
    made = [_deposited(group, found, (drug, nuclide), s) for (found, _), s in zip(nodes, size.values, strict=True)]
    fit = lambda k: size.fit(np.log(np.maximum(np.stack([m[k] for m in made]), SMALLEST)))
    weights = np.stack([pool_weights(r, group.bodies.organs, frozenset()) for r in regions_of(group)])
    rest = np.maximum(pool_weights("whole_body", group.bodies.organs, frozenset()) - weights.sum(axis=0), 0.0)
    status = np.max([s for _, s in nodes], axis=0)
    return Truth(
        regions=regions_of(group), times_h=source.times_h,
        physical_half_life_h=radionuclide(nuclide).half_life_h, size=size,
        dose=fit(0), weighted=fit(1), quadratic=fit(2), tia=fit(3),
        activity=_now(size, np.stack([np.einsum("rp,ptk->krt", weights, found.activity) for found, _ in nodes])),
        rest=_now(size, np.stack([np.einsum("p,ptk->kt", rest, found.activity) for found, _ in nodes])),
        mass_g=_masses(group), status=np.where(group.bodies.possible, status, Status.IMPOSSIBLE),
    )  # fmt: skip


def _now(size: Axis, nodes: np.ndarray) -> np.ndarray:
    """Values [size node, ...] with tumours of their first size, between the nodes."""
    terms = size.fit(np.log(np.maximum(nodes, SMALLEST)))
    return np.exp(np.tensordot(np.asarray(size.basis(jnp.asarray(1.0))), terms, axes=1))


def kinetics_of(group: Group, drug: str, nuclide: str) -> Kinetics:
    """Every patient's own rates, as numpy arrays."""
    repair = {o: tissue(o).repair_rate_per_h / 60 for o in group.bodies.organs}
    base = batch_kinetics(group.bodies, group.people, ligand(drug), radionuclide(nuclide), repair)
    names, moved = offsets(group, ligand(drug))
    kin = Scaling.of(names, group.bodies.organs).apply(jax.tree.map(jnp.asarray, base), jnp.asarray(moved.T))
    uptake = np.ones((len(kin.organs), group.count))
    tumours = [k for k, o in enumerate(kin.organs) if is_tumour(o)]
    uptake[tumours] = group.class_uptake.T
    values = {f.name: np.asarray(getattr(kin, f.name)) for f in fields(kin) if hasattr(getattr(kin, f.name), "shape")}
    same = {f.name: getattr(kin, f.name) for f in fields(kin) if f.name not in values}
    return Kinetics(**values | {"receptors": values["receptors"] * uptake}, **same)


def _node(kin: Kinetics, nuclide: str, ask: Ask, node: int) -> tuple[Solved, np.ndarray]:
    """The block at one size, and the status of each patient; who fails together is tried alone, in the same shape."""
    tumours = [o for o in kin.organs if is_tumour(o)]
    at = lambda k: _solved(resized(k, tumours, float(ask.size[node])), nuclide, ask, float(ask.amount_nmol[node]))
    found, status = at(kin)
    for k in np.flatnonzero(status != Status.OK):
        alone, own = at(jax.tree.map(lambda x, k=k: np.repeat(x[..., k : k + 1], kin.patients, axis=-1), kin))
        for whole, part in zip(found, alone, strict=True):
            whole[..., k] = part[..., 0]
        status[k] = own[0]
    return found, status


def _solved(kin: Kinetics, nuclide: str, ask: Ask, amount_nmol: float) -> tuple[Solved, np.ndarray]:
    found, failed = per_MBq(jax.tree.map(jnp.asarray, kin), radionuclide(nuclide), ask, amount_nmol)
    found = Solved(*(np.array(x) for x in found))
    finite = np.isfinite(found.tia).all(axis=0) & np.isfinite(found.kill).all(axis=0)
    return found, np.where(finite, Status.STEP_LIMIT if failed else Status.OK, Status.NOT_FINITE)


def regions_of(group: Group) -> tuple[str, ...]:
    organs = group.bodies.organs
    return (*(r for r in TRIAL_ORGANS if parts(r, organs)), *(o for o in organs if is_tumour(o)))


def _masses(group: Group) -> np.ndarray:
    """Mass of each region in g, [patient, region]."""
    place = {o: k for k, o in enumerate(group.bodies.organs)}
    of = lambda r: sum(group.bodies.volume_L[place[o]] for o in parts(r, group.bodies.organs))
    return np.stack([1000 * of(r) * density_g_per_mL(r) for r in regions_of(group)], axis=1)


def _deposited(group: Group, found: Solved, tracer: tuple[str, str], size: float):
    """Dose, weighted dose, quadratic part and TIA per MBq, each [patient, region], with tumours of one size."""
    mass, columns, nuclide = _masses(group), [], tracer[1]
    factors = chain_factors(*tracer, regions_of(group))
    for k, region in enumerate(regions_of(group)):
        weights = pool_weights(region, group.bodies.organs, frozenset())
        grams = mass[:, k] * (size if is_tumour(region) else 1.0)
        total, low_let = _coefficient(group, region, nuclide, grams, size)
        total = total * factors[region]
        dose = (weights @ found.tia) * total
        if region == "red_marrow":
            dose = dose + marrow_photons(nuclide) * found.tia.sum(axis=0)
        weighted = dose * (low_let + (1 - low_let) * constants()["alpha_rbe"])
        rows = [group.bodies.organs.index(o) for o in parts(region, group.bodies.organs)]
        root = np.sum([np.sqrt(np.maximum(found.kill[row], 0.0)) for row in rows], axis=0)
        square = (root * total * low_let) ** 2
        columns.append((dose, weighted, 2 * square / tissue(region).alpha_beta_Gy, weights @ found.tia))
    return tuple(np.stack(x, axis=1) for x in zip(*columns, strict=True))


def _coefficient(group: Group, region: str, nuclide: str, grams: np.ndarray, size: float):
    """Self-dose in Gy per MBq h and its low-LET part, each [patient]. A class of lesions deposits what its lesions do,
    each of its own size: sum of volume times the energy absorbed per decay, over the mass of all."""
    if not is_tumour(region):
        absorbed, low_let = absorbed_energy(region, nuclide)
        return absorbed(grams) / grams, low_let(grams)
    k = int(region.rsplit("_", 1)[1]) - 1
    absorbed, low_let = absorbed_energy("tumour_1", nuclide)
    mL = np.where(group.classes == k, group.lesions.volume_mL, 0.0)
    lesion_g = np.maximum(mL * size * density_g_per_mL(region), SMALLEST_G)
    mean = np.sum(mL * absorbed(lesion_g), axis=1)
    share = np.where(mL.sum(axis=1) > 0, mean / np.maximum(mL.sum(axis=1), 1e-12), absorbed(USUAL_G))
    return share / grams, low_let(np.full(len(grams), USUAL_G))


@cache
def absorbed_energy(region: str, nuclide: str):
    """Functions of mass (g), between nodes on a log scale: self-dose coefficient times mass, Gy g per MBq h, and the
    low-LET part of it."""
    masses = np.geomspace(SMALLEST_G, HEAVIEST_G, MASS_NODES)
    rows = [dose_coefficient_Gy_per_MBq_h(region, nuclide, float(m)) for m in masses]
    log, values = np.log(masses), np.array([row.total * m for row, m in zip(rows, masses, strict=True)])
    low = np.array([(row.electron + row.photon) / row.total for row in rows])
    return lambda grams: np.interp(np.log(grams), log, values), lambda grams: np.interp(np.log(grams), log, low)
