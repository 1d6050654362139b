"""What users give beside an image: fields that cover it or not, organs by any name, volumes and what are none."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume, as_volume
from imaging.networks.given import covered_part, ct_doubts, organ_masks, same_place
from imaging.registration.resampling import covered
from imaging.registration.transform import SpatialTransform
from imaging.series import ImageSeries

AFFINE = np.diag([4.0, 5.0, 6.0, 1.0])


def grid(shape=(10, 12, 14)) -> Volume:
    return Volume(np.random.default_rng(0).exponential(1.0, shape), AFFINE)


def at(volume: Volume, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> Volume:
    """The volume moved by mm."""
    return Volume(volume.array, volume.affine + np.array([[0, 0, 0, x], [0, 0, 0, y], [0, 0, 0, z], [0, 0, 0, 0.0]]))


def test_an_image_covers_the_part_of_the_activity_that_lies_in_its_field():
    image = grid()
    assert covered_part(image, image) == 1.0
    whole = image.array.sum(dtype=float)
    assert covered_part(at(image, z=18.0), image) == pytest.approx(image.array[3:].sum(dtype=float) / whole)
    assert covered_part(at(image, x=-8.0), image) == pytest.approx(image.array[..., :-2].sum(dtype=float) / whole)
    assert covered_part(at(image, y=5000.0), image) == 0.0


def test_a_turned_image_covers_the_voxels_that_resampling_reaches():
    image, random = grid(), np.random.default_rng(3)
    turn = np.eye(4)
    turn[:3, :3] = np.linalg.qr(random.standard_normal((3, 3)))[0] @ np.diag([3.0, 4.0, 5.0])
    turn[:3, 3] = [10.0, 20.0, 30.0]
    other = Volume(np.zeros((9, 11, 8)), turn)
    there = covered(other, SpatialTransform.identity(), image)
    assert 0.02 < there.mean() < 0.98
    assert covered_part(other, image, np.ones(image.array.shape)) == pytest.approx(there.mean(), abs=1e-12)


def test_weights_say_what_counts_and_noise_below_zero_does_not():
    image = grid()
    half = np.zeros(image.array.shape)
    half[:3] = 1.0
    assert covered_part(at(image, z=18.0), image, half) == 0.0
    negative = image.with_array(np.where(half > 0, -50.0, image.array))
    assert covered_part(at(image, z=18.0), negative) == 1.0
    assert covered_part(at(image, z=18.0), image.with_array(0 * image.array)) == 1.0


def test_a_ct_beside_the_image_is_refused_one_over_a_part_of_it_said_and_one_over_it_neither():
    image = grid()
    with pytest.raises(ImageError, match="ct: found a field with 0% of the uptake"):
        ct_doubts(at(image, x=5000.0), image, "the uptake")
    assert "the ct covers" in ct_doubts(at(image, z=18.0), image, "the uptake")[0]
    assert ct_doubts(image, image, "the uptake") == ct_doubts(None, image, "the uptake") == ()
    assert same_place("ct", 0.96, "it") == ()


@pytest.mark.parametrize(("name", "own"), [("Liver", "liver"), ("right kidney", "kidney_right"), ("spleen", "spleen")])
def test_organs_are_known_by_any_spelling(name, own):
    found, said = organ_masks({name: grid()}, grid())
    assert found is not None
    assert list(found) == [own]
    assert said == ()


def test_an_organ_of_no_known_name_is_taken_and_said():
    found, said = organ_masks({"liver": grid(), "pouch of Foo": grid()}, grid())
    assert found is not None
    assert list(found) == ["liver", "pouch of Foo"]
    assert "pouch of Foo" in said[0]
    assert "liver" not in said[0]
    assert organ_masks(None, grid()) == (None, ())
    assert organ_masks({}, grid()) == ({}, ())


@pytest.mark.parametrize(
    "name", ["tumour_1", "Lesion 2", "tumor", "liver lesion", "Metastases", "bone_mets", "lesions"]
)
def test_a_lesion_among_the_organs_is_refused_as_it_would_hide_itself(name):
    with pytest.raises(InputError, match="organs: found .*a lesion"):
        organ_masks({"liver": grid(), name: grid()}, grid())


def test_two_masks_of_one_organ_are_refused():
    with pytest.raises(InputError, match="twice"):
        organ_masks({"liver": grid(), "Liver": grid()}, grid())


@pytest.mark.parametrize("other", [at(grid(), x=3.0), grid((20, 24, 28))])
def test_a_mask_on_another_grid_is_refused_by_the_organs_name(other):
    with pytest.raises(ImageError, match=r"organs\['spleen'\].*resampled_onto.*nearest"):
        organ_masks({"liver": grid(), "spleen": other}, grid())


@pytest.mark.parametrize("organs", [[grid()], grid(), np.ones((3, 3, 3)), ("liver",)])
def test_organs_without_names_are_refused(organs):
    with pytest.raises(InputError, match="volumes by name"):
        organ_masks(organs, grid())


def test_what_is_no_volume_is_refused_with_what_to_give():
    series = ImageSeries(grid(), "CT", "HU", "", "")
    assert as_volume(series.volume, "ct") is series.volume
    with pytest.raises(InputError, match=r"ct: found a ImageSeries.*give its \.volume"):
        as_volume(series, "ct")
    with pytest.raises(InputError, match=r"prior.*give its \.probability"):
        as_volume(SimpleNamespace(probability=grid()), "prior")
    with pytest.raises(InputError, match=r"image: found a ndarray.*Volume\(array, affine\)"):
        as_volume(grid().array, "image")
    with pytest.raises(InputError, match="ct: found None"):
        as_volume(None, "ct")
    with pytest.raises(InputError, match=r"organs\['liver'\]: found a ImageSeries"):
        organ_masks({"liver": replace(series, modality="PET")}, grid())  # pyright: ignore[reportArgumentType]
