"""Scans on which the organ networks are judged, and their Dice beside the atlas's; simulated scans are kept on disk.

Patients are of the test seeds: bodies that no training saw. PET by `simulate_pet`, SPECT by the virtual camera with
OSEM.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import cache

import numpy as np

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.ranges import Choice
from dose.learning.weights import found_weights
from imaging.geometry import Volume
from imaging.networks.acquisitions import HALF_WIDTH_mm, acquisition, image, trunk
from imaging.networks.organs import segment_organs
from imaging.networks.organs_25d import RECIPE as RECIPE_25D
from imaging.networks.organs_25d import segment_organs_25d
from imaging.networks.organs_atlas import NEAR, REACH, UPTAKE_PART, SPACING_mm
from imaging.networks.organs_data import PARTS, TRACERS, above_thighs, organ_classes
from imaging.networks.organs_result import ORGANS, OrganSegmentation, measured
from imaging.networks.patients import assigned, body, body_mass_g, concentrations, mass_g, patient, uptake_map
from imaging.nifti import read_nifti
from imaging.scanner import (
    Anatomy,
    Frames,
    from_label_map,
    noisy_ct,
    pet_scanner,
    simulate_pet,
    totalsegmentator_regions,
    virtual_body,
)
from imaging.scanner.anatomy import REMAINDER
from imaging.scanner.reference_scan import without_arms
from tests.validate import Skipped, shared

VOXEL_mm = 6.0
PET_SEEDS = tuple(range(TEST_FROM, TEST_FROM + 12))
SPECT_SEEDS = tuple(range(TEST_FROM, TEST_FROM + 12))
LARGE_SEEDS = (TEST_FROM + 100, TEST_FROM + 101)
CT_NOISE_HU = 12.0
IN_BODY_MBq = 120.0
REAL_BODY_g = 75_000.0
"""Assumed of the man of the real CT, of whom we have the abdomen only."""

SCAN_s = 180.0
SPECT_SCALE = 2.0
"""Over the counts of `imaging.networks.acquisitions.NOMINAL_MBq`."""

VISIBLE_mL = 2.0
"""Organs of which the field holds less are not judged."""

METHODS = ("network", "2.5D", "classical")


@dataclass(frozen=True)
class Scan:
    """One scan with its truth: `organs` are indices of ORGANS plus one on the CT's grid."""

    name: str
    emission: Volume | None
    ct: Volume
    organs: np.ndarray
    modality: str
    sex: str


def pet(seed: int, *, filter_mm: float | None = None, removed: str = "", noise_HU: float = CT_NOISE_HU) -> Scan:
    """A PET/CT from the thighs up; arms raised in half of them."""
    ill, well = (_without(anatomy, removed) for anatomy in (patient(seed, VOXEL_mm), body(seed, VOXEL_mm)))
    if removed:
        ill = well
    if assigned(seed, "arms", (False, True)):
        ill, well = (trunk(without_arms(a, HALF_WIDTH_mm)) for a in (ill, well))
    name = f"{seed}-{filter_mm}-{removed}-{noise_HU:g}"
    folder = cases_folder("organs-pet", [IN_BODY_MBq, SCAN_s])
    body_g = body_mass_g(seed, VOXEL_mm)
    made = kept(folder, name, lambda: _scanned(ill, well, seed, filter_mm, noise_HU, body_g))
    return _scan(f"pet-{name}", made, "PET", _sex(seed))


def spect(seed: int) -> Scan:
    """A 177Lu SPECT/CT of the abdomen or the head and neck: counts with noise, OSEM with TEW scatter correction."""
    made = kept(cases_folder("organs-spect", [SPECT_SCALE, CT_NOISE_HU]), str(seed), lambda: _reconstructed(seed))
    return _scan(f"spect-{seed}", made, "SPECT", _sex(seed))


def large(seed: int) -> Scan:
    """A man or woman of 130 kg, heavier than the bodies of the training."""
    made = kept(
        cases_folder("organs-large", [VOXEL_mm, IN_BODY_MBq, SCAN_s, CT_NOISE_HU]), str(seed), lambda: _heavy(seed)
    )
    return _scan(f"large-{seed}", made, "PET", _sex(seed))


