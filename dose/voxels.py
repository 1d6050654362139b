"""Absorbed dose of every voxel from a map of time-integrated activity: one call, three engines.

"local" leaves all electrons and alphas where they arise; "kernel" convolves with voxel kernels of the nuclide, made for
the voxel size at hand; "montecarlo" follows particles through the patient's own densities. Alphas (with recoils),
electrons and photons stay apart, and dose is physical: the RBE is the caller's. Equations, which engine when, and what
each is worth: docs/voxel-dose.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe, nearest
from dose.superposition import Deposits, kernel_engine
from dose.voxel_input import (
    VoxelProblem,
    administered_notes,
    checked_problem,
    magnitude_notes,
    tia_per_voxel_MBq_h,
)

__all__ = ["ENGINES", "VoxelDoseMap", "tia_per_voxel_MBq_h", "voxel"]


@dataclass(frozen=True, eq=False)
class VoxelDoseMap:
    """Absorbed dose in Gy, [z, y, x], physical: the sum of alphas with recoils, electrons, and photons.

    `relative_sd` [z, y, x] is the statistical uncertainty of an engine that has one, else None. `provenance` says what
    the dose was made with, `warnings` what to look at.
    """

    alpha_Gy: np.ndarray
    electron_Gy: np.ndarray
    photon_Gy: np.ndarray
    relative_sd: np.ndarray | None
    spacing_mm: tuple[float, float, float]
    nuclide: str
    engine: str
    provenance: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def dose_Gy(self) -> np.ndarray:
        return self.alpha_Gy + self.electron_Gy + self.photon_Gy

    def weighted_Gy(self, alpha_rbe: float) -> np.ndarray:
        """RBE-weighted dose in Gy(RBE); the caller names the alpha RBE, none is assumed."""
        return alpha_rbe * self.alpha_Gy + self.electron_Gy + self.photon_Gy


def local_engine(problem: VoxelProblem) -> Deposits:
    """All electron and alpha energy in the voxel of the decay, over its mass.

    Option: `photons`, "none" (they leave) or "local" (they stay too: an upper bound).

    Raises:
        InputError: another option or word.
    """
    photons = problem.options.get("photons", "none")
    if set(problem.options) - {"photons"} or photons not in ("none", "local"):
        expected = 'photons="none" or photons="local"'
        raise InputError(describe("options of the local engine", f"{problem.options}", expected, "correct the name"))
    here = problem.tia_MBq_h * problem.Gy_per_MeV()
    electron, photon = (
        sum(link.decays * getattr(link.nuclide, f"{kind}_MeV") for link in problem.links)
        for kind in ("electron", "photon")
    )
    kept = photon if photons == "local" else 0.0
    maps = [(here * energy).astype(np.float32) for energy in (problem.alpha_MeV, electron, kept)]
    said = f"all {electron:.4g} MeV of electrons where they arise; of photons {kept:.4g} of {photon:.4g} MeV"
    return Deposits(*maps, None, (said,), ())


def montecarlo_engine(problem: VoxelProblem) -> Deposits:
    """Transport of photons and electrons: `dose.voxel_montecarlo`."""
    from dose.voxel_montecarlo import simulated

    return simulated(problem)


ENGINES: dict[str, Callable[[VoxelProblem], Deposits]] = {
    "kernel": kernel_engine,
    "local": local_engine,
    "montecarlo": montecarlo_engine,
}
"""Name of an engine and what it does with a checked problem."""


def voxel(
    tia_MBq_h,
    density_g_cm3,
    nuclide: str,
    spacing_mm: Sequence[float],
    *,
    engine: str = "kernel",
    chain: bool = True,
    material=None,
    tissue=None,
    administered_MBq: float | None = None,
    allow_negative: bool = False,
    **options,
) -> VoxelDoseMap:
    """Dose of every voxel to the end of time.

    Args:
        tia_MBq_h: decays of the parent as MBq h **per voxel** [z, y, x] (`tia_per_voxel_MBq_h` makes it from MBq h/mL).
        density_g_cm3: mass density [z, y, x] on the same grid, or one number; `dose.density_from_ct` makes it.
        nuclide: the parent.
        spacing_mm: edges of a voxel [z, y, x].
        engine: a name in `ENGINES`.
        chain: count progeny in equilibrium with the parent and in the same place.
        material: of the body, one name or, with `tissue`, several; None: soft tissue for one kernel, by density for
            the tissue-wise kernels and for Monte Carlo.
        tissue: index into `material` of every voxel; for Monte Carlo.
        administered_MBq: if given, the sum of decays is held against it.
        allow_negative: let noise below 0 pass, so that sums keep no bias (linear engines only).
        options: the engine's own: `heterogeneity` and `precision` (kernel), `photons` (local), `histories`,
            `target_relative_sd`, `regions`, `seed`, `progress` (montecarlo).

    Raises:
        InputError: unknown engine, nuclide or option; a map with NaN, values below 0, no activity or another shape;
            a density that is none (CT numbers, kg/m3); more decays than the administered activity has; a dose that
            only a wrong unit can explain.
    """
    if engine not in ENGINES:
        hint = nearest(engine, ENGINES) or "one of " + ", ".join(ENGINES)
        raise InputError(describe("engine", repr(engine), hint, "correct the name"))
    problem = checked_problem(
        tia_MBq_h, density_g_cm3, nuclide, spacing_mm, material=material, tissue=tissue, chain=chain,
        allow_negative=allow_negative, options=options,
    )  # fmt: skip
    notes = administered_notes(problem, administered_MBq)
    found = ENGINES[engine](problem)
    notes += magnitude_notes(problem, found.alpha_Gy + found.electron_Gy + found.photon_Gy)
    notes += [*_air_notes(problem), *found.warnings]
    return VoxelDoseMap(
        found.alpha_Gy, found.electron_Gy, found.photon_Gy, found.relative_sd, problem.spacing_mm, problem.parent.name,
        engine, (*_chain_said(problem), *found.provenance), tuple(notes),
    )  # fmt: skip


def _chain_said(problem: VoxelProblem) -> tuple[str, ...]:
    names = ", ".join(f"{link.nuclide.name} {link.decays:.3g}" for link in problem.links)
    return (f"decays per decay of the parent, all in one place: {names}; emissions of ICRP 107",)


def _air_notes(problem: VoxelProblem) -> list[str]:
    """How much activity lies where no dose is given."""
    weight = np.maximum(problem.tia_MBq_h, 0.0)
    share = float(weight[problem.air].sum() / weight.sum())
    return [f"{share:.2%} of the activity lies in air, where no dose is given"] if share > AIR_SHARE else []


AIR_SHARE = 1e-4
"""Share of the activity in air from which on it is mentioned."""
