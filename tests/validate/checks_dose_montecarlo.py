"""Our Monte Carlo against published spheres, EGSnrc and MIRD 17, and its energy balance (docs/validation/dose.md)."""

from __future__ import annotations

import csv
import math

import numpy as np

from dose.emissions import emissions
from dose.montecarlo import Scale, simulate
from dose.point_kernels import RADIUS_G_CM2, mono_kernels, point_kernel, sphere_share
from dose.provenance import constant
from tests.validate import check, shared

SPHERE_DENSITY_G_CM3 = 1.03
SMALL_ML = 1.0
PYTHERANOSTICS = "sphere S-values held in qurit/PyTheranostics (soft tissue, Monte Carlo)"
EGSNRC = "EGSnrc run beside this project (tests/reference/egsnrc_sphere_mono.csv)"
MIRD17 = "MIRD pamphlet 17 (EGS4, older decay data)"
BATCHES = Scale(8192, 2**17, 2)


def rows(path: str) -> list[dict[str, str]]:
    lines = [line for line in shared(path).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def sphere_Gy_per_Bq_s(nuclide: str, mass_g: float, density_g_cm3: float) -> float:
    kernel = point_kernel(nuclide, "water")
    radius = (3 * mass_g / (4 * math.pi * density_g_cm3)) ** (1 / 3) * density_g_cm3
    absorbed = sphere_share(kernel.radius_g_cm2, kernel.electron_MeV + kernel.photon_MeV, radius)
    return absorbed * constant("dose", "joule_per_MeV") / (mass_g * 1e-3)


def worst_sphere(large: bool) -> float:
    table = [r for r in rows("dose/sphere_s_values_lu177.csv") if r["composition"] == "100/0"]
    kept = [r for r in table if (float(r["mass_g"]) / SPHERE_DENSITY_G_CM3 > SMALL_ML) == large]
    found = [
        sphere_Gy_per_Bq_s("177Lu", float(r["mass_g"]), SPHERE_DENSITY_G_CM3) / float(r["S_Gy_per_Bq_s"]) - 1
        for r in kept
    ]
    return max(found, key=abs)


@check("dose/montecarlo/177Lu spheres above 1 mL", "relative difference", "0.01", PYTHERANOSTICS)
def large_spheres():
    worst = worst_sphere(large=True)
    return worst, abs(worst) <= 0.01


@check("dose/montecarlo/177Lu spheres below 1 mL (from 1 mm radius)", "relative difference", "0.02", PYTHERANOSTICS)
def small_spheres():
    worst = worst_sphere(large=False)
    return worst, abs(worst) <= 0.02


@check("dose/montecarlo/mono-energetic electron spheres", "relative difference", "0.01", EGSNRC)
def egsnrc():
    found = []
    for row in rows("dose/egsnrc_sphere_mono.csv"):
        share = mono_kernels("water").electron_within(float(row["energy_MeV"]), RADIUS_G_CM2)[0]
        found.append(sphere_share(RADIUS_G_CM2, share, float(row["radius_mm"]) / 10) / float(row["phi_egsnrc"]) - 1)
    worst = max(found, key=abs)
    return worst, abs(worst) <= 0.01


def voxel_S(nuclide: str, voxel_mm: float, seed: int = 0) -> np.ndarray:
    """S values in mGy/(MBq s) of a 9^3 box by transport through voxels, the source its middle."""
    tia = np.zeros((9, 9, 9))
    tia[4, 4, 4] = 1.0
    made = simulate(
        nuclide, tia, np.ones(tia.shape), (voxel_mm,) * 3, materials=("water",), histories=2**20, seed=seed,
        scale=BATCHES,
    )  # fmt: skip
    energy = made.electron_MeV + made.photon_MeV
    energy[4, 4, 4] += made.local_MeV
    return energy * constant("dose", "joule_per_MeV") * 1e6 * 1e3 / (voxel_mm**3 * 1e-6)


def compare_with_mird(nuclide: str, voxel_mm: float, expected: float) -> None:
    @check(
        f"dose/montecarlo/MIRD 17 self {nuclide} {voxel_mm:g} mm, transported", "relative difference", "0.03", MIRD17
    )
    def _self():
        found = voxel_S(nuclide, voxel_mm)[4, 4, 4] / expected - 1
        return found, abs(found) <= 0.03


for _nuclide, _mm, _expected in (("90Y", 3.0, 1.61), ("90Y", 6.0, 0.346), ("131I", 3.0, 0.92), ("131I", 6.0, 0.129)):
    compare_with_mird(_nuclide, _mm, _expected)


@check(
    "dose/montecarlo/energy of electrons through voxels",
    "relative difference",
    "0.002",
    "ICRP 107, less what is radiated",
)
def balance():
    """All electron energy of 177Lu and 90Y in a cube far larger than their ranges: left, or radiated (kernels)."""
    worst = 0.0
    for nuclide in ("177Lu", "90Y"):
        tia = np.zeros((24, 24, 24))
        tia[11:13, 11:13, 11:13] = 1.0
        made = simulate(
            nuclide, tia, np.ones(tia.shape), (3.0,) * 3, materials=("water",), histories=2**19, scale=BATCHES
        )
        kernel = point_kernel(nuclide, "water")
        expected = emissions(nuclide).energy_MeV("electron") - kernel.radiated_MeV[-1]
        worst = max(worst, (made.electron_MeV.sum() + made.local_MeV) / expected - 1, key=abs)
    return worst, abs(worst) <= 0.002


@check(
    "dose/montecarlo/lanes do not matter: 16 384 beside 512",
    "standard deviations",
    "3",
    "own: a bias of unfinished histories would differ",
)
def lanes():
    """208 keV from the middle of 25.6 cm of water: with few lanes a batch has hardly any start-up and drain."""
    tia = np.zeros((16, 16, 16))
    tia[7:9, 7:9, 7:9] = 1.0
    shares = []
    for number in (16384, 512):
        made = simulate(
            "177Lu", tia, np.ones(tia.shape), (16.0,) * 3, materials=("water",), histories=2**20, electrons=False,
            seed=number, scale=Scale(number, 2**16, 2), regions=np.ones(tia.shape, int),
        )  # fmt: skip
        shares.append((made.photon_MeV.sum(), made.relative_sd[0] * made.photon_MeV.sum()))
    (many, sd), (few, other) = shares
    apart = (many - few) / math.hypot(sd, other)
    return apart, abs(apart) < 3
