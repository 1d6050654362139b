"""Cases of partial-volume restoration: OSEM images of patients beside the activity that was there, lesions added.

Patients are those of `imaging.networks.acquisitions`, with half of the views. They get more lesions of every size,
among them cold ones, hot rims and uneven ones. For training, primary photons of the peak window are projected anew,
with the septa's tail, along one of a few orbits (what is compiled for one serves all), and scatter is that of the
patient as simulated before. For tests (`full_case`) all is simulated anew along the patient's own orbit.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from dose.learning.cases import Case
from dose.learning.recipe import Config
from imaging.networks.acquisitions import SHAPE, Acquisition, acquisition, image, sensitivity
from imaging.networks.sparse_views import sparse
from imaging.projections import Projections
from imaging.reconstruct import attenuation_map, collimator_response, spect_system
from imaging.reconstruct.iterations import Settings
from imaging.scanner.camera import camera
from imaging.scanner.rates import count_rates
from imaging.scanner.tails import with_tails

EVERY = 2
"""Of the simulated views that are used: 60 of 120."""

PLACES_TRIED = 60
CLEAR_VOXELS = 1
"""Between an added lesion and any other one."""

NEARER_mm = 16.0
"""By which an orbit may come nearer than the patient's own, which keeps 20 mm from the skin."""

KINDS = {"even": 0.55, "rim": 0.15, "uneven": 0.15, "cold": 0.15}
"""What added lesions are like, and how often."""

CORE = 0.55
"""Radius of a rim's core over that of the lesion."""


def case(seed: int, config: Config) -> Case:
    """Images of a patient, Bq/mL of the nominal activity, with truth, labels and CT; the first index is the image."""
    seen, random, data = acquisition(seed), np.random.default_rng([seed, 17]), config.data
    orbit_mm = orbit(seen, data["orbits"])
    scans = []
    for k in range(int(data["images"])):
        activity = seen.activity.array if k == 0 else redrawn(seen, random, float(data["organs_sd"]))
        more, labels = with_more(seen, activity, random, data)
        scans.append((projected(seen, more, orbit_mm), more, labels))
    return _case(seen, scans, random, data)


def full_case(seen: Acquisition, seed: int, data: Mapping) -> Case:
    """As `case`, one image with more lesions, all of it simulated along the acquisition's own orbit."""
    random = np.random.default_rng([seed, 18])
    more, labels = with_more(seen, seen.activity.array, random, data)
    return _case(seen, [(simulated(seen, more), more, labels)], random, data)


def plain_case(seen: Acquisition, seed: int, data: Mapping) -> Case:
    """As `full_case`, of the patient without more lesions."""
    plain = sparse(seen.empty.with_counts(seen.expected), EVERY)
    return _case(seen, [(plain, seen.activity.array, seen.labels)], np.random.default_rng([seed, 19]), data)


def _case(seen: Acquisition, scans, random, data: Mapping) -> Case:
    made = [reconstructed(seen, counts, random, data) for counts, _, _ in scans]
    return {
        "image": np.stack([m for m, _ in made]).astype(np.float32),
        "updates": np.array([n for _, n in made]),
        "activity": np.stack([a for _, a, _ in scans]).astype(np.float32),
        "labels": np.stack([a for _, _, a in scans]).astype(np.uint8),
        "hu": seen.ct.array.astype(np.float32),
        "names": np.array(seen.names),
        "spacing_mm": seen.ct.spacing_mm,
    }


def redrawn(seen: Acquisition, random, sd: float) -> np.ndarray:
    """The activity with each label's turned by a factor of this sd of the logarithm."""
    return seen.activity.array * np.exp(random.normal(0, sd, len(seen.names)))[seen.labels].astype(np.float32)


def orbit(seen: Acquisition, orbits) -> np.ndarray:
    """Of the orbits (seed, mm added) the nearest that clears the patient, [view of `EVERY`], mm; else its own."""
    own = np.asarray(seen.empty.radii_mm)[::EVERY]
    all_ = [np.asarray(acquisition(int(s)).empty.radii_mm)[::EVERY] + float(more) for s, more in orbits]
    fitting = [radii for radii in all_ if (radii - own).min() >= -NEARER_mm]
    return min(fitting, key=lambda radii: radii.mean()) if fitting else own


def projected(seen: Acquisition, activity: np.ndarray, orbit_mm: np.ndarray) -> Projections:
    """Expected counts along an orbit: primary photons of the peak of this activity, all else of the one simulated."""
    empty = replace(sparse(seen.empty, EVERY), radii_mm=orbit_mm)
    spec, line_keV, grid = camera(seen.physics.collimator), seen.physics.line_keV, empty.grid()
    response = collimator_response(spec.collimator, line_keV, spec.intrinsic_fwhm_at(line_keV))
    system = spect_system(empty, response=response, attenuation_per_mm=attenuation_map(seen.ct, grid, line_keV))
    source, low = np.zeros(grid.array.shape, np.float32), (grid.array.shape[1] - SHAPE[1]) // 2
    source[:, low : low + SHAPE[1]] = activity * seen.activity.voxel_mL * 1e-6 * sensitivity(seen)
    counts, peak = seen.expected[:, ::EVERY].copy(), empty.window("peak", line_keV)
    made = with_tails(system.forward(source), empty, spec, line_keV)
    counts[peak] = seen.scatter[peak, ::EVERY] + np.maximum(np.asarray(made), 0)
    return empty.with_counts(counts.astype(np.float32))


