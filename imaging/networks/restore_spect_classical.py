"""What partial-volume restoration was before networks: deconvolution of an image, and corrections of drawn regions.

Without regions: Richardson-Lucy deconvolution (Richardson 1972, Lucy 1974; recalled), stopped early. With regions:
recovery coefficients by volume, or iterative Yang (`imaging.volume_correction`). Each gives an image. Widths and steps
were chosen on training cases by `chosen`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Case
from imaging.geometry import Volume
from imaging.networks.denoise import smoothed
from imaging.networks.restore_spect_cases import lesions_of
from imaging.recovery_fit import RecoveryCurve, fit_recovery, recovery
from imaging.volume_correction import partial_volume, with_rest

RULES = ("deconvolution", "yang", "recovery")
FLOOR = 1e-4
"""Of the mean: what a blurred image is at least, where it divides."""

HOT = 1.5
"""A lesion counts for the recovery curve where its uptake is this many times what surrounds it."""

WIDTHS_mm = (9.0, 11.0, 12.0, 13.0, 15.0, 17.0, 19.0, 21.0)
STEPS = (0, 1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48)
"""What is tried."""


@dataclass(frozen=True)
class Chosen:
    """Settings of the classical methods, and their errors relative to what they change, on training cases.

    Attributes:
        fwhm_mm, steps: of Richardson-Lucy, of least error of lesion means.
        quiet_fwhm_mm, quiet_steps: of it, of least RMSE in the body.
        yang_fwhm_mm: of the point spread that iterative Yang and the transfer matrix take.
        b1_mL, b2: of the recovery curve (`imaging.recovery_fit`).
        left_over: rms error of lesion means over the rms of their correction, by rule.
    """

    fwhm_mm: float
    steps: int
    quiet_fwhm_mm: float
    quiet_steps: int
    yang_fwhm_mm: float
    b1_mL: float
    b2: float
    left_over: Mapping[str, float]


def deconvolved(array: np.ndarray, spacing_mm, fwhm_mm: float, steps: Sequence[int]) -> list[np.ndarray]:
    """Richardson-Lucy from the image itself, after each of these numbers of steps; its scale goes with the image's."""
    width = fwhm_mm / np.asarray(spacing_mm)[::-1]
    seen = np.maximum(np.asarray(array, np.float32), 0)
    least, found, made = np.float32(FLOOR * seen.mean()), seen, {}
    for step in range(1, max(steps, default=0) + 1):
        ratio = seen / np.maximum(smoothed(found, width, truncate=3.0), least)
        found = found * smoothed(ratio, width, truncate=3.0)
        made[step] = found
    return [made[n] if n else seen for n in steps]


def by_recovery(image: Volume, masks: Mapping[str, Volume], b1_mL: float, b2: float) -> np.ndarray:
    """The image with each region divided by the recovery of its volume, so that its weighted mean is, too.

    A voxel that several soft regions share goes with the one that holds most of it.

    Raises:
        ImageError: masks that are empty, on another grid, or overlap.
    """
    most, over = np.zeros(image.array.shape), np.ones(image.array.shape, np.float32)
    for weight in with_rest(image, masks)[1][: len(masks)]:
        recovered = float(recovery(float(weight.sum()) * image.voxel_mL, b1_mL, b2))
        over[weight > most] = recovered
        most = np.maximum(most, weight)
    return (image.array / over).astype(np.float32)


def by_yang(image: Volume, masks: Mapping[str, Volume], fwhm_mm: float) -> np.ndarray:
    """Iterative Yang; the matrix's means paint the regions where Yang's do not stand.

    Raises:
        ImageError: masks that cannot be told apart.
    """
    try:
        made = partial_volume(image, masks, fwhm_mm, "yang").image
        assert made is not None
        return made.array.astype(np.float32)
    except ImageError as error:
        if "iterative Yang" not in str(error):
            raise
    found = partial_volume(image, masks, fwhm_mm, "gtm")
    out = np.asarray(image.array, np.float32).copy()
    for mask, mean in zip(masks.values(), found.means):
        out = np.where(np.asarray(mask.array) > 0.5, np.float32(max(mean, 0.0)), out)
    return out


def classical(image: Volume, masks: Mapping[str, Volume] | None, rule: str, chosen: Chosen) -> np.ndarray:
    """The image restored by a rule.

    Raises:
        InputError: an unknown rule, or one that needs masks without any.
        ImageError: masks that are empty, on another grid, or overlap.
    """
    if rule not in RULES or (rule != "deconvolution" and not masks):
        found = f'"{rule}" {"with" if masks else "without"} masks'
        raise InputError(describe("rule", found, f"one of {RULES}, the last two with masks", "draw regions"))
    if rule == "deconvolution":
        return deconvolved(image.array, image.spacing_mm, chosen.fwhm_mm, [chosen.steps])[0]
    assert masks is not None
    if not all(m.is_on_grid_of(image) and m.array.any() for m in masks.values()):
        found = "one that is empty or on another grid"
        raise ImageError(describe("masks", found, "regions on the image's grid", "draw them on this image"))
    if rule == "recovery":
        return by_recovery(image, masks, chosen.b1_mL, chosen.b2)
    return by_yang(image, masks, chosen.yang_fwhm_mm)


def regions_of(case: Case, k: int) -> dict[str, np.ndarray]:
    """Regions that a user would draw for Yang: lesions, large organs, glands, and the body about them; bool masks."""
    names, labels = [str(n) for n in case["names"]], case["labels"][k]
    lesions = lesions_of(case, k)
    drawn = {f"lesion_{n}": mask for n, mask in lesions.items()}
    for name in DRAWN:
        mask = labels == names.index(name) if name in names else np.zeros(labels.shape, bool)
        if mask.sum() >= 8:
            drawn[name] = mask
    drawn["body"] = (labels > 0) & ~np.logical_or.reduce(list(drawn.values()))
    return drawn


