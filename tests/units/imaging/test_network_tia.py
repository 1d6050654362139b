"""The networks of time-integrated activity: what scales, what is tied, what is refused, curves held to the truth."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dose.errors import ImageError, InputError
from dose.learning.weights import save_weights
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.networks import tia_from_pet, tia_scans, tia_single
from imaging.networks.tia_from_pet import tia_from_pet_scan
from imaging.networks.tia_inputs import NAMED, label_map, limits_of, region_channels
from imaging.networks.tia_model import FactorNet, region_sums
from imaging.networks.tia_rules import patterned, tied
from imaging.networks.tia_scans import TRACERS, HOURS_h, LU_HALF_LIFE_h, at_hour, integrals
from imaging.networks.tia_single import tia_from_single_scan
from imaging.networks.tia_tables import population_factor

SHAPE = (24, 26, 30)
KNOWN = {"time_h": 72.0, "administered_MBq": 7400.0, "mass_g": 80_000.0, "tracer": "psma", "fwhm_mm": 12.0}
PET = {"mass_g": 80_000.0, "tracer": "psma", "fwhm_mm": 6.0}


def scan(scale: float = 1.0) -> tuple[Volume, Volume, dict[str, np.ndarray]]:
    """Bq/mL with a hot block, water about it, and the block's mask."""
    hot = np.zeros(SHAPE, bool)
    hot[8:14, 8:14, 8:14] = True
    array = scale * np.where(hot, 2e5, 5e3)
    image = Volume(array.astype(np.float32), np.diag([6.0, 6.0, 6.0, 1.0]))
    return image, image.with_array(np.zeros(SHAPE)), {"kidney_left": hot}


def suv() -> tuple[Volume, Volume, dict[str, np.ndarray]]:
    image, ct, regions = scan(1e-4)
    return image, ct, regions


def test_the_physical_half_life_is_that_of_the_nuclides():
    assert abs(LU_HALF_LIFE_h / radionuclide("177Lu").half_life_h - 1) < 1e-5


def test_integrals_of_an_exponential_are_right_and_shorter_half_lives_make_them_smaller():
    rate = 0.02
    curve = np.exp(-rate * HOURS_h)
    found = integrals(curve, [0.0, 0.005])
    np.testing.assert_allclose(found, [1 / rate, 1 / (rate + 0.005)], rtol=0.01)
    np.testing.assert_allclose(at_hour(curve, [25.0, 900.0]), np.exp([-25 * rate, -900 * rate]), rtol=1e-6)


def test_uneven_uptake_keeps_the_means_of_labels():
    labels = np.zeros(SHAPE, np.uint8)
    labels[4:20, 4:20, 4:20] = 1
    labels[8:14, 8:14, 8:14] = 2
    fine = tia_scans.texture(labels, ["outside", "remainder", "tumour_1"], 6.0, np.random.default_rng(0))
    np.testing.assert_allclose(tia_scans.means(fine.uptake, labels, 3)[1:], 1.0, rtol=1e-4)
    assert fine.uptake[labels == 2].std() > 0.05


def test_an_untrained_network_is_the_classical_answer():
    found = FactorNet(5, 4, 3, 4)(torch.randn(1, 5, 9, 10, 11))
    assert found.shape == (1, 2, 9, 10, 11)
    assert found[:, 0].detach().abs().max() == 0


def test_region_sums_are_those_of_masks():
    values, labels = torch.rand(1, 4, 4, 4), torch.randint(0, 3, (1, 4, 4, 4))
    sums = region_sums(values, labels, 3)[0]
    assert torch.allclose(sums[2], values[labels == 2].sum())


def test_region_sums_stay_on_the_device_of_the_labels():
    labels = torch.zeros((1, 4, 4, 4), dtype=torch.int64, device="meta")
    assert region_sums(None, labels, 3).device == labels.device


@pytest.mark.parametrize("method", ["classical", "network"])
def test_twice_the_activity_of_twice_the_administered_is_twice_the_integral(method):
    image, ct, regions = scan()
    known = {**KNOWN, "regions": regions, "method": method}
    once = tia_from_single_scan(image, ct, **known)
    twice = tia_from_single_scan(
        image.with_array(2 * image.array), ct, **{**known, "administered_MBq": 2 * KNOWN["administered_MBq"]}
    )
    assert once.choice.method == method
    np.testing.assert_allclose(twice.volume.array, 2 * once.volume.array, rtol=1e-4)
    whole, sd = once.of(regions["kidney_left"])
    left = tia_scans.recovered_mean(np.ones(SHAPE), regions["kidney_left"], KNOWN["fwhm_mm"], (6.0, 6.0, 6.0))
    seen = 0.2e6 / 7.4e9 * 80_000 * left
    expected = 216 * 0.216 * 0.2 * population_factor("psma", "kidney", 72.0, LU_HALF_LIFE_h, seen).factor_h
    assert abs(whole / expected - 1) < (1e-4 if method == "classical" else 0.4)
    assert 0.01 < sd < 1.5


