"""The NEMA IEC phantom: volumes, walls, places of the regions, and figures that are exact on the perfect image."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dose.errors import ImageError, InputError
from imaging.scanner.nema import (
    DIAMETERS_MM,
    background_centres_mm,
    ball_share,
    inside_body,
    nema_iec,
    sphere_centres_mm,
)
from imaging.scanner.nema_figures import background_means, background_variability, contrast_recoveries, recoveries


@pytest.fixture(scope="module")
def perfect():
    return nema_iec(1000.0, 8.0, voxel_mm=2.0, wall_mm=0.0)


def test_spheres_have_their_volumes_at_any_voxel_size():
    for voxel_mm in (2.0, 4.8, 7.3):
        made = nema_iec(0.0, 1.0, voxel_mm=voxel_mm)
        volumes = made.spheres.sum(axis=(1, 2, 3)) * made.ct.voxel_mL
        np.testing.assert_allclose(volumes, made.volumes_mL, rtol=0.005)


def test_the_body_holds_what_its_outline_encloses():
    made = nema_iec(1.0, 1.0, voxel_mm=3.0, wall_mm=0.0)
    arcs = np.pi / 2 * (147.0**2 + 77.0**2) + 140 * 77.0
    volume_mL = (arcs - np.pi / 4 * 51.0**2) * 180 / 1000
    found = made.activity_Bq_per_mL.array.sum(dtype=float) * made.ct.voxel_mL
    assert found == pytest.approx(volume_mL, rel=1e-3)
    # 9.7 L are stated by makers for the empty body (recalled)
    assert arcs * 180 / 1000 == pytest.approx(9700, rel=0.01)


def test_activity_is_what_was_filled_in():
    made = nema_iec(1000.0, 8.0, voxel_mm=4.0)
    whole = (1000 * made.background.sum() + 8000 * made.spheres.sum()) * made.ct.voxel_mL
    assert made.activity_Bq_per_mL.array.sum(dtype=float) * made.ct.voxel_mL == pytest.approx(whole, rel=1e-6)
    bare = nema_iec(1000.0, 8.0, voxel_mm=4.0, wall_mm=0.0)
    shells = 4 / 3 * np.pi * ((np.array(DIAMETERS_MM) / 2 + 1) ** 3 - (np.array(DIAMETERS_MM) / 2) ** 3).sum() / 1000
    assert (bare.background.sum() - made.background.sum()) * made.ct.voxel_mL == pytest.approx(shells, rel=0.02)


def test_the_smallest_sphere_is_opposite_the_22_mm_one_and_all_lie_on_the_circle():
    centres = dict(zip(DIAMETERS_MM, sphere_centres_mm()))
    np.testing.assert_allclose(centres[10], -centres[22], atol=1e-9)
    np.testing.assert_allclose(centres[37], -centres[17], atol=1e-9)
    np.testing.assert_allclose(np.linalg.norm(list(centres.values()), axis=1), 57.2)


def test_background_regions_lie_apart_from_edge_spheres_and_each_other():
    places = background_centres_mm()
    assert inside_body(places[:, 0], places[:, 1], 15 + 37 / 2).all()
    for centre, diameter in zip(sphere_centres_mm(), DIAMETERS_MM):
        assert np.hypot(*(places - centre[:2]).T).min() >= diameter / 2 + 37 / 2 + 10
    apart = np.hypot(*(places[:, None] - places[None]).transpose(2, 0, 1)) + 1e3 * np.eye(12)
    assert apart.min() >= 37
    assert not inside_body(0.0, 120.0)


def test_the_perfect_image_recovers_everything(perfect):
    image = perfect.activity_Bq_per_mL
    # voxels at the edge are shared: the loss goes with surface over volume, below 1 and 1.5 voxels (2 mm) per diameter
    voxels = 2.0 / np.array(DIAMETERS_MM)
    loss = 1 - contrast_recoveries(image, perfect), 1 - recoveries(image, perfect)
    assert np.all((loss[0] >= 0) & (loss[0] <= voxels))
    assert np.all((loss[1] >= 0) & (loss[1] <= 1.5 * voxels))
    np.testing.assert_allclose(background_variability(image, perfect), 0.0, atol=1e-6)
    np.testing.assert_allclose(background_means(image, 37.0), 1000.0, rtol=1e-6)


def test_blur_lowers_recovery_most_in_small_spheres(perfect):
    sigma = 10.0 / 2.355 / 2.0
    blurred = perfect.activity_Bq_per_mL.with_array(gaussian_filter(perfect.activity_Bq_per_mL.array, sigma))
    found = contrast_recoveries(blurred, perfect)
    assert np.all(np.diff(found) > 0)
    assert found[0] < 0.5 < found[-1] < 1.0


def test_noise_shows_in_the_variability_as_discs_average_it(perfect, rng):
    image = perfect.activity_Bq_per_mL
    noisy = image.with_array(image.array + 100 * rng.standard_normal(image.array.shape))
    pixels = np.pi / 4 * np.array(DIAMETERS_MM) ** 2 / 4.0
    # sd of an sd of 60: 9 %; partial pixels average a little better for the smallest disc
    np.testing.assert_allclose(background_variability(noisy, perfect), 0.1 / np.sqrt(pixels), rtol=0.3)


def test_a_ball_on_voxel_corners_has_the_share_by_symmetry():
    grid = nema_iec(0.0, 1.0, voxel_mm=4.0).ct
    corner = grid.to_lps_mm([20.5, 20.5, 20.5])
    share = ball_share(grid, corner, 4.0)
    np.testing.assert_allclose(share[20:22, 20:22, 20:22], 4 / 3 * np.pi / 8, rtol=2e-3)


def test_fillings_and_grids_that_cannot_be_are_refused(perfect):
    with pytest.raises(InputError, match="zero or more"):
        nema_iec(-1.0, 8.0)
    with pytest.raises(InputError, match="voxel_mm"):
        nema_iec(1.0, 8.0, voxel_mm=0.0)
    with pytest.raises(ImageError, match="grid"):
        recoveries(nema_iec(1.0, 8.0, voxel_mm=4.0).ct, perfect)
