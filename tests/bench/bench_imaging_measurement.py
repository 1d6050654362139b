"""The fast measurement model: what it takes to measure virtual patients, beside the full simulation it stands for."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from imaging.scanner.measurement_file import measurement_model
from imaging.scanner.reference_scan import reference_activity_MBq
from tests.bench import bench, best_of

PATIENTS, PART = 1_000_000, 1000


@jax.jit
def _measured(model, activity_MBq, keys):
    """Parts that stay in the processor's cache are measured one after the other."""
    return jax.lax.map(lambda part: model.measure(*part), (activity_MBq, keys))


@bench("imaging/measurement model, 1 000 000 patients", unit="s", peer="asked: a few seconds", peer_value=5.0)
def a_million():
    model = measurement_model("177Lu")
    reference = np.array([reference_activity_MBq()[name] for name in model.regions])
    random = np.random.default_rng(0).standard_normal((PATIENTS, len(reference)))
    activity = jnp.asarray(reference * np.exp(0.5 * random)).reshape(-1, PART, len(reference))
    keys = jax.random.split(jax.random.key(0), PATIENTS // PART)
    return best_of(lambda: _measured(model, activity, keys).block_until_ready(), repeats=3)
