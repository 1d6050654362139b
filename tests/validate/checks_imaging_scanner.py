"""The virtual gamma camera against Monte Carlo, the textbook and its own calibration."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.validate import check, close

MODEL = "own photon Monte Carlo in a water cylinder (imaging.scanner.transport)"
RECALLED_LEHR_cps_per_MBq = 91.0
"""Siemens LEHR, 9.5 mm crystal, 202 cpm/uCi by the maker's data sheet: recalled, not looked up."""

RECALLED_ME_cps_per_MBq = (5.0, 11.0)


OWN_WINDOWS = "Ogawa 1991; windows and true scatter are both the virtual camera's"


def _spec(collimator="SY-ME"):
    from imaging.scanner import camera

    return camera(collimator, tail_fraction=0.0, background_cps_per_keV=0.0, dead_time_us=0.0)


def _protocol(**changes):
    from imaging.scanner import Protocol

    given = {"views": 60, "matrix": (64, 64), "pixel_mm": 6.4, "radius_mm": 200.0, "frame_s": 20.0}
    return Protocol("177Lu", **{**given, **changes})


@cache
def _rates():
    """A cylinder of the Monte Carlo's size seen from two sides."""
    from imaging.scanner import calibration_cylinder, count_rates

    water = calibration_cylinder(500.0, radius_mm=110.0, voxel_mm=3.2)
    return count_rates(water.activity_Bq_per_mL, water.ct, _protocol(views=2).acquisition(), _spec())


def _monte_carlo(window):
    """Scatter over primary in a window, of the 208 keV photons alone."""
    from imaging.scanner.transport import water_cylinder

    spec, line, bins = _spec(), 208.37, 100
    found = water_cylinder(line, np.random.default_rng(3), photons=200_000, bins=bins)
    counted = [spec.probability(float(x * line), window) for x in (np.arange(bins) + 0.5) / bins]
    return float((found.once + found.more) @ counted) / (found.primary * spec.probability(line, window))


@check("imaging/scanner scatter over primary, 177Lu 208 keV", unit="1", tolerance="rel 0.15", source=MODEL)
def scatter():
    rates = _rates()
    value = float(rates.scatter[0].sum() / rates.primary[0].sum())
    return value, close(value, _monte_carlo(_protocol().energy_windows[0]), 0.15)


@check("imaging/scanner TEW over true scatter, 177Lu 208 keV", unit="1", tolerance="abs 0.2 of 1", source=OWN_WINDOWS)
def triple_window():
    from imaging.reconstruct.scatter import tew

    rates = _rates()
    counts = _protocol(views=2).acquisition().with_counts(rates.total)
    value = float(tew(counts, line_keV=208.4).counts.sum() / rates.scatter[0].sum())
    return value, abs(value - 1) <= 0.2


@check(
    "imaging/scanner sensitivity 99mTc LEHR", unit="cps/MBq", tolerance="rel 0.1 of 91", source="recalled data sheet"
)
def technetium():
    from imaging.scanner import camera, sensitivity_cps_per_MBq, windows

    value = sensitivity_cps_per_MBq(camera("SY-LEHR"), "99mTc", windows("99mTc")[0])
    return value, close(value, RECALLED_LEHR_cps_per_MBq, 0.1)


@check("imaging/scanner sensitivity 177Lu 208 keV ME", unit="cps/MBq", tolerance="5 to 11", source="recalled range")
def lutetium():
    from imaging.scanner import camera, sensitivity_cps_per_MBq, windows

    value = sensitivity_cps_per_MBq(camera("SY-ME"), "177Lu", windows("177Lu")[0])
    low, high = RECALLED_ME_cps_per_MBq
    return value, low <= value <= high


DEAD_TIME_us = 0.6


def _reconstructed_MBq(filled, key, cps_per_MBq=1.0):
    """Whole activity of the image, as a site would have it: dead time as live fraction by the head's own pulse rate,
    TEW, attenuation, response and decay corrected, noise and all; with one cps/MBq, counts per second.
    """
    import jax

    from imaging.activity_images import total_MBq
    from imaging.dead_time import live_fraction, observed_rate
    from imaging.reconstruct import attenuation_map, collimator_response
    from imaging.reconstruct.iterations import Settings
    from imaging.reconstruct.reconstruction import Measured, reconstruct
    from imaging.scanner import camera, count_rates, simulate_spect

    spec, source = camera("SY-ME", dead_time_us=DEAD_TIME_us), (filled.activity_Bq_per_mL, filled.ct)
    seen = simulate_spect(*source, spec, _protocol(), key=jax.random.key(key), oversample=2)
    two_views = _protocol(views=2).acquisition()
    pulses = count_rates(*source, two_views, spec, oversample=1).pulses_cps.mean()
    meter = np.full(len(seen.angles_deg), observed_rate(pulses, DEAD_TIME_us * 1e-6))
    measured = Measured(
        cps_per_MBq,
        collimator_response("SY-ME", 208.37, 3.1),
        attenuation_map(filled.ct, seen.grid(), 208.37),
        scatter_fwhm_mm=15.0,
        line_keV=208.4,
        live_fraction=live_fraction(meter, DEAD_TIME_us * 1e-6),
    )
    return total_MBq(reconstruct(seen, measured, Settings(4, 6)).volume)


@check(
    "imaging/total activity of a calibrated 177Lu acquisition",
    unit="MBq",
    tolerance="rel 0.02 of 400",
    source="simulated with the virtual camera, which also gave the calibration: one simulator on both sides",
)
def calibrated():
    from imaging.scanner import calibration_cylinder

    phantom = calibration_cylinder(800.0, radius_mm=100.0, length_mm=200.0, voxel_mm=3.0)
    other = calibration_cylinder(400.0, radius_mm=130.0, length_mm=160.0, voxel_mm=3.0)
    cps_per_MBq = _reconstructed_MBq(phantom, 1) / phantom.activity_MBq
    value = _reconstructed_MBq(other, 2, cps_per_MBq)
    return value, close(value, other.activity_MBq, 0.02)
