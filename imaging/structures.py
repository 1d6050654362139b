"""RTSTRUCT and SEG objects to contours and segments, before any image grid is chosen.

SEG is read by highdicom: SimpleITK opens one at spacing 1, 1, 1 with its segments stacked, and says nothing.
"""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from imaging.geometry import Volume
from imaging.guard import open_header, open_pixels
from imaging.series import Contour, ContourSet, Segment, Segmentation, uid_hash

MAX_CONTOUR_POINTS = 5_000_000
MAX_SEGMENT_VOXELS = 2**31
"""Sizes beyond these are damage rather than anatomy."""

CLOSED = ("CLOSED_PLANAR", "CLOSEDPLANAR_XOR")
"""Contours that enclose an area (PS3.3 C.8.8.6.3); both are filled by the even-odd rule."""


def contour_sets_of(file, salt: str = "") -> tuple[ContourSet, ...]:
    """The closed planar contours of one RTSTRUCT, a set for each frame of reference that its structures name.

    A structure without a frame of its own has that of the object.
    """
    where = "RTSTRUCT"
    dataset = open_header(file, where)
    rois = {int(item.ROINumber): item for item in dataset.StructureSetROISequence}
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or ()
    whole = str((frames[0] if frames else dataset).get("FrameOfReferenceUID") or "")
    by_frame: dict[str, list[Contour]] = {}
    points = 0
    for item in dataset.get("ROIContourSequence") or ():
        polygons = [_polygon(c, where) for c in item.get("ContourSequence") or () if _is_closed(c)]
        points += sum(len(p) for p in polygons)
        roi = rois[int(item.ReferencedROINumber)]
        frame = str(roi.get("ReferencedFrameOfReferenceUID") or whole)
        by_frame.setdefault(frame, []).append(Contour(str(roi.get("ROIName", "")), tuple(polygons)))
        if points > MAX_CONTOUR_POINTS:
            expected = f"at most {MAX_CONTOUR_POINTS} in all"
            raise ImageError(describe(where, f"{points} contour points", expected, "simplify it"))
    series = uid_hash(dataset.SeriesInstanceUID, salt)
    made = by_frame or {whole: []}
    return tuple(ContourSet(tuple(contours), uid_hash(frame, salt), series) for frame, contours in made.items())


def _is_closed(contour) -> bool:
    return str(contour.get("ContourGeometricType", "")) in CLOSED


def _polygon(contour, where: str) -> np.ndarray:
    values = _decimals(contour, where)
    if values.size % 3 or values.size < 9 or not np.isfinite(values).all():
        raise ImageError(describe(f"{where}, ContourData", "broken points", "three or more triples", "draw it again"))
    return values.reshape(-1, 3)


def _decimals(contour, where: str) -> np.ndarray:
    """ContourData from its text at once: an object for each number would take a hundred bytes."""
    text = bytes(contour.get_item("ContourData").value or b"")
    count = text.count(b"\\") + 1
    values = np.empty(0) if count > 3 * MAX_CONTOUR_POINTS else np.fromstring(text.replace(b"\\", b" "), sep=" ")
    if len(values) != count:
        raise ImageError(describe(f"{where}, ContourData", "broken or too many numbers", "triples", "draw it again"))
    return values


def segmentation_of(file, where: str, salt: str = "") -> Segmentation:
    """The segments of one SEG (binary, fractional or label map), each on the segmentation's own grid."""
    import highdicom as hd

    seg = hd.seg.Segmentation.from_dataset(open_pixels(file, where), copy=False)
    volume = seg.get_volume(combine_segments=False, rescale_fractional=True)
    stack = np.asarray(volume.array)
    if stack.size > MAX_SEGMENT_VOXELS:
        raise ImageError(describe(where, f"{stack.size} voxels", f"at most {MAX_SEGMENT_VOXELS}", "split the SEG"))
    affine = np.array(volume.affine)[:, [2, 1, 0, 3]]
    labels = [str(item.SegmentLabel) for item in seg.SegmentSequence if int(item.get("SegmentNumber", 1)) > 0]
    segments = [Segment(name, Volume(stack[..., k], affine)) for k, name in enumerate(labels)]
    frame = uid_hash(seg.FrameOfReferenceUID, salt)
    return Segmentation(tuple(segments), frame, uid_hash(seg.SeriesInstanceUID, salt))
