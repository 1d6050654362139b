"""Lesions on PSMA and SSTR PET/CT: a 2.5D U-Net read in three planes, thresholds or fuzzy C-means behind it.

After the triple-plane networks for PSMA PET (as recalled in the reviews; none was read for details). Trained on
simulated bodies only: see docs/ai/lesions_pet.md for what that leaves open.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Case, Progress, silent
from dose.learning.ranges import choose, with_reasons
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import Trained, found_weights
from imaging.geometry import Volume, as_volume
from imaging.networks.given import check_grid, ct_doubts, organ_masks
from imaging.networks.lesions_cases import MARGIN, Look, lesion_case, organ_channel, seen, slab
from imaging.networks.lesions_features import axial_grid, body_mask, image_features
from imaging.networks.lesions_planes import compressed, ct_channel, planar_network, segmentation_loss, three_planes
from imaging.networks.lesions_result import LesionSegmentation, least_mL, lesion_segmentation, outside_organs
from imaging.networks.organs_input import on_grid
from imaging.noise_model import NoiseModel
from imaging.segmentation.fuzzy import fuzzy_lesions
from imaging.segmentation.thresholds import threshold_lesions
from imaging.tumour_burden import default_of

EXTRA = 3
"""Channels beside the PET's slices: CT, organs, tracer."""

TRACERS = {"psma": 0.0, "sstr": 1.0}
RULES = ("fixed", "liver", "share", "fuzzy")
AIR_HU = -1000.0
DROP_CT = 0.1
SLICES_A_SLAB = 3
"""Training slices from each slab that is drawn, every second one."""

THRESHOLD, LEAST_PEAK = 0.01, 0.9
"""Probability of a lesion's voxels, and of its surest one, chosen on 16 held-out scans (docs/ai/lesions_pet.md). The
first is low because the cut at a share of the maximum, not the probability, says where a lesion ends."""


def segment_lesions(
    pet_suv: Volume,
    ct: Volume | None = None,
    *,
    tracer: str,
    organs: Mapping[str, Volume] | None = None,
    method: str = "auto",
    rule: str = "fixed",
    activity: Volume | None = None,
    noise: NoiseModel | None = None,
    minimum_volume_mL: float | None = None,
    weights: Path | None = None,
    progress: Progress = silent,
) -> LesionSegmentation:
    """Lesions of a PET in SUV (g/mL), with their table and sums.

    Args:
        ct: HU in the same frame of reference; the network does without, less well.
        tracer: "psma" or "sstr"; any other is out of the network's range.
        organs: masks by name (`dose.regions`, in any spelling) on the PET's grid, of physiological uptake; no lesion is
            called within them but in the liver, and classical methods are of little use without.
        method: "auto", "network" or "classical".
        rule: of the classical method: "fixed", "liver", "share" (`imaging.segmentation`) or "fuzzy".
        activity: Bq/mL on the PET's grid, for the lesions' activity (TLA).
        noise: of the PET, for the intervals.
        minimum_volume_mL: of a lesion, 0.5 where not given.

    Raises:
        ImageError: a PET without any uptake or an activity map without any, negative on the whole; masks or activity
            on another grid; a CT that covers none of the uptake.
        InputError: an unknown method or rule; "network" without weights; what is no volume, number or mask by name;
            a lesion among the organs.
    """
    checked(pet_suv, "pet_suv")
    if rule not in RULES:
        raise InputError(describe("rule", f'"{rule}"', f"one of {RULES}", "choose one"))
    _check_activity(activity, pet_suv)
    least, doubts = least_mL(minimum_volume_mL), ct_doubts(ct, pet_suv, "the PET's uptake")
    organs, unknown = organ_masks(organs, pet_suv)
    trained, why = found_weights(RECIPE, weights)
    found = image_features(pet_suv, ct)
    choice = choose(method, trained and trained.limits, found, default=bool(trained and trained.default), why=why)
    if tracer not in TRACERS:
        doubts += (f'tracer is "{tracer}", trained for {" and ".join(TRACERS)}',)
    choice = with_reasons(choice, method, doubts)
    choice = replace(choice, reasons=choice.reasons + unknown)
    if choice.method == "network":
        assert trained is not None
        planes = probabilities(trained, pet_suv, ct, TRACERS.get(tracer, 0.5), organs, progress)
        planes, cuts = outside_organs(planes, organs), (THRESHOLD, LEAST_PEAK, _share())
    else:
        planes, cuts = _classical(pet_suv, rule, organs, least), (0.5, 0.5, 0.0)
    return lesion_segmentation(
        pet_suv,
        planes,
        choice,
        threshold=cuts[0],
        least_peak=cuts[1],
        share=cuts[2],
        minimum_volume_mL=least,
        noise=noise,
        activity=activity,
    )


def _share() -> float:
    """The network says where lesions are; 41 % of the maximum says where they end."""
    return default_of("relative", "share_of_maximum")


