"""Short SPECT scans by network, on simulated acquisitions whose bodies, lesions and noise training did not see.

Targets were fixed before any result: half the RMSE of the Gaussian filter, kidneys within 2 %, no invented lesion.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from dose.learning.cases import TEST_FROM, Case, cases_folder, cases_of, kept
from imaging.geometry import Volume
from imaging.networks.acquisitions import acquisition, image
from imaging.networks.denoise import as_volume, smoothed
from imaging.networks.denoise_spect import FILTER, LINE, RECIPE, denoised_spect
from imaging.reconstruct.iterations import Settings
from tests.validate import check
from tests.validate.ai_denoise import Seen
from tests.validate.ai_denoise_rows import Judge, beside, flagged, invented, register

SEEDS = range(TEST_FROM, TEST_FROM + 12)


def _cases() -> list[Case]:
    cases = cases_of(RECIPE, RECIPE.config(), SEEDS)
    return [{**case, "names": np.array(acquisition(seed).names)} for seed, case in zip(SEEDS, cases)]


JUDGE = Judge(
    RECIPE,
    denoised_spect,
    {"line_keV": 208.0},
    FILTER,
    _cases,
    "OSEM of simulated 177Lu SPECT",
    ("field", "64 slices of 6 mm"),
)
register(JUDGE)
invented(JUDGE, "a patient", lambda: JUDGE.tests)


@cache
def _half_the_counts() -> list[Seen]:
    return [JUDGE.seen({**test.case, "first": as_volume(test.case, "mean").array}) for test in JUDGE.tests]


@cache
def _fewer_counts() -> list[Seen]:
    """The test patients with a third of the short scan's counts."""
    folder, found = cases_folder("denoise_spect_other", {**RECIPE.config().data, "how": "fewer counts"}), []
    for test, seed in zip(JUDGE.tests, SEEDS):
        made = kept(folder, str(seed), lambda seed=seed, test=test: _counted(seed, float(test.case["scale"]) / 3))
        found.append(JUDGE.seen({**test.case, **made}))
    return found


def _counted(seed: int, scale: float) -> Case:
    seen = acquisition(seed)
    counts = seen.counted(scale, np.random.default_rng([seed, 9]))
    return {"first": image(counts, seen, Settings(*RECIPE.config().data["settings"])) / scale}


beside(
    JUDGE,
    "other: half the counts, RMSE in the body",
    Seen.rmse,
    seen=_half_the_counts,
    source="mean of two short scans",
)
beside(JUDGE, "other: a twelfth of the counts, RMSE in the body", Seen.rmse, seen=_fewer_counts)


@check(
    f"{JUDGE.name}/range: unlike images flagged, like ones flagged", "1", "all, at most a sixth", "limits of the card"
)
def unlike_images_are_flagged():
    one, like = JUDGE.images[0], {LINE: 208.0}
    smooth = one.with_array(smoothed(one.array, 3.0))
    noisy = one.with_array(np.random.default_rng(0).poisson(one.array / one.array.mean()).astype(np.float32))
    fine = Volume(one.array, one.affine @ np.diag([0.6, 0.6, 0.6, 1.0]))
    unlike = [(smooth, like), (noisy, like), (fine, like), (one, {LINE: 113.0})]
    return flagged(JUDGE, like, unlike, most=1 / 6)
