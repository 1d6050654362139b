"""Transforms, resampling and registration: exact where algebra is, known motions found where it is not."""

from __future__ import annotations

from datetime import datetime

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.registration import (
    DisplacementField,
    SpatialTransform,
    conservation_report,
    load_transform,
    misfit_sd_MBq,
    propagate,
    register,
    register_regions,
    register_studies,
    save_transform,
)
from imaging.registration import resample as resampled
from imaging.registration.crossing import to_sitk
from imaging.registration.field import grid_points_mm
from imaging.registration.resampling import _reader
from imaging.series import ImageSeries, StudyImages

SIZE, SPACING = 32, 8.0
AFFINE = np.array([[SPACING, 0, 0, -120.0], [0, SPACING, 0, -130.0], [0, 0, SPACING, 900.0], [0, 0, 0, 1]])
CENTRE = np.array([4.0, -6.0, 1024.0])
ORGANS = {  # centre from CENTRE and half axes in mm, value
    "body": ((0, 0, 0), (95, 75, 110), 1.0),
    "liver": ((-40, 0, 20), (40, 40, 35), 2.0),
    "kidney_left": ((45, 30, -20), (18, 16, 32), 6.0),
    "kidney_right": ((-35, 35, -45), (18, 16, 32), 5.0),
    "spleen": ((60, 10, 40), (18, 24, 26), 4.0),
}


def ellipsoid(points, centre, axes):
    r = np.sqrt(((points - CENTRE - centre) ** 2 / np.square(axes)).sum(axis=-1))
    return 1 / (1 + np.exp((r - 1) * 8))  # soft edges, so that sampling adds little


def phantom(move=None, shape=(SIZE,) * 3, affine=AFFINE):
    """The body as seen at points that `move` takes to it: image f(move(x))."""
    points = grid_points_mm(shape, affine)
    points = points if move is None else move.apply(points)
    return Volume(sum(v * ellipsoid(points, c, a) for c, a, v in ORGANS.values()), affine)


def mask_of(name, move=None):
    points = grid_points_mm((SIZE,) * 3, AFFINE)
    centre, axes, _ = ORGANS[name]
    return Volume(ellipsoid(points if move is None else move.apply(points), centre, axes), AFFINE)


def waves(amplitude_mm=6.0):
    points = grid_points_mm((SIZE,) * 3, AFFINE) - CENTRE
    turned = points[..., [1, 2, 0]]
    return DisplacementField(
        amplitude_mm * np.sin(turned / 40) * np.exp(-((points / 90) ** 2).sum(-1))[..., None], AFFINE
    )


TURN = SpatialTransform.rigid((5, -4, 8), (14, -10, 47), CENTRE)
BENT = SpatialTransform(TURN.affine, waves())


@pytest.fixture
def points(rng):
    return CENTRE + rng.uniform(-60, 60, (200, 3))


def error_mm(found, true, points):
    return np.linalg.norm(found.apply(points) - true.apply(points), axis=-1)


# transforms


def test_rigid_turns_about_its_centre_by_the_right_hand():
    turn = SpatialTransform.rigid((0, 0, 90), (1, 2, 3), CENTRE)
    assert turn.apply(CENTRE) == pytest.approx(np.add(CENTRE, (1, 2, 3)))
    assert turn.apply(np.add(CENTRE, (10, 0, 0))) == pytest.approx(np.add(CENTRE, (1, 12, 3)))


def test_composition_and_inverse_of_affines_are_exact(points):
    stretch = SpatialTransform(np.diag([1.1, 0.9, 1.05, 1]))
    both = stretch.after(TURN)
    assert both.apply(points) == pytest.approx(stretch.apply(TURN.apply(points)), abs=1e-9)
    assert both.inverse().apply(both.apply(points)) == pytest.approx(points, abs=1e-9)


def test_the_inverse_of_a_field_leads_back(points):
    moved = phantom(affine=AFFINE)
    back = BENT.inverse(Volume(np.zeros((40,) * 3), AFFINE + np.array([[0, 0, 0, -20]] * 3 + [[0, 0, 0, 0]])))
    assert moved.array.shape == (SIZE,) * 3
    # 0.2 mm: both fields are linear between points 8 mm apart, curvature amplitude / 40^2
    assert np.abs(back.apply(BENT.apply(points)) - points).max() < 0.2


