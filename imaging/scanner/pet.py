"""A PET scan in the domain of images: positron range, resolution, decay within frames, noise, in Bq/mL.

Resolution by Moses (2011): FWHM = 1.25 sqrt((d/2)^2 + (0.0022 D)^2 + b^2), from the crystal's side d, the ring's
diameter D (the photons are not quite opposite) and the block decoder's error b; the reconstruction's filter and the
positron's range come on top. Images are decay corrected to the start of the scan, as scanners write them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import cache
from math import hypot, isfinite

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.scanner.anatomy import density_of_hounsfield
from imaging.scanner.counting import mean_decay, mean_of_curve
from imaging.scanner.pet_noise import CountingModel, noise
from imaging.scanner.positron_range import NO_RANGE, positron_range, spread
from imaging.scanner.spect import Timed
from imaging.series import ImageSeries, Radiopharmaceutical

RECONSTRUCTED, PER_RING_MM = 1.25, 0.0022
"""Moses (2011): loss by reconstruction, and the effect of 0.25 degrees for each mm of the ring's diameter; recalled."""

COUNTING = ("sensitivity_cps_per_kBq", "survival", "scatter_fraction", "randoms_per_true_per_MBq", "amplification")


@dataclass(frozen=True)
class PetSpec:
    """A scanner: geometry that decides its resolution, the filter of its images, and how it counts.

    Raises:
        InputError: a width that is negative or not finite.
    """

    crystal_mm: float
    ring_mm: float
    block_mm: float
    filter_fwhm_mm: float
    counting: CountingModel
    with_range: bool = True

    def __post_init__(self):
        widths = (self.crystal_mm, self.ring_mm, self.block_mm, self.filter_fwhm_mm)
        if not (all(map(isfinite, widths)) and min(widths) >= 0):
            found = f"a smallest width of {min(widths):g}"
            raise InputError(describe("PetSpec", found, "finite widths of zero or more", "correct the specification"))

    @property
    def detector_fwhm_mm(self) -> float:
        """Resolution without filter and positron range."""
        return RECONSTRUCTED * hypot(self.crystal_mm / 2, PER_RING_MM * self.ring_mm, self.block_mm)

    @property
    def fwhm_mm(self) -> float:
        """Resolution of the images for a positron of no range."""
        return hypot(self.detector_fwhm_mm, self.filter_fwhm_mm)


@dataclass(frozen=True)
class Frames:
    """Times of a scan from its start: starts and durations in s, [frame].

    Raises:
        InputError: no frame, frames that overlap, or that take no time.
    """

    start_s: tuple[float, ...]
    duration_s: tuple[float, ...]

    def __post_init__(self):
        start, duration = np.asarray(self.start_s, float), np.asarray(self.duration_s, float)
        fits = start.shape == duration.shape and start.ndim == 1 and start.size > 0
        if not fits or duration.min() <= 0 or start[0] < 0 or (start[1:] < (start + duration)[:-1] - 1e-6).any():
            do = "give a start and a duration for each"
            raise InputError(describe("frames", "times that make no frames", "frames one after another", do))

    @classmethod
    def static(cls, duration_s: float) -> Frames:
        """One frame."""
        return cls((0.0,), (float(duration_s),))

    @classmethod
    def following(cls, *durations_s: float) -> Frames:
        """Frames without gaps."""
        return cls(tuple(float(s) for s in np.cumsum([0.0, *durations_s[:-1]])), tuple(durations_s))


@cache
def _scanners() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for row in load_table("imaging", "pet_scanners.csv"):
        found.setdefault(row["scanner"], {})[row["quantity"]] = float(row["value"])
    return found


def pet_scanner(name: str = "lso", **changes) -> PetSpec:
    """A scanner of `data/pet_scanners.csv`; keywords replace its values.

    Raises:
        InputError: no such scanner, or a value that cannot be.
    """
    if name not in _scanners():
        hint = nearest(name, _scanners())
        do = f'write "{hint}" if that was meant' if hint else "give a PetSpec"
        raise InputError(describe("scanner", f'"{name}"', f"one of {', '.join(_scanners())}", do))
    values = {**_scanners()[name], **changes}
    counting = CountingModel(**{key: values.pop(key) for key in COUNTING})
    return PetSpec(counting=counting, **values)


