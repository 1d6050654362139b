"""Short SPECT scans: OSEM of a quarter of the counts as it is, through Gaussians and by the network.

Test patients of the nominal activity; the reference is OSEM of expected counts. Reconstructions are kept on disk.
"""

from __future__ import annotations

import time
from dataclasses import replace
from functools import cache

import numpy as np
from scipy.ndimage import binary_erosion

from dose.learning.cases import TEST_FROM
from dose.learning.paired import paired
from dose.learning.ranges import choose
from dose.learning.weights import load_weights
from imaging.networks.acquisitions import Physics, image
from imaging.networks.organs_input import pieces_of
from imaging.networks.short_scan import RECIPE, GAUSSIAN_FWHM_mm, denoise_short_scan
from imaging.networks.short_scan_own import BATCH, refine_on_own
from imaging.networks.short_scan_windows import smoothed_views
from imaging.networks.sparse_views import sparse
from imaging.networks.sparse_views_ring import features
from imaging.projections import Projections
from tests.validate import check
from tests.validate.checks_ai_sparse_views import (
    ALL,
    BETTER,
    CHOSEN_ON,
    OTHER,
    QUARTER,
    SHIFTED,
    TESTS,
    USUAL,
    blur_mm,
    blurred,
    clean,
    compared,
    departure_of_bare_unet,
    nrmse,
    peak_memory_MB,
    region_masks,
    scan,
    stored,
    total_errors_percent,
)

POST_FWHM_mm = 7.0
"""Of the Gaussian over the image: `chosen_post_mm("quarter", by_name)` of `checks_ai_sparse_views`."""

TRIED_PRE_mm = (0.0, 3.0, 5.0, 7.0, 9.0, 11.0)
"""Widths of the Gaussian over the projections that are tried."""

ORACLE_mm = np.arange(0.0, 10.1, 0.5)
"""Widths among which the oracle chooses for each case by the truth."""

OWN_STEPS = 150
TARGET_RATIO, TARGET_BIAS = 0.5, 2.0
SIMULATED = "simulated patients of test seeds (imaging.networks.acquisitions); OSEM of expected counts"


def short(seed: int, physics: Physics = USUAL) -> Projections:
    """A quarter of the counts of the scan, drawn on their own."""
    return scan(seed, physics)[0].counted(QUARTER, np.random.default_rng([seed, 10]))


def by_name(name: str, seed: int, physics: Physics = USUAL) -> np.ndarray:
    """OSEM in Bq/mL: "clean" of expected counts, "quarter" of a quarter, "pre" of those through a Gaussian, "network",
    "post" and "oracle" with a Gaussian over the image."""
    seen, counts = scan(seed, physics)[0], short(seed, physics)
    if name == "clean":
        return clean(seed, physics)
    if name == "post":
        return blurred(by_name("quarter", seed, physics), POST_FWHM_mm)
    if name == "oracle":
        raw, wanted = by_name("quarter", seed, physics), by_name("clean", seed, physics)
        return min((blurred(raw, width) for width in ORACLE_mm), key=lambda made: nrmse(made, wanted))
    mark = load_weights(RECIPE).card["sha256"] if name == "network" else ""
    words = f"pre {GAUSSIAN_FWHM_mm:g}" if name == "pre" else name
    return stored(f"short {words}", seed, physics, lambda: image(_taken(name, counts), seen, ALL), mark) / QUARTER


def _taken(name: str, counts: Projections) -> Projections:
    if name == "quarter":
        return counts
    return denoise_short_scan(counts, method="network" if name == "network" else "classical").projections


def chosen_pre_mm() -> float:
    """The width of least mean NRMSE on training seeds of the Gaussian over the projections."""

    def error(width: float, seed: int) -> float:
        filtered = lambda: denoise_short_scan(short(seed), method="classical", fwhm_mm=width).projections
        made = stored(f"short pre {width:g}", seed, USUAL, lambda: image(filtered(), scan(seed)[0], ALL))
        return nrmse(made / QUARTER, clean(seed))

    errors = [[error(width, seed) for width in TRIED_PRE_mm] for seed in CHOSEN_ON]
    return TRIED_PRE_mm[int(np.mean(errors, axis=0).argmin())]


def errors(name: str, seeds=TESTS, physics: Physics = USUAL) -> list[float]:
    return [nrmse(by_name(name, seed, physics), by_name("clean", seed, physics)) for seed in seeds]


def region_errors(name: str, which: str, seeds=TESTS, physics: Physics = USUAL) -> list[list[float]]:
    """Errors in percent of the totals of regions, for each case."""
    found = []
    for seed in seeds:
        masks = region_masks(scan(seed, physics)[0], which)
        found.append(total_errors_percent(by_name(name, seed, physics), by_name("clean", seed, physics), masks))
    return found


