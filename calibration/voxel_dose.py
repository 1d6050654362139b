"""Absorbed dose of every voxel from a series of scans, in one of two orders.

"activity": time-integrated activity first, then its dose. "dose-rate": each scan becomes a dose-rate map, and those are
integrated, the order of Kost et al. (VIDA, Cancer Biother Radiopharm 2015;30:16, recalled), which lets a dose engine
see each scan's own activity and anatomy. For a linear engine the orders agree where all voxels in reach of each other
clear alike, or where nothing is mixed; elsewhere the second fits one curve to a mixture. Equations and limits:
docs/voxel-tia.md.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.voxel_input import decay_per_h, series
from calibration.voxel_result import VoxelTIA
from calibration.voxels import tia_map
from dose.errors import InputError, describe
from dose.trapezoids import check_choice

ORDERS = ("dose-rate", "activity")

DRAWS = 16
"""Random fields that carry an sd through a dose function: the sd map is then good to 1/sqrt(2 * 16), 18 percent."""


@dataclass(frozen=True)
class DoseKernel:
    """Dose in a voxel from one MBq h in another, by their distance: `Gy_per_MBq_h` [z, y, x] or [y, x], odd lengths.

    A voxel S-value table per MBq h, as `voxel_mL` turns concentration into activity. Homogeneous medium. `of` makes it
    for a nuclide and a voxel size.

    Raises:
        InputError: an even length, a value that is negative or not finite, a volume that is not above 0.
    """

    Gy_per_MBq_h: np.ndarray
    voxel_mL: float

    def __post_init__(self):
        kernel = np.asarray(self.Gy_per_MBq_h, dtype=float)
        odd = all(n % 2 for n in kernel.shape)
        if not (odd and np.all(kernel >= 0) and np.isfinite(kernel).all() and kernel.sum() > 0 and self.voxel_mL > 0):
            found = f"a kernel of shape {kernel.shape}, voxels of {self.voxel_mL} mL"
            do = "centre the table on its own voxel"
            raise InputError(describe("dose_rate", found, "odd lengths, values not below 0, a volume above 0", do))

    @staticmethod
    def of(
        nuclide: str,
        spacing_mm: Sequence[float],
        *,
        material: str = "soft_tissue",
        chain: bool = True,
        most_voxels: Sequence[int] | None = None,
    ) -> DoseKernel:
        """The kernel of a nuclide, with its progeny in equilibrium if `chain`, by our own Monte Carlo (`dose.kernels`).

        `most_voxels` is the greatest offset along each axis [z, y, x]; None: as far as energy goes, some half a metre.

        Raises:
            InputError: unknown nuclide or material, or an impossible voxel.
        """
        from dose.kernel_cache import cached_kernel
        from dose.point_energies import point_energies

        kernel = cached_kernel(point_energies(nuclide, material, chain), spacing_mm, most_voxels=most_voxels)
        return DoseKernel(kernel.Gy_per_MBq_h, math.prod(kernel.spacing_mm) * 1e-3)

    def __call__(self, per_mL) -> np.ndarray:
        """Gy of MBq h/mL, or Gy/h of MBq/mL, in the shape of the map."""
        return _convolved(per_mL, np.asarray(self.Gy_per_MBq_h) * self.voxel_mL)

    def sd(self, sd_per_mL) -> np.ndarray:
        """Sd of the dose of a map whose voxels err independently."""
        variance = _convolved(np.square(sd_per_mL), (np.asarray(self.Gy_per_MBq_h) * self.voxel_mL) ** 2)
        return np.sqrt(np.maximum(variance, 0.0))


def _convolved(values, kernel) -> np.ndarray:
    from scipy.signal import fftconvolve

    if np.ndim(values) != kernel.ndim:
        do = "give a kernel of as many axes as a scan has"
        raise InputError(describe("dose_rate", f"{kernel.ndim} axes", f"{np.ndim(values)} axes", do))
    return fftconvolve(np.asarray(values, dtype=float), kernel, mode="same")


@dataclass(frozen=True)
class VoxelDose:
    """Dose in Gy and its sd from the scans' noise, [...] as a scan; the fit behind it (`fitted`, in the order's own
    unit).

    `sd_Gy` takes voxels of a scan as independent: reconstructed images share noise between neighbours, and a kernel
    wider than that shared noise then understates the sd by up to the root of how many neighbours share it. Doses of
    neighbours correlate in any case: the sd of a region's mean is not sd_Gy over the root of its voxels.
    """

    dose_Gy: np.ndarray
    sd_Gy: np.ndarray
    order: str
    fitted: VoxelTIA
    warnings: tuple[str, ...]


def dose_map(
    activity_MBq_mL,
    time_h,
    noise,
    half_life_h: float,
    *,
    dose_rate: DoseKernel | Callable,
    order: str = "dose-rate",
    dose_rate_sd=None,
    seed: int = 0,
    **options,
) -> VoxelDose:
    """Dose of every voxel to the end of time.

    Args:
        activity_MBq_mL, time_h, noise, half_life_h: as `calibration.voxels.tia_map`.
        dose_rate: a `DoseKernel`, or a linear function from a map of MBq/mL to one of Gy/h of the same shape.
        order: "dose-rate" (default) or "activity".
        dose_rate_sd: sd of the dose-rate maps in Gy/h, [scan, ...]; None: carried through `dose_rate` by the kernel's
            squares, or by random fields where it is a function. For order "dose-rate" only.
        seed: of those fields.
        options: those of `tia_map` (choice, models, ...).

    Raises:
        InputError: another order, a kernel or function whose map has another shape, or as `tia_map`.
    """
    check_choice("order", order, ORDERS)
    scans = series(activity_MBq_mL, time_h, noise)
    decay_per_h(half_life_h)
    if order == "activity" and dose_rate_sd is not None:
        do = 'leave it out: the sd of the integral is carried through dose_rate, or use order="dose-rate"'
        raise InputError(describe("dose_rate_sd", 'sds with order="activity"', "none", do))
    activity, sd = (part.reshape(len(scans.time_h), *scans.shape) for part in scans.read(slice(None)))
    unknown = ~np.isfinite(activity).all(0)
    note = (f"{int(unknown.sum())} voxels: no finite value, taken as empty",) if unknown.any() else ()
    if order == "dose-rate":
        activity, sd = np.where(unknown, 0.0, activity), np.where(unknown, np.nanmin(sd), sd)
        rates = np.stack([_applied(dose_rate, scan) for scan in activity])
        rates_sd = _rates_sd(dose_rate, sd, seed, dose_rate_sd, scans.order)
        fitted = tia_map(rates, scans.time_h, rates_sd, half_life_h, **options)
        return VoxelDose(fitted.tia_MBq_h_mL, fitted.sd_MBq_h_mL, order, fitted, (*note, *fitted.warnings))
    fitted = tia_map(activity_MBq_mL, time_h, noise, half_life_h, **options)
    tia, of_tia = (np.where(unknown, 0.0, part) for part in (fitted.tia_MBq_h_mL, fitted.sd_MBq_h_mL))
    return VoxelDose(
        _applied(dose_rate, tia), _carried(dose_rate, of_tia, seed), order, fitted, (*note, *fitted.warnings)
    )


def _rates_sd(dose_rate, sd, seed: int, given, order) -> np.ndarray:
    if given is not None:
        return np.broadcast_to(np.asarray(given, dtype=float), sd.shape)[order]
    return np.stack([_carried(dose_rate, scan, seed + k) for k, scan in enumerate(sd)])


def _applied(dose_rate, per_mL) -> np.ndarray:
    found = np.asarray(dose_rate(per_mL), dtype=float)
    if found.shape != per_mL.shape:
        do = "return the map of one scan, voxel for voxel"
        raise InputError(describe("dose_rate", f"a map of shape {found.shape}", f"{per_mL.shape}", do))
    return found


def _carried(dose_rate, sd, seed: int) -> np.ndarray:
    """Sd behind a linear operator of independent errors: exact for a kernel, by random signs for a function."""
    if isinstance(dose_rate, DoseKernel):
        return dose_rate.sd(sd)
    signs = np.random.default_rng(seed).choice([-1.0, 1.0], size=(DRAWS, *sd.shape))
    return np.sqrt(np.mean([_applied(dose_rate, sd * sign) ** 2 for sign in signs], axis=0))
