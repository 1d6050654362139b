"""The Monte Carlo engine of `dose.voxel`: every nuclide of the chain through the patient's densities and tissues."""

from __future__ import annotations

import numpy as np

from dose.body_tissues import tissues
from dose.errors import InputError, describe
from dose.nuclides import has_emissions
from dose.superposition import Deposits
from dose.voxel_input import VoxelProblem

OPTIONS = ("histories", "target_relative_sd", "regions", "seed", "progress", "electrons", "scale")
"""Arguments of `dose.montecarlo.simulate` that `dose.voxel` hands on."""


def simulated(problem: VoxelProblem) -> Deposits:
    """Dose with its statistical uncertainty, by `dose.montecarlo.simulate`.

    Raises:
        InputError: another option, activity below 0, or as `simulate`.
    """
    from dose.montecarlo import simulate

    unknown = set(problem.options) - set(OPTIONS)
    if unknown:
        expected = f"of {', '.join(OPTIONS)}"
        raise InputError(
            describe("options of the montecarlo engine", f"{sorted(unknown)}", expected, "correct the name")
        )
    tissue, materials = body(problem)
    decays, density = problem.tia_MBq_h.sum(), np.maximum(problem.density_g_cm3, 1e-6)
    per_MeV, local = problem.Gy_per_MeV(), np.zeros(problem.tia_MBq_h.shape)
    electron, photon, variance = (np.zeros(problem.tia_MBq_h.shape) for _ in range(3))
    histories = 0
    for k, link in enumerate(problem.links):
        if not has_emissions(link.nuclide):
            continue
        options = problem.options | {"seed": problem.options.get("seed", 0) + k}
        made = simulate(link.nuclide.name, problem.tia_MBq_h, density, problem.spacing_mm, tissue, materials, **options)
        local += problem.tia_MBq_h * link.decays * made.local_MeV
        electron += decays * link.decays * made.electron_MeV
        photon += decays * link.decays * made.photon_MeV
        variance += (decays * link.decays * made.sd_MeV) ** 2
        histories += made.histories
    alpha = problem.tia_MBq_h * problem.alpha_MeV
    total = local + electron + photon
    relative_sd = np.divide(np.sqrt(variance), total, out=np.zeros_like(total), where=total > 0)
    electron = np.maximum(electron + local - alpha, 0.0)  # where all is alpha, the difference is rounding
    maps = (np.asarray(part * per_MeV, np.float32) for part in (alpha, electron, photon))
    names = ", ".join(str(getattr(m, "name", m)) for m in materials)
    said = (
        f"Monte Carlo, {histories:.3g} histories of each kind, seed {problem.options.get('seed', 0)}, tissues: {names}"
    )
    return Deposits(*maps, relative_sd.astype(np.float32), (said,), ())


def body(problem: VoxelProblem) -> tuple[np.ndarray, tuple]:
    """Tissue index of every voxel and the materials: as given, or by density from `data/kernel_tissues.csv`."""
    if problem.tissue is not None:
        return problem.tissue.astype(np.uint8), problem.materials
    if problem.materials:
        return np.zeros(problem.tia_MBq_h.shape, np.uint8), problem.materials[:1]
    density = np.array([tissue.density_g_cm3 for tissue in tissues()])
    nearest = np.searchsorted((density[1:] + density[:-1]) / 2, problem.density_g_cm3, side="right")
    names = list(dict.fromkeys(["air", *(tissue.material for tissue in tissues())]))
    of_tissue = np.array([names.index(tissue.material) for tissue in tissues()], np.uint8)
    return np.where(problem.air, np.uint8(0), of_tissue[nearest]), tuple(names)
