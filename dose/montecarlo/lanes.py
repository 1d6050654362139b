"""Random numbers, directions and table look-ups of many lanes at once, in single precision.

The generator is xoshiro128+ (Blackman and Vigna, ACM TOMS 2021;47:36), one state a lane: ten integer operations a
number, where JAX's own counter-based generator costs five times as much on a CPU. States are seeded by JAX's
generator, so that a run is told by one seed; only the upper 24 bits, which pass the usual tests, are used.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt32

UNIT = np.float32(2.0**-24)
PI = np.float32(np.pi)
SINE = tuple(np.float32(c) for c in (-1 / 6, 1 / 120, -1 / 5040, 1 / 362880, -1 / 39916800))


class Stream(eqx.Module):
    """State of one generator a lane."""

    state: tuple[UInt32[Array, " lane"], ...]

    @staticmethod
    def seeded(key, lanes: int) -> Stream:
        bits = jax.random.bits(key, (4, lanes), jnp.uint32)
        return Stream((bits[0] | jnp.uint32(1), bits[1], bits[2], bits[3]))  # never all zero

    def draw(self, numbers: int) -> tuple[Stream, list[Float[Array, " lane"]]]:
        """The next `numbers` uniforms in [0, 1) of every lane."""
        s0, s1, s2, s3 = self.state
        drawn = []
        for _ in range(numbers):
            drawn.append(((s0 + s3) >> 8).astype(jnp.float32) * UNIT)
            shifted = s1 << 9
            s2, s3 = s2 ^ s0, s3 ^ s1
            s1, s0 = s1 ^ s2, s0 ^ s3
            s2, s3 = s2 ^ shifted, (s3 << 11) | (s3 >> 21)
        return Stream((s0, s1, s2, s3)), drawn


def circle(uniform: Float[Array, " lane"]) -> tuple[Float[Array, " lane"], Float[Array, " lane"]]:
    """Cosine and sine of an azimuth uniform in a full turn, by the double angle of a polynomial sine (error
    1e-7, but 1e-3 close to half a turn; the norm is exact)."""
    half = PI * (uniform - np.float32(0.5))
    square = half * half
    series = np.float32(1) + square * (
        SINE[0] + square * (SINE[1] + square * (SINE[2] + square * (SINE[3] + square * SINE[4])))
    )
    sine = half * series
    cosine = jnp.sqrt(jnp.maximum(1 - sine * sine, 0))
    return 1 - 2 * sine * sine, 2 * sine * cosine


def turned(direction, cosine, uniform):
    """`direction` (three arrays) turned by an angle of that cosine, at an azimuth drawn from `uniform`.

    The basis round the direction is that of Duff et al., J Comput Graph Tech 2017;6:1: no branch, no pole.
    """
    u, v, w = direction
    sine = jnp.sqrt(jnp.maximum(1 - cosine * cosine, 0))
    along, across = circle(uniform)
    p, q = sine * along, sine * across
    sign = jnp.where(w >= 0, np.float32(1), np.float32(-1))
    a = -1 / (sign + w)
    b = u * v * a
    return (
        u * cosine + p * (1 + sign * u * u * a) + q * b,
        v * cosine + p * sign * b + q * (sign + v * v * a),
        w * cosine - p * sign * u - q * v,
    )


def isotropic(first, second):
    """A direction uniform on the sphere from two uniforms."""
    cosine = 2 * first - 1
    sine = jnp.sqrt(jnp.maximum(1 - cosine * cosine, 0))
    along, across = circle(second)
    return sine * along, sine * across, cosine


def placed(log_energy, log_lowest: float, per_log: float, entries: int):
    """Lower index and fraction of a value on a logarithmic grid."""
    at = jnp.clip((log_energy - np.float32(log_lowest)) * np.float32(per_log), 0, np.float32(entries - 1.001))
    lower = at.astype(jnp.int32)
    return lower, at - lower.astype(jnp.float32)


def between(table, lower, fraction):
    """Linear interpolation of `table` at `lower + fraction`."""
    low, high = table[lower], table[lower + 1]
    return low + fraction * (high - low)
