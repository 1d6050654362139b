"""lesions_pet: what comes back, what is refused, what is flagged; how good it is stands in docs/ai/lesions_pet.md."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import label

from dose.errors import ImageError, InputError
from dose.learning.ranges import Choice
from imaging.geometry import Volume
from imaging.networks.lesions_cases import Look, label_uptake, painted, seen, with_ureters
from imaging.networks.lesions_features import axial_grid, body_mask, image_features
from imaging.networks.lesions_pet import RECIPE, segment_lesions
from imaging.networks.lesions_result import lesion_segmentation, outside_organs
from imaging.series import ImageSeries

AFFINE = np.diag([5.0, 5.0, 5.0, 1.0])
SHAPE = (16, 30, 40)


def ball(centre, radius: float) -> np.ndarray:
    far = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(slice(0, n) for n in SHAPE)], centre))
    return np.asarray(far <= radius**2)


BIG, SMALL = ball((8, 15, 10), 3), ball((8, 15, 30), 2)


def scan() -> Volume:
    noise = 0.15 * np.random.default_rng(1).standard_normal(SHAPE)
    return Volume(np.where(BIG, 9.0, np.where(SMALL, 6.0, 0.7)) + noise, AFFINE)


@pytest.mark.parametrize("rule", ["fixed", "share", "fuzzy"])
def test_the_classical_method_finds_two_balls_and_adds_them_up(rule):
    found = segment_lesions(scan(), tracer="psma", method="classical", rule=rule)
    assert found.choice == Choice("classical")
    assert len(found.lesions) == len(found.table()) == 2
    assert found.burden is not None
    assert found.burden.volume_mL.value == pytest.approx((BIG.sum() + SMALL.sum()) * 0.125, rel=0.05)
    assert found.labels.array[8, 15, 10] == 1
    assert found.labels.array[8, 15, 30] == 2
    assert found.table()[0]["suv_max"] > found.table()[1]["suv_max"]


def test_the_network_answers_on_the_scans_own_grid():
    said = []
    found = segment_lesions(scan(), tracer="psma", method="network", progress=lambda *words: said.append(words))
    assert found.probability.is_on_grid_of(scan())
    assert 0 <= found.probability.array.min() <= found.probability.array.max() <= 1
    assert found.sd.array.max() > 0
    assert found.choice.method == "network"
    assert said[-1] == (3, 3, "planes")


def test_twice_the_activity_image_is_twice_the_activity_in_the_same_lesions():
    one, two = (
        segment_lesions(scan(), tracer="psma", method="classical", activity=scan().with_array(f * scan().array))
        for f in (1.0, 2.0)
    )
    np.testing.assert_array_equal(one.mask.array, two.mask.array)
    assert one.burden is not None
    assert two.burden is not None
    assert two.burden.activity_MBq.value == pytest.approx(2 * one.burden.activity_MBq.value)  # type: ignore[union-attr]


def test_another_tracer_is_flagged_and_left_to_the_classical_method():
    found = segment_lesions(scan(), tracer="fdg")
    assert found.choice.method == "classical"
    assert any("fdg" in reason for reason in found.choice.reasons)
    asked = segment_lesions(scan(), tracer="fdg", method="network")
    assert asked.choice.method == "network"
    assert any("fdg" in reason for reason in asked.choice.reasons)


def test_coarse_voxels_and_foreign_units_are_flagged():
    coarse = Volume(scan().array[::2, ::2, ::2], np.diag([10.0, 10.0, 10.0, 1.0]))
    counts = scan().with_array(1000 * scan().array)
    for image, word in ((coarse, "voxel_mm"), (counts, "mean_uptake")):
        reasons = segment_lesions(image, tracer="psma", method="network").choice.reasons
        assert any(reason.startswith(word) for reason in reasons)


@pytest.mark.parametrize("values", [np.zeros(SHAPE), -np.ones(SHAPE)])
def test_a_scan_without_uptake_is_refused(values):
    with pytest.raises(ImageError, match="uptake above zero"):
        segment_lesions(Volume(values, AFFINE), tracer="psma")


def test_numbers_that_are_none_and_flat_images_are_refused():
    with pytest.raises(ImageError, match="not finite"):
        segment_lesions(Volume(np.full(SHAPE, np.nan), AFFINE), tracer="psma")
    with pytest.raises(ImageError, match="two voxels"):
        segment_lesions(Volume(np.ones((1, 9, 9)), AFFINE), tracer="psma")


def test_odd_shapes_go_through():
    image = Volume(scan().array[:7, :13, :17], AFFINE)
    assert segment_lesions(image, tracer="sstr", method="network").mask.array.shape == (7, 13, 17)


@pytest.mark.parametrize("words", [{"rule": "best"}, {"method": "guess"}])
def test_unknown_words_are_refused(words):
    with pytest.raises(InputError):
        segment_lesions(scan(), tracer="psma", **words)


def test_without_weights_the_classical_method_says_why(tmp_path):
    assert "lesions_pet" in segment_lesions(scan(), tracer="psma", weights=tmp_path).choice.reasons[0]
    with pytest.raises(InputError, match="train"):
        segment_lesions(scan(), tracer="psma", method="network", weights=tmp_path)


def test_planes_that_disagree_widen_the_interval():
    agreeing = np.stack([0.9 * (BIG | SMALL)] * 3)
    larger = np.where(ball((8, 15, 10), 4) & ~SMALL, 0.9, agreeing[0])
    settings = {"threshold": 0.5, "least_peak": 0.6, "minimum_volume_mL": 0.5}
    one = lesion_segmentation(scan(), agreeing, Choice("network"), **settings)
    two = lesion_segmentation(scan(), np.stack([agreeing[0], agreeing[0], larger]), Choice("network"), **settings)
    width = lambda made: made.burden.volume_mL.high - made.burden.volume_mL.low
    assert width(two) > 1.05 * width(one)
    assert two.sd.array.max() > 0.3


def test_what_planes_say_of_voxels_that_are_cut_away_does_not_widen_the_interval():
    values = np.where(BIG, 9.0, 0.7)
    cold_rim = np.where(BIG, 0.95, 0.5 * ball((8, 15, 10), 4))
    settings = {"threshold": 0.3, "least_peak": 0.9, "minimum_volume_mL": 0.5}
    wide = []
    for planes in (np.stack([0.95 * BIG] * 3), np.stack([0.95 * BIG, cold_rim, cold_rim])):
        made = lesion_segmentation(Volume(values, AFFINE), planes, Choice("network"), share=0.41, **settings)
        np.testing.assert_array_equal(made.mask.array > 0, BIG)
        wide.append(made.burden.volume_mL.high - made.burden.volume_mL.low)  # type: ignore[union-attr]
    assert wide[1] == pytest.approx(wide[0])
    uncut = lesion_segmentation(Volume(values, AFFINE), planes, Choice("network"), **settings)
    assert uncut.burden.volume_mL.high - uncut.burden.volume_mL.low > 1.5 * wide[0]  # type: ignore[union-attr]


def test_islands_without_a_sure_voxel_or_too_small_are_dropped():
    settings = {"threshold": 0.5, "least_peak": 0.6, "minimum_volume_mL": 0.5}
    unsure = np.where(BIG, 0.55, np.where(SMALL, 0.9, 0.0))[None]
    unsure[0, 1, 1, 1] = 1.0
    found = lesion_segmentation(scan(), unsure, Choice("network"), **settings)
    np.testing.assert_array_equal(found.mask.array > 0, SMALL)
    nothing = lesion_segmentation(scan(), 0 * unsure, Choice("network"), **settings)
    assert nothing.lesions == ()
    assert nothing.burden is None


def test_islands_are_cut_to_the_piece_about_their_maximum():
    wide = np.where(BIG | SMALL, 0.95, 0.6 * ball((8, 15, 10), 6))[None]
    settings = {"threshold": 0.5, "least_peak": 0.9, "minimum_volume_mL": 0.5}
    whole = lesion_segmentation(scan(), wide, Choice("network"), **settings).mask.array > 0
    np.testing.assert_array_equal(whole, wide[0] > 0)
    cut = lesion_segmentation(scan(), wide, Choice("network"), share=0.41, **settings).mask.array > 0
    np.testing.assert_array_equal(cut, BIG | SMALL)


CUT = {"threshold": 0.3, "least_peak": 0.9, "share": 0.41, "minimum_volume_mL": 0.5}


def cut(values, probability, affine=AFFINE, **words) -> np.ndarray:
    """The mask that the network's cut leaves of an image and its probability."""
    made = lesion_segmentation(Volume(values, affine), probability[None], Choice("network"), **CUT | words)
    return made.mask.array > 0