def simulate_pet(
    activity_Bq_per_mL: Volume | Sequence[Timed],
    ct: Volume | None,
    scanner: PetSpec,
    nuclide: str,
    frames: Frames,
    *,
    seed: int | None = None,
    started_at: datetime | None = None,
    injection: Radiopharmaceutical | None = None,
) -> tuple[ImageSeries, ...]:
    """One series a frame, in Bq/mL corrected for decay to the start of the scan.

    Args:
        activity_Bq_per_mL: at the start of the scan, decaying from then on; or parts with curves that hold the decay.
        ct: in HU on the same grid, for the positron's range; None for water.
        scanner: as `pet_scanner` gives it.
        nuclide: a positron emitter of `data/positron_range.csv`.
        frames: of the scan.
        seed: of the noise; None for the expected images.
        started_at: start of the scan.
        injection: what the header says of it; the nuclide and its half-life are filled in.

    Raises:
        InputError: a nuclide without positrons in the table, a negative activity, volumes on different grids.
    """
    parts = _parts(activity_Bq_per_mL)
    half_life_h = radionuclide(nuclide).half_life_h
    blurred = [_seen(part.activity_Bq_per_mL, ct, scanner, nuclide) for part in parts]
    start, duration = np.asarray(frames.start_s), np.asarray(frames.duration_s)
    decay = mean_decay(start, duration, half_life_h)
    courses = [decay if part.curve is None else mean_of_curve(part.curve, start, duration) for part in parts]
    random = None if seed is None else np.random.default_rng(seed)
    grid, made = parts[0].activity_Bq_per_mL, []
    for k in range(len(start)):
        present = sum(image * course[k] for image, course in zip(blurred, courses))
        drawn = present if random is None else present + _drawn(present, grid, scanner, nuclide, duration[k], random)
        made.append(grid.with_array(drawn / decay[k]))
    told = replace(injection or Radiopharmaceutical(), nuclide=radionuclide(nuclide).name, half_life_h=half_life_h)
    return tuple(_series(image, k, frames, scanner, told, started_at) for k, image in enumerate(made))


@dataclass(frozen=True)
class _Part:
    activity_Bq_per_mL: Volume
    curve: Callable | None


def _parts(activity) -> list[_Part]:
    parts = (
        [_Part(activity, None)]
        if isinstance(activity, Volume)
        else [_Part(part.activity_Bq_per_mL, part.curve) for part in activity]
    )
    if not parts or any(part.activity_Bq_per_mL.array.min() < 0 for part in parts):
        found = "a negative activity" if parts else "no part"
        raise InputError(describe("activity_Bq_per_mL", found, "zero or more everywhere", "correct the activity"))
    if any(not part.activity_Bq_per_mL.is_on_grid_of(parts[0].activity_Bq_per_mL) for part in parts):
        found = "parts on different grids"
        raise InputError(describe("activity_Bq_per_mL", found, "one grid", "resample the parts"))
    return parts


def _seen(activity: Volume, ct: Volume | None, scanner: PetSpec, nuclide: str) -> np.ndarray:
    """The expected image of an activity that stands still."""
    kernel, density = positron_range(nuclide) if scanner.with_range else NO_RANGE, None
    if ct is not None:
        if not ct.is_on_grid_of(activity):
            raise InputError(describe("ct", "another grid than the activity's", "the same grid", "resample the CT"))
        density = density_of_hounsfield(ct.array)
    return spread(activity.array, activity.spacing_mm, kernel, density, scanner.fwhm_mm)


def _drawn(present, grid: Volume, scanner: PetSpec, nuclide: str, duration_s: float, random) -> np.ndarray:
    """Noise about the mean activity concentration of a frame."""
    positrons = positron_range(nuclide).positrons_per_decay
    in_field_MBq = float(present.sum()) * grid.voxel_mL * positrons / 1e6
    counts = scanner.counting.counts_per_decay(in_field_MBq) * positrons * grid.voxel_mL * float(duration_s)
    return noise(present, grid.spacing_mm, counts, scanner.counting, scanner.filter_fwhm_mm, random)


def _series(image: Volume, k: int, frames: Frames, scanner: PetSpec, told, started_at) -> ImageSeries:
    duration = float(frames.duration_s[k])
    began = None if started_at is None else started_at + timedelta(seconds=float(frames.start_s[k]))
    return ImageSeries(
        volume=image,
        modality="PET",
        unit="Bq/mL",
        series_uid_hash="",
        frame_hash="",
        kind_reason="simulated here in the domain of images",
        decay_correction="START",
        reference_at=began,
        slice_mid_s=np.full(len(image.array), duration / 2),
        radiopharmaceutical=told,
        resolution_mm=scanner.fwhm_mm,
        decay_reference_at=started_at,
        frame=k,
        frame_s=duration,
    )
