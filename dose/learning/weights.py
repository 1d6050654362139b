"""Weights on disk: safetensors beside a JSON card with their checksum, range, configuration and training record."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import nn

from dose.errors import InputError, describe
from dose.learning.folders import folder_of
from dose.learning.recipe import Config, Recipe

MOST_BYTES = 8_000_000
"""Of one network's weights; all that ship stay under 20 MB."""

MOST_WORDS = 80
"""Characters of another library's error that are passed on."""

UNREADABLE = (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError)
"""What a damaged card or file raises."""


@dataclass(frozen=True)
class Trained:
    """A network that can be used.

    Attributes:
        members: of the ensemble, in evaluation mode.
        limits: range of each feature (`dose.learning.ranges`).
        default: whether it is used without being asked for.
        card: all of the JSON card.
    """

    members: tuple[nn.Module, ...]
    limits: Mapping[str, tuple[float, float]]
    default: bool
    card: Mapping


def save_weights(where: Path, recipe: Recipe, config: Config, members: Sequence[nn.Module], card: Mapping) -> Path:
    """Write NAME.safetensors (half precision) and NAME.json; each file appears whole or not at all.

    Raises:
        InputError: weights larger than MOST_BYTES, or beyond half precision.
    """
    tensors = {
        f"{k}.{key}": value.detach().cpu().half().contiguous()
        for k, member in enumerate(members)
        for key, value in member.state_dict().items()
    }
    wrong = [name for name, value in tensors.items() if not bool(value.isfinite().all())]
    if wrong:
        found = f"{len(wrong)} of them, such as {wrong[0]}"
        raise InputError(describe("weights", found, "numbers below 65504", "lower learning_rate, or look at the cases"))
    content = save(tensors)
    if len(content) > MOST_BYTES:
        found = f"{len(content) / 1e6:.1f} MB"
        raise InputError(describe("weights", found, f"at most {MOST_BYTES / 1e6:g} MB", "make the network narrower"))
    words = dict(card) | {
        "name": recipe.name,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "size": config.size,
        "network": dict(config.network),
        "data": dict(config.data),
        "training": dict(config.training),
    }
    where.mkdir(parents=True, exist_ok=True)
    _replace(where / f"{recipe.name}.safetensors", content)
    _replace(where / f"{recipe.name}.json", (json.dumps(words, indent=1) + "\n").encode())
    return where / f"{recipe.name}.safetensors"


def load_weights(recipe: Recipe, where: str | Path | None = None) -> Trained:
    """The trained network, of `where`, of the folder that THERATWIN_WEIGHTS names, or as shipped.

    Raises:
        InputError: no weights there, a checksum that is wrong, weights of another architecture.
    """
    return _of(recipe, folder_of(recipe.name, recipe.package, where))


def found_weights(recipe: Recipe, where: str | Path | None = None) -> tuple[Trained | None, str]:
    """As `load_weights`, but None and the reason where there are none to use.

    Raises:
        InputError: THERATWIN_WEIGHTS names no folder.
    """
    found = folder_of(recipe.name, recipe.package, where)
    try:
        return _of(recipe, found), ""
    except InputError as error:
        return None, str(error)


def _of(recipe: Recipe, found: Path | None) -> Trained:
    card = found and found / f"{recipe.name}.json"
    if not found or not card or not card.exists():
        there = f"{recipe.name}.safetensors without its card" if found else "none"
        do = f"train them (theratwin train {recipe.name}; see docs/ai/{recipe.name}.md), or put both files there"
        raise InputError(describe(f"weights of {recipe.name}", there, f"{recipe.name}.json and .safetensors", do))
    return _loaded(recipe, found, card.stat().st_mtime_ns)


@lru_cache(maxsize=16)
def _loaded(recipe: Recipe, where: Path, written: int) -> Trained:
    try:
        return _read(recipe, where)
    except InputError:
        raise
    except UNREADABLE as error:
        found, do = (
            f"what cannot be read ({type(error).__name__}: {str(error)[:MOST_WORDS]})",
            "fetch or train the weights again",
        )
        raise InputError(describe(f"weights of {recipe.name}", found, "a card and safetensors", do)) from error


def _read(recipe: Recipe, where: Path) -> Trained:
    card = json.loads((where / f"{recipe.name}.json").read_text(encoding="utf-8"))
    path = where / f"{recipe.name}.safetensors"
    content = path.read_bytes() if path.exists() else b""
    sum_ = hashlib.sha256(content).hexdigest()
    if sum_ != card["sha256"]:
        found, do = f"sha256 {sum_[:12]}", "fetch or train the weights again"
        raise InputError(describe(path.name, found, f"{card['sha256'][:12]} of its card", do))
    config = Config(card["size"], card["network"], card["data"], card["training"])
    tensors = load(content)
    members = []
    for k in range(int(config.training["members"])):
        member, own = recipe.network(config), f"{k}."
        state = {key.removeprefix(own): value.float() for key, value in tensors.items() if key.startswith(own)}
        try:
            member.load_state_dict(state)
        except RuntimeError as error:
            do = "train them again with this version"
            raise InputError(describe(path.name, "weights of another shape", "those of its card", do)) from error
        members.append(member.eval())
    limits = {name: (float(low), float(high)) for name, (low, high) in card["limits"].items()}
    return Trained(tuple(members), limits, bool(card.get("default", False)), card)


def amend_card(where: Path, name: str, more: Mapping) -> None:
    """Put more words into a card that is there; it is the old one or the whole new one."""
    path = where / f"{name}.json"
    card = json.loads(path.read_text(encoding="utf-8")) | dict(more)
    _replace(path, (json.dumps(card, indent=1) + "\n").encode())


def _replace(path: Path, content: bytes) -> None:
    with tempfile.NamedTemporaryFile(dir=path.parent, suffix=".part", delete=False) as file:
        file.write(content)
    Path(file.name).chmod(0o644)
    Path(file.name).replace(path)


def tensors_of(batch: Mapping, device: str = "cpu") -> dict[str, torch.Tensor]:
    """Arrays as tensors: whole numbers as int64, all others as float32."""
    found = {}
    for name, array in batch.items():
        tensor = torch.from_numpy(array.copy())
        found[name] = (tensor.long() if array.dtype.kind in "iub" else tensor.float()).to(device)
    return found
