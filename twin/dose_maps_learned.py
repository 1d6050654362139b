"""The dose of a map by the network that corrects the kernels towards Monte Carlo, where it may be used."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from jaxtyping import Float

from dose.voxels import VoxelDoseMap, tia_per_voxel_MBq_h

LEAST_SHARE = 1e-3
"""Of the largest dose: voxels below it carry no relative sd of the network's."""


def learned_map(
    kernel: VoxelDoseMap,
    tia_MBq_h_mL: Float[np.ndarray, "z y x"],
    density_g_cm3: Float[np.ndarray, "z y x"],
    above: VoxelDoseMap,
) -> VoxelDoseMap:
    """The map by `dose.network.predict.learned_dose`, or the kernels' own with the reasons among its warnings.

    Args:
        kernel: the kernel engine's dose of the whole map.
        tia_MBq_h_mL: its activity, without what lay below 0 from noise.
        density_g_cm3: on the same grid.
        above: the kernel engine's dose of that activity; what the whole map has less is kept.
    """
    from dose.network.predict import learned_dose

    per_voxel = tia_per_voxel_MBq_h(tia_MBq_h_mL, kernel.spacing_mm)
    found = learned_dose(per_voxel, density_g_cm3, kernel.nuclide, kernel.spacing_mm)
    if found.choice.method == "classical" or found.sd_Gy is None:
        reasons = found.choice.reasons or ("these weights state no uncertainty",)
        said = tuple(f"dose by kernels, not by the network: {reason}" for reason in reasons)
        return replace(kernel, warnings=(*kernel.warnings, *said))
    electron = found.electron_Gy + kernel.electron_Gy - above.electron_Gy
    photon = found.photon_Gy + kernel.photon_Gy - above.photon_Gy
    dose = found.dose_Gy
    sure = dose > LEAST_SHARE * dose.max()
    relative = np.where(sure, found.sd_Gy / np.where(sure, dose, 1.0), 0.0).astype(np.float32)
    made = "network dose_residual over tissue-wise kernels (docs/ai/dose_residual.md)"
    return replace(
        kernel,
        electron_Gy=electron,
        photon_Gy=photon,
        relative_sd=relative,
        engine="learned",
        provenance=(*kernel.provenance, made),
    )