def mean_size(per_case: list[list[float]]) -> list[float]:
    return [float(np.mean(np.abs(case))) if case else np.nan for case in per_case]


def largest(per_case: list[list[float]]) -> float:
    """The error of largest size, with its sign."""
    return float(max(np.concatenate(per_case), key=abs))


def earns(other: str) -> tuple[list[float], bool]:
    found = paired(errors("network"), errors(other))
    return found.values(), found.better()


@check("ai/short_scan/earns: image NRMSE against a Gaussian over the image", "%", BETTER, SIMULATED)
def against_post():
    return earns("post")


@check("ai/short_scan/earns: image NRMSE against a Gaussian over the projections", "%", BETTER, SIMULATED)
def against_pre():
    return earns("pre")


@check("ai/short_scan/earns: lesion activity against a Gaussian over the image", "%", BETTER, SIMULATED)
def lesions_against_post():
    found = compared(*(mean_size(region_errors(name, "lesions")) for name in ("network", "post")))
    return found.values(), found.better()


@check("ai/short_scan/image NRMSE against the best Gaussian of each case", "%", BETTER, SIMULATED)
def against_oracle():
    return earns("oracle")


@check("ai/short_scan/image NRMSE against OSEM of the short scan as it is", "%", BETTER, SIMULATED)
def against_none():
    return earns("quarter")


@check("ai/short_scan/RMSE over that of a Gaussian at a quarter of the counts", "1", "at most 0.5", SIMULATED)
def ratio():
    value = float(np.mean(np.array(errors("network")) / errors("post")))
    return value, value <= TARGET_RATIO


@check(
    "ai/short_scan/largest error of a kidney: network, Gaussian over the image, short scan",
    "%",
    "network within 2",
    SIMULATED,
)
def kidneys():
    found = [largest(region_errors(name, "kidneys")) for name in ("network", "post", "quarter")]
    return found, abs(found[0]) <= TARGET_BIAS


@check(
    "ai/short_scan/bias of lesions: network, Gaussian over the image, short scan", "%", "network within 5", SIMULATED
)
def lesions():
    found = [float(np.mean(np.concatenate(region_errors(name, "lesions")))) for name in ("network", "post", "quarter")]
    return found, abs(found[0]) <= 5


@check("ai/short_scan/lesion activity against OSEM of the short scan as it is", "%", BETTER, SIMULATED)
def lesions_against_none():
    found = compared(*(mean_size(region_errors(name, "lesions")) for name in ("network", "quarter")))
    return found.values(), found.better()


@check("ai/short_scan/another collimator, farther off: NRMSE beside a Gaussian over the image", "%", BETTER, SIMULATED)
def other_collimator():
    found = paired(errors("network", SHIFTED, OTHER), errors("post", SHIFTED, OTHER))
    return found.values(), found.better()


@check("ai/short_scan/another collimator, farther off: largest error of a kidney", "%", "within 2", SIMULATED)
def other_collimator_kidneys():
    value = largest(region_errors("network", "kidneys", SHIFTED, OTHER))
    return value, abs(value) <= TARGET_BIAS


@cache
def denoised(seed: int, method: str):
    return denoise_short_scan(short(seed), method=method)


def view_error(made: np.ndarray, seed: int, window: int = 0) -> float:
    """Root mean square error of one window's estimates [view, v, u] over that of Poisson counts."""
    wanted = QUARTER * scan(seed)[0].expected[window]
    return float(np.sqrt(np.mean((made - wanted) ** 2) / np.mean(wanted)))


def view_errors(window: int, method: str) -> list[float]:
    return [view_error(denoised(seed, method).projections.counts[window], seed, window) for seed in TESTS]


def best_gaussian(seed: int) -> float:
    """Error of the peak window's views through the Gaussian that is best for this scan."""
    counts = short(seed)
    return min(view_error(smoothed_views(counts.counts[0], w, counts.pixel_mm), seed) for w in np.arange(6.0, 16.1))


def own_error(seed: int) -> float:
    """Error of the peak window's views by a network trained on this scan alone, from scratch; kept on disk."""

    def make() -> np.ndarray:
        counts = short(seed)
        trained = refine_on_own(counts, steps=OWN_STEPS, from_scratch=True)
        return denoise_short_scan(counts, network=trained).projections.counts[0]

    mark = load_weights(RECIPE).card["sha256"]  # stands for the loss and the architecture
    return view_error(stored(f"own {OWN_STEPS} {BATCH}", seed, USUAL, make, mark), seed)


