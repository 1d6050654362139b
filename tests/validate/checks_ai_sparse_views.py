"""120 views from 30: OSEM of measured, of few and of completed views on simulated test patients, and what is refused.

Scans of the nominal activity; every fourth view is kept. OSEM of 120 views has 4 iterations of 8 subsets, of 30 views 6
of 5, so that both have as many updates and subsets hold equally many views. Reconstructions are kept on disk.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, replace
from functools import cache

import numpy as np
import torch
from scipy.ndimage import binary_erosion, gaussian_filter
from skimage.metrics import structural_similarity
from torch import nn

from dose.learning.cases import TEST_FROM, cases_folder, kept
from dose.learning.paired import Paired, paired
from dose.learning.ranges import choose
from dose.learning.weights import load_weights
from imaging.networks.acquisitions import Acquisition, Physics, acquisition, image
from imaging.networks.organs_input import pieces_of
from imaging.networks.sparse_views import RECIPE, complete_views, sparse
from imaging.networks.sparse_views_model import ViewsNet
from imaging.networks.sparse_views_ring import features, system_fwhm_mm
from imaging.projections import Projections
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.scatter import tew
from imaging.recovery import FWHM_PER_SIGMA
from imaging.scanner.camera import camera
from tests.validate import check

TESTS = range(TEST_FROM, TEST_FROM + 8)
SHIFTED = range(TEST_FROM, TEST_FROM + 3)
USUAL = Physics()
OTHER = Physics(collimator="GI-MEGP", margin_mm=45.0)
"""A coarser collimator, farther from the body."""

ALL, FEW = Settings(4, 8), Settings(6, 5)
ORGANS = {"kidneys": ("kidney_left", "kidney_right"), "liver": ("liver",), "spleen": ("spleen",)}
POST_FWHM_mm = 7.0
"""Gaussian after plain OSEM of 30 views: `chosen_post_mm("plain")`."""

TRIED_mm, CHOSEN_ON = (0.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 10.0), range(8)
"""Widths that are tried, and the training seeds on which."""

QUARTER = 0.25
"""Of the expected counts, of which the reference is made: OSEM of noise-free counts goes with them."""

LEAST_VOXELS = 100
"""Of an organ's part within the field; a smaller one is left out."""

TARGET_ACTIVITY, TARGET_SSIM = 3.0, 0.95
SIMULATED = "simulated patients of test seeds (imaging.networks.acquisitions); OSEM of expected counts of 120 views"
MEASURED = "the same against OSEM of all 120 measured views, whose noise the 30 views share"


def blur_mm(physics: Physics) -> float:
    spec = camera(physics.collimator)
    return system_fwhm_mm(physics.collimator, physics.line_keV, spec.intrinsic_fwhm_at(physics.line_keV))


@cache
def scan(seed: int, physics: Physics = USUAL, scale: float = 1.0) -> tuple[Acquisition, Projections]:
    """An acquisition, and its counts."""
    seen = acquisition(seed, physics)
    return seen, seen.counted(scale, np.random.default_rng([seed, 9]))


def stored(name: str, seed: int, physics: Physics, make, weights: str = "") -> np.ndarray:
    """An image kept on disk by what it hangs on."""
    about = {"physics": asdict(physics), "weights": weights, "name": name, "part": QUARTER}
    about |= {"settings": [asdict(ALL), asdict(FEW)]}
    folder = cases_folder("ai_views_test", json.loads(json.dumps(about)))
    return kept(folder, str(seed), lambda: {"image": make().astype(np.float32)})["image"]


def clean(seed: int, physics: Physics = USUAL) -> np.ndarray:
    """OSEM in Bq/mL of the expected counts: the reference; made of a quarter of them, as for `checks_ai_short_scan`."""
    seen = scan(seed, physics)[0]
    counts = seen.empty.with_counts(QUARTER * seen.expected)
    return stored("clean", seed, physics, lambda: image(counts, seen, ALL)) / QUARTER


def by_name(name: str, seed: int, physics: Physics = USUAL) -> np.ndarray:
    """OSEM in Bq/mL: "clean", "full", "plain" (30 views), "filtered" (those), and "classical" or "network" views."""
    if name == "clean":
        return clean(seed, physics)
    if name == "filtered":
        return blurred(by_name("plain", seed, physics), POST_FWHM_mm)
    seen, counts = scan(seed, physics)
    if name == "full":
        return stored(name, seed, physics, lambda: image(counts, seen, ALL))
    few = sparse(counts)
    if name == "plain":
        return stored(name, seed, physics, lambda: image(few, seen, FEW))
    mark = load_weights(RECIPE).card["sha256"] if name == "network" else ""
    completed = lambda: complete_views(few, method=name).projections
    return stored(name, seed, physics, lambda: image(completed(), seen, ALL), mark)


