"""Quantification: one-liners of the clinical notes, exactness of partial volume, and sds against repeated draws."""

from __future__ import annotations

from functools import cache

import numpy as np

from imaging.body_size import body_surface_m2
from imaging.dead_time import observed_rate, true_rate
from imaging.dead_time_fit import decaying_source_dead_time, two_source_dead_time
from imaging.geometry import Volume
from imaging.hybrid_planar import hybrid_activity
from imaging.noise_model import noise_of_background, noise_of_width
from imaging.planar import conjugate_view, self_attenuation
from imaging.planar_fit import fit_templates
from imaging.point_spread import GaussianSpread, KernelSpread, VaryingSpread
from imaging.recovery import sphere_recovery
from imaging.recovery_fit import fit_recovery, recovered_activity, recovery
from imaging.region_means import region_statistics, sphere_weights
from imaging.sensitivity import phantom_sensitivity
from imaging.shunt import fitted_lung_shunt, planar_lung_shunt
from imaging.volume_correction import partial_volume
from tests.validate import check, close

NOTES = "CLINICAL.md section 6, extra one-liners"
DIAMETERS_mm = (10, 13, 17, 22, 28, 37)
"""Inner diameters of the spheres of an IEC body phantom."""

VOXEL_mm, SIDE, FWHM_mm = 4.0, 64, 12.0
AFFINE, SPACING = np.diag([VOXEL_mm, VOXEL_mm, VOXEL_mm, 1.0]), np.full(3, VOXEL_mm)


@check("imaging/quantification conjugate view", unit="MBq", tolerance="abs 5e-4 of 70.326", source=NOTES)
def conjugate():
    words = {"mu_per_cm": 0.125, "body_cm": 24, "source_cm": 6, "sensitivity_cps_per_MBq": 6.1}
    found = conjugate_view(120, 80, **words).activity_MBq
    return found, abs(found - 70.326) <= 5e-4


@check("imaging/quantification self-attenuation f", unit="1", tolerance="abs 5e-7 of 0.976941", source=NOTES)
def thickness():
    found = self_attenuation(0.125, 6)
    return found, abs(found - 0.976941) <= 5e-7


@check(
    "imaging/quantification recovery at 5 and 30 mL", unit="1", tolerance="abs 5e-7 of .696730, .951749", source=NOTES
)
def recoveries():
    found = recovery([5.0, 30.0], 2.5, 1.2)
    return found.tolist(), bool(np.allclose(found, [0.696730, 0.951749], rtol=0, atol=5e-7))


@check(
    "imaging/quantification body surface of 70 kg, 170 cm",
    unit="m2",
    tolerance="abs 0.005 of 1.81",
    source="Du Bois 1916, nomogram value (recalled)",
)
def surface():
    found = body_surface_m2(70, 1.7)
    return found, abs(found - 1.81) <= 0.005


@cache
def _spheres() -> tuple[dict[str, Volume], np.ndarray]:
    """Six spheres in a ring within a warm cylinder, as in an IEC phantom, and the true image (8, 1, 0)."""
    z, y, x = (np.arange(SIDE) - SIDE / 2 + 0.5,) * 3
    z, y, x = z[:, None, None] * VOXEL_mm, y[:, None] * VOXEL_mm, x * VOXEL_mm
    masks = {}
    for k, diameter in enumerate(DIAMETERS_mm):
        angle = np.pi / 3 * k
        away = z**2 + (y - 57 * np.sin(angle)) ** 2 + (x - 57 * np.cos(angle)) ** 2
        masks[f"tumour_{diameter}"] = away <= (diameter / 2) ** 2
    hot = sum(masks.values())
    body = (x**2 + y**2 <= 100**2) & (np.abs(z) <= 90)
    masks["muscle"] = body & (hot == 0)
    truth = 8.0 * hot + 1.0 * masks["muscle"]
    return {name: Volume(mask, AFFINE) for name, mask in masks.items()}, truth


def _spreads():
    axis = np.arange(-6, 7) * VOXEL_mm
    r2 = axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2
    width = np.broadcast_to(np.linspace(9, 15, SIDE)[None, :, None], (SIDE,) * 3)
    return (
        GaussianSpread(SPACING, FWHM_mm),
        KernelSpread(np.exp(-r2 / 60) + 0.02 * np.exp(-np.sqrt(r2) / 8)),
        VaryingSpread(SPACING, width),
    )


