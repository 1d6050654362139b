"""From the scans of one administration to a dose map with its sd and a table of regions.

Scans on one grid (`twin.dose_maps_scans`), integral of each voxel (`calibration.voxels`), density
(`twin.dose_maps_body`), dose (`dose.voxels`), noise carried by random fields, regions (`twin.dose_maps_regions`).
Nothing is extrapolated in silence: what a voxel's tail rests on is in the flags, the warnings and the table. Equations,
choices and limits: docs/dose-maps.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np

from calibration.voxel_filter import ParticleFilter
from calibration.voxel_noise import VoxelNoise
from calibration.voxel_result import VoxelTIA
from calibration.voxels import tia_map
from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.voxels import VoxelDoseMap, tia_per_voxel_MBq_h, voxel
from imaging.quantify import ImagingChain, measured_as
from imaging.recovery import Measurement
from twin.dose_maps_body import density_of, outline
from twin.dose_maps_grid import averaged, checked_voxel_mm
from twin.dose_maps_noise import dose_noise, grain_voxels
from twin.dose_maps_regions import RegionDose, physical_tail, region_doses
from twin.dose_maps_scans import AlignedScans, aligned, scans_of
from twin.image_study import ImageStudy
from twin.imaging_chain import chain_of

ENGINES = {
    "kernel": {"engine": "kernel", "heterogeneity": "tissue"},
    "density": {"engine": "kernel", "heterogeneity": "density"},
    "local": {"engine": "local"},
    "learned": {"engine": "kernel", "heterogeneity": "tissue"},
}
"""Name on the command line and what `dose.voxel` is told; `twin.dose_maps_learned` corrects the last one's dose."""

LEAST_FLOOR = 1e-4
"""Least noise of an empty voxel as a share of the brightest: reconstruction leaves air without any."""


@dataclass(frozen=True)
class MapSettings:
    """How maps are made; `teff_h` (hours) is for one scan and only then, `teff_relative_sd` its relative sd;
    `denoise` takes noise out of the scans by `calibration.voxel_filter` first, which shares clearances of neighbours.

    Raises:
        InputError: a value that can't be used.
    """

    voxel_mm: float = 4.0
    engine: str = "kernel"
    teff_h: float | None = None
    teff_relative_sd: float = 0.2
    denoise: bool = False
    seed: int = 0

    def __post_init__(self):
        checked_voxel_mm(self.voxel_mm)
        if self.engine not in ENGINES:
            raise InputError(describe("engine", repr(self.engine), f"one of {', '.join(ENGINES)}", "choose one"))
        if self.teff_h is not None and not (math.isfinite(self.teff_h) and self.teff_h > 0):
            raise InputError(describe("teff_h", f"{self.teff_h:g}", "hours above 0", "give the effective half-life"))
        if not 0 <= self.teff_relative_sd < 1:
            found = f"{self.teff_relative_sd:g}"
            raise InputError(describe("teff_relative_sd", found, "0 up to 1", "0.2 stands for 20 %"))


@dataclass(frozen=True)
class DoseMaps:
    """All maps [z, y, x] on `scans.grid`; `dose_sd_Gy` is of noise and of what all voxels share together."""

    scans: AlignedScans
    tia: VoxelTIA
    density_g_cm3: np.ndarray
    dose: VoxelDoseMap
    dose_sd_Gy: np.ndarray
    regions: tuple[RegionDose, ...]
    warnings: tuple[str, ...]
    provenance: tuple[str, ...]

    @property
    def dose_Gy(self) -> np.ndarray:
        """As written: noise below zero is shown as zero."""
        return np.maximum(self.dose.dose_Gy, 0.0)


def dose_maps(
    study: ImageStudy,
    settings: MapSettings | None = None,
    *,
    nuclide: str | None = None,
    injection: int | None = None,
    step: Callable = lambda words: nullcontext(),
) -> DoseMaps:
    """Maps of one administration of an opened study; `step(words)` is entered for each part of the work.

    Raises:
        InputError: several injections and no choice, one scan without `teff_h`, several with it.
        ImageError: scans that can't be quantified or registered.
    """
    settings = settings or MapSettings()
    chosen = scans_of(study, nuclide, injection)
    check_teff(len({scan.series_uid_hash for scan in chosen[2]}), settings)
    chain = chain_of(study.file.imaging, study.beside)
    with step(f"bringing {len(chosen[2])} scans to one grid"):
        scans = aligned(study, chosen, settings.voxel_mm)
    how = measured_as(scans.reference, chain)[0]
    with step("integrating over time"):
        tia = _integrated(scans, how, settings)
    with step("dose"):
        density, words = density_of(study.images, scans.reference, scans.activity_MBq_mL, scans.grid, settings.voxel_mm)
        dose = _dose(scans, tia, density, settings)
    masks = region_weights(scans, settings.voxel_mm)
    with step("carrying the noise"):
        noise = dose_noise(scans, tia, density, how, masks, _linear(scans, density, settings), settings.seed)
    tail_sd = tail_relative_sd(scans, tia, settings)
    regions = region_doses(scans, tia, density, dose.dose_Gy, noise, masks, how, tail_sd, dose.relative_sd)
    shared = np.hypot(how.calibration_cv, tail_sd)
    engine_sd = 0.0 if dose.relative_sd is None else dose.relative_sd
    sd = np.hypot(noise.sd_Gy, np.hypot(shared, engine_sd) * np.abs(dose.dose_Gy)).astype(np.float32)
    warnings = (*_warnings(study, scans, tia, dose, regions, chain), *dose.warnings)
    said = (*dose.provenance, f"density: {words}", f"integral: {tia.method}", *_how_measured(how, settings))
    return DoseMaps(scans, tia, density, dose, sd, regions, tuple(dict.fromkeys(warnings)), said)


