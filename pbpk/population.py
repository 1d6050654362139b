"""Virtual people: covariates, organ sizes and perfusion of many patients, and their `Kinetics` in one batch.

Patient k's random numbers come from `fold_in(key, k)`, so that a patient is the same whatever range is asked for.
Covariates hang together by construction: weight follows from height and body mass index, GFR falls with age. Every
number is a row of pbpk/data/people.csv; draws are cut at its `low` and `high`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache, partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from scipy.special import ndtr

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from dose.provenance import load_table
from pbpk.anatomy import KIDNEYS, filters
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, Ligand
from pbpk.physiology import Physiology, physiology
from pbpk.scaling import kinetics

VARIED = ("kidneys", "liver", "spleen", "parotid", "submandibular", "lacrimal")
"""Organs whose size varies beside the body's; both kidneys vary together."""
STAND_IN = 1e-3
"""Share of a man's organ that stands in for one that women lack, so that all patients have one layout."""
TARGETS = ("psma", "sstr")
NORMALS = 8 + len(VARIED)
"""Normal numbers of a patient: sex, age, height, body mass index, GFR, haematocrit, perfusions, organ sizes."""
DRAWN = 48
"""Patients whose random numbers one program draws."""
AGE_OF_GFR = 70.0
"""Age (y) at which people.csv states the GFR."""


class People(NamedTuple):
    """Arrays [patient]; `organ_size` [patient, organ of VARIED] relative to typical, `perfusion` of the body and
    `tumour_perfusion` relative to typical."""

    number: np.ndarray
    female: np.ndarray
    age_y: np.ndarray
    weight_kg: np.ndarray
    height_m: np.ndarray
    gfr_mL_min: np.ndarray
    haematocrit: np.ndarray
    organ_size: np.ndarray
    perfusion: np.ndarray
    tumour_perfusion: np.ndarray

    @property
    def count(self) -> int:
        return len(self.number)

    def covariates(self, k: int) -> Covariates:
        names = ("age_y", "weight_kg", "height_m", "gfr_mL_min", "haematocrit")
        sex = "female" if self.female[k] else "male"
        return Covariates(sex=sex, **{name: float(getattr(self, name)[k]) for name in names})


@cache
def _rows() -> dict[tuple[str, str, str], dict[str, str]]:
    return {(r["quantity"], r["target"], r["sex"]): r for r in load_table("pbpk", "people.csv")}


def _row(quantity: str, target: str = "any", sex: str = "") -> dict[str, str]:
    table = _rows()
    return table.get((quantity, target, sex)) or table[quantity, "any", sex]


def normals(key, first: int, last: int, count: int) -> np.ndarray:
    """Standard normal numbers [patient, count] of patients first .. last - 1.

    Drawn in blocks that begin at multiples of `DRAWN`, so that each patient stands at the same place of the same
    program and gets the same numbers to the last bit, whatever range is asked for.
    """
    begin = first - first % DRAWN
    blocks = [np.asarray(_normals(key, np.uint32(k), count)) for k in range(begin, last, DRAWN)]
    return np.concatenate(blocks)[first - begin : last - begin]


@partial(jax.jit, static_argnames="count")
def _normals(key, begin, count: int):
    numbers = begin + jnp.arange(DRAWN, dtype=jnp.uint32)
    return jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(key, k), (count,)))(numbers)


def drawn(row: dict[str, str], normal: np.ndarray, shift=0.0) -> np.ndarray:
    """A row's law at standard normal numbers, `shift` added to its middle, cut at its ends."""
    value, spread = float(row["value"]) + shift, float(row["spread"])
    if row["law"] == "lognormal":
        sd = np.sqrt(np.log1p(spread**2))
        found = value * np.exp(sd * normal)
    else:
        found = value + spread * normal
    return np.clip(found, float(row["low"]), float(row["high"]))


def draw_people(target: str, key, first: int, last: int, known: Mapping[str, np.ndarray] | None = None) -> People:
    """Patients first .. last - 1 of a population; `target` is "psma" or "sstr".

    `known` holds fields of `People` that are not drawn, [patient]; what depends on them (height on sex, weight on
    height, GFR on age) is drawn for them.

    Raises:
        InputError: an unknown target.
    """
    if target not in TARGETS:
        raise InputError(describe("population", repr(target), f"one of {TARGETS}", "take the ligand's target"))
    number = np.arange(first, last)
    z, known = normals(key, first, last, NORMALS), known or {}
    female = known.get("female", _below(z[:, 0], float(_row("female_share", target)["value"])))
    age = known.get("age_y", drawn(_row("age_y", target), z[:, 1]))
    both = (drawn(_row("height_m", "any", s), z[:, 2]) for s in ("female", "male"))
    height = known.get("height_m", np.where(female, *both))
    weight = known.get("weight_kg", drawn(_row("bmi_kg_m2"), z[:, 3]) * height**2)
    loss = float(_row("gfr_per_year")["value"]) * (age - AGE_OF_GFR)
    sizes = [drawn(_row("volume", organ), z[:, 8 + k]) for k, organ in enumerate(VARIED)]
    return People(
        number, female, age, weight, height,
        known.get("gfr_mL_min", drawn(_row("gfr_mL_min"), z[:, 4], loss)),
        known.get("haematocrit", drawn(_row("haematocrit", target), z[:, 5])),
        np.stack(sizes, axis=1),
        drawn(_row("perfusion", "body"), z[:, 6]),
        drawn(_row("perfusion", "tumour"), z[:, 7]),
    )  # fmt: skip


