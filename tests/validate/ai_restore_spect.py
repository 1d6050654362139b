"""Figures of a restored SPECT against the activity that was simulated, and every method's image of a test case."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from scipy.ndimage import binary_erosion, maximum_filter, shift
from skimage import measure

from dose.learning.cases import TEST_FROM, Case, cases_folder, kept
from dose.learning.paired import Paired, paired
from imaging.geometry import Volume
from imaging.networks.acquisitions import SHAPE, Acquisition, Physics, acquisition, protocol
from imaging.networks.restore_spect import CHOSEN, RECIPE, Restored, restored_spect
from imaging.networks.restore_spect_cases import full_case, lesions_of, organ_of, plain_case
from imaging.networks.restore_spect_classical import (
    HOT,
    by_recovery,
    by_yang,
    deconvolved,
    image_of,
    regions_of,
    surroundings,
    volumes,
)
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.nema import nema_iec

TESTS, OTHERS = 12, 3
"""Test patients with more lesions; those before another camera, or with fewer counts."""

LESION_FREE = (0, 3, 7, 9)
"""Test patients whose own scans hold no lesion: two abdomens, two of head and neck (0 and 3 have some elsewhere)."""

OTHER = Physics(collimator="GI-MEGP", margin_mm=45.0)
PHANTOM_MBq = 1000.0
"""In the IEC phantom."""

OFF_VOXELS = 0.5
"""Along every axis, by which masks are off."""

SIZES_mL = {"below 2 mL": (0, 2), "2 to 5 mL": (2, 5), "5 to 20 mL": (5, 20), "above 20 mL": (20, 1e9)}
LEAST_FALSE_VOXELS, LEAST_ORGAN_VOXELS = 4, 100


@dataclass(frozen=True)
class Lesion:
    """Means of one lesion by method, true, and in the surroundings; Bq/mL."""

    patient: int
    volume_mL: float
    true: float
    about: float
    means: Mapping[str, float]
    sd: float

    @property
    def hot(self) -> bool:
        return self.true > HOT * self.about

    def error(self, method: str) -> float:
        return abs(self.means[method] / self.true - 1)


@dataclass(frozen=True)
class Seen:
    """A test case, its images by method, and the network's answer."""

    patient: int
    case: Case
    images: Mapping[str, np.ndarray]
    network: Restored

    @property
    def activity(self) -> np.ndarray:
        return self.case["activity"][0]

    @property
    def body(self) -> np.ndarray:
        return self.case["labels"][0] > 0

    def organ(self, *names: str) -> np.ndarray:
        return organ_of(self.case, 0, *names)

    def bias(self, method: str, mask: np.ndarray) -> float:
        return float(self.images[method][mask].mean() / self.activity[mask].mean() - 1)

    def rmse(self, method: str) -> float:
        error = (self.images[method] - self.activity)[self.body]
        return float(np.sqrt(np.mean(error**2)) / self.activity[self.body].mean())

    @property
    def lesions(self) -> list[Lesion]:
        found, image = [], image_of(self.case, 0)
        for mask in lesions_of(self.case, 0).values():
            off, true = moved(mask), float(self.activity[mask].mean())
            means = {
                name: float(a[mask].mean()) if "off" not in name else float((a * off).sum() / off.sum())
                for name, a in self.images.items()
            }
            sd = self.network.mean_in(image.with_array(mask.astype(np.float32)))[1]
            volume = float(mask.sum()) * image.voxel_mL
            found.append(Lesion(self.patient, volume, true, surroundings(self.case, 0, mask), means, sd))
        return found


def moved(mask: np.ndarray) -> np.ndarray:
    """Weights of a mask drawn off its place."""
    return np.clip(shift(mask.astype(np.float32), OFF_VOXELS, order=1), 0, 1)


def restored(image: Volume, ct: Volume | None, updates: int) -> Restored:
    return restored_spect(image, ct, line_keV=208.0, updates=updates, method="network")


