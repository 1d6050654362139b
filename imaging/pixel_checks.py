"""Pixels against the header before they are decoded: stored length, compressed frames, and what a SEG would grow to."""

from __future__ import annotations

import numpy as np

from dose.errors import ImageError, describe
from imaging.codestream import check_frames
from imaging.deflated import check_expansion

MAX_PIXEL_BYTES = 2 * 1024**3

SEG_CLASSES = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
BITS = (8, 16, 32, 64)
"""Bits of a voxel; single bits are for segmentations only."""


def check_pixels(dataset, where: str) -> None:
    """Refuse pixels that disagree with Rows, Columns, NumberOfFrames and BitsAllocated, or would grow too far.

    Raises:
        ImageError: no pixels, or not as many bytes or frames as the header says.
    """
    frames, bits = int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.BitsAllocated)
    is_seg = str(dataset.SOPClassUID) in SEG_CLASSES
    if bits not in BITS and not (bits == 1 and is_seg):
        raise ImageError(describe(f"{where}, BitsAllocated", f"{bits}", "8, 16, 32 or 64", "export it again"))
    voxels = int(dataset.Rows) * int(dataset.Columns) * frames * int(dataset.get("SamplesPerPixel", 1))
    expected, stored = (voxels * bits + 7) // 8, len(dataset.get("PixelData") or b"")
    if frames < 1 or not 0 < expected <= MAX_PIXEL_BYTES:
        raise ImageError(describe(f"{where}, PixelData", f"{expected} bytes", "0 to 2 GiB", "split the series"))
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        check_expansion(stored, expected, where)
        check_frames(dataset, frames, where)
    elif stored not in (expected, expected + expected % 2):
        found = f"{stored} bytes"
        raise ImageError(describe(f"{where}, PixelData", found, f"{expected} bytes", "export the series again"))
    if is_seg:
        check_expansion(stored, _laid_out(dataset), f"{where}, segments on one grid")


def _laid_out(dataset) -> int:
    """Voxels of all segments on their common grid: a few frames far apart would ask for a volume of any height."""
    frames = dataset.get("PerFrameFunctionalGroupsSequence") or ()
    placed = [f.PlanePositionSequence[0].ImagePositionPatient for f in frames if f.get("PlanePositionSequence")]
    segments, points = len(dataset.get("SegmentSequence") or ()), sorted({tuple(map(float, p)) for p in placed})
    planes = max(len(points), _planes_between(points))
    return planes * int(dataset.Rows) * int(dataset.Columns) * max(segments, 1)


def _planes_between(points: list[tuple]) -> int:
    """Planes from the first to the last position, at the smallest distance between neighbours."""
    if len(points) < 2:
        return len(points)
    if not np.isfinite(points).all():
        return 2**62
    path = np.array(points) - points[0]
    along = np.sort(path @ path[-1]) / max(float(np.linalg.norm(path[-1])), 1e-12)
    gaps = np.diff(along)
    smallest = min((float(gap) for gap in gaps if gap > 1e-3), default=np.inf)
    return int(min(float(np.ptp(along)) / smallest + 1, 2.0**62))
