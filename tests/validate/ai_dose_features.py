"""Virtual patients by whom `dose_features` is judged, and its mechanistic rival: the PBPK twin calibrated to the PET.

The rival is the calibration of virtual trials (`calibration.batched`, as the estimator `laplace`), told what the
network is told: volumes, covariates, what the PET shows of organs and, in classes of similar uptake, of lesions. It
knows the ligands' tables, which the virtual patients were drawn from, and no perfusion.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from calibration import noise
from calibration.batched import Given, Shared, Sweep, laplace_batch, log_tia_sd, scans_of
from calibration.observations import Observations
from calibration.parameters import prior
from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.weights import load_weights
from dose.network.features import predicted
from dose.network.features_input import CONTOURED, FEATURES, ORGANS
from dose.network.features_net import joined
from dose.nuclides import radionuclide
from dose.regions import density_g_per_mL
from dose.tissues import tissue
from pbpk.parameters import Covariates, ligand
from pbpk.population import VARIED, batch_kinetics, bodies
from twin.deposit import marrow_photons
from twin.dose_recipes import DOSE_FEATURES
from twin.study import split_tracer
from twin.trial.people import CLASSES, EMPTY_ML
from twin.trial.physics import SMALLEST_G, absorbed_energy
from twin.virtual_features import (
    MOST_LESIONS,
    USUAL,
    Change,
    Seen,
    Virtual,
    case_of,
    mean_recovery,
    mL_of,
    virtual,
)

SOURCE = "virtual patients of unseen seeds; doses by the PBPK model that also made the training patients"
TESTS = range(TEST_FROM, TEST_FROM + 42)
FEW = range(TEST_FROM, TEST_FROM + 10)
DATA = DOSE_FEATURES.config().data
SSTR = {**DATA, "tracer": "177Lu-DOTATATE", "pet": "68Ga-DOTATATE"}
CHANGES = {
    "GFR of two fifths": Change(gfr=0.4),
    "release faster by half": Change(release=1.5),
    "uptake changed by 20 % between PET and therapy": Change(uptake_log_sd=0.2),
}
PARTS = ("organs", "lesion")


class Set(SimpleNamespace):
    """Test records: `x`, `y` by part (logs), `whose` of each lesion, its patient's row; `patients`."""


def set_of(cases) -> Set:
    """Cases joined as the network's two parts see them."""
    patient, dose, lesion, lesion_dose, whose = joined(cases)
    x = {"organs": patient, "lesion": np.column_stack([patient[whose], lesion])}
    return Set(x=x, y={"organs": dose, "lesion": lesion_dose[:, None]}, whose=whose, patients=len(patient))


@cache
def patients(few: bool = False) -> Set:
    """All test patients, or those of the first blocks."""
    return set_of([_case(seed, "usual", DATA, USUAL) for seed in (FEW if few else TESTS)])


@cache
def changed(words: str) -> Set:
    """Patients of the first blocks, changed, or of another population ("SSTR")."""
    data, change = (SSTR, USUAL) if words == "SSTR" else (DATA, CHANGES[words])
    return set_of([_case(seed, words, data, change) for seed in FEW])


def _case(seed: int, words: str, data, change: Change):
    folder = cases_folder("dose_features_tests", [words, dict(data), vars(change)])
    return kept(folder, str(seed), lambda: case_of(virtual(seed, data, change)))