@check("ai/short_scan/trained on its own counts alone: views beside the best Gaussian of each scan", "1", BETTER,
       "expected counts of test patients, over counting noise")  # fmt: skip
def own_counts():
    found = paired([own_error(seed) for seed in SHIFTED], [best_gaussian(seed) for seed in SHIFTED])
    return found.values(), found.better()


@check("ai/short_scan/views of the peak beside the best Gaussian of each scan", "1", BETTER,
       "expected counts of test patients, over counting noise")  # fmt: skip
def peak_views():
    found = paired(view_errors(0, "network"), [best_gaussian(seed) for seed in TESTS])
    return found.values(), found.better()


for _window, _name in enumerate(("peak", "lower", "upper")):

    @check(f"ai/short_scan/{_name} window: error over counting noise", "1", "below 0.5", "expected counts")
    def window_error(window=_window):
        values = view_errors(window, "network")
        return float(np.mean(values)), np.mean(values) < 0.5


@check(
    "ai/short_scan/sd of single pixels: rms of error over sd", "1", "0.8 to 1.25", "expected counts of test patients"
)
def pixel_sd():
    scores = []
    for seed in TESTS:
        wanted, done = QUARTER * scan(seed)[0].expected[0], denoised(seed, "network")
        inside = wanted > 0.2
        scores.append(np.mean(((done.projections.counts[0] - wanted)[inside] / done.sd[0][inside]) ** 2))
    value = float(np.sqrt(np.mean(scores)))
    return value, 0.8 <= value <= 1.25


@check("ai/short_scan/refused though it were the default: share of inputs out of range", "1",
       "1, and not the scan as it is", "inputs altered by hand")  # fmt: skip
def flagged():
    """Other counts, pixels, window, blur, a blur that is not told, other views."""
    counts, blur, limits = short(TEST_FROM), blur_mm(Physics()), load_weights(RECIPE).limits
    windows = tuple(replace(w, lower_keV=w.lower_keV - 95, upper_keV=w.upper_keV - 95) for w in counts.windows)
    tried = [
        (counts.with_counts(counts.counts * 100), blur),
        (counts.with_counts(counts.counts / 100), blur),
        (replace(counts, pixel_mm=3.0), blur),
        (replace(counts, windows=windows), blur),
        (counts, blur_mm(OTHER)),
        (counts, None),
        (sparse(counts, 2), blur),
    ]
    as_default = lambda p, b: choose("auto", limits, features(p, None, b) | {"views": len(p.angles_deg)}, default=True)
    refused = [as_default(p, b).method == "classical" for p, b in tried]
    return float(np.mean(refused)), all(refused) and as_default(counts, blur).method == "network"


@check("ai/short_scan/three times the counts: departure from three times the estimate, of the call and of its U-Net",
       "1", "1e-4", "the first by construction, the second as there are no biases")  # fmt: skip
def tripled():
    counts = short(TEST_FROM)
    one = denoised(TEST_FROM, "network").projections.counts
    three = denoise_short_scan(counts.with_counts(3 * counts.counts), method="network").projections.counts
    found = [float(np.abs(three / 3 - one).max() / one.max()), departure_of_bare_unet(load_weights(RECIPE).members[0])]
    return found, max(found) < 1e-4


@check("ai/short_scan/false spots per case: network, Gaussian over the image, short scan", "1", "network 0", SIMULATED)
def hallucinations():
    """Pieces of 4 voxels or more of plain tissue that exceed the reference by a tenth of the mean kidney or parotid."""
    found = []
    for name in ("network", "post", "quarter"):
        spots = []
        for seed in TESTS:
            seen, wanted = scan(seed)[0], by_name("clean", seed)
            plain = binary_erosion(seen.mask("remainder"), iterations=2)
            hot = wanted[seen.mask("kidney_left", "kidney_right", "parotid_left", "parotid_right")].mean()
            pieces, _ = pieces_of((by_name(name, seed) - wanted > 0.1 * hot) & plain)
            spots.append(np.sum(np.bincount(pieces.ravel())[1:] >= 4))
        found.append(float(np.mean(spots)))
    return found, found[0] == 0


@check("ai/short_scan/seconds for 120 views of three windows", "s", "below 60", "this machine")
def seconds():
    counts = short(TEST_FROM)
    begin = time.perf_counter()
    denoise_short_scan(counts, method="network")
    value = time.perf_counter() - begin
    return value, value < 60


@check("ai/short_scan/peak memory beyond the input", "MB", "below 1000", "this machine")
def memory():
    value = peak_memory_MB("short_scan", "denoise_short_scan", 120)
    return value, value < 1000
