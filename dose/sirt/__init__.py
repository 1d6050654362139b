"""90Y microspheres: what 99mTc-MAA predicts, the activity within limits, what the spheres gave (docs/sirt.md)."""

from dose.sirt.basics import (
    administered_GBq,
    bsa_activity_GBq,
    bsa_m2,
    gray_kg_per_GBq,
    liver_mass_g,
    lung_shunt,
    lung_shunt_planar,
    residual_share,
    single_compartment_activity_GBq,
    single_compartment_dose_Gy,
    spheres,
    tumour_to_normal,
    vial_GBq,
)
from dose.sirt.comparison import Comparison, compare
from dose.sirt.limits import SirtLimit, sirt_limits, tumour_target_Gy
from dose.sirt.liver import Liver, SirtSpread, Tumour, default_spread
from dose.sirt.partition import PartitionDoses, coefficient_draws, coefficients_Gy_per_GBq, partition_doses
from dose.sirt.plan import SirtPlan, plan_activity
from dose.sirt.voxel import VoxelDoses, delivered_voxels, predict_voxels

__all__ = [
    "Comparison", "Liver", "PartitionDoses", "SirtLimit", "SirtPlan", "SirtSpread", "Tumour", "VoxelDoses",
    "administered_GBq", "bsa_activity_GBq", "bsa_m2", "coefficient_draws", "coefficients_Gy_per_GBq", "compare",
    "default_spread", "delivered_voxels", "gray_kg_per_GBq", "liver_mass_g", "lung_shunt", "lung_shunt_planar",
    "partition_doses", "plan_activity", "predict_voxels", "residual_share", "single_compartment_activity_GBq",
    "single_compartment_dose_Gy", "sirt_limits", "spheres", "tumour_target_Gy", "tumour_to_normal", "vial_GBq",
]  # fmt: skip
