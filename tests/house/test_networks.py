"""What ships with the networks: weights that fit their cards, small, and used unasked only where they earned it."""

from __future__ import annotations

import hashlib
import json
import re

import pytest

from dose.learning.ranges import outside
from tests.runner import REPOSITORY
from tests.validate.ai_pages import weights_mark
from twin.networks import NETWORKS, networks_table, recipe_of

FOLDERS = [REPOSITORY / package / "weights" for package in ("imaging/networks", "dose/network")]
CARDS = sorted(card for folder in FOLDERS for card in folder.glob("*.json"))
MOST_BYTES = 20_000_000


def earned(name: str, rows: list[dict]) -> bool:
    """Whether there are rows that say a network beats its classical method, and all of them pass."""
    chosen = [row["pass"] for row in rows if row["key"].startswith(f"ai/{name}/earns")]
    return bool(chosen) and all(chosen)


def rows() -> list[dict]:
    return json.loads((REPOSITORY / "docs/validation/results.json").read_text())


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_weights_fit_their_card(card):
    words = json.loads(card.read_text())
    content = card.with_suffix(".safetensors").read_bytes()
    assert hashlib.sha256(content).hexdigest() == words["sha256"]
    assert words["name"] == card.stem
    assert words["limits"]
    assert words["runs"]


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_a_network_is_the_default_only_where_it_earned_it(card):
    if json.loads(card.read_text()).get("default", False):
        assert earned(card.stem, rows())


def measured_otherwise(rows: list[dict]) -> list[str]:
    """Keys of rows that were measured with other weights than those that ship."""
    shown = [row for row in rows if row["key"].startswith("ai/")]
    return [row["key"] for row in shown if row.get("weights", "") != weights_mark(row["key"])]


def test_what_the_pages_show_was_measured_with_the_weights_that_ship():
    assert measured_otherwise(rows()) == []


def test_rows_of_other_weights_are_caught():
    row = {"key": "ai/organs/earns: error", "weights": weights_mark("ai/organs/x")}
    assert len(row["weights"]) == 12
    assert measured_otherwise([row]) == []
    assert measured_otherwise([row | {"weights": "0" * 12}]) == [row["key"]]


def test_a_network_that_earned_nothing_is_caught():
    row = {"key": "ai/x/earns: error", "pass": True}
    assert earned("x", [row])
    assert not earned("x", [row, row | {"pass": False}])
    assert not earned("y", [row])


def test_every_network_has_weights_a_page_and_a_configuration_and_every_card_a_network():
    assert {card.stem for card in CARDS} == set(NETWORKS)
    for name, listed in NETWORKS.items():
        package = REPOSITORY.joinpath(*listed.package.split("."))
        assert (package / "configs" / f"{name}.toml").exists()
        assert (REPOSITORY / "docs/ai" / f"{name}.md").exists()


@pytest.fixture(scope="module")
def listed_rows() -> list[list[str]]:
    """Cells of the rows of the table of networks in docs/ai/README.md."""
    text = (REPOSITORY / "docs/ai/README.md").read_text(encoding="utf-8")
    return [line.strip("|").split("|") for line in text.splitlines() if line.startswith("|") and "](" in line]


def test_the_list_of_networks_says_which_are_used_unasked(listed_rows):
    said = {name for cells in listed_rows for name in re.findall(r"`(\w+)`", cells[-1])}
    assert said == {card.stem for card in CARDS if json.loads(card.read_text()).get("default", False)}
    assert {name for cells in listed_rows for name in re.findall(r"\[(\w+)\]", cells[1])} >= set(NETWORKS)


@pytest.mark.parametrize("name", list(NETWORKS))
def test_recipes_carry_their_name_and_both_sizes(name):
    recipe = recipe_of(name)
    assert recipe.name == name
    assert recipe.package == NETWORKS[name].package
    assert recipe.config("small").training["steps"] < recipe.config("shipped").training["steps"]


@pytest.mark.parametrize("card", CARDS, ids=lambda path: path.stem)
def test_limits_are_ranges(card):
    limits = json.loads(card.read_text())["limits"]
    middle = {name: 0.5 * (low + high) for name, (low, high) in limits.items()}
    assert outside(limits, middle) == ()


def test_all_weights_together_are_small():
    assert sum(path.stat().st_size for folder in FOLDERS for path in folder.glob("*")) < MOST_BYTES


def test_the_table_says_that_all_checksums_hold():
    table = networks_table()
    assert list(table["network"]) == list(NETWORKS)
    assert set(table["checksum"]) == {"good"}
