"""Registration learned from images alone: a rigid step by SimpleITK, then a network's smooth map in place of B-splines.

Fixed is a CT. Moving is the CT of another time point or cycle, whose emission may be carried along, or an emission
image (PET, SPECT) without a CT of its own. Unsupervised in the manner of VoxelMorph (Balakrishnan et al. 2019,
recalled), with a term that keeps volumes where activity lies, so that what is carried keeps its activity (the idea of
metabolic constraints, Yu et al., recalled). The result is the `SpatialTransform` of `imaging.registration`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from dose.errors import ImageError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose, with_reasons
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import Trained, found_weights, tensors_of
from imaging.geometry import Volume
from imaging.networks import warp_cases
from imaging.networks.given import covered_part, same_place
from imaging.networks.warp_field import Warper, cost, integrated, refined
from imaging.networks.warp_grid import GRID_mm, Inputs, checked, seen_together, unlikeness
from imaging.networks.warp_result import Warped, sd_volume, spatial_transform, spoiled
from imaging.registration.pairwise import Registration, register
from imaging.registration.quality import folding_flag
from imaging.registration.transform import SpatialTransform
from imaging.series import ImageSeries

DRAWS = 40
"""Batches from which the range of training is taken."""

SLACK = 1.05
REFINEMENT = 30
"""Steps by which a pair of CTs goes on from the network's answer unless told; chosen on held-out cases."""


def learned_registration(
    fixed: ImageSeries,
    moving: ImageSeries,
    *,
    emission: ImageSeries | None = None,
    method: str = "auto",
    start: Registration | None = None,
    refine: int = REFINEMENT,
    weights: Path | None = None,
    progress: Progress = silent,
) -> Warped:
    """The transform that takes points of `fixed` (a CT) to those of `moving` (CT, PET or SPECT).

    Args:
        emission: in the frame of a moving CT; volumes are kept where its activity lies.
        method: "auto", "network", or "classical" (affine and B-spline of `imaging.registration`).
        start: a rigid registration of the two, run here where there is none; a field that it holds is dropped.
        refine: steps of descent on this pair from the network's answer, by the loss it was trained with; CT pairs only.
        weights: folder of a user's own.
        progress: called with stages done.

    Raises:
        InputError: another method, steps that are no whole number of zero or more, "network" without weights.
        ImageError: a fixed image that is no CT, a moving one of no known kind, an image of one value or too small, an
            emission of which the moving CT covers nothing.
    """
    checked(fixed, moving, emission, refine)
    doubts = _elsewhere(moving, emission)
    trained, why = found_weights(RECIPE, weights)
    progress(0, 3, "rigid")
    rigid = _linear(start) or register(fixed, moving, stages=("rigid",))
    inputs = seen_together(fixed, moving, emission, rigid.transform)
    default = trained is not None and trained.default
    choice = choose(method, trained.limits if trained else None, inputs.features, default=default, why=why)
    choice = with_reasons(choice, method, doubts)
    if trained is not None and choice.method == "network":
        progress(1, 3, "network")
        found = _by_network(inputs, trained, rigid, choice, refine)
        said = spoiled(found, inputs)
        if not said or method == "network":
            return found if not said else _with_reasons(found, said)
        choice = Choice("classical", said)
    progress(2, 3, "affine and B-spline")
    classical = register(fixed, moving, stages=("affine", "bspline"), start=rigid.transform)
    flag = folding_flag(classical.transform.jacobian(inputs.grid))
    return Warped(classical.transform, rigid, classical, choice, None, flag)


