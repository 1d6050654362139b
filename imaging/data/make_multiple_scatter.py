"""Writes multiple_scatter.csv: `python imaging/data/make_multiple_scatter.py` (development only, about a minute).

A uniform source in a cylinder of water (radius 110 mm, length 200 mm): the photons that `transport` sees leave towards
the camera after two or more scatterings, by their energy over the first one, divided by what the second collisions of
`scatter.twice` would send there if each sent one photon, through water at that energy.
"""

from pathlib import Path

import numpy as np

from imaging.scanner.photons import attenuation_per_mm
from imaging.scanner.scatter import twice
from imaging.scanner.transport import water_cylinder

LINES_keV = (50, 75, 113, 160, 208, 280, 364, 500, 720, 1100, 1600)
BINS, PHOTONS, VOXEL_mm, RADIUS_mm, LENGTH_mm = 20, 400_000, 10.0, 110.0, 200.0
HEADER = (
    "# written by imaging/data/make_multiple_scatter.py; photons towards the camera per second collision, by energy",
    "line_keV,energy_fraction,weight,unit,source_id,locator",
)


def cylinder():
    """Part of each voxel in the cylinder [z, y, x] and its way to the surface along y in mm."""
    at = (np.arange(24) - 11.5) * VOXEL_mm
    fine = (at[:, None] + VOXEL_mm * (np.arange(8) / 8 - 0.4375)).ravel()
    inside = (np.hypot(fine[:, None], fine) < RADIUS_mm).reshape(24, 8, 24, 8).mean(axis=(1, 3))
    level = np.abs(at) < LENGTH_mm / 2
    path = np.sqrt(np.maximum(RADIUS_mm**2 - at[None, :] ** 2, 0)) - at[:, None]
    return level[:, None, None] * inside, np.clip(path, 0, None)


def rows(line_keV, rng):
    inside, path = cylinder()
    collisions = twice(inside / inside.sum(), inside, float(line_keV), VOXEL_mm)
    found = water_cylinder(float(line_keV), rng, photons=PHOTONS, bins=BINS)
    for fraction, seen in zip((np.arange(BINS) + 0.5) / BINS, found.more, strict=True):
        through = np.exp(-attenuation_per_mm("water", max(fraction * line_keV, 15.0)) * path)
        weight = seen / float((collisions * through).sum())
        yield f"{line_keV},{fraction:g},{weight:.4g},1,theratwin_working,own Monte Carlo in a water cylinder"


def main():
    rng = np.random.default_rng(8)
    text = [*HEADER, *(row for line in LINES_keV for row in rows(line, rng))]
    Path(__file__).with_name("multiple_scatter.csv").write_text("\n".join(text) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
