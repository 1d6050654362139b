"""Time-integrated activity from one SPECT by network, on virtual patients whose bodies and kinetics it did not see.

Targets were fixed before any result: kidneys and lesions with less error than the strongest of three rules.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np
from scipy.ndimage import binary_dilation

from imaging.networks.tia_rules import by_rules
from imaging.networks.tia_scans import class_of
from imaging.networks.tia_single import NETWORK, SingleScanTIA, tia_from_single_scan
from tests.validate import check
from tests.validate.ai_tia import JUDGED, ADMINISTERED_MBq, Bq_PER_mL, MASS_g, Patient, Tests, patients
from tests.validate.ai_tia_rows import BELOW, SIMULATED, Judge, beside_strongest, register

RULES = ("2 t/ln 2", "cohort", "height")
BINS_h = (20.0, 70.0, 120.0, 170.0)
FEWER = 16
"""Patients with fewer counts than in training."""

TOLD_OF = {
    "true": lambda patient: patient.regions,
    "wide": lambda patient: {name: binary_dilation(mask) for name, mask in patient.regions.items()},
    "without lesions": lambda patient: {n: m for n, m in patient.regions.items() if class_of(n) != "tumour"},
}
"""Masks that both methods are told: the true ones, a voxel too wide, lesions not drawn."""


def call(patient: Patient, **more) -> SingleScanTIA:
    """The public call on a test patient."""
    known = {
        "time_h": patient.scan.time_h, "administered_MBq": ADMINISTERED_MBq, "mass_g": MASS_g, "tracer": patient.tracer,
        "fwhm_mm": patient.scan.fwhm_mm, "method": "network", "regions": patient.regions,
    }  # fmt: skip
    return tia_from_single_scan(patient.volume(patient.seen * Bq_PER_mL), patient.ct, **{**known, **more})


def made(patient: Patient, method: str, told: str = "true") -> np.ndarray:
    """SUV h by the network or one of RULES, which are told of regions by TOLD_OF."""
    regions = TOLD_OF[told](patient)
    if method == "network":
        return SINGLE.asked(patient, regions=regions).volume.array * MASS_g / ADMINISTERED_MBq
    known = patient.tracer, patient.scan.time_h, patient.scan.half_life_h
    given = {} if method == RULES[0] else regions
    blur = {"fwhm_mm": patient.scan.fwhm_mm, "spacing_mm": patient.spacing_mm[::-1]}
    return patient.seen * np.exp(by_rules(patient.seen, *known, given, **blur, height=method == RULES[2])[0])


def unlike(patient: Patient) -> list[SingleScanTIA]:
    changes = (
        *({"time_h": 300.0}, {"time_h": 4.0}, {"fwhm_mm": 25.0}, {"nuclide": "67Cu"}),
        *({"administered_MBq": 300.0}, {"administered_MBq": 1e6}, {"regions": {}}),
    )
    return [SINGLE.asked(patient, **change) for change in changes]


SINGLE = Judge(
    NETWORK,
    "spect",
    RULES,
    "strongest rule",
    made,
    call,
    unlike,
    "from imaging.networks.tia_single import tia_from_single_scan\n"
    "known |= {'time_h': 72.0, 'administered_MBq': 7400.0, 'fwhm_mm': 12.0, 'regions': {'liver': mask}}\n"
    "tia_from_single_scan(v.with_array(1e4 * v.array), v.with_array(0 * v.array), **known)",
)
NAME = SINGLE.name
register(SINGLE)


@cache
def fewer() -> Tests:
    return SINGLE.of(patients("spect", FEWER, noise=0.12 / 0.3**0.5))


@cache
def told(how: str) -> Tests:
    return Tests(SINGLE.tests.patients, lambda patient, method: made(patient, method, how), RULES)


beside_strongest(SINGLE, "other: 0.3 of the counts", fewer)
beside_strongest(SINGLE, "other: masks a voxel too wide", lambda: told("wide"))


@check(f"{NAME}/error of kidneys and lesions, cohort curves and height", "%", BELOW, SIMULATED)
def against_height():
    return SINGLE.tests.against("height")


@check(f"{NAME}/error of kidneys and lesions, cohort curves", "%", BELOW, SIMULATED)
def against_the_cohort():
    return SINGLE.tests.against("cohort")


@check(f"{NAME}/error of kidneys and lesions, Hanscheid 2018", "%", BELOW, SIMULATED)
def against_hanscheid():
    return SINGLE.tests.against("2 t/ln 2")


@check(f"{NAME}/error by hour: network then strongest rule, 20-70, 70-120, 120-170 h", "%", "reported", SIMULATED)
def by_hour():
    tests = SINGLE.tests
    hours, found = np.array([p.scan.time_h for p in tests.patients]), []
    for method in ("network", tests.strongest()):
        errors = np.array(tests.errors(method))
        found += [float(errors[(hours >= low) & (hours < high)].mean()) for low, high in zip(BINS_h, BINS_h[1:])]
    return found, bool(np.isfinite(found).all())


@check(f"{NAME}/bias of kidneys, lesions: network then strongest rule", "%", "network within 5", SIMULATED)
def biases():
    tests = SINGLE.tests
    found = [tests.bias(method, group) for method in ("network", tests.strongest()) for group in JUDGED]
    return found, max(abs(b) for b in found[:2]) <= 5


@check(f"{NAME}/error of voxels, strongest rule", "%", BELOW, SIMULATED)
def voxels():
    return SINGLE.tests.voxels(SINGLE.tests.strongest())


@check(f"{NAME}/sd: kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", SIMULATED)
def sd_covers():
    inside = []
    for patient in SINGLE.tests.patients:
        found = SINGLE.asked(patient)
        for name in patient.named(JUDGED):
            whole, sd = found.of(patient.regions[name])
            true = patient.truth[patient.regions[name]].sum(dtype=float) * ADMINISTERED_MBq / MASS_g
            inside.append(abs(np.log(whole / (true * found.volume.voxel_mL))) <= 1.96 * sd)
    return float(np.mean(inside)), 0.85 <= np.mean(inside) <= 0.99


@check(f"{NAME}/other: lesions without masks, error of lesions, 2 t/ln 2", "%", BELOW, SIMULATED)
def lesions_without_masks():
    return told("without lesions").against(RULES[0], ("tumour",))


@check(f"{NAME}/safety: no activity stays none, largest of an emptied place", "of the mean", "at most 0", SIMULATED)
def nothing_from_nothing():
    patient = SINGLE.tests.patients[0]
    empty = patient.seen.copy()
    place = (slice(20, 30), slice(20, 30), slice(20, 30))
    empty[place] = 0.0
    found = SINGLE.asked(replace(patient, seen=empty)).volume.array
    worst = float(np.abs(found[place]).max() / np.abs(found).mean())
    return worst, worst <= 0


@check(
    f"{NAME}/safety: twice the activity of twice the administered", "relative", "1e-5", "normalised by what was given"
)
def doubled():
    patient = SINGLE.tests.patients[0]
    more = replace(patient, seen=2 * patient.seen)
    once = SINGLE.asked(patient).volume.array
    twice = SINGLE.asked(more, administered_MBq=2 * ADMINISTERED_MBq).volume.array
    worst = float(np.abs(twice - 2 * once).max() / once.max())
    return worst, worst <= 1e-5


@check(f"{NAME}/safety: shifted by a voxel, change of kidneys and lesions over their error", "1", "0.5", SIMULATED)
def shifted():
    changes, errors = [], []
    for patient in SINGLE.tests.patients[:8]:
        once, at = made(patient, "network"), made(moved(patient), "network")
        for name in patient.named(JUDGED):
            mask = patient.regions[name]
            changes.append(abs(at[roll(mask)].sum() / once[mask].sum() - 1))
            errors.append(abs(patient.error(once, name)))
    ratio = float(np.mean(changes) / np.mean(errors))
    return ratio, ratio <= 0.5


def moved(patient: Patient) -> Patient:
    """By a voxel along each axis."""
    regions = {name: roll(mask) for name, mask in patient.regions.items()}
    pictures = {name: roll(getattr(patient, name)) for name in ("seen", "truth", "hu")}
    return replace(patient, regions=regions, **pictures)


def roll(array: np.ndarray) -> np.ndarray:
    return np.roll(array, 1, axis=(0, 1, 2))
