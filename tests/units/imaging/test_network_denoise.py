"""Denoising networks: homogeneity, fallback and its reasons, inputs refused, training without truth."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import binary_dilation

from dose.errors import ImageError, InputError
from dose.learning.weights import save_weights
from imaging.geometry import Volume
from imaging.networks import denoise, denoise_batches, denoise_pet, denoise_spect
from imaging.networks.denoise import Denoiser, Filter, applied, channels, features, filtered, smoothed
from imaging.networks.denoise_frames import fitted, halves, learned_from_pairs
from imaging.networks.denoise_gaussian import WIDTHS_mm, body_rmse, chosen_filter, oracle_fwhm_mm
from imaging.networks.denoise_kept import beyond_noise, put_back
from imaging.networks.denoise_pet import denoised_pet
from imaging.networks.denoise_spect import denoised_spect
from imaging.networks.patients import assigned, body_mass_g, concentrations, patient
from imaging.projections import EnergyWindow, Projections
from imaging.series import ImageSeries
from tests.validate.ai_cost import peak_megabytes

GRID = np.diag([5.0, 5.0, 5.0, 1.0])
KNOWN = {"pet": {"nuclide": "18F"}, "spect": {"line_keV": 208.0}}
CALLS = {"pet": denoised_pet, "spect": denoised_spect}
RECIPES = {"pet": denoise_pet.RECIPE, "spect": denoise_spect.RECIPE}


def a_case(seed: int = 0, shape=(16, 32, 30), noise: float = 0.5):
    """A hot box in a warm one, twice with noise."""
    random = np.random.default_rng(seed)
    true = np.zeros(shape, np.float32)
    true[2:-2, 4:-4, 4:-4] = 1.0
    true[5:10, 10:18, 10:18] = 6.0
    true = smoothed(true, 1.5)

    def scan():
        return (true + noise * np.sqrt(true) * random.standard_normal(shape)).astype(np.float32)

    labels = (true > 0.5).astype(np.uint8)
    return {"noise_free": true, "first": scan(), "second": scan(), "labels": labels, "spacing_mm": np.full(3, 5.0)}


def a_network(seed: int = 0, tiny: bool = True) -> Denoiser:
    torch.manual_seed(seed)
    return Denoiser(1, (2.0, 4.0, 8.0), 4, 2).eval() if tiny else denoise.network(denoise_pet.RECIPE.config())


def small(recipe):
    """The configuration, of a few seconds."""
    config = recipe.config("small")
    network = {"reach": 1, "widths_voxels": [2.0, 4.0, 8.0], "width": 4, "levels": 2}
    training = {**config.training, "patch": [4, 16, 16], "batch": 4, "members": 1, "steps": 60}
    return replace(config, network=network, training=training)


def saved(recipe, folder, *, default: bool, limits=None):
    """Weights of an untrained network, with the range of one case."""
    config, case = small(recipe), a_case()
    wide = denoise.limits([case], config)
    card = {"limits": {k: list(v) for k, v in (limits or wide).items()}, "default": default}
    torch.manual_seed(1)
    save_weights(folder, recipe, config, [recipe.network(config)], card)
    return Volume(case["first"], GRID)


@pytest.mark.parametrize("kind", CALLS)
def test_twice_the_activity_gives_twice_the_answer(kind, tmp_path):
    image = saved(RECIPES[kind], tmp_path, default=True)
    ask = {**KNOWN[kind], "weights": tmp_path, "method": "network"}
    once, twice = (CALLS[kind](image.with_array(k * image.array), **ask) for k in (1.0, 2.0))
    np.testing.assert_allclose(twice.volume.array, 2 * once.volume.array, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(twice.sd.array, 2 * once.sd.array, rtol=1e-4, atol=1e-4)


def test_the_network_triples_without_the_division_by_the_level_and_one_with_biases_does_not():
    seen = torch.from_numpy(channels(a_case()["first"], 1, (2.0, 4.0, 8.0))[8:9])
    departures = []
    with torch.no_grad():
        for bias in (0.0, 1.0):
            model = a_network()
            model.unet.last.register_parameter("bias", torch.nn.Parameter(torch.full((2,), bias)))
            once, thrice = model(seen), model(3 * seen)
            departures.append(float((thrice - 3 * once).abs().max()))
    assert departures[0] < 1e-4
    assert departures[1] > 1.0


def test_a_constant_image_has_a_level_though_its_mean_is_rounded_up():
    even = np.full((8, 8, 8), 8.15872, np.float32)
    assert even.mean() > even.max()  # or this asks nothing
    assert denoise.level(even) == pytest.approx(8.15872)


def test_the_mean_over_mirror_images_is_mirrored_with_the_image_and_one_pass_is_not():
    image, model = a_case()["first"][:, :30, :], a_network()
    for mirrors, same in ((denoise.MIRRORS, True), (((),), False)):
        here = denoise.mirrored(model, image, mirrors)
        there = denoise.mirrored(model, image[:, :, ::-1], mirrors)
        close = [np.abs(b[:, :, ::-1] - a).max() < 1e-4 * a.max() for a, b in zip(here, there)]
        assert close == [same, same]


def test_progress_over_mirror_images_rises_to_the_end_once():
    told = []
    denoise.mirrored(a_network(), a_case()["first"], progress=lambda done, whole, _: told.append(done / whole))
    assert told == sorted(told)
    assert told[-1] == 1
    assert told.count(1) == 1


def test_a_constant_image_with_an_untrained_network_changes_by_its_own_scale_only():
    model = a_network()
    ones, sevens = (applied(model, np.full((9, 12, 10), v, np.float32))[0] for v in (1.0, 7.0))
    np.testing.assert_allclose(sevens, 7 * ones, rtol=1e-5)


@pytest.mark.parametrize("shape", [(8, 8, 8), (9, 13, 31), (17, 8, 20)])
def test_any_shape_comes_back(shape):
    image = np.random.default_rng(0).poisson(5.0, shape).astype(np.float32)
    mean, sd = applied(a_network(), image)
    assert mean.shape == sd.shape == shape
    assert mean.min() >= 0
    assert sd.min() >= 0


@pytest.mark.parametrize("kind", CALLS)
@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((10, 10, 10)), "activity above zero"),
        (-np.ones((10, 10, 10)), "activity above zero"),
        (np.ones((10, 7, 10)), "8 voxels or more"),
    ],
)
def test_images_that_cannot_be_denoised_are_refused(kind, array, words):
    with pytest.raises(InputError, match=words):
        CALLS[kind](Volume(array, GRID), **KNOWN[kind])


def test_a_method_or_nuclide_that_is_not_known_is_refused():
    image = Volume(np.ones((10, 10, 10)), GRID)
    with pytest.raises(InputError, match="method"):
        denoised_pet(image, nuclide="18F", method="magic")
    with pytest.raises(InputError, match="positron"):
        denoised_pet(image, nuclide="177Lu")


@pytest.mark.parametrize("kind", CALLS)
def test_without_weights_the_filter_is_used_and_says_why(kind, tmp_path):
    image = Volume(a_case()["first"], GRID)
    found = CALLS[kind](image, **KNOWN[kind], weights=tmp_path)
    assert found.choice.method == "classical"
    assert "theratwin train" in found.choice.reasons[0]
    with pytest.raises(InputError, match="weights"):
        CALLS[kind](image, **KNOWN[kind], weights=tmp_path, method="network")


def test_what_lies_outside_the_range_goes_to_the_filter_with_reasons(tmp_path):
    image = saved(denoise_pet.RECIPE, tmp_path, default=True)
    ask = {"nuclide": "18F", "weights": tmp_path}
    assert denoised_pet(image, **ask).choice.method == "network"
    coarse = Volume(image.array, np.diag([9.0, 9.0, 9.0, 1.0]))
    found = denoised_pet(coarse, **ask)
    assert found.choice.method == "classical"
    assert "voxel_mm is 9" in found.choice.reasons[0]
    forced = denoised_pet(coarse, **ask, method="network")
    assert forced.choice.method == "network"
    assert forced.choice.reasons == found.choice.reasons


def test_weights_that_are_no_default_are_used_only_when_asked_for(tmp_path):
    image = saved(denoise_pet.RECIPE, tmp_path, default=False)
    assert denoised_pet(image, nuclide="18F", weights=tmp_path).choice.method == "classical"
    assert denoised_pet(image, nuclide="18F", weights=tmp_path, method="network").choice.method == "network"


def test_another_photon_energy_is_outside_the_range(tmp_path):
    image = saved(denoise_spect.RECIPE, tmp_path, default=True, limits={denoise_spect.LINE: (203.0, 213.0)})
    found = [denoised_spect(image, line_keV=line, weights=tmp_path).choice.method for line in (208.0, 113.0)]
    assert found == ["network", "classical"]


def test_noise_and_grain_follow_noise_and_resolution():
    quiet, loud = (Volume(a_case(noise=n)["first"], GRID) for n in (0.1, 0.8))
    assert features(loud)["noise"] > 1.5 * features(quiet)["noise"]
    blurred = loud.with_array(smoothed(loud.array, 2.5))
    assert features(blurred)["grain"] > features(loud)["grain"] + 0.2
    doubled = loud.with_array(2 * loud.array)
    assert features(doubled) == pytest.approx(features(loud), rel=1e-4)


def test_the_filter_keeps_the_total_and_the_oracle_is_never_worse():
    case = a_case(noise=0.8)
    best = chosen_filter([case, a_case(seed=1, noise=0.3)])
    image = denoise.as_volume(case, "first")
    errors = {w: body_rmse(filtered(image, Filter(w, 1.0))[0], case) for w in WIDTHS_mm}
    assert errors[oracle_fwhm_mm(case)] == min(errors.values())
    assert errors[oracle_fwhm_mm(case)] < 0.7 * errors[0.0]
    assert best.fwhm_mm in WIDTHS_mm
    even = Volume(np.full((12, 12, 12), 3.0), GRID)
    np.testing.assert_allclose(filtered(even, best)[0], 3.0, rtol=1e-5)


def test_pairs_hold_no_truth():
    case = a_case()
    blind = {name: case[name] for name in ("first", "second", "spacing_mm")}
    config = small(denoise_pet.RECIPE)
    drawn = denoise_batches.pairs([blind], np.random.default_rng(0), config)
    assert drawn["input"].shape == (16, 6, 16, 16)
    with pytest.raises(KeyError):
        denoise_batches.batch([blind], np.random.default_rng(0), config)


def test_small_regions_are_seen_as_often_as_large_ones():
    case = a_case(noise=0.0)
    labels = np.zeros_like(case["labels"])
    labels[2:-2], labels[12, 28, 5] = 1, 2
    config = small(denoise_pet.RECIPE)
    told, untold = (replace(config, training={**config.training, "regions": part}) for part in (1.0, 0.0))
    random, case = np.random.default_rng(0), case | {"labels": labels}
    seen = [
        labels[tuple(denoise_batches._centre(case["first"], case, random, c))]
        for c in (told, untold)
        for _ in range(100)
    ]
    assert 30 < np.sum(np.array(seen[:100]) == 2) < 70
    assert np.sum(np.array(seen[100:]) == 2) < 10


def test_a_lesion_that_the_network_took_away_is_put_back_and_noise_is_not():
    case = a_case()
    lesion = np.zeros(case["first"].shape, bool)
    lesion[11:13, 22:25, 22:25] = True
    ill = case["first"] + np.where(lesion, 4.0, 0.0).astype(np.float32)
    quiet, sd = case["noise_free"], np.full_like(ill, 0.1)
    found, noise = put_back(ill, quiet, sd)
    assert found[lesion].mean() == pytest.approx(ill[lesion].mean(), rel=0.02)
    assert (noise[lesion] > 0.3).all()
    far = ~binary_dilation(lesion, iterations=4)
    assert beyond_noise(ill, quiet)[far].mean() < 0.03
    well, _ = put_back(case["first"], quiet, sd)
    assert well[lesion].mean() < 1.3


def test_what_noise_explains_does_not_hang_on_the_unit_and_a_perfect_answer_stays():
    case = a_case()
    parts = [beyond_noise(k * case["first"], k * case["noise_free"]) for k in (1.0, 1000.0)]
    np.testing.assert_allclose(parts[1], parts[0], atol=1e-4)
    mean, sd = put_back(case["noise_free"], case["noise_free"], case["second"])
    np.testing.assert_array_equal(mean, case["noise_free"])
    np.testing.assert_array_equal(sd, case["second"])


def test_organs_of_a_bed_position_hold_their_uptake_of_the_whole_bodys_activity():
    config = denoise_pet.RECIPE.config()
    data = {**config.data, "voxel_mm": 8.0, "slices": 30, "in_body_MBq": [100.0, 100.0]}
    made = denoise_pet.case(4, replace(config, data=data))
    whole = patient(4, 8.0, lesions=denoise_pet.LESIONS)
    uptake = concentrations(whole, assigned(4, "tracer", data["tracers"]), 4)
    kidney = whole.names.index("kidney_left")
    level = uptake[kidney] * 100e6 / body_mass_g(4, 8.0)
    assert made["activity"][made["labels"] == kidney] == pytest.approx(level, rel=1e-5)
    assert made["activity"].sum(dtype=float) * 0.8**3 < 0.9 * 100e6


def test_the_memory_of_a_program_does_not_hold_that_of_who_asks():
    held = np.ones(40_000_000)
    assert held.nbytes > 300e6
    assert peak_megabytes("pass") < 100
    assert peak_megabytes("x = bytearray(200_000_000)") > 190


@pytest.mark.slow
def test_training_on_noise_alone_comes_near_the_truth():
    config = small(denoise_pet.RECIPE)
    config = replace(config, training={**config.training, "steps": 150})
    cases = [a_case(seed) for seed in range(3)]
    torch.manual_seed(0)
    model = denoise.network(config)
    before = body_rmse(applied(model, cases[0]["first"])[0], cases[0])
    recipe = replace(denoise_pet.RECIPE, batch=denoise_batches.pairs)
    after = body_rmse(applied(fitted(model, recipe, cases, config, seed=0), cases[0]["first"])[0], cases[0])
    assert after < 0.95 * before  # the untrained network is a Gaussian filter but for its first weights
    assert after < 0.7 * body_rmse(cases[0]["first"], cases[0])


def test_learning_from_pairs_writes_weights_that_the_call_takes(tmp_path):
    case = a_case()
    pair = tuple(Volume(case[name], GRID) for name in ("first", "second"))
    told = []
    ask = {"features": {denoise_pet.RANGE: 0.44}, "steps": 2, "progress": lambda *words: told.append(words)}
    made = learned_from_pairs(denoise_pet.RECIPE, [pair], tmp_path, **ask)
    assert (len(told), made.default) == (2, False)
    found = denoised_pet(pair[0], nuclide="18F", weights=tmp_path, method="network")
    assert found.choice.reasons == ()
    again = learned_from_pairs(denoise_pet.RECIPE, [pair], tmp_path / "more", start=made, **ask)
    assert again.card["sha256"] != made.card["sha256"]


def test_pairs_that_are_none_are_refused(tmp_path):
    one, other = Volume(np.ones((8, 8, 8)), GRID), Volume(np.ones((9, 8, 8)), GRID)
    with pytest.raises(ImageError, match="two grids"):
        learned_from_pairs(denoise_pet.RECIPE, [(one, other)], tmp_path)
    with pytest.raises(InputError, match="0 pairs"):
        learned_from_pairs(denoise_pet.RECIPE, [], tmp_path)


def test_halves_of_counts_are_independent_and_sum_to_the_whole():
    counts = np.random.default_rng(0).poisson(4.0, (1, 6, 40, 40)).astype(np.float32)
    peak = EnergyWindow(187.0, 229.0, "peak", 208.0)
    whole = Projections(counts, (peak,), np.arange(6) * 60.0, np.full(6, 200.0), np.full(6, 20.0), 5.0, np.zeros(3))
    first, second = halves(whole, seed=1)
    np.testing.assert_array_equal(first.counts + second.counts, whole.counts)
    assert abs(np.corrcoef(first.counts.ravel(), second.counts.ravel())[0, 1]) < 0.04
    assert np.corrcoef(first.counts.ravel(), whole.counts.ravel())[0, 1] > 0.6
    np.testing.assert_allclose(first.frame_s, 10.0)
    with pytest.raises(ImageError, match="whole"):
        halves(whole.with_counts(counts + 0.3), seed=1)


@pytest.mark.parametrize("kind", CALLS)
def test_what_is_no_volume_is_refused_by_name(kind):
    image = Volume(a_case()["first"], GRID)
    for given in (ImageSeries(image, "PET", "Bq/mL", "", ""), image.array, None):
        with pytest.raises(InputError, match="volume: found"):
            CALLS[kind](given, **KNOWN[kind])


@pytest.mark.parametrize("line", ["208", None, 0.0])
def test_a_photon_energy_that_is_no_number_is_refused(line):
    with pytest.raises(InputError, match="line_keV"):
        denoised_spect(Volume(a_case()["first"], GRID), line_keV=line)
