"""The rows that both scatter networks are judged by: `register` makes them for a nuclide."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dose.learning.cases import TEST_FROM
from dose.learning.ranges import outside
from dose.learning.weights import load_weights
from imaging.networks.acquisitions import FIELDS
from imaging.networks.patients import assigned
from imaging.networks.scatter import RECIPES, EstimatedScatter, estimated_scatter
from imaging.networks.scatter_cases import Scan, water_mm
from imaging.networks.scatter_model import features
from imaging.projections import Projections
from tests.validate import ai_cost as cost
from tests.validate import check
from tests.validate.ai_scatter import Judged, compared, judged, remembered, scans, test_scan

SIMULATED = "Monte Carlo scatter of the test seeds, counts of their own; [network, classical, difference, low, high]"
OSEM = "OSEM 4 x 6 of 30 views; mean size of the error relative to the image with the true scatter"
BELOW = "interval below 0"


def nrmse(seen: Judged, method: str) -> float:
    """Of the method, or the least of those joined by "/"."""
    return min(seen.nrmse[one] for one in method.split("/"))


def total_error(seen: Judged, method: str) -> float:
    return abs(seen.total[method] - 1)


def organ_error(seen: Judged, method: str) -> float:
    return seen.error(method)


def lesion_error(seen: Judged, method: str) -> float:
    return seen.error(method, lesions=True)


def organ_errors(seen: Judged, method: str) -> np.ndarray:
    """Size of the error of each organ of a scan."""
    kept = [k for k, name in enumerate(seen.names) if not name.startswith("tumour_")]
    return np.abs(seen.regions[method][kept] / seen.regions["truth"][kept] - 1)


@dataclass(frozen=True)
class Judge:
    """A network and what it is held beside.

    Attributes:
        classical: the customary method, in `ai_scatter.LINEAR`.
        words: methods in words.
        best: method, or methods joined by "/", that its NRMSE must beat.
        tests: scans.
        scale: counts of the checks on one scan, of 2000 MBq in the body at 20 s a view.
        other_keV: lower edge of a peak window that it does not know.
    """

    nuclide: str
    classical: str
    words: Mapping[str, str]
    best: str
    tests: int
    scale: float
    other_keV: float

    @property
    def name(self) -> str:
        return f"ai/{RECIPES[self.nuclide].name}"

    @property
    def least_scale(self) -> float:
        return float(RECIPES[self.nuclide].config().data["scale"][0])

    def scans(self, images: bool) -> list[Judged]:
        return scans(self.nuclide, self.tests, images=images)

    def row(self, figure, other: str, images: bool = False):
        result = compared(self.scans(images), figure, other)
        return result.values(), result.better()

    @property
    def faint(self) -> list[int]:
        """Seeds of the tests of head and neck, which have the fewest counts for an activity."""
        seeds = range(TEST_FROM, TEST_FROM + self.tests)
        return [seed for seed in seeds if assigned(seed, "field", FIELDS) == FIELDS[-1]]

    @cached_property
    def one(self) -> Scan:
        return test_scan(self.nuclide, TEST_FROM)

    def noisy(self, made: Scan | None = None, scale: float | None = None) -> Projections:
        made = made or self.one
        expected = (scale or self.scale) * (made.seen.primary + made.scatter)
        return made.seen.empty.with_counts(np.random.default_rng([0, 23]).poisson(expected).astype(np.float32))

    def network(self, given: Projections) -> EstimatedScatter:
        return estimated_scatter(given, self.one.seen.ct, method="network")

    def features(self, made: Scan | None = None, scale: float | None = None) -> dict[str, float]:
        empty = (made or self.one).seen.empty
        water = water_mm((made or self.one).seen.ct, empty)
        return features(self.noisy(made, scale).counts, water, empty.radii_mm, empty.pixel_mm, empty.windows)


def register(judge: Judge) -> None:
    """Register all rows of a network."""
    beside(judge, f"earns: NRMSE of the scatter, beside {judge.words[judge.best]}", judge.best, nrmse)
    usual = judge.words[judge.classical]
    beside(judge, f"earns: error of organ activity, beside {usual}", judge.classical, organ_error, True)
    beside(judge, f"error of organ activity, beside {judge.words['fitted']}", "fitted", organ_error, True)
    for method in (judge.classical, "fitted"):
        words = judge.words[method]
        beside(judge, f"error of lesion activity, beside {words}", method, lesion_error, True)
        beside(judge, f"error of the total scatter, beside {words}", method, total_error)
    for method, words in judge.words.items():
        if method != judge.best:
            beside(judge, f"NRMSE of the scatter, beside {words}", method, nrmse)
    _targets(judge, usual)
    _safety(judge)
    _others(judge)
    _cost(judge)


def beside(judge: Judge, words: str, method: str, figure, images: bool = False) -> None:
    unit, source = ("relative", OSEM) if images else ("relative" if "total" in words else "1", SIMULATED)
    check(f"{judge.name}/{words}", unit, BELOW, source)(lambda: judge.row(figure, method, images))


def _targets(judge: Judge, usual: str) -> None:
    both = ("network", judge.classical)

    @check(f"{judge.name}/target: largest mean error of organs in a scan, network and {usual}",
           "relative", "network 0.05", OSEM)  # fmt: skip
    def largest():
        own, other = (float(np.nanmax([organ_error(s, m) for s in judge.scans(True)])) for m in both)
        return [own, other], own <= 0.05

    @check(f"{judge.name}/target: organs within 5 % of true scatter's, network and {usual}", "1", "network all", OSEM)
    def inside():
        errors = (np.concatenate([organ_errors(s, m) for s in judge.scans(True)]) for m in both)
        own, other = (float(np.mean(found <= 0.05)) for found in errors)
        return [own, other], own >= 1.0

    @check(f"{judge.name}/statistical error of the true scatter",
           "of its rms", "at most 0.05", "two halves of each test scan")  # fmt: skip
    def noise_of_the_truth():
        value = float(np.mean([s.truth_noise for s in judge.scans(False)]))
        return value, value <= 0.05


def _safety(judge: Judge) -> None:
    @check(f"{judge.name}/safety: doubled counts", "relative", "1e-5", "all counts over their mean")
    def doubled():
        noisy = judge.noisy()
        one, two = (judge.network(noisy.with_counts(k * noisy.counts)).estimate.counts for k in (1, 2))
        worst = float(np.abs(two - 2 * one).max() / one.max())
        return worst, worst <= 1e-5

    @check(f"{judge.name}/safety: scatter found in a scan without any, of the peak",
           "1", "at most 0.02", "primary counts alone")  # fmt: skip
    def none_to_find():
        counts = np.random.default_rng(3).poisson(judge.scale * judge.one.seen.primary).astype(np.float32)
        found = judge.network(judge.one.seen.empty.with_counts(counts)).estimate.counts
        value = float(found.sum(dtype=float) / counts[0].sum(dtype=float))
        return value, value <= 0.02

    @check(f"{judge.name}/sd: pixels within 1.96 sd", "1", "0.85 to 0.99", "a test scan")
    def sd_covers():
        found = judge.network(judge.noisy())
        away = np.abs(found.estimate.counts - judge.scale * judge.one.scatter[0])
        value = float((away < 1.96 * found.sd).mean())
        return value, 0.85 <= value <= 0.99


def _others(judge: Judge) -> None:
    def few(seed: int) -> Judged:
        make = lambda: judged(test_scan(judge.nuclide, seed), judge.least_scale / 3, seed, images=False)
        return remembered(judge.nuclide, f"few-{seed}", make)

    usual = judge.words[judge.classical]

    @check(f"{judge.name}/other: a third of the least counts in training, NRMSE beside {usual}",
           "1", BELOW, SIMULATED)  # fmt: skip
    def other_counts():
        seen = [few(seed) for seed in judge.faint]
        result = compared(seen, nrmse, judge.classical)
        return result.values(), result.better()

    @check(f"{judge.name}/range: unlike scans flagged, like ones flagged",
           "1", "all, at most an eighth", "limits of the card")  # fmt: skip
    def unlike_scans_are_flagged():
        limits = load_weights(RECIPES[judge.nuclide]).limits
        seeds = range(TEST_FROM, TEST_FROM + judge.tests)
        like = [bool(outside(limits, judge.features(test_scan(judge.nuclide, s)))) for s in seeds]
        changes = ({"peak window from keV": judge.other_keV}, {"pixel_mm": 4.0}, {"mean radius_mm": 300.0})
        faintest = judge.features(test_scan(judge.nuclide, judge.faint[0]), judge.least_scale / 6)
        far = [faintest, *(judge.features() | change for change in changes)]
        unlike = [bool(outside(limits, one)) for one in far]
        return [np.mean(unlike), np.mean(like)], bool(all(unlike) and np.mean(like) <= 1 / 8)


def _cost(judge: Judge) -> None:
    @check(f"{judge.name}/seconds of a scan", "s", "30", "30 views of 64 x 88")
    def seconds():
        noisy = judge.noisy()
        taken = cost.timed(lambda: judge.network(noisy))
        return taken, taken <= 30

    @check(f"{judge.name}/peak memory", "MB", "2000", "of a process that estimates 30 views")
    def memory():
        windows = "WINDOWS_90Y" if judge.nuclide == "90Y" else "()"
        program = (
            "import numpy as np; from imaging.networks.scatter import WINDOWS_90Y, estimated_scatter\n"
            "from imaging.geometry import Volume; from imaging.scanner.protocol import Protocol\n"
            "ct = Volume(np.zeros((64, 60, 60)) - 0.0, np.diag([6.0, 6.0, 6.0, 1.0])); ct.array[:, :8] = -1000\n"
            f"given = dict(views=30, matrix=(64, 88), pixel_mm=6.0, energy_windows={windows})\n"
            f"p = Protocol('{judge.nuclide}', 20.0, **given).acquisition()\n"
            "p = p.with_counts(np.random.default_rng(0).poisson(5.0, p.counts.shape))\n"
            "estimated_scatter(p, ct, method='network')"
        )
        peak = cost.peak_megabytes(program)
        return peak, peak <= 2000