def answer(part: str, method: str, of: Set, x: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of log doses [record, dose] of a set; `x` in place of its features."""
    return predicted(load_weights(DOSE_FEATURES), part, of.x[part] if x is None else x, method)


def errors(part: str, mean: np.ndarray, of: Set) -> np.ndarray:
    """Absolute relative error in percent, [record, dose]."""
    return 100 * np.abs(np.exp(mean - of.y[part]) - 1)


def by_patient(part: str, mean: np.ndarray, of: Set) -> np.ndarray:
    """Mean absolute relative error in percent of each patient's organs or lesions, [patient]."""
    found = errors(part, mean, of).mean(axis=1)
    if part == "organs":
        return found
    total = np.bincount(of.whose, found, of.patients)
    return total / np.bincount(of.whose, minlength=of.patients)


def r2(part: str, mean: np.ndarray, of: Set) -> np.ndarray:
    """Share of the variance of the log dose that is explained, [dose]."""
    return 1 - np.mean((mean - of.y[part]) ** 2, axis=0) / of.y[part].var(axis=0)


def coverage(part: str, mean: np.ndarray, sd: np.ndarray, of: Set, z: float) -> np.ndarray:
    """Share of true doses within z sds, [dose]."""
    return np.mean(np.abs(mean - of.y[part]) <= z * sd, axis=0)


@cache
def by_twin() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The rival's mean and sd of log doses, for `patients(few=True)`."""
    folder = cases_folder("dose_features_twin", dict(DATA))
    rows = [kept(folder, str(seed), lambda seed=seed: _twin_case(seed)) for seed in FEW]
    return {p: tuple(np.concatenate([r[f"{p}_{w}"] for r in rows]) for w in ("mean", "sd")) for p in PARTS}  # pyright: ignore[reportReturnType]


def _twin_case(seed: int) -> dict[str, np.ndarray]:
    of = virtual(seed, DATA)
    doses, sd, lesions, lesion_sd = rival(of)
    whose, which = np.nonzero((of.lesion_Gy_per_GBq > 0) & (np.arange(lesions.shape[1]) < MOST_LESIONS))
    return {
        "organs_mean": np.log(doses), "organs_sd": sd,
        "lesion_mean": np.log(lesions[whose, which])[:, None], "lesion_sd": lesion_sd[whose, which][:, None],
    }  # fmt: skip


def rival(of: Virtual):
    """Gy/GBq and log sd of organs [patient, organ] and of lesions [patient, lesion]."""
    class_mL, class_MBq = _classes_seen(of)
    people, body = _body(of, class_mL)
    tumours = tuple(f"tumour_{k + 1}" for k in range(CLASSES))
    regions, told = (*ORGANS, *tumours), (*ORGANS, *tumours, "whole_body")
    law = prior(ligand(split_tracer(DATA["tracer"], "tracer")[0]), body.organs, Covariates.of(gfr_mL_min=100.0))
    stage = lambda tracer, use, hour, mean, covariance, seen, sweeps: _fitted(
        body,
        people,
        tracer,
        use,
        scans_of(regions, (hour,), body.organs, told),
        law.names,
        mean,
        covariance,
        seen,
        sweeps,
    )
    seen = np.log(np.concatenate([of.seen.organ_MBq, class_MBq], axis=1).T) - _decay(float(DATA["time_h"]))
    zero = np.zeros((len(law.names), of.group.count))
    full = (Sweep(False, 6), Sweep(False, 6), Sweep(True, 6))
    after = stage(DATA["pet"], "diagnostic", float(DATA["time_h"]), zero, law.covariance, seen, full)
    dark = np.full_like(seen, np.nan)
    then = stage(DATA["tracer"], "therapy", 24.0, after.mean, after.covariance, dark, (Sweep(True, 1),))
    return _doses(of, np.exp(then.log_tia.T), log_tia_sd(then).T, class_mL, class_MBq)


def _decay(time_h: float) -> float:
    return np.log(2) * time_h / radionuclide(split_tracer(DATA["pet"], "pet")[1]).half_life_h


def _fitted(body, people, tracer, use, scans, names, mean, covariance, seen, sweeps):
    drug, nuclide = split_tracer(tracer, "tracer")
    repair = {o: tissue(o).repair_rate_per_h / 60 for o in body.organs}
    kin = jax.tree.map(jnp.asarray, batch_kinetics(body, people, ligand(drug), radionuclide(nuclide), repair))
    regions = (*ORGANS, *(f"tumour_{k + 1}" for k in range(CLASSES)))
    n, one = len(regions), np.ones(len(regions))
    obs = Observations(regions, one, 100 * one, 1e-7 * one, np.nan * one, ("PET",) * n, (0,) * n)
    said = noise.errors(obs)
    shared = Shared(said.shared.loads, np.diag(said.shared.sd**2))
    given = Given(1.0, ligand(drug).typical_amount_nmol(use))
    own = np.diag(said.sd**2)
    return laplace_batch(kin, radionuclide(nuclide), given, names, mean, covariance, scans, seen, own,
                         shared=shared, sweeps=sweeps)  # fmt: skip


def _body(of: Virtual, class_mL: np.ndarray):
    """People and bodies as measured: contoured volumes, typical perfusion and lacrimal glands."""
    people, sizes = of.group.people, np.ones_like(of.group.people.organ_size)
    for organ in CONTOURED:
        ratio = of.seen.organ_mL[:, ORGANS.index(organ)] / mL_of(of.group, organ)
        sizes[:, VARIED.index(organ)] = people.organ_size[:, VARIED.index(organ)] * ratio
    one = np.ones(of.group.count)
    people = people._replace(organ_size=sizes, perfusion=one, tumour_perfusion=one)
    return people, bodies(people, of.group.design.target, class_mL)


def _corrected(seen: Seen) -> np.ndarray:
    """Concentration of lesions with their partial volume undone, per mL; 0 where there is none."""
    safe = np.where(seen.lesion_mL > 0, seen.lesion_mL, 1.0)
    return seen.lesion_mean / mean_recovery(safe)


def _classes_seen(of: Virtual) -> tuple[np.ndarray, np.ndarray]:
    """Volume (mL) and activity of each class as seen, [patient, class]; NaN activity where there is none."""
    inside = [of.group.classes == k for k in range(CLASSES)]
    total = lambda values: np.stack([np.sum(values * here, axis=1) for here in inside], axis=1)
    mL, MBq = total(of.seen.lesion_mL), total(of.seen.lesion_mL * _corrected(of.seen))
    return np.where(mL > 0, mL, EMPTY_ML), np.where(mL > 0, MBq, np.nan)


def _doses(of: Virtual, tia: np.ndarray, sd: np.ndarray, class_mL: np.ndarray, class_MBq: np.ndarray):
    nuclide = split_tracer(DATA["tracer"], "tracer")[1]
    doses = 1000 * tia[:, : len(ORGANS)]
    for k, organ in enumerate(ORGANS):
        grams = _known_mL(of, organ) * density_g_per_mL(organ)
        doses[:, k] *= absorbed_energy(organ, nuclide)[0](grams) / grams
    doses[:, ORGANS.index("red_marrow")] += 1000 * marrow_photons(nuclide) * tia[:, -1]
    organ_sd = np.hypot(sd[:, : len(ORGANS)], noise.volume_log_sd("kidneys"))
    tumour = slice(len(ORGANS), len(ORGANS) + CLASSES)
    lesions, lesion_sd = _lesions(of, tia[:, tumour] / class_mL, sd[:, tumour], class_MBq / class_mL)
    return doses, organ_sd, lesions, lesion_sd


def _known_mL(of: Virtual, organ: str) -> np.ndarray:
    if organ in CONTOURED:
        return of.seen.organ_mL[:, ORGANS.index(organ)]
    if organ == "lacrimal":
        return mL_of(of.group, organ) / of.group.people.organ_size[:, VARIED.index(organ)]
    return mL_of(of.group, organ)


def _lesions(of: Virtual, class_tia: np.ndarray, class_sd: np.ndarray, class_seen: np.ndarray):
    """Each lesion by its class's integral per mL, and its own uptake on the PET over its class's."""
    classes = np.maximum(of.group.classes, 0)
    pick = lambda values: np.take_along_axis(values, classes, axis=1)
    there = of.seen.lesion_mL > 0
    grams = np.maximum(of.seen.lesion_mL * density_g_per_mL("tumour_1"), SMALLEST_G)
    energy = absorbed_energy("tumour_1", split_tracer(DATA["tracer"], "tracer")[1])[0](grams)
    ratio = np.where(there, _corrected(of.seen) / np.nan_to_num(pick(class_seen), nan=1.0), 1.0)
    dose = 1000 * pick(class_tia) * ratio * energy / density_g_per_mL("tumour_1")
    return np.where(there, dose, 1.0), np.hypot(pick(class_sd), noise.volume_log_sd("tumour_1"))


def hidden(of: Set, words: str) -> dict[str, np.ndarray]:
    """Features of a set with some left out, by part."""
    keep = {
        "no volumes of organs": lambda name: not name.startswith("volume_"),
        "SUVs of organs only": lambda name: name.startswith("suv_mean"),
        "covariates and volumes only": lambda name: not name.startswith(("suv", "tumour", "lesion")),
    }[words]
    gone = np.array([not keep(name) for name in FEATURES])
    found = {part: of.x[part].copy() for part in PARTS}
    for x in found.values():
        x[:, : len(FEATURES)][:, gone] = np.nan
    return found
