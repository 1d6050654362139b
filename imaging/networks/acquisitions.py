"""Simulated SPECT acquisitions that the SPECT networks share: expected counts and the truth, on one small grid.

A patient of `imaging.networks.patients` with raised arms stands before the virtual camera; the field holds the abdomen
or the head and neck. Counts are expectations, by primary and scatter, so that each network draws its own noise, scan
time and views. Kept on disk by seed.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import label

from dose.learning.cases import Case, cases_folder, kept
from imaging.geometry import Volume
from imaging.networks.patients import assigned, concentrations, patient
from imaging.projections import Projections
from imaging.reconstruct import attenuation_map, collimator_response
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.reconstruction import Measured, reconstruct
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.camera import camera, sensitivity_cps_per_MBq, windows
from imaging.scanner.protocol import Protocol, contour_radii_mm
from imaging.scanner.rates import count_rates
from imaging.scanner.reference_scan import without_arms

SHAPE = (64, 80, 88)
"""Voxels of the field, z y x; the detector has rows and columns of z and x."""

HALF_WIDTH_mm = 200.0
"""Arms are raised: what lies farther from the middle is left out."""

FIELDS = ("kidney_left", "kidney_left", "kidney_left", "parotid_left")
"""The field is centred about one of these along the body; one in four is of the head and neck."""

AIR_HU = -1000.0

NOMINAL_MBq = 2000.0
"""Activity in the whole body for the expected counts, which are linear in it (no dead time here). The field holds its
share: some half of it with the abdomen, a tenth with the head and neck."""

LEAST_PART = 0.5
"""Pieces of a slice of body smaller than this part of the largest are arms."""


@dataclass(frozen=True)
class Physics:
    """What may differ between training and test.

    Attributes:
        line_keV: the peak window that is simulated, with its scatter windows.
        tracers: one of which uptake is drawn for.
        views: of a full scan.
    """

    nuclide: str = "177Lu"
    collimator: str = "SY-ME"
    line_keV: float = 208.0
    tracers: tuple[str, ...] = ("psma", "sstr")
    voxel_mm: float = 6.0
    views: int = 120
    frame_s: float = 20.0
    margin_mm: float = 20.0
    intrinsic_fwhm_mm: float | None = None


@dataclass(frozen=True)
class Acquisition:
    """One simulated scan.

    Attributes:
        primary, scatter: expected counts of `NOMINAL_MBq`, [window, view, v, u], windows as in `empty`.
        activity: Bq/mL of it on the grid of the reconstruction.
        ct: HU on the same grid.
        labels: on the same grid, indices of `names`.
        empty: the acquisition without its counts.
    """

    primary: Float[np.ndarray, "window view v u"]
    scatter: Float[np.ndarray, "window view v u"]
    activity: Volume
    ct: Volume
    labels: np.ndarray
    names: tuple[str, ...]
    empty: Projections
    physics: Physics

    @property
    def expected(self) -> np.ndarray:
        """Counts of primary and scatter, [window, view, v, u]."""
        return self.primary + self.scatter

    def mask(self, *names: str) -> Bool[np.ndarray, "z y x"]:
        """Where any of these labels is; empty where the field holds none."""
        return np.isin(self.labels, [self.names.index(name) for name in names if name in self.names])

    def counted(self, scale: float, random: np.random.Generator) -> Projections:
        """Poisson counts of `scale` times the nominal activity or time."""
        return self.empty.with_counts(random.poisson(scale * self.expected).astype(np.float32))


def acquisition(seed: int, physics: Physics = Physics()) -> Acquisition:
    """The acquisition of a seed: simulated in some ten seconds, then read from disk."""
    depends_on = {name: getattr(physics, name) for name in physics.__dataclass_fields__}
    return _unpacked(kept(cases_folder("spect", depends_on), str(seed), lambda: _simulated(seed, physics)), physics)


def field_of_view(seed: int, voxel_mm: float) -> Anatomy:
    """The patient within the field, in air, on a grid of SHAPE."""
    anatomy = trunk(without_arms(patient(seed, voxel_mm), HALF_WIDTH_mm))
    return placed(anatomy, np.argwhere(anatomy.mask(assigned(seed, "field", FIELDS))).mean(axis=0), seed)


def trunk(anatomy: Anatomy) -> Anatomy:
    """The anatomy without the small pieces of body of each slice: raised arms leave no stumps beside it, legs stay."""
    labels, ct = anatomy.labels.copy(), anatomy.ct.array.copy()
    for k, plane in enumerate(labels):
        pieces, number = cast(tuple[np.ndarray, int], label(plane > 0))
        sizes = np.bincount(pieces.ravel(), minlength=number + 1)
        aside = (sizes < LEAST_PART * sizes[1:].max(initial=1))[pieces] | (pieces == 0)
        labels[k][aside], ct[k][aside] = 0, AIR_HU
    return replace(anatomy, labels=labels, ct=anatomy.ct.with_array(ct))


def placed(anatomy: Anatomy, about_zyx, seed: int) -> Anatomy:
    """The anatomy cut or filled up with air to SHAPE, about the body's middle and, with a shift, a height."""
    shift = np.random.default_rng([seed, 3]).integers(-6, 7)
    body = np.argwhere(anatomy.labels > 0)
    middle = np.array([about_zyx[0] + shift, *(0.5 * (body.min(axis=0) + body.max(axis=0))[1:])])
    first = np.round(middle - np.array(SHAPE) / 2).astype(int)
    affine = anatomy.affine.copy()
    affine[:3, 3] = anatomy.ct.to_lps_mm(first[::-1])
    labels = _window(anatomy.labels, first, 0)
    ct = Volume(_window(anatomy.ct.array, first, AIR_HU), affine)
    return replace(anatomy, labels=labels, ct=ct)


