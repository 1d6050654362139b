"""Where a particle is: the cell of a point, its material, its density and the bin of its deposits.

Voxels of an image, or shells round a point in one endless material.
"""

from __future__ import annotations

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Int32, UInt8

from dose.montecarlo.attenuation import PhotonTables


class VoxelGrid(eqx.Module):
    """Voxels [z, y, x], flattened; positions are (x, y, z) in cm from the outer corner of the first, as is the spacing.
    Void outside.

    `bin_of` gathers voxels into bins of the tally, region by region; None: each voxel is its own.
    """

    density_g_cm3: Float[Array, " cell"]
    material: UInt8[Array, " cell"]
    bin_of: Int[Array, " cell"] | None
    spacing_cm: Float[Array, 3]
    shape: tuple[int, int, int] = eqx.field(static=True)
    bins: int = eqx.field(static=True)

    def locate(self, position) -> tuple[Int32[Array, " lane"], Array]:
        """Cell of each position and whether it lies inside."""
        axes = [jnp.floor(p / self.spacing_cm[k]) for k, p in enumerate(position)]
        nz, ny, nx = self.shape
        inside = (axes[0] >= 0) & (axes[0] < nx) & (axes[1] >= 0) & (axes[1] < ny) & (axes[2] >= 0) & (axes[2] < nz)
        x, y, z = (jnp.where(inside, axis, 0).astype(jnp.int32) for axis in axes)
        return (z * ny + y) * nx + x, inside

    def clearance_cm(self, position) -> Float[Array, " lane"]:
        """Distance to the nearest face of the voxel that holds the position."""
        near = []
        for k, p in enumerate(position):
            within = p / self.spacing_cm[k]
            within = within - jnp.floor(within)
            near.append(self.spacing_cm[k] * jnp.minimum(within, 1 - within))
        return jnp.minimum(jnp.minimum(near[0], near[1]), near[2])

    def matter(self, cell):
        """Material index and density of cells."""
        return self.material[cell].astype(jnp.int32), self.density_g_cm3[cell]

    def bin(self, cell):
        """Where a deposit in a cell is counted."""
        return cell if self.bin_of is None else self.bin_of[cell].astype(jnp.int32)


class Shells(eqx.Module):
    """Shells round the origin; the cell is the shell that holds the point, the first one a ball, the last one all the
    rest. Radii rise by a constant factor."""

    density: float = eqx.field(static=True)
    first_cm: float = eqx.field(static=True)
    per_log: float = eqx.field(static=True)
    bins: int = eqx.field(static=True)

    @property
    def radius_cm(self) -> np.ndarray:
        """Outer radius of every shell but the last, [bins - 1]."""
        return self.first_cm * np.exp(np.arange(self.bins - 1) / self.per_log)

    def locate(self, position):
        square = position[0] ** 2 + position[1] ** 2 + position[2] ** 2
        at = np.float32(0.5) * jnp.log(jnp.maximum(square, np.float32(1e-30))) - np.float32(np.log(self.first_cm))
        shell = jnp.clip(jnp.ceil(at * np.float32(self.per_log)), 0, self.bins - 1).astype(jnp.int32)
        return shell, jnp.ones(shell.shape, bool)

    def clearance_cm(self, position):
        return jnp.zeros(position[0].shape, jnp.float32)

    def matter(self, cell):
        return jnp.zeros(cell.shape, jnp.int32), jnp.full(cell.shape, np.float32(self.density))

    def bin(self, cell):
        return cell


Geometry = VoxelGrid | Shells


def majorant_per_cm(tables: PhotonTables, geometry: Geometry) -> Float[Array, " energy"]:
    """The largest attenuation anywhere, by energy: the one cross section of Woodcock's delta tracking."""
    total = np.asarray(tables.cumulative_cm2_g)[:, 3].reshape(tables.materials, -1)
    if isinstance(geometry, Shells):
        return jnp.asarray(total[0] * np.float32(geometry.density))
    index, density = np.asarray(geometry.material), np.asarray(geometry.density_g_cm3)
    densest = np.array([np.max(density, where=index == k, initial=0) for k in range(tables.materials)])
    return jnp.asarray((np.max(total * densest[:, None], axis=0) * 1.00001).astype(np.float32))
