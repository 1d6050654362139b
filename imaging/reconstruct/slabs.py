"""One view of the camera, slab by slab, and the sum over views: the maps behind `SpectSystem.forward` and `back`.

The blur grows with distance, so it is laid on in levels of 1/3 pixel squared as the slabs come nearer: three taps
(1/6, 2/3, 1/6) have that variance and no excess kurtosis, so they compose to a Gaussian. A slab between two levels is
shared between them, which gives it exactly its variance. What has come to the end of the far slabs is blurred by the
Gaussian of the last of them. Near slabs, whose blur is too narrow to be composed, get their own Gaussians as matrix
products. Layered blur is from Zeng and Gullberg, IEEE Trans Nucl Sci 39, 1992; docs/imaging-projector.md has its error.
`back` runs the transposed steps in reverse order.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from imaging.reconstruct.rotation import Taps, gathered, returned, sampled_taps, turned_taps

if TYPE_CHECKING:
    from imaging.reconstruct.system import SpectSystem

EXACT = jax.lax.Precision.HIGHEST
"""Accelerators otherwise multiply float32 with 10 bits, and two cameras would differ by 1e-3."""

LEVEL_pixels2 = 1 / 3
"""Variance of a level; of three taps, only those of 1/3 have the fourth moment of a Gaussian."""

VIEWS_TOGETHER = 8
"""Views that one loop over slabs carries. Fewer cost more loop steps; 2 to 8 differ by a fifth on a CPU."""


def _toeplitz(kernel: Float[Array, " offset"], size: int) -> Float[Array, "pixel pixel"]:
    index = np.arange(size)
    return kernel[np.abs(index[:, None] - index)]


def _widen(layer: Float[Array, "u z"], levels) -> Float[Array, "u z"]:
    """Blur a layer along both axes by 0 or 1 levels."""
    for axis in (0, 1):
        layer = _three_taps(layer, levels * LEVEL_pixels2, axis)
    return layer


def _three_taps(layer, weight, axis: int):
    size = layer.shape[axis]
    margin = jnp.pad(layer, [(1, 1) if a == axis else (0, 0) for a in (0, 1)])
    lower, upper = (jax.lax.slice_in_dim(margin, k, k + size, axis=axis) for k in (0, 2))
    return layer + weight / 2 * (lower + upper - 2 * layer)


def _blurred(layer: Float[Array, "u z"], kernel: Float[Array, " offset"] | None) -> Float[Array, "u z"]:
    """Convolution along both axes with a symmetric kernel given by distance; its own transpose."""
    if kernel is None:
        return layer
    across, along = _toeplitz(kernel, layer.shape[0]), _toeplitz(kernel, layer.shape[1])
    return jnp.matmul(jnp.matmul(across, layer, precision=EXACT), along, precision=EXACT)


def _rows(system: SpectSystem, image: Float[Array, "z y x"]) -> Float[Array, "row z"]:
    """z last, with the rim: so a turned row has the shape of a layer, and loops run over whole rows."""
    rows = jnp.moveaxis(image, 0, -1).reshape(-1, system.slices)
    return jnp.pad(rows, ((0, 0), (system.rim, system.rim)))


def _path(mu: Float[Array, "row z"] | None, taps: Taps | None):
    """Attenuation of one slab's voxels, without unit."""
    return jnp.zeros((), jnp.float32) if mu is None or taps is None else gathered(mu, taps)


def _parts(system: SpectSystem, per_slab) -> tuple:
    """The far and the near slabs of arrays listed by slab."""
    far = system.crossed.shape[1]
    cut = lambda part: jax.tree.map(lambda a: a[part], per_slab)
    return cut(slice(None, far)), cut(slice(far, None))


def _cross(system: SpectSystem, crossed, lower, upper, steps):
    """As many steps as levels lie between a slab and the one before."""
    for k in range(system.most_crossed):
        lower, upper = steps(lower, upper, jnp.where(crossed > k, 1.0, 0.0).astype(jnp.float32))
    return lower, upper


