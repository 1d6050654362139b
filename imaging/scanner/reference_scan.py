"""The scan that the shipped measurement model is fitted to: `data/measurement_reference.csv` made into a `Scan`.

A stylised man with raised arms and tumours of three sizes near the spine, two beds of a dual-head camera. The marrow is
read in the lumbar spine, as its share of the whole.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from dose.provenance import load_table
from dose.regions import is_tumour
from imaging.reconstruct.iterations import Settings
from imaging.scanner.anatomy import Anatomy, hounsfield
from imaging.scanner.body import virtual_body
from imaging.scanner.camera import camera, windows
from imaging.scanner.lesions import Lesion, with_lesions
from imaging.scanner.measured_scan import Scan
from imaging.scanner.protocol import Protocol, contour_radii_mm

COLLIMATOR, NUCLIDE, SEX, SITE = "SY-ME", "177Lu", "male", "node"
READ_IN = {"red_marrow": "lumbar_spine"}
AIR_g_cm3 = 0.0012


@cache
def reference_numbers() -> dict[tuple[str, str], float]:
    """Values of the table by item and quantity."""
    rows = load_table("imaging", "measurement_reference.csv")
    return {(row["item"], row["quantity"]): float(row["value"]) for row in rows}


def reference_activity_MBq() -> dict[str, float]:
    """Activities about which the shipped model is linear."""
    return {item: value for (item, quantity), value in reference_numbers().items() if quantity == "activity"}


def reference_scan() -> Scan:
    """The scan of the shipped model."""
    of, body = reference_numbers(), reference_body()
    beds = tuple(_bed(body, of["camera", name]) for name in ("bed_1", "bed_2"))
    settings = Settings(int(of["reconstruction", "iterations"]), int(of["reconstruction", "subsets"]))
    regions, line = tuple(reference_activity_MBq()), of["reconstruction", "line"]
    return Scan(body, camera(COLLIMATOR), beds, regions, line, settings, READ_IN)


def reference_body() -> Anatomy:
    """The body with its tumours."""
    of = reference_numbers()
    lesions = [Lesion(n, v, SITE) for (n, quantity), v in of.items() if quantity == "volume" and is_tumour(n)]
    whole = virtual_body(SEX, voxel_mm=of["body", "voxel"])
    return with_lesions(without_arms(whole, of["body", "half_width"]), lesions, seed=int(of["body", "seed"]))


def without_arms(anatomy: Anatomy, half_width_mm: float) -> Anatomy:
    """The anatomy without what lies farther to the sides than this."""
    columns = anatomy.labels.shape[2]
    x_mm = anatomy.ct.to_lps_mm(np.array([[k, 0, 0] for k in range(columns)]))[:, 0]
    aside = np.abs(x_mm) > half_width_mm
    labels, ct = anatomy.labels.copy(), anatomy.ct.array.copy()
    labels[..., aside], ct[..., aside] = 0, hounsfield(AIR_g_cm3)
    return replace(anatomy, labels=labels, ct=anatomy.ct.with_array(ct))


def _bed(body: Anatomy, middle_mm: float) -> Protocol:
    of = reference_numbers()
    round_trip = Protocol(
        NUCLIDE,
        frame_s=of["camera", "frame"],
        energy_windows=tuple(w for w in windows(NUCLIDE) if w.line_keV == of["reconstruction", "line"]),
        views=int(of["camera", "views"]),
        matrix=(int(of["camera", "matrix"]),) * 2,
        pixel_mm=of["camera", "pixel"],
        centre_lps_mm=(0.0, 0.0, middle_mm),
    )
    radii = contour_radii_mm(body.ct, round_trip, of["camera", "margin"])
    return replace(round_trip, radius_mm=tuple(float(r) for r in radii))
