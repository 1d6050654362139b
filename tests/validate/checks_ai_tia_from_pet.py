"""Time-integrated activity before therapy from a PET by network, on virtual patients that it did not see.

Targets were fixed before any result: kidneys and lesions with less error than the strongest of two classical maps.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np

from dose.learning.paired import paired
from dose.learning.weights import found_weights
from dose.voxels import voxel
from imaging.networks.tia_from_pet import NETWORK, ForeseenTIA, tia_from_pet_scan
from imaging.networks.tia_inputs import body_mask, label_map, prior_fill, soft_suv
from imaging.networks.tia_scans import class_of, means
from imaging.networks.tia_tables import predicted_log_tia
from imaging.scanner.anatomy import density_of_hounsfield
from tests.validate import Skipped, ai_denoise, check
from tests.validate import checks_ai_tia_common as common
from tests.validate.checks_ai_tia_common import JUDGED, ORGANS, MASS_g, Patient, patients

NAME = "ai/tia_from_pet"
TOLD = "interval below 0"
SIMULATED = "virtual patients of the test seeds; [network, classical, difference, low, high]"
MAPS = "virtual patients of the test seeds; no network"
CLASSICAL = ("organ means", "organ means with the PET's pattern", "population factor on the PET")
DOSES = 8
TYPICAL_SUV = 5.0


def asked(patient: Patient, **more) -> ForeseenTIA:
    """The public call on a test patient."""
    _trained()
    return _called(patient, **more)


def _trained() -> None:
    if found_weights(NETWORK)[0] is None:
        raise Skipped("no weights ship: see docs/ai/tia_from_pet.md")


def _called(patient: Patient, **more) -> ForeseenTIA:
    known = {"mass_g": MASS_g, "tracer": patient.tracer, "fwhm_mm": patient.scan.fwhm_mm, "method": "network"}
    seen, regions = more.pop("seen", patient.seen), more.pop("regions", patient.regions)
    return tia_from_pet_scan(patient.volume(seen), patient.ct, regions, **{**known, **more})


def map_of(patient: Patient, **more) -> np.ndarray:
    """SUV h."""
    return asked(patient, **more).volume.array * MASS_g / 1000.0


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


@cache
def _tests() -> tuple[list[Patient], dict[str, list[np.ndarray]]]:
    return _mapped(patients("pet"))


def _mapped(tests: list[Patient]) -> tuple[list[Patient], dict[str, list[np.ndarray]]]:
    maps = {kind: [classical(p, kind) for p in tests] for kind in CLASSICAL}
    own = {"network": [map_of(p) for p in tests], "exact": [map_of(p, tie="exact") for p in tests]}
    return tests, maps | own


@cache
def _slower():
    return _mapped(patients("pet", 16, more={"slower": 1.5}))


@cache
def _doses() -> tuple[list[Patient], dict[str, list[np.ndarray]]]:
    """Gy per GBq of the first test patients."""
    tests, maps = _tests()
    dose = {name: [_dose(p, m) for p, m in zip(tests[:DOSES], maps[name])] for name in ("network", CLASSICAL[1])}
    return tests[:DOSES], dose | {"truth": [_dose(p, p.truth) for p in tests[:DOSES]]}


def _dose(patient: Patient, suv_h: np.ndarray) -> np.ndarray:
    mL = float(np.prod(patient.spacing_mm)) / 1000
    density = np.maximum(density_of_hounsfield(patient.hu), 1e-3)
    return voxel(suv_h * 1000.0 / MASS_g * mL, density, "177Lu", patient.spacing_mm[::-1]).dose_Gy


def _error(patient: Patient, dose: np.ndarray, true: np.ndarray) -> float:
    found = [dose[patient.regions[n]].mean() / true[patient.regions[n]].mean() - 1 for n in patient.named(JUDGED)]
    return 100 * float(np.mean(np.abs(found)))


def _strongest(groups=JUDGED, seen=None) -> str:
    tests, maps = seen or _tests()
    return min(CLASSICAL, key=lambda kind: common.compared(tests, maps[kind], maps[kind], groups).network)


def _against(kind: str, groups=JUDGED, seen=None, own: str = "network"):
    tests, maps = seen or _tests()
    result = common.compared(tests, maps[own], maps[kind], groups)
    return result.values(), result.better()


@cache
def _classical():
    tests = patients("pet")
    return tests, {kind: [classical(p, kind) for p in tests] for kind in CLASSICAL}


def _of_classical(figure) -> list[float]:
    """The mean of a figure of (patient, map) by each of CLASSICAL."""
    tests, maps = _classical()
    return [float(np.mean([figure(p, m) for p, m in zip(tests, maps[kind])])) for kind in CLASSICAL]


@check(f"{NAME}/classical: error of kidneys and lesions, means, with pattern, by factor", "%", "means least", MAPS)
def classical_regions():
    found = _of_classical(lambda patient, suv_h: patient.mean_error(suv_h))
    return found, min(found[:2]) < found[2]


@check(f"{NAME}/classical: error of voxels, means, with pattern, by factor", "%", "pattern least", MAPS)
def classical_voxels():
    found = _of_classical(common.voxel_error)
    return found, found[1] == min(found)


@check(f"{NAME}/classical: voxels of kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", MAPS)
def classical_sd_covers():
    found = float(np.mean([_inside(p, _called(p, method="classical")) for p in _classical()[0]]))
    return found, 0.85 <= found <= 0.99


@check(f"{NAME}/earns: error of kidneys and lesions, strongest classical map", "%", TOLD, SIMULATED)
def kidneys_and_lesions():
    return _against(_strongest())


@check(f"{NAME}/error of kidneys and lesions, population factor on the PET", "%", TOLD, SIMULATED)
def against_the_factor():
    return _against(CLASSICAL[2])


@check(f"{NAME}/error of kidneys, strongest classical map", "%", TOLD, SIMULATED)
def kidneys():
    return _against(_strongest(("kidney",)), ("kidney",))


@check(f"{NAME}/error of lesions, strongest classical map", "%", TOLD, SIMULATED)
def lesions():
    return _against(_strongest(("tumour",)), ("tumour",))


@check(f"{NAME}/error of liver, spleen and glands, strongest classical map", "%", TOLD, SIMULATED)
def organs():
    return _against(_strongest(ORGANS), ORGANS)


@check(f"{NAME}/bias of kidneys, lesions: network then organ means", "%", "network within 10", SIMULATED)
def biases():
    tests, maps = _tests()
    found = [common.bias(tests, maps[m], (group,)) for m in ("network", CLASSICAL[0]) for group in JUDGED]
    return found, max(abs(b) for b in found[:2]) <= 10


def _voxels(own: str, kind: str):
    tests, maps = _tests()
    result = paired(*([common.voxel_error(p, m) for p, m in zip(tests, maps[k])] for k in (own, kind)))
    return result.values(), result.better()


@check(f"{NAME}/error of voxels, organ means", "%", TOLD, SIMULATED)
def voxels():
    return _voxels("network", CLASSICAL[0])


@check(f"{NAME}/error of voxels, organ means with the PET's pattern", "%", TOLD, SIMULATED)
def voxels_with_pattern():
    return _voxels("network", CLASSICAL[1])


@check(f"{NAME}/error of voxels, means tied exactly, organ means with the PET's pattern", "%", TOLD, SIMULATED)
def voxels_tied():
    return _voxels("exact", CLASSICAL[1])


@check(f"{NAME}/tie: departure of means from the kinetic model's, loose and exact", "%", "exact below 0.01", SIMULATED)
def tied_means():
    tests, maps = _tests()
    found = []
    for own in ("network", "exact"):
        pairs = [(a, b, p) for a, b, p in zip(maps[own], maps[CLASSICAL[0]], tests)]
        off = [a[p.regions[n]].mean() / b[p.regions[n]].mean() - 1 for a, b, p in pairs for n in p.named(JUDGED)]
        found.append(100 * float(np.mean(np.abs(off))))
    return found, found[1] < 0.01


@check(f"{NAME}/dose: error of kidneys and lesions per GBq, organ means with the PET's pattern", "%", TOLD, SIMULATED)
def doses():
    tests, found = _doses()
    errors = {
        name: [_error(p, d, t) for p, d, t in zip(tests, found[name], found["truth"])]
        for name in ("network", CLASSICAL[1])
    }
    result = paired(errors["network"], errors[CLASSICAL[1]])
    return result.values(), result.better()


@check(f"{NAME}/sd: voxels of kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", SIMULATED)
def sd_covers():
    found = float(np.mean([_inside(p, asked(p)) for p in _tests()[0]]))
    return found, 0.85 <= found <= 0.99


def _inside(patient: Patient, made: ForeseenTIA) -> float:
    """Part of the voxels of kidneys and lesions whose truth lies within 1.96 sd."""
    mask = np.any([patient.regions[n] for n in patient.named(JUDGED)], axis=0)
    log = np.log(np.maximum(made.volume.array[mask], 1e-12) * MASS_g / 1000 / patient.truth[mask])
    return float(np.mean(np.abs(log) <= 1.96 * made.log_sd[mask]))


@check(f"{NAME}/other: kinetics 1.5 times slower, strongest classical map", "%", TOLD, SIMULATED)
def slower_kinetics():
    return _against(_strongest(seen=_slower()), seen=_slower())


@check(f"{NAME}/range: unlike scans flagged, test scans flagged", "1", "all, at most an eighth", "limits of the card")
def unlike_scans_are_flagged():
    tests = _tests()[0]
    one = tests[0]
    noise = np.random.default_rng(0).normal(0, 3 * one.seen.mean(), one.seen.shape)
    unlike = [asked(one, seen=factor * one.seen) for factor in (0.01, 100.0)]
    unlike += [asked(one, fwhm_mm=15.0), asked(one, seen=one.seen + noise)]
    flagged = [bool(made.choice.reasons) for made in unlike]
    like = [bool(asked(p).choice.reasons) for p in tests]
    return [np.mean(flagged), np.mean(like)], all(flagged) and np.mean(like) <= 0.125


@check(f"{NAME}/safety: a kidney without uptake, its mean over the other's", "1", "at most 0.05", SIMULATED)
def nothing_from_nothing():
    patient = next(p for p in _tests()[0] if len(p.named(("kidney",))) == 2)
    left, right = (patient.regions[n] for n in patient.named(("kidney",)))
    empty = np.where(left, 0.0, patient.seen)
    made = asked(patient, seen=empty).volume.array
    ratio = float(made[left].mean() / made[right].mean())
    return ratio, ratio <= 0.05


@check(f"{NAME}/seconds of a map", "s", "30", "64 x 50 x 76 voxels")
def seconds():
    patient = _tests()[0][0]
    taken = ai_denoise.timed(lambda: asked(patient))
    return taken, taken <= 30


@check(f"{NAME}/peak memory", "MB", "3000", "of a process that maps 64 x 64 x 80 voxels")
def memory():
    _trained()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, np.random.default_rng(0).poisson(9.0, (64, 64, 80)).astype(np.float32))
        program = (
            "import numpy as np; from imaging.geometry import Volume\n"
            "from imaging.networks.tia_from_pet import tia_from_pet_scan\n"
            f"v = Volume(np.load('{path}', allow_pickle=False), np.diag([6.0, 6.0, 6.0, 1.0]))\n"
            "mask = np.zeros(v.array.shape, bool); mask[20:30, 20:30, 20:30] = True\n"
            "tia_from_pet_scan(v, v.with_array(0 * v.array), {'liver': mask}, mass_g=8e4, tracer='psma',\n"
            "    fwhm_mm=6.0, method='network')"
        )
        peak = ai_denoise.peak_megabytes(program)
    return peak, peak <= 3000
