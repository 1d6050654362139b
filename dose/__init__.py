"""Dosimetry's words and floor: units, nuclides, regions, self-dose, time-integrated activity, radiobiology.

Names of `dose.radiobiology` (which needs jax) are loaded when first used, so that `import dose` stays light.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from dose.activity import AveragedTIA, CurveFit, fit_curves, late_slope_flag
from dose.curves import (
    Exponentials,
    bi,
    extrapolated_fraction,
    hanscheid_tia,
    madsen_tia,
    mono,
    peak_h,
    tri_uptake,
    uptake,
)
from dose.errors import CalibrationError, ImageError, InputError, TheratwinError
from dose.histograms import DVH, dvh
from dose.nuclides import Radionuclide, decay_constant, known_nuclides, radionuclide
from dose.organ import DoseCoefficient, absorbed_fractions, dose_coefficient_Gy_per_MBq_h, equilibrium_chain
from dose.provenance import Source, constant, load_table, sources
from dose.regions import density_g_per_mL, is_tumour, known_regions, members, reference_mass_g, region
from dose.trapezoids import TrapezoidTIA, tail_rules_flag, trapezoid_tia
from dose.units import parse

if TYPE_CHECKING:
    from dose.radiobiology import (
        Tissue,
        bed_Gy,
        bed_rates,
        cycles_within,
        eqd2_Gy,
        eubed_Gy,
        g_factor,
        ntcp_lkb,
        tcp,
        tissue,
    )

LATE = (
    "Tissue", "bed_Gy", "bed_rates", "cycles_within", "eqd2_Gy", "eubed_Gy", "g_factor", "ntcp_lkb", "tcp", "tissue",
)  # fmt: skip
"""Public names that live in `dose.radiobiology`."""

__all__ = [
    "DVH", "AveragedTIA", "CalibrationError", "CurveFit", "DoseCoefficient", "Exponentials", "ImageError", "InputError",
    "Radionuclide", "Source", "TheratwinError", "Tissue", "TrapezoidTIA", "absorbed_fractions", "bed_Gy",
    "bed_rates", "bi", "constant", "cycles_within", "decay_constant", "density_g_per_mL",
    "dose_coefficient_Gy_per_MBq_h", "dvh", "eqd2_Gy", "equilibrium_chain", "eubed_Gy", "extrapolated_fraction",
    "fit_curves", "g_factor", "hanscheid_tia", "is_tumour", "known_nuclides", "known_regions", "late_slope_flag",
    "load_table", "madsen_tia", "members", "mono", "ntcp_lkb", "parse", "peak_h", "radionuclide",
    "reference_mass_g", "region", "sources", "tail_rules_flag", "tcp", "tissue", "trapezoid_tia", "tri_uptake",
    "uptake",
]  # fmt: skip


def __getattr__(name: str):
    if name in LATE:
        return getattr(import_module("dose.radiobiology"), name)
    raise AttributeError(f"module 'dose' has no attribute {name!r}")
