"""The range a network was trained in: what lies outside is said, and the classical method is used."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Integral, Real

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
        if not is_number(value):
            said.append(f"{name} is {value!r}, which is no number, trained for {low:.4g} to {high:.4g}")
        elif not low <= value <= high:
            said.append(f"{name} is {value:.4g}, trained for {low:.4g} to {high:.4g}")
    return tuple(said)


def is_number(value) -> bool:
    """Whether a value is one real number, of NumPy too; not finite ones are; text, None, True are not."""
    if isinstance(value, (bool, str)):
        return False
    return isinstance(value, Real) or getattr(value, "shape", None) == ()


def positive(**numbers) -> None:
    """Raises an InputError for what is no finite number above zero, by the name it is given under."""
    _each(numbers, "a number above zero", lambda value: is_number(value) and 0 < value < math.inf)


def not_negative(**numbers) -> None:
    """Raises an InputError for what is no finite number of zero or more, by the name it is given under."""
    _each(numbers, "a number, zero or more", lambda value: is_number(value) and 0 <= value < math.inf)


def whole(**numbers) -> None:
    """Raises an InputError for what is no whole number of zero or more, by the name it is given under."""
    _each(numbers, "a whole number, zero or more", lambda value: isinstance(value, Integral) and int(value) >= 0)


def stated(**numbers) -> dict:
    """Those that are not None: `positive(**stated(line_keV=line_keV))` leaves an optional number out."""
    return {name: value for name, value in numbers.items() if value is not None}


def _each(numbers: Mapping, expected: str, holds: Callable[..., bool]) -> None:
    for name, value in numbers.items():
        if not holds(value):
            raise InputError(describe(name, repr(value), expected, "give it as a number, without quotes or unit"))


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
            do = 'train it, or use method="classical"'
            raise InputError(why or describe("weights", "none", "the network's weights", do))
        return Choice("classical", (why or "no weights",))
    said = outside(limits, features)
    if method == "network":
        return Choice("network", said)
    if not default:
        return Choice("classical", ("the network is not the default: see its page in docs/ai", *said))
    return Choice("classical", said) if said else Choice("network")


def with_reasons(choice: Choice, method: str, more: Sequence[str]) -> Choice:
    """A choice with more that speaks against the network: then "auto" takes the classical method.

    Args:
        method: as `choose` was given it.
    """
    way = "classical" if more and method == "auto" else choice.method
    return replace(choice, method=way, reasons=(*choice.reasons, *more))
