"""Energy windows of a camera and what each is for: the photopeak, or the scatter windows below and above it.

Rule: a window that holds a line of the nuclide (`data/photopeaks.csv`) is that line's peak; of several that hold it,
the one whose middle is nearest. A window without a line belongs to the nearest peak if it ends within `REACH` of its
edge, and is its lower or upper scatter window by the side it lies on. All else is "other".
"""

from __future__ import annotations

from dose.provenance import load_table
from imaging.projections import EnergyWindow

REACH = 0.5
"""A scatter window may lie this far from the edge of its peak, in widths of the peak."""


def lines_keV(nuclide: str | None) -> tuple[float, ...]:
    """Photon lines that cameras are set to for this nuclide, keV."""
    return tuple(float(r["line_keV"]) for r in load_table("imaging", "photopeaks.csv") if r["nuclide"] == nuclide)


def with_roles(bounds_keV, nuclide: str | None) -> tuple[EnergyWindow, ...]:
    """Windows with their roles from (lower, upper) bounds in keV, in the order given.

    A single window is the peak whatever the nuclide (90Y is imaged by bremsstrahlung, without a line).
    """
    windows = [EnergyWindow(float(low), float(high)) for low, high in bounds_keV]
    lines = _peaks(windows, lines_keV(nuclide))
    if len(windows) == 1:
        return (EnergyWindow(windows[0].lower_keV, windows[0].upper_keV, "peak", lines.get(0)),)
    return tuple(_with_role(k, windows, lines) for k in range(len(windows)))


def _peaks(windows: list[EnergyWindow], lines) -> dict[int, float]:
    """Index of the peak window of each line that lies in one, to the line."""
    found = {}
    for line in lines:
        holding = [k for k, w in enumerate(windows) if w.lower_keV <= line <= w.upper_keV]
        if holding:
            nearest = min(holding, key=lambda k: abs((windows[k].lower_keV + windows[k].upper_keV) / 2 - line))
            found.setdefault(nearest, line)
    return found


def _with_role(k: int, windows: list[EnergyWindow], lines: dict[int, float]) -> EnergyWindow:
    own = windows[k]
    if k in lines:
        return EnergyWindow(own.lower_keV, own.upper_keV, "peak", lines[k])
    near = []
    for peak, line in lines.items():
        window = windows[peak]
        below, above = window.lower_keV - own.upper_keV, own.lower_keV - window.upper_keV
        gap, role = (below, "lower") if own.upper_keV < line else (above, "upper")
        if gap <= REACH * window.width_keV and not own.lower_keV <= line <= own.upper_keV:
            near.append((abs(gap), role, line))
    if not near:
        return own
    _, role, line = min(near)
    return EnergyWindow(own.lower_keV, own.upper_keV, role, line)