def typical_gfr_mL_min(target: str) -> float:
    """GFR of a population's typical patient, of the mean age."""
    later = float(_row("age_y", target)["value"]) - AGE_OF_GFR
    return float(_row("gfr_mL_min")["value"]) + float(_row("gfr_per_year")["value"]) * later


def _below(normal: np.ndarray, share: float) -> np.ndarray:
    """True for that share of the patients."""
    return ndtr(normal) < share


class Bodies(NamedTuple):
    """Anatomy of many patients with one layout: arrays [organ, patient] as in `Physiology`, `blood` [2, patient] of
    arterial and venous plasma (L); `possible` [patient] is False where a body has no room for its parts and a typical
    one stands in."""

    organs: tuple[str, ...]
    volume_L: np.ndarray
    vascular_L: np.ndarray
    interstitial_L: np.ndarray
    transit_L: np.ndarray
    plasma_flow_L_min: np.ndarray
    blood_L: np.ndarray
    possible: np.ndarray
    typical: Physiology


PER_ORGAN = ("volume_L", "vascular_L", "interstitial_L", "transit_L", "plasma_flow_L_min")


def bodies(people: People, target: str, tumour_mL: np.ndarray) -> Bodies:
    """Bodies with tumours of `tumour_mL` [patient, tumour] (above zero), named tumour_1, tumour_2, ...

    Where the parts do not fit into a body, it is marked and the reference body stands in.
    """
    names = tuple(f"tumour_{k + 1}" for k in range(tumour_mL.shape[1]))
    none = dict.fromkeys(names, 1.0) | {"tumour_rest": 0.0}
    typical = physiology(Covariates.of(), target, none)
    found, possible = [], np.ones(people.count, bool)
    for k in range(people.count):
        try:
            found.append(_body(people, k, target, dict(zip(names, tumour_mL[k], strict=True)), typical))
        except InputError:
            possible[k] = False
            found.append(typical)
    stacked = (np.stack([getattr(b, name) for b in found], axis=1) for name in PER_ORGAN)
    blood = np.array([[b.arterial_L, b.venous_L] for b in found]).T
    return Bodies(typical.organs, *stacked, blood, possible, typical)


def _body(people: People, k: int, target: str, tumour_mL: dict[str, float], typical: Physiology) -> Physiology:
    size = dict(zip(VARIED, people.organ_size[k], strict=True))
    of = lambda organ: float(typical.volume_L[typical.organs.index(organ)])
    sizes = {o: 1000 * of(o) * size["kidneys" if o in KIDNEYS else o] for o in (*KIDNEYS, *VARIED[1:])}
    patient = people.covariates(k)
    found = physiology(patient, target, sizes | tumour_mL | {"tumour_rest": 0.0})
    return _faster(_one_layout(found, typical), float(people.perfusion[k]), float(people.tumour_perfusion[k]))


def _one_layout(body: Physiology, typical: Physiology) -> Physiology:
    """With a stand-in for organs that this patient's sex lacks."""
    if body.organs == typical.organs:
        return body
    place = {o: k for k, o in enumerate(body.organs)}
    per_organ = (*PER_ORGAN, "kps_per_min")
    columns = {}
    for name in per_organ:
        mine, other = getattr(body, name), getattr(typical, name)
        part = 1.0 if name == "kps_per_min" else STAND_IN
        columns[name] = np.array([mine[place[o]] if o in place else part * x for o, x in zip(typical.organs, other)])
    return replace(body, organs=typical.organs, **columns)


def _faster(body: Physiology, whole: float, tumour: float) -> Physiology:
    """All flows times `whole`, and tumours' times `tumour` besides."""
    factor = np.array([whole * (tumour if o.startswith("tumour") else 1.0) for o in body.organs])
    return replace(body, plasma_flow_L_min=body.plasma_flow_L_min * factor)


def batch_kinetics(found: Bodies, people: People, drug: Ligand, nuclide: Radionuclide, repair_per_min) -> Kinetics:
    """`Kinetics` of all patients at the ligand's typical values, [..., patient]; as `pbpk.scaling.kinetics` makes one.

    Permeability and binding sites are proportional to an organ's volume. Filtration is the reference patient's times
    the patient's GFR over the population's typical one: the ligand tables were fitted to published doses with the
    reference GFR, which is more than most patients of those studies had.
    """
    one = kinetics(found.typical, Covariates.of(), drug, nuclide, repair_per_min)
    size = found.volume_L / found.typical.volume_L[:, None]
    in_kidney = np.array([filters(o) for o in found.organs], float)[:, None] * found.volume_L
    reference = Covariates.of().gfr_mL_min / 1000 * drug.rows["phi", ""].value
    filtered = reference * people.gfr_mL_min / typical_gfr_mL_min(drug.target)
    wide = jax.tree.map(lambda x: np.broadcast_to(np.asarray(x), (*x.shape[:-1], people.count)), one)
    return replace(
        wide,
        plasma_flow=found.plasma_flow_L_min,
        vascular=found.vascular_L,
        interstitial=found.interstitial_L,
        transit=found.transit_L,
        permeability=wide.permeability * size,
        receptors=wide.receptors * size,
        albumin_permeability=wide.albumin_permeability * size,
        filtration=filtered * in_kidney / in_kidney.sum(axis=0),
        arterial=found.blood_L[0],
        venous=found.blood_L[1],
    )