def test_blur_is_undone_in_the_mean_of_a_region():
    image, _, regions = scan()
    hot = np.where(regions["kidney_left"], image.array, 0.0)
    seen = tia_scans.blurred(hot, 12.0, 6.0)
    mask = regions["kidney_left"]
    found = tia_scans.recovered_mean(seen, mask, 12.0, (6.0, 6.0, 6.0))
    assert found == pytest.approx(2e5, rel=1e-4)
    assert seen[mask].mean() < 0.8 * found


def test_without_regions_the_rule_is_that_of_haenscheid():
    image, ct, _ = scan()
    found = tia_from_single_scan(image, ct, **KNOWN, method="classical").volume.array
    np.testing.assert_allclose(found, image.array * 1e-6 * 2 * 72.0 / np.log(2), rtol=1e-5)


def test_where_nothing_is_nothing_becomes():
    image, ct, _ = scan()
    empty = image.array.copy()
    empty[2:6, 2:6, 2:6] = 0
    found = tia_from_single_scan(image.with_array(empty), ct, **KNOWN, method="network").volume.array
    assert np.abs(found[2:6, 2:6, 2:6]).max() == 0
    assert found[10, 10, 10] > 0


def test_scans_unlike_the_training_are_said():
    image, ct, _ = scan()
    reasons = tia_from_single_scan(image, ct, **{**KNOWN, "time_h": 300.0}, method="network").choice.reasons
    assert any(reason.startswith("time_h is 300") for reason in reasons)
    assert tia_from_single_scan(image, ct, **{**KNOWN, "time_h": 300.0}).choice.method == "classical"


def test_what_cannot_be_mapped_is_refused():
    image, ct, _ = scan()
    for bad in (np.zeros(SHAPE), -image.array):
        with pytest.raises(InputError, match="SPECT"):
            tia_from_single_scan(image.with_array(bad), ct, **KNOWN)
    with pytest.raises(InputError, match="tracer"):
        tia_from_single_scan(image, ct, **{**KNOWN, "tracer": "fdg"})
    with pytest.raises(InputError, match="time_h"):
        tia_from_single_scan(image, ct, **{**KNOWN, "time_h": -1.0})
    small = Volume(image.array[:8], image.affine)
    with pytest.raises(ImageError, match="16 voxels"):
        tia_from_single_scan(small, small, **KNOWN)
    with pytest.raises(ImageError, match="grid"):
        tia_from_single_scan(image, Volume(ct.array[1:], ct.affine), **KNOWN)
    with pytest.raises(ImageError, match="regions"):
        tia_from_single_scan(image, ct, **KNOWN, regions={"liver": np.zeros(SHAPE, bool)}, method="classical")


def saved(folder, recipe, std: float):
    """Weights of a network that learned nothing and departs from the classical map at random."""
    config = recipe.config("small")
    torch.manual_seed(0)
    model = recipe.network(config)
    assert isinstance(model, FactorNet)
    torch.nn.init.normal_(model.last.weight, std=std)
    save_weights(folder, recipe, config, [model], {"limits": {"fwhm_mm": (5.0, 15.0)}, "runs": []})
    return folder


@pytest.fixture(scope="module")
def some_weights(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("weights"), tia_from_pet.NETWORK, 0.5)


@pytest.mark.parametrize("std", [0.0, 0.5])
def test_untrained_networks_give_the_classical_maps_and_others_do_not(tmp_path, std):
    image, ct, regions = scan()
    pet, *_ = suv()
    one, other = (saved(tmp_path, module.NETWORK, std) for module in (tia_single, tia_from_pet))
    for call in (
        lambda method: tia_from_single_scan(image, ct, **KNOWN, regions=regions, method=method, weights=one),
        lambda method: tia_from_pet_scan(pet, ct, regions, **PET, method=method, weights=other),
    ):
        network, classical = (call(method).volume.array for method in ("network", "classical"))
        off = np.abs(network / classical - 1).max()
        assert off < 1e-5 if std == 0 else off > 1e-2


def test_the_network_is_told_of_regions(tmp_path):
    image, ct, regions = scan()
    weights = saved(tmp_path, tia_single.NETWORK, 0.5)
    known = {**KNOWN, "method": "network", "weights": weights}
    kidney, lesion = (
        tia_from_single_scan(image, ct, **known, regions={n: regions["kidney_left"]})
        for n in ("kidney_left", "tumour_1")
    )
    rules = [
        tia_from_single_scan(image, ct, **{**known, "method": "classical"}, regions={n: regions["kidney_left"]})
        for n in ("kidney_left", "tumour_1")
    ]
    departures = [a.volume.array / b.volume.array for a, b in zip((kidney, lesion), rules)]
    assert np.abs(departures[0] / departures[1] - 1).max() > 1e-3


