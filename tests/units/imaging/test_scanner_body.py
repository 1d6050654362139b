"""Laws of the virtual body: masses, conservation of activity, maps that fold nowhere, lesions, label maps."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.phantom import reference_organs
from imaging.geometry import Volume
from imaging.scanner.anatomy import Anatomy, activity_map, density_of_hounsfield, hounsfield, noisy_ct
from imaging.scanner.body import ShapeSpread, drawn_masses_g, drawn_motion, virtual_body
from imaging.scanner.deform import Motion, deformed, displacement_mm, jacobian, padded
from imaging.scanner.label_map import from_label_map, totalsegmentator_regions
from imaging.scanner.lesions import Lesion, sampled_lesions, site_mask, with_lesions

AIR = 0.0012


@pytest.fixture(scope="module")
def woman() -> Anatomy:
    return virtual_body("female", voxel_mm=8.0)


@pytest.fixture(scope="module")
def moved(woman) -> Anatomy:
    return deformed(padded(woman, 24.0), drawn_motion(ShapeSpread(), np.random.default_rng(1)))


def ball(radius: int = 8, side: int = 24) -> Anatomy:
    """A liver of a ball of voxels with two kidneys, in a box of remainder."""
    z, y, x = np.indices((side,) * 3) - (side - 1) / 2
    labels = np.zeros((side,) * 3, np.uint16)
    labels[3:-3, 3:-3, 3:-3] = 1
    labels[np.sqrt(x**2 + y**2 + z**2) < radius] = 2
    labels[4:8, 4:8, 4:8], labels[4:8, 4:8, 16:20] = 3, 4
    names, density = (
        ("outside", "remainder", "liver", "kidney_left", "kidney_right"),
        np.array([AIR, 1, 1.06, 1.05, 1.05]),
    )
    affine = np.diag([5.0, 5.0, 5.0, 1.0])
    return Anatomy(labels, names, density, Volume(hounsfield(density)[labels], affine))


def test_masses_are_the_reference_masses(woman):
    for organ in reference_organs("female"):
        assert woman.mass_g(organ.name) == pytest.approx(organ.mass_g, rel=1e-9)
    assert woman.mass_g("kidneys") == pytest.approx(275.0)
    assert woman.mass_g("red_marrow") == pytest.approx(900.0)
    assert woman.mass_g("whole_body") == pytest.approx(60_000.0)


def test_the_left_kidney_lies_at_the_left_and_the_head_on_top(woman):
    centre = {
        n: woman.ct.to_lps_mm(np.argwhere(woman.mask(n)).mean(0)[::-1]) for n in ("kidney_left", "brain", "heart")
    }
    assert centre["kidney_left"][0] > 20
    assert centre["brain"][2] > centre["kidney_left"][2]
    assert centre["heart"][1] < centre["kidney_left"][1]


def test_activity_is_kept_and_even_by_mass(woman):
    given = {"kidneys": 100.0, "liver": 40.0, "red_marrow": 50.0, "blood": 10.0, "remainder": 500.0}
    filled = activity_map(woman, given)
    # float32 voxels: 1e-6 of the sum
    assert filled.array.sum(dtype=float) * filled.voxel_mL / 1e6 == pytest.approx(700.0, rel=1e-6)
    assert filled.array[woman.mask("kidneys")].sum(dtype=float) * filled.voxel_mL / 1e6 == pytest.approx(
        100.0, rel=1e-6
    )
    left, right = (
        filled.array[woman.mask(f"kidney_{side}")][0] / woman.density_g_cm3[woman.names.index(f"kidney_{side}")]
        for side in ("left", "right")
    )
    assert left == pytest.approx(right, rel=1e-6)
    assert filled.array[woman.labels == 0].max() == 0


def test_marrow_goes_to_bones_by_the_marrow_they_hold(woman):
    filled = activity_map(woman, {"red_marrow": 1.0})
    per_gram = {}
    for site, share in woman.unions["red_marrow"].items():
        held = filled.array[woman.mask(site)].sum(dtype=float) * filled.voxel_mL
        per_gram[site] = held / (share * woman.mass_g(site))
    assert np.ptp(list(per_gram.values())) < 1e-4 * np.mean(list(per_gram.values()))
    assert filled.array[woman.mask("legs_lower")].max() == 0


def test_the_remainder_is_what_no_named_region_holds():
    body = ball()
    filled = activity_map(body, {"liver": 1.0, "remainder": 2.0})
    assert filled.array[body.mask("kidneys")].min() > 0
    named = activity_map(body, {"liver": 1.0, "kidneys": 0.0, "remainder": 2.0})
    assert named.array[body.mask("kidneys")].max() == 0
    assert named.array.sum(dtype=float) == pytest.approx(filled.array.sum(dtype=float), rel=1e-6)


def test_regions_without_a_place_are_refused():
    with pytest.raises(InputError, match="spleen"):
        activity_map(ball(), {"spleen": 1.0})
    with pytest.raises(InputError, match="expected zero or more"):
        activity_map(ball(), {"liver": -1.0})
    with pytest.raises(InputError, match="vocabulary"):
        activity_map(ball(), {"kidnee_left": 1.0})


def test_ct_numbers_and_densities_are_one_line():
    density = np.array([0.3, 0.95, 1.0, 1.05, 1.3, 1.6])
    # the table steps back at 100 HU, so between 1.076 and 1.12 the line is not unique
    np.testing.assert_allclose(density_of_hounsfield(hounsfield(density)), density, rtol=1e-6)
    assert np.all(np.diff(hounsfield(np.linspace(0.01, 2.5, 500))) > 0)


def test_noise_of_the_ct_has_the_sd_given():
    body = ball()
    noise = noisy_ct(body, 20.0, 3).array - body.ct.array
    # 10 000 voxels: sd of the sd 0.14
    assert noise[body.labels > 0].std() == pytest.approx(20.0, abs=0.6)


def test_the_jacobian_of_a_linear_map_is_its_determinant():
    z, y, x = np.indices((6, 7, 8)) * 2.0
    u = np.stack([0.1 * x + 0.05 * y, -0.2 * y, 0.3 * z + 0.1 * x])
    matrix = np.array([[1.1, 0.05, 0], [0, 0.8, 0], [0.1, 0, 1.3]])
    np.testing.assert_allclose(jacobian(u, (2, 2, 2)), np.linalg.det(matrix), rtol=1e-12)


def test_a_displacement_that_folds_is_refused():
    with pytest.raises(InputError, match="Jacobian"):
        displacement_mm(ball(), Motion(field_mm=60.0, scale_mm=40.0))


def test_a_whole_voxel_shift_moves_every_label():
    body = ball()
    shifted = deformed(body, Motion(translation_mm=(5.0, 0.0, -10.0)))
    inner = shifted.labels[3:-1, :, 1:-2]
    np.testing.assert_array_equal(inner, body.labels[1:-3, :, 2:-1])


def test_a_deformed_body_keeps_masses_and_volumes(woman, moved):
    for name in woman.names[1:]:
        assert moved.mass_g(name) == pytest.approx(woman.mass_g(name), rel=1e-9)
    change = moved.counts[1:] / woman.counts[1:] - 1
    assert np.abs(change).max() < 0.02
    before, after = padded(woman, 24.0).mask("liver"), moved.mask("liver")
    assert np.count_nonzero(before & after) < 0.97 * np.count_nonzero(before)


def test_without_regrowth_masses_would_be_lost(woman):
    from imaging.scanner.deform import _drawn

    body = padded(woman, 24.0)
    raw = _drawn(body, displacement_mm(body, drawn_motion(ShapeSpread(), np.random.default_rng(1))), 1.0)
    counts = np.bincount(raw.ravel(), minlength=len(woman.names))[1:]
    assert np.abs(counts / woman.counts[1:] - 1).max() > 0.05


def test_breathing_moves_the_liver_and_not_the_pelvis(woman):
    up = deformed(padded(woman, 24.0), Motion(breathing_mm=16.0))
    low = {}
    for name in ("liver", "os_coxae"):
        heights = [body.ct.to_lps_mm(np.argwhere(body.mask(name)).mean(0)[::-1])[2] for body in (woman, up)]
        low[name] = heights[1] - heights[0]
    assert -17 < low["liver"] < -8
    assert abs(low["os_coxae"]) < 2


def test_a_seed_decides_the_draw_and_given_masses_stay():
    one, two = (drawn_masses_g("male", ShapeSpread(), np.random.default_rng(5)) for _ in range(2))
    assert one == two
    assert one != drawn_masses_g("male", ShapeSpread(), np.random.default_rng(6))
    drawn = [drawn_masses_g("male", ShapeSpread(), np.random.default_rng(k))["kidneys"] for k in range(400)]
    # cut at two sd, which takes 12 % off the sd of 0.198 in the logarithm
    assert np.std(np.log(drawn)) == pytest.approx(0.88 * 0.198, rel=0.12)
    assert np.median(drawn) == pytest.approx(310, rel=0.03)


@pytest.mark.slow
def test_a_randomised_body_has_the_masses_asked_for():
    body = virtual_body("male", voxel_mm=8.0, masses_g={"kidney_left": 180.0, "kidney_right": 150.0}, seed=4)
    assert body.mass_g("kidneys") == pytest.approx(330.0)
    assert body.mass_g("kidney_left") == pytest.approx(180.0)
    assert body.mass_g("liver") != pytest.approx(1800.0, rel=1e-3)


def test_lesions_have_their_volume_lie_in_their_site_and_keep_the_mass():
    body = ball(side=32, radius=9)
    lesions = [
        Lesion("lesion 1", 8.0, "liver"),
        Lesion("tumour_2", 3.0, "liver", (2, 1, 1)),
        Lesion("tumour_3", 1.0, "kidneys"),
    ]
    made = with_lesions(body, lesions, seed=2)
    for lesion in lesions:
        assert made.volume_mL(lesion.name) == pytest.approx(lesion.volume_mL, abs=body.voxel_mL / 2)
        centre = np.rint(np.argwhere(made.mask(lesion.name)).mean(0)).astype(int)
        assert site_mask(body, lesion.site)[tuple(centre)]
    assert made.mass_g("whole_body") == pytest.approx(body.mass_g("whole_body"), rel=1e-9)
    np.testing.assert_array_equal(with_lesions(body, lesions, seed=2).labels, made.labels)


def test_lesions_without_room_are_refused():
    with pytest.raises(InputError, match="no room"):
        with_lesions(ball(), [Lesion("tumour_1", 5000.0, "liver")], seed=0)
    with pytest.raises(InputError, match="twice"):
        with_lesions(ball(), [Lesion("tumour_1", 2.0, "liver")] * 2, seed=0)
    with pytest.raises(InputError, match="at least"):
        with_lesions(ball(), [Lesion("tumour_1", 0.1, "liver")], seed=0)
    both = [Lesion("tumour_1", 5000.0, "liver"), Lesion("tumour_2", 2.0, "liver")]
    left = with_lesions(ball(), both, seed=0, leave_out=True)
    assert left.names[-1] == "tumour_2"
    assert "tumour_1" not in left.names
    with pytest.raises(InputError, match="no tumour"):
        Lesion("liver", 2.0, "liver")


def test_sampled_lesions_find_a_place_in_the_stylised_body(woman):
    lesions = sampled_lesions({"bone": 3, "node": 2, "liver": 1}, seed=1)
    lesions = [replace(lesion, volume_mL=max(lesion.volume_mL, 3.0)) for lesion in lesions]
    made = with_lesions(woman, lesions, seed=1)
    assert sum(name.startswith("tumour_") for name in made.names) == 6
    with pytest.raises(InputError, match="one of bone"):
        sampled_lesions({"toe": 1}, seed=1)


def test_a_label_map_becomes_an_anatomy():
    body = ball()
    labels = Volume(body.labels.astype(float), body.affine)
    named = {1: "remainder", 2: "Liver", 3: "kidney left", 4: "Kidney_R"}
    made = from_label_map(labels, named, ct=body.ct)
    assert made.volume_mL("kidneys") == pytest.approx(body.volume_mL("kidneys"))
    assert made.mass_g("liver") == pytest.approx(body.mass_g("liver"), rel=1e-3)
    plain = from_label_map(labels, named, density_g_cm3={"liver": 1.2})
    assert plain.mass_g("liver") == pytest.approx(1.2 * body.volume_mL("liver"))
    with pytest.raises(InputError, match="no name for label 4"):
        from_label_map(labels, {1: "remainder", 2: "liver", 3: "kidney_left"})
    with pytest.raises(ImageError, match="label numbers"):
        from_label_map(labels.with_array(labels.array + 0.5), named)
    with pytest.raises(ImageError, match="grid"):
        from_label_map(labels, named, ct=Volume(body.ct.array[1:], body.affine))


def test_a_real_ct_with_totalsegmentator_labels(shared):
    import SimpleITK as sitk

    folder = shared / "data" / "images" / "ct_nifti"
    ct, labels = (
        Volume.from_sitk(sitk.ReadImage(str(folder / f"{name}.nii.gz")))
        for name in ("ct_abdomen_3mm_crop30", "organs_totalsegmentator_labels_crop30")
    )
    made = from_label_map(labels, totalsegmentator_regions(), ct=ct)
    x_mm = {side: ct.to_lps_mm(np.argwhere(made.mask(f"kidney_{side}")).mean(0)[::-1])[0] for side in ("left", "right")}
    assert x_mm["left"] > x_mm["right"]
    density = dict(zip(made.names, made.density_g_cm3))
    assert 1.0 < density["liver"] < 1.1
    assert density["lungs"] < 0.6
    assert density["bone"] > 1.1
    filled = activity_map(made, {"kidneys": 30.0, "remainder": 100.0})
    assert filled.array.sum(dtype=float) * filled.voxel_mL / 1e6 == pytest.approx(130.0, rel=1e-6)


def test_a_slab_keeps_place_and_labels(woman):
    part = woman.slab(200.0, 400.0)
    assert part.mask("liver").sum() <= woman.mask("liver").sum()
    z = part.ct.to_lps_mm([0, 0, 0])[2]
    assert 200 <= z < 208
    np.testing.assert_allclose(part.ct.to_lps_mm([0, 0, 0])[:2], woman.ct.to_lps_mm([0, 0, 0])[:2])
    with pytest.raises(InputError, match="slab"):
        woman.slab(5000.0, 6000.0)


def test_the_cameras_see_the_left_kidney_where_it_lies(woman):
    import jax

    from imaging.scanner import Protocol, camera, simulate_spect, windows

    part = woman.slab(150.0, 450.0)
    source = activity_map(part, {"kidney_left": 100.0})
    centre = part.ct.to_lps_mm(np.argwhere(part.mask("kidney_left")).mean(0)[::-1])
    protocol = Protocol(
        "177Lu",
        frame_s=10.0,
        energy_windows=windows("177Lu")[:1],
        views=2,
        heads=2,
        matrix=(20, 32),
        pixel_mm=16.0,
        radius_mm=220.0,
        centre_lps_mm=(0.0, 0.0, float(centre[2])),
    )
    seen = simulate_spect(source, part.ct, camera("SY-ME"), protocol, key=jax.random.key(0), oversample=1)
    back, front = (seen.counts[0, k] for k in range(2))
    u_mm = (np.arange(32) - 15.5) * 16.0
    # a detector behind sees the left at low u; the kidney is nearer to it, so it counts more there
    assert (back.sum(0) @ u_mm) / back.sum() == pytest.approx(-centre[0], abs=8)
    assert (front.sum(0) @ u_mm) / front.sum() == pytest.approx(centre[0], abs=8)
    assert back.sum() > 1.5 * front.sum()
