"""A diagnostic PET and a later 177Lu SPECT of one simulated patient, with lesions that stayed, vanished and appeared.

The SPECT is OSEM of noisy projections of `imaging.networks.acquisitions`, by the virtual camera. The PET is that of the
same body with other lesions, by the virtual PET scanner; its map comes from `lesions_pet`, then is misregistered.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
from scipy.ndimage import distance_transform_edt, gaussian_filter, shift

from dose.learning.cases import Case, cases_folder, kept
from imaging.geometry import Volume
from imaging.networks.acquisitions import Acquisition, Physics, acquisition, field_of_view, image, tracer_of
from imaging.networks.lesions_cases import ORGANS
from imaging.networks.lesions_pet import segment_lesions
from imaging.networks.lesions_scans import LesionScan, pet_of
from imaging.networks.patients import body_mass_g, concentrations
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.lesions import sampled_lesions, with_lesions

APPEARED = 0.3
"""Part of the SPECT's lesions that the PET did not show."""

VANISHED = {"bone": 1, "node": 1}
"""Lesions of the PET that are gone on the SPECT."""

CONTRAST_fwhm_mm = 14.0
"""Blur at which a lesion's contrast is stated: the order of what OSEM of 177Lu leaves."""

MOVED_mm = 4.0
"""Sd along each axis of the prior's misregistration."""


@dataclass(frozen=True)
class FollowUp:
    """The SPECT as a scan in Bq/mL, its prior, the mask that the prior comes from, moved as the prior is, and labels of
    its lesions that are new, and of those gone."""

    scan: LesionScan
    prior: Volume
    earlier: Volume
    appeared: np.ndarray
    vanished: Volume


def follow_up(seed: int, physics: Physics | None = None, *, scale: float = 1.5) -> FollowUp:
    """PET and SPECT of a seed; the SPECT is reconstructed once, then read from disk.

    Args:
        scale: over the counts of `NOMINAL_MBq`.
    """
    physics = physics or Physics()
    seen = acquisition(seed, physics)
    folder = cases_folder("lesion-spect", [scale, asdict(physics)])
    made = kept(folder, str(seed), lambda: _simulated(seed, seen, physics, scale))
    grid, truth = seen.ct, made["truth"]
    organs = {name: grid.with_array(seen.mask(name)) for name in ORGANS if seen.mask(name).any()}
    spect = grid.with_array(made["spect"])
    tracer = tracer_of(seed, physics)
    scan = LesionScan(
        spect,
        grid,
        grid.with_array(truth.astype(np.float32)),
        organs,
        made["volumes_mL"],
        made["contrasts"],
        tracer,
        physics.nuclide,
    )
    prior, earlier = _prior(grid.with_array(made["pet"]), grid, tracer, organs, seed)
    return FollowUp(scan, prior, earlier, made["appeared"], grid.with_array(made["vanished"].astype(np.float32)))


def _prior(pet: Volume, ct: Volume, tracer: str, organs: Mapping[str, Volume], seed: int) -> tuple[Volume, Volume]:
    """Probability and mask by `lesions_pet`, misregistered."""
    found = segment_lesions(pet, ct, tracer=tracer, organs=organs, method="network")
    by = np.random.default_rng([seed, 33]).normal(0, MOVED_mm, 3) / ct.spacing_mm[::-1]
    prior, mask = (np.clip(shift(v.array, by, order=1), 0, 1) for v in (found.probability, found.mask))
    return ct.with_array(prior), ct.with_array(mask >= 0.5)


def _simulated(seed: int, seen: Acquisition, physics: Physics, scale: float) -> Case:
    random = np.random.default_rng([seed, 31])
    number = sum(name.startswith("tumour_") for name in seen.names)
    first = len(seen.names) - number
    labels = seen.labels.astype(int)
    truth = np.where(labels >= first, labels - first + 1, 0)
    present = [k for k in range(1, number + 1) if (truth == k).any()]
    new = np.array([k for k in present if random.random() < APPEARED], dtype=int)
    before, gone = _earlier(field_of_view(seed, physics.voxel_mm), new, first, seed)
    tracer = tracer_of(seed, physics)
    per_label = concentrations(before, tracer, seed)
    pet = pet_of([per_label[before.labels]], seen.ct, "68Ga", body_mass_g(seed, physics.voxel_mm), seed)[0]
    volumes, contrasts = _figures(seen, truth, present)
    keep = np.array(present, dtype=int)
    renumbered = np.searchsorted(keep, truth) + 1 if len(keep) else truth
    return {
        "spect": image(seen.counted(scale, random), seen),
        "truth": np.where(truth > 0, renumbered, 0),
        "pet": pet,
        "appeared": np.searchsorted(keep, new) + 1 if len(new) else new,
        "vanished": gone,
        "volumes_mL": volumes,
        "contrasts": contrasts,
    }


def _earlier(anatomy: Anatomy, new: np.ndarray, first: int, seed: int) -> tuple[Anatomy, np.ndarray]:
    """The anatomy without the new lesions and with some that vanish later, and the labels of those."""
    labels = anatomy.labels.copy()
    if len(new):
        out = np.isin(labels, new + first - 1)
        nearest = distance_transform_edt(labels >= first, return_distances=False, return_indices=True)
        labels[out] = labels[tuple(nearest)][out]  # type: ignore[arg-type]
    known = len(anatomy.names)
    before = replace(anatomy, labels=labels)
    gone = [
        replace(lesion, name=f"tumour_{known + k}", volume_mL=max(lesion.volume_mL, 1.5))
        for k, lesion in enumerate(sampled_lesions(VANISHED, seed + 7))
    ]
    before = with_lesions(before, gone, [seed, 34], leave_out=True)
    return before, np.where(before.labels >= known, before.labels - known + 1, 0)


def _figures(seen: Acquisition, truth: np.ndarray, present: list[int]) -> tuple[np.ndarray, np.ndarray]:
    """Volumes, and contrasts at SPECT's blur: mean within a lesion over that of the activity without lesions."""
    activity = seen.activity.array.astype(float)
    nearest = distance_transform_edt(truth > 0, return_distances=False, return_indices=True)
    plain = activity[tuple(nearest)]  # type: ignore[arg-type]
    sigma = CONTRAST_fwhm_mm / FWHM_PER_SIGMA / seen.ct.spacing_mm[::-1]
    with_all, without = gaussian_filter(activity, sigma), gaussian_filter(plain, sigma)
    volumes = [float((truth == k).sum() * seen.ct.voxel_mL) for k in present]
    contrasts = [float(with_all[truth == k].mean() / max(without[truth == k].mean(), 1e-9)) for k in present]
    return np.array(volumes), np.array(contrasts)
