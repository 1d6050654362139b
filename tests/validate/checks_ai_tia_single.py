"""Time-integrated activity from one SPECT by network, on virtual patients whose bodies and kinetics it did not see.

Targets were fixed before any result: kidneys and lesions with less error than the strongest of three rules.
"""

from __future__ import annotations

import tempfile
from functools import cache
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_dilation

from dose.learning.paired import paired
from imaging.networks.tia_rules import by_rules
from imaging.networks.tia_scans import class_of
from imaging.networks.tia_single import SingleScanTIA, tia_from_single_scan
from tests.validate import ai_denoise, check
from tests.validate import checks_ai_tia_common as common
from tests.validate.checks_ai_tia_common import JUDGED, ORGANS, ADMINISTERED_MBq, Bq_PER_mL, MASS_g, Patient, patients

NAME = "ai/tia_single"
TOLD = "interval below 0"
SIMULATED = "virtual patients of the test seeds; [network, classical, difference, low, high]"
RULES = ("2 t/ln 2", "cohort", "height")
BINS_h = (20.0, 70.0, 120.0, 170.0)
TOLD_OF = {
    "true": lambda patient: patient.regions,
    "wide": lambda patient: {name: binary_dilation(mask) for name, mask in patient.regions.items()},
    "without lesions": lambda patient: {n: m for n, m in patient.regions.items() if class_of(n) != "tumour"},
}
"""Masks that both methods are told: the true ones, a voxel too wide, lesions not drawn."""


def asked(patient: Patient, **more) -> SingleScanTIA:
    """The public call on a test patient."""
    known = {
        "time_h": patient.scan.time_h, "administered_MBq": ADMINISTERED_MBq, "mass_g": MASS_g, "tracer": patient.tracer,
        "fwhm_mm": patient.scan.fwhm_mm, "method": "network", "regions": patient.regions,
    }  # fmt: skip
    seen = more.pop("seen", patient.seen)
    return tia_from_single_scan(patient.volume(seen * Bq_PER_mL), patient.ct, **{**known, **more})


def by_network(patient: Patient, told: str = "true") -> np.ndarray:
    """SUV h."""
    return asked(patient, regions=TOLD_OF[told](patient)).volume.array * MASS_g / ADMINISTERED_MBq


def by_rule(patient: Patient, rule: str, told: str = "true") -> np.ndarray:
    """SUV h by one of RULES."""
    regions = {} if rule == RULES[0] else TOLD_OF[told](patient)
    known = patient.tracer, patient.scan.time_h, patient.scan.half_life_h
    return patient.seen * np.exp(by_rules(patient.seen, *known, regions, height=rule == RULES[2])[0])


@cache
def _tests() -> tuple[list[Patient], dict[str, list[np.ndarray]]]:
    return _mapped(patients("spect"))


def _mapped(tests: list[Patient], told: str = "true") -> tuple[list[Patient], dict[str, list[np.ndarray]]]:
    maps = {rule: [by_rule(p, rule, told) for p in tests] for rule in RULES}
    return tests, maps | {"network": [by_network(p, told) for p in tests]}


@cache
def _slower():
    return _mapped(patients("spect", 16, more={"slower": 1.5}))


@cache
def _fewer_counts():
    return _mapped(patients("spect", 16, noise=0.12 / 0.3**0.5))


@cache
def _told(told: str):
    return _mapped(_tests()[0], told)


def _against(rule: str, groups=JUDGED, seen=None):
    tests, maps = seen or _tests()
    result = common.compared(tests, maps["network"], maps[rule], groups)
    return result.values(), result.better()


def _strongest(groups=JUDGED, seen=None) -> str:
    tests, maps = seen or _tests()
    return min(RULES, key=lambda rule: common.compared(tests, maps[rule], maps[rule], groups).network)


@check(f"{NAME}/earns: error of kidneys and lesions, strongest rule", "%", TOLD, SIMULATED)
def kidneys_and_lesions():
    return _against(_strongest())