@cache
def _errors(method: str) -> list[float]:
    """Worst relative error of a sphere or the background for each spread; for Yang also of any of their voxels."""
    masks, truth = _spheres()
    true_means = np.array([8.0] * 6 + [1.0])
    errors = []
    for blur in _spreads():
        found = partial_volume(Volume(blur(truth), AFFINE), masks, blur, method)
        errors.append(float(np.abs(found.means[:7] / true_means - 1).max()))
        if found.image is not None:
            inside = truth > 0
            errors.append(float(np.abs(found.image.array[inside] / truth[inside] - 1).max()))
    return errors


EXACT = "a blurred object of even regions: IEC spheres 8:1 at 4 mm; Gaussian, kernel with a tail, varying 9-15 mm"


@check("imaging/quantification transfer matrix is exact", unit="1", tolerance="each <= 0.005", source=EXACT)
def matrix_exact():
    found = _errors("gtm")
    return found, max(found) <= 0.005


@check(
    "imaging/quantification iterative Yang is exact, means and voxels",
    unit="1",
    tolerance="each <= 0.005",
    source=EXACT,
)
def yang_exact():
    found = _errors("yang")
    return found, max(found) <= 0.005


def _mis_set(factor: float) -> tuple[list[float], list[float]]:
    """Relative errors of the spheres in a cold field under a mis-set width, and the closed form R(w) / R(f w) - 1."""
    masks, _ = _spheres()
    found, expected = [], []
    for name, mask in list(masks.items())[:6]:
        image = Volume(GaussianSpread(SPACING, FWHM_mm)(mask.array), AFFINE)
        found.append(float(partial_volume(image, {name: mask}, FWHM_mm * factor).means[0]) - 1)
        volume = float(mask.array.sum()) * mask.voxel_mL
        expected.append(sphere_recovery(volume, FWHM_mm) / sphere_recovery(volume, FWHM_mm * factor) - 1)
    return found, expected


ROBUST = "sphere recovery in closed form (imaging.recovery.sphere_recovery), 10 to 37 mm in a cold field"


@check(
    "imaging/quantification point spread 10 % too wide", unit="1", tolerance="abs 0.03 of closed form", source=ROBUST
)
def too_wide():
    found, expected = _mis_set(1.1)
    return found, bool(np.allclose(found, expected, rtol=0, atol=0.03))


@check(
    "imaging/quantification point spread 10 % too narrow", unit="1", tolerance="abs 0.03 of closed form", source=ROBUST
)
def too_narrow():
    found, expected = _mis_set(0.9)
    return found, bool(np.allclose(found, expected, rtol=0, atol=0.03))


@cache
def _noise_draws(shape: str) -> list[float]:
    """Propagated over observed sd of the means of three spheres in 200 images of smooth noise.

    Each sphere lies at six places too far apart to share noise, which makes 1200 means of each: the observed sd is
    then known to 2 %, not 5 %. The noise model comes from one of the images ("gaussian", "free") or is known ("known").
    """
    rng, fwhm = np.random.default_rng(17), 9.0
    smooth = GaussianSpread(SPACING, fwhm)
    masks, _ = _spheres()
    chosen = [masks[name] for name in ("tumour_22", "tumour_28", "tumour_37")]
    places = [(z, y, 0) for z in (-16, 0, 16) for y in (0, 16)]
    weights = [[np.roll(m.array, p, (0, 1, 2)) / float(m.array.sum()) for p in places] for m in chosen]
    point = np.zeros((SIDE,) * 3)
    point[32, 32, 32] = 1.0
    unit = float(np.sqrt((smooth(point) ** 2).sum()))
    means, first = [], None
    for _ in range(200):
        noise = smooth(rng.normal(size=(SIDE,) * 3)) / unit
        first = noise if first is None else first
        means.append([[float((w * noise).sum()) for w in moved] for moved in weights])
    image = Volume(first, AFFINE)
    if shape == "known":
        model = noise_of_width(1.0, fwhm, SPACING)
    else:
        inner = np.zeros((SIDE,) * 3)
        inner[8:56, 8:56, 8:56] = 1
        model = noise_of_background(image, Volume(inner, AFFINE), shape=shape, reach=4)
    seen = np.sqrt(np.mean(np.var(means, axis=0, ddof=1), axis=1))
    return [region_statistics(image, m, model).sd_of_mean / s for m, s in zip(chosen, seen, strict=True)]


DRAWS = "200 images of correlated noise; spheres of 22, 28, 37 mm, each at six places"


