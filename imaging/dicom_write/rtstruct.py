"""RTSTRUCT: masks as closed planar contours, by marching squares in each slice.

The line runs half way between voxel centres inside and outside, so rasterising by voxel centres gives the mask back.
Each closed curve cuts off half a pixel of area at its corners. Holes are rings of their own under the even-odd rule
(XOR of all rings in a plane), which `imaging.contour_mask`, Slicer and rt-utils follow; a system that fills each ring
by itself fills the holes.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from imaging.dicom_write.codes import region_codes
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import new_object
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.segmentation import as_volumes, checked_labels
from imaging.dicom_write.values import code_item, date_and_time, decimal, digest
from imaging.geometry import Volume

RTSTRUCT_CLASS = "1.2.840.10008.5.1.4.1.1.481.3"
STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""RT Structure Set Storage, and the retired class that RTReferencedStudySequence still names (PS3.3 C.8.8.5)."""

LEVEL = 0.5
NEAR_MM = 0.1
"""A source slice within this distance of a contour's plane is referenced by it."""

COLOURS = ((230, 60, 60), (60, 160, 230), (70, 190, 80), (230, 180, 50), (170, 90, 210), (90, 210, 200))


def write_rtstruct(path, masks: Mapping[str, Volume | np.ndarray], exported: Exported, *, overwrite: bool = False):
    """Write one RTSTRUCT with a structure for each mask, and return its data set.

    Args:
        path: the file.
        masks: by label; a `Volume`, or an array [z, y, x] on the grid of the sources; weights are cut at one half.
        exported: the export, with the sources that the contours refer to.
        overwrite: replace a file that is there.

    Raises:
        InputError: no mask, an empty one, several grids, a label in free words where identity is removed, no sources,
            a file that is there.
    """
    checked_target(path, overwrite=overwrite)
    sources = exported.need_sources("structure set")
    checked_labels(masks, exported)
    volumes = as_volumes(masks, exported)
    identity = digest(*masks, volumes[0].affine, *(v.array for v in volumes))
    dataset = new_object(exported, RTSTRUCT_CLASS, "RTSTRUCT", "contours", identity)
    dataset.StructureSetLabel, dataset.StructureSetDescription = "RESEARCH", NOTICE
    dataset.StructureSetDate, dataset.StructureSetTime = date_and_time(exported.made_at)
    dataset.ReferencedFrameOfReferenceSequence = [_frame(dataset, sources)]
    named = list(enumerate(zip(masks, volumes, strict=True), start=1))
    dataset.StructureSetROISequence = [_structure(k, label, dataset) for k, (label, _) in named]
    dataset.ROIContourSequence = [_contours(k, volume, sources) for k, (_, volume) in named]
    dataset.RTROIObservationsSequence = [_observation(k, label) for k, (label, _) in named]
    save(dataset, path, overwrite=overwrite)
    return dataset


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """Closed curves of a mask [y, x], each [point, 2] in order y, x of voxel indices; first point not repeated."""
    from skimage.measure import find_contours

    padded = np.pad(np.asarray(mask, dtype=float), 1)
    return [curve[:-1] - 1 for curve in find_contours(padded, LEVEL, fully_connected="low")]


def _item(**values):
    from pydicom.dataset import Dataset

    item = Dataset()
    for name, value in values.items():
        setattr(item, name, value)
    return item


def _reference(source):
    return _item(ReferencedSOPClassUID=source.SOPClassUID, ReferencedSOPInstanceUID=source.SOPInstanceUID)


def _frame(dataset, sources):
    series = _item(
        SeriesInstanceUID=sources[0].SeriesInstanceUID, ContourImageSequence=[_reference(s) for s in sources]
    )
    study = _item(
        ReferencedSOPClassUID=STUDY_CLASS,
        ReferencedSOPInstanceUID=dataset.StudyInstanceUID,
        RTReferencedSeriesSequence=[series],
    )
    return _item(FrameOfReferenceUID=dataset.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _structure(number: int, label: str, dataset):
    return _item(
        ROINumber=number,
        ReferencedFrameOfReferenceUID=dataset.FrameOfReferenceUID,
        ROIName=label,
        ROIGenerationAlgorithm="AUTOMATIC",
    )


def _observation(number: int, label: str):
    return _item(
        ObservationNumber=number,
        ReferencedROINumber=number,
        RTROIIdentificationCodeSequence=[code_item(*region_codes(label).type)],
        RTROIInterpretedType="GTV" if label.startswith("tumour") else "ORGAN",
        ROIInterpreter="",
    )


def _contours(number: int, volume: Volume, sources):
    items = []
    for k, mask in enumerate(volume.array):
        for curve in outlines(mask):
            index = np.column_stack([curve[:, ::-1], np.full(len(curve), k)])
            points = volume.to_lps_mm(index)
            item = _item(
                ContourGeometricType="CLOSED_PLANAR",
                NumberOfContourPoints=len(points),
                ContourData=[decimal(v) for v in points.ravel()],
            )
            if (near := _nearest(points[0], sources)) is not None:
                item.ContourImageSequence = [_reference(near)]
            items.append(item)
    colour = list(COLOURS[(number - 1) % len(COLOURS)])
    return _item(ReferencedROINumber=number, ROIDisplayColor=colour, ContourSequence=items)


def _nearest(point, sources):
    """The source slice whose plane holds the point, or None."""
    if "ImagePositionPatient" not in sources[0]:
        return None
    orientation = np.array(sources[0].ImageOrientationPatient, dtype=float)
    normal = np.cross(orientation[:3], orientation[3:])
    heights = np.array([np.array(s.ImagePositionPatient, dtype=float) @ normal for s in sources])
    k = int(np.argmin(np.abs(heights - point @ normal)))
    return sources[k] if abs(heights[k] - point @ normal) <= NEAR_MM else None