@check(f"{NAME}/error of kidneys and lesions, cohort curves and height", "%", TOLD, SIMULATED)
def against_height():
    return _against("height")


@check(f"{NAME}/error of kidneys and lesions, cohort curves", "%", TOLD, SIMULATED)
def against_the_cohort():
    return _against("cohort")


@check(f"{NAME}/error of kidneys and lesions, Hanscheid 2018", "%", TOLD, SIMULATED)
def against_hanscheid():
    return _against("2 t/ln 2")


@check(f"{NAME}/error of kidneys, strongest rule", "%", TOLD, SIMULATED)
def kidneys():
    return _against(_strongest(("kidney",)), ("kidney",))


@check(f"{NAME}/error of lesions, strongest rule", "%", TOLD, SIMULATED)
def lesions():
    return _against(_strongest(("tumour",)), ("tumour",))


@check(f"{NAME}/error of liver, spleen and glands, strongest rule", "%", TOLD, SIMULATED)
def organs():
    return _against(_strongest(ORGANS), ORGANS)


@check(f"{NAME}/error by hour: network then strongest rule, 20-70, 70-120, 120-170 h", "%", "reported", SIMULATED)
def by_hour():
    tests, maps = _tests()
    found = []
    for method in ("network", _strongest()):
        for low, high in zip(BINS_h, BINS_h[1:]):
            mine = [p.mean_error(m) for p, m in zip(tests, maps[method]) if low <= p.scan.time_h < high]
            found.append(float(np.mean(mine)))
    return found, bool(np.isfinite(found).all())


@check(f"{NAME}/bias of kidneys, lesions: network then strongest rule", "%", "network within 5", SIMULATED)
def biases():
    tests, maps = _tests()
    found = [common.bias(tests, maps[m], (group,)) for m in ("network", _strongest()) for group in JUDGED]
    return found, max(abs(b) for b in found[:2]) <= 5


@check(f"{NAME}/error of voxels, strongest rule", "%", TOLD, SIMULATED)
def voxels():
    tests, maps = _tests()
    own, other = ([common.voxel_error(p, m) for p, m in zip(tests, maps[k])] for k in ("network", _strongest()))
    result = paired(own, other)
    return result.values(), result.better()


@check(f"{NAME}/sd: kidneys and lesions within 1.96 sd", "1", "0.85 to 0.99", SIMULATED)
def sd_covers():
    inside = []
    for patient in _tests()[0]:
        made = asked(patient)
        for name in patient.named(JUDGED):
            whole, sd = made.of(patient.regions[name])
            true = patient.truth[patient.regions[name]].sum(dtype=float) * ADMINISTERED_MBq / MASS_g
            inside.append(abs(np.log(whole / (true * made.volume.voxel_mL))) <= 1.96 * sd)
    return float(np.mean(inside)), 0.85 <= np.mean(inside) <= 0.99


@check(f"{NAME}/other: kinetics 1.5 times slower, strongest rule", "%", TOLD, SIMULATED)
def slower_kinetics():
    return _against(_strongest(seen=_slower()), seen=_slower())


@check(f"{NAME}/other: 0.3 of the counts, strongest rule", "%", TOLD, SIMULATED)
def fewer_counts():
    return _against(_strongest(seen=_fewer_counts()), seen=_fewer_counts())


@check(f"{NAME}/other: masks a voxel too wide, strongest rule", "%", TOLD, SIMULATED)
def wide_masks():
    return _against(_strongest(seen=_told("wide")), seen=_told("wide"))


@check(f"{NAME}/other: lesions without masks, error of lesions, 2 t/ln 2", "%", TOLD, SIMULATED)
def lesions_without_masks():
    return _against(RULES[0], ("tumour",), _told("without lesions"))


