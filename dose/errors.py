"""The error families of theratwin, and the four-part text each error carries."""

from __future__ import annotations

from difflib import get_close_matches

NEAREST_CUTOFF = 0.55
"""Similarity (difflib ratio) below which a suggested name would confuse more than help."""


class TheratwinError(ValueError):
    """Root of the errors that theratwin raises on the host."""


class InputError(TheratwinError):
    """A value, name or file given by the user cannot be used."""


class ImageError(TheratwinError):
    """An image or its header cannot be used."""


class CalibrationError(TheratwinError):
    """A fit has no usable answer."""


def describe(field: str, found: str, expected: str, do: str) -> str:
    """The text of an error: which field, what was found, what was expected, what to do."""
    return f"{field}: found {found}; expected {expected}. To do: {do}."


def nearest(name: str, choices) -> str | None:
    """The choice that is spelt most like `name`, or None where nothing is close."""
    lowered = {str(choice).lower(): str(choice) for choice in choices}
    matches = get_close_matches(str(name).lower(), list(lowered), n=1, cutoff=NEAREST_CUTOFF)
    return lowered[matches[0]] if matches else None
