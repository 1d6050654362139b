"""What a network is trained from: its configuration, one simulated case from a seed, batches and a loss."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dose.errors import InputError, describe

if TYPE_CHECKING:
    import torch

Case = Mapping[str, np.ndarray]
"""One simulated patient or acquisition, as arrays by name."""

SECTIONS = ("network", "data", "training")
TRAINING = {"steps", "batch", "learning_rate", "cases", "held_out", "members"}


@dataclass(frozen=True)
class Config:
    """One size of a network's configuration file.

    Attributes:
        size: "small" (two cores, under half an hour) or "shipped".
        network: what the architecture takes.
        data: what cases depend on; a change makes new cases.
        training: steps, batch, learning_rate, cases, held_out (cases kept for validation), members (of the ensemble).
    """

    size: str
    network: Mapping[str, Any]
    data: Mapping[str, Any]
    training: Mapping[str, Any]

    def __post_init__(self):
        missing = TRAINING - set(self.training)
        if missing:
            found = f"no {', '.join(sorted(missing))}"
            raise InputError(describe("[training]", found, ", ".join(sorted(TRAINING)), "write them"))


@dataclass(frozen=True)
class Recipe:
    """How one network comes about.

    Attributes:
        name: of the weights, the configuration and the page in docs/ai.
        package: "imaging.networks" or "dose.network", in whose folders `configs` and `weights` they lie.
        case: from a seed and the configuration, one simulated case; a pure function.
        batch: draws a batch from cases: crops, mirrors, noise. Arrays of float32 or integers.
        network: the untrained network.
        loss: of a network on a batch (tensors), a scalar.
        limits: by feature, the range within which the network may be used (`dose.learning.ranges`), from cases.
        after: what else is done to the weights in a folder once they are trained.
    """

    name: str
    package: str
    case: Callable[[int, Config], Case]
    batch: Callable[[Sequence[Case], np.random.Generator, Config], Mapping[str, np.ndarray]]
    network: Callable[[Config], torch.nn.Module]
    loss: Callable[[torch.nn.Module, Mapping[str, torch.Tensor]], torch.Tensor]
    limits: Callable[[Sequence[Case], Config], Mapping[str, tuple[float, float]]]
    after: Callable[[Path], object] | None = None

    def config(self, size: str = "shipped") -> Config:
        """The configuration of a size.

        Raises:
            InputError: no such size, or a file without its sections.
        """
        return read_config(folder(self.package, "configs") / f"{self.name}.toml", size)


def folder(package: str, kind: str) -> Path:
    """Where a package of networks keeps its `configs` or `weights`."""
    return Path(__file__).resolve().parents[2].joinpath(*package.split("."), kind)


def read_config(path: Path, size: str) -> Config:
    """[network], [data] and [training] of a file, with those of [SIZE.network] and so on laid over them.

    Raises:
        InputError: no such size, or a section that is missing.
    """
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    sizes = sorted(set(table) - set(SECTIONS) | {"shipped"})
    if size not in sizes:
        raise InputError(describe("size", f'"{size}"', f"one of {sizes}", "choose one"))
    if missing := [name for name in SECTIONS if name not in table]:
        raise InputError(describe(path.name, f"no [{missing[0]}]", f"the sections {SECTIONS}", "write it"))
    over = table.get(size, {})
    return Config(size, *({**table[name], **over.get(name, {})} for name in SECTIONS))
