"""Refuses `Kinetics` that no patient can have, naming the field, the organ and the patient."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from pbpk.kinetics import Kinetics

ABOVE_ZERO = ("plasma_flow", "vascular", "interstitial", "transit", "repair", "k_on", "k_off", "arterial", "venous",
              "unbound_fraction")  # fmt: skip
"""k_off above zero is KD above zero."""
NOT_NEGATIVE = ("permeability", "filtration", "receptors", "internalisation", "release", "nonsaturable",
                "albumin_permeability",
                "protein_binding", "protein_return", "decay")  # fmt: skip
FRACTIONS = ("excreted_fraction", "biliary_fraction", "returned_fraction", "unbound_fraction")
BINDING_ONLY = ("receptors", "nonsaturable")
UNITS = {"plasma_flow": "L/min", "vascular": "L", "interstitial": "L", "receptors": "nmol", "arterial": "L",
         "venous": "L", "k_off": "1/min"}  # fmt: skip


def require_double() -> None:
    """Raises InputError where JAX would make every array single precision, which nobody asked for."""
    if jnp.result_type(float) != jnp.float64:
        do = "import twin.verbs (or twin._jax.configure()) first, or set JAX_ENABLE_X64=1; single precision is opt-in"
        raise InputError(describe("jax precision", "single precision", "jax_enable_x64 on", do))


def checked(kin: Kinetics) -> Kinetics:
    """`kin` as it is, if every patient of it can be.

    Raises:
        InputError: a value that is not finite, a volume or flow not above zero, a negative rate, a fraction outside
            0 to 1, or receptors in an organ that `Kinetics.layout` says binds nothing.
    """
    lungs = np.arange(len(kin.organs)) == 0
    for name in (*ABOVE_ZERO, *NOT_NEGATIVE):
        value = np.asarray(getattr(kin, name))
        good = np.isfinite(value) & ((value > 0) if name in ABOVE_ZERO else (value >= 0))
        if name == "plasma_flow":
            good |= lungs[:, None]  # the lungs carry the sum of the others
        _require(good, value, name, kin, "above zero" if name in ABOVE_ZERO else "zero or more")
    for name in FRACTIONS:
        value = np.asarray(getattr(kin, name))
        _require((value >= 0) & (value <= 1), value, name, kin, "0 to 1")
    _require_in_place(kin)
    return kin


def impossible(kin: Kinetics) -> np.ndarray:
    """Patients [patient] that have a fraction outside 0 to 1, or a volume, flow or rate below zero or not finite."""
    bad = np.zeros(kin.patients, bool)
    for name in (*FRACTIONS, *ABOVE_ZERO, *NOT_NEGATIVE):
        value = np.atleast_2d(np.asarray(getattr(kin, name)))
        bad |= np.any(~np.isfinite(value) | (value < 0) | (name.endswith("_fraction") & (value > 1)), axis=0)
    return bad


def _require_in_place(kin: Kinetics) -> None:
    outside = np.ones(len(kin.organs), bool)
    outside[kin.layout.binding] = False
    for name in BINDING_ONLY:
        value = np.asarray(getattr(kin, name))
        _require((value == 0) | ~outside[:, None], value, name, kin, "zero in organs after the binding ones (layout)")
    leak = np.asarray(kin.albumin_permeability)
    permeable = (np.asarray(kin.permeability) > 0) & (np.asarray(kin.filtration) == 0)
    expected = "zero where free ligand does not pass (brain, kidneys): give kPS_albumin by organ"
    _require((leak == 0) | permeable, leak, "albumin_permeability", kin, expected)
    outside[:] = True
    outside[kin.layout.kidney] = False
    filtration = np.asarray(kin.filtration)
    _require((filtration == 0) | ~outside[:, None], filtration, "filtration", kin, "zero outside the kidneys (layout)")


def _require(good, value, name: str, kin: Kinetics, expected: str) -> None:
    good = np.broadcast_to(good, value.shape)
    if good.all():
        return
    *organ, patient = np.argwhere(~good)[0]
    where = f" of {kin.organs[organ[0]]}" if organ else ""
    field = f"{name}{where}, patient {patient}"
    found = f"{value[(*organ, patient)]:.4g} {UNITS.get(name, '')}".strip()
    do = "check body weight, height, segmented volumes, affinity and the organ order of these kinetics"
    raise InputError(describe(field, found, expected, do))