def blurred(made: np.ndarray, fwhm_mm: float) -> np.ndarray:
    """An image through a Gaussian."""
    return gaussian_filter(made, fwhm_mm / FWHM_PER_SIGMA / USUAL.voxel_mm)


def chosen_post_mm(name: str, image_by_name=by_name) -> float:
    """The width of least mean NRMSE on training seeds of a Gaussian over the image of this name."""
    errors = [
        [nrmse(blurred(image_by_name(name, seed), width), clean(seed)) for width in TRIED_mm] for seed in CHOSEN_ON
    ]
    return TRIED_mm[int(np.mean(errors, axis=0).argmin())]


def total_errors_percent(made: np.ndarray, wanted: np.ndarray, masks) -> list[float]:
    """Error of the total of each region that is not empty."""
    return [float(100 * (made[m].sum(dtype=float) / wanted[m].sum(dtype=float) - 1)) for m in masks if m.any()]


def region_masks(seen: Acquisition, which: str) -> list[np.ndarray]:
    names = ORGANS.get(which) or tuple(n for n in seen.names if n.startswith("tumour_"))
    masks = [seen.mask(name) for name in names]
    return masks if which == "lesions" else [mask for mask in masks if mask.sum() >= LEAST_VOXELS]


def nrmse(made: np.ndarray, wanted: np.ndarray) -> float:
    """Root mean square of the difference over that of the image wanted, percent."""
    return float(100 * np.sqrt(np.mean((made - wanted) ** 2) / np.mean(wanted**2)))


def figure_of(name: str, of: str, seeds=TESTS, physics: Physics = USUAL, reference: str = "clean") -> list[float]:
    """A figure of each case that has it (NaN for one without such regions), against a reference by its name."""
    found = []
    for seed in seeds:
        seen, made, wanted = scan(seed, physics)[0], by_name(name, seed, physics), by_name(reference, seed, physics)
        if of == "nrmse":
            found.append(nrmse(made, wanted))
        elif of == "ssim":
            found.append(body_ssim(made, wanted, seen.labels > 0))
        else:
            names = ("kidneys", "lesions") if of == "regions" else (of,)
            masks = [mask for name_ in names for mask in region_masks(seen, name_)]
            errors = total_errors_percent(made, wanted, masks)
            found.append(float(np.mean(np.abs(errors))) if errors else np.nan)
    return found


def body_ssim(made: np.ndarray, wanted: np.ndarray, body: np.ndarray) -> float:
    """Mean structural similarity over the body's voxels; over the whole field, near zero nearly everywhere, it is 1."""
    each = structural_similarity(made, wanted, data_range=float(wanted[body].max()), full=True)[1]
    return float(np.asarray(each)[body].mean())


def compared(network: list[float], classical: list[float]) -> Paired:
    """Paired over the cases that have the figure."""
    both = np.isfinite(network) & np.isfinite(classical)
    return paired(np.array(network)[both], np.array(classical)[both])


def earns(other: str, of: str, reference: str = "clean") -> tuple[list[float], bool]:
    found = compared(*(figure_of(name, of, reference=reference) for name in ("network", other)))
    return found.values(), found.better()


BETTER = "the whole 95 % interval of the paired difference below zero"


@check("ai/sparse_views/earns: image NRMSE against interpolated views", "%", BETTER, SIMULATED)
def nrmse_interpolated():
    return earns("classical", "nrmse")


@check("ai/sparse_views/earns: image NRMSE against plain 30-view OSEM", "%", BETTER, SIMULATED)
def nrmse_plain():
    return earns("plain", "nrmse")


@check("ai/sparse_views/earns: kidney and lesion activity against interpolated views", "%", BETTER, SIMULATED)
def regions_interpolated():
    return earns("classical", "regions")


@check("ai/sparse_views/earns: kidney and lesion activity against plain 30-view OSEM", "%", BETTER, SIMULATED)
def regions_plain():
    return earns("plain", "regions")


@check("ai/sparse_views/image NRMSE against plain 30-view OSEM with the best fixed Gaussian", "%", BETTER, SIMULATED)
def nrmse_filtered():
    return earns("filtered", "nrmse")


for _of, _words in (("nrmse", "image NRMSE"), ("regions", "kidney and lesion activity")):

    @check(f"ai/sparse_views/{_words} against plain 30-view OSEM, 120 measured views wanted", "%", BETTER, MEASURED)
    def against_measured(of=_of):
        return earns("plain", of, "full")


