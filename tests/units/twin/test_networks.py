"""The list of networks and the two commands about them."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import dose.learning.folders
import twin.networks
from dose.errors import InputError
from dose.learning.recipe import Recipe, folder, read_config
from dose.learning.unet import UNet
from twin.cli import app
from twin.networks import NETWORKS, networks_table, recipe_of

TOY = """
[network]
width = 4
levels = 2
[data]
[training]
steps = 3
batch = 1
learning_rate = 1e-3
cases = 1
held_out = 1
members = 1
[small.training]
steps = 1
"""


def toy(path) -> Recipe:
    def batch(cases, random, config):
        return {"x": cases[0]["x"][None, None]}

    class Toy(Recipe):
        def config(self, size="shipped"):
            return read_config(path, size)

    return Toy(
        name="toy",
        package="dose.network",
        case=lambda seed, config: {"x": np.full((4, 4), float(seed + 1), np.float32)},
        batch=batch,
        network=lambda config: UNet(2, 1, 1, **config.network),
        loss=lambda model, seen: (model(seen["x"]) - seen["x"]).square().mean(),
        limits=lambda cases, config: {"level": (0.0, 1.0)},
    )


def test_train_writes_weights_card_and_curve(tmp_path, monkeypatch):
    (tmp_path / "toy.toml").write_text(TOY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(twin.networks, "recipe_of", lambda name: toy(tmp_path / "toy.toml"))
    done = CliRunner().invoke(app, ["train", "toy", "--size", "small", "--out", str(tmp_path / "out")])
    assert done.exit_code == 0
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"toy.safetensors", "toy.json", "toy.png"}
    card = json.loads((tmp_path / "out" / "toy.json").read_text())
    assert card["runs"][0]["steps"] == 1
    assert not card.get("default", False)


def test_networks_lists_them_all():
    done = CliRunner().invoke(app, ["networks"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert list(networks_table()["network"]) == list(NETWORKS)


def test_a_misspelt_network_is_told_with_the_nearest():
    with pytest.raises(InputError, match="sparse_views"):
        recipe_of("sparse_view")
    done = CliRunner().invoke(app, ["train", "no-such-network"])
    assert done.exit_code == 2


def test_a_network_without_weights_is_told(monkeypatch, tmp_path):
    for module in (dose.learning.folders, twin.networks):
        monkeypatch.setattr(module, "folder", lambda *_: tmp_path)
    assert set(networks_table()["checksum"]) == {"no weights"}


def test_the_table_says_whose_weights_answer(monkeypatch, tmp_path):
    shipped = folder("imaging.networks", "weights")
    for kind in ("json", "safetensors"):
        shutil.copy(shipped / f"short_scan.{kind}", tmp_path)
    monkeypatch.setenv("THERATWIN_WEIGHTS", str(tmp_path))
    whose = networks_table().set_index("network")["from"]
    assert whose["short_scan"] == str(tmp_path)
    assert set(whose.drop("short_scan")) == {"shipped"}


@pytest.mark.parametrize("wrong", [["--device", "gpu"], ["--out", "a-file"]])
def test_a_training_that_could_not_be_kept_is_refused_before_it_begins(monkeypatch, tmp_path, wrong):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a-file").touch()
    (tmp_path / "toy.toml").write_text(TOY)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(twin.networks, "recipe_of", lambda name: toy(tmp_path / "toy.toml"))
    done = CliRunner().invoke(app, ["train", "toy", "--size", "small", *wrong])
    assert done.exit_code == 2
    assert not (tmp_path / "cache").exists()
