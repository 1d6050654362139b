"""The parts that all networks share: weights, range, patches, cases, pairing, training on a toy."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

from dose.errors import InputError
from dose.learning import cases as kept_cases
from dose.learning import folders
from dose.learning.cases import cases_of, kept
from dose.learning.paired import paired
from dose.learning.patches import patch_starts, patchwise
from dose.learning.ranges import choose, outside
from dose.learning.recipe import Config, Recipe, read_config
from dose.learning.spread import spread_error
from dose.learning.training import rate, train
from dose.learning.unet import UNet, count
from dose.learning.weights import found_weights, load_weights, save_weights

TOY = """
[network]
width = 4
levels = 2
[data]
size = 12
[training]
steps = 120
batch = 4
learning_rate = 5e-3
cases = 6
held_out = 2
members = 2
[small.training]
steps = 5
members = 1
"""


def toy_case(seed, config):
    truth = np.random.default_rng(seed).gamma(1.0, size=2).repeat(config.data["size"] // 2)[None, :] + 1.0
    return {"truth": np.broadcast_to(truth, (config.data["size"],) * 2).astype(np.float32)}


def toy_batch(cases, random, config):
    truth = np.stack([cases[k]["truth"] for k in random.integers(len(cases), size=config.training["batch"])])[:, None]
    return {"noisy": truth + 0.5 * random.standard_normal(truth.shape).astype(np.float32), "truth": truth}


def toy_loss(model, batch):
    return (batch["noisy"] + model(batch["noisy"]) - batch["truth"]).square().mean()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    path = tmp_path / "toy.toml"
    path.write_text(TOY)
    monkeypatch.setattr(Recipe, "config", lambda self, size="shipped": read_config(path, size))
    limits = lambda cases, config: {"level": (1.0, 20.0)}
    network = lambda config: UNet(2, 1, 1, **config.network)
    return Recipe("toy", "dose.network", toy_case, toy_batch, network, toy_loss, limits)


def test_training_takes_noise_away_and_is_the_same_again(toy, tmp_path):
    path = train(toy, "shipped", tmp_path / "a")
    card = json.loads(path.with_suffix(".json").read_text())
    curve = card["runs"][0]["curve"]
    # the noise's variance is 0.25: a network that does nothing stays there
    assert curve[-1][2] < 0.15 < curve[0][2]
    assert [run["seed"] for run in card["runs"]] == [0, 1]
    again = train(toy, "shipped", tmp_path / "b")
    assert again.read_bytes() == path.read_bytes()
    other = train(toy, "shipped", tmp_path / "c", seed=5)
    assert other.read_bytes() != path.read_bytes()


def test_weights_come_back_as_they_were(toy, tmp_path):
    config = toy.config()
    members = [toy.network(config) for _ in range(2)]
    save_weights(tmp_path, toy, config, members, {"limits": {"level": [0, 1]}, "runs": []})
    found = load_weights(toy, tmp_path)
    x = torch.rand(1, 1, 12, 12)
    for here, there in zip(members, found.members):
        assert torch.allclose(here(x), there(x), atol=1e-3)  # half precision keeps 11 bits
    assert found.limits == {"level": (0.0, 1.0)}
    assert not found.default
    assert not list(tmp_path.glob("*.part"))


def test_a_changed_byte_is_refused(toy, tmp_path):
    config = toy.config()
    path = save_weights(tmp_path, toy, config, [toy.network(config)] * 2, {"limits": {}, "runs": []})
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"toy\.safetensors: found sha256"):
        load_weights(toy, tmp_path)
    none, why = found_weights(toy, tmp_path)
    assert none is None
    assert "sha256" in why


def test_own_weights_go_before_the_shipped_ones_and_hide_no_others(toy, tmp_path, monkeypatch):
    shipped, own = tmp_path / "shipped", tmp_path / "own"
    for where in (shipped, own):
        save_weights(where, toy, toy.config(), [toy.network(toy.config())] * 2, {"limits": {}, "runs": []})
    monkeypatch.setattr(folders, "folder", lambda *_: shipped)
    monkeypatch.setenv("THERATWIN_WEIGHTS", str(own))
    assert load_weights(toy).card["sha256"] == load_weights(toy, str(own)).card["sha256"]
    (tmp_path / "empty").mkdir()
    monkeypatch.setenv("THERATWIN_WEIGHTS", str(tmp_path / "empty"))
    assert load_weights(toy).card["sha256"] == load_weights(toy, shipped).card["sha256"]


def test_a_folder_of_weights_that_is_none_is_told_and_not_passed_over(toy, tmp_path, monkeypatch):
    monkeypatch.setenv("THERATWIN_WEIGHTS", str(tmp_path / "mistyped"))
    for asked in (load_weights, found_weights):
        with pytest.raises(InputError, match=r'THERATWIN_WEIGHTS: found ".*mistyped"'):
            asked(toy)


def test_weights_without_their_card_are_told_and_not_passed_over(toy, tmp_path, monkeypatch):
    save_weights(tmp_path, toy, toy.config(), [toy.network(toy.config())] * 2, {"limits": {}, "runs": []})
    (tmp_path / "toy.json").unlink()
    monkeypatch.setenv("THERATWIN_WEIGHTS", str(tmp_path))
    with pytest.raises(InputError, match="without its card"):
        load_weights(toy)


@pytest.mark.parametrize("damage", ["{", "[]", "{}", '{"sha256": 3}'])
def test_a_damaged_card_is_an_error_in_words_and_the_fallback(toy, tmp_path, damage):
    save_weights(tmp_path, toy, toy.config(), [toy.network(toy.config())] * 2, {"limits": {}, "runs": []})
    (tmp_path / "toy.json").write_text(damage)
    with pytest.raises(InputError, match="weights of toy|sha256"):
        load_weights(toy, tmp_path)
    assert found_weights(toy, tmp_path)[0] is None


def test_weights_beyond_half_precision_are_refused(toy, tmp_path):
    wild = toy.network(toy.config())
    next(wild.parameters()).data.fill_(1e6)
    with pytest.raises(InputError, match="65504"):
        save_weights(tmp_path, toy, toy.config(), [wild] * 2, {"limits": {}, "runs": []})


def test_missing_weights_say_what_to_do(toy, tmp_path):
    with pytest.raises(InputError, match="theratwin train toy"):
        load_weights(toy, tmp_path / "nowhere")


def test_weights_of_another_shape_are_refused(toy, tmp_path):
    config = toy.config()
    save_weights(tmp_path, toy, config, [UNet(2, 1, 1, width=8, levels=2)] * 2, {"limits": {}, "runs": []})
    with pytest.raises(InputError, match="another shape"):
        load_weights(toy, tmp_path)


def test_a_network_too_large_to_ship_is_refused(toy, tmp_path):
    with pytest.raises(InputError, match="MB"):
        save_weights(tmp_path, toy, toy.config(), [UNet(3, 1, 1, width=64, levels=4)], {"limits": {}, "runs": []})
    assert not list(tmp_path.glob("toy.safetensors"))


def test_a_loss_that_is_no_number_ends_training(toy, tmp_path):
    broken = Recipe(**{**vars(toy), "loss": lambda model, batch: toy_loss(model, batch) * float("nan")})
    with pytest.raises(InputError, match="loss of toy"):
        train(broken, "small", tmp_path)


def test_cases_are_simulated_once(toy):
    made = []
    counted = Recipe(**{**vars(toy), "case": lambda seed, config: made.append(seed) or toy_case(seed, config)})
    first = cases_of(counted, toy.config(), range(3))
    second = cases_of(counted, toy.config(), range(4))
    assert made == [0, 1, 2, 3]
    assert all((a["truth"] == b["truth"]).all() for a, b in zip(first, second))


def test_a_damaged_case_is_made_again(tmp_path):
    kept(tmp_path, "1", lambda: {"x": np.arange(3)})
    (tmp_path / "1.npz").write_bytes(b"PK damaged")
    assert kept(tmp_path, "1", lambda: {"x": np.arange(5)})["x"].size == 5
    assert kept(tmp_path, "1", lambda: {"x": np.arange(9)})["x"].size == 5


def test_cases_of_other_data_lie_elsewhere():
    assert kept_cases.cases_folder("a", {"mm": 4}) != kept_cases.cases_folder("a", {"mm": 5})
    assert kept_cases.cases_folder("a", {"mm": 4}) == kept_cases.cases_folder("a", {"mm": 4})


@pytest.mark.parametrize("dims", [2, 3])
def test_without_bias_and_norm_twice_the_input_gives_twice_the_output(dims):
    torch.manual_seed(0)
    model, x = UNet(dims, 2, 1, width=4, levels=3, bias=False), torch.randn(1, 2, *(13, 10, 9)[:dims])
    assert model(x).shape == (1, 1, *x.shape[2:])
    assert torch.allclose(model(2 * x), 2 * model(x), atol=1e-5)
    plain = UNet(dims, 2, 1, width=4, levels=3)
    assert not torch.allclose(plain(2 * x), 2 * plain(x), atol=1e-5)
    assert count([model]) < count([plain])


def test_group_norm_is_used_where_asked():
    assert any("Norm" in type(part).__name__ for part in UNet(2, 1, 1, width=4, levels=2, norm=True).modules())


def test_patches_of_a_pointwise_network_are_the_whole():
    image = np.random.default_rng(0).random((2, 21, 17, 9)).astype(np.float32)
    told = []
    made = patchwise(lambda x: x.sum(1, keepdim=True), image, (8, 8, 16), progress=lambda *a: told.append(a))
    np.testing.assert_allclose(made, image.sum(0, keepdims=True), rtol=1e-5)
    assert told[-1][0] == told[-1][1] > 8


def test_patches_weigh_their_middles_more():
    """A network wrong at its patch's edges is right in the whole's middle but for little."""

    def wrong_at_edges(x):
        made = x.clone()
        made[..., 0] = made[..., -1] = 100.0
        return made

    made = patchwise(wrong_at_edges, np.zeros((1, 8, 40), np.float32), (8, 16))
    assert made[0, :, 20].max() < 10.0
    assert made[0, :, 0].min() == pytest.approx(100.0)


@pytest.mark.parametrize(("length", "patch", "overlap"), [(64, 32, 0.5), (65, 32, 0.25), (10, 32, 0.5), (33, 32, 0.0)])
def test_patches_cover_everything(length, patch, overlap):
    starts = patch_starts(length, patch, overlap)
    covered = np.zeros(length, bool)
    for a in starts:
        assert a >= 0
        covered[a : a + patch] = True
    assert covered.all()
    assert starts[-1] + min(patch, length) == length


LIMITS = {"counts": (1e5, 1e7)}


@pytest.mark.parametrize("value", [9e4, 2e7, float("nan"), float("inf")])
def test_what_lies_outside_is_said_and_the_fallback_used(value):
    chosen = choose("auto", LIMITS, {"counts": value}, default=True)
    assert chosen.method == "classical"
    assert "counts" in chosen.reasons[0]
    insisted = choose("network", LIMITS, {"counts": value}, default=True)
    assert insisted.method == "network"
    assert insisted.reasons == chosen.reasons


def test_within_the_range_the_network_is_used_only_where_it_earned_it():
    assert choose("auto", LIMITS, {"counts": 1e6}, default=True).method == "network"
    assert choose("auto", LIMITS, {"counts": 1e6}, default=True).reasons == ()
    chosen = choose("auto", LIMITS, {"counts": 1e6}, default=False)
    assert chosen.method == "classical"
    assert "default" in chosen.reasons[0]
    assert choose("classical", LIMITS, {}, default=True).method == "classical"


def test_no_weights_mean_the_fallback_or_an_error():
    assert choose("auto", None, {}, default=False, why="none here").reasons == ("none here",)
    with pytest.raises(InputError, match="^none here$"):
        choose("network", None, {}, default=False, why="none here")
    with pytest.raises(InputError, match="method"):
        choose("best", LIMITS, {}, default=True)


def test_a_feature_that_is_not_known_is_outside():
    assert outside(LIMITS, {}) != ()
    assert outside(LIMITS, {"counts": 1e5}) == ()


def coverage(cases: int, sets: int = 400) -> float:
    """Part of the intervals, over sets of normal differences about -1, that hold -1."""
    random = np.random.default_rng(cases)
    within = 0
    for seed in range(sets):
        common = random.standard_normal(cases) * 5
        found = paired(common + random.standard_normal(cases) - 1.0, common, seed)
        within += found.low <= -1.0 <= found.high
        assert found.low <= found.difference <= found.high
    return within / sets


@pytest.mark.parametrize("cases", [4, 6, 12])
def test_paired_intervals_hold_the_truth_as_often_as_they_say(cases):
    assert 0.92 <= coverage(cases) <= 0.985  # 95 % and three sd of 400 sets; the bare bootstrap: 0.80 to 0.91


def test_cases_of_one_body_hang_together():
    random = np.random.default_rng(0)
    bodies = np.repeat(np.arange(6), 8)
    gains = random.standard_normal(6)[bodies] + 0.1 * random.standard_normal(48)
    alone, together = paired(gains, 0 * gains), paired(gains, 0 * gains, groups=bodies.tolist())
    assert together.high - together.low > 2 * (alone.high - alone.low)
    assert together.difference == alone.difference


@pytest.mark.parametrize("groups", [[], [0, 1, 2], [0, 0, 0, 1]])
def test_groups_that_do_not_fit_are_refused(groups):
    with pytest.raises(InputError, match="groups"):
        paired([1.0, 1.1, 0.9, 1.0], [2.0, 2.2, 1.9, 2.1], groups=groups)


def test_paired_says_which_is_better():
    clear = paired([1.0, 1.1, 0.9, 1.0], [2.0, 2.2, 1.9, 2.1])
    assert clear.better()
    assert not clear.better(smaller=False)
    assert clear.values()[:2] == [1.0, 2.05]


@pytest.mark.parametrize(
    "bad", [([1.0, 2.0], [1.0, 2.0]), ([1.0] * 3, [1.0] * 4), ([1.0, float("nan"), 2.0], [1.0] * 3)]
)
def test_pairs_that_are_none_are_refused(bad):
    with pytest.raises(InputError, match="paired"):
        paired(*bad)


def test_configurations_are_checked(tmp_path):
    path = tmp_path / "x.toml"
    path.write_text(TOY)
    assert read_config(path, "small").training["steps"] == 5
    assert read_config(path, "small").training["batch"] == 4
    assert isinstance(read_config(path, "shipped"), Config)
    with pytest.raises(InputError, match="size"):
        read_config(path, "huge")
    path.write_text(TOY.replace("[data]", "[date]"))
    with pytest.raises(InputError, match=r"no \[data\]"):
        read_config(path, "shipped")
    path.write_text(TOY.replace("steps = 120", ""))
    with pytest.raises(InputError, match="steps"):
        read_config(path, "shipped")


def test_the_rate_rises_and_falls():
    assert rate(0.0) < 0.1 < rate(0.03)
    assert rate(0.5) == pytest.approx(0.5)
    assert rate(1.0) == pytest.approx(0.0, abs=1e-12)


def test_the_sd_learned_from_errors_is_theirs():
    error = torch.from_numpy(np.random.default_rng(0).normal(0, 3.0, 200_000))
    of_sd = [float(spread_error(error, torch.full_like(error, sd)).square().mean()) for sd in (2.9, 3.0, 3.1)]
    assert of_sd[1] < min(of_sd[0], of_sd[2])


def test_an_sd_near_zero_does_not_take_the_training_over():
    error, sd = torch.tensor([1.0], requires_grad=True), torch.tensor([1e-3], requires_grad=True)
    spread_error(error, sd).square().sum().backward()
    assert error.grad is None or float(error.grad.abs()) == 0
    assert sd.grad is not None
    assert abs(float(sd.grad)) < 3
    likelihood = torch.tensor([1e-3], requires_grad=True)
    (0.5 * (error.detach() / likelihood).square() + likelihood.log()).sum().backward()
    assert likelihood.grad is not None
    assert abs(float(likelihood.grad)) > 1e8
