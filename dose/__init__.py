"""Dosimetry's words and floor: nuclides, regions, time-integrated activity, absorbed dose, radiobiology.

What needs jax or reads large tables is loaded when its name is first used, so that `import dose` stays light.
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
from dose.nuclides import Radionuclide, decay_constant, has_emissions, known_nuclides, radionuclide
from dose.organ import DoseCoefficient, absorbed_fractions, dose_coefficient_Gy_per_MBq_h, equilibrium_chain
from dose.provenance import Source, constant, load_table, sources
from dose.regions import density_g_per_mL, is_tumour, known_regions, members, reference_mass_g, region
from dose.trapezoids import TrapezoidTIA, tail_rules_flag, trapezoid_tia
from dose.units import parse

if TYPE_CHECKING:
    from dose.bateman import activities_MBq, cumulated_MBq_h
    from dose.bed_maps import bed_of_curves, bed_of_kinetics, bed_of_scans
    from dose.control import endpoint, endpoint_draws
    from dose.ct import density_from_ct, tissue_from_ct
    from dose.dose_rate import ode_bed_Gy, sampled_bed_Gy
    from dose.exposure import Exposure, Growth, course_bed_Gy, net_bed_Gy
    from dose.gamma import gamma_index
    from dose.mixed import MixedDose
    from dose.progeny import chain_energy_MeV
    from dose.radiobiology import bed_Gy, bed_rates, cycles_within, eqd2_Gy, eubed_Gy, g_factor, ntcp_lkb, tcp
    from dose.smatrix import SMatrix, read_smatrix
    from dose.tissues import Repair, Tissue, parameter, tissue, tissue_draws
    from dose.voxels import VoxelDoseMap, tia_per_voxel_MBq_h, voxel

LATE = {
    "dose.bateman": "activities_MBq cumulated_MBq_h",
    "dose.bed_maps": "bed_of_curves bed_of_kinetics bed_of_scans",
    "dose.control": "endpoint endpoint_draws",
    "dose.ct": "density_from_ct tissue_from_ct",
    "dose.dose_rate": "ode_bed_Gy sampled_bed_Gy",
    "dose.exposure": "Exposure Growth course_bed_Gy net_bed_Gy",
    "dose.gamma": "gamma_index",
    "dose.mixed": "MixedDose",
    "dose.progeny": "chain_energy_MeV",
    "dose.radiobiology": "bed_Gy bed_rates cycles_within eqd2_Gy eubed_Gy g_factor ntcp_lkb tcp",
    "dose.smatrix": "SMatrix read_smatrix",
    "dose.tissues": "Repair Tissue parameter tissue tissue_draws",
    "dose.voxels": "VoxelDoseMap tia_per_voxel_MBq_h voxel",
}
"""Modules that are loaded late, and the public names that live in them."""

__all__ = [
    "DVH", "AveragedTIA", "CalibrationError", "CurveFit", "DoseCoefficient", "Exponentials", "Exposure", "Growth",
    "ImageError", "InputError", "MixedDose", "Radionuclide", "Repair", "SMatrix", "Source", "TheratwinError",
    "Tissue", "TrapezoidTIA", "VoxelDoseMap", "absorbed_fractions", "activities_MBq", "bed_Gy", "bed_of_curves",
    "bed_of_kinetics", "bed_of_scans", "bed_rates", "bi", "chain_energy_MeV", "constant", "course_bed_Gy",
    "cumulated_MBq_h", "cycles_within", "decay_constant", "density_from_ct", "density_g_per_mL",
    "dose_coefficient_Gy_per_MBq_h", "dvh", "endpoint", "endpoint_draws", "eqd2_Gy", "equilibrium_chain",
    "eubed_Gy", "extrapolated_fraction", "fit_curves", "g_factor", "gamma_index", "hanscheid_tia", "has_emissions",
    "is_tumour", "known_nuclides", "known_regions", "late_slope_flag", "load_table", "madsen_tia", "members",
    "mono", "net_bed_Gy", "ntcp_lkb", "ode_bed_Gy", "parameter", "parse", "peak_h", "radionuclide", "read_smatrix",
    "reference_mass_g", "region", "sampled_bed_Gy", "sources", "tail_rules_flag", "tcp", "tia_per_voxel_MBq_h",
    "tissue", "tissue_draws", "tissue_from_ct", "trapezoid_tia", "tri_uptake", "uptake", "voxel",
]  # fmt: skip


def __getattr__(name: str):
    for module, names in LATE.items():
        if name in names.split():
            return getattr(import_module(module), name)
    raise AttributeError(f"module 'dose' has no attribute {name!r}")
