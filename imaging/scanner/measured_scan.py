"""A scan that a measurement model is fitted to: body, camera, beds and regions, and each source seen alone.

Counts are linear in the activities of the sources (the simulation leaves dead time out here), so that those of any
pattern of activities are sums of the counts of one MBq of each.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from dose.errors import InputError, describe
from imaging.geometry import Volume
from imaging.projections import Projections
from imaging.reconstruct import attenuation_map
from imaging.reconstruct.attenuation import averaged_onto
from imaging.reconstruct.iterations import Settings
from imaging.scanner.anatomy import REMAINDER, Anatomy, activity_map
from imaging.scanner.camera import CameraSpec
from imaging.scanner.counting import background_counts
from imaging.scanner.protocol import Protocol
from imaging.scanner.spect import simulate_spect

FAR_mm = 15.0
"""Space left round the body in the reconstruction."""


@dataclass(frozen=True)
class Scan:
    """What is fitted: a body, a camera, beds, regions and how they are reconstructed.

    Attributes:
        beds: one protocol for each bed position, of the same scan time.
        regions: those measured; all others of the body belong to the remainder, if that is among them.
        line_keV: of the peak window.
        read_in: another region that stands for one when it is read (`{"red_marrow": "lumbar_spine"}`).
        scatter_fwhm_mm: smooths the TEW estimate.
        oversample: parts that a pixel is divided in by the simulation.

    Raises:
        InputError: regions named twice, no bed, beds of different times, a region that the anatomy lacks.
    """

    anatomy: Anatomy
    camera: CameraSpec
    beds: tuple[Protocol, ...]
    regions: tuple[str, ...]
    line_keV: float
    settings: Settings
    read_in: Mapping[str, str]
    scatter_fwhm_mm: float = 15.0
    oversample: int = 2

    def __post_init__(self):
        if len(set(self.regions)) < len(self.regions) or len({bed_time_s(bed) for bed in self.beds}) != 1:
            found = f"{len(self.regions)} regions, {len(self.beds)} beds"
            expected = "different regions, and one or more beds of the same scan time"
            raise InputError(describe("measurement", found, expected, "correct the regions or the beds"))
        for name in (*self.regions, *self.read_in.values()):
            self.mask(name)

    def mask(self, name: str) -> np.ndarray:
        """Voxels that a region is read in, boolean [z, y, x]; the remainder is what no other region holds."""
        if name != REMAINDER:
            return self.anatomy.mask(self.read_in.get(name, name))
        others = [self.anatomy.mask(r) for r in self.regions if r != REMAINDER]
        return (self.anatomy.labels > 0) & ~np.logical_or.reduce(others)

    def activity(self, activity_MBq: Mapping[str, float]) -> Volume:
        """The activity map; the remainder keeps out of all measured regions, whether they hold any or not."""
        return activity_map(self.anatomy, {**dict.fromkeys(self.regions, 0.0), **activity_MBq})


def bed_time_s(bed: Protocol) -> float:
    """Time from the first to the last count of a bed, gaps left out."""
    return bed.views // bed.heads * bed.frame_s


@dataclass(frozen=True, eq=False)
class Bed:
    """One bed: `sources` [source, window, view, v, u] are the counts of one MBq, `room` [window, view, v, u] those of
    the room; `masks` [region, z, y, x] weight the voxels of regions `rows` (indices of those read here)."""

    acquisition: Projections
    sources: np.ndarray
    room: np.ndarray
    masks: np.ndarray
    rows: np.ndarray
    attenuation: Volume
    reach_mm: float

    def counts(self, activity_MBq) -> np.ndarray:
        """Expected counts [window, view, v, u] of a pattern of activities [source]."""
        return np.tensordot(np.asarray(activity_MBq, dtype=np.float32), self.sources, axes=1) + self.room


def beds_of(scan: Scan) -> tuple[Bed, ...]:
    """Every source simulated alone in every bed. Regions that no bed sees are refused.

    Raises:
        InputError: a region outside of all beds; what the simulation does not allow.
    """
    masks = [[_mask_on(scan, name, bed) for name in scan.regions] for bed in scan.beds]
    held = np.array([[mask.sum() for mask in listed] for listed in masks])
    if not (held.max(axis=0) > 0).all():
        unseen = ", ".join(np.array(scan.regions)[held.max(axis=0) == 0])
        raise InputError(describe("regions", f"{unseen} outside of every bed", "regions in the field", "add a bed"))
    home = held.argmax(axis=0)
    return tuple(
        _bed(scan, bed, listed, np.flatnonzero(home == b)) for b, (bed, listed) in enumerate(zip(scan.beds, masks))
    )


def _mask_on(scan: Scan, name: str, bed: Protocol) -> np.ndarray:
    volume = scan.anatomy.ct.with_array(scan.mask(name).astype(np.float32))
    return averaged_onto(volume, bed.acquisition().grid()).array


def _bed(scan: Scan, bed: Protocol, masks, rows: np.ndarray) -> Bed:
    linear = replace(scan.camera, dead_time_us=0.0, background_cps_per_keV=0.0)
    empty = bed.acquisition()
    seen = np.zeros((len(scan.regions), *empty.counts.shape), dtype=np.float32)
    for j, name in enumerate(scan.regions):
        activity = scan.activity({name: 1.0})
        if averaged_onto(activity, empty.grid()).array.any():
            made = simulate_spect(activity, scan.anatomy.ct, linear, bed, oversample=scan.oversample)
            seen[j] = made.counts
    room = np.broadcast_to(background_counts(empty, scan.camera.background_cps_per_keV), empty.counts.shape)
    ct = attenuation_map(scan.anatomy.ct, empty.grid(), scan.line_keV)
    chosen = np.stack([masks[k] for k in rows]) if len(rows) else np.zeros((0, *empty.grid().array.shape), np.float32)
    return Bed(empty, seen, room.astype(np.float32), chosen, rows, ct, reach_mm_of(ct, bed))


def reach_mm_of(attenuation: Volume, bed: Protocol) -> float:
    """Farthest matter from the axis, with room to spare."""
    y, x = np.nonzero((attenuation.array > 0).any(axis=0))
    place = attenuation.to_lps_mm(np.stack([x, y, 0 * x], axis=1)) - np.asarray(bed.centre_lps_mm)
    return float(np.hypot(place[:, 0], place[:, 1]).max(initial=0.0)) + FAR_mm
