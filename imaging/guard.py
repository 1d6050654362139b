"""Guards of the one door for DICOM: sizes before parsing, syntaxes from a list, no patient value in any message.

pydicom's warnings and log lines quote header values, so both are silent while a file is read; what matters is told by
our own errors, which name the series by hash and the file by its number in sorted order. The order of the checks is
size, preamble and file meta, syntax, skeleton (`imaging.structure`), then pydicom, then pixels against the header.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from contextlib import contextmanager
from pathlib import Path

from dose.errors import ImageError, TheratwinError, describe
from imaging.codestream import JPEG_2000, JPEG_LS, RLE
from imaging.deflated import DEFLATED, inflated
from imaging.pixel_checks import check_pixels
from imaging.structure import Bytes, transfer_syntax, walk

MAX_FILE_BYTES = 2 * 1024**3
MAX_SERIES_FILES = 5_000
"""Limits of ENGINEERING.md section 6: beyond these an input is damage or an attack rather than a patient."""

IMPLICIT, BIG_ENDIAN = "1.2.840.10008.1.2", "1.2.840.10008.1.2.2"
SYNTAXES = {
    IMPLICIT: "Implicit VR Little Endian",
    "1.2.840.10008.1.2.1": "Explicit VR Little Endian",
    BIG_ENDIAN: "Explicit VR Big Endian",
    DEFLATED: "Deflated Explicit VR Little Endian",
    RLE: "RLE Lossless",
    JPEG_LS: "JPEG-LS Lossless",
    JPEG_2000: "JPEG 2000 Lossless",
}
"""Transfer syntaxes that are read (DICOM PS3.6, table A-1). Lossy ones are left out, whose voxels are no
measurements."""

PREAMBLES = {
    b"MZ": "a Windows program",
    b"\x7fELF": "a Linux program",
    b"\xfe\xed\xfa": "a macOS program",
    b"\xce\xfa\xed\xfe": "a macOS program",
    b"\xcf\xfa\xed\xfe": "a macOS program",
    b"\xca\xfe\xba\xbe": "a macOS or Java program",
    b"#!": "a script",
    b"%PDF": "a PDF",
    b"PK": "a zip archive",
    b"<": "a web page",
}
"""Starts of the 128 free bytes before DICM that make one file two (CVE-2019-11687)."""


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
    """Turn whatever goes wrong inside into an ImageError that says where, and forget the cause, whose text may quote
    the header: it is not even kept as the error's context."""
    with _without_context(), _converted(where):
        yield


@contextmanager
def _converted(where: str):
    try:
        with quiet():
            yield
        return
    except TheratwinError:
        raise
    except Exception as error:  # RecursionError and MemoryError are among them
        kind = type(error).__name__
    found, do = f"something unreadable ({kind})", "export the series again, or leave this file out"
    raise ImageError(describe(where, found, "an intact DICOM object", do))


@contextmanager
def _without_context():
    """A context manager of its own, as a new error raised in leaving one always has the old one as its context."""
    try:
        yield
    except TheratwinError as error:
        error.__cause__ = error.__context__ = None
        raise


def open_header(path, where: str):
    """The data set without its pixels, after the size, syntax and skeleton checks.

    Raises:
        ImageError: whatever is wrong with it.
    """
    with only_image_errors(where):
        return _parsed(path, where, stop_before_pixels=True)


def open_pixels(path, where: str):
    """The whole data set, after the same checks, once rows x columns x frames x bits agree with the stored length.

    Raises:
        ImageError: whatever is wrong with it.
    """
    with only_image_errors(where):
        dataset = _parsed(path, where, stop_before_pixels=False)
        check_pixels(dataset, where)
        return dataset


def polyglot(dataset) -> str | None:
    """What else a file is by its preamble ("a Windows program"), for a note; its preamble is never written out."""
    preamble = getattr(dataset, "preamble", None) or b""
    kinds = [kind for start, kind in PREAMBLES.items() if preamble.lstrip(b" \r\n\t").startswith(start)]
    return kinds[0] if kinds else ("a PDF" if b"%PDF" in preamble else None)


def _parsed(path, where: str, *, stop_before_pixels: bool):
    import pydicom

    source, syntax = _checked(path, where)
    dataset = _named(pydicom.dcmread(source, stop_before_pixels=stop_before_pixels), path)
    if str(dataset.file_meta.get("TransferSyntaxUID", "")) != syntax:
        raise ImageError(describe(where, "two transfer syntaxes", "one", "leave this file out"))
    if not dataset.get("SOPClassUID"):
        raise ImageError(describe(f"{where}, SOPClassUID", "nothing", "a UID", "leave this file out, or repair it"))
    return dataset


def _checked(path, where: str):
    """What pydicom may open (the path, or inflated bytes) and the transfer syntax it will find there."""
    path = Path(path)
    size = path.stat().st_size
    if size > MAX_FILE_BYTES:
        raise ImageError(describe(where, "a file over 2 GiB", "at most 2 GiB", "split the series into slices"))
    with path.open("rb") as stream:
        view = Bytes(stream, size)
        syntax, dataset_at = transfer_syntax(view, where)
        _check_syntax(syntax, where)
        if syntax != DEFLATED:
            walk(view, dataset_at, where, implicit=syntax == IMPLICIT, little=syntax != BIG_ENDIAN)
            return path, syntax
    source = inflated(path, dataset_at, where)
    view = Bytes(source, source.getbuffer().nbytes)
    syntax, dataset_at = transfer_syntax(view, where)
    walk(view, dataset_at, where, implicit=False)
    source.seek(0)
    return source, syntax


def _check_syntax(syntax: str, where: str) -> None:
    if syntax not in SYNTAXES:
        do = "convert it to uncompressed first, for example with gdcmconv --raw"
        found = f"transfer syntax {syntax}" if syntax.replace(".", "").isdigit() else "a missing or malformed syntax"
        raise ImageError(describe(where, found, f"one of {', '.join(SYNTAXES.values())}", do))


def _named(dataset, path):
    """The data set with what an anonymiser blanked: SOP class from the file meta, one series UID for the folder.

    Such files still make a series (positions are checked later), but without a frame of reference no mask joins them.
    """
    if not dataset.get("SOPClassUID") and dataset.file_meta.get("MediaStorageSOPClassUID"):
        dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID
    if not dataset.get("SeriesInstanceUID"):
        digest = hashlib.sha256(os.fsencode(Path(path).parent)).hexdigest()
        dataset.SeriesInstanceUID = f"2.25.{int(digest[:30], 16)}"
    return dataset
