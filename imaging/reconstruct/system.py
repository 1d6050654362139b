"""The SPECT system: what the camera counts of an image, and the exact transpose of that.

Counts at detector pixel (v, u) of a view are frame_s times the sum over slabs k, parallel to the detector, of
G_k [t_k x_k]: the image shared into the view's frame (`rotation`), times its transmission to the detector, blurred by
the Gaussian G_k of the slab's distance (`response`, `slabs`). No scatter and no septal penetration here.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float, Int

from dose.errors import ImageError, describe
from imaging.geometry import SAME_GRID_MM, Volume
from imaging.projections import Projections
from imaging.reconstruct import slabs
from imaging.reconstruct.response import DetectorResponse, grid_gaussian
from imaging.reconstruct.rotation import Frame, nearest_sources

RIM_SIGMAS = 2.0
"""Detector pixels kept beyond its edge while blur is laid on, in widths of all that is laid on. Without them what has
left in one step could not come back in the next; with r widths the edge lacks exp(-2 r^2) of that."""

NARROW_pixels2 = 2.5
"""Blur narrower than this is laid on each slab by itself: sharing between two levels costs its peak 0.02 / t^2 of
itself, t the blur in pixels squared."""


class SpectSystem(eqx.Module):
    """A linear map from images [z, y, x] to projections [view, v, u] and its transpose; made by `spect_system`.

    Under `jit`, hand it over as an argument: closed over, its attenuation map becomes a constant of the program.
    """

    angles_deg: Float[Array, " view"]
    frame_s: Float[Array, " view"]
    crossed: Int[Array, "view far"]
    share: Float[Array, "view far"]
    far_kernel: Float[Array, "view offset"] | None
    near_kernels: Float[Array, "view near offset"] | None
    mu_per_pixel: Float[Array, "z y x"] | None
    nearest: Int[Array, "view 2 slab column"]
    frame: Frame = eqx.field(static=True)
    slices: int = eqx.field(static=True)
    detector_columns: int = eqx.field(static=True)
    most_crossed: int = eqx.field(static=True)
    rim: int = eqx.field(static=True)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        return self.slices, self.frame.lines, self.frame.columns

    @property
    def views(self) -> int:
        return self.angles_deg.shape[0]

    def forward(self, image: Float[Array, "z y x"], views: Int[Array, " some"] | None = None):
        """Expected counts [view, v, u] of an image in counts per second and voxel, as detected without attenuation.

        `views` are indices into the acquisition's views; all by default. Reverse derivatives run `back`.

        Raises:
            ImageError: an image of another shape, or views that the acquisition lacks.
        """
        which = self._which(views)
        return slabs.forward(self, which, self._fitting("image", image, self.image_shape))

    def back(self, projections: Float[Array, "some v u"], views: Int[Array, " some"] | None = None):
        """The exact transpose of `forward`: [view, v, u] to [z, y, x]. Reverse derivatives run `forward`."""
        which = self._which(views)
        shape = (which.shape[0], self.slices, self.detector_columns)
        return slabs.back(self, which, self._fitting("projections", projections, shape))

    def sensitivity(self, views: Int[Array, " some"] | None = None) -> Float[Array, "z y x"]:
        """Counts expected from each voxel per count per second in it: `back` of ones, in seconds."""
        which = self._which(views)
        return self.back(jnp.ones((which.shape[0], self.slices, self.detector_columns), jnp.float32), which)

    def _fitting(self, name: str, array, shape: tuple[int, ...]):
        if np.shape(array) != shape:
            do = "use the grid and the views that the system was made for"
            raise ImageError(describe(name, f"shape {np.shape(array)}", f"{shape}", do))
        return jnp.asarray(array, jnp.float32)

    def _which(self, views):
        if views is None:
            return jnp.arange(self.views)
        if not isinstance(views, Tracer):  # traced ones are known too late: a gather would clamp them
            chosen = np.asarray(views)
            if chosen.size and not (chosen.min() >= 0 and chosen.max() < self.views):
                found, expected = f"{chosen.min()} to {chosen.max()}", f"0 to {self.views - 1}"
                raise ImageError(describe("views", found, expected, "give indices of the acquisition's views"))
        return jnp.asarray(views)


def spect_system(
    acquisition: Projections,
    *,
    response: DetectorResponse | None,
    attenuation_per_mm: Volume | None = None,
    grid: Volume | None = None,
    reach_mm: float | None = None,
) -> SpectSystem:
    """The system of an acquisition's views on `grid`, which is `acquisition.grid()` unless given.

    Args:
        response: blur of collimator and crystal; None for a camera without blur.
        attenuation_per_mm: linear attenuation at the photopeak in 1/mm, on the grid; None for none.
        grid: cubic voxels of a detector pixel along LPS, slices level with the detector's rows. It may be wider than
            the detector: what lies beside the detector is not counted, what lies deeper than half its width is.
        reach_mm: voxels farther from the axis than this are taken as empty; by default, and at most, half the width
            of the detector or of a wider grid. A reach just beyond the body saves time, with the square of it.

    Raises:
        ImageError: a grid that does not fit the detector, or attenuation on another grid or below zero.
    """
    grid = acquisition.grid() if grid is None else grid
    _check_grid(acquisition, grid)
    slabs_mm, reach = _slabs(acquisition, grid, reach_mm)
    pixels2 = _variances(acquisition, response, slabs_mm)
    far = int(np.sum(pixels2.min(axis=0) >= NARROW_pixels2)) if response else len(slabs_mm)
    last_pixels2 = pixels2[:, max(far - 1, 0)]
    levels = (pixels2[:, :far] - last_pixels2[:, None]) / slabs.LEVEL_pixels2
    rim = int(np.ceil(RIM_SIGMAS * np.sqrt(levels.max(initial=0.0) * slabs.LEVEL_pixels2)))
    level = np.floor(levels).astype(np.int32)
    crossed = np.concatenate([np.zeros_like(level[:, :1]), -np.diff(level, axis=1)], axis=1)
    (slices, lines, columns), wide = grid.array.shape, acquisition.counts.shape[3]
    axis = grid.to_index(acquisition.centre_lps_mm)
    frame = Frame(lines, columns, len(slabs_mm), wide + 2 * rim, (float(axis[0]), float(axis[1])), reach)
    kernels = lambda variance: grid_gaussian(variance, max(wide, slices) + 2 * rim) if response else None
    mu = None if attenuation_per_mm is None else _checked(attenuation_per_mm, grid) * acquisition.pixel_mm
    single = lambda a: None if a is None else jnp.asarray(a, jnp.float32)
    return SpectSystem(
        angles_deg=single(acquisition.angles_deg),
        frame_s=single(acquisition.frame_s),
        crossed=jnp.asarray(crossed),
        share=single(levels - level),
        far_kernel=single(kernels(last_pixels2)),
        near_kernels=single(kernels(pixels2[:, far:])),
        mu_per_pixel=single(mu),
        nearest=jnp.asarray(nearest_sources(acquisition.angles_deg, frame)),
        frame=frame,
        slices=slices,
        detector_columns=wide,
        most_crossed=int(crossed.max(initial=0)),
        rim=rim,
    )


def _slabs(acquisition: Projections, grid: Volume, reach_mm: float | None) -> tuple[np.ndarray, float]:
    """Places of the slabs towards the detector in mm from the axis, and the reach in pixels."""
    widest, pixel_mm = _half_width(acquisition, grid), acquisition.pixel_mm
    reach = widest if reach_mm is None else min(reach_mm / pixel_mm, widest)
    if not reach >= 0:
        raise ImageError(describe("reach_mm", f"{reach_mm}", "zero or more", "give the body's radius in mm"))
    farthest = widest - np.floor(widest - reach)
    return np.arange(-farthest, farthest + 0.5) * pixel_mm, float(reach)


def _half_width(acquisition: Projections, grid: Volume) -> float:
    """Pixels from the axis to the last voxel along x or y, or to the detector's last column where that is farther."""
    columns, (lines, across) = acquisition.counts.shape[3], grid.array.shape[1:]
    x, y = grid.to_index(acquisition.centre_lps_mm)[:2]
    farthest = max(x, across - 1 - x, y, lines - 1 - y)
    return max(columns - 1, float(np.ceil(2 * farthest - SAME_GRID_MM))) / 2


