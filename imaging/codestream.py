"""Compressed frames weighed before a decoder sees them.

A decoder allocates what the codestream promises, not what the DICOM header says, so both must agree: SOF55 of JPEG-LS
(ISO/IEC 14495-1, C.2.2), SIZ of JPEG 2000 (ISO/IEC 15444-1, A.5.1), and the counted length of RLE segments
(DICOM PS3.5, annex G).
"""

from __future__ import annotations

from struct import unpack_from

from dose.errors import ImageError, describe

RLE = "1.2.840.10008.1.2.5"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"
SOF_JPEG_LS, SIZ_JPEG_2000 = b"\xff\xf7", b"\xff\x51"


def check_frames(dataset, frames: int, where: str) -> None:
    """Compare every compressed frame with Rows, Columns and SamplesPerPixel.

    Raises:
        ImageError: a frame missing, or one that would decode to another size.
    """
    from pydicom.encaps import generate_frames

    syntax = str(dataset.file_meta.TransferSyntaxUID)
    shape = int(dataset.Rows), int(dataset.Columns), int(dataset.get("SamplesPerPixel", 1))
    number = 0
    for frame in generate_frames(dataset.PixelData, number_of_frames=frames):
        number += 1
        if syntax == RLE:
            _check_rle(frame, shape[0] * shape[1], where)
        elif _shape(frame, syntax) != shape:
            _refuse(where, "a compressed frame of another size", "the header's Rows, Columns and SamplesPerPixel")
    if number != frames:
        _refuse(where, f"{number} compressed frames", f"{frames}")


def _shape(frame: bytes, syntax: str) -> tuple[int, int, int] | None:
    """Rows, columns and samples that the codestream promises; None where it promises nothing."""
    if syntax == JPEG_LS:
        at = _segment(frame, SOF_JPEG_LS)
        return None if at is None else (*unpack_from(">HH", frame, at + 5), frame[at + 9])
    at = frame.find(SIZ_JPEG_2000, 0, 4096)
    if at < 0 or len(frame) < at + 40:
        return None
    width, height, left, top = unpack_from(">LLLL", frame, at + 6)
    return height - top, width - left, unpack_from(">H", frame, at + 38)[0]


def _segment(frame: bytes, marker: bytes) -> int | None:
    """Position of the only marker segment of this kind, walking over the others by their lengths."""
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF and frame[at + 1] != 0xDA:
        if frame[at : at + 2] == marker:
            return at
        at += 2 + unpack_from(">H", frame, at + 2)[0]
    return None


def _check_rle(frame: bytes, pixels: int, where: str) -> None:
    count, *offsets = unpack_from("<16L", frame)
    if not 1 <= count <= 15 or any(not 64 <= offset <= len(frame) for offset in offsets[:count]):
        _refuse(where, "a broken RLE header", "1 to 15 segments inside the frame")
    for start, end in zip(offsets[:count], [*offsets[1:count], len(frame)], strict=True):
        if _unpacked(frame, start, end, pixels) > pixels + 1:
            _refuse(where, "an RLE segment longer than its frame", f"{pixels} bytes")


def _unpacked(frame: bytes, at: int, end: int, limit: int) -> int:
    """Bytes that a PackBits run list decodes to, counted up to `limit`."""
    total = 0
    while at < end and total <= limit + 1:
        code = frame[at]
        total += code + 1 if code < 128 else 257 - code if code > 128 else 0
        at += code + 2 if code < 128 else 2 if code > 128 else 1
    return total


def _refuse(where: str, found: str, expected: str) -> None:
    raise ImageError(describe(f"{where}, PixelData", found, expected, "export the series again, uncompressed"))
