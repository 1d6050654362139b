"""Dose of alphas beside that of low-LET radiation: kept apart, weighted only by name.

An alpha emitter's dose has two parts that act differently. `MixedDose` holds both as physical dose; whoever wants one
number names the RBE. BED follows the high-LET linear-quadratic model: RBE_max D_alpha for the alphas, whose damage is
not repaired (no G term), and D (1 + G D/(alpha/beta)) for the rest; damage of one kind meeting that of the other is
left out, which understates BED where both are large (docs/radiobiology.md).
References: MIRD pamphlet 22, J Nucl Med 2010;51:311; Dale and Jones, Int J Radiat Oncol Biol Phys 1999;43:639; Hobbs et
al., Radiat Res 2014;181:90 (all recalled).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dose.errors import InputError, describe
from dose.organ import DoseCoefficient
from dose.tissues import Tissue, TissueDraws

LARGEST_RBE = 20.0
"""Above it stands no RBE for cell killing: a larger number is a weighting factor of protection, or a slip."""

ROUNDING = 1e-9
"""By so much G may exceed 1 before it is refused."""


@dataclass(frozen=True, eq=False)
class MixedDose:
    """Absorbed dose in Gy from electrons and photons, and from alphas and recoils; numbers or equal shapes [draw, ...].

    Raises:
        InputError: a dose below 0 or not finite, shapes that do not fit.
    """

    low_LET_Gy: float | np.ndarray
    alpha_Gy: float | np.ndarray

    def __post_init__(self):
        low, alpha = np.asarray(self.low_LET_Gy, dtype=float), np.asarray(self.alpha_Gy, dtype=float)
        if low.shape != alpha.shape:
            do = "give both parts for the same voxels and draws"
            raise InputError(describe("alpha_Gy", f"shape {alpha.shape}", f"that of low_LET_Gy, {low.shape}", do))
        for field, dose in (("low_LET_Gy", low), ("alpha_Gy", alpha)):
            if not np.all(np.isfinite(dose) & (dose >= 0)):
                raise InputError(describe(field, "a value below 0 or not finite", "0 Gy or more", "check the TIA"))

    @classmethod
    def of_tia(cls, coefficient: DoseCoefficient, tia_MBq_h) -> MixedDose:
        """Both parts from a dose coefficient and a time-integrated activity of any shape."""
        tia = np.asarray(tia_MBq_h, dtype=float)
        low, alpha = (coefficient.electron + coefficient.photon) * tia, coefficient.alpha * tia
        return cls(low, alpha) if tia.ndim else cls(float(low), float(alpha))

    @property
    def physical_Gy(self):
        """Absorbed dose: the sum, unweighted."""
        return self.low_LET_Gy + self.alpha_Gy

    def weighted_Gy(self, rbe):
        """RBE-weighted dose in Gy(RBE): low-LET dose plus `rbe` times alpha dose.

        Raises:
            InputError: an RBE below 1 or above 20.
        """
        return self.low_LET_Gy + _checked("rbe", rbe) * self.alpha_Gy

    def bed_Gy(self, tissue: Tissue | TissueDraws, rbe_max, g):
        """BED: `rbe_max` times alpha dose, and the low-LET part with its G. Draws [draw] stand in the first axis.

        Raises:
            InputError: an RBE below 1 or above 20, G outside 0 to 1, draws that do not fit those of the dose.
        """
        if not np.all((np.asarray(g) >= 0) & (np.asarray(g) <= 1 + ROUNDING)):
            raise InputError(describe("g", f"{g}", "0 to 1", "take it from dose.g_factor or Exposure.g"))
        low = np.asarray(self.low_LET_Gy, dtype=float)
        named = (("tissue", tissue.alpha_beta_Gy), ("g", g), ("rbe_max", _checked("rbe_max", rbe_max)))
        ratio, part, rbe = (_leading(field, value, low.shape) for field, value in named)
        return self.low_LET_Gy * (1 + part * self.low_LET_Gy / ratio) + rbe * self.alpha_Gy

    def table(self, rbe) -> dict[str, float | np.ndarray]:
        """What a report shows: always the physical dose and its alpha part beside the weighted one, the RBE named."""
        return {
            "physical dose, Gy": self.physical_Gy,
            "of it alpha, Gy": self.alpha_Gy,
            f"weighted dose, Gy(RBE {rbe:g})": self.weighted_Gy(rbe),
        }


def _checked(field: str, rbe):
    value = np.asarray(rbe, dtype=float)
    if not np.all((value >= 1) & (value <= LARGEST_RBE)):
        do = 'see dose.parameter("alpha_deterministic", "rbe")'
        raise InputError(describe(field, f"{rbe}", f"1 to {LARGEST_RBE:g}", do))
    return rbe


def _leading(field: str, value, shape: tuple[int, ...]):
    """A number, or draws [draw] made to stand in the first axis of a dose of that shape."""
    array = np.asarray(value, dtype=float)
    if array.ndim and shape and shape[0] not in (1, len(array)):
        do = "give the dose as many draws in its first axis, or 1"
        raise InputError(describe(field, f"{len(array)} draws", f"{shape[0]}, as the dose has", do))
    return array.reshape(array.shape + (1,) * max(len(shape) - array.ndim, 0)) if array.ndim else float(array)