@check("imaging/quantification sd of region means, known noise", unit="1", tolerance="abs 0.10 of 1", source=DRAWS)
def region_sd():
    found = _noise_draws("known")
    return found, bool(np.allclose(found, 1, rtol=0, atol=0.10))


@check(
    "imaging/quantification sd of region means, noise from one image",
    unit="1",
    tolerance="abs 0.10 of 1",
    source=DRAWS,
)
def region_sd_estimated():
    found = _noise_draws("gaussian")
    return found, bool(np.allclose(found, 1, rtol=0, atol=0.10))


@check(
    "imaging/quantification sd of region means, free correlation from one image",
    unit="1",
    tolerance="abs 0.10 of 1",
    source=DRAWS,
)
def region_sd_free():
    found = _noise_draws("free")
    return found, bool(np.allclose(found, 1, rtol=0, atol=0.10))


@check(
    "imaging/quantification peak sphere of 1 mL", unit="mL", tolerance="rel 0.01", source="pi d^3 / 6 at 2, 4, 6.8 mm"
)
def peak_sphere():
    found = [float(sphere_weights(1.0, (s, s, s)).sum()) * s**3 / 1000 for s in (2.0, 4.0, 6.8)]
    return found, bool(np.allclose(found, 1, rtol=0.01))


@check(
    "imaging/quantification dead-time inverse",
    unit="1",
    tolerance="rel 1e-9",
    source="forward model, true rates to 98 % of the peak, tau 2 us, both models",
)
def dead_time_inverse():
    n = np.geomspace(1, 4.9e5, 200)
    worst = max(np.abs(true_rate(observed_rate(n, 2e-6, m), 2e-6, m) / n - 1).max() for m in _MODELS)
    return float(worst), bool(worst <= 1e-9)


_MODELS = ("paralysable", "non_paralysable")


@check(
    "imaging/quantification dead time from two and from decaying sources",
    unit="sd",
    tolerance="each within 4 of its own sd, sd below 5 % of tau",
    source="simulated Poisson counts, tau 2 us",
)
def dead_time_fits():
    rng, tau = np.random.default_rng(23), 2e-6
    found = []
    for model in _MODELS:
        rates = observed_rate(np.array([6e4, 7e4, 13e4]), tau, model)
        two = two_source_dead_time(*rng.poisson(60 * rates), 60, model=model)
        times = np.linspace(0, 30, 12)
        counts = rng.poisson(100 * observed_rate(8e5 * 2 ** (-times / 6.0), tau, model))
        one = decaying_source_dead_time(times, counts, 100.0, 6.0, model=model)
        found += [(fit.tau_s - tau) / fit.sd_s for fit in (two, one)]
        if max(two.sd_s, one.sd_s) > 0.05 * tau:
            return found, False
    return found, max(map(abs, found)) <= 4


@check(
    "imaging/quantification sd of a phantom sensitivity",
    unit="1",
    tolerance="abs 0.06 of 1 (propagated over drawn)",
    source="4000 draws of counts, activity, fill and region volume",
)
def phantom_sd():
    rng = np.random.default_rng(29)
    truth = {"counts": 5e6, "activity_MBq": 800.0, "fill_volume_mL": 6000.0, "region_volume_mL": 2000.0}
    sd = {"counts": 5e4, "activity_MBq": 16.0, "fill_volume_mL": 60.0, "region_volume_mL": 30.0}
    words = {f"{name.replace('_M', '_sd_M').replace('_m', '_sd_m')}": v for name, v in sd.items() if name != "counts"}
    words |= {"counts_sd": sd["counts"], "duration_s": 1800.0, "nuclide": "177Lu", "window_keV": (187.2, 228.8)}
    draws = [phantom_sensitivity(**{k: rng.normal(truth[k], sd[k]) for k in truth}, **words) for _ in range(4000)]
    spread = np.std([d.sensitivity_cps_per_MBq for d in draws])
    found = phantom_sensitivity(**truth, **words).sd_cps_per_MBq / spread
    return float(found), abs(found - 1) <= 0.06


