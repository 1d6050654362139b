"""DICOM out: slices, SEG, RTSTRUCT, RTDOSE, Parametric Map, organ table (SR), NM projections and reconstructions.

Every writer takes an `Exported` (whose study, which sources, which identity) and writes its file whole or not at all.
Limits and choices are told in docs/imaging-writing.md.
"""

from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.organ_table import OrganRow, write_organ_table
from imaging.dicom_write.organ_table_read import read_organ_table
from imaging.dicom_write.parametric import write_parametric_map
from imaging.dicom_write.profile import deidentified
from imaging.dicom_write.recon import write_pet_copy, write_recon
from imaging.dicom_write.rtdose import write_rtdose
from imaging.dicom_write.rtstruct import write_rtstruct
from imaging.dicom_write.segmentation import write_segmentation
from imaging.dicom_write.slices import PET_CLASS, StudyLabels, write_slices
from imaging.dicom_write.study_export import export_deidentified
from imaging.dicom_write.tomo import write_planar, write_projections
from imaging.dicom_write.values import date_and_time

__all__ = [
    "NOTICE",
    "PET_CLASS",
    "Exported",
    "OrganRow",
    "StudyLabels",
    "date_and_time",
    "deidentified",
    "export_deidentified",
    "read_organ_table",
    "write_organ_table",
    "write_parametric_map",
    "write_pet_copy",
    "write_planar",
    "write_projections",
    "write_recon",
    "write_rtdose",
    "write_rtstruct",
    "write_segmentation",
    "write_slices",
]
