"""131I: uptake, benign disease, lesions from 124I PET, blood dose and activity for cancer (docs/thyroid.md)."""

from dose.thyroid.benign import (
    ThyroidPlan,
    classic_activity_MBq,
    coefficient_Gy_per_MBq_h,
    ellipsoid_mL,
    plan_thyroid,
    target_Gy,
    thyroid_dose_Gy,
    thyroid_mass_g,
)
from dose.thyroid.blood import BloodDose, blood_dose, blood_dose_single, blood_volume_mL
from dose.thyroid.cancer import CancerPlan, plan_cancer
from dose.thyroid.lesion import IodineLesion, iodine_lesion
from dose.thyroid.uptake import ThyroidUptake, fit_uptake

__all__ = [
    "BloodDose", "CancerPlan", "IodineLesion", "ThyroidPlan", "ThyroidUptake", "blood_dose", "blood_dose_single",
    "blood_volume_mL", "classic_activity_MBq", "coefficient_Gy_per_MBq_h", "ellipsoid_mL", "fit_uptake",
    "iodine_lesion", "plan_cancer", "plan_thyroid", "target_Gy", "thyroid_dose_Gy", "thyroid_mass_g",
]  # fmt: skip
