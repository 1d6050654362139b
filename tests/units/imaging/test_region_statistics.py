"""Region statistics: the sd of means against repeated correlated noise, the peak against hand weights."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.noise_model import NoiseModel, mean_covariance, noise_of_background, noise_of_width
from imaging.region_means import peak, region_statistics, sphere_weights

SPACING = np.array([4.0, 4.0, 5.0])
AFFINE = np.diag([4.0, 4.0, 5.0, 1.0])
SHAPE = (30, 36, 36)
WHITE = NoiseModel(2.0, np.ones((1, 1, 1)))


def smooth_noise(rng, fwhm_mm=9.0) -> np.ndarray:
    """Noise of sd 1 after a Gaussian, periodic so that it is the same everywhere."""
    sigma = fwhm_mm / 2.35482 / SPACING[::-1]
    made = gaussian_filter(rng.normal(size=SHAPE), sigma, mode="wrap")
    return made / np.sqrt(np.prod(1 / (2 * np.sqrt(np.pi) * sigma)))


def box(low, high) -> Volume:
    mask = np.zeros(SHAPE)
    mask[tuple(slice(a, b) for a, b in zip(low, high, strict=True))] = 1
    return Volume(mask, AFFINE)


REGION = box((10, 10, 12), (16, 18, 19))


def test_white_noise_has_the_textbook_sd():
    image = Volume(np.full(SHAPE, 7.0), AFFINE)
    found = region_statistics(image, REGION, WHITE)
    voxels = 6 * 8 * 7
    assert (found.mean, found.voxels, found.effective_voxels) == pytest.approx((7.0, voxels, voxels))
    assert found.sd_of_mean == pytest.approx(2 / np.sqrt(voxels))
    assert found.total == pytest.approx(7 * voxels * 0.08, rel=1e-6)
    assert found.total_sd == pytest.approx(found.sd_of_mean * found.volume_mL)


def test_sd_of_a_mean_is_the_spread_of_repeated_noise():
    rng = np.random.default_rng(11)
    means = [float((smooth_noise(rng) * REGION.array).sum() / REGION.array.sum()) for _ in range(200)]
    found = region_statistics(Volume(np.ones(SHAPE), AFFINE), REGION, noise_of_width(1.0, 9.0, SPACING))
    assert found.sd_of_mean == pytest.approx(np.std(means), rel=0.10)  # sd of an sd of 200 draws is 5 %
    assert found.effective_voxels < found.voxels / 8
    naive = 1 / np.sqrt(found.voxels)
    assert naive < 0.4 * np.std(means)  # negative control: independent voxels


@pytest.mark.parametrize("shape", ["gaussian", "free"])
def test_one_background_tells_the_noise(shape):
    known = noise_of_width(1.0, 9.0, SPACING)
    image = Volume(10 + smooth_noise(np.random.default_rng(2)), AFFINE)
    found = noise_of_background(image, box((1, 1, 1), (29, 35, 35)), shape=shape, reach=4)
    truth, seen = (region_statistics(image, REGION, noise).sd_of_mean for noise in (known, found))
    # one image holds some 400 independent voxels; the free shape adds its own noise
    assert seen == pytest.approx(truth, rel=0.1 if shape == "gaussian" else 0.2)
    assert float(found.sd) == pytest.approx(1.0, rel=0.05)


def test_white_background_stays_white():
    image = Volume(10 + np.random.default_rng(2).normal(size=SHAPE), AFFINE)
    found = noise_of_background(image, box((1, 1, 1), (29, 35, 35)))
    assert region_statistics(image, REGION, found).effective_voxels == pytest.approx(6 * 8 * 7, rel=0.1)


def test_noise_may_differ_from_voxel_to_voxel():
    sd = np.ones(SHAPE)
    sd[:, :, :15] = 3.0
    found = mean_covariance([REGION.array.astype(float)], NoiseModel(sd, np.ones((1, 1, 1))))
    weight = REGION.array / REGION.array.sum()
    assert found[0, 0] == pytest.approx(float(((weight * sd) ** 2).sum()), rel=1e-6)
    image = Volume(np.ones(SHAPE), AFFINE)
    cropped = region_statistics(image, REGION, NoiseModel(sd, np.ones((1, 1, 1))))
    assert cropped.sd_of_mean == pytest.approx(np.sqrt(found[0, 0]), rel=1e-6)


def test_neighbouring_regions_share_noise():
    a, b = (box((10, 10, x), (16, 16, x + 2)).array.astype(float) for x in (12, 14))
    covariance = mean_covariance([a, b], noise_of_width(1.0, 12.0, SPACING))
    assert 0.3 < covariance[0, 1] / covariance[0, 0] < 1
    assert np.linalg.eigvalsh(covariance).min() > 0


def test_the_spheres_weights_are_its_volume():
    for volume, spacing in ((1.0, (4.0, 4.0, 5.0)), (1.0, (2.0, 2.0, 2.0)), (5.0, (4.8, 4.8, 4.8))):
        weights = sphere_weights(volume, spacing)
        assert weights.sum() * np.prod(spacing) / 1000 == pytest.approx(volume, rel=0.01)
        np.testing.assert_array_equal(weights, weights[::-1, ::-1, ::-1])


def test_peak_of_one_hot_voxel_is_its_part_of_a_millilitre():
    values = np.zeros(SHAPE)
    values[13, 14, 15] = 100.0
    # the whole voxel of 0.08 mL lies in the sphere of 6.2 mm about it; 1 % is that of the weights
    assert peak(Volume(values, AFFINE), REGION) == pytest.approx(100 * 0.08, rel=0.01)


def test_peak_of_an_even_field_is_even_at_its_border_too():
    image = Volume(np.full(SHAPE, 3.0), AFFINE)
    corner = box((0, 0, 0), (2, 2, 2))
    assert peak(image, corner) == pytest.approx(3.0, rel=1e-6)
    assert region_statistics(image, corner, WHITE).maximum == 3.0


def test_percentiles_are_those_of_the_voxels():
    values = np.zeros(SHAPE)
    values[REGION.array > 0] = np.arange(REGION.array.sum())
    found = region_statistics(Volume(values, AFFINE), REGION, WHITE, percentiles=(0, 50, 100))
    assert list(found.percentiles.values()) == [0.0, 167.5, 335.0]


def test_bad_masks_and_noises_are_refused():
    image = Volume(np.ones(SHAPE), AFFINE)
    with pytest.raises(ImageError, match="mask"):
        region_statistics(image, Volume(np.zeros(SHAPE), AFFINE), WHITE)
    with pytest.raises(ImageError, match="mask"):
        peak(image, Volume(np.ones(SHAPE), np.eye(4)))
    with pytest.raises(ImageError, match="100"):
        noise_of_background(image, box((0, 0, 0), (2, 2, 2)))
    with pytest.raises(ImageError, match="no noise"):
        noise_of_background(image, box((0, 0, 0), (9, 9, 9)))
    with pytest.raises(InputError):
        NoiseModel(-1.0, np.ones((1, 1, 1)))
    with pytest.raises(InputError):
        NoiseModel(1.0, np.ones((2, 1, 1)))