@check(
    "imaging/quantification sd of a recovered activity",
    unit="1",
    tolerance="abs 0.10 of 1 (propagated over drawn)",
    source="Gear 2018 chain drawn 4000 times: spheres, fit, volume, counts that move with the contour",
)
def recovered_sd():
    rng = np.random.default_rng(31)
    spheres = np.pi / 6 * np.array(DIAMETERS_mm) ** 3 / 1000
    clean = recovery(spheres, 2.5, 1.2)
    curve = fit_recovery(spheres, clean, 0.02)
    drawn = []
    for _ in range(4000):
        fitted = fit_recovery(spheres, clean + rng.normal(0, 0.02, 6), 0.02)
        volume = 8.0 * (1 + rng.normal(0, 0.06))
        counts = 100 * (1 + rng.normal(0, 0.03)) * (volume / 8.0) ** 0.6
        drawn.append(counts / float(fitted.at(volume)))
    _, sd = recovered_activity(100.0, 3.0, curve, 8.0, 0.48, counts_per_volume=0.6)
    found = sd / float(np.std(drawn))
    return found, abs(found - 1) <= 0.10


@check(
    "imaging/quantification covariance of hybrid planar and SPECT",
    unit="1",
    tolerance="rel 0.06 each entry",
    source="40 000 draws",
)
def hybrid():
    rng, n = np.random.default_rng(7), 40_000
    planar, own = np.array([100.0, 80.0, 40.0]), np.array([5.0, 4.0, 4.0])
    _, covariance = hybrid_activity(planar, own, 60.0, 3.0, at=1)
    p = planar * np.exp(rng.normal(size=(n, 3)) * own / planar)
    drawn = np.cov((p * (60 * np.exp(rng.normal(size=n) * 0.05) / p[:, 1])[:, None]).T)
    found = (covariance / drawn).ravel()
    return found.tolist(), bool(np.allclose(found, 1, rtol=0, atol=0.06))


def _chest() -> np.ndarray:
    """Templates [lung, liver] x [front, back] x z x, counts per MBq: slabs 200 mm deep, lungs of a third of water's mu.

    The liver's dome reaches under the lung, and both are blurred by 12 mm in the plane.
    """
    from scipy.ndimage import gaussian_filter

    mu = np.full((48, 25, 48), 0.0135)  # [z, y, x], 8 mm voxels, 1/mm
    lung, liver = np.zeros(mu.shape), np.zeros(mu.shape)
    lung[24:44, 4:21, 8:40] = 1
    z, y, x = np.mgrid[:48, :25, :48]
    dome = ((z - 16) / 14.0) ** 2 + ((y - 12) / 9.0) ** 2 + ((x - 18) / 12.0) ** 2 <= 1
    liver[dome] = 1
    lung[dome] = 0
    mu[lung > 0] /= 3
    path = np.cumsum(mu * 8, axis=1) - mu * 4
    back = np.cumsum(mu[:, ::-1] * 8, axis=1)[:, ::-1] - mu * 4
    views = [[(organ / organ.sum() * np.exp(-p)).sum(axis=1) for p in (path, back)] for organ in (lung, liver)]
    return 6000 * np.array(
        [[gaussian_filter(v, 12 / 2.355 / 8 * 1.5, mode="constant") for v in pair] for pair in views]
    )


@check(
    "imaging/quantification covariance of a planar template fit",
    unit="1",
    tolerance="abs 0.12 of 1 (Fisher over drawn sd)",
    source="400 Poisson draws of front and back views, lung and liver with attenuation",
)
def template_sd():
    rng, t = np.random.default_rng(37), _chest()
    mean = np.tensordot([8.0, 92.0], t, 1)
    draws = np.array([fit_templates(rng.poisson(mean), t).activity_MBq for _ in range(400)])
    found = fit_templates(mean, t).sd_MBq / draws.std(axis=0, ddof=1)
    return found.tolist(), bool(np.allclose(found, 1, rtol=0, atol=0.12))


@check(
    "imaging/quantification lung shunt of 8 %: template fit, geometric mean",
    unit="1",
    tolerance="fit within 0.005 of 0.08; the geometric mean reads more",
    source="simulated chest with the liver's dome under the lung; planar overestimates (IMAGING.md 4.2)",
)
def shunt():
    t = _chest()
    y = np.random.default_rng(41).poisson(np.tensordot([8.0, 92.0], t, 1))
    fitted = fitted_lung_shunt(fit_templates(y, t), 0, 1).fraction
    drawn = t > 0.1 * t.max(axis=(1, 2, 3), keepdims=True)
    lung, liver = drawn[0] & ~drawn[1], drawn[1]
    counts = [tuple(float(y[v][r[v]].sum()) for v in range(2)) for r in (lung, liver)]
    planar = planar_lung_shunt(*counts).fraction
    return [fitted, planar], close(fitted, 0.08, 0.0625) and planar > fitted
