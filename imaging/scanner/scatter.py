"""Scatter as an effective source: where photons scatter towards a view, and into which window.

Of photons emitted at x', those that scatter once at x towards the detector's direction n number

    rho(x) mu_C(E) exp(-mu(E) r) / (4 pi r^2)  4 pi p(theta)  P(E'(theta)),   r = |x - x'|, cos theta = n . (x - x') / r

for each isotropic emission (rho: density over water's; p: Klein and Nishina; P: chance to be counted in the window).
The way to x counts as water, that from x to the detector is the projector's, by the patient's own attenuation. After
Frey and Tsui's effective source (IEEE NSS/MIC 1996; recalled), but with the analytic kernel of a single scattering.

In the azimuth of n the kernel is a Fourier series, so the source of any view is a sum of 2 HARMONICS + 1 images.
Photons scattered more than once come from the same kernel applied twice without direction, in the amounts of
`data/multiple_scatter.csv`, which `transport` gave for a cylinder of water. This is a model, not a Monte Carlo: it
errs where the body is far from water-like, and it has no coherent scatter.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from jaxtyping import Float
from scipy.fft import irfftn, next_fast_len, rfftn

from dose.provenance import load_table
from imaging.projections import EnergyWindow
from imaging.scanner.camera import CameraSpec
from imaging.scanner.photons import attenuation_per_mm, scattered_keV, scattering_per_sr

HARMONICS = 6
"""Terms of the azimuth's Fourier series: the forward peak of a 20 % window at 440 keV is then right to 3 %."""

DIRECTIONS = 24
"""Azimuths at which the kernel is taken for its series."""

REACH_mm = 320.0
"""Ways longer than this are left out: 1.5 % of the photons of 208 keV."""

PARTS = 8
"""Each way along a voxel's side in which the kernel's fall with the distance is averaged."""

COSINES, SINES = np.linspace(-1, 1, 81), np.linspace(0, 1, 41)
"""Nodes of the angular factor and of its series: straight between them."""


def harmonics(angles_deg) -> Float[np.ndarray, "view term"]:
    """Factors of the series at the views: 1, cos a, sin a, cos 2a, ..."""
    angle = np.deg2rad(np.asarray(angles_deg, float))[:, None] * np.arange(1, HARMONICS + 1)
    pairs = np.stack([np.cos(angle), np.sin(angle)], axis=-1).reshape(len(angle), -1)
    return np.concatenate([np.ones((len(angle), 1)), pairs], axis=1)


@cache
def first_collisions(energy_keV: float, voxel_mm: float, reach: tuple[int, int, int]) -> np.ndarray:
    """Compton scatterings per emitted photon in each voxel around it, in water: [2 reach + 1] along z, y, x."""
    mu, compton = attenuation_per_mm("water", energy_keV), attenuation_per_mm("water", energy_keV, "compton")
    inside = (np.arange(PARTS) + 0.5) / PARTS - 0.5
    squares = [(np.arange(-n, n + 1)[:, None] + inside) ** 2 for n in reach]
    total = np.zeros([2 * n + 1 for n in reach])
    for part in np.ndindex(PARTS, PARTS, PARTS):
        z, y, x = (s[:, k] for s, k in zip(squares, part, strict=True))
        r = voxel_mm * np.sqrt(z[:, None, None] + y[:, None] + x)
        total += np.exp(-mu * r) / (4 * np.pi * r**2)
    return compton * total * (voxel_mm / PARTS) ** 3


def _towards(spec: CameraSpec, energy_keV: float, window: EnergyWindow) -> np.ndarray:
    """Chance of being scattered to the camera and counted, by cosine, over that of an isotropic emission."""
    after = scattered_keV(energy_keV, COSINES)
    counted = np.array([spec.probability(float(e), window) for e in after])
    return 4 * np.pi * scattering_per_sr(energy_keV, COSINES) * counted


@cache
def _ways(reach: tuple[int, int, int]):
    """Sine of each way's angle with the axis [z, y, x], and the series' terms at its own azimuth [term, 1, y, x]."""
    z, y, x = (axis.astype(np.float32) for axis in np.meshgrid(*(np.arange(-n, n + 1.0) for n in reach), indexing="ij"))
    across = np.hypot(x, y)
    terms = harmonics(np.rad2deg(np.arctan2(x[0], y[0])).ravel()).T.reshape(-1, 1, *x.shape[1:])
    return across / np.maximum(np.hypot(across, z), 1e-6), terms.astype(np.float32)