def seen_by_all(patient: int, case: Case, *, masks: bool = True, off: bool = False) -> Seen:
    """A case by every method; "off" methods have their masks half a voxel off, and are read with those."""
    image = image_of(case, 0)
    made = restored(image, image.with_array(case["hu"]), int(case["updates"][0]))
    sharp, quiet = (
        deconvolved(image.array, image.spacing_mm, width, [steps])[0]
        for width, steps in ((CHOSEN.fwhm_mm, CHOSEN.steps), (CHOSEN.quiet_fwhm_mm, CHOSEN.quiet_steps))
    )
    found = {"none": image.array, "network": made.volume.array, "deconvolution": sharp, "quiet deconvolution": quiet}
    regions = regions_of(case, 0)
    if masks:
        found |= _by_masks(image, volumes(regions, image), "")
    if off:
        found |= {"none off": image.array, "network off": made.volume.array}
        found |= _by_masks(image, {name: image.with_array(moved(mask)) for name, mask in regions.items()}, " off")
    return Seen(patient, case, found, made)


def _by_masks(image: Volume, masks: Mapping[str, Volume], words: str) -> dict[str, np.ndarray]:
    drawn = {name: mask for name, mask in masks.items() if name != "body"}
    return {
        f"recovery{words}": by_recovery(image, drawn, CHOSEN.b1_mL, CHOSEN.b2),
        f"yang{words}": by_yang(image, masks, CHOSEN.yang_fwhm_mm),
    }


def simulated_case(
    name: str, seed: int, make: Callable[[Acquisition, int, Mapping], Case], physics: Physics, data
) -> Case:
    """A case of the test, from disk where it was simulated before."""
    folder = cases_folder(f"restore_spect_{name}", {**data, "physics": physics.__dict__})
    return kept(folder, str(seed), lambda: make(acquisition(seed, physics), seed, data))


@cache
def tests() -> list[Seen]:
    """Patients with lesions of all kinds, all of it simulated."""
    data = dict(RECIPE.config().data)
    seeds = range(TEST_FROM, TEST_FROM + TESTS)
    return [seen_by_all(s - TEST_FROM, simulated_case("test", s, full_case, Physics(), data), off=True) for s in seeds]


@cache
def lesion_free() -> list[Seen]:
    data = dict(RECIPE.config().data)
    cases = [simulated_case("plain", TEST_FROM + k, plain_case, Physics(), data) for k in LESION_FREE]
    assert not any(lesions_of(case, 0) for case in cases)
    return [seen_by_all(k, case, masks=False) for k, case in zip(LESION_FREE, cases)]


@cache
def others() -> list[Seen]:
    """Another collimator, farther from the body."""
    data, seeds = dict(RECIPE.config().data), range(TEST_FROM, TEST_FROM + OTHERS)
    return [seen_by_all(s - TEST_FROM, simulated_case("other", s, full_case, OTHER, data)) for s in seeds]


@cache
def faint() -> list[Seen]:
    """A tenth of the least counts of training."""
    data = dict(RECIPE.config().data) | {"scales": [0.01, 0.02], "settings": [[2, 15]]}
    seeds = range(TEST_FROM, TEST_FROM + OTHERS)
    return [seen_by_all(s - TEST_FROM, simulated_case("test", s, full_case, Physics(), data)) for s in seeds]


def lesions(seen: Sequence[Seen], *, hot: bool = True) -> list[Lesion]:
    return [lesion for one in seen for lesion in one.lesions if lesion.hot == hot]


def compared(of: Sequence[Lesion], other: str, network: str = "network") -> Paired:
    """Absolute relative errors of lesion means by network and another method, by lesion; patients are drawn."""
    return paired(*([n.error(m) for n in of] for m in (network, other)), groups=[n.patient for n in of])


def by_patient(of: Sequence[Lesion], other: str) -> Paired:
    """As `compared`, of the mean of each patient."""
    patients = sorted({n.patient for n in of})
    return paired(
        *([np.mean([n.error(m) for n in of if n.patient == p]) for p in patients] for m in ("network", other))
    )


