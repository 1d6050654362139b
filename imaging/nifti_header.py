"""The first bytes of a NIfTI file, read by ourselves before SimpleITK parses it.

SimpleITK fills what a cut file lacks with zeros, turns NaN into zero, says nothing of either, and allocates whatever
the header asks for; all three are settled here. Layout: nifti1.h and nifti2.h of the NIfTI-1.1 and NIfTI-2 standards
(recalled).
"""

from __future__ import annotations

import gzip
import zlib
from dataclasses import dataclass
from math import prod
from pathlib import Path
from struct import unpack_from
from typing import NoReturn

import numpy as np

from dose.errors import ImageError, describe
from imaging.deflated import check_expansion

MAX_FILE_BYTES = 2 * 1024**3
"""Larger files are refused before they are parsed (ENGINEERING notes, section 6)."""

MAX_OFFSET_BYTES = 2**20
"""Voxels begin within this: header extensions are short texts."""

SUFFIXES = (".nii", ".nii.gz")
LAYOUTS = {348: ("8h", 40, "hh", 70, "f", 108), 540: ("8q", 16, "hh", 12, "q", 168)}
"""Header length to format and position of dim, of datatype and bitpix, and of vox_offset."""

TYPES = {2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8"}
"""Data type codes of real numbers."""

_CHUNK = 2**20


@dataclass(frozen=True)
class NiftiHeader:
    """Size along each axis (x first), where the voxels begin, the bytes of all, and their numpy type."""

    shape: tuple[int, ...]
    offset: int
    voxel_bytes: int
    kind: np.dtype


def checked_header(path) -> NiftiHeader:
    """The header of a file that is whole and not too large.

    Raises:
        ImageError: missing, too large, not NIfTI, cut short, or with more voxels than its size allows.
    """
    path = Path(path)
    if not path.is_file() or not path.name.lower().endswith(SUFFIXES):
        _refuse("no such file, or another kind", "a .nii or .nii.gz file", "check the path")
    stored = path.stat().st_size
    if stored > MAX_FILE_BYTES:
        _refuse("a file over 2 GiB", "at most 2 GiB", "split it into one file a time point")
    try:
        with _opened(path) as stream:
            header = _header(stream.read(540))
            check_expansion(stored, header.offset + header.voxel_bytes, "nifti file")
            stream.seek(header.offset)
            trouble = _trouble(stream, header)
    except (OSError, EOFError, zlib.error):
        trouble, header = "a damaged file", None
    if trouble or header is None:
        _refuse(trouble, "as many finite voxels as its header says", "export it again, with zeros for what is unknown")
    return header


def _opened(path: Path):
    return gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb")


def _trouble(stream, header: NiftiHeader) -> str:
    """What is wrong with the voxels, "" where nothing is."""
    left = header.voxel_bytes
    while left > 0:
        chunk = stream.read(min(left, _CHUNK))
        left -= len(chunk)
        if not chunk or (left and len(chunk) % 8):
            return "a file that is cut short"
        if header.kind.kind == "f" and not np.isfinite(np.frombuffer(chunk, header.kind)).all():
            return "voxels that are not finite"
    return ""


def _header(head: bytes) -> NiftiHeader:
    orders = [o for o in "<>" if len(head) >= 348 and unpack_from(f"{o}i", head)[0] in LAYOUTS]
    if not orders:
        _refuse("something that is not NIfTI", "NIfTI-1 or -2", "export it again")
    order, length = orders[0], unpack_from(f"{orders[0]}i", head)[0]
    dim_form, dim_at, bit_form, bit_at, offset_form, offset_at = LAYOUTS[length]
    if len(head) < min(length, 540):
        _refuse("a header cut short", f"{length} bytes", "copy or export it again")
    axes, *sizes = unpack_from(order + dim_form, head, dim_at)
    code, bits = unpack_from(order + bit_form, head, bit_at)
    (offset,) = unpack_from(order + offset_form, head, offset_at)
    shape = tuple(int(size) for size in sizes[: max(0, min(axes, 7))])
    if code not in TYPES or bits != 8 * np.dtype(TYPES[code]).itemsize:
        _refuse("voxels that are no real numbers", "integers or floats", "export it again")
    if not (1 <= axes <= 7 and min(shape) > 0 and 0 <= offset <= MAX_OFFSET_BYTES):
        _refuse("sizes that no image has", "1 to 7 axes of one or more voxels", "export it again")
    kind = np.dtype(order + TYPES[code])
    return NiftiHeader(shape, int(offset), prod(shape) * kind.itemsize, kind)


def _refuse(found: str, expected: str, do: str) -> NoReturn:
    raise ImageError(describe("nifti file", found, expected, do))
