"""The range a network was trained in: what lies outside is said, and the classical method is used."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dose.errors import InputError, describe

METHODS = ("auto", "network", "classical")


@dataclass(frozen=True)
class Choice:
    """Which method was used, and why not the network.

    Attributes:
        method: "network" or "classical".
        reasons: why the network was not used, or why its answer is not to be relied on; empty where all is well.
    """

    method: str
    reasons: tuple[str, ...] = ()


def outside(limits: Mapping[str, Sequence[float]], features: Mapping[str, float]) -> tuple[str, ...]:
    """In words, each feature that lies outside of its limits or is not known; limits include their ends."""
    said = []
    for name, (low, high) in limits.items():
        value = features.get(name, math.nan)
        if not low <= value <= high:
            said.append(f"{name} is {value:.4g}, trained for {low:.4g} to {high:.4g}")
    return tuple(said)


def choose(
    method: str, limits: Mapping[str, Sequence[float]] | None, features, *, default: bool, why: str = ""
) -> Choice:
    """Which method to use for an input with these features.

    Args:
        method: "auto" takes the network where it is the default and the input lies in its range; "network" takes it
            in any case and says what lies outside; "classical" never does.
        limits: of the weights; None where there are none.
        default: whether the network beat its classical method.
        why: the reason where there are no weights.

    Raises:
        InputError: another method; "network" without weights.
    """
    if method not in METHODS:
        raise InputError(describe("method", f'"{method}"', f"one of {METHODS}", "choose one"))
    if method == "classical":
        return Choice("classical")
    if limits is None:
        if method == "network":
            raise InputError(describe("weights", why or "none", "the network's weights", "train it, or use classical"))
        return Choice("classical", (why or "no weights",))
    said = outside(limits, features)
    if method == "network":
        return Choice("network", said)
    if not default:
        return Choice("classical", ("the network is not the default: see its page in docs/ai", *said))
    return Choice("classical", said) if said else Choice("network")