def _seen(system: SpectSystem, rows: Float[Array, "row z"], mu, view) -> Float[Array, "v u"]:
    """Slabs from the farthest to the nearest: what came so far is blurred by what one slab more adds."""
    angle = system.angles_deg[view]
    ways = None if mu is None else sampled_taps(angle, system.frame)
    far_taps, near_taps = _parts(system, (turned_taps(angle, system.nearest[view], system.frame), ways))
    step = lambda lower, upper, cross: ((1 - cross) * lower, _widen(upper, cross) + cross * lower)

    def leaving(taps, beyond):
        path = _path(mu, taps[1])
        return gathered(rows, taps[0]) * jnp.exp(path / 2 - beyond), beyond - path

    def nearer(state, slab):
        taps, crossed, share = slab
        lower, upper = _cross(system, crossed, *state[:2], step)
        own, beyond = leaving(taps, state[2])
        return (lower + (1 - share) * own, upper + share * own, beyond), None

    def at_hand(state, slab):
        own, beyond = leaving(slab[0], state[1])
        return (state[0] + _blurred(own, slab[1]), beyond), None

    empty = jnp.zeros((system.frame.across, rows.shape[1]), jnp.float32)
    whole = jax.lax.scan(lambda path, way: (path + _path(mu, way), None), empty, ways)[0] if ways else empty
    far = (far_taps, system.crossed[view], system.share[view])
    lower, upper, beyond = jax.lax.scan(nearer, (empty, empty, whole), far)[0]
    came = _blurred(lower + _widen(upper, 1.0), _of(system.far_kernel, view))
    image = jax.lax.scan(at_hand, (came, beyond), (near_taps, _of(system.near_kernels, view)))[0][0]
    inner = slice(system.rim, -system.rim or None)
    return image[inner, inner].T * system.frame_s[view]


def _of(kernels, view):
    return None if kernels is None else kernels[view]


def _smeared(system: SpectSystem, mu, counts: Float[Array, "v u"], view) -> Float[Array, "slab column z"]:
    """`_seen` in reverse, before the slabs are turned back: from the nearest slab to the farthest."""
    angle = system.angles_deg[view]
    far_ways, near_ways = _parts(system, None if mu is None else sampled_taps(angle, system.frame))
    step = lambda lower, upper, cross: ((1 - cross) * lower + cross * upper, _widen(upper, cross))

    def at_hand(beyond, slab):
        path = _path(mu, slab[0])
        return beyond + path, _blurred(image, slab[1]) * jnp.exp(-beyond - path / 2)

    def farther(state, slab):
        lower, upper, beyond = state
        way, crossed, share = slab
        path = _path(mu, way)
        here = ((1 - share) * lower + share * upper) * jnp.exp(-beyond - path / 2)
        return (*_cross(system, crossed, lower, upper, step), beyond + path), here

    image = jnp.pad(counts.T * system.frame_s[view], system.rim)
    near_slabs = (near_ways, _of(system.near_kernels, view))
    beyond, near = jax.lax.scan(at_hand, jnp.zeros_like(image), near_slabs, reverse=True)
    lower = _blurred(image, _of(system.far_kernel, view))
    start, far = (lower, _widen(lower, 1.0), beyond), (far_ways, system.crossed[view], system.share[view])
    return jnp.concatenate([jax.lax.scan(farther, start, far, reverse=True)[1], near])


def _together(views: Int[Array, " view"]) -> Int[Array, "group view"]:
    """Views in groups of equal size, at most `VIEWS_TOGETHER`."""
    count = views.shape[0]
    size = max(k for k in range(1, VIEWS_TOGETHER + 1) if count % k == 0)
    return views.reshape(-1, size)


@jax.custom_vjp
@jax.jit
def forward(system: SpectSystem, views: Int[Array, " view"], image: Float[Array, "z y x"]) -> Float[Array, "view v u"]:
    """Counts of each of the `views`; its reverse derivative is `back`."""
    mu = None if system.mu_per_pixel is None else _rows(system, system.mu_per_pixel)
    seen = jax.vmap(partial(_seen, system, _rows(system, image), mu))
    images = jax.lax.map(seen, _together(views))
    return images.reshape(-1, system.slices, system.detector_columns)


@jax.custom_vjp
@jax.jit
def back(system: SpectSystem, views: Int[Array, " view"], projections: Float[Array, "view v u"]):
    """Transpose of `forward`, [z, y, x]; its reverse derivative is `forward`."""
    mu = None if system.mu_per_pixel is None else _rows(system, system.mu_per_pixel)
    smeared = jax.vmap(partial(_smeared, system, mu))

    def add_one(total, one):
        view, turned = one
        return total + returned(turned, system.angles_deg[view], system.frame), None

    def add(total, some):
        chosen, counts = some
        return jax.lax.scan(add_one, total, (chosen, smeared(counts, chosen)))[0], None

    together = _together(views)
    counts = projections.reshape(*together.shape, *projections.shape[1:])
    deep = system.slices + 2 * system.rim
    empty = jnp.zeros((system.frame.lines * system.frame.columns, deep), jnp.float32)
    rows = jax.lax.scan(add, empty, (together, counts))[0][:, system.rim : deep - system.rim]
    return jnp.moveaxis(rows.reshape(system.frame.lines, system.frame.columns, system.slices), -1, 0)


def _kept(linear, system, views, array):
    return linear(system, views, array), (system, views)


def _transposed(linear, kept, cotangent):
    system, views = kept
    return None, None, linear(system, views, cotangent)


forward.defvjp(partial(_kept, forward), partial(_transposed, back))
back.defvjp(partial(_kept, back), partial(_transposed, forward))
