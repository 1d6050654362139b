"""Learned registration: maps that do not fold, the fallback and its reasons, inputs refused, volumes kept."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dose.errors import ImageError, InputError
from dose.learning.weights import save_weights, tensors_of
from imaging.geometry import Volume
from imaging.networks import warp_cases, warp_field
from imaging.networks.warp import RECIPE, descended_registration, learned_registration, loss, network, velocities
from imaging.networks.warp_grid import AIR_HU, GRID_mm, ct_channel, emission_channel, grid_over, on_grid
from imaging.registration import DisplacementField, SpatialTransform, resample
from imaging.registration.pairwise import Registration
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.deform import jacobian
from imaging.series import ImageSeries

LIMITS = {
    "voxel size in mm": [0.0, 8.4],
    "least length of the field in mm": [100.0, 600.0],
    "unlikeness of the CTs after the rigid step": [0.0, 0.3],
    "share of activity outside of the fixed body": [0.0, 0.2],
}
STILL = Registration(SpatialTransform.identity(), (), (), "mutual_information", "")


def ct(shift_mm: float = 0.0, seed: int = 0) -> ImageSeries:
    """A body with an organ that lies further along z."""
    z, y, x = np.mgrid[:24, :24, :28] * 6.0
    body = ((x - 81) / 70) ** 2 + ((y - 69) / 55) ** 2 < 1
    organ = ((x - 100) / 28) ** 2 + ((y - 70) / 24) ** 2 + ((z - 70 - shift_mm) / 30) ** 2
    hu = np.where(body, 0.0, -1000.0) + np.where(body, 120 / (1 + np.exp(8 * (organ - 1))), 0)
    noise = 3 * np.random.default_rng(seed).standard_normal(hu.shape)
    return ImageSeries(Volume(hu + noise, np.diag([6.0, 6.0, 6.0, 1.0])), "CT", "HU", "", "")


def spect(like: ImageSeries) -> ImageSeries:
    return replace(like, volume=like.volume.with_array(np.maximum(like.volume.array, 0)), modality="SPECT")


@pytest.fixture
def weights(tmp_path):
    """A folder with an untrained network that is the default."""
    return saved(tmp_path)


def saved(folder, *, default=True, limits=None):
    torch.manual_seed(0)
    config = RECIPE.config("small")
    config = replace(config, training={**config.training, "members": 1})
    save_weights(folder, RECIPE, config, [network(config)], {"limits": limits or LIMITS, "default": default})
    return folder


def organ_z(volume: Volume) -> float:
    hot = np.clip(volume.array - 60, 0, None)
    return float((hot.sum(axis=(1, 2)) * np.arange(len(hot))).sum() / hot.sum() * 6)


def test_an_organ_that_moved_is_found_again(weights):
    fixed, moving = ct(9.0), ct(0.0, seed=1)
    found = learned_registration(fixed, moving, start=STILL, weights=weights, refine=15)
    assert found.choice.method == "network"
    before, after = organ_z(moving.volume), organ_z(resample(moving.volume, found.transform, fixed.volume))
    aim = organ_z(fixed.volume)
    assert abs(before - aim) > 5
    assert abs(after - aim) < 0.5 * abs(before - aim)
    assert found.folding.value == 0


def test_the_activity_in_the_warped_image_is_kept_with_the_jacobian(weights):
    fixed, moving = ct(9.0), ct(0.0, seed=1)
    found = learned_registration(fixed, moving, emission=spect(moving), start=STILL, weights=weights, refine=5)
    activity = np.zeros(moving.volume.array.shape)
    activity[8:16, 8:16, 12:20] = 5.0
    carried = resample(moving.volume.with_array(activity), found.transform, fixed.volume, conserve="activity")
    assert carried.array.sum() == pytest.approx(activity.sum(), rel=0.03)


def test_an_emission_without_ct_is_taken(weights):
    found = learned_registration(ct(), spect(ct(seed=1)), start=STILL, weights=weights)
    assert found.choice.method == "network"
    assert found.sd_mm is not None
    assert (found.sd_mm.array > 0).all()


def test_an_emission_without_ct_is_flagged_by_what_ships():
    found = learned_registration(ct(), spect(ct(seed=1)), start=STILL, method="network")
    assert any("moving image is a CT" in reason for reason in found.choice.reasons)
    pair = learned_registration(ct(), ct(seed=1), start=STILL, method="network", refine=0)
    assert not any("moving image is a CT" in reason for reason in pair.choice.reasons)


def test_descent_from_rest_takes_cts_only():
    found = descended_registration(ct(9.0), ct(seed=1), start=STILL, refine=5)
    assert found.choice.method == "classical"
    assert found.transform.apply([100.0, 70.0, 76.0])[2] < 75.5
    with pytest.raises(ImageError, match="moving, modality"):
        descended_registration(ct(), spect(ct()), start=STILL)


def test_the_field_of_a_start_is_dropped(weights):
    fixed, moving = ct(9.0), ct(0.0, seed=1)
    bent = np.zeros((24, 24, 28, 3))
    bent[8:16, 8:16, 8:20, 2] = 15.0
    curved = replace(STILL, transform=SpatialTransform(np.eye(4), DisplacementField(bent, fixed.volume.affine)))
    for call, more in ((learned_registration, {"weights": weights}), (descended_registration, {})):
        straight, dropped = (call(fixed, moving, start=start, refine=3, **more) for start in (STILL, curved))
        assert dropped.rigid.transform.field is None
        points = np.array([[100.0, 70.0, 76.0], [60.0, 60.0, 70.0]])
        np.testing.assert_array_equal(dropped.transform.apply(points), straight.transform.apply(points))


def test_the_spread_of_two_answers_is_half_their_distance():
    class Leftwards:
        def velocity(self, inputs):
            return torch.tensor([3.0, 0.0, 0.0]).reshape(1, 3, 1, 1, 1).expand(1, 3, 8, 8, 8)

    mean, spread = velocities([Leftwards()], torch.zeros(1, 3, 16, 16, 16))
    assert float(mean.abs().max()) == 0
    np.testing.assert_allclose(spread, 3.0 / 3**0.5, rtol=1e-6)


def test_the_scale_of_the_emission_does_not_matter():
    values = np.random.default_rng(0).exponential(1.0, (6, 6, 6))
    np.testing.assert_allclose(emission_channel(2 * values), emission_channel(values), rtol=1e-6)
    assert emission_channel(0 * values).max() == 0


def test_without_weights_the_splines_are_used_and_say_why(tmp_path):
    found = learned_registration(ct(9.0), ct(0.0, seed=1), start=STILL, weights=tmp_path)
    assert found.choice.method == "classical"
    assert "theratwin train warp" in found.choice.reasons[0]
    assert found.sd_mm is None
    with pytest.raises(InputError, match="weights"):
        learned_registration(ct(), ct(), start=STILL, weights=tmp_path, method="network")


def test_weights_that_are_no_default_are_used_only_when_asked_for(tmp_path):
    saved(tmp_path, default=False)
    ask = {"start": STILL, "weights": tmp_path}
    assert learned_registration(ct(), ct(seed=1), **ask).choice.method == "classical"
    assert learned_registration(ct(), ct(seed=1), **ask, method="network").choice.method == "network"


@pytest.mark.parametrize(
    ("start", "words"),
    [
        (SpatialTransform.rigid(translation_mm=(60, 0, 90)), "unlikeness"),
        (SpatialTransform.identity(), "length of the field"),
    ],
)
def test_pairs_outside_of_the_range_are_said(tmp_path, start, words):
    narrow = LIMITS | ({"least length of the field in mm": [200.0, 600.0]} if "length" in words else {})
    saved(tmp_path, limits=narrow | {"unlikeness of the CTs after the rigid step": [0.0, 0.1]})
    begin = replace(STILL, transform=start)
    found = learned_registration(ct(), ct(seed=1), start=begin, weights=tmp_path, method="network", refine=0)
    assert words in found.choice.reasons[0]


@pytest.mark.parametrize(
    ("fixed", "moving", "emission", "words"),
    [
        (spect(ct()), ct(), None, "fixed, modality"),
        (ct(), replace(ct(), modality="MR"), None, "moving, modality"),
        (ct(), ct(), ct(), "emission, modality"),
        (ct(), spect(ct()), spect(ct()), "beside a moving CT"),
        (ct(), replace(ct(), volume=ct().volume.with_array(np.zeros((24, 24, 28)))), None, "contrast"),
        (replace(ct(), volume=Volume(ct().volume.array[:4], np.eye(4))), ct(), None, "8 voxels"),
    ],
)
def test_images_that_cannot_be_registered_are_refused(fixed, moving, emission, words):
    with pytest.raises(ImageError, match=words):
        learned_registration(fixed, moving, emission=emission)


def test_wrong_settings_are_refused(weights):
    with pytest.raises(InputError, match="refine"):
        learned_registration(ct(), ct(), refine=-1)
    with pytest.raises(InputError, match="method"):
        learned_registration(ct(), ct(), start=STILL, weights=weights, method="magic")


def test_a_velocity_integrates_to_its_flow_and_folds_nowhere():
    constant = torch.zeros(1, 3, 8, 8, 8)
    constant[:, 2] = 5.0
    moved = warp_field.integrated(constant, 4.0, (16, 16, 15))
    assert moved.shape == (1, 3, 16, 16, 15)
    torch.testing.assert_close(moved[:, 2], torch.full((1, 16, 16, 15), 5.0))
    rough = 12 * torch.randn(1, 3, 8, 8, 8, generator=torch.Generator().manual_seed(0))
    smooth = torch.nn.functional.avg_pool3d(rough, 3, 1, 1)
    folds = warp_field.volume_change(warp_field.gradients(warp_field.integrated(smooth, 8.0, (16, 16, 16)), 8.0))
    added = torch.nn.functional.interpolate(smooth, scale_factor=2, mode="trilinear")
    plain = warp_field.volume_change(warp_field.gradients(3 * added, 8.0))
    assert folds.min() > 0 > plain.min()


def test_the_curl_of_a_potential_changes_no_volume():
    potential = warp_cases._noise_vector((30, 30, 30), 5.0, np.random.default_rng(0))
    spacing = np.ones(3)
    size = 0.5 / np.abs(np.gradient(potential, axis=(1, 2, 3))).max()
    field = 2 * warp_cases.curl(size * potential)
    inner = (slice(4, -4),) * 3
    assert (
        np.abs(jacobian(field, spacing)[inner] - 1).mean()
        < 0.2 * np.abs(jacobian(2 * size * potential, spacing)[inner] - 1).mean()
    )


def test_a_flow_points_to_where_the_image_went():
    fixed, moving = (torch.from_numpy(np.array(a)) for a in _blobs(2.0))
    flow = warp_field.flows(fixed, moving, GRID_mm)
    middle = flow[0, :3, 4:8, 4:8, 4:8].mean(dim=(1, 2, 3))
    assert 0.4 * 2.0 < float(middle[2]) < 1.3 * 2.0
    assert float(middle[:2].abs().max()) < 0.5
    assert float(warp_field.flows(fixed, torch.zeros_like(fixed), GRID_mm).abs().max()) == 0


def _blobs(shift_mm: float):
    z, y, x = np.mgrid[:24, :24, :24] * GRID_mm
    r2 = (x - 92) ** 2 + (y - 92) ** 2
    return [np.exp(-(r2 + (z - 92 - s) ** 2) / 2 / 30**2)[None, None].astype(np.float32) for s in (0.0, shift_mm)]


def test_changing_volume_where_activity_lies_costs_more():
    fixed, moving = (torch.from_numpy(a) for a in _blobs(0.0))
    velocity = torch.zeros(1, 3, 12, 12, 12)
    at = torch.arange(12) - 5.5
    velocity[:, 0], velocity[:, 1], velocity[:, 2] = (
        -0.8 * at.reshape(shape) * torch.ones(12, 12, 12) for shape in ((1, 1, 12), (1, 12, 1), (12, 1, 1))
    )
    moved = warp_field.integrated(velocity, GRID_mm, (24, 24, 24))
    cold = {"fixed": fixed, "moving": moving, "emission": torch.zeros_like(fixed)}
    hot = cold | {"emission": moving}
    found = [float(warp_field.cost(velocity, moved, batch, GRID_mm)) for batch in (cold, hot)]
    assert found[1] > found[0]


def test_a_shrunken_lesion_keeps_its_place():
    labels = np.ones((12, 12, 12), np.uint16)
    labels[3:8, 3:8, 3:8] = 2
    anatomy = Anatomy(labels, ("outside", "liver", "tumour_1"), np.ones(3), Volume(labels, np.eye(4)))
    small = warp_cases.shrunk(anatomy, 0.4)
    assert (small == 2).sum() == 50
    assert (labels[small == 2] == 2).all()
    assert set(np.unique(small)) == {1, 2}


def test_the_ct_shows_a_lesion_only_where_it_still_is():
    labels = np.ones((12, 12, 12), np.uint16)
    labels[3:8, 3:8, 3:8] = 2
    anatomy = Anatomy(labels, ("outside", "liver", "tumour_1"), np.ones(3), Volume(labels, np.eye(4)))
    hu = np.where(labels == 2, 90.0, 40.0)
    small = warp_cases.shrunk(anatomy, 0.4)
    np.testing.assert_array_equal(warp_cases.healed(hu, anatomy, small), np.where(small == 2, 90.0, 40.0))
    assert warp_cases.healed(hu, anatomy, labels) is hu


def test_grid_covers_a_flipped_image():
    affine = np.diag([-3.0, -3.0, 3.0, 1.0])
    affine[:3, 3] = (100, 50, -20)
    image = Volume(np.zeros((20, 30, 40)), affine)
    grid = grid_over(image)
    assert (np.diag(grid.affine)[:3] == GRID_mm).all()
    corners = grid.to_index(image.to_lps_mm([[0, 0, 0], [39, 29, 19]]))
    assert (corners > -0.6).all()
    assert (corners < np.array(grid.array.shape[::-1]) - 0.4).all()


@pytest.mark.slow
def test_training_lowers_the_cost():
    config = RECIPE.config("small")
    cases = [warp_cases.case(seed, config) for seed in range(2)]
    torch.manual_seed(0)
    model, batch = network(config), tensors_of(warp_cases.batch(cases, np.random.default_rng(0), config))
    adam = torch.optim.Adam(model.parameters(), lr=3e-3)
    before = float(loss(model, batch).detach())
    for _ in range(15):
        adam.zero_grad()
        loss(model, batch).backward()
        adam.step()
    assert float(loss(model, batch).detach()) < before - 0.005


def test_a_bare_volume_is_refused_by_name():
    bare = Volume(np.zeros((20, 20, 20)), np.diag([6.0, 6.0, 6.0, 1.0]))
    with pytest.raises(InputError, match="fixed: found a Volume"):
        learned_registration(bare, bare)  # type: ignore[arg-type]


def test_what_the_network_sees_does_not_hang_on_the_order_of_slices():
    hu = np.random.default_rng(0).uniform(-200, 300, (66, 20, 20))
    image = Volume(hu, np.diag([6.0, 6.0, 6.0, 1.0]))
    turned = image.affine.copy()
    turned[:3, 2], turned[:3, 3] = -image.affine[:3, 2], image.to_lps_mm([0, 0, 65])
    other, grid, same = Volume(hu[::-1].copy(), turned), grid_over(image), SpatialTransform.identity()
    for ct in (True, False):
        one, two = (on_grid(volume, same, grid, ct=ct) for volume in (image, other))
        np.testing.assert_allclose(one, two, atol=1e-5)
    bare = [ct_channel(resample(volume, same, grid, outside=AIR_HU).array) for volume in (image, other)]
    assert np.abs(bare[0] - bare[1]).max() > 0.05


@pytest.mark.parametrize("steps", ["3", 2.5, None])
def test_steps_that_are_no_whole_number_are_refused(steps):
    for call in (learned_registration, descended_registration):
        with pytest.raises(InputError, match="refine"):
            call(ct(), ct(), refine=steps)


def aside(series: ImageSeries, x_mm: float) -> ImageSeries:
    affine = series.volume.affine.copy()
    affine[0, 3] += x_mm
    return replace(series, volume=Volume(series.volume.array, affine))


def test_an_emission_beside_the_moving_ct_is_refused_and_one_half_beside_it_said(weights):
    fixed, moving = ct(), ct(seed=1)
    for call in (learned_registration, descended_registration):
        with pytest.raises(ImageError, match="moving CT: found a field with 0% of the emission"):
            call(fixed, moving, emission=aside(spect(moving), 5000.0), start=STILL)
    ask = {"start": STILL, "refine": 0, "weights": weights, "method": "network"}
    part = learned_registration(fixed, moving, emission=aside(spect(moving), 70.0), **ask).choice.reasons
    assert any("the moving CT covers" in reason for reason in part)
    whole = learned_registration(fixed, moving, emission=spect(moving), **ask).choice.reasons
    assert not any("covers" in reason for reason in whole)