def protocol(anatomy: Anatomy, physics: Physics) -> Protocol:
    """A dual-head acquisition on the body's contour, its field that of the anatomy."""
    chosen = tuple(w for w in windows(physics.nuclide) if w.line_keV and abs(w.line_keV - physics.line_keV) < 1)
    centre = anatomy.ct.to_lps_mm((np.array(SHAPE[::-1]) - 1) / 2)
    plain = Protocol(
        physics.nuclide,
        frame_s=physics.frame_s,
        energy_windows=chosen,
        views=physics.views,
        matrix=(SHAPE[0], SHAPE[2]),
        pixel_mm=physics.voxel_mm,
        centre_lps_mm=tuple(float(c) for c in centre),
    )
    radii = contour_radii_mm(anatomy.ct, plain, physics.margin_mm)
    return replace(plain, radius_mm=tuple(float(r) for r in radii))


def image(counts: Projections, seen: Acquisition, settings: Settings | None = None, scatter="tew") -> np.ndarray:
    """OSEM of projections in Bq/mL on the acquisition's grid, with attenuation, response and scatter correction.

    Projections may have fewer views than the acquisition; `scatter` may be an estimate (`imaging.reconstruct.scatter`).
    """
    spec, line_keV = camera(seen.physics.collimator), seen.physics.line_keV
    response = collimator_response(spec.collimator, line_keV, spec.intrinsic_fwhm_at(line_keV))
    stated = Measured(
        cps_per_MBq=sensitivity(seen),
        response=response,
        attenuation_per_mm=attenuation_map(seen.ct, counts.grid(), line_keV),
        scatter=scatter,
        scatter_fwhm_mm=15.0,
        nuclide=seen.physics.nuclide,
        line_keV=line_keV,
    )
    made = reconstruct(counts, stated, settings or Settings(4, 8)).volume.array
    low = (made.shape[1] - SHAPE[1]) // 2
    return made[:, low : low + SHAPE[1]]


def sensitivity(seen: Acquisition) -> float:
    """Counts per second and MBq in the peak window without attenuation or scatter: the simulation's own."""
    peak = seen.empty.windows[seen.empty.window("peak", seen.physics.line_keV)]
    return sensitivity_cps_per_MBq(camera(seen.physics.collimator), seen.physics.nuclide, peak)


def tracer_of(seed: int, physics: Physics) -> str:
    """The tracer of a seed's acquisition."""
    return assigned(seed, "tracer", physics.tracers)


def drawn_activity(anatomy: Anatomy, seed: int, physics: Physics) -> Volume:
    """Bq/mL in the field, the whole body holding `NOMINAL_MBq`."""
    whole = patient(seed, physics.voxel_mm)
    uptake = concentrations(whole, tracer_of(seed, physics), seed)
    Bq_per_mL = uptake * (NOMINAL_MBq * 1e6 / float((uptake * whole.counts).sum() * whole.voxel_mL))
    return anatomy.ct.with_array(Bq_per_mL[anatomy.labels].astype(np.float32))


def _simulated(seed: int, physics: Physics) -> Case:
    anatomy = field_of_view(seed, physics.voxel_mm)
    activity = drawn_activity(anatomy, seed, physics)
    spec = camera(physics.collimator)
    if physics.intrinsic_fwhm_mm is not None:
        spec = replace(spec, intrinsic_fwhm_mm=physics.intrinsic_fwhm_mm)
    empty = protocol(anatomy, physics).acquisition()
    rates = count_rates(activity, anatomy.ct, empty, spec, oversample=1)
    per_view = np.asarray(empty.frame_s)[None, :, None, None]
    return {
        "primary": (rates.primary * per_view).astype(np.float16),
        "scatter": (rates.scatter * per_view).astype(np.float16),
        "activity": activity.array.astype(np.float32),
        "labels": anatomy.labels.astype(np.uint8),
        "hu": anatomy.ct.array.astype(np.float32),
        "affine": anatomy.affine,
        "radii_mm": np.asarray(empty.radii_mm),
        "names": np.array(json.dumps(anatomy.names)),
    }


def _unpacked(case: Case, physics: Physics) -> Acquisition:
    ct = Volume(case["hu"], case["affine"])
    names = tuple(json.loads(str(case["names"])))
    labels = case["labels"]
    primary, scatter = (case[name].astype(np.float32) for name in ("primary", "scatter"))
    shown = Anatomy(labels, names, np.ones(len(names)), ct)
    made = replace(protocol(shown, physics), radius_mm=tuple(float(r) for r in case["radii_mm"]))
    return Acquisition(
        primary, scatter, ct.with_array(case["activity"]), ct, labels, names, made.acquisition(), physics
    )


def _window(array: np.ndarray, first: np.ndarray, fill: float) -> np.ndarray:
    """The array from an index on, of SHAPE, filled up with a value where it holds nothing."""
    out = np.full(SHAPE, fill, dtype=array.dtype)
    here = [slice(max(0, a), min(n, a + size)) for a, n, size in zip(first, array.shape, SHAPE)]
    there = [slice(s.start - a, s.stop - a) for s, a in zip(here, first)]
    out[tuple(there)] = array[tuple(here)]
    return out
