"""Restoration of partial volume: homogeneity, totals, fallback and its reasons, inputs refused, classical rules."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dose.errors import ImageError, InputError
from dose.learning.ranges import Choice
from dose.learning.weights import save_weights, tensors_of
from imaging.geometry import Volume
from imaging.networks import restore_spect, restore_spect_cases
from imaging.networks.restore_spect import RECIPE, applied, limits, restored_spect
from imaging.networks.restore_spect_cases import _ellipsoid, _uptake, lesions_of, organ_of
from imaging.networks.restore_spect_classical import (
    by_recovery,
    chosen,
    chosen_curve,
    chosen_deconvolution,
    chosen_yang,
    deconvolved,
    image_of,
    lesion_errors,
    regions_of,
    rmse_in_body,
    volumes,
)
from imaging.networks.restore_spect_model import Restorer, channels
from imaging.recovery import blurred
from imaging.recovery_fit import recovery
from imaging.series import ImageSeries

ASK = {"line_keV": 208.0, "updates": 30}
NAMES = ("outside", "remainder", "kidney_left", "tumour_1")
SPACING = np.full(3, 6.0)


def a_case(seed: int = 0, fwhm_mm: float = 12.0, noise: float = 0.05):
    """A warm box with a kidney, a small lesion and a larger one, blurred."""
    random = np.random.default_rng(seed)
    labels = np.zeros((24, 32, 30), np.uint8)
    labels[3:-3, 4:-4, 4:-4] = 1
    labels[8:16, 8:14, 8:14] = 2
    labels[10:12, 20:23, 8:10] = 3
    labels[8:14, 18:24, 18:24] = 4
    true = np.array([0.0, 1.0, 12.0, 15.0, 8.0], np.float32)[labels]
    image = blurred(true, SPACING, fwhm_mm)
    image = np.maximum(image + noise * np.sqrt(image) * random.standard_normal(image.shape), 0)
    return {
        "image": image[None].astype(np.float32),
        "updates": np.array([30]),
        "activity": true[None],
        "labels": labels[None],
        "hu": np.where(labels > 0, 0.0, -1000.0).astype(np.float32),
        "names": np.array(NAMES),
        "spacing_mm": SPACING,
    }


def small():
    """The configuration, of a few seconds."""
    config = RECIPE.config("small")
    network = {"width": 4, "levels": 2, "deconvolutions": [2, 4], "fwhm_mm": 12.0}
    training = {**config.training, "patch": [16, 16, 16], "batch": 2, "members": 1}
    return replace(config, network=network, training=training)


def a_network(seed: int = 0) -> Restorer:
    """With weights everywhere: an untrained one adds nothing."""
    torch.manual_seed(seed)
    made = RECIPE.network(small())
    assert isinstance(made, Restorer)
    torch.nn.init.normal_(made.unet.last.weight, std=20.0)
    return made.eval()


def saved(folder, *, default: bool, members=None) -> Volume:
    config, case = small(), a_case()
    card = {"limits": {k: list(v) for k, v in limits([case], config).items()}, "default": default}
    save_weights(folder, RECIPE, config, members or [a_network()], card)
    return image_of(case, 0)


def test_twice_the_activity_gives_twice_the_answer(tmp_path):
    image = saved(tmp_path, default=True)
    ct = image.with_array(a_case()["hu"])
    once, twice = (
        restored_spect(image.with_array(k * image.array), ct, **ASK, weights=tmp_path, method="network") for k in (1, 2)
    )
    for a, b in ((once.volume, twice.volume), (once.sd, twice.sd), (once.region_sd, twice.region_sd)):
        np.testing.assert_allclose(b.array, 2 * a.array, rtol=1e-4, atol=1e-4)


def test_a_network_with_biases_would_not_double():
    image, model = image_of(a_case(), 0), a_network()
    model.unet.last.register_parameter("bias", torch.nn.Parameter(torch.full((3,), 0.5)))
    x = torch.from_numpy(channels(image.array, None, SPACING, (2, 4), 12.0))[None]
    with torch.no_grad():
        assert (model(2 * x) - 2 * model(x)).abs().max() > 0.1


def test_the_total_stays_whatever_the_network_says(tmp_path):
    image = saved(tmp_path, default=True)
    made = restored_spect(image, **ASK, weights=tmp_path, method="network")
    assert made.volume.array.sum() == pytest.approx(image.array.sum(), rel=1e-5)
    assert np.abs(made.volume.array - image.array).max() > 0.5


def test_an_untrained_network_leaves_the_image_as_it_is():
    image, model = image_of(a_case(), 0), RECIPE.network(small())
    np.testing.assert_allclose(applied([model], image, None)[0], image.array, rtol=1e-5, atol=1e-5)
    assert np.abs(applied([a_network()], image, None)[0] - image.array).max() > 0.5


def test_members_that_differ_widen_the_sd():
    image, one, other = image_of(a_case(), 0), a_network(), a_network()
    with torch.no_grad():
        other.unet.last.weight[0] *= -1
    alone, same, both = (applied(members, image, None) for members in ([one], [one, one], [one, other]))
    for k in (1, 2):
        np.testing.assert_allclose(same[k], alone[k], rtol=1e-5)
        assert (both[k] >= alone[k] * (1 - 1e-5)).all()
        assert both[k].mean() > 1.01 * alone[k].mean()


def test_auto_takes_the_network_where_it_earned_it_and_says_why_not(tmp_path):
    image = saved(tmp_path, default=True)
    assert restored_spect(image, **ASK, weights=tmp_path).choice.method == "network"
    far = restored_spect(image, line_keV=113.0, updates=90, weights=tmp_path)
    assert (far.choice.method, far.rule) == ("classical", "deconvolution")
    assert len(far.choice.reasons) == 2
    forced = restored_spect(image, line_keV=113.0, updates=30, weights=tmp_path, method="network")
    assert forced.choice.method == "network"
    assert "keV" in forced.choice.reasons[0]
    saved(tmp_path, default=False)
    assert restored_spect(image, **ASK, weights=tmp_path).choice.method == "classical"


def test_without_weights_the_classical_method_is_used(tmp_path):
    image = image_of(a_case(), 0)
    assert "restore_spect" in restored_spect(image, **ASK, weights=tmp_path).choice.reasons[0]
    with pytest.raises(InputError, match="weights"):
        restored_spect(image, **ASK, weights=tmp_path, method="network")


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_refused(value):
    image = image_of(a_case(), 0)
    image.array[3, 3, 3] = value
    with pytest.raises(InputError, match="not finite"):
        restored_spect(image, **ASK)


@pytest.mark.parametrize("array", [np.zeros((12, 12, 12)), np.ones((4, 12, 12)), np.full((12, 12, 12), -1.0)])
def test_images_without_activity_or_too_small_are_refused(array):
    with pytest.raises(InputError, match="image"):
        restored_spect(Volume(array, np.diag([6.0, 6.0, 6.0, 1.0])), **ASK)


def test_rules_and_masks_are_checked():
    image = image_of(a_case(), 0)
    with pytest.raises(InputError, match="rule"):
        restored_spect(image, **ASK, rule="magic", method="classical")
    with pytest.raises(InputError, match="masks"):
        restored_spect(image, **ASK, rule="yang", method="classical")
    empty = {"lesion": image.with_array(np.zeros(image.array.shape))}
    with pytest.raises(ImageError, match="empty"):
        restored_spect(image, **ASK, masks=empty, rule="recovery", method="classical")


def test_the_mean_of_a_soft_region_is_divided_by_its_recovery():
    image = image_of(a_case(), 0)
    weight = np.zeros(image.array.shape, np.float32)
    weight[4:8, 4:8, 4:8] = 1.0
    soft = (weight + np.roll(weight, 1, axis=2)) / 2
    made = by_recovery(image, {"lesion": image.with_array(soft)}, 2.0, 1.0)
    recovered = float(recovery(float(soft.sum()) * image.voxel_mL, 2.0, 1.0))
    read = lambda array: float((soft * array).sum() / soft.sum())
    assert recovered < 0.9
    assert read(made) == pytest.approx(read(image.array) / recovered, rel=1e-5)
    np.testing.assert_array_equal(made[soft == 0], image.array.astype(np.float32)[soft == 0])


@pytest.mark.parametrize("rule", ["recovery", "yang"])
def test_a_region_given_twice_is_refused(rule):
    image = image_of(a_case(), 0)
    mask = image.with_array((a_case()["labels"][0] == 4).astype(float))
    with pytest.raises(ImageError, match="overlap"):
        restored_spect(image, **ASK, masks={"one": mask, "two": mask}, rule=rule, method="classical")


def test_each_rule_comes_nearer_to_the_truth_and_yang_with_the_right_blur_nearest(monkeypatch):
    monkeypatch.setattr(restore_spect, "CHOSEN", replace(restore_spect.CHOSEN, yang_fwhm_mm=12.0))
    case = a_case(fwhm_mm=12.0, noise=0.0)
    image, errors = image_of(case, 0), {"none": lesion_errors(case["image"][0], case, 0).mean()}
    for rule in ("deconvolution", "yang", "recovery"):
        masks = volumes(regions_of(case, 0), image)
        drawn = {n: m for n, m in masks.items() if rule == "yang" or n.startswith("lesion")}
        made = restored_spect(image, **ASK, masks=drawn, rule=rule, method="classical")
        assert made.rule == rule
        errors[rule] = lesion_errors(made.volume.array, case, 0).mean()
    assert max(errors[r] for r in ("deconvolution", "yang", "recovery")) < errors["none"]
    assert errors["yang"] == min(errors.values())


def test_a_region_is_read_with_its_sd():
    case = a_case()
    image = image_of(case, 0)
    made = restored_spect(image, **ASK, method="classical")
    mask = image.with_array((case["labels"][0] == 4).astype(float))
    mean, sd = made.mean_in(mask)
    assert mean == pytest.approx(float(made.volume.array[case["labels"][0] == 4].mean()), rel=1e-6)
    assert sd > 0
    with pytest.raises(ImageError, match="mask"):
        made.mean_in(image.with_array(np.zeros(image.array.shape)))


def test_deconvolution_keeps_an_even_field_and_goes_with_the_scale():
    even = np.full((20, 20, 20), 3.0)
    np.testing.assert_allclose(deconvolved(even, SPACING, 12.0, [8])[0], 3.0, rtol=1e-4)
    image = a_case()["image"][0]
    once, twice = (deconvolved(k * image, SPACING, 12.0, [8])[0] for k in (1, 2))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3, atol=1e-4)
    assert deconvolved(image, SPACING, 12.0, [8])[0].max() > 1.2 * image.max()


def test_settings_are_those_that_made_the_images():
    cases = [a_case(fwhm_mm=12.0, noise=0.0)]
    assert chosen_yang(cases) == 12.0
    (width, steps), (quiet_width, quiet_steps) = chosen_deconvolution(cases)
    made = deconvolved(cases[0]["image"][0], SPACING, width, [steps])[0]
    quiet = deconvolved(cases[0]["image"][0], SPACING, quiet_width, [quiet_steps])[0]
    assert lesion_errors(made, cases[0], 0).mean() < lesion_errors(cases[0]["image"][0], cases[0], 0).mean()
    assert rmse_in_body(quiet, cases[0], 0) <= rmse_in_body(made, cases[0], 0)
    found = chosen([*cases, a_case(1)], 1)
    assert (found.fwhm_mm, found.steps, found.quiet_steps, found.yang_fwhm_mm) == (width, steps, quiet_steps, 12.0)
    assert found.left_over["yang"] < found.left_over["deconvolution"]


def test_the_recovery_curve_rises_with_volume():
    curve = chosen_curve([a_case(seed) for seed in range(2)])
    assert 0 < curve.at(1.0) < curve.at(20.0) < 1


def test_batches_hold_what_the_loss_takes_and_it_falls_for_the_truth():
    config, cases = small(), [a_case(), a_case(1)]
    drawn = tensors_of(RECIPE.batch(cases, np.random.default_rng(0), config))
    assert drawn["input"].shape == (2, 7, 16, 16, 16)
    assert drawn["labels"].dtype == torch.int64
    model = a_network()
    loss = RECIPE.loss(model, drawn)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters())

    class Knowing(torch.nn.Module):
        def forward(self, _):
            return torch.cat([drawn["target"], 0 * drawn["target"], 0 * drawn["target"]], dim=1)

    assert RECIPE.loss(Knowing(), drawn) < 1e-6 < loss


def test_added_lesions_have_their_volume_and_are_of_every_kind():
    random, labels = np.random.default_rng(0), np.ones((40, 40, 40), int)
    labels[0] = 0
    for volume_mL in (1.0, 20.0):
        sizes = [len(_ellipsoid(labels, volume_mL, 0.216, random)[0][0]) * 0.216 for _ in range(20)]
        assert np.median(sizes) == pytest.approx(volume_mL, rel=0.3)
    data, far = {"uptake": [3.0, 100.0]}, np.linspace(0, 1, 50)
    means = [_uptake(np.ones(50), far, 1.0, random, data) for _ in range(200)]
    assert any(u.mean() < 1 for u in means)
    assert any(u[far < 0.5].mean() < 0.6 * u[far > 0.6].mean() for u in means)
    assert sum(u.mean() > 2 for u in means) > 100


def test_the_nearest_orbit_that_clears_the_patient_is_taken(monkeypatch):
    def standing(radius_mm: float) -> SimpleNamespace:
        return SimpleNamespace(empty=SimpleNamespace(radii_mm=np.full(120, radius_mm)))

    monkeypatch.setattr(restore_spect_cases, "acquisition", lambda seed: standing(100.0 + seed))
    orbits = [[60, 0], [40, 20], [90, 4], [70, 4]]
    assert restore_spect_cases.orbit(standing(170.0), orbits) == pytest.approx(np.full(60, 160.0))
    assert restore_spect_cases.orbit(standing(180.0), orbits) == pytest.approx(np.full(60, 174.0))
    # none clears a larger one, which keeps its own
    assert restore_spect_cases.orbit(standing(215.0), orbits) == pytest.approx(np.full(60, 215.0))


def test_lesions_and_organs_of_a_case():
    case = a_case()
    assert set(lesions_of(case, 0)) == {3, 4}
    assert organ_of(case, 0, "kidney_left").sum() == 8 * 6 * 6
    assert set(regions_of(case, 0)) == {"lesion_3", "lesion_4", "kidney_left", "body"}


def far(volume: Volume, mm: float = 5000.0) -> Volume:
    """The volume moved along x."""
    affine = volume.affine.copy()
    affine[0, 3] += mm
    return Volume(volume.array, affine)


@pytest.mark.parametrize("method", ["network", "classical", "auto"])
def test_a_ct_of_another_place_is_refused(method, tmp_path):
    image = saved(tmp_path, default=True)
    with pytest.raises(ImageError, match="ct: found a field with 0%"):
        restored_spect(image, far(image), **ASK, weights=tmp_path, method=method)


def test_a_ct_over_a_part_of_the_image_is_said_and_left_to_the_classical_method(tmp_path):
    image = saved(tmp_path, default=True)
    ct, ask = image.with_array(a_case()["hu"]), ASK | {"weights": tmp_path}
    part = restored_spect(image, far(ct, 60.0), **ask).choice
    assert part.method == "classical"
    assert "the ct covers" in part.reasons[0]
    assert "the ct covers" in restored_spect(image, far(ct, 60.0), **ask, method="network").choice.reasons[0]
    assert restored_spect(image, ct, **ask).choice == Choice("network")


@pytest.mark.parametrize("method", ["network", "classical"])
@pytest.mark.parametrize(
    "change", [{"line_keV": "208"}, {"line_keV": None}, {"updates": "4x8"}, {"updates": 0}, {"line_keV": -208.0}]
)
def test_what_is_no_number_is_refused_by_name(change, method):
    with pytest.raises(InputError, match=next(iter(change))):
        restored_spect(image_of(a_case(), 0), **ASK | change, method=method)


def test_what_is_no_volume_is_refused_by_name():
    image = image_of(a_case(), 0)
    series = ImageSeries(image, "SPECT", "Bq/mL", "", "")
    for field, words in (("volume", {"volume": series}), ("ct", {"ct": image.array}), ("masks", {"masks": [image]})):
        with pytest.raises(InputError, match=field):
            restored_spect(**{"volume": image, **ASK} | words)
    with pytest.raises(InputError, match="mask"):
        restored_spect(image, **ASK, method="classical").mean_in(image.array)  # pyright: ignore[reportArgumentType]