def test_a_scan_without_named_regions_goes_to_the_rule():
    image, ct, _ = scan()
    found = tia_from_single_scan(image, ct, **KNOWN)
    assert found.choice.method == "classical"
    assert any(
        reason.startswith("regions is 0")
        for reason in tia_from_single_scan(image, ct, **KNOWN, method="network").choice.reasons
    )


NAMES = {"Kidney_R": "kidney", "kidneys": "kidney", "parotid": "gland", "submandibular": "gland"}
NAMES |= {"salivary glands": "gland", "lesion_1": "tumour", "Met 2": "tumour", "kidney_cortex_left": "soft"}


@pytest.mark.parametrize(("name", "group"), [*NAMES.items(), ("skull", "marrow"), ("bladder", "soft")])
def test_names_are_those_of_the_vocabulary(name, group):
    assert tia_scans.class_of(name) == group


@pytest.mark.parametrize("name", ["bladder", "lungs", "heart", "red_marrow", "remainder", "spleeen"])
def test_what_has_no_class_gets_the_rule_and_is_said(name):
    image, ct, regions = scan()
    found = tia_from_single_scan(image, ct, **KNOWN, regions={name: regions["kidney_left"]}, method="classical")
    np.testing.assert_allclose(found.volume.array, image.array * 1e-6 * 2 * 72.0 / np.log(2), rtol=1e-5)
    assert found.choice.reasons == (f"no class of its own: {name}; 2 t/ln 2, as all else",)


def test_regions_that_the_network_was_not_trained_with_do_not_reach_it(tmp_path):
    image, ct, regions = scan()
    known = {**KNOWN, "method": "network", "weights": saved(tmp_path, tia_single.NETWORK, 0.5)}
    without, beside = (
        tia_from_single_scan(image, ct, **known, regions={**regions, **more})
        for more in ({}, {"lungs": np.ones(SHAPE, bool)})
    )
    np.testing.assert_array_equal(beside.volume.array, without.volume.array)
    assert "lungs" in beside.choice.reasons[-1]


def test_many_lesions_keep_their_labels():
    masks = {f"tumour_{k}": np.arange(300) == k for k in range(300)}
    labels, names = label_map(masks, np.ones(300, bool))
    assert len(names) == 302
    np.testing.assert_array_equal(labels, np.arange(2, 302))


@pytest.mark.parametrize("name", ["lungs", "stomach", "heart_contents", "bladder"])
def test_regions_of_a_pet_without_a_class_go_to_the_remainder(name):
    image, ct, regions = suv()
    other = np.zeros(SHAPE, bool)
    other[18:22] = True
    usual = tia_from_pet_scan(image, ct, {"renal": regions["kidney_left"]}, **PET, method="classical")
    found = tia_from_pet_scan(image, ct, {**regions, name: other}, **PET, method="classical")
    np.testing.assert_array_equal(found.volume.array, usual.volume.array)
    assert found.region_mean.keys() == {"remainder", "kidney_left"}
    assert found.choice.reasons == (f"no class of its own: {name}; part of the remainder",)


def test_region_channels_hold_heights_in_their_place_and_class_means_everywhere():
    masks = {name: np.zeros((4, 4, 4), bool) for name in ("kidney_left", "kidney_right", "tumour_1")}
    for k, mask in enumerate(masks.values()):
        mask[k] = True
    labels, names = label_map(masks, np.ones((4, 4, 4), bool))
    high, size, *flat = region_channels(labels, names, np.array([9.0, 9.0, 0.5, -0.5, 2.0]))
    assert [float(high[k, 0, 0]) for k in range(4)] == [0.5, -0.5, 2.0, 0.0]
    np.testing.assert_allclose(size[0], np.log(16) / 4)
    assert size[3].max() == 0
    said = {group: float(values[0, 0, 0]) for group, values in zip(NAMED, flat)}
    assert said == {"kidney": 0.0, "liver": 0.0, "spleen": 0.0, "gland": 0.0, "tumour": 2.0}


def test_parts_of_pictures_agree_and_are_filled_up():
    whole = {"labels": np.arange(24, dtype=np.uint8).reshape(2, 3, 4), "tie": np.array(1.0)}
    whole["x"] = np.stack([whole["labels"], 2.0 * whole["labels"]])
    part = tia_scans.cut(whole, (2, 4, 3), np.random.default_rng(0))
    assert part["x"].shape == (2, 2, 4, 3)
    np.testing.assert_array_equal(part["x"][0, :, :3], part["labels"][:, :3])
    np.testing.assert_array_equal(part["x"][1, :, 3], part["x"][1, :, 2])
    assert part["labels"][:, 3].max() == 0
    assert part["tie"] == 1.0