def check_teff(count: int, settings: MapSettings) -> None:
    """One scan needs a half-life, several measure it.

    Raises:
        InputError: it is not so.
    """
    if count == 1 and settings.teff_h is None:
        found, expected = "one scan and no effective half-life", "two scans or more, or a half-life"
        do = "pass --teff-h, such as the one that theratwin plan finds for the region, or add a later scan"
        raise InputError(describe("clearance", found, expected, do))
    if count > 1 and settings.teff_h is not None:
        do = "leave --teff-h out: the scans measure the clearance"
        raise InputError(describe("teff_h", f"given beside {count} scans", "only with one scan", do))


def region_weights(scans: AlignedScans, voxel_mm: float) -> dict[str, np.ndarray]:
    """Share of each voxel of the grid in each region [z, y, x]."""
    return {name: np.clip(averaged(mask, voxel_mm).array, 0.0, 1.0) for name, mask in scans.drawn.masks.items()}


def noise_of(scans: AlignedScans, how: Measurement) -> VoxelNoise:
    """Relative noise of a voxel as that of 1 mL over the root of the volume that shares its noise; the floor is the
    spread of voxels outside the body. Noise of OSEM goes with the activity (Barrett et al. 1994, recalled)."""
    cv = how.noise_cv_1mL / math.sqrt(grain_voxels(scans.grid, how) * scans.grid.voxel_mL)
    inside, floors = outline(np.nansum(scans.activity_MBq_mL, axis=0), scans.grid), []
    for scan in scans.activity_MBq_mL:
        air = scan[~inside & np.isfinite(scan)]
        spread = float(air.std()) if air.size > 1 else 0.0
        floors.append(max(spread, LEAST_FLOOR * float(np.nanmax(scan))))
    return VoxelNoise(floor_MBq_mL=np.array(floors), relative=cv)


def _integrated(scans: AlignedScans, how: Measurement, settings: MapSettings) -> VoxelTIA:
    half_life_h = radionuclide(scans.nuclide).half_life_h
    return tia_map(
        scans.activity_MBq_mL,
        scans.time_h,
        noise_of(scans, how),
        half_life_h,
        teff_h=settings.teff_h,
        correlated_relative_sd=how.calibration_cv,
        denoise=ParticleFilter() if settings.denoise else None,
    )


def tail_relative_sd(scans: AlignedScans, tia: VoxelTIA, settings: MapSettings) -> np.ndarray:
    """What is not known of the clearance, relative to each voxel's integral, shared by neighbours.

    One scan at t: |rate t - 1| times the relative sd of the rate. Several: where the tail falls at physical decay for
    want of a measured clearance, it lies between none and this one, evenly, so its sd is tail/sqrt(3).
    """
    if settings.teff_h is not None:
        rate_t = math.log(2) / settings.teff_h * float(scans.time_h[0])
        return np.full(tia.flags.shape, abs(rate_t - 1) * settings.teff_relative_sd)
    return np.where(physical_tail(tia), np.nan_to_num(tia.after_last), 0.0) / math.sqrt(3)


def _linear(scans: AlignedScans, density: np.ndarray, settings: MapSettings, which: str = "") -> Callable:
    """From MBq h/mL to the dose map; noise goes by one kernel over the voxel's mass, which is quick and near enough."""
    options = ENGINES[which or ("local" if settings.engine == "local" else "density")]
    spacing = tuple(float(s) for s in scans.grid.spacing_mm[::-1])

    def dose(tia_MBq_h_mL, **more) -> VoxelDoseMap:
        per_voxel = tia_per_voxel_MBq_h(tia_MBq_h_mL, spacing)
        return voxel(per_voxel, density, scans.nuclide, spacing, allow_negative=True, **options, **more)

    return dose


def _dose(scans: AlignedScans, tia: VoxelTIA, density: np.ndarray, settings: MapSettings) -> VoxelDoseMap:
    known, linear = np.nan_to_num(tia.tia_MBq_h_mL), _linear(scans, density, settings, settings.engine)
    if settings.engine != "learned":
        return linear(known, administered_MBq=scans.administered_MBq)
    from twin.dose_maps_learned import learned_map

    above, kernel = np.maximum(known, 0.0), linear(known, administered_MBq=scans.administered_MBq)
    return learned_map(kernel, above, density, linear(above) if (known < 0).any() else kernel)


def _warnings(study, scans: AlignedScans, tia: VoxelTIA, dose, regions, chain: ImagingChain) -> list[str]:
    found = [*study.notes, *scans.drawn.notes, *tia.warnings]
    for told in scans.moved:
        found += [f"scan at {told.time_h:.1f} h, registered {told.by}: {note}" for note in told.notes]
    found += [words for region in regions for words in region.warnings]
    if chain.recovery not in ("auto", "none"):
        found.append("voxels are not corrected for partial volume: the recovery of [imaging] serves regions only")
    below = int((dose.dose_Gy < 0).sum())
    if below:
        found.append(f"{below} voxels have a dose below 0 from noise about 0 and are written as 0; sums keep them")
    if not regions:
        found.append("no region is drawn: maps only, no table")
    return found


def _how_measured(how: Measurement, settings: MapSettings) -> tuple[str, ...]:
    words = f"noise {how.noise_cv_1mL:.0%} of 1 mL, calibration {how.calibration_cv:.0%}, FWHM {how.fwhm_mm:g} mm"
    given = f"effective half-life {settings.teff_h:g} h given" if settings.teff_h else ""
    return tuple(filter(None, (f"measured with {words} (imaging/data/measurement.csv or the site's)", given)))
