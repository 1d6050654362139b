"""Fuzzy C-means: memberships that sum to one, half at an edge, neighbours that mend noise."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.segmentation import fuzzy_lesions, fuzzy_means

AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
Z, Y, X = np.ogrid[:30, :30, :30]
FAR = np.sqrt((Z - 14.5) ** 2 + (Y - 14.5) ** 2 + (X - 14.5) ** 2)
BALL = FAR <= 8


def image(sigma: float = 2.0, noise: float = 0.0) -> Volume:
    values = gaussian_filter(np.where(BALL, 10.0, 1.0), sigma)
    return Volume(values + noise * np.random.default_rng(3).standard_normal(values.shape), AFFINE)


def test_memberships_are_parts_of_one_and_means_rise():
    found = fuzzy_means(image(), classes=3)
    np.testing.assert_allclose(found.memberships.sum(axis=0), 1.0, atol=1e-5)
    assert (np.diff(found.centres) > 0).all()


def test_two_values_are_found_exactly():
    found = fuzzy_means(Volume(np.where(BALL, 10.0, 1.0), AFFINE), spatial=0.0)
    np.testing.assert_allclose(found.centres, [1.0, 10.0], rtol=1e-6)
    np.testing.assert_array_equal(found.hottest > 0.5, BALL)


def test_memberships_do_not_hang_on_the_unit():
    one, thousand = fuzzy_means(image()), fuzzy_means(image().with_array(1000 * image().array))
    np.testing.assert_allclose(one.hottest, thousand.hottest, atol=1e-3)


def test_the_sum_of_memberships_is_the_volume_of_a_blurred_ball():
    found = fuzzy_means(image())
    assert found.hottest.sum() == pytest.approx(BALL.sum(), rel=0.1)
    edge = found.hottest[14, 14, :][7:24]
    assert edge.min() < 0.3
    assert edge.max() > 0.95


def wrong(spatial: float) -> int:
    found = fuzzy_means(image(0.5, noise=2.5), spatial=spatial)
    return int(((found.hottest > 0.5) != BALL).sum())


def test_neighbours_mend_single_voxels_of_noise():
    assert wrong(1.0) < 0.5 * wrong(0.0)


def test_a_region_bounds_the_memberships():
    region = image().with_array(FAR <= 12)
    assert fuzzy_means(image(), region).memberships[:, FAR > 12].max() == 0


def test_lesions_are_memberships_about_islands():
    values = gaussian_filter(np.where(BALL, 10.0, 0.5), 1.5)
    found = fuzzy_lesions(Volume(values, AFFINE), fixed_suv=6.0)
    np.testing.assert_allclose(found.array[BALL].mean(), 0.95, atol=0.06)
    assert found.array[FAR > 11].max() < 0.2
    assert fuzzy_lesions(Volume(values, AFFINE), fixed_suv=20.0).array.max() == 0


def organ_beside(hot: float) -> tuple[Volume, dict[str, Volume], np.ndarray]:
    """A lesion of SUV 10 with an organ a centimetre off, and the organ's mask."""
    lesion, organ = FAR <= 4, np.broadcast_to(X >= 24, FAR.shape)
    return Volume(np.where(lesion, 10.0, np.where(organ, hot, 0.5)), AFFINE), {
        "kidney_left": Volume(organ.astype(float), AFFINE)
    }, lesion  # fmt: skip


def test_an_organ_that_is_told_of_is_no_class_of_a_lesion():
    image_, organs, lesion = organ_beside(60.0)
    found = fuzzy_lesions(image_, organs=organs)
    np.testing.assert_array_equal(found.array > 0.5, lesion)
    assert found.array[organs["kidney_left"].array > 0].max() == 0
    # the organ's uptake in the rim would be the hot class, and the lesion the background
    unknown = organs | {"kidney_left": image_.with_array(0 * image_.array + (X >= 28))}
    assert (fuzzy_lesions(image_, organs=unknown).array[lesion] < 0.5).any()


def test_lesions_of_the_liver_keep_the_liver_for_background():
    lesion = FAR <= 4
    scan = Volume(np.where(lesion, 20.0, 4.0) + 0.1 * np.random.default_rng(0).standard_normal(FAR.shape), AFFINE)
    found = fuzzy_lesions(scan, organs={"liver": Volume(np.ones(FAR.shape), AFFINE)})
    np.testing.assert_array_equal(found.array > 0.5, lesion)


def test_each_islands_classes_are_made_where_it_lies(monkeypatch):
    from imaging.segmentation import fuzzy

    seen = []
    real = fuzzy.fuzzy_means
    monkeypatch.setattr(fuzzy, "fuzzy_means", lambda part, region: seen.append(part) or real(part, region))
    scan = Volume(np.where(FAR <= 4, 10.0, 0.5), AFFINE)
    fuzzy_lesions(scan)
    assert seen[0].array.shape != scan.array.shape
    centre = np.array(seen[0].array.shape[::-1]) / 2 - 0.5
    np.testing.assert_allclose(seen[0].to_lps_mm(centre), scan.to_lps_mm([14.5, 14.5, 14.5]))


@pytest.mark.parametrize("words", [{"classes": 1}, {"fuzziness": 1.0}, {"spatial": -1.0}])
def test_what_makes_no_classes_is_refused(words):
    with pytest.raises(InputError):
        fuzzy_means(image(), **words)


def test_an_even_region_has_no_two_classes():
    with pytest.raises(ImageError, match="different values"):
        fuzzy_means(Volume(np.ones((4, 4, 4)), AFFINE))