def kernel(spec: CameraSpec, energy_keV: float, window: EnergyWindow, voxel_mm: float, reach) -> np.ndarray:
    """The kernel's series in the azimuth, [2 HARMONICS + 1, z, y, x]: counted photons per emission and rho = 1.

    A way at angle chi to the axis and azimuth phi has cos theta = sin chi cos(a - phi), so that the term of order m is
    its coefficient, a function of sin chi alone, times cos(m phi) or sin(m phi).
    """
    towards = _towards(spec, energy_keV, window)
    sine, terms = _ways(reach)
    turn = 2 * np.pi * np.arange(DIRECTIONS) / DIRECTIONS
    angular = np.interp(SINES[:, None] * np.cos(turn), COSINES, towards)
    made = []
    for k, term in enumerate(terms):
        order = (k + 1) // 2
        coefficient = (angular * np.cos(order * turn)).mean(axis=1) * (1 if k == 0 else 2)
        made.append(np.interp(sine, SINES, coefficient) * term)
    found = np.stack(made)
    centre = (slice(None), *reach)
    found[centre] = 0.0
    found[(0, *reach)] = np.trapezoid(towards, COSINES) / 2
    return (found * first_collisions(energy_keV, voxel_mm, reach)).astype(np.float32)


def _folded(image: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """The image convolved with a kernel of odd shape, on the image's own grid; [..., z, y, x]."""
    shape = [next_fast_len(n + k - 1, real=True) for n, k in zip(image.shape, kernel.shape[-3:], strict=True)]
    spectrum = np.asarray(rfftn(image, shape)) * np.asarray(rfftn(kernel, shape, axes=(-3, -2, -1)))
    full = np.asarray(irfftn(spectrum, shape, axes=(-3, -2, -1)))
    keep = tuple(slice(k // 2, k // 2 + n) for n, k in zip(image.shape, kernel.shape[-3:], strict=True))
    return full[(..., *keep)]


def reach_voxels(shape, voxel_mm: float) -> tuple[int, int, int]:
    """Half the kernel's side: as far as photons are followed, and no farther than the image is long."""
    z, y, x = (int(min(n - 1, REACH_mm // voxel_mm)) for n in shape)
    return z, y, x


def single(decays, density, spec: CameraSpec, lines, window: EnergyWindow, voxel_mm: float) -> np.ndarray:
    """Effective source of photons scattered once, as a series in the view's azimuth, [2 HARMONICS + 1, z, y, x].

    Args:
        decays: per second and voxel, [z, y, x].
        density: relative to water, [z, y, x].
        lines: photons of a decay.
        voxel_mm: cubic.
    """
    reach = reach_voxels(decays.shape, voxel_mm)
    above = [line for line in lines if line.energy_keV > window.lower_keV]
    made = np.zeros((2 * HARMONICS + 1, *(2 * n + 1 for n in reach)), dtype=np.float32)
    for line in above:
        made += np.float32(line.per_decay) * kernel(spec, line.energy_keV, window, voxel_mm, reach)
    return density * _folded(decays, made) if above else np.zeros((len(made), *decays.shape), np.float32)


def twice(emission, density, energy_keV: float, voxel_mm: float) -> Float[np.ndarray, "z y x"]:
    """Second collisions per second and voxel, by the first ones' kernel applied twice."""
    first = first_collisions(energy_keV, voxel_mm, reach_voxels(emission.shape, voxel_mm))
    return density * _folded(density * _folded(emission, first), first)


def multiple_weight(spec: CameraSpec, energy_keV: float, window: EnergyWindow) -> float:
    """Counts in the window per second collision, of photons scattered twice and more often."""
    lines, fractions, weights = _multiple()
    here = [np.interp(np.log(energy_keV), np.log(lines), column) for column in weights.T]
    counted = [spec.probability(float(x * energy_keV), window) for x in fractions]
    return float(np.dot(here, counted))


@cache
def _multiple():
    rows = load_table("imaging", "multiple_scatter.csv")
    lines = np.unique([float(r["line_keV"]) for r in rows])
    fractions = np.unique([float(r["energy_fraction"]) for r in rows])
    at = {(float(r["line_keV"]), float(r["energy_fraction"])): float(r["weight"]) for r in rows}
    return lines, fractions, np.array([[at[line, x] for x in fractions] for line in lines])
