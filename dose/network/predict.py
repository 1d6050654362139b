"""Absorbed dose of a map by one of the dose networks, with the kernel engine of `dose.voxel` behind the same call."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from types import ModuleType

import numpy as np
import torch
from jaxtyping import Float

from dose.errors import InputError, describe, nearest
from dose.learning.cases import Case, Progress, silent
from dose.learning.ranges import Choice, choose
from dose.learning.weights import Trained, found_weights, tensors_of
from dose.network import kernels, maps, residual, unet
from dose.network.scenes import NUCLIDES, classical
from dose.network.spread import sd_of
from dose.voxel_input import checked_problem
from dose.voxels import voxel

NETWORKS: dict[str, ModuleType] = {"dose_residual": residual, "dose_unet": unet, "dose_kernels": kernels}
"""Modules with a RECIPE, the `channels` of a case, and the kernel maps they START from."""

SLAB, HALO = 64, 32
"""Slices that are done at once in maps of more than `AT_ONCE` voxels, and slices about them that reach into them."""

AT_ONCE = 2_000_000


@dataclass(frozen=True, eq=False)
class LearnedDose:
    """Dose of every voxel in Gy, [z, y, x].

    `sd_Gy` is that of `dose.network.spread`; None where the kernel engine was used, which has none, or where weights of
    a single member cannot tell it. `choice` says which method was used, and why.
    """

    electron_Gy: Float[np.ndarray, "z y x"]
    photon_Gy: Float[np.ndarray, "z y x"]
    sd_Gy: Float[np.ndarray, "z y x"] | None
    choice: Choice

    @property
    def dose_Gy(self) -> Float[np.ndarray, "z y x"]:
        """All of it."""
        return self.electron_Gy + self.photon_Gy


def learned_dose(
    tia_MBq_h,
    density_g_cm3,
    nuclide: str,
    spacing_mm: Sequence[float],
    *,
    method: str = "auto",
    network: str = "dose_residual",
    progress: Progress = silent,
) -> LearnedDose:
    """Dose to the end of time, as Monte Carlo would have it.

    Args:
        tia_MBq_h: decays as MBq h per voxel [z, y, x], as `dose.voxel` takes them.
        density_g_cm3: mass density [z, y, x], or one number.
        nuclide: the parent; its progeny decays with it.
        spacing_mm: edges of a voxel [z, y, x].
        method: "auto" takes the network where it is the default and the input in its range, else the tissue-wise
            kernels; "network" and "classical" take the one or the other.
        network: "dose_residual", "dose_unet" or "dose_kernels".

    Raises:
        InputError: an unknown network or method; a map that `dose.voxel` refuses; method="network" for a nuclide that
            the networks were not trained for, or without weights.
    """
    if network not in NETWORKS:
        hint = nearest(network, NETWORKS) or "one of " + ", ".join(NETWORKS)
        raise InputError(describe("network", repr(network), hint, "correct the name"))
    problem = checked_problem(
        tia_MBq_h, density_g_cm3, nuclide, spacing_mm,
        material=None, tissue=None, chain=True, allow_negative=False, options={},
    )  # fmt: skip
    about = (problem.tia_MBq_h, problem.density_g_cm3, problem.parent.name, problem.spacing_mm)
    trained, choice = _chosen(network, method, about)
    if choice.method == "classical" or trained is None:
        made = voxel(*about)
        return LearnedDose(made.electron_Gy + made.alpha_Gy, made.photon_Gy, None, choice)
    box = maps.tissue_box(about[1], about[0])
    inside = (about[0][box], about[1][box], *about[2:])
    parts, sd = _answered(trained, NETWORKS[network], inside, progress)
    whole = np.zeros((3, *about[0].shape), np.float32)
    whole[:, *box] = [*parts, np.zeros_like(parts[0]) if sd is None else sd]
    return LearnedDose(*whole[:2], None if sd is None else whole[2], choice)


def _answered(trained: Trained, part: ModuleType, about, progress: Progress) -> tuple[np.ndarray, np.ndarray | None]:
    """Dose [kind, z, y, x] and its sd [z, y, x] if there is one, in Gy."""
    case = {**_case(*about), **classical(*about, words=part.START)}
    answers = _answers(trained, part.channels(case), progress)
    kernel = maps.stacked(case, f"{part.START[0]}_").sum(0)
    return answers.mean(0), sd_of(trained.card, answers.sum(1), kernel)


def _chosen(network: str, method: str, about) -> tuple[Trained | None, Choice]:
    nuclide = about[2]
    if method == "classical":
        return None, Choice("classical")
    trained, why = found_weights(NETWORKS[network].RECIPE)
    if nuclide in NUCLIDES:
        limits = trained.limits if trained else None
        return trained, choose(
            method, limits, maps.features(_case(*about)), default=bool(trained and trained.default), why=why
        )
    said = f"nuclide is {nuclide}, trained for {' and '.join(NUCLIDES)}"
    if method == "network":
        raise InputError(describe("nuclide", nuclide, " or ".join(NUCLIDES), 'use method="classical"'))
    choose(method, None, {}, default=False)
    return None, Choice("classical", (said,))


def _case(tia_MBq_h, density_g_cm3, nuclide: str, spacing_mm) -> Case:
    return {
        "tia": tia_MBq_h,
        "density": density_g_cm3,
        "spacing_mm": np.array(spacing_mm),
        "nuclide": np.array(NUCLIDES.index(nuclide) if nuclide in NUCLIDES else -1),
    }


def _answers(trained: Trained, channels, progress: Progress) -> np.ndarray:
    """Dose in Gy by each member, [member, kind, z, y, x], float32."""
    scale = np.float32(channels.pop("scale_Gy"))
    depth, rows, columns = channels["density"].shape
    found = np.empty((len(trained.members), 2, depth, rows, columns), np.float32)
    step = depth if channels["density"].size <= AT_ONCE else SLAB
    starts = range(0, depth, step)
    for done, start in enumerate(starts):
        first, last = max(0, start - HALO), min(depth, start + step + HALO)
        part = {n: a if n in maps.STILL else a[..., first:last, :, :] for n, a in channels.items()}
        drawn = {name: array[None] for name, array in tensors_of(part).items()}
        for number, member in enumerate(trained.members):
            progress(done * len(trained.members) + number, len(starts) * len(trained.members), "members")
            with torch.no_grad():
                answer = member(drawn)[0].numpy()
            here = slice(start - first, min(start + step, depth) - first)
            found[number, :, start : start + step] = answer[:, here] * scale
    progress(1, 1, "members")
    return found
