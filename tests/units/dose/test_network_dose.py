"""The dose networks: linear in activity, kernels convolved rightly, fallback and flags, what they learn from."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.signal import fftconvolve

from dose.errors import InputError
from dose.learning.recipe import TRAINING, Config
from dose.learning.training import train
from dose.learning.weights import load_weights
from dose.network import kernels, maps, predict, residual, scenes, spread, surroundings, unet
from dose.network.finish import solve_last
from dose.network.predict import NETWORKS, learned_dose
from dose.voxels import voxel

SPACING = (4.0, 4.0, 4.0)
DATA = {"side": 16, "spacings_mm": [4.0], "histories": 64}


def body(side: int = 12):
    """Activity and density: soft tissue with a piece of lung, and a hot spot."""
    random = np.random.default_rng(3)
    density = np.full((side,) * 3, 1.03)
    density[: side // 3] = 0.26
    return random.uniform(0.1, 1.0, density.shape), density


def fake_case(seed: int, config=None):
    """A scene whose "Monte Carlo" is the kernel engine with noise, in place of seconds of transport."""
    random = np.random.default_rng(seed)
    made = replace(scenes.scene(20 * seed, DATA), nuclide="177Lu")
    case = scenes.classical(made.tia_MBq_h, made.density_g_cm3, "177Lu", SPACING)
    for word in ("", "second_"):
        for kind in maps.KINDS:
            noise = 1 + 0.1 * random.standard_normal(made.labels.shape)
            case[f"{word}{kind}_Gy"] = (case[f"kernel_{kind}_Gy"] * noise).astype(np.float32)
    return {
        **case, "density": made.density_g_cm3.astype(np.float32), "tia": made.tia_MBq_h.astype(np.float32),
        "labels": made.labels, "spacing_mm": np.array(SPACING), "nuclide": np.array(0),
    }  # fmt: skip


def shaken(network: torch.nn.Module) -> torch.nn.Module:
    """The network with all weights drawn anew, so that none is at its start of zero."""
    torch.manual_seed(0)
    for weight in network.parameters():
        torch.nn.init.normal_(weight, std=0.1)
    return network.eval()


def answer(network: torch.nn.Module, part, case) -> np.ndarray:
    """Dose in Gy, [kind, z, y, x]."""
    drawn, scale = maps.drawn(part.channels(case))
    with torch.no_grad():
        return network(drawn)[0].numpy() * scale


@pytest.mark.parametrize(("part", "least", "most"), [(residual, 0, 1e-4), (kernels, 0, 1e-4), (unet, 1e-3, 10)])
def test_dose_of_two_sources_is_the_sum_but_for_the_plain_unet(part, least, most):
    config = Config("test", {"width": 4, "levels": 2}, DATA, dict.fromkeys(sorted(TRAINING), 1))
    network = shaken(part.network(config))
    tia, density = body()
    hot = tia > 0.5
    doses = []
    for activity in (tia, np.where(hot, tia, 0), np.where(hot, 0, tia)):
        case = {"tia": activity, "density": density, "spacing_mm": np.array(SPACING), "nuclide": np.array(0)}
        doses.append(answer(network, part, {**case, **scenes.classical(activity, density, "177Lu", SPACING)}))
    error = np.abs(doses[1] + doses[2] - doses[0]).max() / np.abs(doses[0]).max()
    assert least <= error < most


def test_the_solved_last_layer_fits_the_training_scenes_better():
    config = Config("test", {"width": 4, "levels": 2}, DATA, dict.fromkeys(sorted(TRAINING), 1))
    network = shaken(residual.network(config))
    cases = [fake_case(seed) for seed in range(2)]
    for case in cases:
        case["electron_Gy"] = 1.1 * case["electron_Gy"]
    before, after = [], []
    for errors in (before, after):
        for case in cases:
            error = maps.weights(case) * (answer(network, residual, case) - maps.stacked(case, "")) ** 2
            errors.append(float(error.mean()))
        solve_last(network, residual, cases)
    assert sum(after) < 0.5 * sum(before)
    layer, rows = residual.last_layer(network)  # type: ignore[arg-type]
    assert (layer.weight[rows[2][1]] == 0).all()  # no scene of 90Y was seen
    found = sum(answer(network, residual, case)[0].sum() for case in cases)
    assert abs(found / sum(case["electron_Gy"].sum() for case in cases) - 1) < 0.02


def test_even_kernels_are_convolved_as_by_scipy():
    random = np.random.default_rng(0)
    octant = random.uniform(size=(3, 3, 3))
    x = random.uniform(size=(7, 6, 5))
    full = octant[np.ix_(*(np.abs(np.arange(-2, 3)),) * 3)]
    found = kernels.convolved(torch.from_numpy(x)[None, None], torch.from_numpy(octant)[None, None])[0, 0].numpy()
    np.testing.assert_allclose(found, fftconvolve(x, full, mode="same"), rtol=1e-10)


def test_an_untrained_correction_is_the_kernel_engine():
    case = fake_case(0)
    found = answer(residual.Residual(3 + len(kernels.media()), 4, 2), residual, case)
    wanted = maps.stacked(case, "kernel_") * (case["density"] >= maps.AIR)
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-12)


def test_weights_do_not_see_the_sign_of_the_noise():
    case = fake_case(1)
    before = maps.weights(case)
    for kind in maps.KINDS:
        case[f"{kind}_Gy"] = 2 * case[f"kernel_{kind}_Gy"] - case[f"{kind}_Gy"]
    np.testing.assert_allclose(maps.weights(case), before, rtol=1e-3)
    assert (before[:, case["density"] < maps.AIR] == 0).all()
    case["kernel_electron_Gy"] = 2 * case["kernel_electron_Gy"]
    assert (maps.weights(case)[0][before[0] > 0] < 0.9 * before[0][before[0] > 0]).all()


def test_surroundings_are_the_same_from_any_side_and_know_lung_from_bone():
    density = np.full((10, 11, 12), 1.03)
    density[:4], density[8:] = 0.26, 1.6
    found = surroundings.surroundings(density)
    assert found.shape == (surroundings.number(), 10, 11, 12)
    turned = surroundings.surroundings(density.transpose(2, 0, 1)[::-1])
    np.testing.assert_allclose(turned, found.transpose(0, 3, 1, 2)[:, ::-1], atol=1e-6)
    lung, bone = found[-4, :, 5, 5], found[-3, :, 5, 5]
    assert lung[0] > 0.5 > 0.1 > lung[9]
    assert bone[9] > 0.5 > 0.1 > bone[0]


def test_a_scene_is_told_by_its_seed_and_has_no_activity_in_air():
    one, again, other = (scenes.scene(seed, DATA) for seed in (1, 1, 21))
    assert np.array_equal(one.tia_MBq_h, again.tia_MBq_h)
    assert not np.array_equal(one.tia_MBq_h, other.tia_MBq_h)
    assert (one.tia_MBq_h[one.density_g_cm3 < maps.AIR] == 0).all()
    assert one.tia_MBq_h.min() >= 0
    assert one.nuclide == "90Y"


SLOW = pytest.mark.slow


@pytest.mark.parametrize("part", [pytest.param(residual, marks=SLOW), pytest.param(unet, marks=SLOW), kernels])
def test_training_writes_weights_that_load_and_a_spread(part, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    config = {"steps": 2, "batch": 1, "learning_rate": 1e-3, "cases": 2, "held_out": 1, "members": 2}
    recipe = replace(part.RECIPE, case=lambda seed, config: fake_case(seed % 100))
    monkeypatch.setattr(
        type(recipe), "config", lambda self, size="shipped": Config(size, {"width": 4, "levels": 2}, DATA, config)
    )
    train(recipe, "shipped", tmp_path / "weights")
    trained = load_weights(recipe, tmp_path / "weights")
    assert len(trained.members) == 2
    assert len(trained.card["sd_parts"]) == 3
    solved, unsolved = trained.card["solved_loss"], trained.card["trained_loss"]
    assert trained.card["last_layer"] == ("least squares" if solved < unsolved else "trained")


class Planted(torch.nn.Module):
    """The kernel engine's dose, its electrons off by a drawn factor that all members share and by one of their own."""

    def __init__(self, shared: float, own: float):
        super().__init__()
        self.factor = torch.nn.Parameter(torch.tensor(1 + shared + own))

    def forward(self, drawn):
        return drawn["kernel"] * self.factor


