"""Contours and segmentations to weights on an image grid, with the volume of the polygon beside that of the mask.

Small lesions need both: the 3.9 mL liver lesion of the tests is 530 voxels of 1.95 mm, and would be 20 of 6 mm.
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

PLANE_TOLERANCE = 0.5
"""A polygon may leave its slice by half a voxel before it counts as drawn on another plane."""


def contour_set_of(file, salt: str = "") -> ContourSet:
    """The closed planar contours of one RTSTRUCT."""
    where = "RTSTRUCT"
    dataset = open_header(file, where)
    names = {int(item.ROINumber): str(item.get("ROIName", "")) for item in dataset.StructureSetROISequence}
    contours, points = [], 0
    for item in dataset.get("ROIContourSequence") or ():
        polygons = [_polygon(c, where) for c in item.get("ContourSequence") or () if _is_closed(c)]
        points += sum(len(p) for p in polygons)
        contours.append(Contour(names[int(item.ReferencedROINumber)], tuple(polygons)))
    if points > MAX_CONTOUR_POINTS:
        raise ImageError(describe(where, f"{points} contour points", f"at most {MAX_CONTOUR_POINTS}", "simplify it"))
    frames = dataset.get("ReferencedFrameOfReferenceSequence") or ()
    frame = frames[0].FrameOfReferenceUID if frames else dataset.get("FrameOfReferenceUID", "")
    return ContourSet(tuple(contours), uid_hash(frame, salt), uid_hash(dataset.SeriesInstanceUID, salt))


def _is_closed(contour) -> bool:
    return str(contour.get("ContourGeometricType", "")) == "CLOSED_PLANAR"


def _polygon(contour, where: str) -> np.ndarray:
    values = np.array(contour.ContourData, dtype=float)
    if values.size % 3 or values.size < 9 or not np.isfinite(values).all():
        raise ImageError(describe(f"{where}, ContourData", "broken points", "three or more triples", "draw it again"))
    return values.reshape(-1, 3)


def segmentation_of(file, where: str, salt: str = "") -> Segmentation:
    """The segments of one SEG (binary, fractional or label map), each on the segmentation's own grid."""
    import highdicom as hd

    open_pixels(file, where)
    seg = hd.seg.segread(str(file))
    volume = seg.get_volume(combine_segments=False, rescale_fractional=True)
    stack = np.asarray(volume.array)
    if stack.size > MAX_SEGMENT_VOXELS:
        raise ImageError(describe(where, f"{stack.size} voxels", f"at most {MAX_SEGMENT_VOXELS}", "split the SEG"))
    affine = np.array(volume.affine)[:, [2, 1, 0, 3]]
    labels = [str(item.SegmentLabel) for item in seg.SegmentSequence if int(item.get("SegmentNumber", 1)) > 0]
    segments = [Segment(name, Volume(stack[..., k], affine)) for k, name in enumerate(labels)]
    frame = uid_hash(seg.FrameOfReferenceUID, salt)
    return Segmentation(tuple(segments), frame, uid_hash(seg.SeriesInstanceUID, salt))


def segment_mask(segment: Segment, grid: Volume) -> Volume:
    """A segment's weights (0 to 1) on an image's grid; what it covers outside the image is lost.

    Raises:
        ImageError: nothing of it lies on the grid.
    """
    return _not_empty(segment.mask.resampled_onto(grid), "segment")