def _variances(acquisition: Projections, response: DetectorResponse | None, slabs_mm) -> np.ndarray:
    """Blur of each slab in pixels squared [view, slab]."""
    if response is None:
        return np.zeros((len(acquisition.angles_deg), len(slabs_mm)))
    return (response.sigma_mm(acquisition.radii_mm[:, None] - slabs_mm) / acquisition.pixel_mm) ** 2


def _check_grid(acquisition: Projections, grid: Volume) -> None:
    pixel, rows = acquisition.pixel_mm, acquisition.counts.shape[2]
    middle = acquisition.centre_lps_mm[2] - (rows - 1) / 2 * pixel
    fits = np.allclose(grid.affine[:3, :3], np.eye(3) * pixel, atol=SAME_GRID_MM, rtol=0)
    fits &= grid.array.shape[0] == rows and abs(grid.affine[2, 3] - middle) < SAME_GRID_MM * rows
    if not fits:
        expected = "cubic voxels of a detector pixel along LPS, with slices level with the detector's rows"
        raise ImageError(describe("grid", "another grid", expected, "resample the image onto acquisition.grid()"))


def _checked(attenuation_per_mm: Volume, grid: Volume) -> np.ndarray:
    if not attenuation_per_mm.is_on_grid_of(grid):
        do = "make it with attenuation_map(ct, grid, energy_keV)"
        raise ImageError(describe("attenuation_per_mm", "another grid", "the grid of the image", do))
    if attenuation_per_mm.array.min() < 0:
        raise ImageError(describe("attenuation_per_mm", "values below zero", "1/mm", "clip noise in air at zero"))
    return attenuation_per_mm.array
