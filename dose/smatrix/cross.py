"""What one organ of a kinetic model receives from the others: photons across the stylised adult, for any nuclide.

A model's organs are not the phantom's regions: they are placed here, and `CrossDose.unplaced` names those that have no
place. Own pairs (a kidney from itself) are left out: `dose.organ` and `dose.walls` have them. Masses of a patient
change cross-dose of photons so little that the reference's S values are used (MIRD 21).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from dose.phantom.organs import GROUPS
from dose.provenance import constant
from dose.regions import HOLLOW, is_tumour, region
from dose.smatrix.matrix import SMatrix, smatrix
from dose.smatrix.saf import BONE_SURFACE, BONES, RED_MARROW, WHOLE_BODY

CROSS_SD = "smatrix_photon_cross_sd"
SIDES = ("left", "right")
PLACES = {
    "gi": ("stomach", "small_intestine", "right_colon", "left_colon", "rectosigmoid"),
    "pituitary": ("brain",),
    **{f"kidney_{part}_{side}": (f"kidney_{side}",) for part in ("cortex", "medulla") for side in SIDES},
    **GROUPS,
}
"""Regions of the phantom in which an organ of a model lies; one that is not listed is its own place."""
SPREAD = ("muscle", "adipose", "remainder")
"""Lie in what the phantom's organs leave of the body."""
EVERYWHERE = ("blood", WHOLE_BODY)
SKELETAL = (RED_MARROW, BONE_SURFACE)
"""Targets that also get electrons and alphas from bone."""


@dataclass(frozen=True, eq=False)
class CrossDose:
    """Physical dose in Gy per MBq h of the parent, `total` and the `alpha` in it [region, source], progeny included.

    `relative_sd` [region, source] is that of the total: statistics, and distances between persons. `unplaced` are
    regions and sources without a place in the phantom, whose rows and columns are 0.
    """

    regions: tuple[str, ...]
    sources: tuple[str, ...]
    total: Float[np.ndarray, "region source"]
    alpha: Float[np.ndarray, "region source"]
    relative_sd: Float[np.ndarray, "region source"]
    unplaced: tuple[str, ...]

    def dose_Gy(self, tia_MBq_h: Float[np.ndarray, "source ..."]) -> Float[np.ndarray, "region ..."]:
        """Cross-dose of each region from the activities of all sources; further axes (cycle, draw) stay."""
        return np.tensordot(self.total, np.asarray(tia_MBq_h), axes=1)


def cross_dose(nuclide: str, sex: str, regions: Sequence[str], sources: Sequence[str]) -> CrossDose:
    """Cross terms between organs as a kinetic model names them.

    `regions` receive, `sources` hold activity; both in any spelling of `dose.regions`. Unions receive the mean by mass,
    and give as if filled by mass.

    - A source in the phantom (kidneys, liver, spleen, glands, lungs, heart, brain, prostate, adrenals, skin, red
      marrow, contents of hollow organs): photons of its own place. Cortex and medulla lie in their kidney, the gut
      ("gi") in the walls of stomach and intestines, the pituitary in the brain. `bone`: bone mineral by mass.
    - `muscle`, `adipose`, `remainder`: photons of activity spread over what the organs leave of the body.
    - `blood`, `whole_body`: photons of activity spread over the whole body by mass.
    - Tumours, an organ that the sex has not: 0, and named in `unplaced`; a lesion's neighbours are known to an image
      alone (`dose.voxel`).

    Bone surfaces and red marrow also get electrons and alphas from bone and each other, walls electrons from their
    contents (leave these out where `dose.walls` is used). As regions, `muscle`, `adipose`, `remainder` and `blood` get
    the mean of the body outside the source, `bone` that of bone surfaces without its own; `whole_body` gets nothing, as
    its own dose holds all activity.

    Raises:
        InputError: unknown nuclide, sex, region or source.
    """
    matrix = smatrix(nuclide, sex)
    to, of = tuple(region(name) for name in regions), tuple(region(name) for name in sources)
    found = np.array([[_pair(matrix, target, source) for source in of] for target in to]).reshape(len(to), len(of), 3)
    total, alpha, spread = np.moveaxis(found, 2, 0)
    relative = np.divide(spread, total, out=np.zeros_like(total), where=total > 0)
    nowhere = dict.fromkeys(name for name in (*to, *of) if not _placed(matrix, name))
    return CrossDose(to, of, total, alpha, relative, tuple(nowhere))


