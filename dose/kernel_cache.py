"""Voxel kernels kept on disk, so that a geometry is computed once.

The name of a file is a hash of everything that the kernel depends on: the point kernel's own numbers, the geometry and
the method's version. A file that cannot be read, or whose numbers do not fit the hash written with them, is never
used: the kernel is made again. Files lie in $XDG_CACHE_HOME/theratwin/kernels, else in ~/.cache/theratwin/kernels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
import zipfile
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from dose import kernels
from dose.kernels import VoxelKernel
from dose.point_energies import PointEnergies

log = logging.getLogger(__name__)

VERSION = 1
"""Rises with every change of the method that changes a kernel's numbers."""

LIMIT_BYTES = 2**30
"""The folder's size, above which the files unused for longest go."""

IN_MEMORY = 64
"""Kernels held by a running program."""

UNREADABLE = (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile)
"""What numpy raises for a file that is cut off, damaged or something else altogether."""


def folder() -> Path:
    """Where kernels are kept; made when one is written."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "theratwin" / "kernels"


def cached_kernel(
    point: PointEnergies,
    spacing_mm: Sequence[float],
    *,
    density_g_cm3: float | None = None,
    most_voxels: Sequence[int] | None = None,
    parts: Sequence[str] = kernels.PARTS,
) -> VoxelKernel:
    """As `dose.kernels.voxel_kernel`, from memory or disk where it was made before; its arrays are read-only.

    Raises:
        InputError: as there.
    """
    edges = kernels.checked_spacing(spacing_mm)
    density = float(point.density_g_cm3 if density_g_cm3 is None else density_g_cm3)
    most = None if most_voxels is None else tuple(int(n) for n in most_voxels)
    return _kept(_Request(point, edges, density, most, tuple(parts)), str(folder()))


class _Request:
    """What a kernel depends on, equal to another of the same key."""

    def __init__(self, point: PointEnergies, edges, density: float, most, parts: tuple[str, ...]):
        self.point, self.edges, self.density, self.most, self.parts = point, edges, density, most, parts
        settings = [VERSION, kernels.POINTS_LOG2, kernels.NEAR_VOXELS, kernels.REACH_SHARE, edges, density, most, parts]
        digest = hashlib.sha256(json.dumps([*settings, point.alpha_MeV, point.emitted_MeV]).encode())
        for array in (point.radius_g_cm2, point.electron_MeV, point.photon_MeV):
            digest.update(np.ascontiguousarray(array, dtype=float).tobytes())
        self.key = digest.hexdigest()

    def __eq__(self, other):
        return isinstance(other, _Request) and self.key == other.key

    def __hash__(self):
        return hash(self.key)

    def made(self) -> VoxelKernel:
        return kernels.voxel_kernel(
            self.point, self.edges, most_voxels=self.most, density_g_cm3=self.density, parts=self.parts
        )


@lru_cache(maxsize=IN_MEMORY)
def _kept(request: _Request, where: str) -> VoxelKernel:
    path = Path(where) / f"{request.key[:32]}.npz"
    found = _read(path, request) if path.is_file() else None
    if found is None:
        found = request.made()
        _write(path, found)
    for array in (found.electron_MeV, found.photon_MeV):
        array.setflags(write=False)
    return found


def _checksum(electron: np.ndarray, photon: np.ndarray) -> str:
    return hashlib.sha256(electron.tobytes() + photon.tobytes()).hexdigest()


def _read(path: Path, request: _Request) -> VoxelKernel | None:
    try:
        with path.open("rb") as raw, np.load(raw, allow_pickle=False) as file:
            electron, photon, written = file["electron_MeV"], file["photon_MeV"], str(file["checksum"])
        if written != _checksum(electron, photon):
            raise ValueError("its numbers are not those that were written")
        path.touch()
    except UNREADABLE as error:
        log.warning("kernel cache: %s cannot be used (%s); the kernel is computed again", path, error)
        return None
    point = request.point
    return VoxelKernel(request.edges, request.density, point.alpha_MeV, electron, photon, point.emitted_MeV)


def _write(path: Path, kernel: VoxelKernel) -> None:
    """Whole or not at all; a folder that cannot be written only costs time."""
    electron, photon = kernel.electron_MeV, kernel.photon_MeV
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".tmp", delete=False) as file:
            np.savez(file, electron_MeV=electron, photon_MeV=photon, checksum=_checksum(electron, photon))
        Path(file.name).replace(path)
        _prune(path.parent)
    except OSError as error:
        log.warning("kernel cache: %s cannot be written (%s)", path, error)


def _prune(where: Path) -> None:
    files = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in where.glob("*.npz")), reverse=True)
    total = 0
    for _, size, path in files:
        total += size
        if total > LIMIT_BYTES:
            path.unlink(missing_ok=True)