def simulated(seen: Acquisition, activity: np.ndarray) -> Projections:
    """Expected counts of another activity in the same body, with the views that are used."""
    empty, spec = sparse(seen.empty, EVERY), camera(seen.physics.collimator)
    rates = count_rates(seen.activity.with_array(activity), seen.ct, empty, spec, oversample=1)
    return empty.with_counts((rates.total * np.asarray(empty.frame_s)[None, :, None, None]).astype(np.float32))


def reconstructed(seen: Acquisition, counts: Projections, random, data: Mapping) -> tuple[np.ndarray, int]:
    """OSEM of Poisson counts of a drawn part of the nominal activity, scaled back to it; and the updates it took."""
    low, high = np.log(data["scales"])
    scale = float(np.exp(random.uniform(low, high)))
    settings = Settings(*data["settings"][int(random.integers(len(data["settings"])))])
    drawn = counts.with_counts(random.poisson(scale * counts.counts).astype(np.float32))
    return image(drawn, seen, settings) / scale, settings.iterations * settings.subsets


def with_more(seen: Acquisition, before: np.ndarray, random, data: Mapping) -> tuple[np.ndarray, np.ndarray]:
    """An activity and the labels with more lesions, one label each after those of `seen.names`."""
    activity, labels = before.astype(np.float32).copy(), seen.labels.astype(int).copy()
    first, level = len(seen.names), float(np.median(activity[labels > 0]))
    for _ in range(int(random.integers(data["added"][0], data["added"][1] + 1))):
        _add(activity, labels, seen, first, level, random, data)
    return activity, labels


def _add(activity, labels, seen: Acquisition, first: int, level: float, random, data: Mapping) -> None:
    volume = float(np.exp(random.uniform(*np.log(data["volumes_mL"]))))
    taken = [k for k, name in enumerate(seen.names) if name.startswith("tumour_")]
    for _ in range(PLACES_TRIED):
        at, far = _ellipsoid(labels, volume, seen.activity.voxel_mL, random)
        box = tuple(slice(max(0, int(i.min()) - CLEAR_VOXELS), int(i.max()) + CLEAR_VOXELS + 1) for i in at)
        near = labels[box]
        if (labels[at] == 0).any() or np.isin(near, taken).any() or (near >= first).any():
            continue
        activity[at] = _uptake(activity[at], far, level, random, data)
        labels[at] = max(first, int(labels.max()) + 1)
        return


def _ellipsoid(labels, volume_mL: float, voxel_mL: float, random):
    """Indices of the voxels of an ellipsoid about a random voxel of a random organ, and their distance, 1 outside."""
    organ = random.choice(np.unique(labels)[1:]) if random.random() < 0.5 else None
    places = np.flatnonzero(labels > 0 if organ is None else labels == organ)
    centre = np.array(np.unravel_index(random.choice(places), labels.shape)) + random.uniform(-0.5, 0.5, 3)
    axes = np.exp(random.normal(0, 0.2, 3))
    radius = (3 * volume_mL / voxel_mL / (4 * np.pi)) ** (1 / 3) * axes / axes.prod() ** (1 / 3)
    low = np.maximum(np.floor(centre - radius), 0).astype(int)
    high = np.minimum(np.ceil(centre + radius) + 1, labels.shape).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(a, b) for a, b in zip(low, high)), indexing="ij")).reshape(3, -1)
    far = np.sqrt((((index - centre[:, None]) / radius[:, None]) ** 2).sum(axis=0))
    inside = far <= 1 if (far <= 1).sum() >= 3 else far <= np.sort(far)[min(2, far.size - 1)]
    return tuple(index[:, inside]), far[inside]


def _uptake(before, far, level: float, random, data: Mapping) -> np.ndarray:
    kind = random.choice(list(KINDS), p=list(KINDS.values()))
    if kind == "cold":
        return before * random.uniform(0.0, 0.6)
    value = level * float(np.exp(random.uniform(*np.log(data["uptake"]))))
    if kind == "rim":
        return np.where(far < CORE, value * random.uniform(0.0, 0.5), value)
    if kind == "uneven":
        return value * np.exp(random.normal(0, 0.35, far.shape))
    return np.full(far.shape, value)


def lesions_of(found: Case, k: int) -> dict[int, np.ndarray]:
    """Masks of the lesions of image k by label."""
    names, labels = [str(n) for n in found["names"]], found["labels"][k]
    return {int(n): labels == n for n in np.unique(labels) if n >= len(names) or names[n].startswith("tumour_")}


def organ_of(found: Case, k: int, *names: str) -> np.ndarray:
    """Mask of organs by name in image k."""
    known = [str(n) for n in found["names"]]
    return np.isin(found["labels"][k], [known.index(n) for n in names if n in known])