def test_composition_with_a_field_follows_both(points):
    both = BENT.after(SpatialTransform.rigid(translation_mm=(3, 4, 5)), phantom())
    expected = BENT.apply(np.add(points, (3, 4, 5)))
    assert np.abs(both.apply(points) - expected).max() < 0.2  # as above
    with pytest.raises(InputError, match="grid"):
        BENT.after(TURN)


def test_points_and_simpleitk_move_alike(points):
    sitk_transform = to_sitk(BENT)
    theirs = [sitk_transform.TransformPoint(tuple(p)) for p in points]
    assert BENT.apply(points) == pytest.approx(np.array(theirs), abs=1e-4)  # fields are held in float32
    assert BENT.apply(points[0]) == pytest.approx(BENT.apply(points)[0])


def test_a_saved_transform_comes_back(tmp_path, points):
    save_transform(BENT, tmp_path / "cycle_2.json")
    assert load_transform(tmp_path / "cycle_2.json").apply(points) == pytest.approx(BENT.apply(points), abs=1e-6)
    (tmp_path / "cycle_2_field.nii.gz").unlink()
    with pytest.raises(ImageError, match="keep the two files together"):
        load_transform(tmp_path / "cycle_2.json")
    (tmp_path / "other.json").write_text("{}", encoding="utf-8")
    with pytest.raises(ImageError, match="another content"):
        load_transform(tmp_path / "other.json")


def test_an_affine_that_is_none_is_refused():
    with pytest.raises(InputError, match="4 x 4"):
        SpatialTransform(np.zeros((4, 4)))


# Jacobian and activity


def test_the_jacobian_is_that_of_differences(points):
    step = 0.05
    sides = [(BENT.apply(points + step * e) - BENT.apply(points - step * e)) / (2 * step) for e in np.eye(3)]
    by_differences = np.linalg.det(np.stack(sides, axis=-1))
    grid = phantom()
    index = np.round(grid.to_index(points)).astype(int)[:, ::-1]
    ours = BENT.jacobian(grid)[tuple(index.T)]
    # 0.08: a field linear between points has a slope that jumps; the Jacobian is smooth over two of them
    assert np.abs(ours - by_differences).mean() < 0.03
    assert np.corrcoef(ours, by_differences)[0, 1] > 0.9


def test_activity_is_conserved_with_the_jacobian_and_only_with_it():
    squeeze = SpatialTransform(np.diag([1.25, 1.25, 1.25, 1])).after(SpatialTransform.identity())
    matrix = squeeze.affine.copy()
    matrix[:3, 3] = CENTRE - matrix[:3, :3] @ CENTRE
    image = phantom()
    report = conservation_report(image, SpatialTransform(matrix), image, masks={"liver": mask_of("liver")})
    # 0.5 %: soft edges sampled every 8 mm
    assert report.field.activity_MBq == pytest.approx(report.field.original_MBq, rel=0.005)
    assert report.field.concentration_MBq == pytest.approx(report.field.original_MBq / 1.25**3, rel=0.005)
    # 4 %: at its edge the product of two interpolations is below the interpolated product
    assert report.regions["liver"].activity_MBq == pytest.approx(report.regions["liver"].original_MBq, rel=0.04)
    assert report.jacobian_mean == pytest.approx(1.25**3)
    assert report.flag.level == "fine"


def test_a_bent_image_keeps_its_activity_too():
    bent = SpatialTransform(np.eye(4), waves())
    image = phantom()
    report = conservation_report(image, bent, image)
    assert report.field.activity_MBq == pytest.approx(report.field.original_MBq, rel=0.005)


def test_folds_are_flagged():
    report = conservation_report(phantom(), SpatialTransform(np.eye(4), waves(120.0)), phantom())
    assert report.folded_share > 0.01
    assert report.flag.level == "refused"


def test_a_misfit_of_nothing_costs_nothing_and_one_of_more_costs_more():
    image, mask = phantom(), mask_of("kidney_left")
    sds = [misfit_sd_MBq(image, mask, sd) for sd in (0.0, 2.0, 6.0)]
    assert sds[0] == 0
    assert 0 < sds[1] < sds[2]


