"""Organ dosimetry: S matrices of the stylised adults for any nuclide, or your own; dose to organs and red marrow."""

from dose.smatrix.cross import CrossDose, cross_dose
from dose.smatrix.files import read_smatrix, unit_factor, write_smatrix
from dose.smatrix.marrow import (
    MarrowActivity,
    MarrowDose,
    marrow_dose,
    marrow_from_blood,
    marrow_from_concentration,
    marrow_from_image,
    marrow_to_blood_ratio,
    patient_marrow_mass_g,
    reference_ratio,
)
from dose.smatrix.matrix import SMatrix, smatrix, smatrix_from
from dose.smatrix.organ_dose import OrganDose
from dose.smatrix.saf import SafTable, check_table, reference_masses_g, reference_saf

__all__ = [
    "CrossDose", "MarrowActivity", "MarrowDose", "OrganDose", "SMatrix", "SafTable", "check_table", "cross_dose",
    "marrow_dose", "marrow_from_blood", "marrow_from_concentration", "marrow_from_image", "marrow_to_blood_ratio",
    "patient_marrow_mass_g", "read_smatrix", "reference_masses_g", "reference_ratio", "reference_saf", "smatrix",
    "smatrix_from", "unit_factor", "write_smatrix",
]  # fmt: skip
