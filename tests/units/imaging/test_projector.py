"""Laws of the SPECT system: conservation, geometry, transpose, blur, attenuation, derivatives."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import ImageError
from imaging.geometry import Volume
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import DetectorResponse, grid_gaussian, spect_system
from imaging.reconstruct.rotation import nearest_sources, returned, turned_taps

PIXEL_mm, FRAME_s = 6.0, 3.0
ME = DetectorResponse(slope=0.0322, offset_mm=1.25, intrinsic_sigma_mm=1.6)
MU_PER_mm = 0.0135


def acquisition(angles_deg, edge=24, rows=20, centre=(11.0, -23.0, 5.0), radius_mm=160.0) -> Projections:
    angles = np.asarray(angles_deg, float)
    counts = np.zeros((1, len(angles), rows, edge))
    radii = radius_mm + 10 * np.cos(np.deg2rad(2 * angles))
    window = EnergyWindow(187.2, 228.8, "peak")
    return Projections(counts, (window,), angles, radii, np.full(len(angles), FRAME_s), PIXEL_mm, np.array(centre))


def offsets_mm(acquired: Projections) -> np.ndarray:
    """LPS distances of each voxel from the axis' middle, [3, z, y, x]."""
    grid = acquired.grid()
    z, y, x = np.indices(grid.array.shape)
    return np.moveaxis(grid.to_lps_mm(np.stack([x, y, z], -1)) - acquired.centre_lps_mm, -1, 0)


def body(acquired: Projections) -> Volume:
    x, y, z = offsets_mm(acquired)
    inside = ((x / 55) ** 2 + (y / 40) ** 2 < 1) & (abs(z) < 50)
    return acquired.grid().with_array(MU_PER_mm * inside)


def within_reach(acquired: Projections, rng) -> np.ndarray:
    x, y, _ = offsets_mm(acquired)
    return np.where(np.hypot(x, y) < 60, rng.random(x.shape), 0.0).astype(np.float32)


CASES = {"attenuation": (None, True), "blur": (ME, False), "both": (ME, True)}


@pytest.mark.parametrize(("case", "some"), [("attenuation", None), ("blur", None), ("both", None), ("both", [4, 1])])
def test_back_is_the_transpose_of_forward(case, some, rng):
    acquired = acquisition([0, 17, 45, 90, 133, 222, 300])
    response, attenuated = CASES[case]
    system = spect_system(acquired, response=response, attenuation_per_mm=body(acquired) if attenuated else None)
    views = None if some is None else jnp.array(some)
    image = rng.random(system.image_shape).astype(np.float32)
    seen = np.asarray(system.forward(image, views), float)
    counts = rng.random(seen.shape).astype(np.float32)
    returned_ = np.asarray(system.back(counts, views), float)
    # float32: sums of some 10^4 terms of one sign differ by a few parts in 10^7
    assert np.vdot(seen, counts) == pytest.approx(np.vdot(image, returned_), rel=1e-6)


def test_transpose_check_sees_one_view_out_of_place(rng):
    acquired = acquisition([0, 17, 45])
    system = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired))
    image = rng.random(system.image_shape).astype(np.float32)
    seen = np.asarray(system.forward(image), float)
    counts = rng.random(seen.shape).astype(np.float32)
    wrong = np.asarray(system.back(counts, jnp.array([0, 2, 1])), float)
    assert abs(np.vdot(image, wrong) / np.vdot(seen, counts) - 1) > 1e-5


@pytest.mark.parametrize("response", [None, ME])
def test_counts_are_kept_without_attenuation(response, rng):
    acquired = acquisition(np.arange(0, 360, 11.0), edge=40, rows=40)
    system = spect_system(acquired, response=response)
    image = within_reach(acquired, rng)
    image[:14], image[-14:] = 0, 0  # room for the blur: 10 pixels are more than five sigma
    sums = np.asarray(system.forward(image), float).sum(axis=(1, 2))
    np.testing.assert_allclose(sums, image.sum(dtype=float) * FRAME_s, rtol=2e-6)


@pytest.fixture(scope="module")
def seven_views():
    acquired = acquisition([0, 90, 180, 270, 30, 45, 200.5], edge=40, rows=32)
    return acquired, spect_system(acquired, response=ME)


@pytest.mark.parametrize("view", range(7))
def test_a_point_lands_where_the_convention_says(view, seven_views):
    acquired, system = seven_views
    angle_deg = acquired.angles_deg[view]
    index_zyx = (19, 13, 25)
    image = np.zeros((32, 40, 40), np.float32)
    image[index_zyx] = 7.0
    lps = acquired.grid().to_lps_mm(np.array(index_zyx[::-1])) - acquired.centre_lps_mm
    seen = np.asarray(system.forward(image), float)[view]
    place_mm = (np.arange(40) - 19.5) * PIXEL_mm, (np.arange(32) - 15.5) * PIXEL_mm
    across, along = (seen.sum(axis) @ mm / seen.sum() for axis, mm in zip((0, 1), place_mm))
    sine, cosine = np.sin(np.deg2rad(angle_deg)), np.cos(np.deg2rad(angle_deg))
    # exact but for what a blur loses beyond the edge
    assert across == pytest.approx(lps @ [-cosine, sine, 0], abs=0.02)
    assert along == pytest.approx(lps[2], abs=0.02)