def contour_mask(contour: Contour, grid: Volume, *, boundary: str = "centre") -> Volume:
    """A contour's mask (0 or 1) on an image's grid: even-odd rule in each plane, so inner polygons are holes.

    `boundary="centre"` takes voxels whose centre is inside, which keeps the polygon's volume; "touched" adds those on
    the line, as rt-utils does, which makes a 107 mL lesion 118 mL at 2 mm voxels and a 2.9 mL one 3.9 mL.

    Each slice takes the nearest drawn plane within half the distance between planes, so contours drawn on a finer CT
    are not laid over each other.

    Raises:
        ImageError: no polygon, polygons not parallel to the slices, or nothing on the grid.
    """
    planes = _planes(contour, grid)
    heights = np.array(sorted(planes))
    reach = max(0.5, float(np.median(np.diff(heights))) / 2 if len(heights) > 1 else 0.5) + 1e-3
    mask = np.zeros(grid.array.shape, dtype=bool)
    for k in range(len(mask)):
        nearest = heights[np.argmin(np.abs(heights - k))]
        if abs(nearest - k) <= reach:
            for polygon in planes[nearest]:
                mask[k] ^= _filled(polygon[:, 1::-1], mask.shape[1:], boundary)
    return _not_empty(grid.with_array(mask), "contour")


def _filled(polygon_yx: np.ndarray, shape: tuple[int, int], boundary: str) -> np.ndarray:
    from skimage.draw import polygon2mask, polygon_perimeter

    mask = polygon2mask(shape, polygon_yx)
    if boundary == "touched":
        corners = np.round(polygon_yx).astype(int)
        mask[polygon_perimeter(corners[:, 0], corners[:, 1], shape=shape)] = True
    return mask


def _planes(contour: Contour, grid: Volume) -> dict[float, list[np.ndarray]]:
    """Polygons in voxel indices (x, y, z) by the z index of their plane."""
    planes: dict[float, list[np.ndarray]] = {}
    for polygon in contour.polygons:
        index = grid.to_index(polygon)
        if np.ptp(index[:, 2]) > PLANE_TOLERANCE:
            found, do = "a polygon that crosses slices", "draw it on the slices of this image"
            raise ImageError(describe("contour", found, "polygons parallel to the slices", do))
        planes.setdefault(round(float(index[:, 2].mean()), 2), []).append(index)
    if not planes:
        raise ImageError(
            describe("contour", "no polygon (empty segmentation)", "one or more", "draw it, or leave it out")
        )
    return planes


def contour_volume_mL(contour: Contour) -> float:
    """Volume from the polygons: area times distance between planes, holes by the even-odd rule of nesting."""
    from skimage.measure import points_in_poly

    areas: dict[float, float] = {}
    normal = _normal(contour.polygons[0])
    for k, polygon in enumerate(contour.polygons):
        height = round(float(polygon.mean(axis=0) @ normal), 2)
        mates = [p for j, p in enumerate(contour.polygons) if j != k and abs(p.mean(axis=0) @ normal - height) < 0.05]
        inside = sum(bool(points_in_poly(_flat(polygon[:1], normal), _flat(p, normal))[0]) for p in mates)
        areas[height] = areas.get(height, 0.0) + (-1) ** inside * _area(polygon)
    heights = sorted(areas)
    thickness = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
    return sum(areas.values()) * thickness / 1000


def _cross_sum(polygon: np.ndarray) -> np.ndarray:
    centred = polygon - polygon.mean(axis=0)
    return np.cross(centred, np.roll(centred, -1, axis=0)).sum(axis=0) / 2


def _area(polygon: np.ndarray) -> float:
    return float(np.linalg.norm(_cross_sum(polygon)))


def _normal(polygon: np.ndarray) -> np.ndarray:
    vector = _cross_sum(polygon)
    vector = vector / np.linalg.norm(vector)
    return vector if vector[np.argmax(np.abs(vector))] > 0 else -vector


def _flat(points: np.ndarray, normal: np.ndarray) -> np.ndarray:
    """Two coordinates in the plane: the axes least along the normal."""
    return points[:, np.argsort(np.abs(normal))[:2]]


def _not_empty(mask: Volume, what: str) -> Volume:
    if not mask.array.any():
        found, expected = f"an empty {what} on the image grid", "at least one voxel"
        do = "check that it was drawn on this image and that both share a frame of reference"
        raise ImageError(describe("segmentation", found, expected, do))
    return mask