def test_the_sd_finds_an_error_that_members_share(tmp_path, monkeypatch):
    members = tuple(Planted(0.2, own) for own in (-0.01, 0.0, 0.01))
    cases = [fake_case(seed) for seed in range(4)]
    for case in cases:
        for word in ("", "second_"):
            for kind in maps.KINDS:
                case[f"{word}{kind}_Gy"] = case[f"kernel_{kind}_Gy"]
    (tmp_path / "dose_residual.json").write_text("{}")
    monkeypatch.setattr(spread, "load_weights", lambda *_: SimpleNamespace(members=members))
    a, b, c = spread.fit_spread(residual, cases, tmp_path)
    answers = np.stack([np.full((2, 2, 2), 1 + 0.2 + own) for own in (-0.01, 0.0, 0.01)])
    found = spread.sd_of({"sd_parts": [a, b, c]}, answers, np.ones((2, 2, 2)))
    assert found == pytest.approx(0.2, rel=0.1)
    alone = spread.sd_of({"sd_parts": [1.0, 0.0, 0.0]}, answers, np.ones((2, 2, 2)))
    assert alone.max() < 0.02
    assert spread.sd_of({"sd_parts": [1.0, 0.0, 0.0]}, answers[:1], np.ones((2, 2, 2))) is None