@check("ai/sparse_views/image NRMSE of 120 measured views, of 30 as they are", "%", "reported", SIMULATED)
def noise_of_the_measured():
    return [float(np.mean(figure_of(name, "nrmse"))) for name in ("full", "plain")], True


for _organ in (*ORGANS, "lesions"):

    @check(f"ai/sparse_views/activity of {_organ} beside plain 30-view OSEM", "%", "network at most 3 %", SIMULATED)
    def activity(organ=_organ):
        found = compared(figure_of("network", organ), figure_of("plain", organ))
        return found.values(), found.network <= TARGET_ACTIVITY


@check("ai/sparse_views/SSIM in the body beside plain 30-view OSEM", "1", "network above 0.95", SIMULATED)
def ssim():
    found = compared(figure_of("network", "ssim"), figure_of("plain", "ssim"))
    return found.values(), found.network > TARGET_SSIM


@check("ai/sparse_views/largest error of a kidney against the truth: network, interpolated, plain, 120 views", "%",
       "network's within 3 of that of 120 views", "simulated activity")  # fmt: skip
def kidneys_against_truth():
    found = []
    for name in ("network", "classical", "plain", "full"):
        errors = []
        for seed in TESTS:
            seen = scan(seed)[0]
            truth = seen.activity.array
            errors += total_errors_percent(by_name(name, seed), truth, region_masks(seen, "kidneys"))
        found.append(max(errors, key=abs))
    return found, abs(found[0] - found[3]) <= TARGET_ACTIVITY


def view_errors(window: int, method: str, seeds=TESTS) -> list[float]:
    """Root mean square error of the views made up against expected counts over that of Poisson counting."""
    found = []
    for seed in seeds:
        seen, counts = scan(seed)
        done = complete_views(sparse(counts), method=method)
        wanted = seen.expected[window][~done.measured]
        made = done.projections.counts[window][~done.measured]
        found.append(float(np.sqrt(np.mean((made - wanted) ** 2) / np.mean(wanted))))
    return found


@check("ai/sparse_views/views of the peak: error over counting noise", "1", BETTER, "expected counts of test patients")
def peak_views():
    found = paired(view_errors(0, "network"), view_errors(0, "classical"))
    return found.values(), found.better()


def scatter_errors(method: str) -> list[float]:
    """Of the triple energy window estimate in views made up, after its Gaussian of 15 mm, over Poisson noise of it."""
    found = []
    for seed in TESTS:
        seen, counts = scan(seed)
        done = complete_views(sparse(counts), method=method)
        wanted = tew(counts.with_counts(seen.expected), line_keV=208.0, fwhm_mm=15.0).counts
        error = (tew(done.projections, line_keV=208.0, fwhm_mm=15.0).counts - wanted)[~done.measured]
        found.append(float(np.sqrt(np.mean(error**2) / wanted.mean())))
    return found


@check("ai/sparse_views/scatter estimate by TEW: error over counting noise", "1", BETTER, "TEW of expected counts")
def scatter_windows():
    found = paired(scatter_errors("network"), scatter_errors("classical"))
    return found.values(), found.better()


@check("ai/sparse_views/sd of single pixels: rms of error over sd", "1", "0.8 to 1.25", "expected counts")
def pixel_sd():
    scores = []
    for seed in TESTS:
        seen, counts = scan(seed)
        done = complete_views(sparse(counts), method="network")
        wanted = seen.expected[0][~done.measured]
        inside = wanted > 0.5
        error = (done.projections.counts[0] - seen.expected[0])[~done.measured][inside]
        scores.append(np.mean((error / done.sd[0][~done.measured][inside]) ** 2))
    value = float(np.sqrt(np.mean(scores)))
    return value, 0.8 <= value <= 1.25


@check("ai/sparse_views/another collimator, farther off: NRMSE beside plain 30-view OSEM", "%", BETTER, SIMULATED)
def other_collimator():
    values = [figure_of(name, "nrmse", SHIFTED, OTHER) for name in ("network", "plain")]
    found = compared(*values)
    return found.values(), found.better()


@check(
    "ai/sparse_views/another collimator, farther off: kidney and lesion activity", "%", "network at most 3 %", SIMULATED
)
def other_collimator_regions():
    values = [figure_of(name, "regions", SHIFTED, OTHER) for name in ("network", "plain")]
    found = compared(*values)
    return found.values(), found.network <= TARGET_ACTIVITY


@check("ai/sparse_views/refused though it were the default: share of inputs out of range", "1",
       "1, and not the scan as it is", "inputs altered by hand")  # fmt: skip