def cut(scan: Scan, height_mm: float) -> Scan:
    """The slices of this height about the left kidney."""
    middle = int(np.argwhere(scan.organs == 1).mean(axis=0)[0])
    half = int(height_mm / scan.ct.spacing_mm[2] / 2)
    part = slice(max(0, middle - half), middle + half)
    affine = scan.ct.affine.copy()
    affine[:3, 3] = scan.ct.to_lps_mm([0, 0, part.start])
    emission = None if scan.emission is None else Volume(scan.emission.array[part], affine)
    ct = Volume(scan.ct.array[part], affine)
    return Scan(f"{scan.name}-cut", emission, ct, scan.organs[part], scan.modality, scan.sex)


def alone(scan: Scan) -> Scan:
    """The CT without its emission image."""
    return Scan(f"{scan.name}-ct", None, scan.ct, scan.organs, "CT", scan.sex)


def real(with_emission: bool) -> Scan:
    """The real CT of the abdomen with TotalSegmentator's labels, 3 mm; a PET is simulated on these labels."""
    ct, labels = (read_nifti(shared(f"images/ct_nifti/{name}_crop30.nii.gz"))
                  for name in ("ct_abdomen_3mm", "organs_totalsegmentator_labels"))  # fmt: skip
    anatomy = from_label_map(labels, totalsegmentator_regions(), ct=ct)
    emission = _emission(anatomy, TEST_FROM, None, REAL_BODY_g) if with_emission else None
    return Scan(f"real-{with_emission}", emission, ct, organ_classes(anatomy), "PET" if with_emission else "CT", "male")


def dice(found: OrganSegmentation, scan: Scan) -> dict[str, float]:
    """Dice of each organ of which the field holds something."""
    values = {}
    for k, name in enumerate(ORGANS, start=1):
        truth, mask = scan.organs == k, found.mask(name)
        if truth.sum() * scan.ct.voxel_mL >= VISIBLE_mL:
            values[name] = float(2 * (truth & mask).sum() / (truth.sum() + mask.sum()))
    return values


def found_by(method: str, scan: Scan) -> OrganSegmentation:
    """The segmentation by "network", "2.5D" or "classical"; the atlas's is kept on disk."""
    if method == "classical":
        scanned = [IN_BODY_MBq, SCAN_s, SPECT_SCALE]
        folder = cases_folder("organs-atlas", [SPACING_mm, UPTAKE_PART, list(NEAR), REACH, *scanned])
        made = kept(folder, scan.name, lambda: {"labels": _by_atlas(scan).labels.array.astype(np.uint8)})
        names = {int(k): ORGANS[int(k) - 1] for k in np.unique(made["labels"]) if k}
        labels = scan.ct.with_array(made["labels"])
        volumes = measured(labels.array, names, labels.voxel_mL)
        return OrganSegmentation(labels, names, volumes, {}, {}, Choice("classical"))
    if method == "2.5D" and (why := found_weights(RECIPE_25D)[1]):
        raise Skipped(why)
    call = segment_organs_25d if method == "2.5D" else segment_organs
    return call(scan.emission, scan.ct, modality=scan.modality, method="network")


def _by_atlas(scan: Scan) -> OrganSegmentation:
    return segment_organs(scan.emission, scan.ct, modality=scan.modality, method="classical", sex=scan.sex)


@cache
def found(kind: str, method: str) -> tuple[OrganSegmentation, ...]:
    """The segmentations of all scans of a kind."""
    return tuple(found_by(method, scan) for scan in scans(kind))


def scored(kind: str, method: str) -> list[dict[str, float]]:
    """Dice by organ, of each scan of a kind: "pet", "spect", "ct", "large", "blurred", "noisy", "cut"."""
    return [dice(one, scan) for one, scan in zip(found(kind, method), scans(kind))]


@cache
def scans(kind: str) -> tuple[Scan, ...]:
    """The scans of a kind."""
    few = PET_SEEDS[:2]
    makers = {
        "pet": lambda: [pet(seed) for seed in PET_SEEDS],
        "spect": lambda: [spect(seed) for seed in SPECT_SEEDS],
        "ct": lambda: [alone(pet(seed)) for seed in PET_SEEDS],
        "large": lambda: [large(seed) for seed in LARGE_SEEDS],
        "blurred": lambda: [pet(seed, filter_mm=22.0) for seed in few],
        "noisy": lambda: [pet(seed, noise_HU=45.0) for seed in few],
        "cut": lambda: [cut(pet(seed), 220.0) for seed in few],
    }
    return tuple(makers[kind]())


