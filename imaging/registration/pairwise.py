"""Two images to the transform between them: rigid, then affine, then B-spline, with what speaks against the result.

Images are brought to a working spacing (4 mm unless told), CT values limited to tissue, and the root taken of activity
so that kidneys do not outweigh the body. The caller gets the transform for the images themselves, in LPS mm.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.registration.optimise import Pair, StageResult, bspline_stage, linear_stage, similarity
from imaging.registration.quality import Flag, inverse_flag, inverse_inconsistency_mm, registration_flags
from imaging.registration.resampling import coarser, covered
from imaging.registration.settings import EMISSION, STAGES, Settings, metric_for, setting
from imaging.registration.starts import LEAST_COVERED, best_start
from imaging.registration.transform import SpatialTransform
from imaging.series import ImageSeries

TISSUE_HU = (-1000.0, 1000.0)
"""CT values are limited to this range: metal and padding carry no anatomy."""


@dataclass(frozen=True)
class Registration:
    """`transform` from fixed to moving space, how each stage went, and what speaks against it.

    A stage that does not gain its margin of similarity is dropped, and its result says so (`kept`).
    `inverse_mm` is the root mean square inconsistency with the registration of the way back (None: not run); divided by
    sqrt 2 it is a guess at the error of one way. `by` says which images were compared.
    """

    transform: SpatialTransform
    stages: tuple[StageResult, ...]
    quality: tuple[Flag, ...]
    metric: str
    by: str
    inverse_mm: float | None = None

    @property
    def refused(self) -> bool:
        """Whether a flag says that the registration failed."""
        return any(flag.level == "refused" for flag in self.quality)

    @property
    def notes(self) -> tuple[str, ...]:
        """The flags that are not fine, in words."""
        doubtful = [f for f in self.quality if f.level != "fine"]
        return tuple(f"{f.level}: {f.words}: {f.value:.3g} {f.unit}" for f in doubtful)

    def required(self) -> SpatialTransform:
        """The transform; ImageError where the registration is refused."""
        if self.refused:
            do = "look at both images, give a start or a mask, or compare other images"
            raise ImageError(describe("registration", "; ".join(self.notes), "no refusing flag", do))
        return self.transform


def register(
    fixed: ImageSeries | Volume,
    moving: ImageSeries | Volume,
    *,
    stages: tuple[str, ...] = STAGES,
    metric: str = "auto",
    mask: Volume | None = None,
    start: SpatialTransform | None = None,
    check_inverse: bool = False,
    spacing_mm: float | None = None,
    control_spacing_mm: float | None = None,
    sampling_share: float | None = None,
    seed: int = Settings.seed,
    threads: int = 1,
) -> Registration:
    """The transform that takes points of `fixed` to those of `moving`.

    `mask` (fixed space, 0 to 1) says where to compare. `start` replaces the search for one; its field is dropped, and a
    rigid stage keeps only its turn and shift. `check_inverse` registers the way back too, at the same cost again.
    The same input, seed and threads=1 give the same transform.

    Raises:
        InputError: unknown stages or metric.
        ImageError: an image without contrast, or images that cannot be brought to overlap.
    """
    kinds = tuple(image.modality if isinstance(image, ImageSeries) else "" for image in (fixed, moving))
    chosen = metric_for(*kinds) if metric == "auto" else metric
    settings = Settings(tuple(stages), chosen, spacing_mm, control_spacing_mm, sampling_share, seed, threads)
    pair = Pair(_prepared(fixed, settings), _prepared(moving, settings), _on(mask, fixed, settings))
    found = _run(pair, start, settings, f"{kinds[0] or 'volume'} to {kinds[1] or 'volume'}")
    if not check_inverse:
        return found
    back = _run(Pair(pair.moving, pair.fixed), SpatialTransform(np.linalg.inv(found.transform.affine)), settings, "")
    distance = inverse_inconsistency_mm(found.transform, back.transform, pair.fixed)
    return replace(found, inverse_mm=distance, quality=(*found.quality, inverse_flag(distance)))


def volume_of(image: ImageSeries | Volume) -> Volume:
    return image.volume if isinstance(image, ImageSeries) else image


def _prepared(image: ImageSeries | Volume, settings: Settings) -> Volume:
    """Contrast as the class of image wants it, at working spacing."""
    volume = volume_of(image)
    if not np.ptp(volume.array) > 0:
        raise ImageError(describe("registration", "an image of one value", "contrast", "check the image"))
    modality = image.modality if isinstance(image, ImageSeries) else ""
    if modality == "CT":
        volume = volume.with_array(np.clip(volume.array, *TISSUE_HU))
    if modality in EMISSION:
        volume = volume.with_array(np.sqrt(np.maximum(volume.array, 0)))
    return coarser(volume, settings.working_mm)


def _on(mask: Volume | None, fixed: ImageSeries | Volume, settings: Settings) -> Volume | None:
    if mask is None:
        return None
    on_fixed = mask.resampled_onto(volume_of(fixed))
    if not (on_fixed.array > 0.5).any():
        raise ImageError(describe("registration, mask", "nothing on the fixed image", "a region of it", "check it"))
    return coarser(on_fixed, settings.working_mm)


def _run(pair: Pair, start: SpatialTransform | None, settings: Settings, by: str) -> Registration:
    transform = best_start(pair, settings) if start is None else SpatialTransform(start.affine)
    if settings.stages[0] == "rigid":
        transform = _nearest_rigid(transform)
    before = similarity(pair, transform, settings)
    results = []
    for stage in settings.stages:
        done, result = _stage(stage, pair, transform, settings)
        kept = result.after - result.before >= _margin(stage, settings.metric)
        transform = done if kept else transform
        results.append(replace(result, kept=kept))
    end = next((r.after for r in reversed(results) if r.kept), before)
    flags = registration_flags(pair, transform, end, _by_headers(pair, before, settings), settings.metric)
    return Registration(transform, tuple(results), flags, settings.metric, by)


def _stage(stage: str, pair: Pair, start: SpatialTransform, settings: Settings):
    if stage == "bspline":
        return bspline_stage(pair, start, settings)
    return linear_stage(stage, pair, start, settings)


def _margin(stage: str, metric: str) -> float:
    """The gain that a stage must show: freedom always finds some, and where nothing bends it costs millimetres."""
    if stage == "rigid":
        return 0.0
    return setting("correlation_margin" if metric == "correlation" else "information_margin")


def _by_headers(pair: Pair, start: float, settings: Settings) -> float:
    """Similarity by the headers' coordinates, or at the start where they bring little to overlap."""
    headers = SpatialTransform.identity()
    if covered(pair.moving, headers, pair.fixed).mean() < LEAST_COVERED:
        return start
    found = similarity(pair, headers, settings)
    return found if np.isfinite(found) else start


def _nearest_rigid(transform: SpatialTransform) -> SpatialTransform:
    """Turn and shift alone: the orthogonal factor of the matrix (polar decomposition)."""
    u, _, vt = np.linalg.svd(transform.affine[:3, :3])
    matrix = transform.affine.copy()
    matrix[:3, :3] = u @ np.diag([1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    return SpatialTransform(matrix)
