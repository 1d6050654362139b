"""Lesions on 177Lu SPECT/CT: the PET network carried over to SPECT's blur, with the diagnostic PET's map as a prior.

Trained on the same bodies as `lesions_pet`, blurred and noisy as SPECT is, from that network's weights; the prior is
left out of a part of the training slabs, and lesions shrink, vanish and appear between the two scans. It is not the
default: on the few test scans its gain over the copied prior is not sure, and fuzzy C-means does as well
(docs/ai/lesions_spect.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from scipy.ndimage import label
from torch import nn

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Case, Progress, silent
from dose.learning.ranges import choose, with_reasons
from dose.learning.recipe import Config, Recipe
from dose.learning.weights import Trained, amend_card, found_weights
from imaging.geometry import Volume, as_volume
from imaging.networks import lesions_pet
from imaging.networks.given import NONE_COVERED, ct_doubts, organ_masks
from imaging.networks.lesions_cases import MARGIN, Slab, lesion_case, organ_channel, place, seen
from imaging.networks.lesions_features import BODY_HU, axial_grid, body_mask, image_features
from imaging.networks.lesions_pet import AIR_HU, DROP_CT, SLICES_A_SLAB, TRACERS, checked, look_of, organs_on
from imaging.networks.lesions_planes import compressed, ct_channel, planar_network, segmentation_loss, three_planes
from imaging.networks.lesions_prior import NO_PRIOR, fates, prior_channel, shrunk
from imaging.networks.lesions_result import (
    TOUCHING,
    LesionSegmentation,
    least_mL,
    lesion_segmentation,
    outside_organs,
)
from imaging.networks.organs_input import on_grid
from imaging.noise_model import NoiseModel
from imaging.segmentation.fuzzy import fuzzy_lesions
from imaging.segmentation.thresholds import LIVER, exclude_organs, threshold_lesions

EXTRA = 4
"""Channels beside the slices: CT, organs, tracer, prior."""

NUCLIDE = "177Lu"
OVERSHOOT = 0.6
"""Most of the sharpening that response recovery leaves at edges, in training."""

FIELD_SLICES = 64
"""Slices of a SPECT's field of view, 38 cm."""

COVERED = 0.99
"""A prior that covers this part of the body in the field, or more, covers it."""

RULES = ("copied", "fixed", "share", "fuzzy")
ALONE = dict.fromkeys(RULES, "the rule looks at the SPECT alone") | {
    "copied": "no lesion is looked for where it does not reach",
    "network": "the SPECT alone is looked at elsewhere",
}
"""What becomes of a body that the prior does not cover, by rule, or of the network."""

COPIED = 0.5
"""Probability from which on a prior's voxels are copied."""

ORGANS_PART = 0.5
"""An island of the prior that lies in organs and their margin by this part or more is uptake of theirs."""

FIXED_MEANS = 4.0
"""Fixed threshold in units of the mean of the body in the field: a working value."""

THRESHOLD, LEAST_PEAK = 0.5, 0.6
"""Probability of a lesion's voxels, and of its surest one; chosen before any result, not tuned."""


