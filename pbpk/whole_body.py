"""The structured whole-body model as a value that `pbpk.simulate` takes beside the models of the general door."""

from __future__ import annotations

import equinox as eqx
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide
from pbpk.kinetics import Kinetics

DECAY_RTOL = 1e-6
"""Largest relative difference between the decay constant in `Kinetics` and the nuclide's own: rounding of a table."""


class WholeBody(eqx.Module):
    """`Kinetics` of one patient and the nuclide they were made for.

    Raises:
        InputError: more than one patient, or a decay constant that is not the nuclide's.
    """

    kinetics: Kinetics
    nuclide: Radionuclide = eqx.field(static=True)

    def __check_init__(self):
        if self.kinetics.patients != 1:
            found, do = f"{self.kinetics.patients} patients", "use pbpk.solve.solve for a batch"
            raise InputError(describe("kinetics of the whole-body model", found, "1 patient", do))
        found, own = float(np.asarray(self.kinetics.decay)[0]), self.nuclide.decay_constant_per_min
        if abs(found - own) > DECAY_RTOL * own:
            do = "make the kinetics with the nuclide that is given here"
            raise InputError(describe("kinetics.decay", f"{found:g} per min", f"{own:g} of {self.nuclide.name}", do))

    @property
    def regions(self) -> tuple[str, ...]:
        """The organs, each with the plasma in it, then the blood: vein, artery and the pool on plasma proteins."""
        return (*self.kinetics.organs, "blood")
