"""One stage of a registration: rigid and affine by SimpleITK's ImageRegistrationMethod, B-splines by `spline`.

Mattes, Haynor, Vesselle, Lewellen, Eubank, IEEE Trans. Med. Imaging 22 (2003) 120 (mutual information); optimisers and
pyramids as ITK gives them. The affine stage starts at the rigid result, the B-spline under the affine.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.registration.crossing import affine_from_sitk, to_sitk
from imaging.registration.settings import Settings, setting
from imaging.registration.transform import SpatialTransform

SMALLEST_AXIS = 16
"""A pyramid level keeps at least this many voxels along each axis, or it is left out."""
STEP_MM, SMALLEST_STEP_MM = 4.0, 1e-3
"""First and last length of a gradient step, in mm of voxel shift."""


@dataclass(frozen=True)
class StageResult:
    """A stage's name, similarity (negative metric: higher is better) before and after, and its iterations.

    `kept` is False where it gained too little and the transform before it stands.
    """

    stage: str
    before: float
    after: float
    iterations: int
    kept: bool = True


@dataclass(frozen=True)
class Pair:
    """The two images at working resolution, and where the metric is taken (fixed grid, or None: everywhere)."""

    fixed: Volume
    moving: Volume
    mask: Volume | None = None


def levels(fixed: Volume) -> list[int]:
    """Shrink factors from coarse to fine that leave enough voxels."""
    return [f for f in (4, 2, 1) if f == 1 or min(fixed.array.shape) / f >= SMALLEST_AXIS]


def _method(pair: Pair, settings: Settings, shrink: list[int]):
    import SimpleITK as sitk

    method = sitk.ImageRegistrationMethod()
    if settings.metric == "correlation":
        method.SetMetricAsCorrelation()
    else:
        method.SetMetricAsMattesMutualInformation(int(setting("mattes_bins")))
    if pair.mask is not None:
        method.SetMetricFixedMask(sitk.Cast(pair.mask.to_sitk() > 0.5, sitk.sitkUInt8))
    shares = [settings.share_of(pair.fixed.array.size // f**3) for f in shrink]
    if min(shares) < 1:
        method.SetMetricSamplingStrategy(method.RANDOM)
        method.SetMetricSamplingPercentagePerLevel(shares, settings.seed)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetShrinkFactorsPerLevel(shrink)
    method.SetSmoothingSigmasPerLevel([f / 2 if f > 1 else 0.0 for f in shrink])
    method.SetSmoothingSigmasAreSpecifiedInPhysicalUnits(False)
    method.SetNumberOfThreads(settings.threads)
    return method


def similarity(pair: Pair, transform: SpatialTransform, settings: Settings) -> float:
    """The negative metric over all voxels; minus infinity where the images do not overlap."""
    import SimpleITK as sitk

    method = _method(pair, Settings(metric=settings.metric, sampling_share=1.0, threads=settings.threads), [1])
    # a field has a parameter for each voxel: given as the fixed part, it is only applied
    method.SetMovingInitialTransform(to_sitk(transform))
    method.SetInitialTransform(sitk.TranslationTransform(3))
    try:
        return -method.MetricEvaluate(pair.fixed.to_sitk(), pair.moving.to_sitk())
    except RuntimeError:
        return -np.inf


def linear_stage(
    stage: str, pair: Pair, start: SpatialTransform, settings: Settings, shrink: list[int] | None = None
) -> tuple[SpatialTransform, StageResult]:
    """The rigid or affine transform that fits best from `start` (whose affine must be rigid for a rigid stage)."""
    shrink = shrink or levels(pair.fixed)
    method = _method(pair, settings, shrink)
    moved = _parameters(stage, start.affine, pair.fixed)
    method.SetInitialTransform(moved, inPlace=True)
    method.SetOptimizerAsRegularStepGradientDescent(
        learningRate=STEP_MM,
        minStep=SMALLEST_STEP_MM,
        numberOfIterations=int(setting("rigid_iterations")),
        relaxationFactor=0.6,
    )
    method.SetOptimizerScalesFromPhysicalShift()
    _execute(method, pair, stage)
    done = SpatialTransform(affine_from_sitk(moved))
    return done, _judged(stage, pair, start, done, settings, method.GetOptimizerIteration())


def _parameters(stage: str, matrix: np.ndarray, fixed: Volume):
    """ITK's transform of that kind, turning about the middle of the fixed image."""
    import SimpleITK as sitk

    centre = fixed.to_lps_mm((np.asarray(fixed.array.shape[::-1]) - 1) / 2)
    made = sitk.Euler3DTransform() if stage == "rigid" else sitk.AffineTransform(3)
    made.SetCenter(centre.tolist())
    made.SetMatrix(matrix[:3, :3].ravel().tolist(), *((1e-6,) if stage == "rigid" else ()))
    made.SetTranslation((matrix[:3, :3] @ centre + matrix[:3, 3] - centre).tolist())
    return made


def bspline_stage(pair: Pair, start: SpatialTransform, settings: Settings) -> tuple[SpatialTransform, StageResult]:
    """Smooth cubic B-splines under the affine of `start`, held as a field."""
    from imaging.registration.spline import deform

    spacings = {"working_mm": settings.working_mm, "control_mm": settings.control_mm}
    done, count = deform(pair.fixed, pair.moving, pair.mask, start, metric=settings.metric, **spacings)
    return done, _judged("bspline", pair, start, done, settings, count)


def _judged(stage, pair, start, done, settings, iterations) -> StageResult:
    return StageResult(stage, similarity(pair, start, settings), similarity(pair, done, settings), int(iterations))


def _execute(method, pair: Pair, stage: str) -> None:
    try:
        method.Execute(pair.fixed.to_sitk(), pair.moving.to_sitk())
    except RuntimeError as error:
        found = "images that lose their overlap, or have no contrast"
        do = "check that both show the same part of the body, or give a start"
        raise ImageError(describe(f"registration, {stage}", found, "a metric that can be followed", do)) from error