def segment_lesions_spect(
    spect: Volume,
    ct: Volume | None = None,
    *,
    tracer: str,
    prior: Volume | None = None,
    nuclide: str = NUCLIDE,
    organs: Mapping[str, Volume] | None = None,
    method: str = "auto",
    rule: str | None = None,
    noise: NoiseModel | None = None,
    minimum_volume_mL: float | None = None,
    weights: Path | None = None,
    progress: Progress = silent,
) -> LesionSegmentation:
    """Lesions of a reconstructed SPECT in Bq/mL, whose scale does not matter: twice the activity, the same mask.

    Args:
        prior: probability of lesion on the diagnostic PET, registered to the SPECT (`lesions_pet`); any grid. Where it
            does not reach, or is negative (`NO_PRIOR`), the PET has said nothing: the network looks at the SPECT alone,
            "copied" finds nothing.
        organs: masks by name (`dose.regions`, in any spelling) on the SPECT's grid; no lesion is called within them but
            in the liver.
        method: "auto", "network" or "classical"; "auto" takes the classical rule, as the weights that ship are no
            default; with weights that are, the network within its range and where a prior is given.
        rule: of the classical method: "copied" takes the prior at 1/2 and above (where one is given, the default);
            "fixed", "share" (the default without prior) and "fuzzy" look at the SPECT from 4 times its mean on.

    Raises:
        ImageError: a SPECT without activity, masks on another grid, a CT or a prior that covers none of the SPECT.
        InputError: an unknown method or rule; "copied" without prior; a prior that is no probability; what is no
            volume, number or mask by name; a lesion among the organs.
    """
    rule = rule or ("copied" if prior is not None else "share")
    _check(spect, prior, rule)
    least, doubts = least_mL(minimum_volume_mL), ct_doubts(ct, spect, "the SPECT's activity")
    organs, unknown = organ_masks(organs, spect)
    level = spect.with_array(spect.array / _body_mean(spect, ct))
    trained, why = found_weights(RECIPE, weights)
    choice = choose(method, trained and trained.limits, _features(level, ct), default=_earned(trained, prior), why=why)
    elsewhere = ALONE["network" if method == "network" else rule]
    said = (*_other(nuclide, tracer), *doubts, *_uncovered(prior, level, ct, elsewhere))
    choice = with_reasons(choice, method, said)
    choice = replace(choice, reasons=choice.reasons + unknown)
    if choice.method == "network":
        assert trained is not None
        planes = _probabilities(trained, level, ct, TRACERS.get(tracer, 0.5), organs, prior, progress)
        planes = outside_organs(planes, organs)
        cuts = THRESHOLD, LEAST_PEAK
    else:
        planes, cuts = _classical(level, rule, organs, least, prior), (COPIED, COPIED)
    return lesion_segmentation(
        spect, planes, choice, threshold=cuts[0], least_peak=cuts[1], minimum_volume_mL=least, noise=noise,
        activity=spect,
    )  # fmt: skip


def _check(spect: Volume, prior: Volume | None, rule: str) -> None:
    checked(spect, "spect")
    if rule not in RULES or (rule == "copied" and prior is None):
        expected = f"one of {RULES}, copied only with a prior"
        raise InputError(describe("rule", f'"{rule}"', expected, "choose one"))
    if prior is not None:
        _check_probability(as_volume(prior, "prior"))


def _check_probability(prior: Volume) -> None:
    if not (prior.array.min() >= NO_PRIOR - 1e-6 and prior.array.max() <= 1 + 1e-6):
        found = f"values from {prior.array.min():g} to {prior.array.max():g}"
        expected = f"probabilities from 0 to 1, {NO_PRIOR:g} where there is none"
        raise InputError(describe("prior", found, expected, "give LesionSegmentation.probability"))


def _other(nuclide: str, tracer: str) -> tuple[str, ...]:
    """In words, what the network was not trained for."""
    said = [] if nuclide == NUCLIDE else [f'nuclide is "{nuclide}", trained for {NUCLIDE}']
    said += [] if tracer in TRACERS else [f'tracer is "{tracer}", trained for {" and ".join(TRACERS)}']
    return tuple(said)


def _uncovered(prior: Volume | None, level: Volume, ct: Volume | None, elsewhere: str) -> tuple[str, ...]:
    """In words, that a prior does not reach over the body in the field, and what is done there.

    Raises:
        ImageError: it reaches over none of it.
    """
    if prior is None:
        return ()
    hu = ct.resampled_onto(level, outside=AIR_HU).array if ct is not None else None
    share = float(np.mean(prior_on(prior, level)[body_mask(level.array, hu)] > NO_PRIOR))
    if share < NONE_COVERED:
        do = "register it to the SPECT, or leave it out"
        raise ImageError(describe("prior", "one that covers none of the SPECT", "a prior of the same place", do))
    return (f"the prior covers {share:.0%} of the body in the field; {elsewhere}",) if share < COVERED else ()


def prior_on(prior: Volume, grid: Volume) -> np.ndarray:
    """The prior on a grid, means over its voxels; `NO_PRIOR` in those that it does not cover whole."""
    there = prior.array >= -1e-6
    values = on_grid(prior.with_array(np.maximum(prior.array, 0.0)), grid, 0.0)
    return np.where(on_grid(prior.with_array(there), grid, 0.0) > 1 - 1e-3, values, np.float32(NO_PRIOR))