def probabilities(trained: Trained, pet_suv: Volume, ct, tracer: float, organs, progress: Progress) -> np.ndarray:
    """Probability of lesion by plane and member, [plane, z, y, x] on the PET's grid; finer images are averaged."""
    grid = axial_grid(pet_suv, float(trained.card["data"]["voxel_mm"]))
    pet = on_grid(pet_suv, grid, 0.0)
    hu = on_grid(ct, grid, AIR_HU) if ct is not None else None
    channels = [ct_channel(hu, pet.shape), organs_on(organs, grid), np.full(pet.shape, tracer, np.float32)]
    slices, body = int(trained.card["network"]["slices"]), body_mask(pet, hu)
    members = [three_planes(m, compressed(pet), channels, slices, body, progress) for m in trained.members]
    return np.stack([grid.with_array(p).resampled_onto(pet_suv).array for p in np.concatenate(members)])


def checked(image: Volume, name: str) -> None:
    """Raises InputError for what is no volume, ImageError where it holds nothing to segment."""
    as_volume(image, name)
    if not (image.array.max() > 0 and image.array.mean(dtype=float) > 0):
        found = f"values from {image.array.min():g} to {image.array.max():g}"
        raise ImageError(describe(name, found, "uptake above zero", "check units and corrections"))
    if min(image.array.shape) < 2:
        raise ImageError(describe(name, f"shape {image.array.shape}", "two voxels or more a side", "give the volume"))


def _check_activity(activity: Volume | None, pet_suv: Volume) -> None:
    if activity is None:
        return
    check_grid(as_volume(activity, "activity"), pet_suv, "activity")
    if not activity.array.sum(dtype=float) > 0:
        found, do = "a sum that is not above zero", "give Bq/mL, or leave it out"
        raise ImageError(describe("activity", found, "activity above zero on the whole", do))


def _classical(pet_suv: Volume, rule: str, organs, least: float) -> np.ndarray:
    if rule == "fuzzy":
        return fuzzy_lesions(pet_suv, organs=organs, minimum_volume_mL=least).array[None]
    return threshold_lesions(pet_suv, rule=rule, organs=organs, minimum_volume_mL=least).array[None]


def organs_on(organs: Mapping[str, Volume] | None, grid: Volume) -> np.ndarray:
    """The channel of organ masks as `organ_channel` makes it: -1 where none are given, the liver 1/2."""
    if not organs:
        return np.full(grid.array.shape, -1.0, np.float32)
    found = np.zeros(grid.array.shape, np.float32)
    for name, mask in organs.items():
        there = mask.resampled_onto(grid, interpolation="nearest").array > 0.5
        found[there] = 0.5 if name == "liver" else 1.0
    return found


def _case(seed: int, config: Config) -> Case:
    low, high = config.data["lesions"]
    return lesion_case(seed, float(config.data["voxel_mm"]), (int(low), int(high)))


def look_of(config: Config) -> Look:
    """How training images look."""
    ranges = (tuple(float(v) for v in config.training[name]) for name in ("fwhm_mm", "noise_fwhm_mm", "noise_sd"))
    return Look(float(config.data["voxel_mm"]), *ranges)  # type: ignore[arg-type]


def _batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    slabs = int(config.training["batch"]) // SLICES_A_SLAB
    made = [s for _ in range(slabs) for s in _samples(cases[int(random.integers(len(cases)))], random, config)]
    return {"inputs": np.stack([a for a, _ in made]), "target": np.stack([b for _, b in made])}


def _samples(case: Case, random: np.random.Generator, config: Config) -> list[tuple[np.ndarray, np.ndarray]]:
    """Some slices of one slab, each with its neighbours, mirrored together."""
    side, slices = int(config.training["patch"]), int(config.network["slices"])
    piece = slab(case, look_of(config), (slices + 2 * (SLICES_A_SLAB - 1), side, side), random)
    with_ct = random.random() >= DROP_CT
    organs = organ_channel(case, piece.base, random)
    tracer = np.full((side, side), TRACERS[piece.tracer], np.float32)
    flip = tuple(slice(None, None, -1 if turned else 1) for turned in random.random(2) < 0.5)
    made = []
    for first in range(0, 2 * SLICES_A_SLAB, 2):
        middle = first + slices // 2
        others = np.stack([ct_channel(piece.hu[middle] if with_ct else None, (side, side)), organs[middle], tracer])
        inputs = np.concatenate([compressed(piece.suv[first : first + slices]), others])
        made.append((inputs[(slice(None), *flip)], piece.lesions[middle][flip].astype(np.float32)))
    return made


def _limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Ranges of features over whole training images; voxels as `axial_grid` can serve them."""
    random, look, found = np.random.default_rng(5), look_of(config), []
    for case in [c for c in cases[:8] for _ in range(3)]:
        tracer = ("psma", "sstr")[int(random.integers(2))]
        piece = seen(case, *(np.pad(case[k], MARGIN) for k in ("base", "lesion")), tracer, look, random)
        grid = np.diag([look.voxel_mm] * 3 + [1.0])
        found.append(image_features(Volume(piece.suv, grid), Volume(piece.hu, grid)))
    low, high = ({name: pick(f[name] for f in found) for name in found[0]} for pick in (min, max))
    widened = {name: (0.8 * low[name], 1.25 * high[name]) for name in found[0]}
    return widened | {"voxel_mm": (2.0, 6.5), "highest_uptake": (1.0, 1.25 * high["highest_uptake"])}


RECIPE = Recipe(
    "lesions_pet",
    "imaging.networks",
    _case,
    _batch,
    lambda config: planar_network(config, EXTRA),
    segmentation_loss,
    _limits,
)
