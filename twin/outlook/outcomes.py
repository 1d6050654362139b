"""Illustrative outcomes of a course: tumour volume, PSA and platelets, as bands over what is not known of them.

None of these models was validated in patients for radioligand therapy (docs/outcomes.md): ranges, never forecasts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from pbpk import platelets, psa
from pbpk.administration import Administration
from pbpk.volume import VolumeLaw, published, volume_curve
from twin.outlook.surface import MOST_CYCLES, Outlook
from twin.patient import DoseReport

POINTS = 160
FOLLOW_UP_H = 84 * 24.0
MARROW_HALF_LIFE_H = 30.0
SEED = 20_007


class Outcomes(NamedTuple):
    """At `time_h` [time] from cycle 1: medians and 5th and 95th percentiles [3, time], in the order low, median, high.

    `volume_share` and `psa_share` are relative to the start (None without a tumour; PSA for PSMA ligands only).
    """

    time_h: np.ndarray
    volume_share: np.ndarray | None
    psa_share: np.ndarray | None
    platelets_per_nL: np.ndarray
    lowest_platelets_per_nL: np.ndarray


def outcomes(outlook: Outlook, planned: Sequence[Administration], report: DoseReport) -> Outcomes | None:
    """Outcomes of all cycles of a report; None for a course too long to pad."""
    given = outlook.given_administrations
    starts = np.array([a.time_h for a in (*given, *planned)])
    if len(starts) > MOST_CYCLES:
        return None
    spare = MOST_CYCLES - len(starts)
    time_h = np.linspace(0.0, starts[-1] - starts[0] + FOLLOW_UP_H, POINTS)
    padded = np.concatenate([starts - starts[0], np.full(spare, time_h[-1])])
    cube = lambda x: np.concatenate([x, np.zeros((len(x), spare, *x.shape[2:]))], axis=1)
    lesions = list(outlook.surfaces.lesions)
    marrow = report.regions.index("red_marrow") if "red_marrow" in report.regions else None
    blood = cube(report.dose_Gy)[..., marrow] if marrow is not None else np.zeros((outlook.draws, MOST_CYCLES))
    counts = _platelets(outlook.draws, padded, blood, half_life_h(outlook, marrow), time_h)
    share = psa_share = None
    if lesions:
        half_life = np.array([half_life_h(outlook, k) for k in lesions])
        share, psa_share = _volume(outlook, padded, cube(report.bed_Gy)[..., lesions], half_life, time_h)
    is_psma = outlook.twin.study.ligand.startswith(("PSMA", "DCFPyL"))
    bands = lambda x: np.percentile(np.asarray(x), [5, 50, 95], axis=0)
    return Outcomes(
        time_h=starts[0] + time_h,
        volume_share=None if share is None else bands(share),
        psa_share=bands(psa_share) if psa_share is not None and is_psma else None,
        platelets_per_nL=np.nanpercentile(counts, [5, 50, 95], axis=0),
        lowest_platelets_per_nL=np.nanmin(counts, axis=1),
    )


def half_life_h(outlook: Outlook, region: int | None) -> float:
    """Median effective half-life of a region: ln 2 times the mean time of a decay, over its curve."""
    if region is None:
        return MARROW_HALF_LIFE_H
    curve = np.exp(np.asarray(outlook.surfaces.activity[0, :, region])).mean(axis=0)
    return float(np.log(2) * np.trapezoid(curve * outlook.time_h, outlook.time_h) / np.trapezoid(curve, outlook.time_h))


def _platelets(draws: int, starts_h, dose_Gy, half_life_h: float, time_h) -> np.ndarray:
    """[draw, time], the slope drawn over its demonstration range."""
    low, high = published("platelet_slope", "low"), published("platelet_slope", "high")
    slope = np.random.default_rng(SEED).uniform(low, high, draws)
    chain = platelets.typical()
    chain = type(chain)(*(jnp.full(draws, float(x)) for x in chain))._replace(slope_h_per_Gy=jnp.asarray(slope))
    half_life = jnp.full(dose_Gy.shape, half_life_h)
    return np.asarray(
        platelets.platelet_curve(chain, jnp.asarray(starts_h), jnp.asarray(dose_Gy), half_life, jnp.asarray(time_h))
    )


def _volume(outlook: Outlook, starts_h, bed_Gy, half_life_h, time_h):
    """Volume of all tumours and PSA relative to the start, each [draw, time]; alpha, growth and PSA clearance drawn."""
    s = outlook.surfaces
    kout = np.log(2) / (24 * np.random.default_rng(SEED + 1).uniform(*_psa_days(), outlook.draws))
    return _shares(
        s.alpha_per_Gy, s.doubling_time_h, s.lesion_mL, jnp.asarray(starts_h), jnp.asarray(bed_Gy),
        jnp.asarray(half_life_h), jnp.asarray(time_h), jnp.asarray(kout),
    )  # fmt: skip


def _psa_days() -> tuple[float, float]:
    return published("psa_half_life", "low"), published("psa_half_life", "high")


@jax.jit
def _shares(alpha_per_Gy, doubling_time_h, lesion_mL, starts_h, bed_Gy, half_life_h, time_h, kout_per_h):
    law = VolumeLaw(alpha_per_Gy[:, None], doubling_time_h[:, None])
    bed = jnp.moveaxis(bed_Gy, 2, 1)
    half_life = jnp.broadcast_to(half_life_h[:, None], bed.shape[1:])
    mL = volume_curve(law, jnp.broadcast_to(lesion_mL, bed.shape[:2]), starts_h, bed, half_life, time_h)
    total = mL.sum(axis=1)
    share = total / total[:, :1]
    return share, psa.psa_curve(psa.PsaRates(kout_per_h), jnp.ones(len(total)), share, time_h)