def organ_biases(seen: Sequence[Seen], method: str, *names: str) -> np.ndarray:
    """Of each organ of each patient that the field holds, %."""
    return np.array([100 * one.bias(method, mask) for one, mask in _organs(seen, names)])


def organs_compared(seen: Sequence[Seen], other: str, *names: str) -> Paired:
    """Sizes of `organ_biases` by network and another method; patients are drawn."""
    sizes = [np.abs(organ_biases(seen, method, *names)) for method in ("network", other)]
    return paired(*sizes, groups=[one.patient for one, _ in _organs(seen, names)])


def _organs(seen: Sequence[Seen], names: Sequence[str]) -> list[tuple[Seen, np.ndarray]]:
    masks = [(one, one.organ(name)) for one in seen for name in names]
    return [(one, mask) for one, mask in masks if mask.sum() > LEAST_ORGAN_VOXELS]


def liver_noise(seen: Sequence[Seen], method: str) -> list[float]:
    """Sd over mean of the liver, two voxels from its edge and from lesions."""
    found = []
    for one in seen:
        inner = np.asarray(binary_erosion(one.organ("liver"), iterations=2), dtype=bool)
        if inner.sum() > LEAST_ORGAN_VOXELS:
            values = one.images[method][inner]
            found.append(float(values.std() / values.mean()))
    return found


def invented(one: Seen, method: str) -> int:
    """Pieces hotter than anything near them is, by half of it and by the body's mean."""
    near = maximum_filter(one.activity, size=5)
    excess = one.images[method] - near
    pieces = np.asarray(measure.label((excess > 0.5 * near) & (excess > one.activity[one.body].mean()) & one.body))
    return int(np.sum(np.bincount(pieces.ravel())[1:] >= LEAST_FALSE_VOXELS))


NEMA_RATIO = 8.0


def nema_acquisition() -> tuple[Acquisition, np.ndarray]:
    """The IEC phantom before the camera, not simulated yet, and the spheres' shares of voxels [sphere, z, y, x]."""
    physics = Physics()
    affine = np.diag([physics.voxel_mm] * 3 + [1.0])
    affine[:3, 3] = -physics.voxel_mm * (np.array(SHAPE[::-1]) - 1) / 2
    made = nema_iec(1000.0, NEMA_RATIO, grid=Volume(np.zeros(SHAPE, np.float32), affine))
    labels = (made.background > 0.5).astype(np.uint8)
    for k, share in enumerate(made.spheres):
        labels[share > 0.5] = 2 + k
    names = ("outside", "remainder", *(f"tumour_{k + 1}" for k in range(len(made.spheres))))
    activity = made.activity_Bq_per_mL
    activity = activity.with_array(
        (activity.array * PHANTOM_MBq * 1e6 / (activity.array.sum() * activity.voxel_mL)).astype(np.float32)
    )
    anatomy = Anatomy(labels, names, np.ones(len(names)), made.ct)
    empty = protocol(anatomy, physics).acquisition()
    nothing = np.zeros((len(empty.windows), physics.views, SHAPE[0], SHAPE[2]), np.float32)
    seen = Acquisition(nothing, nothing, activity, made.ct, labels, names, empty, physics)
    return seen, made.spheres


@cache
def nema() -> tuple[Seen, np.ndarray]:
    """The phantom by every method, with its spheres' shares; counts in the middle of the training's."""
    seen, shares = nema_acquisition()
    data = dict(RECIPE.config().data) | {"added": [0, 0], "scales": [0.5, 0.5], "settings": [[2, 15]]}
    depends_on = data | {"ratio": NEMA_RATIO, "activity_MBq": PHANTOM_MBq}
    case = kept(cases_folder("restore_spect_nema", depends_on), "0", lambda: full_case(seen, 0, data))
    return seen_by_all(0, case), shares


def sphere_recoveries(seen: Seen, shares: np.ndarray, method: str) -> np.ndarray:
    """Mean of each sphere over that of the true image on the same voxels."""
    return np.array([(s * seen.images[method]).sum() / (s * seen.activity).sum() for s in shares])
