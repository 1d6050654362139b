"""Voxel engines against our Monte Carlo where lung, soft tissue and bone meet (docs/validation/dose.md).

A ball of activity, 68 mm across, in a background fifty times weaker lies over two faces: lung (0.26 g/cm3) to its left,
soft tissue in the middle, cortical bone (1.85 g/cm3) to its right. 32^3 voxels of 4 mm. The reference has 1 % noise in
the ball, which is in the pass rates: gamma of 2 % of the greatest dose and 2 mm, above a tenth of that dose.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.gamma import gamma_index
from dose.voxels import voxel
from tests.validate import check

SIZE, SPACING_MM = 32, 4.0
MATERIALS = ("lung", "soft_tissue", "cortical_bone")
DENSITY_G_CM3 = np.array([0.26, 1.0, 1.85])
HISTORIES = 2**23
OWN = "dose.montecarlo through the same voxels, 8.4 million electrons and photons"
ENGINES = {
    "tissue-wise kernels": {"engine": "kernel"},
    "one kernel, density scaling": {"engine": "kernel", "heterogeneity": "density"},
    "local deposition": {"engine": "local"},
}


def phantom() -> tuple[np.ndarray, np.ndarray]:
    """Decays and tissue index [z, y, x]."""
    z, y, x = np.indices((SIZE,) * 3)
    tissue = np.where(x < 11, 0, np.where(x < 21, 1, 2)).astype(np.uint8)
    ball = (z - 16) ** 2 + (y - 16) ** 2 + (x - 16) ** 2 < 8.5**2
    return np.where(ball, 10.0, 0.2), tissue


@cache
def reference(nuclide: str) -> np.ndarray:
    tia, tissue = phantom()
    return voxel(
        tia, DENSITY_G_CM3[tissue], nuclide, (SPACING_MM,) * 3, engine="montecarlo", tissue=tissue, material=MATERIALS,
        histories=HISTORIES, seed=1,
    ).dose_Gy  # fmt: skip


@cache
def tested(nuclide: str, name: str) -> np.ndarray:
    tia, tissue = phantom()
    return voxel(tia, DENSITY_G_CM3[tissue], nuclide, (SPACING_MM,) * 3, **ENGINES[name]).dose_Gy


def worst_mean(nuclide: str, name: str) -> tuple[float, str]:
    """Largest relative difference of the mean dose over the ball's part in a tissue."""
    tia, tissue = phantom()
    made = {}
    for k, word in enumerate(MATERIALS):
        part = (tissue == k) & (tia > 1)
        made[word] = tested(nuclide, name)[part].mean() / reference(nuclide)[part].mean() - 1
    word = max(made, key=lambda w: abs(made[w]))
    return made[word], word


def compare(nuclide: str, name: str, least_pass: float | None, most_off: float | None) -> None:
    key = f"dose/heterogeneous/{nuclide}, {name}"

    @check(f"{key}: gamma 2 %/2 mm", "percent passed", f"at least {least_pass:g}" if least_pass else "shown", OWN)
    def _gamma():
        found = gamma_index(reference(nuclide), tested(nuclide, name), (SPACING_MM,) * 3)
        return found.pass_percent, least_pass is None or found.pass_percent >= least_pass

    @check(f"{key}: worst tissue's mean", "relative difference", f"{most_off:g}" if most_off else "shown", OWN)
    def _mean():
        value, _ = worst_mean(nuclide, name)
        return value, most_off is None or abs(value) <= most_off


for _nuclide, _most in (("177Lu", 0.01), ("90Y", 0.03), ("131I", 0.01)):
    compare(_nuclide, "tissue-wise kernels", 95.0, _most)
    compare(_nuclide, "one kernel, density scaling", None, None)
    compare(_nuclide, "local deposition", None, None)
