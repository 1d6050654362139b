"""The fast measurement model against the full simulation: its own scan, with activities it was not fitted to.

Patterns held out have every activity of the reference moved by its own factor exp(0.5 z). The noise is that of the
abdomen's bed (64^3, 60 views), at a fourth of the reference's time as well as at its own.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from tests.validate import check

FULL = "own full simulation and OSEM 4 x 8, activities held out"
SPREAD, PATTERNS, DRAWS, SEED = 0.5, 4, 40, 21
ABDOMEN = 0
MARROW, LACRIMAL = "red_marrow", "lacrimal"


@cache
def _stage():
    """The scan, its beds with every source simulated, the shipped model, and the reference activities [source]."""
    from imaging.scanner.measured_scan import beds_of
    from imaging.scanner.measurement_file import measurement_model
    from imaging.scanner.reference_scan import reference_activity_MBq, reference_scan

    scan = reference_scan()
    model = measurement_model("177Lu")
    return scan, beds_of(scan), model, np.array([reference_activity_MBq()[name] for name in model.regions])


def _cps_per_MBq(model) -> float:
    return float(dict(model.about)["cps per MBq in the image"])


def _held_out() -> np.ndarray:
    """Activities [pattern, source]."""
    rng = np.random.default_rng(SEED)
    reference = _stage()[3]
    return reference * np.exp(SPREAD * rng.standard_normal((PATTERNS, len(reference))))


@cache
def _misses() -> tuple[tuple[str, ...], np.ndarray]:
    """Regions, and the full model's totals over the fast one's less 1, [pattern, region]."""
    from imaging.scanner.fit_measurement import region_totals_MBq

    scan, beds, model, _ = _stage()
    full = [region_totals_MBq(scan, beds, _cps_per_MBq(model), pattern) for pattern in _held_out()]
    return model.regions, np.array(full) / np.asarray(model.expected(_held_out())) - 1


def _worst(names) -> float:
    regions, misses = _misses()
    return float(np.abs(misses[:, [regions.index(name) for name in names]]).max())


@check("imaging/measurement model mean, organs", unit="1", tolerance="worst of 4 patterns 0.03", source=FULL)
def organs():
    """Kidneys, liver, spleen, salivary glands, the rest of the body."""
    value = _worst([r for r in _misses()[0] if r not in (MARROW, LACRIMAL) and not r.startswith("tumour")])
    return value, value <= 0.03


@check("imaging/measurement model mean, lacrimal glands", unit="1", tolerance="worst of 4 patterns 0.03", source=FULL)
def lacrimal():
    """Two glands of 0.35 mL, of which the image keeps a seventh."""
    value = _worst([LACRIMAL])
    return value, value <= 0.03


@check("imaging/measurement model mean, tumours", unit="1", tolerance="worst of 4 patterns 0.03", source=FULL)
def tumours():
    value = _worst(["tumour_1", "tumour_2", "tumour_3"])
    return value, value <= 0.03


@check("imaging/measurement model mean, marrow", unit="1", tolerance="worst of 4 patterns 0.03", source=FULL)
def marrow():
    """Little activity in the lumbar spine, between kidneys a hundred times as hot."""
    value = _worst([MARROW])
    return value, value <= 0.03


@cache
def _ratios(share_of_time: float, draws: int, held_out: bool = True) -> np.ndarray:
    """Noise draws' sd over the fast model's, [region of the abdomen], in a held-out pattern or the reference."""
    import jax

    from imaging.scanner.fit_measurement import region_totals_MBq

    scan, beds, model, reference = _stage()
    bed, pattern = beds[ABDOMEN], _held_out()[0] if held_out else reference
    frames = replace(bed.acquisition, frame_s=bed.acquisition.frame_s * share_of_time)
    short = [replace(bed, acquisition=frames, sources=bed.sources * share_of_time, room=bed.room * share_of_time)]
    key, factor = jax.random.key(SEED), _cps_per_MBq(model)
    drawn = [region_totals_MBq(scan, short, factor, pattern, jax.random.fold_in(key, n)) for n in range(draws)]
    stated = np.sqrt(np.diag(np.asarray(model.covariance(pattern, model.scan_time_s * share_of_time))))
    return (np.std(drawn, axis=0, ddof=1) / stated)[bed.rows]


def _together(ratios: np.ndarray) -> float:
    """One ratio of all regions: 40 draws know each to 11 %, eight regions together to 4 %."""
    return float(np.exp(np.mean(np.log(ratios))))


@check("imaging/measurement model sd, regions together", unit="1", tolerance="rel 0.15 of 1", source=FULL)
def noise():
    value = _together(_ratios(1.0, DRAWS))
    return value, abs(value - 1) <= 0.15


@check("imaging/measurement model sd, farthest region", unit="1", tolerance="rel 0.15 of 1", source=FULL)
def noise_of_each():
    """The sd of 40 draws has itself a relative sd of 0.11, so that the farthest of eight may miss by chance."""
    ratios = _ratios(1.0, DRAWS)
    value = float(ratios[np.argmax(np.abs(np.log(ratios)))])
    return value, abs(value - 1) <= 0.15


@check("imaging/measurement model sd, farthest region at the reference", "1", "rel 0.15 of 1", FULL)
def noise_at_the_reference():
    ratios = _ratios(1.0, DRAWS, held_out=False)
    value = float(ratios[np.argmax(np.abs(np.log(ratios)))])
    return value, abs(value - 1) <= 0.15


@check("imaging/measurement model sd, a fourth of the time", unit="1", tolerance="rel 0.15 of 1", source=FULL)
def shorter():
    value = _together(_ratios(0.25, DRAWS // 2))
    return value, abs(value - 1) <= 0.15
