"""Monte Carlo scatter of voxel bodies: attenuation, Klein and Nishina, where counts come, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import InputError
from imaging.geometry import Volume
from imaging.scanner.camera import camera
from imaging.scanner.penetration import through_collimator
from imaging.scanner.photons import attenuation_per_mm, scattered_keV, scattering_per_sr
from imaging.scanner.protocol import Protocol
from imaging.scanner.scatter_truth import middle_keV, monte_carlo_counts, voxel_body, ways_out_mm
from imaging.scanner.scatter_truth_walk import Body, Photons, by_energy, collisions, drawn_cosines, entry
from imaging.series import Radiopharmaceutical

SIDE = 32
SPEC = camera("SY-ME")


def volume(array: np.ndarray) -> Volume:
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = -(SIDE - 1) / 2 * 6.0
    return Volume(array, affine)


def box(width: int = 20) -> Volume:
    array = np.full((SIDE, SIDE, SIDE), -1000.0)
    low = (SIDE - width) // 2
    array[low : SIDE - low, low : SIDE - low, low : SIDE - low] = 0.0
    return volume(array)


def point(x: int = SIDE // 2) -> Volume:
    array = np.zeros((SIDE, SIDE, SIDE))
    array[SIDE // 2, SIDE // 2, x] = 1000.0
    return volume(array)


def acquisition(views: int = 4):
    line = tuple(w for w in Protocol("177Lu", 1.0).energy_windows if w.line_keV == 208.4)
    return Protocol(
        "177Lu", 1.0, energy_windows=line, views=views, heads=1, matrix=(SIDE, SIDE), pixel_mm=6.0, radius_mm=150.0
    ).acquisition()


def followed(activity=None, ct=None, photons=20_000, seed=1, **more):
    given = (activity or point(), ct or box(), acquisition(), SPEC)
    return monte_carlo_counts(*given, photons=photons, seed=seed, primary=True, **more)


def test_unscattered_photons_fall_off_as_water_attenuates():
    seen, air = (followed(ct=ct).primary[0].sum(axis=(1, 2)) for ct in (box(), box(0)))
    mu = attenuation_per_mm("water", 208.37)
    # the source voxel's middle is 57 or 63 mm from the box's faces
    np.testing.assert_allclose(np.log(air / seen) / mu, [57, 57, 63, 63], atol=2.5)


def test_unscattered_photons_in_air_are_those_of_the_derived_sensitivity():
    air = followed(ct=box(0))
    window = acquisition().windows[0]
    passed = through_collimator("SY-ME", 208.37).geometric
    per_photon = passed * SPEC.probability(208.37, window)
    tail = 1 + through_collimator("SY-ME", middle_keV(window)).penetration_ratio
    decays = point().array.sum() * point().voxel_mL
    seen = air.primary[0].sum(axis=(1, 2)).mean()
    assert 0.9 * tail < seen / (decays * 0.11 * per_photon) < 1.06 * tail
    assert air.scatter.sum() == 0


def test_scatter_is_broader_than_the_point_and_softer_than_the_peak():
    seen = followed()
    middle = (slice(None), slice(None), slice(13, 20), slice(13, 20))
    assert seen.primary[middle][0].sum() / seen.primary[0].sum() > 0.8
    assert seen.scatter[middle][0].sum() / seen.scatter[0].sum() < 0.7
    peak, lower, upper = seen.scatter.sum(axis=(1, 2, 3))
    assert lower > 0.5 * peak > 5 * upper


def test_doubled_activity_doubles_and_another_seed_agrees():
    one, other = followed(), followed(seed=2)
    double = followed(activity=point().with_array(2 * point().array))
    np.testing.assert_allclose(double.scatter, 2 * one.scatter, rtol=1e-4, atol=1e-6)
    assert 0 < abs(other.scatter[0].sum() / one.scatter[0].sum() - 1) < 0.05


def test_ways_out_are_the_water_between_a_place_and_the_detector():
    for view in range(4):
        ways = ways_out_mm(voxel_body(box(), acquisition()), acquisition(), view)
        np.testing.assert_allclose(ways[0, SIDE // 2, SIDE // 2], 120.0, rtol=1e-3)
        np.testing.assert_allclose(ways[SIDE // 2, SIDE // 2, SIDE // 2], 57.0, atol=0.1)
        assert ways[-1].max() == 0


def test_the_way_out_is_that_towards_the_detectors_side():
    lopsided = box()
    lopsided.array[:, : SIDE // 2] = -1000.0
    ways = [ways_out_mm(voxel_body(lopsided, acquisition()), acquisition(), k)[SIDE // 2, 16, 16] for k in (0, 2)]
    # view 0 stands at the back, +y
    assert ways[0] > 50 > 10 > ways[1]


def test_cosines_are_klein_and_nishinas():
    for energy in (80.0, 208.37, 900.0):
        drawn = drawn_cosines(np.random.default_rng(2), np.full(100_000, energy, np.float32))
        cosine = np.linspace(-1, 1, 4001)
        density = scattering_per_sr(energy, cosine)
        mean = float((density * cosine).sum() / density.sum())
        assert abs(drawn.mean() - mean) < 0.008
        assert np.abs(drawn).max() <= 1


def test_first_collisions_are_as_deep_as_the_mean_free_path():
    number, energy = 50_000, 208.37
    begun = Photons(
        np.zeros((3, number), np.float32),
        np.tile(np.array([[0], [0], [1]], np.float32), number),
        np.full(number, energy, np.float32),
        np.ones(number, np.float32),
        np.zeros(number, np.uint8),
    )
    large = Body(np.ones((300, 20, 20), np.float32), 10.0, np.array([-95.0, -95.0, -100.0]))
    hit = collisions(begun, large, 150.0, np.random.default_rng(1))
    first = hit.where(hit.order == 1)
    np.testing.assert_allclose(first.place_mm[2].mean() * attenuation_per_mm("water", energy), 1.0, atol=0.02)
    share = attenuation_per_mm("water", energy, "compton") / attenuation_per_mm("water", energy)
    np.testing.assert_allclose(first.weight.mean(), share, rtol=1e-3)
    assert hit.energy_keV.min() > 150.0


def test_tables_by_energy_are_the_cross_sections():
    for energy in (60.0, 208.37, 1000.0):
        at = entry(np.array([energy], np.float32))
        np.testing.assert_allclose(by_energy()[at], attenuation_per_mm("water", energy), rtol=2e-3)
    assert scattered_keV(208.37, -1.0) < 120


def test_what_cannot_be_followed_is_refused():
    given = (point(), box(), acquisition(), SPEC)
    with pytest.raises(InputError, match="0 photons"):
        monte_carlo_counts(*given, photons=0, seed=1)
    nothing = point().with_array(np.zeros_like(point().array))
    with pytest.raises(InputError, match="activity"):
        monte_carlo_counts(nothing, *given[1:], photons=10, seed=1)
    unnamed = replace(acquisition(), radiopharmaceutical=Radiopharmaceutical())
    with pytest.raises(InputError, match="nuclide"):
        monte_carlo_counts(point(), box(), unnamed, SPEC, photons=10, seed=1)