def descended_registration(
    fixed: ImageSeries,
    moving: ImageSeries,
    *,
    emission: ImageSeries | None = None,
    start: Registration | None = None,
    refine: int = REFINEMENT,
) -> Warped:
    """Two CTs by descent on the network's loss from rest: no network, the same smooth map. As `learned_registration`.

    Raises:
        ImageError: a moving image that is no CT, and as `learned_registration`.
    """
    checked(fixed, moving, emission, refine)
    doubts = _elsewhere(moving, emission)
    if moving.modality != "CT":
        raise ImageError(describe("moving, modality", f'"{moving.modality}"', '"CT"', "use learned_registration"))
    rigid = _linear(start) or register(fixed, moving, stages=("rigid",))
    inputs = seen_together(fixed, moving, emission, rigid.transform)
    rest = torch.zeros(1, 3, *(-(-n // 2) for n in inputs.grid.array.shape))
    velocity = refined(rest, tensors_of(inputs.batch()), GRID_mm, refine)
    return _warped(velocity, inputs, rigid, Choice("classical", ("descent on this pair, no network", *doubts)), None)


def _elsewhere(moving: ImageSeries, emission: ImageSeries | None) -> tuple[str, ...]:
    """In words, that the moving CT covers too little of the emission's activity; raises where it covers none."""
    covered = 1.0 if emission is None else covered_part(moving.volume, emission.volume)
    return same_place("moving CT", covered, "the emission's activity")


def _linear(start: Registration | None) -> Registration | None:
    """A start without its field, as `register` takes one: the answer is a field of its own before the linear part."""
    return start and replace(start, transform=SpatialTransform(start.transform.affine))


def _with_reasons(found: Warped, said: tuple[str, ...]) -> Warped:
    choice = Choice(found.choice.method, (*found.choice.reasons, *said))
    return Warped(found.transform, found.rigid, found.classical, choice, found.sd_mm, found.folding)


def _by_network(inputs: Inputs, trained: Trained, rigid: Registration, choice: Choice, refine: int) -> Warped:
    batch = tensors_of(inputs.batch())
    velocity, apart = velocities(trained.members, batch["inputs"])
    if refine and inputs.moving_is_ct:
        velocity = refined(velocity, batch, GRID_mm, refine)
    return _warped(velocity, inputs, rigid, choice, sd_volume(apart, inputs))


def _warped(velocity: torch.Tensor, inputs: Inputs, rigid: Registration, choice: Choice, sd: Volume | None) -> Warped:
    with torch.no_grad():
        moved = integrated(velocity, GRID_mm, inputs.grid.array.shape)[0].numpy()
    transform = spatial_transform(moved, rigid.transform, inputs.grid)
    return Warped(transform, rigid, None, choice, sd, folding_flag(transform.jacobian(inputs.grid)))


@torch.no_grad()
def velocities(members: Sequence[Warper], inputs: torch.Tensor) -> tuple[torch.Tensor, np.ndarray]:
    """Mean velocity of the images and their mirror image over members, and their sd about it (half the distance of
    the two, of one member), rms over the axes, [z, y, x]."""
    turn = torch.tensor([-1.0, 1.0, 1.0]).reshape(1, 3, 1, 1, 1)
    even = inputs[..., : inputs.shape[-1] // 2 * 2]
    found = []
    for member in members:
        found.append(member.velocity(inputs))
        back = turn * member.velocity(even.flip(-1)).flip(-1)
        short = found[0].shape[-1] - back.shape[-1]
        found.append(torch.nn.functional.pad(back, (0, short, 0, 0, 0, 0), mode="replicate") if short else back)
    all_ = torch.stack(found)
    return all_.mean(dim=0), all_.std(dim=0, correction=0).square().mean(dim=1).sqrt()[0].numpy()


def network(config: Config) -> Warper:
    """The untrained network."""
    of = config.network
    return Warper(int(of["width"]), int(of["levels"]), float(of["velocity_mm"]), GRID_mm)


def loss(model: torch.nn.Module, batch: Mapping[str, torch.Tensor]) -> torch.Tensor:
    """`warp_field.cost`; the moving CT is compared also where the network does not see it."""
    velocity = model.velocity(batch["inputs"])  # pyright: ignore[reportCallIssue]
    return cost(velocity, integrated(velocity, GRID_mm, batch["fixed"].shape[2:]), batch, GRID_mm)


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Voxels that the grid does not have to invent, fields as large as those of training, and its mismatches."""
    random = np.random.default_rng(0)
    drawn = [warp_cases.batch(cases, random, config) for _ in range(DRAWS)]
    unlike = [unlikeness(f[0], m[0]) for batch in drawn for f, m in zip(batch["fixed"], batch["moving"])]
    field = [GRID_mm * n for n in warp_cases.SHAPE]
    return {
        "moving image is a CT": (1.0, 1.0),  # emission alone was found to gain little: flagged
        "voxel size in mm": (0.0, SLACK * GRID_mm),
        "least length of the field in mm": (0.6 * min(field), 1.5 * max(field)),
        "unlikeness of the CTs after the rigid step": (0.0, SLACK * max(unlike)),
        "share of activity outside of the fixed body": (0.0, 0.2),
    }


RECIPE = Recipe("warp", "imaging.networks", warp_cases.case, warp_cases.batch, network, loss, limits)
