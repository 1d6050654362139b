"""Voxel kernels against MIRD 17, Lanconelli 2012, DPM and PyTheranostics; their energy; a body of three densities."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from functools import cache

import numpy as np

from dose.gamma import dose_difference, gamma_index
from dose.kernels import VoxelKernel, voxel_kernel
from dose.point_energies import PointEnergies, point_energies
from dose.voxels import voxel
from tests.validate import check, close, shared

MIRD = "MIRD pamphlet 17 (Bolch 1999), as quoted in a public test of DPK resampling"
LANCONELLI = "Lanconelli 2012 (DOSXYZnrc), as held in mghro/MIRDCalculation"
MEDIA = {"soft": ("soft_tissue", 1.04), "bone": ("compact_bone", 1.85)}
"""Media of Lanconelli's tables. Their file names no densities: with these the sums of all 90Y values agree to 0.7 %."""
REACH = 6


def rows(path: str) -> list[dict[str, str]]:
    lines = [line for line in shared(path).read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return list(csv.DictReader(lines))


def ours(name: str) -> str:
    """ "Lu-177" as theratwin writes it."""
    element, number = name.split("-")
    return number + element


@cache
def kernel(nuclide: str, edges_mm: tuple[float, ...], material: str = "water", density: float = 1.0) -> VoxelKernel:
    """Kernel of a nuclide without progeny, out to `REACH` voxels."""
    point = point_energies(nuclide, material, chain=False)
    return voxel_kernel(point, edges_mm, density_g_cm3=density, most_voxels=(REACH,) * 3)


def offset(row: dict[str, str]) -> tuple[int, int, int]:
    return int(row["i"]), int(row["j"]), int(row["k"])


def worst(deviations: Iterable[float]) -> float:
    return max(deviations, key=abs)


def mird_deviations(nuclide: str, wanted: tuple[int, int, int]) -> list[float]:
    found = []
    for row in rows("dose/vsv_mird17_reference.csv"):
        if row["nuclide"] == nuclide and row["reference"] == "MIRD17" and offset(row) == wanted:
            made = kernel(ours(nuclide), (float(row["voxel_mm"]),) * 3)
            found.append(made.s_value_mGy_per_MBq_s(wanted) / float(row["reference_mGy_per_MBq_s"]) - 1)
    return found


def compare_with_mird(nuclide: str) -> None:
    key = f"dose/voxel/MIRD-17 {nuclide}, self, 3 and 6 mm: worst"

    @check(key, unit="relative difference", tolerance="0.03", source=MIRD)
    def _self():
        value = worst(mird_deviations(nuclide, (0, 0, 0)))
        return value, abs(value) <= 0.03


for _nuclide in ("P-32", "Sr-89", "Y-90", "Tc-99m", "I-131"):
    compare_with_mird(_nuclide)


@check(
    "dose/voxel/MIRD-17 (5,5,5) of 131I and 99mTc, 3 and 6 mm: worst",
    unit="relative difference",
    tolerance="0.14",
    source=MIRD,
)
def mird_photons():
    """Photons only. 0.14 is what the public test that quotes these values allows."""
    value = worst([*mird_deviations("I-131", (5, 5, 5)), *mird_deviations("Tc-99m", (5, 5, 5))])
    return value, abs(value) <= 0.14


@cache
def lanconelli(nuclide: str, edge_mm: float, medium: str) -> dict[tuple[int, int, int], float]:
    """Relative difference of every offset of one table."""
    material, density = MEDIA[medium]
    made = kernel(ours(nuclide), (edge_mm,) * 3, material, density)
    return {
        offset(row): made.s_value_mGy_per_MBq_s(offset(row)) / float(row["mGy_per_MBq_s"]) - 1
        for row in rows("dose/vsv_lanconelli/vsv.csv")
        if row["nuclide"] == nuclide and float(row["voxel_mm"]) == edge_mm and row["material"].startswith(medium)
    }


def compare_with_lanconelli(nuclide: str, edge_mm: float, medium: str) -> None:
    where = f"{nuclide}, {edge_mm:g} mm, {medium}"

    @check(f"dose/voxel/Lanconelli {where}: self", unit="relative difference", tolerance="0.03", source=LANCONELLI)
    def _self():
        value = lanconelli(nuclide, edge_mm, medium)[0, 0, 0]
        return value, abs(value) <= 0.03

    @check(
        f"dose/voxel/Lanconelli {where}: first neighbours",
        unit="relative difference",
        tolerance="0.08",
        source=LANCONELLI,
    )
    def _first():
        value = worst(d for at, d in lanconelli(nuclide, edge_mm, medium).items() if sum(at) == 1)
        return value, abs(value) <= 0.08

    @check(
        f"dose/voxel/Lanconelli {where}: worst out to (2,2,2)",
        unit="relative difference",
        tolerance="0.10",
        source=LANCONELLI,
    )
    def _out():
        value = worst(d for at, d in lanconelli(nuclide, edge_mm, medium).items() if max(at) <= 2)
        return value, abs(value) <= 0.10


for _nuclide in ("Y-90", "I-131"):
    for _edge in (3.0, 4.8):
        for _medium in MEDIA:
            compare_with_lanconelli(_nuclide, _edge, _medium)


@check(
    "dose/voxel/Lanconelli 177Lu and 131I, photons from (0,0,2) to (5,5,5): worst",
    unit="relative difference",
    tolerance="0.03",
    source=LANCONELLI,
)
def photons_of_lanconelli():
    """Beyond the electrons' reach, both media and sizes; the electrons missing from the 177Lu table play no part."""
    found = [
        deviation
        for nuclide in ("Lu-177", "I-131")
        for edge in (3.0, 4.8)
        for medium in MEDIA
        for at, deviation in lanconelli(nuclide, edge, medium).items()
        if max(at) >= 2
    ]
    return (value := worst(found)), abs(value) <= 0.03


@check(
    "dose/voxel/Lanconelli 90Y, bremsstrahlung at (4,4,4) to (5,5,5): worst",
    unit="relative difference",
    tolerance="0.15",
    source=LANCONELLI,
)
def bremsstrahlung():
    """A ten-millionth of the self-dose. MIRD-17 has twice as much there, in EGS4 of 1995."""
    tables = [lanconelli("Y-90", edge, medium) for edge in (3.0, 4.8) for medium in MEDIA]
    value = worst(deviation for table in tables for at, deviation in table.items() if min(at) >= 4)
    return value, abs(value) <= 0.15


@check(
    "dose/voxel/Lanconelli 177Lu, first neighbours, both sizes and media: worst",
    unit="relative difference",
    tolerance="0.08",
    source=LANCONELLI,
)
def lutetium_neighbours():
    """Betas of high energy alone reach the neighbour, and those the table has."""
    found = [lanconelli("Lu-177", edge, medium)[0, 0, 1] for edge in (3.0, 4.8) for medium in MEDIA]
    return (value := worst(found)), abs(value) <= 0.08


def compare_with_dpm(name: str, edges_mm: tuple[float, ...], expected: float) -> None:
    source = "Wilderman and Dewaraja's DPM run of 2022, from the same public test as MIRD-17"

    @check(f"dose/voxel/DPM 90Y, {name} mm: self", unit="relative difference", tolerance="0.03", source=source)
    def _self():
        value = kernel("90Y", edges_mm).s_value_mGy_per_MBq_s() / expected - 1
        return value, abs(value) <= 0.03


compare_with_dpm("3", (3.0, 3.0, 3.0), 1.581)
compare_with_dpm("4 x 4 x 3", (3.0, 4.0, 4.0), 1.013)


def lutetium(column: str, material: str, density: float) -> dict[tuple[int, int, int], float]:
    made = kernel("177Lu", (4.7952,) * 3, material, density)
    table = {offset(row): float(row[column]) for row in rows("dose/vsv_lu177_4p7952mm.csv")}
    return {at: made.s_value_mGy_per_MBq_s(at) / value - 1 for at, value in table.items() if max(at) <= REACH}


def compare_with_pytheranostics(medium: str, column: str, material: str, density: float) -> None:
    source = "kernel of PyTheranostics 0.1, nuclide and density inferred (DOSE.md 4.1 names its tolerances)"

    @check(f"dose/voxel/177Lu 4.7952 mm, {medium}: self", unit="relative difference", tolerance="0.03", source=source)
    def _self():
        value = lutetium(column, material, density)[0, 0, 0]
        return value, abs(value) <= 0.03

    @check(
        f"dose/voxel/177Lu 4.7952 mm, {medium}: first neighbours",
        unit="relative difference",
        tolerance="0.12",
        source=source,
    )
    def _first():
        value = worst(d for at, d in lutetium(column, material, density).items() if sum(at) == 1)
        return value, abs(value) <= 0.12


compare_with_pytheranostics("soft tissue", "soft_tissue_mGy_per_MBq_s", "soft_tissue", 1.0)
compare_with_pytheranostics("cortical bone", "cortical_bone_mGy_per_MBq_s", "cortical_bone", 1.85)


def escaping_MeV(point: PointEnergies, edges_cm, half: int, density: float) -> float:
    """Energy that a source voxel sends out of a box of 2 half + 1 voxels, by Gauss-Legendre over directions."""
    u, w = np.polynomial.legendre.leggauss(32)
    cos, phi = (u + 1) / 2, (u + 1) * np.pi / 4
    sin = np.sqrt(1 - cos**2)
    direction = [np.outer(cos, np.ones_like(phi)), np.outer(sin, np.cos(phi)), np.outer(sin, np.sin(phi))]
    radius = np.concatenate([[0.0], np.geomspace(1e-4, 300.0 / density, 1500)])
    middle = (radius[1:] + radius[:-1]) / 2
    stays = np.prod(
        [np.clip(half + 1 - middle[:, None, None] * n / h, 0, 1) for n, h in zip(direction, edges_cm)], axis=0
    )
    leaves = 1 - np.tensordot(stays, np.outer(w, w) / 4, 2)
    parts = (point.radial(part, density).within_MeV(radius) for part in ("electron", "photon"))
    return float(sum(np.diff(part) @ leaves for part in parts))


@check(
    "dose/voxel/energy of kernels, eight nuclides, three voxels, three media: worst",
    unit="relative difference",
    tolerance="0.005",
    source="ICRP 107 energies; what leaves the box integrated by another rule",
)
def energy():
    """Kernel out to 20 voxels plus what leaves it, over all that is emitted, chain and all."""
    found = []
    for nuclide in ("177Lu", "90Y", "131I", "161Tb", "99mTc", "68Ga", "225Ac", "212Pb"):
        for material, edges in (("water", (3.0, 3.0, 3.0)), ("lung", (5.0, 2.0, 2.0)), ("cortical_bone", (1.0,) * 3)):
            point = point_energies(nuclide, material)
            made = voxel_kernel(point, edges, most_voxels=(20,) * 3)
            left = escaping_MeV(point, np.array(edges) / 10, 20, made.density_g_cm3)
            found.append((made.whole_MeV.sum() + left) / point.emitted_MeV - 1)
    return (value := worst(found)), abs(value) <= 0.005


EDGE = 20
SPACING_MM = (3.0, 3.0, 3.0)
HISTORIES = 2**24
REGIONS = ("soft", "lung", "bone", "lesion")
LAID_BESIDE = (("kernel", {"heterogeneity": "tissue"}), ("kernel", {"heterogeneity": "density"}), ("local", {}))


def body() -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
    """Density, activity and regions of a cube of 6 cm: lung with a lesion in it, a plate of bone, soft tissue round."""
    z, y, x = np.indices((EDGE,) * 3)
    side, inner = np.maximum(abs(x - 9.5), abs(y - 9.5)), np.zeros((EDGE,) * 3, bool)
    inner[2:-2, 2:-2, 2:-2] = True
    lesion = (z >= 7) & (z < 9) & (side < 1)
    lung, bone = (z >= 4) & (z < 12) & (side < 6.5) & ~lesion, (z >= 15) & (z < 17)
    density = np.select([lung, bone], [0.26, 1.9], 1.03)
    tia = 5.0 * np.select([lesion, lung, bone], [10.0, 0.3, 0.5], 1.0)
    soft = ~(lung | bone | lesion)
    return density, tia, {n: m & inner for n, m in zip(REGIONS, (soft, lung, bone, lesion))} | {"inner": inner}


def folded(values: np.ndarray) -> np.ndarray:
    """Mean over the eight ways in which the body is its own image."""
    values = (values + values[:, ::-1]) / 2
    values = (values + values[:, :, ::-1]) / 2
    return (values + values.transpose(0, 2, 1)) / 2


@cache
def simulated(nuclide: str) -> np.ndarray:
    density, tia, _ = body()
    made = voxel(tia, density, nuclide, SPACING_MM, engine="montecarlo", histories=HISTORIES, chain=False)
    return folded(made.dose_Gy.astype(float))


@cache
def beside(nuclide: str, which: int) -> tuple[list[float], float, float, float]:
    """Differences of the regions' means in percent, their rms over voxels, and gamma passing globally and locally."""
    density, tia, regions = body()
    engine, options = LAID_BESIDE[which]
    made = voxel(tia, density, nuclide, SPACING_MM, engine=engine, chain=False, **options).dose_Gy
    truth, inner = simulated(nuclide), regions["inner"]
    means = [float(made[regions[n]].mean() / truth[regions[n]].mean() - 1) * 100 for n in REGIONS]
    wide = gamma_index(truth, made, SPACING_MM, inside=inner).pass_percent
    strict = gamma_index(truth, made, SPACING_MM, inside=inner, normalisation="local", threshold_percent=1.0)
    return means, dose_difference(truth, made, inner, 1.0).rms_percent, wide, strict.pass_percent


def compare_with_montecarlo(nuclide: str) -> None:
    source = "own Monte Carlo of 1.7e7 histories of each kind, folded by symmetry: 0.4 to 1 % in a voxel"
    key = f"dose/voxel/body of three densities, {nuclide}"

    @check(f"{key}: tissue-wise kernels, mean of soft, lung, bone, lesion", unit="%", tolerance="3", source=source)
    def _means():
        means, *_ = beside(nuclide, 0)
        return means, max(map(abs, means)) <= 3

    @check(f"{key}: tissue-wise kernels, rms over voxels", unit="%", tolerance="4", source=source)
    def _rms():
        value = beside(nuclide, 0)[1]
        return value, value <= 4

    for k, name in ((2, "global"), (3, "local")):

        @check(
            f"{key}: voxels with gamma 2 %/2 mm {name} of at most 1; tissue-wise, density-scaled, local deposition",
            unit="%",
            tolerance="first: 95 and the best of the three" if k == 2 else "first: 80 and the best of the three",
            source=source,
        )
        def _gamma(k=k):
            values = [float(beside(nuclide, which)[k]) for which in range(len(LAID_BESIDE))]
            return values, values[0] >= (95 if k == 2 else 80) and values[0] >= max(values)


for _nuclide in ("177Lu", "90Y", "131I"):
    compare_with_montecarlo(_nuclide)


@check(
    "dose/voxel/177Lu, 3 mm, photons of a 60 mm cube of soft tissue and local electrons: mean dose at its middle",
    unit="Gy",
    tolerance="rel 0.01",
    source="all electrons over mass plus the photons' point kernel integrated over the cube by Gauss-Legendre",
)
def middle_of_a_cube():
    """The whole path by another rule: units, decays, mass, convolution."""
    tia = np.full((20, 20, 20), 2.0)
    value = float(voxel(tia, 1.0, "177Lu", SPACING_MM, heterogeneity="none").dose_Gy[9:11, 9:11, 9:11].mean())
    point = point_energies("177Lu", "soft_tissue")
    u, w = np.polynomial.legendre.leggauss(60)
    x = 3.0 * u
    r = np.sqrt(x[:, None, None] ** 2 + x[:, None] ** 2 + x**2)
    per_g = float((point.radial("photon", 1.0).per_cm3(r) * w[:, None, None] * w[:, None] * w).sum()) * 27.0
    expected = 2.0 / 0.027 * 3.6e9 * (point.electron_MeV[-1] + per_g) * 1.602176634e-10
    return value, close(value, expected, 0.01)