def test_the_depth_is_right_a_source_near_the_detector_is_brighter_and_sharper():
    acquired = acquisition([90.0], edge=24)
    system = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired))
    image = np.zeros((2, *system.image_shape), np.float32)
    image[0, 10, 11, 19], image[1, 10, 11, 4] = 1.0, 1.0  # the patient's left, where a detector at 90 degrees is
    near, far = np.asarray(jax.vmap(system.forward)(image), float)[:, 0]
    assert near.sum() > 1.5 * far.sum()
    assert near.max() / near.sum() > far.max() / far.sum()


@pytest.mark.parametrize("radius_mm", [100.0, 330.0])
def test_blur_laid_on_in_levels_is_the_gaussian_of_each_distance(radius_mm):
    acquired = acquisition([0.0], edge=64, rows=64, radius_mm=radius_mm - 10)
    system = spect_system(acquired, response=ME)
    place = (np.arange(64) - 31.5) * PIXEL_mm
    for line in (12, 22, 32, 42, 52):
        image = np.zeros(system.image_shape, np.float32)
        image[32, line, 30] = 1.0
        seen = np.asarray(system.forward(image), float)[0] / FRAME_s
        sigma = float(ME.sigma_mm(radius_mm - place[line]))
        profile = grid_gaussian((sigma / PIXEL_mm) ** 2, 64)
        wanted = np.multiply.outer(profile[abs(np.arange(64) - 32)], profile[abs(np.arange(64) - 33)])
        # the two levels that share a slab make its tails a little long
        assert np.abs(seen - wanted).max() < 0.005 * wanted.max()
        for axis in (0, 1):
            one = seen.sum(axis)
            variance = one @ place**2 / one.sum() - (one @ place / one.sum()) ** 2
            # what the detector's edge cuts off
            assert variance == pytest.approx(sigma**2, rel=1e-3)


def test_attenuation_of_a_cylinder_follows_the_chord():
    acquired = acquisition([0.0, 40.0], edge=64, rows=4, centre=(0, 0, 0), radius_mm=400)
    x, y, _ = offsets_mm(acquired)
    inside = np.hypot(x, y) < 110
    system = spect_system(acquired, response=None, attenuation_per_mm=acquired.grid().with_array(MU_PER_mm * inside))
    seen = np.asarray(system.forward(inside.astype(np.float32)), float)[:, 1] / FRAME_s
    across = (np.arange(64) - 31.5) * PIXEL_mm
    chord = 2 * np.sqrt(np.maximum(110**2 - across**2, 0))
    wanted = (1 - np.exp(-MU_PER_mm * chord)) / MU_PER_mm / PIXEL_mm
    middle = np.abs(across) < 80
    # a stair of 6 mm voxels makes the chord uncertain by about half a voxel where it begins and ends
    assert np.abs(seen[:, middle] / wanted[middle] - 1).max() < 0.04
    assert seen[:, middle].sum() == pytest.approx(2 * wanted[middle].sum(), rel=5e-3)


def test_forward_is_linear(rng):
    acquired = acquisition([10.0, 100.0])
    system = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired))
    one, two = (within_reach(acquired, rng) for _ in range(2))
    together = system.forward(2 * one + 3 * two)
    np.testing.assert_allclose(together, 2 * system.forward(one) + 3 * system.forward(two), rtol=1e-5, atol=1e-5)


def likelihood(scale, system, image, counts):
    expected = system.forward(scale[0] * image + scale[1] * image**2).astype(jnp.float64) + 0.1
    return jnp.sum(counts.astype(jnp.float64) * jnp.log(expected) - expected)


def test_the_gradient_of_a_likelihood_is_the_difference_quotient(rng):
    acquired = acquisition([0.0, 50.0, 140.0])
    system = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired))
    image = jnp.asarray(within_reach(acquired, rng))
    counts = jnp.asarray(rng.poisson(np.asarray(system.forward(image))), jnp.float32)
    at = jnp.array([0.8, 0.3], jnp.float32)
    gradient = jax.grad(likelihood)(at, system, image, counts)
    for k in range(2):
        step = 0.005 * np.eye(2, dtype=np.float32)[k]
        up, down = (likelihood(at + s, system, image, counts) for s in (step, -step))
        # float32 projections carry 1e-3 into the quotient; its own error falls with the square of the step
        assert float(up - down) / 0.01 == pytest.approx(float(gradient[k]), rel=4e-3)


def test_the_gradient_of_back_is_forward(rng):
    acquired = acquisition([0.0, 50.0])
    system = spect_system(acquired, response=ME)
    image = jnp.asarray(within_reach(acquired, rng))
    counts = jnp.ones((2, system.slices, system.detector_columns), jnp.float32)
    gradient = jax.grad(lambda c: jnp.vdot(system.back(c), image))(counts)
    np.testing.assert_array_equal(gradient, system.forward(image))