@check(f"{NAME}/range: unlike scans flagged, test scans flagged", "1", "all, at most an eighth", "limits of the card")
def unlike_scans_are_flagged():
    tests = _tests()[0]
    one = tests[0]
    unlike = [
        asked(one, time_h=300.0),
        asked(one, time_h=4.0),
        asked(one, fwhm_mm=25.0),
        asked(one, nuclide="67Cu"),
        asked(one, administered_MBq=10.0),
        asked(one, administered_MBq=1e6),
        asked(one, regions={}),
    ]
    flagged = [bool(made.choice.reasons) for made in unlike]
    like = [bool(asked(p).choice.reasons) for p in tests]
    return [np.mean(flagged), np.mean(like)], all(flagged) and np.mean(like) <= 0.125


@check(f"{NAME}/safety: no activity stays none, largest of an emptied place", "of the mean", "at most 0", SIMULATED)
def nothing_from_nothing():
    patient = _tests()[0][0]
    empty = patient.seen.copy()
    place = (slice(20, 30), slice(20, 30), slice(20, 30))
    empty[place] = 0.0
    made = asked(patient, seen=empty).volume.array
    worst = float(np.abs(made[place]).max() / np.abs(made).mean())
    return worst, worst <= 0


@check(
    f"{NAME}/safety: twice the activity of twice the administered", "relative", "1e-5", "normalised by what was given"
)
def doubled():
    patient = _tests()[0][0]
    once = asked(patient).volume.array
    twice = asked(patient, seen=2 * patient.seen, administered_MBq=2 * ADMINISTERED_MBq).volume.array
    worst = float(np.abs(twice - 2 * once).max() / once.max())
    return worst, worst <= 1e-5


@check(f"{NAME}/safety: shifted by a voxel, change of kidneys and lesions over their error", "1", "0.5", SIMULATED)
def shifted():
    moved, errors = [], []
    for patient in _tests()[0][:8]:
        once = by_network(patient)
        at = asked_shifted(patient)
        for name in patient.named(JUDGED):
            mask = patient.regions[name]
            moved.append(abs(at[mask].sum() / once[mask].sum() - 1))
            errors.append(abs(patient.error(once, name)))
    ratio = float(np.mean(moved) / np.mean(errors))
    return ratio, ratio <= 0.5


def asked_shifted(patient: Patient) -> np.ndarray:
    """SUV h of the network on a scan moved by one voxel along each axis, moved back."""
    roll = lambda array, by: np.roll(array, by, axis=(0, 1, 2))
    known = {
        "time_h": patient.scan.time_h, "administered_MBq": ADMINISTERED_MBq, "mass_g": MASS_g, "tracer": patient.tracer,
        "fwhm_mm": patient.scan.fwhm_mm, "method": "network",
        "regions": {name: roll(mask, 1) for name, mask in patient.regions.items()},
    }  # fmt: skip
    image, ct = (patient.volume(roll(a, 1)) for a in (patient.seen * Bq_PER_mL, patient.hu))
    return roll(tia_from_single_scan(image, ct, **known).volume.array, -1) * MASS_g / ADMINISTERED_MBq


@check(f"{NAME}/seconds of a map", "s", "30", "64 x 50 x 76 voxels")
def seconds():
    patient = _tests()[0][0]
    taken = ai_denoise.timed(lambda: asked(patient))
    return taken, taken <= 30


@check(f"{NAME}/peak memory", "MB", "3000", "of a process that maps 64 x 64 x 80 voxels")
def memory():
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image.npy"
        np.save(path, np.random.default_rng(0).poisson(9.0, (64, 64, 80)).astype(np.float32))
        program = (
            "import numpy as np; from imaging.geometry import Volume\n"
            "from imaging.networks.tia_single import tia_from_single_scan\n"
            f"v = Volume(1e4 * np.load('{path}', allow_pickle=False), np.diag([6.0, 6.0, 6.0, 1.0]))\n"
            "mask = np.zeros(v.array.shape, bool); mask[20:30, 20:30, 20:30] = True\n"
            "tia_from_single_scan(v, v.with_array(0 * v.array), time_h=72.0, administered_MBq=7400.0, mass_g=8e4,\n"
            "    tracer='psma', fwhm_mm=12.0, regions={'liver': mask}, method='network')"
        )
        peak = ai_denoise.peak_megabytes(program)
    return peak, peak <= 3000
