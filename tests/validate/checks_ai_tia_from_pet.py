"""Time-integrated activity before therapy from a PET by network, on virtual patients that it did not see.

Targets were fixed before any result: kidneys and lesions with less error than the strongest of two classical maps.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from dose.voxels import voxel
from imaging.networks.tia_from_pet import NETWORK, ForeseenTIA, tia_from_pet_scan
from imaging.networks.tia_inputs import body_mask, label_map, prior_fill, soft_suv
from imaging.networks.tia_scans import class_of, means
from imaging.networks.tia_tables import predicted_log_tia
from imaging.scanner.anatomy import density_of_hounsfield
from tests.validate import check
from tests.validate.ai_tia import JUDGED, MASS_g, Patient, verdict, voxel_error
from tests.validate.ai_tia_rows import BELOW, SIMULATED, Judge, register

MAPS = "virtual patients of the test seeds; no network"
CLASSICAL = ("organ means", "organ means with the PET's pattern", "population factor on the PET")
DOSES = 8
"""Test patients whose doses are compared."""

TYPICAL_SUV = 5.0


def call(patient: Patient, **more) -> ForeseenTIA:
    """The public call on a test patient."""
    known = {"mass_g": MASS_g, "tracer": patient.tracer, "fwhm_mm": patient.scan.fwhm_mm, "method": "network"}
    return tia_from_pet_scan(patient.volume(patient.seen), patient.ct, patient.regions, **{**known, **more})


def made(patient: Patient, method: str) -> np.ndarray:
    """SUV h by the network ("exact": means tied exactly) or one of CLASSICAL."""
    if method in CLASSICAL:
        return classical(patient, method)
    return PET.asked(patient, tie="exact" if method == "exact" else "loose").volume.array * MASS_g / 1000.0


def classical(patient: Patient, kind: str) -> np.ndarray:
    """SUV h by one of CLASSICAL."""
    labels, names = label_map(patient.regions, body_mask(patient.hu))
    mL = np.bincount(labels.ravel(), minlength=len(names)) * float(np.prod(patient.spacing_mm)) / 1000
    seen = np.maximum(patient.seen, 0)
    if kind == CLASSICAL[2]:
        soft = soft_suv(patient.seen, labels)
        known = [
            predicted_log_tia(patient.tracer, class_of(n), TYPICAL_SUV, max(v, 1.0), soft)[0] for n, v in zip(names, mL)
        ]
        return seen * (np.exp(known) / TYPICAL_SUV)[labels] * (labels > 0)
    filled = np.exp(prior_fill(patient.seen, labels, names, patient.tracer, mL))[labels] * (labels > 0)
    if kind == CLASSICAL[0]:
        return filled
    return filled * (seen / np.maximum(means(seen, labels, len(names)), 1e-6)[labels])


def unlike(patient: Patient) -> list[ForeseenTIA]:
    noise = np.random.default_rng(0).normal(0, 3 * patient.seen.mean(), patient.seen.shape)
    scans = (0.01 * patient.seen, patient.seen + noise)
    return [PET.asked(replace(patient, seen=seen)) for seen in scans] + [PET.asked(patient, fwhm_mm=15.0)]


PET = Judge(
    NETWORK,
    "pet",
    CLASSICAL,
    "strongest classical map",
    made,
    call,
    unlike,
    "v = v.with_array(0.1 * v.array)  # SUV\n"
    "from imaging.networks.tia_from_pet import tia_from_pet_scan\n"
    "tia_from_pet_scan(v, v.with_array(0 * v.array), {'liver': mask}, fwhm_mm=6.0, **known)",
)
NAME = PET.name
register(PET)


def _of_classical(figure) -> list[float]:
    """The mean of a figure of (patient, map) by each of CLASSICAL."""
    tests = PET.tests
    return [float(np.mean([figure(p, m) for p, m in zip(tests.patients, tests.maps(kind))])) for kind in CLASSICAL]


@check(f"{NAME}/classical: error of kidneys and lesions, means, with pattern, by factor", "%", "means least", MAPS)
def classical_regions():
    found = _of_classical(lambda patient, suv_h: patient.mean_error(suv_h))
    return found, min(found[:2]) < found[2]


@check(f"{NAME}/classical: error of voxels, means, with pattern, by factor", "%", "pattern least", MAPS)
def classical_voxels():
    found = _of_classical(voxel_error)
    return found, found[1] == min(found)


@check(f"{NAME}/classical: voxels of kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", MAPS)
def classical_sd_covers():
    return _covers(lambda patient: call(patient, method="classical"))


@check(f"{NAME}/sd: voxels of kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", SIMULATED)
def sd_covers():
    return _covers(PET.asked)


def _covers(answer):
    found = float(np.mean([_inside(patient, answer(patient)) for patient in PET.tests.patients]))
    return found, 0.85 <= found <= 0.99


def _inside(patient: Patient, found: ForeseenTIA) -> float:
    """Part of the voxels of kidneys and lesions whose truth lies within 1.96 sd."""
    mask = np.any([patient.regions[n] for n in patient.named(JUDGED)], axis=0)
    log = np.log(np.maximum(found.volume.array[mask], 1e-12) * MASS_g / 1000 / patient.truth[mask])
    return float(np.mean(np.abs(log) <= 1.96 * found.log_sd[mask]))


@check(f"{NAME}/error of kidneys and lesions, population factor on the PET", "%", BELOW, SIMULATED)
def against_the_factor():
    return PET.tests.against(CLASSICAL[2])


@check(f"{NAME}/bias of kidneys, lesions: network then organ means", "%", "network within 10", SIMULATED)
def biases():
    found = [PET.tests.bias(method, group) for method in ("network", CLASSICAL[0]) for group in JUDGED]
    return found, max(abs(b) for b in found[:2]) <= 10


@check(f"{NAME}/error of voxels, organ means", "%", BELOW, SIMULATED)
def voxels():
    return PET.tests.voxels(CLASSICAL[0])


@check(f"{NAME}/error of voxels, organ means with the PET's pattern", "%", BELOW, SIMULATED)
def voxels_with_pattern():
    return PET.tests.voxels(CLASSICAL[1])


@check(f"{NAME}/error of voxels, means tied exactly, organ means with the PET's pattern", "%", BELOW, SIMULATED)
def voxels_tied():
    return PET.tests.voxels(CLASSICAL[1], own="exact")


@check(f"{NAME}/tie: departure of means from the kinetic model's, loose and exact", "%", "exact below 0.01", SIMULATED)
def tied_means():
    tests, found = PET.tests, []
    for own in ("network", "exact"):
        pairs = list(zip(tests.maps(own), tests.maps(CLASSICAL[0]), tests.patients))
        off = [a[p.regions[n]].mean() / b[p.regions[n]].mean() - 1 for a, b, p in pairs for n in p.named(JUDGED)]
        found.append(100 * float(np.mean(np.abs(off))))
    return found, found[1] < 0.01


@check(f"{NAME}/dose: error of kidneys and lesions per GBq, organ means with the PET's pattern", "%", BELOW, SIMULATED)
def doses():
    return verdict(*([_error_of_dose(k, method) for k in range(DOSES)] for method in ("network", CLASSICAL[1])))


def _error_of_dose(k: int, method: str) -> float:
    """Mean size of the errors of mean doses of kidneys and lesions, %."""
    patient, true = PET.tests.patients[k], _true_dose(k)
    dose = _dose(patient, PET.tests.maps(method)[k])
    found = [dose[patient.regions[n]].mean() / true[patient.regions[n]].mean() - 1 for n in patient.named(JUDGED)]
    return 100 * float(np.mean(np.abs(found)))


@cache
def _true_dose(k: int) -> np.ndarray:
    patient = PET.tests.patients[k]
    return _dose(patient, patient.truth)


def _dose(patient: Patient, suv_h: np.ndarray) -> np.ndarray:
    """Gy per GBq."""
    mL = float(np.prod(patient.spacing_mm)) / 1000
    density = np.maximum(density_of_hounsfield(patient.hu), 1e-3)
    return voxel(suv_h * 1000.0 / MASS_g * mL, density, "177Lu", patient.spacing_mm[::-1]).dose_Gy


@check(f"{NAME}/safety: a kidney without uptake, its mean over the other's", "1", "at most 0.05", SIMULATED)
def nothing_from_nothing():
    patient = next(p for p in PET.tests.patients if len(p.named(("kidney",))) == 2)
    left, right = (patient.regions[n] for n in patient.named(("kidney",)))
    found = PET.asked(replace(patient, seen=np.where(left, 0.0, patient.seen))).volume.array
    ratio = float(found[left].mean() / found[right].mean())
    return ratio, ratio <= 0.05
