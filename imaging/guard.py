"""Guards of the one door for DICOM: sizes before parsing, syntaxes from a list, no patient value in any message.

pydicom's warnings and log lines quote header values, so both are silent while a file is read; what matters is told by
our own errors, which name the series by hash and the file by its number in sorted order.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from contextlib import contextmanager

from dose.errors import ImageError, TheratwinError, describe

MAX_FILE_BYTES = 2 * 1024**3
MAX_PIXEL_BYTES = 2 * 1024**3
MAX_FILES = 50_000
MAX_SERIES_FILES = 5_000
MAX_ELEMENTS = 20_000
"""Limits of ENGINEERING.md section 6: beyond these an input is damage or an attack rather than a patient. A header's
element count is taken at top level; nesting is bounded by Python's recursion limit, whose error is caught here."""

SYNTAXES = {
    "1.2.840.10008.1.2": "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    "1.2.840.10008.1.2.2": "Explicit VR Big Endian",
    "1.2.840.10008.1.2.5": "RLE Lossless",
    "1.2.840.10008.1.2.4.80": "JPEG-LS Lossless",
    "1.2.840.10008.1.2.4.90": "JPEG 2000 Lossless",
}
"""Transfer syntaxes that are read (DICOM PS3.6, table A-1). Deflated is left out, as it inflates without a bound, and
so are lossy ones, whose voxels are no measurements."""


@contextmanager
def quiet():
    """Keep pydicom and highdicom from quoting header values in warnings and logs."""
    loggers = [logging.getLogger(name) for name in ("pydicom", "highdicom")]
    before = [logger.disabled for logger in loggers]
    try:
        for logger in loggers:
            logger.disabled = True
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, state in zip(loggers, before, strict=True):
            logger.disabled = state


@contextmanager
def only_image_errors(where: str):
    """Turn whatever goes wrong inside into an ImageError that says where; the cause's text stays out of it."""
    try:
        with quiet():
            yield
    except TheratwinError:
        raise
    except (Exception, RecursionError) as error:
        found = f"something unreadable ({type(error).__name__})"
        text = describe(where, found, "an intact DICOM object", "export the series again, or leave this file out")
        raise ImageError(text) from None


def open_header(path, where: str):
    """The data set without its pixels, after the size, syntax and element checks."""
    import pydicom
    from pydicom.filereader import read_file_meta_info

    with only_image_errors(where):
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ImageError(describe(where, "a file over 2 GiB", "at most 2 GiB", "split the series into slices"))
        syntax = str(read_file_meta_info(path).TransferSyntaxUID)
        if syntax not in SYNTAXES:
            do = "convert it to uncompressed first, for example with gdcmconv --raw"
            found = f"transfer syntax {syntax[:64]}" if syntax.replace(".", "").isdigit() else "a malformed syntax"
            raise ImageError(describe(where, found, f"one of {', '.join(SYNTAXES.values())}", do))
        header = _named(pydicom.dcmread(path, stop_before_pixels=True), path)
        if len(header) > MAX_ELEMENTS:
            raise ImageError(
                describe(where, f"{len(header)} elements", f"at most {MAX_ELEMENTS}", "leave this file out")
            )
        if not header.get("SOPClassUID"):
            raise ImageError(describe(f"{where}, SOPClassUID", "nothing", "a UID", "leave this file out, or repair it"))
        return header


def _named(dataset, path):
    """The data set with what an anonymiser blanked: SOP class from the file meta, one series UID for the folder.

    Such files still make a series (positions are checked later), but without a frame of reference no mask joins them.
    """
    if not dataset.get("SOPClassUID") and dataset.file_meta.get("MediaStorageSOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    if not dataset.get("SeriesInstanceUID"):
        digest = hashlib.sha256(f"{path.parent}".encode()).hexdigest()
        dataset.SeriesInstanceUID = f"2.25.{int(digest[:30], 16)}"
    return dataset


def open_pixels(path, where: str):
    """The whole data set, once rows x columns x frames x bits agree with the stored length."""
    import pydicom

    dataset = _named(pydicom.dcmread(path), path)
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    bits = int(dataset.Rows) * int(dataset.Columns) * frames * int(dataset.BitsAllocated)
    expected = (bits * int(dataset.get("SamplesPerPixel", 1)) + 7) // 8
    if not 0 < expected <= MAX_PIXEL_BYTES:
        raise ImageError(describe(f"{where}, PixelData", f"{expected} bytes", "0 to 2 GiB", "split the series"))
    stored = len(dataset.get("PixelData", b""))
    if not dataset.file_meta.TransferSyntaxUID.is_compressed and stored not in (expected, expected + expected % 2):
        found = f"{stored} bytes"
        raise ImageError(describe(f"{where}, PixelData", found, f"{expected} bytes", "export the series again"))
    return dataset