def touching(second: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """SUV of a hot ball and of another one at its side, and the two balls."""
    hot, other = ball((8, 15, 12), 3), ball((8, 15, 19), 3)
    noise = 0.1 * np.random.default_rng(4).random(SHAPE)
    return np.where(hot, 20.0, np.where(other, second, 0.7)) + noise, hot, other


def test_a_lesion_that_touches_a_hotter_one_stays():
    values, hot, other = touching(6.0)
    assert label(hot | other, structure=np.ones((3, 3, 3)))[1] == 1  # type: ignore[misc]
    made = cut(values, 0.95 * (hot | other))
    np.testing.assert_array_equal(made, hot | other)
    # about the hottest voxel alone, as it was cut once, the other one would be gone
    assert not (other & (values >= 0.41 * values.max())).any()


def test_a_hottest_place_that_is_not_sure_keeps_no_piece_of_its_own():
    values, hot, other = touching(6.0)
    made = cut(values, np.where(hot, 0.95, 0.6 * other))
    np.testing.assert_array_equal(made[hot], True)
    assert made[other].mean() < 0.2


def test_on_fine_voxels_noise_does_not_break_a_lesion_into_its_hottest_voxels():
    fine = np.diag([2.5, 2.5, 2.5, 1.0])
    values = np.where(BIG, 9.0, 0.7) + 3.0 * np.random.default_rng(5).random(SHAPE)
    np.testing.assert_array_equal(cut(values, np.where(BIG, 0.95, 0.5 * ball((8, 15, 10), 5)), fine), BIG)


@pytest.mark.parametrize(("least", "there"), [(0.5, False), (0.1, True)])
def test_the_least_volume_holds_after_the_cut(least, there):
    point = ball((8, 15, 10), 0)
    values, wide = np.where(point, 30.0, 1.0), 0.95 * ball((8, 15, 10), 2)
    assert (wide > 0).sum() * 0.125 > 0.5
    made = cut(values, np.where(point, wide, np.minimum(wide, 0.6)), minimum_volume_mL=least)
    np.testing.assert_array_equal(made, point & there)


def test_a_fine_scan_is_averaged_onto_the_networks_voxels(monkeypatch):
    from imaging.networks import lesions_pet

    seen = []

    def stub(network, image, others, slices, body, progress):
        seen.append(np.sinh(image))
        return np.zeros((3, *image.shape), np.float32)

    monkeypatch.setattr(lesions_pet, "three_planes", stub)
    chess = np.indices((24, 24, 24)).sum(axis=0) % 2 * 4.0
    segment_lesions(Volume(chess, np.diag([2.5, 2.5, 2.5, 1.0])), tracer="psma", method="network")
    np.testing.assert_allclose(seen[0][2:-2, 2:-2, 2:-2], 2.0, atol=0.3)
    # one sample a voxel reads black or white fields
    points = Volume(chess, np.diag([2.5, 2.5, 2.5, 1.0])).resampled_onto(axial_grid(Volume(chess, AFFINE / 2), 5.0))
    assert points.array[2:-2, 2:-2, 2:-2].std() > 1.0 or abs(points.array[3:-3, 3:-3, 3:-3].mean() - 2) > 1.0


def test_no_lesion_is_called_within_an_organ_but_the_liver():
    planes, grid = np.full((3, *SHAPE), 0.9), scan()
    left = outside_organs(planes, {"spleen": grid.with_array(BIG), "liver": grid.with_array(SMALL)})
    assert left[:, BIG].max() == 0
    assert left[:, ~BIG].min() == 0.9
    np.testing.assert_array_equal(outside_organs(planes, None), planes)


def test_the_body_is_known_by_its_ct_and_without_one_by_its_uptake():
    hu = np.where(BIG, 0.0, -1000.0)
    np.testing.assert_array_equal(body_mask(scan().array, hu), BIG)
    assert body_mask(np.where(BIG, 5.0, 0.0), None).sum() == BIG.sum()
    assert image_features(scan(), None)["voxel_mm"] == pytest.approx(5.0)


def test_noise_raises_its_feature():
    noisier = scan().with_array(scan().array + 0.3 * np.random.default_rng(2).standard_normal(SHAPE))
    assert image_features(noisier, None)["noise"] > 1.3 * image_features(scan(), None)["noise"]


def test_the_networks_grid_covers_an_image_that_is_mirrored():
    mirrored = AFFINE.copy()
    mirrored[0, 0], mirrored[0, 3] = -5.0, 195.0
    grid = axial_grid(Volume(scan().array, mirrored), 5.0)
    assert grid.array.shape == SHAPE
    np.testing.assert_allclose(grid.affine, AFFINE)


def case() -> dict[str, np.ndarray]:
    names = ["outside", "kidney_left", "kidney_right", "bladder_contents", "remainder", "ureter"]
    base = np.full(SHAPE, 4)
    base[:, :4] = 0
    lesion = np.where(BIG, 1, np.where(SMALL, 2, 0))
    return {
        "base": base,
        "lesion": lesion,
        "names": np.array(str(names).replace("'", '"')),
        "lesions": np.array(2),
        "hu": np.array([-1000.0, 30, 30, 0, 20, 10]),
    }


def test_only_lesions_that_are_kept_and_stand_out_are_painted():
    one = case()
    uptake = {"base": np.array([0, 30.0, 30, 10, 1, 1]), "lesion": np.array([8.0, 1.1])}
    truth, drawn, plain = painted(uptake, one["base"], one["lesion"], np.random.default_rng(0), keep={1, 2})
    np.testing.assert_array_equal(drawn, BIG)
    assert truth[BIG].min() == 8.0
    assert plain.max() == 1.0
    assert not painted(uptake, one["base"], one["lesion"], np.random.default_rng(0), keep=set())[1].any()


def test_a_slab_is_what_its_seed_draws():
    look = Look(5.0, (5.0, 6.0), (4.0, 5.0), (0.1, 0.2))
    made = [seen(case(), case()["base"], case()["lesion"], "psma", look, np.random.default_rng(k)) for k in (0, 0, 1)]
    np.testing.assert_array_equal(made[0].suv, made[1].suv)
    assert (made[0].suv != made[2].suv).any()
    assert made[0].suv.shape == tuple(n - 6 for n in SHAPE)


def test_uptake_is_drawn_for_every_label_and_none_lies_outside():
    uptake = label_uptake(case(), "psma", np.random.default_rng(3))
    assert uptake["base"][0] == 0
    assert (uptake["base"][1:] > 0).all()
    assert len(uptake["lesion"]) == 2


def test_ureters_run_through_soft_tissue_only():
    names = ["outside", "kidney_left", "kidney_right", "bladder_contents", "remainder"]
    base = np.full((60, 30, 40), 4)
    base[50:55, 15:20, 5:10], base[50:55, 15:20, 30:35], base[2:6, 12:18, 17:23] = 1, 2, 3
    made = with_ureters(base, names, np.random.default_rng(0))
    assert (made == 5).sum() > 5
    np.testing.assert_array_equal(made[made != 5], base[made != 5])
    assert set(np.unique(base[made == 5])) == {4}


def test_the_small_size_makes_a_smaller_network():
    of = {
        size: sum(p.numel() for p in RECIPE.network(RECIPE.config(size)).parameters()) for size in ("small", "shipped")
    }
    assert of["small"] < of["shipped"]


def far(volume: Volume, mm: float = 5000.0) -> Volume:
    """The volume moved along x."""
    affine = volume.affine.copy()
    affine[0, 3] += mm
    return Volume(volume.array, affine)


def air() -> Volume:
    return scan().with_array(np.where(scan().array > 0.2, 0.0, -1000.0))


@pytest.mark.parametrize("method", ["network", "classical"])
def test_organs_on_another_grid_are_refused_by_name(method):
    for mask in (far(scan(), 20.0), Volume(np.ones((32, 60, 80)), np.diag([2.5, 2.5, 2.5, 1.0]))):
        with pytest.raises(ImageError, match="kidney_left"):
            segment_lesions(scan(), tracer="psma", organs={"kidney_left": mask}, method=method)


@pytest.mark.parametrize("method", ["network", "classical"])
def test_lesions_of_the_liver_are_found_however_it_is_spelt(method):
    liver = np.zeros(SHAPE)
    liver[2:14, 8:22, 2:24] = 1.0
    given = {"tracer": "psma", "method": method}
    lower, upper = (segment_lesions(scan(), **given, organs={n: Volume(liver, AFFINE)}) for n in ("liver", "Liver"))
    np.testing.assert_array_equal(lower.mask.array, upper.mask.array)
    assert upper.mask.array[8, 15, 10] == 1
    spleen = segment_lesions(scan(), **given, organs={"Spleen": Volume(liver, AFFINE)})
    assert spleen.mask.array[8, 15, 10] == 0


def test_a_lesion_among_the_organs_is_refused_and_an_unknown_organ_named():
    ask = {"tracer": "psma", "method": "classical"}
    with pytest.raises(InputError, match="a lesion"):
        segment_lesions(scan(), **ask, organs={"tumour_1": scan().with_array(BIG)})
    said = segment_lesions(scan(), **ask, organs={"gland of Foo": scan().with_array(BIG)}).choice
    assert any("gland of Foo" in reason for reason in said.reasons)


def test_a_ct_that_does_not_show_the_scan_is_refused_and_one_of_a_part_said():
    with pytest.raises(ImageError, match="ct: found a field with 0%"):
        segment_lesions(scan(), far(air()), tracer="psma")
    part, whole = (segment_lesions(scan(), ct, tracer="psma", method="network") for ct in (far(air(), 60.0), air()))
    assert any("the ct covers" in reason for reason in part.choice.reasons)
    assert not any("covers" in reason for reason in whole.choice.reasons)


@pytest.mark.parametrize("value", ["0.5", -1, float("nan"), None])
def test_a_least_volume_is_a_number_of_zero_or_more(value):
    if value is None:
        assert segment_lesions(scan(), tracer="psma", minimum_volume_mL=0, method="classical").lesions
        return
    with pytest.raises(InputError, match="minimum_volume_mL"):
        segment_lesions(scan(), tracer="psma", minimum_volume_mL=value)


def test_activity_that_is_negative_on_the_whole_or_elsewhere_is_refused():
    with pytest.raises(ImageError, match="activity: found a sum"):
        segment_lesions(scan(), tracer="psma", activity=scan().with_array(-scan().array))
    with pytest.raises(ImageError, match="activity: found another grid"):
        segment_lesions(scan(), tracer="psma", activity=far(scan()))


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"pet_suv": ImageSeries(scan(), "PET", "g/mL", "", "")}, "pet_suv"),
        ({"pet_suv": scan().array}, "pet_suv"),
        ({"ct": ImageSeries(scan(), "CT", "HU", "", "")}, "ct"),
        ({"activity": scan().array}, "activity"),
        ({"organs": [scan()]}, "organs"),
        ({"organs": {"liver": scan().array}}, "organs"),
    ],
)
def test_what_is_no_volume_is_refused_by_name(change, field):
    with pytest.raises(InputError, match=field):
        segment_lesions(**{"pet_suv": scan(), "tracer": "psma"} | change)