def test_views_chosen_under_jit_are_those_of_the_whole(rng):
    acquired = acquisition([0, 30, 60, 90, 120.0])
    system = spect_system(acquired, response=ME)
    image = within_reach(acquired, rng)
    chosen = jax.jit(lambda s, v: s.forward(image, v))(system, jnp.array([3, 1]))
    # another grouping of views, another order of the sums
    np.testing.assert_allclose(chosen, system.forward(image)[np.array([3, 1])], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("angle_deg", [0, 10, 30, 45, 80, 90])
def test_sharing_keeps_every_voxel_whole_with_nine_neighbours(angle_deg):
    frame = spect_system(acquisition([0.0]), response=None).frame
    taps = turned_taps(jnp.float32(angle_deg), jnp.asarray(nearest_sources([angle_deg], frame)[0]), frame)
    given = np.zeros(24 * 24)
    np.add.at(given, np.asarray(taps.index), np.asarray(taps.weight))
    asked = np.asarray(returned(jnp.ones((24, 24, 1), jnp.float32), jnp.float32(angle_deg), frame))[:, 0]
    np.testing.assert_allclose(given, asked, atol=2e-6)
    np.testing.assert_allclose(asked[asked > 0], 1.0, atol=2e-6)


def test_a_smaller_reach_changes_nothing_within_it(rng):
    acquired = acquisition([0, 33, 200.0])
    image = np.where(np.hypot(*offsets_mm(acquired)[:2]) < 36, rng.random((20, 24, 24)), 0).astype(np.float32)
    whole = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired))
    near = spect_system(acquired, response=ME, attenuation_per_mm=body(acquired), reach_mm=60.0)
    assert near.frame.slabs < whole.frame.slabs
    # the same variance in other levels, and a rim of other width
    seen = np.asarray(whole.forward(image))
    np.testing.assert_allclose(near.forward(image), seen, rtol=0, atol=5e-3 * seen.max())


def test_a_grid_wider_than_the_detector_keeps_what_lies_deep(rng):
    """A narrow detector sees the middle of what a wide one sees; on its own grid it would lose what lies deep."""
    wide, narrow = (acquisition([0, 33.0], edge=n, rows=6, radius_mm=150.0) for n in (31, 15))
    x, y, _ = offsets_mm(wide)
    image = np.where((np.hypot(x, y) < 85) & (abs(y) > 45), rng.random(x.shape), 0).astype(np.float32)
    mu = wide.grid().with_array(MU_PER_mm * (np.hypot(x, y) < 85))
    whole = np.asarray(spect_system(wide, response=ME, attenuation_per_mm=mu).forward(image), float)
    system = spect_system(narrow, response=ME, attenuation_per_mm=mu, grid=wide.grid())
    seen = np.asarray(system.forward(image), float)
    # activity beside the detector's rim of two widths no longer blurs into its edge
    np.testing.assert_allclose(seen[..., 3:-3], whole[..., 11:-11], rtol=0, atol=5e-3 * whole.max())
    cut = np.asarray(spect_system(narrow, response=ME).forward(image[:, 8:-8, 8:-8]))
    assert cut[0].sum() < 0.2 * seen[0].sum()  # the negative control, even without attenuation
    counts = rng.random(seen.shape).astype(np.float32)
    returned_ = np.asarray(system.back(counts), float)
    assert np.vdot(seen, counts) == pytest.approx(np.vdot(image, returned_), rel=1e-6)


def test_views_that_the_acquisition_lacks_are_refused():
    system = spect_system(acquisition([0.0, 10.0]), response=None)
    for views in ([2], [-1], np.array([0, 99])):
        with pytest.raises(ImageError, match="views: found"):
            system.forward(np.zeros(system.image_shape), views)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda a, g: {"grid": Volume(g.array, g.affine * [2, 1, 1, 1])}, "grid"),
        (lambda a, g: {"grid": Volume(g.array[:-1], g.affine)}, "grid"),
        (lambda a, g: {"attenuation_per_mm": Volume(g.array[:-1], g.affine)}, "attenuation_per_mm"),
        (lambda a, g: {"attenuation_per_mm": g.with_array(g.array - 1)}, "attenuation_per_mm"),
        (lambda a, g: {"reach_mm": -3.0}, "reach_mm"),
    ],
)
def test_what_does_not_fit_is_refused(change, says):
    acquired = acquisition([0.0])
    with pytest.raises(ImageError, match=says):
        spect_system(acquired, response=None, **change(acquired, acquired.grid()))


def test_an_image_of_another_shape_is_refused():
    system = spect_system(acquisition([0.0]), response=None)
    with pytest.raises(ImageError, match=r"image: found shape \(20, 24, 23\)"):
        system.forward(np.zeros((20, 24, 23)))
    with pytest.raises(ImageError, match="projections"):
        system.back(np.zeros((2, 20, 24)))
