"""Files and folders made to hurt: each is a function that fills a folder, named after its trick."""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np

from imaging.dicom_read import CT
from imaging.guard import quiet
from tests.hostile.seeds import as_bytes, blank, seeds, segmentation, sequence, slices, tomographic, with_pixels

TRICKS: dict[str, Callable[[Path], None]] = {}
"""Name to what fills the folder; an import must refuse each in time."""


def trick(name: str):
    def register(function):
        TRICKS[name] = function
        return function

    return register


def element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    long = vr in (b"OB", b"OW", b"SQ", b"UN", b"UT")
    head = struct.pack("<HH2sHL", group, number, vr, 0, len(value)) if long else b""
    return (head or struct.pack("<HH2sH", group, number, vr, len(value))) + value


def meta(syntax: bytes = b"1.2.840.10008.1.2.1\0") -> bytes:
    held = element(2, 2, b"UI", CT.encode() + b"\0") + element(2, 0x10, b"UI", syntax)
    return b"\0" * 128 + b"DICM" + element(2, 0, b"UL", struct.pack("<L", len(held))) + held


START = element(8, 0x16, b"UI", CT.encode() + b"\0")
UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, UNDEFINED)
EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)
ENDS = struct.pack("<HHLHHL", 0xFFFE, 0xE00D, 0, 0xFFFE, 0xE0DD, 0)
SEQUENCE = struct.pack("<HH2sHL", 0x0040, 0x0275, b"SQ", 0, UNDEFINED)


def deflate(content: bytes) -> bytes:
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return engine.compress(content) + engine.flush()


@trick("deflated bomb of 1 GB")
def bomb(folder):
    engine = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    head = engine.compress(START) + engine.flush(zlib.Z_FULL_FLUSH)
    block = engine.compress(bytes(2**24)) + engine.flush(zlib.Z_FULL_FLUSH)
    (folder / "x.dcm").write_bytes(meta(b"1.2.840.10008.1.2.1.99") + head + block * 64)


@trick("deflated stream cut short")
def cut_stream(folder):
    (folder / "x.dcm").write_bytes(meta(b"1.2.840.10008.1.2.1.99") + deflate(START + bytes(5000))[:-9])


@trick("sequences nested 400 deep")
def nested(folder):
    (folder / "x.dcm").write_bytes(meta() + START + (SEQUENCE + ITEM) * 400)


@trick("sequences nested 100 000 deep")
def very_nested(folder):
    (folder / "x.dcm").write_bytes(meta() + START + (SEQUENCE + ITEM) * 100_000)


@trick("sequences nested 400 deep, deflated")
def nested_deflated(folder):
    (folder / "x.dcm").write_bytes(meta(b"1.2.840.10008.1.2.1.99") + deflate(START + (SEQUENCE + ITEM) * 400))


@trick("sequences of defined length nested 2 000 deep")
def nested_defined(folder):
    content = b""
    for _ in range(2000):
        content = element(0x0040, 0x0275, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(content)) + content)
    (folder / "x.dcm").write_bytes(meta() + START + content)


@trick("sequences hidden in UN nested 400 deep")
def nested_unknown(folder):
    inner = struct.pack("<HHL", 0x0040, 0x0275, UNDEFINED) + ITEM
    hidden = struct.pack("<HH2sHL", 0x0040, 0x0275, b"UN", 0, UNDEFINED) + ITEM
    (folder / "x.dcm").write_bytes(meta() + START + hidden + inner * 400)


@trick("2 million empty items")
def items(folder):
    (folder / "x.dcm").write_bytes(meta() + START + SEQUENCE + EMPTY_ITEM * 2_000_000)


@trick("a million elements")
def elements(folder):
    (folder / "x.dcm").write_bytes(meta() + START + element(0x11, 0x1001, b"LO", b"A ") * 1_000_000)


@trick("65535 x 65535 x 1000 frames in 1000 bytes")
def sizes(folder):
    d = with_pixels(blank(CT, "1"), np.zeros((10, 50)))
    d.Rows = d.Columns = 65535
    d.NumberOfFrames = 1000
    (folder / "x.dcm").write_bytes(as_bytes(d))


def _encapsulated(folder, syntax: str, frame: bytes) -> None:
    from pydicom.encaps import encapsulate
    from pydicom.uid import UID

    (d,) = slices(CT, "1", 1)
    d.file_meta.TransferSyntaxUID = UID(syntax)
    d.PixelData = encapsulate([frame])
    d["PixelData"].VR = "OB"
    (folder / "x.dcm").write_bytes(as_bytes(d))


@trick("JPEG-LS of 65535 x 65535 behind a header of 4 x 5")
def jpeg_ls(folder):
    sof = struct.pack(">HHBHHB", 0xFFF7, 11, 16, 65535, 65535, 1) + b"\1\x11\0"
    scan = struct.pack(">HHB", 0xFFDA, 8, 1) + b"\1\0\0\0\0"
    _encapsulated(folder, "1.2.840.10008.1.2.4.80", b"\xff\xd8" + sof + scan + bytes(500) + b"\xff\xd9")


