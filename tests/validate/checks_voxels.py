"""The voxel-wise integral: curves recovered, uncertainty calibrated, the region's fit, scans that do not agree."""

from __future__ import annotations

import numpy as np

from calibration.voxel_noise import VoxelNoise
from calibration.voxels import tia_map
from dose.activity import fit_curves
from dose.nuclides import radionuclide
from tests.validate import check, shared

KNOWN = "curves of known integral, simulated"
HALF_LIFE_H = radionuclide("177Lu").half_life_h
FOUR_H = np.array([4.0, 24.0, 96.0, 168.0])
SIX_H = np.array([1.0, 4.0, 24.0, 48.0, 96.0, 168.0])
NOISE = VoxelNoise(floor_MBq_mL=0.01, counting_MBq_mL=0.01, relative=0.03)
VOXELS = 20_000


def curves(kind: str, time_h):
    """Integrals [voxel] and noise-free activities [scan, voxel], with a fixed seed."""
    rng = np.random.default_rng(7)
    a, slow = rng.uniform(0.5, 2.0, VOXELS), np.log(2) / rng.uniform(30.0, 110.0, VOXELS)
    fast = slow + rng.uniform(0.05, 0.8, VOXELS)
    second = {"mono": 0.0 * a, "uptake": -a, "bi": rng.uniform(0.5, 2.0, VOXELS) * a}[kind]
    t = time_h[:, None]
    return a / slow + second / fast, a * np.exp(-slow * t) + second * np.exp(-fast * t)


def noisy(clean):
    return clean + NOISE.sd(clean) * np.random.default_rng(8).normal(size=clean.shape)


@check(
    "voxels/noise-free recovery: worst of mono 4 scans; share within 1e-6 of mono, uptake 4 and 6, bi 6",
    unit="1",
    tolerance="1e-9; shares above 0.999",
    source=KNOWN,
)
def recovery():
    shares, worst = [], 0.0
    for kind, time_h in (("mono", FOUR_H), ("uptake", FOUR_H), ("uptake", SIX_H), ("bi", SIX_H)):
        integral, clean = curves(kind, time_h)
        error = np.abs(tia_map(clean, time_h, 1e-5 * clean, HALF_LIFE_H, choice="best").tia_MBq_h_mL / integral - 1)
        worst = max(worst, float(error.max())) if kind == "mono" else worst
        shares.append(float(np.mean(error < 1e-6)))
    return [worst, *shares], worst < 1e-9 and min(shares) > 0.999


def covered(kind: str, time_h, stated=NOISE):
    """sd of z, and how often the 90 % interval holds the truth."""
    integral, clean = curves(kind, time_h)
    found = tia_map(noisy(clean), time_h, stated, HALF_LIFE_H)
    z = (found.tia_MBq_h_mL - integral) / found.sd_MBq_h_mL
    return float(z[~found.where("background")].std()), float(np.mean(np.abs(z) < 1.645))


def coverage_row(kind: str, time_h):
    @check(
        f"voxels/coverage, {kind}, {len(time_h)} scans: sd of z, share in the 90 % interval",
        unit="1",
        tolerance="0.75 to 1.15; 0.85 to 0.96",
        source=KNOWN,
    )
    def row():
        spread, share = covered(kind, time_h)
        return [spread, share], 0.75 <= spread <= 1.15 and 0.85 <= share <= 0.96


for _kind, _time_h in (("mono", FOUR_H[1:]), ("mono", FOUR_H), ("uptake", SIX_H), ("bi", SIX_H)):
    coverage_row(_kind, _time_h)


@check(
    "voxels/negative control: noise stated four times too small, sd of z and share in the 90 % interval",
    unit="1",
    tolerance="above 1.5; below 0.8",
    source=KNOWN,
)
def control():
    spread, share = covered("mono", FOUR_H, VoxelNoise(0.0025, 0.01 / 16, 0.0075))
    return [spread, share], spread > 1.5 and share < 0.8


@check(
    "voxels/worst difference from the region fit of the same four numbers: TIA, sd",
    unit="1",
    tolerance="1e-6; 1e-5",
    source="dose.fit_curves (scipy least_squares), 50 voxels",
)
def region():
    _, clean = curves("mono", FOUR_H)
    data, sd = noisy(clean)[:, :50], NOISE.sd(clean[:, :50])
    keep = np.all(data > 0, axis=0)
    found = tia_map(data[:, keep], FOUR_H, sd[:, keep], HALF_LIFE_H)
    fits = [fit_curves(FOUR_H, y, s, "177Lu") for y, s in zip(data[:, keep].T, sd[:, keep].T, strict=True)]
    tia = np.abs(found.tia_MBq_h_mL / [f.tia_MBq_h for f in fits] - 1).max()
    spread = np.abs(found.sd_MBq_h_mL / [f.tia_sd_MBq_h for f in fits] - 1).max()
    return [float(tia), float(spread)], tia < 1e-6 and spread < 1e-5


@check(
    "voxels/four real scans not calibrated to each other are flagged",
    unit="1",
    tolerance="a warning of a rise from 48 h to 168 h",
    source="177Lu-FAP SPECT series of devhliu/PyTIA",
)
def uncalibrated():
    import SimpleITK

    folder = shared("images/spect_lu177_fap_uncalibrated")
    paths = [str(folder / f"SPECT-{hour}H_reg.nii.gz") for hour in ("004", "024", "048", "168")]
    scans = np.stack([SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path)) for path in paths])
    found = tia_map(scans, [4.0, 24.0, 48.0, 168.0], VoxelNoise(50.0, 10.0, 0.05), HALF_LIFE_H)
    flagged = any("48 h to 168 h, later than uptake can explain" in words for words in found.warnings)
    return "flagged" if flagged else "not flagged", flagged
