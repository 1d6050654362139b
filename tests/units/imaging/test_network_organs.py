"""Organ segmentation: what holds whatever the weights, and what the shipped ones must do on a simulated abdomen."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter

from dose.errors import ImageError, InputError
from dose.learning.ranges import Choice
from dose.learning.weights import load_weights
from imaging.geometry import Volume
from imaging.networks import organs, organs_25d, organs_atlas
from imaging.networks.organs import cleaned, segment_organs, segmentation_loss
from imaging.networks.organs_data import Spread, batch, made, organ_classes, whole
from imaging.networks.organs_input import FINEST, HEIGHT, MEDIAN_HU, inputs_of, network_grid
from imaging.networks.organs_result import ORGANS, OrganSegmentation
from imaging.region_masks import region_masks
from imaging.scanner import activity_map, noisy_ct, virtual_body
from imaging.series import ImageSeries, StudyImages


@pytest.fixture(scope="module")
def abdomen():
    return virtual_body("male", voxel_mm=8.0).slab(90.0, 480.0)


def scan(anatomy, remove: str = "") -> tuple[Volume, Volume]:
    """A blurred emission image and a noisy CT."""
    if remove:
        labels = anatomy.labels.copy()
        labels[labels == anatomy.names.index(remove)] = anatomy.names.index("remainder")
        rest = anatomy.ct.array[anatomy.labels == anatomy.names.index("remainder")][0]
        ct = anatomy.ct.with_array(np.where(labels == anatomy.labels, anatomy.ct.array, rest))
        anatomy = replace(anatomy, labels=labels, ct=ct)
    shares = {"liver": 60.0, "spleen": 20.0, "remainder": 400.0, "bladder": 30.0}
    kidneys = {name: 40.0 for name in ("kidney_left", "kidney_right") if name != remove}
    activity = activity_map(anatomy, shares | kidneys)
    return activity.with_array(gaussian_filter(activity.array, 0.5)), noisy_ct(anatomy, 8.0, seed=1)


@pytest.fixture(scope="module")
def found(abdomen) -> OrganSegmentation:
    return segment_organs(*scan(abdomen), modality="SPECT", method="network")


def test_the_shipped_network_finds_liver_and_kidneys_where_they_are(abdomen, found):
    truth = organ_classes(abdomen)
    dice = {}
    for name in ("kidney_left", "kidney_right", "liver"):
        a, b = found.mask(name), truth == ORGANS.index(name) + 1
        dice[name] = 2 * (a & b).sum() / (a.sum() + b.sum())
        exchanged = truth == (ORGANS.index(name) + 1) % 3 + 1
        assert 2 * (a & exchanged).sum() / (a.sum() + exchanged.sum()) < 0.1
    assert dice["liver"] > 0.8
    assert min(dice.values()) > 0.5


@pytest.mark.slow
def test_left_lies_at_the_left_even_in_a_volume_stored_from_left_to_right(abdomen, found):
    emission, ct = scan(abdomen)
    turned = np.array(ct.affine)
    turned[:3, 0], turned[:3, 3] = -ct.affine[:3, 0], ct.to_lps_mm([ct.array.shape[2] - 1, 0, 0])
    stored = [Volume(v.array[:, :, ::-1], turned) for v in (emission, ct)]
    again = segment_organs(stored[0], stored[1], modality="SPECT", method="network")
    for result in (found, again):
        x = {n: result.labels.to_lps_mm(np.argwhere(result.mask(n))[:, ::-1])[:, 0].mean() for n in ORGANS[:2]}
        assert x["kidney_left"] > x["kidney_right"]
    assert np.array_equal(again.labels.array[:, :, ::-1], found.labels.array)


@pytest.mark.slow
def test_doubled_activity_gives_the_same_organs(abdomen, found):
    emission, ct = scan(abdomen)
    twice = segment_organs(emission.with_array(2 * emission.array), ct, modality="SPECT", method="network")
    assert np.array_equal(twice.labels.array, found.labels.array)


def test_each_organ_found_has_a_volume_an_sd_and_a_confidence(found):
    assert set(found.volumes_mL) == set(found.sd_mL) == set(found.confidence) == set(found.names.values())
    assert all(sd > 0 for sd in found.sd_mL.values())
    assert all(0.3 < value <= 1 for value in found.confidence.values())
    assert found.choice.method == "network"


@pytest.mark.parametrize(
    ("change", "error", "word"),
    [
        ({"modality": "MR"}, InputError, "modality"),
        ({"modality": "CT"}, InputError, "modality"),
        ({"method": "best"}, InputError, "method"),
        ({"emission": None}, InputError, "modality"),
        ({"ct": Volume(np.ones((20, 20, 20)), np.diag([5.0, 5, 5, 1]))}, ImageError, "HU"),
        ({"ct": Volume(np.zeros((3, 20, 20)), np.diag([5.0, 5, 5, 1]))}, ImageError, "voxels"),
        ({"emission": Volume(np.zeros((20, 20, 20)), np.diag([5.0, 5, 5, 1]))}, ImageError, "above zero"),
    ],
)
def test_what_cannot_be_segmented_is_refused_by_name(change, error, word):
    box = np.full((20, 20, 20), -1000.0)
    box[4:16, 4:16, 4:16] = 30.0
    ct = Volume(box, np.diag([5.0, 5, 5, 1]))
    given = {"emission": ct.with_array(box + 1001), "ct": ct, "modality": "PET"} | change
    with pytest.raises(error, match=word):
        segment_organs(**given)


def test_outside_of_its_range_auto_takes_the_atlas_and_says_why(abdomen, monkeypatch):
    emission, ct = scan(abdomen)
    shifted = ct.with_array(ct.array + 90.0 * (ct.array > -500))
    asked = {}
    monkeypatch.setattr(organs_atlas, "by_atlas", lambda *_, choice, **__: asked.update(choice=choice))
    segment_organs(emission, shifted, modality="SPECT")
    assert asked["choice"].method == "classical"
    assert asked["choice"].reasons
    shown = segment_organs(emission, shifted, modality="SPECT", method="network").choice
    assert any("HU" in reason for reason in shown.reasons)


def test_the_atlas_doubts_itself_on_a_low_field():
    low, high = (Volume(np.zeros((n, 10, 10)), np.diag([6.0, 6, 6, 1])) for n in (15, 40))
    assert "90 mm" in organs_atlas._doubts(low)[0]
    assert organs_atlas._doubts(high) == ()


def test_pieces_that_are_too_small_are_left_out():
    probability = np.zeros((len(ORGANS) + 1, 20, 20, 20), dtype=np.float32)
    probability[0] = 0.5
    probability[1, 2:10, 2:10, 2:10] = 0.9
    probability[1, 16:18, 16:18, 16:18] = 0.9
    probability[2, 14, 14, 2:8] = 0.9
    kept = cleaned(probability, voxel_mL=0.2)
    assert set(np.unique(kept)) == {0, 1}
    assert (kept == 1).sum() == 512


def test_the_range_holds_nothing_that_cannot_be_and_no_field_lower_than_was_trained_on():
    cases = [tiny_case(np.random.default_rng(seed)) for seed in range(2)]
    found = organs.limits(cases, organs.RECIPE.config("small"))
    heights = (24 * 6.0, 6.0 * organs.RECIPE.config("small").training["patch"][0])
    assert found[HEIGHT][0] == min(heights)
    assert found[HEIGHT][1] >= max(heights)
    assert all(low >= 0 for name, (low, _) in found.items() if name not in (MEDIAN_HU, FINEST))
    for trained in (organs.RECIPE, organs_25d.RECIPE):
        kept = load_weights(trained).limits
        assert all(low >= 0 for name, (low, _) in kept.items() if name not in (MEDIAN_HU, FINEST))
    assert load_weights(organs.RECIPE).limits[HEIGHT][0] == 192.0


def test_regions_reach_the_scan_of_a_study_in_the_same_frame():
    box = np.zeros((10, 10, 10))
    box[2:5, 2:6, 3:6], box[6:9, 2:6, 3:6] = 1, 2
    affine = np.diag([4.0, 4, 4, 1])
    labels = Volume(box, affine)
    names = {1: "kidney_left", 2: "liver"}
    made_ = OrganSegmentation(labels, names, {}, {}, {}, Choice("network"))
    ct = ImageSeries(labels.with_array(box), "CT", "HU", "seen", "frame")
    study = StudyImages(images=(ct,), segmentations=(made_.segmentation(ct),))
    masks = region_masks(study, ct)
    assert {name: int(mask.array.sum()) for name, mask in masks.items()} == {"kidney_left": 36, "liver": 36}


def test_the_grid_of_the_network_is_upright_and_holds_the_body():
    box = np.full((30, 30, 30), -1000.0)
    box[5:25, 8:20, 6:28] = 20.0
    ct = Volume(box, np.diag([-3.0, -3.0, 2.0, 1.0]))
    grid = network_grid(ct, 6.0)
    assert np.array_equal(grid.affine[:3, :3], 6.0 * np.eye(3))
    inputs, _, hu = inputs_of(None, ct, 6.0)
    assert (hu.array > 0).sum() * 0.216 == pytest.approx((box > 0).sum() * 0.018, rel=0.15)
    assert not inputs[2].any()


def tiny_case(random) -> dict:
    labels = np.zeros((24, 20, 32), dtype=np.uint8)
    labels[:, 3:17, 3:29] = 1
    labels[8:16, 8:13, 6:11], labels[8:16, 8:13, 21:26] = 2, 3
    classes = np.select([labels == 2, labels == 3], [2, 1]).astype(np.uint8)
    names = '["outside", "remainder", "kidney_right", "kidney_left"]'
    uptake = random.uniform(1, 5, (2, 4)).astype(np.float32) * [0, 1, 20, 20]
    return {"labels": labels, "organs": classes, "hu": np.array([-1000.0, -2, 40, 40]), "uptake": uptake,
            "counts": np.bincount(labels.ravel()), "names": np.array(names), "voxel_mm": np.array(6.0)}  # fmt: skip


def test_an_organ_taken_out_is_gone_from_labels_ct_and_emission():
    random = np.random.default_rng(1)
    case = tiny_case(random)
    spread = Spread(remove=("kidney_left",), no_emission=0.0, noise=(1e-3, 2e-3), texture=0.0, blur_fwhm_mm=(4.0, 5.0))
    hu, emission, classes = whole(case, random, spread)
    place = case["organs"] == 1
    assert 1 not in classes
    assert 2 in classes
    assert emission[place].mean() < 0.2 * emission[classes == 2].mean()
    rest = (case["labels"] == 1) & ~place
    assert abs(hu[place].mean() - hu[rest].mean()) < 5


def test_batches_hang_on_their_seed_alone_and_keep_left_and_right():
    config = organs.RECIPE.config("small")
    case = tiny_case(np.random.default_rng(2))
    one, two, other = (batch([case], np.random.default_rng(seed), config) for seed in (3, 3, 4))
    assert all(np.array_equal(one[key], two[key]) for key in one)
    assert not np.array_equal(one["inputs"], other["inputs"])
    assert one["inputs"].shape == (2, 4, 24, 32, 40)
    for inputs, classes in zip(other["inputs"], other["organs"]):
        x = inputs[3]
        sides = [x[classes == k].mean() for k in (1, 2) if (classes == k).any()]
        assert sides == sorted(sides, reverse=True)


def test_some_scans_have_no_emission_and_ranges_can_be_forced():
    random = np.random.default_rng(5)
    case = tiny_case(random)
    _, emission, _ = made(case, case["labels"], case["organs"], random, Spread(no_emission=1.0))
    assert not emission.any()


def test_loss_is_small_for_the_truth_and_large_for_another_organ():
    classes = torch.zeros((1, 8, 8, 8), dtype=torch.long)
    classes[:, 2:6, 2:6, 2:6] = 1
    logits = 20.0 * torch.nn.functional.one_hot(classes, len(ORGANS) + 1).movedim(-1, 1).float()
    assert segmentation_loss(logits, classes) < 0.01
    assert segmentation_loss(logits.roll(1, dims=1), classes) > 1.0


def test_the_slice_variant_answers_on_every_slice_in_order():
    inputs = np.random.default_rng(0).random((4, 7, 24, 32), dtype=np.float32)
    config = organs_25d.RECIPE.config("small")
    torch.manual_seed(0)
    trained = organs_25d.Trained((organs_25d.network(config).eval(),), {}, False, {})
    answer = organs_25d.slice_by_slice(trained, inputs)
    assert answer.shape == (len(ORGANS) + 1, 7, 24, 32)
    assert np.allclose(answer.sum(axis=0), 1, atol=1e-5)
    changed = inputs.copy()
    changed[:, 6] += 1
    moved = np.abs(organs_25d.slice_by_slice(trained, changed) - answer).max(axis=(0, 2, 3))
    assert (moved[:4] == 0).all()
    assert (moved[4:] > 0).all()


def phantom() -> tuple[Volume, Volume]:
    """Emission and CT of a box in air."""
    box = np.full((20, 20, 20), -1000.0)
    box[4:16, 4:16, 4:16] = 30.0
    ct = Volume(box, np.diag([5.0, 5, 5, 1]))
    return ct.with_array(box + 1001), ct


def moved(volume: Volume, z_mm: float) -> Volume:
    affine = volume.affine.copy()
    affine[2, 3] += z_mm
    return Volume(volume.array, affine)


@pytest.mark.parametrize("segment", [segment_organs, organs_25d.segment_organs_25d])
def test_an_emission_image_of_another_place_is_refused_and_one_over_a_part_of_the_body_said(segment):
    emission, ct = phantom()
    ask = {"modality": "PET", "method": "network"}
    with pytest.raises(ImageError, match="emission: found a field with 0% of the body"):
        segment(emission, moved(ct, 5000.0), **ask)
    part = segment(moved(emission, 50.0), ct, **ask).choice.reasons
    assert any("the emission covers" in reason for reason in part)
    assert not any("covers" in reason for reason in segment(emission, ct, **ask).choice.reasons)
    assert not any("covers" in reason for reason in segment(moved(emission, 15.0), ct, **ask).choice.reasons)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"ct": None}, "ct: found None"),
        ({"ct": phantom()[1].array}, "ct: found a ndarray"),
        ({"ct": ImageSeries(phantom()[1], "CT", "HU", "", "")}, "ct: .*its .volume"),
        ({"emission": ImageSeries(phantom()[0], "PET", "Bq/mL", "", "")}, "emission: .*its .volume"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(change, field):
    emission, ct = phantom()
    with pytest.raises(InputError, match=field):
        segment_organs(**{"emission": emission, "ct": ct, "modality": "PET"} | change)