def test_clearance_within_regions_is_bounded_from_below():
    fine = tia_scans.texture(np.ones((40, 40, 40), np.uint8), ["outside", "liver"], 6.0, np.random.default_rng(0))
    assert fine.clearance_per_h.min() == pytest.approx(tia_scans.RATES_per_h[0])
    assert tia_scans.RATES_per_h[0] > -np.log(2) / LU_HALF_LIFE_h


def test_means_tied_exactly_are_the_kinetic_models(some_weights):
    image, ct, regions = suv()
    known = {**PET, "method": "network", "weights": some_weights}
    exact, loose = (tia_from_pet_scan(image, ct, regions, **known, tie=t) for t in ("exact", "loose"))
    assert exact.choice.method == "network"
    mask = regions["kidney_left"]
    assert abs(exact.volume.array[mask].mean() / exact.region_mean["kidney_left"] - 1) < 1e-3
    assert abs(loose.volume.array[mask].mean() / loose.region_mean["kidney_left"] - 1) > 1e-3


def test_tying_keeps_the_pattern_within_a_region():
    labels, log = np.array([[0, 1, 1, 1]]), np.array([[0.0, 1.0, 2.0, 3.0]])
    found = tied(log, labels, np.array([0.0, 5.0]))
    np.testing.assert_allclose(np.diff(found[0, 1:]), 1.0, rtol=1e-5)
    assert abs(np.log(np.exp(found[0, 1:]).mean()) - 5.0) < 1e-5


def test_the_classical_map_has_the_models_means_and_the_pets_pattern_and_is_empty_outside():
    image, ct, regions = suv()
    air = ct.array.copy()
    air[:3] = -1000.0
    mask = regions["kidney_left"]
    uneven = image.with_array(np.where(np.arange(SHAPE[2]) % 2, 1.5, 0.5) * image.array)
    found = tia_from_pet_scan(uneven, ct.with_array(air), regions, **PET, method="classical")
    assert found.volume.array[:3].max() == 0
    inside, seen = found.volume.array[mask], uneven.array[mask]
    np.testing.assert_allclose(inside.mean(), found.region_mean["kidney_left"], rtol=1e-4)
    np.testing.assert_allclose(inside / inside.mean(), seen / seen.mean(), rtol=1e-4)
    assert (found.log_sd > 0).all()


def test_a_pattern_below_zero_is_bounded():
    labels = np.array([[1, 1, 1, 1]])
    found = patterned(np.array([0.0, 0.0]), np.array([[-1.0, 1.0, 2.0, 6.0]]), labels)
    assert np.isfinite(found).all()
    assert np.exp(found).mean() == pytest.approx(1.0, rel=1e-5)
    assert np.exp(found[0, 3] - found[0, 2]) == pytest.approx(3.0, rel=1e-5)


def test_pets_that_cannot_be_mapped_are_refused():
    image, ct, regions = suv()
    with pytest.raises(InputError, match="tie"):
        tia_from_pet_scan(image, ct, regions, **PET, tie="firm")
    with pytest.raises(ImageError, match="regions"):
        tia_from_pet_scan(image, ct, {"liver": np.zeros(SHAPE, bool)}, **PET)
    with pytest.raises(InputError, match="mass_g"):
        tia_from_pet_scan(image, ct, regions, **{**PET, "mass_g": 0.0})


@pytest.mark.parametrize("recipe", [tia_single.NETWORK, tia_from_pet.NETWORK], ids=lambda recipe: recipe.name)
def test_cases_come_from_the_kinetic_model_only(recipe):
    with pytest.raises(InputError, match=r"twin\.network_recipes"):
        recipe.case(0, recipe.config())


def test_later_scans_have_larger_factors_and_shorter_half_lives_smaller_ones():
    for tracer in TRACERS:
        factors = [population_factor(tracer, "kidney", t, LU_HALF_LIFE_h).factor_h for t in (24.0, 72.0, 168.0)]
        assert factors == sorted(factors)
        usual, shorter = (population_factor(tracer, "kidney", 24.0, half).factor_h for half in (LU_HALF_LIFE_h, 60.0))
        assert shorter < usual


def test_ranges_do_not_reach_below_zero():
    found = limits_of([{"highest SUV": 1.0}, {"highest SUV": 60.0}], 6.0, {"fwhm_mm": (5.0, 8.0)})
    assert found["highest SUV"] == pytest.approx((0.95, 63.0))