def _places(name: str) -> tuple[str, ...]:
    return PLACES.get(name, (name,))


def _placed(matrix: SMatrix, name: str) -> bool:
    known = {*matrix.sources, *matrix.targets}
    return name in (*SPREAD, *EVERYWHERE, "bone") or (not is_tumour(name) and set(_places(name)) <= known)


def _pair(matrix: SMatrix, target: str, source: str) -> tuple[float, float, float]:
    """Total, alphas in it, and sd of the total."""
    if target in (source, WHOLE_BODY) or not (_placed(matrix, target) and _placed(matrix, source)):
        return 0.0, 0.0, 0.0
    if target in (*SPREAD, "blood"):
        return _with_sd(_outside(matrix, source))
    rows = (BONE_SURFACE,) if target == "bone" else _places(target)
    share = np.array([matrix.masses_g[name] for name in rows])
    parts = np.array([_received(matrix, row, source, target == "bone") for row in rows])
    return tuple(share @ parts / share.sum())


def _received(matrix: SMatrix, row: str, source: str, own_bone: bool) -> tuple[float, float, float]:
    """The same for one region of the phantom."""
    if source in SPREAD or source in EVERYWHERE:
        return _with_sd(_photons_of(matrix, source)[matrix.targets.index(row)])
    columns = BONES if source == "bone" else _places(source)
    share = np.array([matrix.masses_g[name] for name in columns])
    pairs = [(0.0, 0.0, 0.0) if row == column else _single(matrix, row, column) for column in columns]
    total = share @ np.array(pairs) / share.sum()
    return (0.0, 0.0, 0.0) if own_bone and source == "bone" else tuple(total)


def _single(matrix: SMatrix, row: str, column: str) -> tuple[float, float, float]:
    """One pair of the matrix: photons, and particles where they are modelled between regions."""
    i, j = matrix.targets.index(row), matrix.sources.index(column)
    particles = row in SKELETAL or (row in HOLLOW and column == f"{row}_contents")
    alpha = float(matrix.alpha[i, j]) if particles else 0.0
    total = float(matrix.photon[i, j] + (matrix.electron[i, j] if particles else 0.0)) + alpha
    return total, alpha, float(matrix.model_sd[i, j]) * total


def _photons_of(matrix: SMatrix, source: str) -> Float[np.ndarray, " target"]:
    """From activity in the whole body, or in what its organs leave of it."""
    if source in EVERYWHERE:
        return matrix.photon[:, matrix.sources.index(WHOLE_BODY)]
    single = [s for s in matrix.sources if s not in (*GROUPS, WHOLE_BODY) and s in matrix.masses_g]
    return matrix.remainder(tuple(single))[0]["photon"]


def _outside(matrix: SMatrix, source: str) -> float:
    """Mean dose by photons of the body outside a source."""
    row = matrix.targets.index(WHOLE_BODY)
    if source in SPREAD or source in EVERYWHERE:
        return float(matrix.photon[row, matrix.sources.index(WHOLE_BODY)])
    whole_g = matrix.masses_g[WHOLE_BODY]
    columns = BONES if source == "bone" else _places(source)
    energy, held_g = 0.0, sum(matrix.masses_g[name] for name in columns)
    for name in columns:
        j = matrix.sources.index(name)
        own = matrix.photon[matrix.targets.index(name), j] * matrix.masses_g[name] if name in matrix.targets else 0.0
        energy += (matrix.photon[row, j] * whole_g - own) * matrix.masses_g[name] / held_g
    return float(energy / (whole_g - held_g))


def _with_sd(photon: float) -> tuple[float, float, float]:
    return float(photon), 0.0, constant("dose", CROSS_SD) * float(photon)