def _earned(trained: Trained | None, prior: Volume | None) -> bool:
    """Whether the network goes unasked: it beat copying the prior, and nothing where there is none."""
    return bool(trained and trained.default and prior is not None)


def _body_mean(image: Volume, ct: Volume | None) -> float:
    hu = ct.resampled_onto(image, outside=AIR_HU).array if ct is not None else None
    body = body_mask(image.array, hu)
    mean = float(image.array[body].mean(dtype=float)) if body.any() else 0.0
    return mean if mean > 0 else float(image.array.mean(dtype=float))


def _features(level: Volume, ct: Volume | None) -> dict[str, float]:
    """Features of an image whose mean is 1: that one says nothing."""
    found = image_features(level, ct)
    return {name: value for name, value in found.items() if name != "mean_uptake"}


def _classical(level: Volume, rule: str, organs, least: float, prior: Volume | None) -> np.ndarray:
    if rule == "copied":
        assert prior is not None
        return copied(prior, level, organs)[None]
    if rule == "fuzzy":
        return fuzzy_lesions(level, fixed_suv=FIXED_MEANS, organs=organs, minimum_volume_mL=least).array[None]
    found = threshold_lesions(level, rule=rule, fixed_suv=FIXED_MEANS, organs=organs, minimum_volume_mL=least)
    return found.array[None]


def copied(prior: Volume, grid: Volume, organs: Mapping[str, Volume] | None) -> np.ndarray:
    """The prior on a grid, 0 where the PET has said nothing and in organs but the liver.

    An island of it that lies for half or more within such organs and their margin (`MARGIN_mm`, as for thresholds) is
    an organ's uptake, which spills over the mask: it goes whole.
    """
    values = np.maximum(prior_on(prior, grid), 0.0)
    taken = {name: mask for name, mask in (organs or {}).items() if name != LIVER and (mask.array > 0.5).any()}
    if not taken:
        return values
    islands, number = label(values >= COPIED, structure=TOUCHING)  # type: ignore[misc]
    sizes = np.bincount(islands.ravel(), minlength=number + 1)
    near = np.bincount(islands[~exclude_organs(grid, taken)], minlength=number + 1)
    spilled = near >= ORGANS_PART * sizes
    spilled[0] = False
    return np.where(spilled[islands], 0.0, outside_organs(values[None], taken)[0])


def _probabilities(trained: Trained, level: Volume, ct, tracer: float, organs, prior, progress: Progress) -> np.ndarray:
    grid = axial_grid(level, float(trained.card["data"]["voxel_mm"]))
    image = on_grid(level, grid, 0.0)
    hu = on_grid(ct, grid, AIR_HU) if ct is not None else None
    before = prior_on(prior, grid) if prior is not None else np.full(image.shape, NO_PRIOR, np.float32)
    steady = np.full(image.shape, tracer, np.float32)
    channels = [ct_channel(hu, image.shape), organs_on(organs, grid), steady, before]
    slices, body = int(trained.card["network"]["slices"]), body_mask(image, hu)
    members = [three_planes(m, compressed(image), channels, slices, body, progress) for m in trained.members]
    return np.stack([grid.with_array(p).resampled_onto(level).array for p in np.concatenate(members)])


def _network(config: Config) -> nn.Module:
    """The U-Net, begun from the PET network's weights where these have its shape; the prior's channel begins at 0."""
    network = planar_network(config, EXTRA)
    source = _source(config.network)
    if source is None:
        return network
    state = dict(source.members[0].state_dict())
    first = state["down.0.0.weight"]
    state["down.0.0.weight"] = torch.cat([first, torch.zeros_like(first[:, :1])], dim=1)
    network.load_state_dict(state)
    return network


def _source(network: Mapping) -> Trained | None:
    """The PET network's weights, where there are any of this shape."""
    source, _ = found_weights(lesions_pet.RECIPE)
    return source if source and all(source.card["network"][k] == v for k, v in network.items()) else None