@trick("JPEG 2000 of 4 G pixels behind a header of 4 x 5")
def jpeg_2000(folder):
    siz = struct.pack(">HHHLLLLLLLLH", 0xFF51, 41, 0, 65535, 65535, 0, 0, 65535, 65535, 0, 0, 1) + b"\x0f\1\1"
    _encapsulated(folder, "1.2.840.10008.1.2.4.90", b"\xff\x4f" + siz + bytes(500))


@trick("RLE that unpacks 64-fold past its frame")
def rle(folder):
    frame = struct.pack("<16L", 2, 64, 1_000_064, *[0] * 13) + b"\x81\0" * 1_000_000
    _encapsulated(folder, "1.2.840.10008.1.2.5", frame)


@trick("SEG with two frames 100 km apart")
def far_apart(folder):
    (seg,) = segmentation(slices(CT, "1"))
    groups = seg.PerFrameFunctionalGroupsSequence
    groups[-1].PlanePositionSequence[0].ImagePositionPatient = [0, 0, 1e8]
    (folder / "x.dcm").write_bytes(as_bytes(seg))


@trick("SEG that describes 3 000 segments")
def many_segments(folder):
    (seg,) = segmentation(slices(CT, "1"))
    seg.Rows = seg.Columns = 2000
    seg.PixelData = bytes(2000 * 2000 * int(seg.NumberOfFrames) // 8)
    seg.SegmentSequence = [seg.SegmentSequence[0]] * 3_000
    (folder / "x.dcm").write_bytes(as_bytes(seg))


@trick("lossy transfer syntax")
def lossy(folder):
    (folder / "x.dcm").write_bytes(meta(b"1.2.840.10008.1.2.4.50") + START)


@trick("file meta of 64 MB")
def long_meta(folder):
    held = struct.pack("<HH2sHL", 2, 0x102, b"OB", 0, 2**26) + bytes(2**26)
    (folder / "x.dcm").write_bytes(b"\0" * 128 + b"DICM" + held + START)


@trick("an element that is longer than the file")
def past_the_end(folder):
    (folder / "x.dcm").write_bytes(meta() + START + struct.pack("<HH2sHL", 0x10, 0x4000, b"UT", 0, 2**31) + b"A" * 99)


@trick("projections of 2 000 frames that count windows to 65 535")
def many_windows(folder):
    (d,) = tomographic()
    d.NumberOfFrames = 2000
    with_pixels(d, np.ones((2000, 2, 2))).PixelSpacing = [3, 3]
    d.EnergyWindowVector = [1] * 1999 + [65_535]
    d.DetectorVector = d.RotationVector = [1] * 2000
    d.AngularViewVector = list(range(1, 2001))
    (folder / "x.dcm").write_bytes(as_bytes(d))


@trick("a contour of numbers that are none")
def no_numbers(folder):
    content = seeds()[4][0]
    at = content.index(b"DS", content.index(b"CLOSED_PLANAR"))
    size = int.from_bytes(content[at + 2 : at + 4], "little")
    (folder / "x.dcm").write_bytes(content[: at + 4] + (b"nan\\" * size)[:size] + content[at + 4 + size :])


@trick("a contour of 20 million numbers")
def many_numbers(folder):
    content = seeds()[4][0]
    points = element(0x3006, 0x50, b"UT", b"1\\" * 20_000_000)
    d = content[: content.index(b"\x06\x30\x39\x00")]
    inner = ITEM + element(0x3006, 0x42, b"CS", b"CLOSED_PLANAR ") + points + ENDS
    contour = struct.pack("<HH2sHL", 0x3006, 0x40, b"SQ", 0, UNDEFINED) + inner + element(0x3006, 0x84, b"IS", b"1 ")
    rois = struct.pack("<HH2sHL", 0x3006, 0x39, b"SQ", 0, UNDEFINED) + ITEM + contour + ENDS
    (folder / "x.dcm").write_bytes(d + rois)


@trick("only a DICOMDIR that points outside")
def dicomdir(folder):
    outside = folder.parent / "outside.dcm"
    outside.write_bytes(seeds()[0][0])
    d = blank("1.2.840.10008.1.3.10", "9")
    with quiet():
        d.DirectoryRecordSequence = sequence(ReferencedFileID=["..", "outside.dcm"], DirectoryRecordType="IMAGE")
        (folder / "DICOMDIR").write_bytes(as_bytes(d))


@trick("only links that lead out of the folder")
def links_out(folder):
    outside = folder.parent / "elsewhere"
    outside.mkdir()
    (outside / "a.dcm").write_bytes(seeds()[0][0])
    (folder / "a.dcm").symlink_to(outside / "a.dcm")
    (folder / "b").symlink_to(outside)
    (folder / "c.dcm").symlink_to("../elsewhere/a.dcm")


@trick("only pipes, devices and links to them")
def pipes(folder):
    os.mkfifo(folder / "a.dcm")
    (folder / "b.dcm").symlink_to("a.dcm")
    (folder / "c.dcm").symlink_to("/dev/zero")
    (folder / "d.dcm").symlink_to("d.dcm")


@trick("folders nested 300 deep")
def deep_folders(folder):
    path = folder
    for _ in range(300):
        path = path / "d"
    path.mkdir(parents=True)
    (path / "a.dcm").write_bytes(seeds()[0][0])
