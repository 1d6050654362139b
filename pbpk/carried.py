"""What a stretch of therapy leaves in the body, taken into the next, whose kinetics have changed."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from pbpk.kinetics import Kinetics
from pbpk.state import pack, spread, unpack


def left_over(body: Float[Array, "row patient"] | None, given_nmol, kin: Kinetics) -> np.ndarray:
    """Total ligand in the body over the total given, [patient]; infinite where nothing is given but ligand is there."""
    if body is None:
        return np.zeros(kin.patients)
    inside = np.asarray(body[: kin.layout.rows].sum(axis=0))
    given = np.broadcast_to(np.asarray(given_nmol, float), inside.shape)
    return np.where(given > 0, inside / np.where(given > 0, given, 1.0), np.where(inside > 0, np.inf, 0.0))


def fitted(y: Float[Array, "row patient"], kin: Kinetics) -> Float[Array, "row patient"]:
    """Rows with no more ligand bound than there are receptors: what has lost its receptor is in the interstitium."""
    layout = kin.layout
    total, hot = (unpack(part, layout) for part in jnp.split(jnp.asarray(y), 2, axis=-2))
    receptors = kin.receptors[layout.binding]
    kept = jnp.minimum(1.0, receptors / jnp.where(total.bound > 0, total.bound, np.inf))
    kept = jnp.where(total.bound > 0, kept, 1.0)
    moved = lambda x: x._replace(
        bound=kept * x.bound,
        interstitial=x.interstitial + spread((1 - kept) * x.bound, layout.binding, layout.organs),
    )
    return jnp.concatenate([pack(moved(total)), pack(moved(hot))], axis=-2)
