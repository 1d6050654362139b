"""Short SPECT scans made quieter: OSEM images of a quarter of the counts towards those of any number of them.

Trained on OSEM of simulated 177Lu acquisitions (`imaging.networks.acquisitions`), reconstructed twice from independent
short scans and once from the expected counts, which is what the network aims at: it takes away noise, not blur.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dose.learning.cases import Case, Progress, silent
from dose.learning.ranges import positive
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import found_weights
from imaging.geometry import Volume, as_volume
from imaging.networks import denoise, denoise_batches
from imaging.networks.acquisitions import Acquisition, Physics, acquisition, image
from imaging.networks.denoise import Denoised, Filter, denoised
from imaging.reconstruct.iterations import Settings

FILTER = Filter(fwhm_mm=8.0, left_over=1.55)
"""Of least RMSE on the training cases, by `imaging.networks.denoise_gaussian.chosen_filter`."""

LINE, LINE_MARGIN_keV = "photon energy in keV", 5.0


def denoised_spect(
    volume: Volume, *, line_keV: float, method: str = "auto", weights: Path | None = None, progress: Progress = silent
) -> Denoised:
    """An OSEM image of a short SPECT scan with less noise, at the resolution that it has.

    The network's answer is the mean of those to four mirror images.

    Args:
        volume: Bq/mL (or counts), corrected for attenuation and scatter, not filtered.
        line_keV: of the peak window that was imaged.
        method: "auto", "network", or "classical" (a Gaussian filter).
        weights: folder of a user's own.
        progress: called with slices done.

    Raises:
        InputError: what is no volume or no energy, an image that is too small or holds no activity, another method,
            "network" without weights.
    """
    as_volume(volume, "volume")
    positive(line_keV=line_keV)
    trained, why = found_weights(RECIPE, weights)
    more = {LINE: line_keV}
    return denoised(volume, trained, why, FILTER, method=method, more=more, mirrors=denoise.MIRRORS, progress=progress)


def case(seed: int, config: Config) -> Case:
    """Two short scans of one patient, and what OSEM makes of the expected counts, in Bq/mL."""
    random = np.random.default_rng([seed, 5])
    low, high = config.data["scales"]
    scale = float(config.data["part"]) * float(np.exp(random.uniform(np.log(low), np.log(high))))
    return scans(acquisition(seed), scale, Settings(*config.data["settings"]), random)


def scans(seen: Acquisition, scale: float, settings: Settings, random: np.random.Generator) -> Case:
    """As `case`, of an acquisition with this part of its counts; images in Bq/mL of the nominal activity."""
    first, second = (image(seen.counted(scale, random), seen, settings) / scale for _ in range(2))
    return {
        "noise_free": image(seen.empty.with_counts(seen.expected), seen, settings),
        "first": first,
        "second": second,
        "activity": seen.activity.array,
        "labels": seen.labels,
        "spacing_mm": seen.ct.spacing_mm,
        "scale": np.array(scale),
    }


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """`denoise.limits`, and the photon energy of `Physics`."""
    line = Physics().line_keV
    return denoise.limits(cases, config) | {LINE: (line - LINE_MARGIN_keV, line + LINE_MARGIN_keV)}


RECIPE = Recipe(
    "denoise_spect", "imaging.networks", case, denoise_batches.batch, denoise.network, denoise_batches.loss, limits
)