def flagged():
    """Other counts, pixels, window, blur, a blur that is not told, and 20 and 60 views of 120."""
    counts = scan(TEST_FROM)[1]
    few, blur = sparse(counts), blur_mm(Physics())
    windows = tuple(
        replace(w, lower_keV=w.lower_keV - 95, upper_keV=w.upper_keV - 95, line_keV=None) for w in few.windows
    )
    tried = [
        (few.with_counts(few.counts * 40), blur),
        (few.with_counts(few.counts / 100), blur),
        (replace(few, pixel_mm=3.0), blur),
        (replace(few, windows=windows), blur),
        (few, blur_mm(OTHER)),
        (few, None),
        (sparse(counts, 6), blur),
        (sparse(counts, 2), blur),
    ]
    limits = load_weights(RECIPE).limits
    as_default = lambda p, b: choose(
        "auto", limits, features(p, None, b) | {"measured views": len(p.angles_deg)}, default=True
    )
    refused = [as_default(p, b).method == "classical" for p, b in tried]
    return float(np.mean(refused)), all(refused) and as_default(few, blur).method == "network"


@check("ai/sparse_views/three times the counts: departure from three times the views, of the call and of its U-Net",
       "1", "1e-4", "the first by construction, the second as there are no biases")  # fmt: skip
def tripled():
    few = sparse(scan(TEST_FROM)[1])
    one = complete_views(few, method="network").projections.counts
    three = complete_views(few.with_counts(3 * few.counts), method="network").projections.counts
    found = [float(np.abs(three / 3 - one).max() / one.max()), departure_of_bare_unet(load_weights(RECIPE).members[0])]
    return found, max(found) < 1e-4


def departure_of_bare_unet(model: nn.Module) -> float:
    """Of a U-Net's answer to three times some noise from three times that to it, without the division by the unit."""
    assert isinstance(model, ViewsNet)
    torch.manual_seed(0)
    noise = torch.rand(1, model.inputs, 32, 32)
    with torch.no_grad():
        one, three = model.unet(noise), model.unet(3 * noise)
    return float((three - 3 * one).abs().max() / one.abs().max())


def false_spots(made: np.ndarray, full: np.ndarray, seen: Acquisition) -> int:
    """Pieces of 4 voxels or more, two voxels away from all but plain tissue, with more than the reference has by a
    tenth of the mean kidney."""
    plain = binary_erosion(seen.mask("remainder"), iterations=2)
    hot = full[seen.mask("kidney_left", "kidney_right", "parotid_left", "parotid_right")]
    pieces, number = pieces_of((made - full > 0.1 * hot.mean()) & plain)
    return int(np.sum(np.bincount(pieces.ravel())[1:] >= 4)) if number else 0


@check(
    "ai/sparse_views/spots that expected counts do not have, per case: network, interpolated, plain",
    "1",
    "network 0",
    SIMULATED,
)
def hallucinations():
    found = []
    for name in ("network", "classical", "plain"):
        spots = [false_spots(by_name(name, seed), clean(seed), scan(seed)[0]) for seed in TESTS]
        found.append(float(np.mean(spots)))
    return found, found[0] == 0


@check("ai/sparse_views/seconds to complete 30 views", "s", "below 30", "this machine")
def seconds():
    few = sparse(scan(TEST_FROM)[1])
    begin = time.perf_counter()
    complete_views(few, method="network")
    value = time.perf_counter() - begin
    return value, value < 30


MEMORY = """
from pathlib import Path
from imaging.networks.{module} import {call}
from tests.validate.checks_ai_sparse_views import few_views
kB = lambda name: int(Path("/proc/self/status").read_text().split(name + ":")[1].split()[0])
few = few_views({views})
Path("/proc/self/clear_refs").write_text("5")
before = kB("VmRSS")
{call}(few, method="network")
print((kB("VmHWM") - before) / 1e3)
"""
"""The peak is set back before the call, which loads weights too."""


def few_views(views: int) -> Projections:
    counts = scan(TEST_FROM)[1]
    return sparse(counts, 120 // views)


def peak_memory_MB(module: str, call: str, views: int) -> float:
    """What a process takes at the peak of one call beyond what it held before."""
    run = [sys.executable, "-c", MEMORY.format(module=module, call=call, views=views)]
    return float(subprocess.run(run, check=True, capture_output=True, text=True).stdout.split()[-1])


@check("ai/sparse_views/peak memory beyond the input", "MB", "below 1000", "this machine")
def memory():
    value = peak_memory_MB("sparse_views", "complete_views", 30)
    return value, value < 1000
