"""Test patients of the two networks of time-integrated activity, their maps by each method, and errors of regions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.paired import paired
from imaging.geometry import Volume
from imaging.networks.patients import BODIES
from imaging.networks.tia_batches import Scan, pet, spect
from imaging.networks.tia_scans import class_of, names_of
from twin.virtual_tia import virtual_patients

ADMINISTERED_MBq, MASS_g = 7400.0, 80_000.0
Bq_PER_mL = ADMINISTERED_MBq * 1e6 / MASS_g
"""Of SUV 1."""

TESTS = 40
JUDGED = ("kidney", "tumour")
ORGANS = ("liver", "spleen", "gland")
LEAST_VOXELS = 4


@dataclass(frozen=True)
class Patient:
    """One picture: `seen` and `truth` [z, y, x] in SUV and SUV h, masks by name, and how it was taken."""

    seen: np.ndarray
    truth: np.ndarray
    hu: np.ndarray
    regions: Mapping[str, np.ndarray]
    tracer: str
    scan: Scan
    spacing_mm: np.ndarray
    body: int = 0

    @property
    def affine(self) -> np.ndarray:
        return np.diag([*self.spacing_mm, 1.0])

    def volume(self, array: np.ndarray) -> Volume:
        return Volume(np.asarray(array, np.float32), self.affine)

    @property
    def ct(self) -> Volume:
        return self.volume(self.hu)

    def named(self, groups: Sequence[str]) -> list[str]:
        return [name for name in self.regions if class_of(name) in groups]

    def error(self, array: np.ndarray, name: str) -> float:
        """Of a region's sum, relative."""
        mask = self.regions[name]
        return float(array[mask].sum(dtype=float) / self.truth[mask].sum(dtype=float) - 1)

    def mean_error(self, array: np.ndarray, groups: Sequence[str] = JUDGED) -> float:
        """Mean size of the errors of the regions of some classes, %."""
        return 100 * float(np.mean([abs(self.error(array, name)) for name in self.named(groups)]))


def case_of(seed: int, **more) -> dict[str, np.ndarray]:
    """Two draws of kinetics on one body; kept on disk."""
    data = {"voxel_mm": 6.0, "draws": 2, **more}
    return dict(kept(cases_folder("tia_test", data), str(seed), lambda: virtual_patients(seed, data)))


def patients(kind: str, count: int = TESTS, first: int = TEST_FROM, more: Mapping | None = None, **fixed) -> list:
    """Test patients with kidneys or lesions in the picture; `fixed` are fields of their scans."""
    found = []
    for seed in range(first, first + count):
        case, random = case_of(seed, **(more or {})), np.random.default_rng([seed, 21])
        drawn = {"fwhm_mm": float(random.uniform(9, 15)), "noise": float(random.uniform(0.03, 0.12))}
        drawn["time_h"] = float(random.uniform(20, 170))
        if kind == "pet":
            drawn = {"fwhm_mm": float(random.uniform(5, 8)), "noise": float(random.uniform(0.05, 0.2))}
        one = _patient(kind, case, Scan(**{**drawn, **fixed}), random)
        if one.named(JUDGED):
            found.append(replace(one, body=(seed - first) % BODIES["test"]))
    return found


def _patient(kind: str, case, scan: Scan, random: np.random.Generator) -> Patient:
    labels, names = case["labels"], names_of(case)
    if kind == "pet":
        seen, truth = pet(case, 0, scan, random)
    else:
        taken = spect(case, 0, scan, random)
        seen, truth = taken.seen, taken.truth
    held = {n: labels == k for k, n in enumerate(names) if k and class_of(n) in (*JUDGED, *ORGANS)}
    regions = {n: mask for n, mask in held.items() if mask.sum() >= LEAST_VOXELS}
    tracer = ("psma", "sstr")[int(case["tracer"])]
    return Patient(seen, truth, case["hu"].astype(np.float32), regions, tracer, scan, case["spacing_mm"])


def voxel_error(patient: Patient, array: np.ndarray) -> float:
    """Root mean square over the voxels of kidneys, organs and lesions, relative to their mean, %."""
    mask = np.any(list(patient.regions.values()), axis=0)
    rms = np.sqrt(np.mean((array[mask] - patient.truth[mask]) ** 2))
    return 100 * float(rms / patient.truth[mask].mean())


@dataclass(frozen=True)
class Tests:
    """Test patients with their maps in SUV h, each made when it is asked for.

    Attributes:
        make: the map of a patient by a method, "network" or another.
        classical: methods beside the network.
    """

    patients: list[Patient]
    make: Callable[[Patient, str], np.ndarray]
    classical: tuple[str, ...]
    made: dict[str, list[np.ndarray]] = field(default_factory=dict)

    def maps(self, method: str) -> list[np.ndarray]:
        if method not in self.made:
            self.made[method] = [self.make(patient, method) for patient in self.patients]
        return self.made[method]

    def errors(self, method: str, groups: Sequence[str] = JUDGED) -> list[float]:
        """Mean size of the errors of regions of some classes, %, of the patients that have one."""
        return [p.mean_error(m, groups) for p, m in zip(self.patients, self.maps(method)) if p.named(groups)]

    def bias(self, method: str, group: str) -> float:
        """Mean error of all regions of a class, %."""
        found = [p.error(m, n) for p, m in zip(self.patients, self.maps(method)) for n in p.named((group,))]
        return 100 * float(np.mean(found))

    def strongest(self, groups: Sequence[str] = JUDGED) -> str:
        """The classical method of the least mean error."""
        return min(self.classical, key=lambda method: np.mean(self.errors(method, groups)))

    def against(self, other: str, groups: Sequence[str] = JUDGED):
        """Value and verdict of a row: the network's errors beside another method's."""
        bodies = [p.body for p in self.patients if p.named(groups)]
        return verdict(self.errors("network", groups), self.errors(other, groups), bodies)

    def voxels(self, other: str, own: str = "network"):
        """The same for the errors of voxels."""
        errors = ([voxel_error(p, m) for p, m in zip(self.patients, self.maps(k))] for k in (own, other))
        return verdict(*errors, [p.body for p in self.patients])


def verdict(own: Sequence[float], other: Sequence[float], bodies: Sequence[int] | None = None):
    """Value and verdict of a row that asks for smaller errors; cases of one body hang together."""
    result = paired(own, other, groups=bodies)
    return result.values(), result.better()