def test_a_body_in_much_air_gives_the_same_dose_and_choice():
    tia, density = body(24)
    wide = [np.pad(a, 12, constant_values=v) for a, v in ((tia, 0.0), (density, 0.0012))]
    bare, padded = (learned_dose(*a, "177Lu", SPACING, method="network") for a in ((tia, density), wide))
    assert padded.choice == bare.choice
    np.testing.assert_allclose(padded.dose_Gy[12:-12, 12:-12, 12:-12], bare.dose_Gy, rtol=1e-4)
    assert padded.dose_Gy[:11].max() == 0


NEAR = {"dose_residual": 0.05, "dose_unet": 0.15, "dose_kernels": 0.15}
"""Relative difference of the mean dose from the kernel engine's; the latter two are that far off (docs/ai)."""


@pytest.mark.parametrize("network", NETWORKS)
def test_the_network_gives_a_dose_near_the_kernels_and_twice_as_much_for_twice_the_activity(network):
    tia, density = body(32)
    about = (density, "177Lu", SPACING)
    once, twice = (learned_dose(k * tia, *about, method="network", network=network) for k in (1, 2))
    assert once.choice.method == "network"
    assert once.sd_Gy is not None
    assert (once.sd_Gy >= 0).all()
    np.testing.assert_allclose(twice.dose_Gy, 2 * once.dose_Gy, rtol=1e-3, atol=1e-4 * once.dose_Gy.max())
    np.testing.assert_allclose(once.dose_Gy.mean(), voxel(tia, *about).dose_Gy.mean(), rtol=NEAR[network])


def test_a_map_done_in_slabs_is_the_same_map(monkeypatch):
    density = np.full((80, 8, 8), 1.03)
    density[20:30] = 0.26
    tia = np.random.default_rng(0).uniform(0.1, 1.0, density.shape)
    whole = learned_dose(tia, density, "90Y", SPACING, method="network").dose_Gy
    monkeypatch.setattr(predict, "AT_ONCE", 100)
    seen = []
    slabs = learned_dose(tia, density, "90Y", SPACING, method="network", progress=lambda *what: seen.append(what))
    np.testing.assert_allclose(slabs.dose_Gy, whole, rtol=1e-3, atol=1e-5 * whole.max())
    assert len(seen) > 3


def test_the_classical_method_is_the_kernel_engine():
    tia, density = body()
    found = learned_dose(tia, density, "177Lu", SPACING, method="classical")
    assert np.array_equal(found.dose_Gy, voxel(tia, density, "177Lu", SPACING).dose_Gy)
    assert found.sd_Gy is None


@pytest.mark.parametrize(
    ("nuclide", "spacing", "word"), [("131I", SPACING, "nuclide"), ("177Lu", (8.0, 8.0, 8.0), "voxel size")]
)
def test_what_it_was_not_trained_for_is_named_and_the_kernels_used(nuclide, spacing, word, monkeypatch):
    def shipped(recipe, where=None):
        return replace(load_weights(recipe, where), default=True), ""

    monkeypatch.setattr(predict, "found_weights", shipped)
    tia, density = body()
    found = learned_dose(tia, density, nuclide, spacing)
    assert found.choice.method == "classical"
    assert any(word in reason for reason in found.choice.reasons)


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("method", ["auto", "network", "classical"])
def test_a_density_in_grams_per_cubic_millimetre_is_refused_by_every_network(network, method):
    tia, density = body()
    for wrong in (1.03e-3, 1e-3 * density):
        with pytest.raises(InputError, match="g/mm3"):
            learned_dose(tia, wrong, "177Lu", SPACING, method=method, network=network)


def test_errors_say_what_is_wrong():
    tia, density = body()
    with pytest.raises(InputError, match="dose_residual"):
        learned_dose(tia, density, "177Lu", SPACING, network="dose_residua")
    with pytest.raises(InputError, match="177Lu or 90Y"):
        learned_dose(tia, density, "131I", SPACING, method="network")
    for broken in (np.zeros_like(tia), np.where(tia > 0.9, np.nan, tia), -tia, tia[:-1]):
        with pytest.raises(InputError):
            learned_dose(broken, density, "177Lu", SPACING)