def means(kind: str, method: str) -> list[float]:
    """Mean Dice over the organs of each scan."""
    return [float(np.mean(list(values.values()))) for values in scored(kind, method)]


def by_organ(kind: str, method: str) -> dict[str, float]:
    """Mean Dice over the scans of each organ."""
    rows = scored(kind, method)
    judged = {name: [row[name] for row in rows if name in row] for name in ORGANS}
    return {name: float(np.mean(values)) for name, values in judged.items() if values}


@cache
def timed() -> tuple[float, float]:
    """Seconds of the network on a scan from the thighs up, and height of its field in mm."""
    scan = scans("pet")[0]
    begin = time.perf_counter()
    found_by("network", scan)
    return time.perf_counter() - begin, float(scan.ct.array.shape[0] * scan.ct.spacing_mm[2])


def _sex(seed: int) -> str:
    """Of the body that `imaging.networks.patients.body` gives; the atlas may know it, as a clinic does."""
    return "female" if seed % 2 else "male"


def _without(anatomy: Anatomy, removed: str) -> Anatomy:
    if not removed:
        return anatomy
    labels = anatomy.labels.copy()
    gone, rest = (anatomy.names.index(name) for name in (removed, REMAINDER))
    hu = anatomy.ct.array.copy()
    hu[labels == gone] = np.median(hu[labels == rest])
    labels[labels == gone] = rest
    return Anatomy(labels, anatomy.names, anatomy.density_g_cm3, anatomy.ct.with_array(hu), anatomy.unions)


def _scanned(ill: Anatomy, well: Anatomy, seed: int, filter_mm: float | None, noise_HU: float, body_g: float) -> dict:
    box = above_thighs(ill)
    affine = ill.affine.copy()
    affine[:3, 3] = ill.ct.to_lps_mm([s.start for s in box][::-1])
    inner = Anatomy(ill.labels[box], ill.names, ill.density_g_cm3, Volume(ill.ct.array[box], affine), ill.unions)
    emission = _emission(inner, seed, filter_mm, body_g)
    ct = noisy_ct(inner, noise_HU, seed)
    return {"emission": emission.array, "hu": ct.array, "affine": affine, "organs": organ_classes(well)[box]}


def _emission(anatomy: Anatomy, seed: int, filter_mm: float | None, body_g: float) -> Volume:
    uptake = concentrations(anatomy, assigned(seed, "tracer", TRACERS), seed)
    activity = uptake_map(anatomy, uptake, IN_BODY_MBq, body_g)
    scanner = pet_scanner(**({} if filter_mm is None else {"filter_fwhm_mm": filter_mm}))
    return simulate_pet(activity, anatomy.ct, scanner, "68Ga", Frames.static(SCAN_s), seed=seed)[0].volume


def _reconstructed(seed: int) -> dict:
    seen = acquisition(seed)
    random = np.random.default_rng([seed, 9])
    array = image(seen.counted(SPECT_SCALE, random), seen)
    hu = seen.ct.array + CT_NOISE_HU * random.standard_normal(seen.ct.array.shape)
    return {"emission": array, "hu": hu, "affine": seen.ct.affine, "organs": _classes_in(seed, seen)}


def _classes_in(seed: int, seen) -> np.ndarray:
    """Organ classes of the field; a lesion in an organ counts as organ, as in the body without lesions."""
    table = np.zeros(len(seen.names), dtype=np.uint8)
    for k, organ in enumerate(ORGANS, start=1):
        for part in PARTS.get(organ, (organ,)):
            table[seen.names.index(part)] = k
    found = table[seen.labels]
    whole = body(seed, seen.physics.voxel_mm)
    grid = Volume(found, seen.ct.affine)
    healthy = whole.ct.with_array(organ_classes(whole)).resampled_onto(grid, interpolation="nearest").array
    lesions = np.isin(seen.labels, [k for k, name in enumerate(seen.names) if name.startswith("tumour_")])
    found[lesions] = healthy[lesions]
    return found


def _heavy(seed: int) -> dict:
    heavy = virtual_body(_sex(seed), voxel_mm=VOXEL_mm, weight_kg=130.0, height_cm=180.0, seed=seed)
    return _scanned(heavy, heavy, seed, None, CT_NOISE_HU, mass_g(heavy))


def _scan(name: str, made, modality: str, sex: str) -> Scan:
    ct = Volume(made["hu"], made["affine"])
    return Scan(name, ct.with_array(made["emission"]), ct, np.asarray(made["organs"]), modality, sex)
