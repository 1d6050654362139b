"""Activity that SPECT smears out, put back voxel by voxel: a network beside recovery coefficients and deconvolution.

Trained on OSEM of simulated 177Lu acquisitions with lesions of all sizes (`restore_spect_cases`); no regions need be
drawn. The total of the image stays as it is.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Case, Progress, silent
from dose.learning.patches import patchwise
from dose.learning.ranges import Choice, choose, positive, stated, with_reasons
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import found_weights
from imaging.geometry import Volume, as_volume
from imaging.networks import denoise
from imaging.networks.acquisitions import Physics
from imaging.networks.denoise import level, smoothed
from imaging.networks.denoise_spect import LINE, LINE_MARGIN_keV
from imaging.networks.given import ct_doubts, volumes_by_name
from imaging.networks.restore_spect_cases import case
from imaging.networks.restore_spect_classical import RULES, Chosen, classical, image_of
from imaging.networks.restore_spect_model import Restorer, batch, channels, loss, network

CHOSEN = Chosen(
    fwhm_mm=17.0,
    steps=12,
    quiet_fwhm_mm=9.0,
    quiet_steps=0,
    yang_fwhm_mm=11.0,
    b1_mL=3.943,
    b2=0.634,
    left_over={"deconvolution": 0.56, "yang": 0.66, "recovery": 0.52},
)
"""Of least error on the first images of four training patients (the curve: of all), by `chosen`.

No step leaves the image as it is.
"""

UPDATES = "OSEM updates"
PATCH = (64, 64, 64)
"""Voxels that go through the network at once."""


@dataclass(frozen=True)
class Restored:
    """An image with the activity put back.

    Attributes:
        volume: Bq/mL.
        sd: of each voxel's error, Bq/mL.
        region_sd: Bq/mL; its mean over a region is the sd of the region's mean (`mean_in`). By the network: learnt.
            Of a classical method: that part of its correction which was wrong on training cases.
        choice: "network" or "classical", and why not the network.
        rule: of the classical method; "" for the network.
    """

    volume: Volume
    sd: Volume
    region_sd: Volume
    choice: Choice
    rule: str = ""

    def mean_in(self, mask: Volume) -> tuple[float, float]:
        """Mean of a region (weights 0 to 1) and its sd, Bq/mL.

        Raises:
            InputError: no volume.
            ImageError: a mask of another grid, or an empty one.
        """
        as_volume(mask, "mask")
        weight = np.asarray(mask.array, float)
        if not mask.is_on_grid_of(self.volume) or not weight.sum() > 0:
            found = "an empty one, or one of another grid"
            raise ImageError(describe("mask", found, "a region on the image's grid", "draw it on this image"))
        mean, sd = (float((weight * v.array).sum() / weight.sum()) for v in (self.volume, self.region_sd))
        return mean, sd


def restored_spect(
    volume: Volume,
    ct: Volume | None = None,
    *,
    line_keV: float,
    updates: int,
    masks: Mapping[str, Volume] | None = None,
    rule: str | None = None,
    method: str = "auto",
    weights: Path | None = None,
    progress: Progress = silent,
) -> Restored:
    """A reconstructed quantitative SPECT with partial volume undone.

    Args:
        volume: Bq/mL, OSEM with attenuation, scatter and response correction, not filtered.
        ct: HU, any grid; the network does without, a little worse.
        line_keV: of the peak window that was imaged.
        updates: OSEM iterations times subsets.
        masks: regions on the image's grid, for the classical method only.
        rule: of the classical method: "deconvolution" (the default without masks), "yang" (with), "recovery".
        method: "auto", "network" or "classical".
        weights: folder of a user's own.
        progress: called with patches done.

    Raises:
        InputError: an image that is too small or holds no activity, values that are not finite, another method or
            rule, "network" without weights; what is no volume, mask by name or number above zero.
        ImageError: masks that are empty, on another grid, or overlap; a CT that covers none of the activity.
    """
    checked(volume, ct)
    positive(line_keV=line_keV, updates=updates)
    volumes_by_name({} if masks is None else masks, "masks")
    rule = rule or ("yang" if masks else "deconvolution")
    if rule not in RULES:
        raise InputError(describe("rule", f'"{rule}"', f"one of {RULES}", "choose one"))
    trained, why = found_weights(RECIPE, weights)
    told = features(volume) | {LINE: line_keV, UPDATES: float(updates)}
    choice = choose(method, trained and trained.limits, told, default=bool(trained and trained.default), why=why)
    choice = with_reasons(choice, method, ct_doubts(ct, volume, "the SPECT's activity"))
    if choice.method == "classical" or trained is None:
        return _by_rule(volume, masks, rule, choice)
    hu = None if ct is None else ct.resampled_onto(volume, outside=-1000.0).array
    made = applied(trained.members, volume, hu, progress)
    return Restored(*(volume.with_array(a) for a in made), choice)


def checked(volume: Volume, ct: Volume | None) -> None:
    """Raises:
    InputError: no volume, values that are not finite, and as `denoise.checked`.
    """
    for name, image in {"volume": volume, **stated(ct=ct)}.items():
        if not np.isfinite(as_volume(image, name).array).all():
            found = f"{int((~np.isfinite(image.array)).sum())} voxels that are not finite"
            raise InputError(describe(name, found, "finite values", "reconstruct or export it again"))
    denoise.checked(volume)


def features(volume: Volume) -> dict[str, float]:
    """`denoise.features` of an image."""
    return denoise.features(volume)


@torch.no_grad()
def applied(
    members: Sequence[nn.Module], volume: Volume, hu: np.ndarray | None, progress: Progress = silent
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Activity, sd and sd of means [z, y, x]: the mean of the members, their spread added to both sd; total kept."""
    scale, found = np.float32(level(volume.array)), []
    for member in members:
        assert isinstance(member, Restorer)
        image = np.asarray(volume.array, np.float32) / scale
        seen = channels(image, hu, volume.spacing_mm, member.deconvolutions, member.fwhm_mm)
        found.append(patchwise(member, seen, PATCH, overlap=0.35, progress=progress))
    mean, between = np.mean(found, axis=0), np.std([f[0] for f in found], axis=0)
    total = float(volume.array.sum(dtype=float)) / max(float(mean[0].sum(dtype=float)) * float(scale), 1e-30)
    sds = (np.hypot(mean[n], between) * scale for n in (1, 2))
    return mean[0] * scale * np.float32(total), *sds


def _by_rule(volume: Volume, masks, rule: str, choice: Choice) -> Restored:
    made = classical(volume, masks, rule, CHOSEN)
    change = np.float32(CHOSEN.left_over[rule]) * np.abs(made - volume.array)
    sd = smoothed(change, 2.0)
    return Restored(*(volume.with_array(a) for a in (made, sd, change)), choice, rule)


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """The range of `features` over the training images, with `denoise.MARGIN`; line and updates of the training."""
    seen = [features(image_of(c, k)) for c in cases for k in range(len(c["image"]))]
    found = {}
    for name in seen[0]:
        low, high = min(f[name] for f in seen), max(f[name] for f in seen)
        width = 2 * denoise.MARGIN * low if "voxel" in name else denoise.MARGIN * (high - low)
        found[name] = (low - width, high + width)
    line, counts = Physics().line_keV, [a * b for a, b in config.data["settings"]]
    found[LINE] = (line - LINE_MARGIN_keV, line + LINE_MARGIN_keV)
    return found | {UPDATES: (float(min(counts)), float(max(counts)))}


RECIPE = Recipe("restore_spect", "imaging.networks", case, batch, network, loss, limits)
