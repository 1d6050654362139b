"""Draws docs/figures/imaging-nema-recovery.png: the NEMA IEC phantom by the virtual camera, and its recovery.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.imaging_nema` (a minute). The image is the one that
the validation rows "imaging/NEMA ..." are taken from.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from imaging.recovery_fit import fit_recovery
from imaging.scanner.nema import DIAMETERS_MM, background_centres_mm, sphere_centres_mm
from imaging.scanner.nema_figures import contrast_recoveries
from tests.validate.checks_imaging_body import LARGE_BAND, MIDDLE_BAND, SMALL_BAND, nema_image, sphere_recoveries
from twin._jax import configure

BANDS = {10: SMALL_BAND, 13: MIDDLE_BAND, 37: LARGE_BAND}


def slice_of(axis, phantom, image):
    """The slice through the spheres, with their true outlines and the background regions."""
    middle = image.to_index(phantom.centre_lps_mm)
    shown = image.array[round(middle[2])] / phantom.background_Bq_per_mL
    ends = image.to_lps_mm([-0.5, -0.5, 0]), image.to_lps_mm([shown.shape[1] - 0.5, shown.shape[0] - 0.5, 0])
    drawn = axis.imshow(shown, extent=(ends[0][0], ends[1][0], ends[1][1], ends[0][1]), cmap="inferno", vmin=0, vmax=10)
    for centre, diameter in zip(sphere_centres_mm(), DIAMETERS_MM):
        axis.add_patch(plt.Circle(centre[:2], diameter / 2, fill=False, color="white", lw=0.8))
    for centre in background_centres_mm():
        axis.add_patch(plt.Circle(centre, 37 / 2, fill=False, color="#7fc97f", lw=0.6, ls=":"))
    axis.set(xlabel="x, left (mm)", ylabel="y, back (mm)", title="concentration over background (true 10)")
    return drawn


def curve_of(axis, phantom, image):
    volumes, seen = phantom.volumes_mL, np.array(list(sphere_recoveries().values()))
    fit = fit_recovery(volumes, seen, 0.03)
    along = np.geomspace(0.3, 40, 200)
    axis.plot(along, fit.at(along), color="#31688e", label=f"1 - 1/(1 + (V/{fit.b1_mL:.1f} mL)^{fit.b2:.2f})")
    axis.plot(volumes, seen, "o", color="#31688e", label="whole spheres")
    axis.plot(volumes, contrast_recoveries(image, phantom), "x", color="#e07b39", label="NEMA discs, Q")
    for diameter, (low, high) in BANDS.items():
        volume = np.pi / 6 * diameter**3 / 1000
        axis.plot([volume] * 2, [low, high], color="0.75", lw=7, zorder=0, solid_capstyle="butt")
    axis.plot([], [], color="0.75", lw=7, label="bands set beforehand")
    axis.set(xscale="log", ylim=(0, 1.05), xlabel="volume of the sphere (mL)", ylabel="recovery", title="recovery")
    axis.legend(loc="upper left", fontsize=7, frameon=False)


def main():
    configure()
    phantom, image = nema_image()
    figure, (left, right) = plt.subplots(1, 2, figsize=(10.5, 4.2), width_ratios=(1.25, 1), layout="constrained")
    figure.colorbar(slice_of(left, phantom, image), ax=left, shrink=0.8)
    curve_of(right, phantom, image)
    figure.savefig(Path(__file__).with_name("imaging-nema-recovery.png"), dpi=100)


if __name__ == "__main__":
    main()