# registration: fixed(x) = moving(T(x)), so that the moving image is the body at T^-1


def pair(true, noise=0.02, seed=1):
    rng = np.random.default_rng(seed)
    fixed = phantom()
    affine = AFFINE.copy()
    affine[:3, 3] += [14, -10, 47]
    moving = phantom(true.inverse(Volume(np.zeros((SIZE,) * 3), affine)), affine=affine)
    return [v.with_array(v.array + rng.normal(0, noise, v.array.shape)) for v in (fixed, moving)]


@pytest.fixture(scope="module")
def rigid():
    return register(*pair(TURN), stages=("rigid",), spacing_mm=SPACING)


def test_a_known_rigid_motion_is_found_across_frames_of_reference(rigid, points):
    # 1 mm: an eighth of the voxel
    assert error_mm(rigid.transform, TURN, points).max() < 1.0
    assert not rigid.refused
    assert rigid.stages[0].after > rigid.stages[0].before
    assert rigid.required() is rigid.transform


def test_the_same_input_gives_the_same_transform(rigid):
    again = register(*pair(TURN), stages=("rigid",), spacing_mm=SPACING)
    # sums may run in another order within a vector register, by where memory lies
    assert np.allclose(again.transform.affine, rigid.transform.affine, rtol=0, atol=1e-6)


def test_splines_come_nearer_to_a_bent_body_than_turns_do(points):
    bent = SpatialTransform(TURN.affine, waves(10.0))
    fixed, moving = pair(bent)
    found = register(
        fixed, moving, stages=("rigid", "bspline"), metric="correlation", start=TURN, spacing_mm=SPACING,
        control_spacing_mm=40,
    )  # fmt: skip
    body = points[phantom().to_index(points).min(axis=1) > 0]
    before, after = error_mm(TURN, bent, body), error_mm(found.transform, bent, body)
    assert after.mean() < 0.6 * before.mean()
    assert found.transform.jacobian(fixed).min() > 0


def test_images_that_share_nothing_are_refused(rng):
    noise = [Volume(rng.normal(size=(SIZE,) * 3), AFFINE) for _ in range(2)]
    found = register(*noise, stages=("rigid",), metric="correlation", start=SpatialTransform.identity(), spacing_mm=8.0)
    assert found.refused
    with pytest.raises(ImageError, match="correlation at the end"):
        found.required()


@pytest.mark.parametrize("noise", [0.0, 0.1])
def test_two_images_in_place_already_are_not_refused(noise, points):
    rng = np.random.default_rng(4)
    ends = [v.with_array(v.array + rng.normal(0, noise, v.array.shape)) for v in (phantom(), phantom())]
    found = register(*ends, stages=("rigid",), metric="correlation", spacing_mm=SPACING)
    assert not found.refused, found.notes
    # 1 mm: an eighth of the voxel, as where the body has moved
    assert error_mm(found.transform, SpatialTransform.identity(), points).max() < 1.0


def test_a_result_worse_than_the_headers_is_refused():
    """Control: the body upside down is alike enough by itself, and a gain over its own start would let it pass."""
    wrong = SpatialTransform.rigid((180, 0, 0), (0, 0, 0), CENTRE)
    found = register(phantom(), phantom(), stages=("rigid",), metric="correlation", start=wrong, spacing_mm=SPACING)
    flags = {flag.name: flag.level for flag in found.quality}
    assert flags["similarity"] != "refused"
    assert found.stages[0].after > found.stages[0].before
    assert flags["gain"] == "refused"


def test_a_stage_that_gains_little_is_dropped_and_says_so(rigid):
    options = {"start": rigid.transform, "spacing_mm": SPACING, "metric": "correlation"}
    found = register(*pair(TURN, noise=0.1), **options)
    assert [s.kept for s in found.stages][1:] == [False, False]
    assert found.transform.field is None
    linear = found.transform.affine[:3, :3]
    assert linear @ linear.T == pytest.approx(np.eye(3), abs=1e-9)
    # control: a body that did grow by 10 % along x keeps its affine
    grown = SpatialTransform(TURN.affine @ np.diag([1.1, 1, 1, 1]))
    kept = register(*pair(grown, noise=0.1), stages=("rigid", "affine"), **options)
    assert kept.stages[1].kept
    assert np.linalg.det(kept.transform.affine[:3, :3]) == pytest.approx(1.1, abs=0.03)


