"""Figures of a denoised image against the noise-free one, shared by the checks of SPECT and PET."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from scipy.ndimage import binary_dilation
from skimage import measure
from skimage.restoration import denoise_nl_means
from torch import nn

from dose.learning.paired import paired
from imaging.geometry import Volume
from imaging.networks.denoise import GRAIN_FWHM, Denoiser, Filter, as_volume, channels, filtered, level, smoothed
from imaging.networks.denoise_gaussian import body_rmse, oracle_fwhm_mm
from imaging.noise_model import MEDIAN_OF_SD

LEAST_FALSE_VOXELS = 4
"""A false lesion has at least as many voxels, as those of the simulated patients have."""

NEAR_LESION_mm = 15.0

KIDNEYS, ORGANS = ("kidney_left", "kidney_right"), ("liver", "spleen")


@dataclass(frozen=True)
class Seen:
    """A test case with the images of each method."""

    case: Mapping[str, np.ndarray]
    images: Mapping[str, np.ndarray]

    def mask(self, names: Sequence[str]) -> np.ndarray:
        known = [str(n) for n in self.case["names"]]
        return np.isin(self.case["labels"], [known.index(n) for n in names if n in known])

    @property
    def lesions(self) -> list[np.ndarray]:
        return [self.mask([str(n)]) for n in self.case["names"] if str(n).startswith("tumour_")]

    def rmse(self, method: str, mask: np.ndarray | None = None) -> float:
        return body_rmse(self.images[method], self.case, mask)

    def bias(self, method: str, mask: np.ndarray) -> float:
        """Of the mean in a mask, relative to that of the noise-free image."""
        return float(self.images[method][mask].mean() / self.case["noise_free"][mask].mean() - 1)

    def false_lesions(self, method: str) -> int:
        """Pieces of the body, not near a lesion, above the noise-free image by half of it and by the body's mean."""
        body, true = self.case["labels"] > 0, self.case["noise_free"]
        steps = int(np.ceil(NEAR_LESION_mm / float(np.min(self.case["spacing_mm"]))))
        lesions = np.any([*self.lesions, np.zeros(body.shape, bool)], axis=0)
        near = np.asarray(binary_dilation(lesions, iterations=steps), dtype=bool)
        excess = self.images[method] - true
        pieces = np.asarray(
            measure.label((excess > 0.5 * true) & (excess > true[body].mean()) & body & ~near, connectivity=1)
        )
        return int(np.sum(np.bincount(pieces.ravel())[1:] >= LEAST_FALSE_VOXELS))


def seen_by_all(case: Mapping, network: Callable[[Volume], np.ndarray], classical: Filter) -> Seen:
    """The first scan of a case by the network, the chosen Gaussian, the oracle's, and non-local means."""
    image = as_volume(case, "first")
    oracle = Filter(oracle_fwhm_mm(case), 1.0)
    images = {
        "none": image.array,
        "network": network(image),
        "gaussian": filtered(image, classical)[0],
        "oracle": filtered(image, oracle)[0],
        "nlm": non_local_means(image.array),
    }
    return Seen(case, images)


def non_local_means(array: np.ndarray) -> np.ndarray:
    """Of the square root, which evens out Poisson noise (scikit-image; patches of 3, search of 7 voxels)."""
    scale = float(array.max())
    root = np.sqrt(np.maximum(array, 0) / scale)
    fine = np.abs(root - smoothed(root, GRAIN_FWHM))[root > root.mean()]
    sigma = float(np.median(fine) / MEDIAN_OF_SD)
    quiet = denoise_nl_means(root, patch_size=3, patch_distance=3, h=0.8 * sigma, sigma=sigma, fast_mode=True)
    return (np.asarray(quiet) ** 2 * scale).astype(np.float32)


def compared(seen: Sequence[Seen], figure: Callable[[Seen, str], float | None], other: str = "gaussian"):
    """`Paired` of a figure by the network and another method; cases that lack it are left out."""
    both = [(figure(s, "network"), figure(s, other)) for s in seen]
    kept = [(a, b) for a, b in both if a is not None and b is not None]
    return paired([a for a, _ in kept], [b for _, b in kept])


def in_kidneys(s: Seen, method: str) -> float | None:
    mask = s.mask(KIDNEYS)
    return s.rmse(method, mask) if mask.any() else None


def in_organs(s: Seen, method: str) -> float | None:
    mask = s.mask(ORGANS)
    return s.rmse(method, mask) if mask.any() else None


def lesion_error(s: Seen, method: str) -> float | None:
    """Mean over lesions of the absolute error of the lesion's mean."""
    found = [abs(s.bias(method, mask)) for mask in s.lesions if mask.any()]
    return float(np.mean(found)) if found else None


def kidney_biases(seen: Sequence[Seen], method: str) -> np.ndarray:
    """Of each kidney of each case, in %."""
    masks = [(s, s.mask([name])) for s in seen for name in KIDNEYS]
    return np.array([100 * s.bias(method, mask) for s, mask in masks if mask.sum() > 50])


def covered(sd: np.ndarray, error: np.ndarray, where: np.ndarray) -> float:
    """Part of the voxels whose error lies within 1.96 sd."""
    return float(np.mean(np.abs(error[where]) <= 1.96 * sd[where]))


def departure_of_bare_network(model: nn.Module, array: np.ndarray, factor: float = 3.0) -> float:
    """Of its answer to `factor` times a slice from as many times that to the slice, over its largest value.

    The model sees the slice in units of the image's level, and times the factor: without the division that makes any
    network's answer go with the activity.
    """
    assert isinstance(model, Denoiser)
    reach, middle = (model.base - 1) // 2, len(array) // 2
    seen = channels(np.asarray(array, np.float32) / np.float32(level(array)), reach, model.widths_voxels)[middle, None]
    with torch.no_grad():
        once, more = (model(torch.from_numpy(np.float32(k) * seen)) for k in (1.0, factor))
    return float((more - factor * once).abs().max() / once.abs().max())
