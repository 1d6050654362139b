"""Comparisons with numbers from outside the code: `python -m tests.validate [--only prefix]`.

A file `checks_<topic>.py` here holds functions like

    @check("dose/V02 mono-exponential TIA", unit="MBq h", tolerance="rel 1e-6", source="derived by hand")
    def mono():
        value = ...
        return value, abs(value / 7444.306 - 1) <= 1e-6
"""

from __future__ import annotations

from tests.runner import Entry, Skipped, register, shared

__all__ = ["CHECKS", "Skipped", "check", "close", "shared"]

CHECKS: dict[str, Entry] = {}


def check(key: str, unit: str, tolerance: str | float, source: str):
    """Register a check: the function returns (value, passed)."""
    return register(CHECKS, key, unit=unit, tolerance=tolerance, source=source)


def close(value: float, expected: float, relative: float) -> bool:
    """Whether `value` lies within `relative` of `expected`."""
    return bool(abs(value - expected) <= relative * abs(expected))
