"""Many lanes step together; a lane whose history ended takes the next particle of the queue, until none is left and all
have ended (drain), so that no history is cut short."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from dose.montecarlo.lanes import Stream
from dose.montecarlo.photons import Particles

BLOCK = 128
COLUMNS = 8
"""Of a queue: energy, x, y, z, direction (three), weight."""


class Outcome(eqx.Module):
    """Energy in MeV left in every bin; particles set free on the way [particle, 8] and how many; steps of the lanes."""

    tally_MeV: Float[Array, " bin"]
    freed: Float[Array, "particle 8"]
    number: Int[Array, ""]
    steps: Int[Array, ""]


def _rank(wanted):
    """How many wanted lanes stand before each lane: a cumulative sum by a triangular product, exact in float32."""
    upper = jnp.triu(jnp.ones((BLOCK, BLOCK), jnp.float32))
    rows = wanted.reshape(-1, BLOCK).astype(jnp.float32) @ upper
    before = jnp.concatenate([jnp.zeros(1, jnp.float32), jnp.cumsum(rows[:-1, -1])])
    return (rows + before[:, None]).reshape(-1).astype(jnp.int32) - 1


def _respawn(queue, count, taken, lanes):
    """Free lanes take the next rows of the queue."""
    free = lanes.energy_MeV <= 0
    rank = _rank(free)
    index = taken + rank
    given = free & (index < count)
    rows = queue[jnp.where(given, index, 0)]
    pick = lambda k, old: jnp.where(given, rows[:, k], old)
    fresh = Particles(
        pick(0, lanes.energy_MeV),
        tuple(pick(k + 1, p) for k, p in enumerate(lanes.position_cm)),
        tuple(pick(k + 4, d) for k, d in enumerate(lanes.direction)),
        pick(7, lanes.weight),
    )
    return jnp.minimum(taken + rank[-1] + 1, count), fresh


def _banked(bank, number, freed: Particles):
    """The bank with the particles set free in this step, their count, and which of them found no room."""
    wanted = freed.energy_MeV > 0
    rank = _rank(wanted)
    index = jnp.where(wanted, number + rank, bank.shape[0])
    rows = jnp.stack([freed.energy_MeV, *freed.position_cm, *freed.direction, freed.weight], axis=1)
    left = wanted & (index >= bank.shape[0])
    return bank.at[index].set(rows, mode="drop"), jnp.minimum(number + rank[-1] + 1, bank.shape[0]), left


@eqx.filter_jit
def transport(physics, queue: Float[Array, "particle 8"], count, key, lanes: int, room: int = 0) -> Outcome:
    """Follows the first `count` particles of the queue to their end.

    `lanes` is a multiple of 128. With `room` above 0, particles that `physics` sets free are kept, that many at most;
    what finds no room leaves its energy where it arose.
    """
    zero = jnp.zeros(lanes, jnp.float32)
    idle = Particles(zero, (zero, zero, zero), (zero, zero, zero + 1), zero)
    tally, bank = jnp.zeros(physics.geometry.bins, float), jnp.zeros((room, COLUMNS), jnp.float32)
    none = jnp.int32(0)
    count = jnp.asarray(count, jnp.int32)

    def going(state):
        _, taken, now, *_ = state
        return (taken < count) | jnp.any(now.energy_MeV > 0)

    def step(state):
        stream, taken, now, tally, bank, number, steps = state
        taken, now = _respawn(queue, count, taken, now)
        stream, now, cell, deposit, freed = physics.event(stream, now)
        if room:
            bank, number, left = _banked(bank, number, freed)
            deposit = deposit + jnp.where(left, freed.energy_MeV * freed.weight, 0)
        tally = tally.at[physics.geometry.bin(cell)].add(deposit.astype(tally.dtype))
        return stream, taken, now, tally, bank, number, steps + 1

    start = (Stream.seeded(key, lanes), none, idle, tally, bank, none, none)
    *_, tally, bank, number, steps = jax.lax.while_loop(going, step, start)
    return Outcome(tally, bank, number, steps)