def test_an_even_image_is_refused():
    with pytest.raises(ImageError, match="one value"):
        register(Volume(np.ones((20,) * 3), AFFINE), phantom())


@pytest.mark.parametrize("stages", [(), ("bspline", "rigid"), ("warp",)])
def test_stages_come_in_order(stages):
    with pytest.raises(InputError, match="stages"):
        register(phantom(), phantom(), stages=stages)


def test_a_kidney_that_slid_is_found_and_one_that_flew_is_not():
    slide = SpatialTransform.rigid(translation_mm=(0, 3, 12))
    fixed = phantom()
    body = fixed.array - 6 * mask_of("kidney_left").array
    moving = fixed.with_array(body + 6 * mask_of("kidney_left", slide.inverse()).array)
    masks = {"kidney_left": mask_of("kidney_left")}
    (found,) = register_regions(fixed, moving, masks, SpatialTransform.identity(), spacing_mm=8.0, metric="correlation")
    centre = CENTRE + ORGANS["kidney_left"][0]
    # 4 mm: half a voxel; what lies around the kidney in its box has not moved and pulls back
    assert found.refined, found.words
    assert np.linalg.norm(found.transform.apply(centre) - slide.apply(centre)) < 4
    far = SpatialTransform.rigid(translation_mm=(0, 0, 60))
    gone = phantom(far.inverse())
    (kept,) = register_regions(fixed, gone, masks, SpatialTransform.identity(), spacing_mm=8.0, metric="correlation")
    assert not kept.refined
    assert kept.words.startswith("kept global")
    assert np.array_equal(kept.transform.affine, np.eye(4))


# labels


def test_labels_follow_and_keep_their_volume():
    masks = {name: mask_of(name, TURN.inverse()) for name in ("liver", "kidney_left")}
    carried = propagate(masks, TURN, phantom())
    for name, region in carried.items():
        true = mask_of(name).array
        dice = 2 * np.minimum(region.mask.array, true).sum() / (region.mask.array + true).sum()
        # interpolation blurs the edge of a kidney of 4 x 4 x 8 voxels; without the transform Dice is below 0.6
        assert dice > 0.9, name
        assert 2 * np.minimum(masks[name].array, true).sum() / (masks[name].array + true).sum() < 0.6
        assert region.volume_ratio == pytest.approx(1, abs=0.02)
        assert region.jacobian_ratio == pytest.approx(1, abs=1e-9)
        assert not region.refused


FINE = Volume(np.zeros((60,) * 3), np.diag([1.2, 1.2, 1.2, 1.0]))
COARSE = Volume(np.zeros((16,) * 3), np.diag([4.8, 4.8, 4.8, 1.0]))


def ball(volume_mL, rng):
    """A drawn lesion on 1.2 mm voxels, its middle anywhere within a voxel of 4.8 mm."""
    centre = 36 + rng.uniform(-2.4, 2.4, 3)
    distance = np.linalg.norm(grid_points_mm(FINE.array.shape, FINE.affine) - centre, axis=-1)
    return FINE.with_array(distance < (volume_mL * 1000 * 3 / 4 / np.pi) ** (1 / 3))


@pytest.mark.parametrize("volume_mL", [0.3, 1.0, 3.0])
def test_small_labels_keep_their_volume_on_a_coarser_grid(volume_mL, rng):
    turn = SpatialTransform.rigid((0, 0, 10), (2, -3, 1), (36, 36, 36))
    drawn = [ball(volume_mL, rng) for _ in range(20)]
    ratios = [propagate({"t": m}, turn, COARSE)["t"].volume_ratio for m in drawn]
    assert np.abs(np.array(ratios) - 1).max() < 0.03
    # control: read at the middles of the coarse voxels alone
    read = [_reader(m, turn)(COARSE).sum() * COARSE.voxel_mL / (m.array.sum() * m.voxel_mL) for m in drawn]
    assert np.abs(np.array(read) - 1).max() > 0.03


