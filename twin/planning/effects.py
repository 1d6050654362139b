"""What a course does to the tumours of each draw: dose, BED, EUBED of the worst lesion, volume; and kidney BED.

EUBED (O'Donoghue 1999) takes the dose within a lesion as lognormal (`lesion_dose_cv` of twin/data/forecast.csv).
"""

from __future__ import annotations

from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from dose.control import eubed_Gy
from twin.outlook.read import Doses
from twin.outlook.surface import Surfaces

NODES = 7
SHARPNESS = 40.0
"""Of the smooth minimum over lesions: two lesions 2 % apart count as 0.7 to 0.3."""


class Effects(NamedTuple):
    """Of the whole course, what was given included, each [draw]; `lesion_*` [draw, lesion] of the named lesions.

    `volume_share` is all tumours' volume at the end over that at the start of the coming cycles.
    """

    tumour_dose_Gy: Float[Array, " draw"]
    tumour_bed_Gy: Float[Array, " draw"]
    worst_dose_Gy: Float[Array, " draw"]
    worst_eubed_Gy: Float[Array, " draw"]
    kidney_bed_Gy: Float[Array, " draw"]
    volume_share: Float[Array, " draw"]
    lesion_dose_Gy: Float[Array, "draw lesion"]
    lesion_eubed_Gy: Float[Array, "draw lesion"]


def effects(surfaces: Surfaces, found: Doses, past, named, kidneys: int, mass_g, dose_cv) -> Effects:
    """`past` are dose, weighted dose and quadratic part given, [draw, region]; `named` and `kidneys` are indices."""
    dose = found.dose_Gy.sum(axis=1) + past[0]
    weighted = found.weighted_Gy.sum(axis=1) + past[1]
    quadratic = (found.bed_Gy - found.weighted_Gy).sum(axis=1) + past[2]
    every, at = np.array(surfaces.lesions, int), np.array(named, int)
    share = mass_g[every] / jnp.maximum(jnp.sum(mass_g[every]), 1e-300)
    eubed = lesion_eubed_Gy(weighted[:, at], quadratic[:, at], surfaces.alpha_per_Gy[:, None], dose_cv)
    volume = surfaces.lesion_mL / jnp.maximum(jnp.sum(surfaces.lesion_mL), 1e-300)
    bed = weighted + quadratic
    nothing = jnp.zeros(dose.shape[0])
    return Effects(
        tumour_dose_Gy=dose[:, every] @ share,
        tumour_bed_Gy=bed[:, every] @ share,
        worst_dose_Gy=_least(dose[:, at]) if named else nothing,
        worst_eubed_Gy=_least(eubed) if named else nothing,
        kidney_bed_Gy=bed[:, kidneys] if kidneys >= 0 else nothing,
        volume_share=found.size[:, -1] @ volume if len(every) else nothing + 1,
        lesion_dose_Gy=dose[:, at],
        lesion_eubed_Gy=eubed,
    )


def lesion_eubed_Gy(weighted_Gy, quadratic_Gy, alpha_per_Gy, dose_cv) -> Float[Array, ...]:
    """EUBED of doses lognormal within a lesion with mean 1 and coefficient of variation `dose_cv` of their mean."""
    place, weight = np.polynomial.hermite_e.hermegauss(NODES)
    log_sd = jnp.sqrt(jnp.log1p(dose_cv**2))
    factor = jnp.exp(log_sd * place - log_sd**2 / 2)
    bed = weighted_Gy[..., None] * factor + quadratic_Gy[..., None] * factor**2
    return eubed_Gy(bed, jnp.asarray(weight), jnp.broadcast_to(alpha_per_Gy, bed.shape[:-1]))


def _least(values: Float[Array, "draw lesion"]) -> Float[Array, " draw"]:
    """A smooth minimum, so that the lesion that gets least may change along the way."""
    scale = SHARPNESS / jnp.maximum(jnp.mean(values, axis=-1, keepdims=True), 1e-9)
    low = jnp.min(values, axis=-1, keepdims=True)
    weight = jnp.exp(-scale * (values - low))
    return jnp.sum(weight * values, axis=-1) / jnp.sum(weight, axis=-1)