DRAWN = (
    *("kidney_left", "kidney_right", "liver", "spleen", "bladder_contents", "small_intestine", "lungs"),
    *("heart_contents", "parotid_left", "parotid_right", "submandibular_left", "submandibular_right"),
)
"""Organs that `regions_of` takes."""


def image_of(case: Case, k: int) -> Volume:
    """Image k of a case."""
    return Volume(case["image"][k], np.diag([*case["spacing_mm"], 1.0]))


def volumes(regions: Mapping[str, np.ndarray], image: Volume) -> dict[str, Volume]:
    """Masks as volumes on an image's grid."""
    return {name: image.with_array(mask.astype(np.float32)) for name, mask in regions.items()}


def chosen(cases: Sequence[Case], few: int = 4) -> Chosen:
    """All settings: the curve from all images of the cases, the others from the first images of the first few."""
    curve, first = chosen_curve(cases), [{**case, "image": case["image"][:1]} for case in cases[:few]]
    sharp, quiet = chosen_deconvolution(first)
    return with_left_over(Chosen(*sharp, *quiet, chosen_yang(first), curve.b1_mL, curve.b2, {}), first)


def chosen_deconvolution(cases: Sequence[Case]) -> tuple[tuple[float, int], tuple[float, int]]:
    """(FWHM, steps) of least mean relative error of lesion means, and of least RMSE in the body."""
    means, voxels = np.zeros((2, len(WIDTHS_mm), len(STEPS)))
    for case in cases:
        for k in range(len(case["image"])):
            for i, width in enumerate(WIDTHS_mm):
                made = deconvolved(case["image"][k], case["spacing_mm"], width, STEPS)
                means[i] += [lesion_errors(m, case, k).mean() for m in made]
                voxels[i] += [rmse_in_body(m, case, k) for m in made]
    best = [np.unravel_index(np.argmin(errors), errors.shape) for errors in (means, voxels)]
    lesions, body = ((WIDTHS_mm[int(i)], STEPS[int(j)]) for i, j in best)
    return lesions, body


def rmse_in_body(image: np.ndarray, case: Case, k: int) -> float:
    """RMSE against the true activity in the body over the mean of it there."""
    body, true = case["labels"][k] > 0, case["activity"][k]
    return float(np.sqrt(np.mean((image - true)[body] ** 2)) / true[body].mean())


def chosen_yang(cases: Sequence[Case]) -> float:
    """FWHM of least mean relative error of lesion means by iterative Yang with the true masks."""
    errors = []
    for width in WIDTHS_mm:
        parts = [lesion_errors(yang_of(c, k, width), c, k) for c in cases for k in range(len(c["image"]))]
        errors.append(np.concatenate(parts).mean())
    return WIDTHS_mm[int(np.argmin(errors))]


def yang_of(case: Case, k: int, fwhm_mm: float) -> np.ndarray:
    """Yang's image of a case with the true masks."""
    image = image_of(case, k)
    return by_yang(image, volumes(regions_of(case, k), image), fwhm_mm)


def chosen_curve(cases: Sequence[Case]) -> RecoveryCurve:
    """The curve through measured over true means of all hot lesions; each weighs alike."""
    volume, ratio = [], []
    for case in cases:
        voxel_mL = float(np.prod(case["spacing_mm"])) / 1000
        for k in range(len(case["image"])):
            for mask in lesions_of(case, k).values():
                true = float(case["activity"][k][mask].mean())
                if true > HOT * surroundings(case, k, mask):
                    volume.append(mask.sum() * voxel_mL)
                    ratio.append(float(case["image"][k][mask].mean()) / true)
    return fit_recovery(volume, ratio, np.full(len(volume), 0.1))


def surroundings(case: Case, k: int, mask: np.ndarray) -> float:
    """Mean true uptake within two voxels about a region."""
    low = np.maximum(np.argwhere(mask).min(axis=0) - 2, 0)
    high = np.argwhere(mask).max(axis=0) + 3
    box = tuple(slice(a, b) for a, b in zip(low, high))
    return float(case["activity"][k][box][~mask[box]].mean())


def lesion_errors(image: np.ndarray, case: Case, k: int) -> np.ndarray:
    """Size of the relative error of the mean of each lesion that is not cold, [lesion]."""
    found = []
    for mask in lesions_of(case, k).values():
        true = float(case["activity"][k][mask].mean())
        if true > HOT * surroundings(case, k, mask):
            found.append(abs(float(image[mask].mean()) / true - 1))
    return np.array(found)


def with_left_over(chosen: Chosen, cases: Sequence[Case]) -> Chosen:
    """The settings with `left_over` measured on cases with the true masks."""
    errors: dict[str, list[tuple[float, float]]] = {rule: [] for rule in RULES}
    for case in cases:
        for k in range(len(case["image"])):
            image = image_of(case, k)
            masks = volumes(regions_of(case, k), image)
            drawn = {n: m for n, m in masks.items() if n != "body"}
            for rule in RULES:
                made = classical(image, drawn if rule == "recovery" else masks, rule, chosen)
                for mask in lesions_of(case, k).values():
                    true, was = (float(a[k][mask].mean()) for a in (case["activity"], case["image"]))
                    now = float(made[mask].mean())
                    errors[rule].append(((now - true) ** 2 / true**2, (now - was) ** 2 / true**2))
    left = {r: float(np.sqrt(np.median([e for e, _ in v]) / np.median([c for _, c in v]))) for r, v in errors.items()}
    return replace(chosen, left_over=left)