def test_activity_is_conserved_onto_a_coarser_grid_by_a_field_too(rng):
    points = grid_points_mm(COARSE.array.shape, COARSE.affine) - 36
    field = DisplacementField(2.0 * np.sin(points[..., [1, 2, 0]] / 12), COARSE.affine)
    bent = SpatialTransform(np.eye(4), field)
    for _ in range(5):
        lesion = ball(1.0, rng)
        found = resampled(lesion, bent, COARSE, conserve="activity")
        # 3 %: the field is linear between points 4.8 mm apart, its Jacobian smooth over two of them
        assert found.array.sum() * found.voxel_mL == pytest.approx(lesion.array.sum() * lesion.voxel_mL, rel=0.03)


def test_a_coarser_grid_takes_means_in_slabs_and_where_there_is_nothing(rng, monkeypatch):
    noise, still = FINE.with_array(rng.random(FINE.array.shape)), SpatialTransform.identity()
    edge = Volume(np.zeros((15,) * 3), COARSE.affine + np.array([[0, 0, 0, 1.8]] * 3 + [[0, 0, 0, 0]]))
    blocks = noise.array.reshape(15, 4, 15, 4, 15, 4).mean(axis=(1, 3, 5))
    assert resampled(noise, still, edge).array == pytest.approx(blocks, abs=1e-5)
    monkeypatch.setattr("imaging.registration.resampling.POINTS_AT_ONCE", 40_000)
    assert resampled(noise, still, edge).array == pytest.approx(blocks, abs=1e-5)
    assert not resampled(FINE, still, edge).array.any()
    far = SpatialTransform.rigid(translation_mm=(500, 0, 0))
    assert not resampled(noise, far, edge).array.any()
    assert (resampled(noise, far, edge, outside=-1000.0).array == -1000).all()
    single = resampled(noise, still, edge, interpolation="nearest").array
    assert np.isin(single, noise.array).all()


def test_overlaps_are_shared_out_or_kept_on_demand():
    masks = {"liver": mask_of("liver"), "spleen": mask_of("liver")}
    shared = propagate(masks, SpatialTransform.identity(), phantom())
    assert shared["liver"].mask.array.max() <= 0.5 + 1e-6
    kept = propagate(masks, SpatialTransform.identity(), phantom(), overlap="keep")
    assert kept["liver"].after_mL == pytest.approx(kept["liver"].before_mL)


def test_a_label_that_leaves_the_field_is_refused_and_one_at_the_edge_named():
    out = SpatialTransform.rigid(translation_mm=(0, 0, -230))
    gone = propagate({"liver": mask_of("liver")}, out, phantom())["liver"]
    assert gone.refused
    half = propagate({"body": mask_of("body")}, SpatialTransform.rigid(translation_mm=(0, 0, 60)), phantom())["body"]
    assert half.at_edge


def test_weights_outside_0_to_1_are_refused():
    with pytest.raises(ImageError, match="0 to 1"):
        propagate({"liver": phantom()}, SpatialTransform.identity(), phantom())


# studies


def scan(modality, volume, frame):
    return ImageSeries(volume, modality, "", "", frame, reference_at=datetime(2026, 1, 1))


def test_studies_go_by_ct_where_both_frames_have_one_and_say_so():
    fixed, moving = pair(TURN)
    options = {"stages": ("rigid",), "start": TURN, "spacing_mm": 8.0}
    spect = [scan("SPECT", fixed, "a"), scan("SPECT", moving, "b")]
    cts = [scan("CT", fixed, "a"), scan("CT", moving, "b")]
    both = register_studies(StudyImages((spect[0], cts[0])), StudyImages((spect[1], cts[1])), **options)
    assert both.by.startswith("CT to CT")
    one = register_studies(StudyImages((spect[0], cts[0])), StudyImages((spect[1],)), **options)
    assert one.by.startswith("SPECT to SPECT")
    assert one.metric == "correlation"
    with pytest.raises(ImageError, match="0 SPECT or PET"):
        register_studies(StudyImages((cts[0],)), StudyImages((spect[1],)), **options)