def _begun(out: Path) -> None:
    """Say in the card which weights the training began from."""
    card = json.loads((out / f"{RECIPE.name}.json").read_text(encoding="utf-8"))
    if source := _source(card["network"]):
        amend_card(out, RECIPE.name, {"begun_from": {lesions_pet.RECIPE.name: source.card["sha256"]}})


def _case(seed: int, config: Config) -> Case:
    low, high = config.data["lesions"]
    return lesion_case(seed, float(config.data["voxel_mm"]), (int(low), int(high)))


def _batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    slabs = int(config.training["batch"]) // SLICES_A_SLAB
    made = [s for _ in range(slabs) for s in _samples(cases[int(random.integers(len(cases)))], random, config)]
    return {"inputs": np.stack([a for a, _ in made]), "target": np.stack([b for _, b in made])}


def _samples(case: Case, random: np.random.Generator, config: Config) -> list[tuple[np.ndarray, np.ndarray]]:
    side, slices = int(config.training["patch"]), int(config.network["slices"])
    look = replace(look_of(config), overshoot=OVERSHOOT)
    shape = (slices + 2 * (SLICES_A_SLAB - 1), side, side)
    base, lesion = place(case, shape, random)
    earlier, later = fates(int(case["lesions"]), random)
    tracer = ("psma", "sstr")[int(random.integers(2))]
    piece = seen(case, base, shrunk(lesion, random), tracer, look, random, keep=later)
    inner = (slice(MARGIN, -MARGIN),) * 3
    before = prior_channel(lesion, earlier, look.voxel_mm, random)[inner]
    image = compressed(piece.suv / field_mean(case, piece, later, random))
    organs, with_ct = organ_channel(case, piece.base, random), random.random() >= DROP_CT
    steady = np.full((side, side), TRACERS[tracer], np.float32)
    flip = tuple(slice(None, None, -1 if turned else 1) for turned in random.random(2) < 0.5)
    made = []
    for first in range(0, 2 * SLICES_A_SLAB, 2):
        middle = first + slices // 2
        hu = ct_channel(piece.hu[middle] if with_ct else None, (side, side))
        inputs = np.concatenate([image[first : first + slices], np.stack([hu, organs[middle], steady, before[middle]])])
        made.append((inputs[(slice(None), *flip)], piece.lesions[middle][flip].astype(np.float32)))
    return made


def field_mean(case: Case, piece: Slab, there: set[int], random: np.random.Generator) -> float:
    """Mean uptake in a drawn field of view, by which SPECT images are scaled: of the body as `body_mask` knows it by
    CT, which leaves lungs out, with the lesions that are there.
    """
    first = int(random.integers(max(1, len(case["counts"]) - FIELD_SLICES + 1)))
    field = slice(first, first + FIELD_SLICES)
    counts = case["counts"][field].sum(axis=0) * (case["hu"] > BODY_HU)
    mean = float(counts @ piece.uptake / counts.sum())
    sizes = np.bincount(case["lesion"][field].ravel(), minlength=len(piece.lesion_uptake) + 1)[1:]
    more = sum(float(sizes[k - 1] * (piece.lesion_uptake[k - 1] - mean)) for k in there)
    return mean + more / float(counts.sum())


def _limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    random, look, found = np.random.default_rng(5), replace(look_of(config), overshoot=OVERSHOOT), []
    for case in [c for c in cases[:8] for _ in range(3)]:
        tracer = ("psma", "sstr")[int(random.integers(2))]
        piece = seen(case, *(np.pad(case[k], MARGIN) for k in ("base", "lesion")), tracer, look, random)
        grid = np.diag([look.voxel_mm] * 3 + [1.0])
        image, ct = Volume(piece.suv, grid), Volume(piece.hu, grid)
        found.append(_features(image.with_array(piece.suv / _body_mean(image, ct)), ct))
    low, high = ({name: pick(f[name] for f in found) for name in found[0]} for pick in (min, max))
    widened = {name: (0.8 * low[name], 1.25 * high[name]) for name in found[0]}
    return widened | {"voxel_mm": (3.5, 8.0)}


RECIPE = Recipe("lesions_spect", "imaging.networks", _case, _batch, _network, segmentation_loss, _limits, _begun)
