"""Convolution of maps with kernels that are even along every axis, by real fast Fourier transforms.

A voxel kernel of a homogeneous medium is its own mirror image, so one octant holds all of it and its spectrum is
real: the type-1 cosine transform of the octant, an eighth of the work of a transform of the whole (Martucci, IEEE
Trans Signal Process 1994;42:1038, recalled). Transforms of the map skip rows that are only padding, axis by axis.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import fft

from dose.errors import InputError, describe

PRECISIONS = {"single": np.float32, "double": np.float64}
"""Floats of the transforms. Single is good to about 1e-6 of the map's greatest value, not of each voxel's own."""

WORKERS = -1
"""Threads of the transforms: all cores."""


def convolve(source, octant, precision: str = "single") -> np.ndarray:
    """`source` [z, y, x] convolved with the even kernel whose octant [z, y, x] begins at its centre; same shape.

    Nothing comes from outside the map, and what a kernel carries out of it is lost.

    Raises:
        InputError: not three axes each, or an unknown precision.
    """
    return convolve_sum([source], [[octant]], precision)[0]


def convolve_sum(sources: Sequence, octants: Sequence[Sequence], precision: str = "single") -> list[np.ndarray]:
    """For every target t the sum over sources s of source s convolved with `octants[t][s]`: one transform a map.

    `octants[t][s]` may be None: nothing goes from s to t. A kernel that stands in several places is transformed once.

    Raises:
        InputError: as `convolve`.
    """
    real = _float(precision)
    maps = [_three_axes("source", source, real) for source in sources]
    shape = maps[0].shape
    given = {id(k): k for row in octants for k in row if k is not None}
    kernels = {name: _three_axes("kernel", k, real)[_within(shape)] for name, k in given.items()}
    lengths = _lengths(shape, [k.shape for k in kernels.values()])
    spectra = [_forward(each, lengths) for each in maps]
    transfers = {name: _transfer(k, lengths) for name, k in kernels.items()}
    rows = [[transfers.get(id(k)) for k in row] for row in octants]
    return [_inverse(_filtered(spectra, row, lengths), shape, lengths) for row in rows]


def _float(precision: str):
    if precision not in PRECISIONS:
        raise InputError(describe("precision", repr(precision), '"single" or "double"', "correct the word"))
    return PRECISIONS[precision]


def _three_axes(field: str, values, real) -> np.ndarray:
    array = np.asarray(values, dtype=real)
    if array.ndim != 3 or 0 in array.shape:
        raise InputError(describe(field, f"shape {array.shape}", "three axes [z, y, x], none empty", "reshape it"))
    return array


def _within(shape) -> tuple[slice, ...]:
    """What of a kernel can reach from one voxel of the map to another."""
    return tuple(slice(0, n) for n in shape)


def _lengths(shape, kernels) -> tuple[int, ...]:
    """Even lengths, quick to transform, at which a kernel's reach does not come round to the other side of the map."""
    reach = np.max([np.zeros(3, int), *(np.array(k) - 1 for k in kernels)], axis=0)
    return tuple(2 * fft.next_fast_len(-(-(n + r) // 2), real=True) for n, r in zip(shape, reach))  # pyright: ignore


def _forward(values: np.ndarray, lengths) -> np.ndarray:
    spectrum = fft.rfft(values, lengths[2], axis=2, workers=WORKERS)
    spectrum = fft.fft(spectrum, lengths[1], axis=1, workers=WORKERS)
    return np.asarray(fft.fft(spectrum, lengths[0], axis=0, workers=WORKERS))


def _inverse(spectrum: np.ndarray, shape, lengths) -> np.ndarray:
    spectrum = np.asarray(fft.ifft(spectrum, axis=0, overwrite_x=True, workers=WORKERS))[: shape[0]]
    spectrum = np.asarray(fft.ifft(spectrum, axis=1, overwrite_x=True, workers=WORKERS))[:, : shape[1]]
    return np.asarray(fft.irfft(spectrum, lengths[2], axis=2, workers=WORKERS))[:, :, : shape[2]]


def _filtered(spectra, transfers, lengths) -> np.ndarray:
    total = np.zeros_like(spectra[0])
    for spectrum, transfer in zip(spectra, transfers, strict=True):
        if transfer is not None:
            _add_product(total, spectrum, transfer, lengths)
    return total


def _transfer(octant: np.ndarray, lengths) -> np.ndarray:
    """The kernel's real spectrum on the octant of frequencies, [z, y, x] each of half a length and one."""
    padded = np.zeros([n // 2 + 1 for n in lengths], octant.dtype)
    padded[tuple(slice(0, n) for n in octant.shape)] = octant
    return np.asarray(fft.dctn(padded, type=1, overwrite_x=True, workers=WORKERS))


def _add_product(total: np.ndarray, spectrum: np.ndarray, transfer: np.ndarray, lengths) -> None:
    """Add a spectrum times an even real one held on its octant, mirrored along the first two axes."""
    halves = [((slice(0, n // 2 + 1), slice(None)), (slice(n // 2 + 1, n), slice(n // 2 - 1, 0, -1))) for n in lengths]
    for z, kz in halves[0]:
        for y, ky in halves[1]:
            total[z, y] += spectrum[z, y] * transfer[kz, ky]
