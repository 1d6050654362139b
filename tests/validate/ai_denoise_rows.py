"""The rows that the denoising networks of SPECT and of PET share: `register` makes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from dose.learning.ranges import outside
from dose.learning.recipe import Recipe
from dose.learning.weights import load_weights
from imaging.geometry import Volume
from imaging.networks.denoise import Denoised, Filter, as_volume, features
from tests.validate import ai_cost as cost
from tests.validate import ai_denoise as figures
from tests.validate import check
from tests.validate.ai_denoise import Seen, compared, seen_by_all

BELOW = "interval below 0"


@dataclass(frozen=True)
class Judge:
    """A network and the test cases that it is judged by.

    Attributes:
        call: that denoises.
        known: what the call asks beside the image, of a usual scan.
        classical: the Gaussian filter that the network is held beside.
        cases: of the test patients, made when asked for.
        simulated: what they are, in words.
        field: what one image shows, and of how many slices.
    """

    recipe: Recipe
    call: Callable[..., Denoised]
    known: Mapping[str, object]
    classical: Filter
    cases: Callable[[], Sequence[Mapping[str, np.ndarray]]]
    simulated: str
    field: tuple[str, str]

    @property
    def name(self) -> str:
        return f"ai/{self.recipe.name}"

    @property
    def source(self) -> str:
        return f"{self.simulated}, bodies of the test seeds; [network, classical, difference, low, high]"

    def quiet(self, image: Volume) -> Denoised:
        return self.call(image, **self.known, method="network")

    def network(self, image: Volume) -> np.ndarray:
        return self.quiet(image).volume.array

    def seen(self, case: Mapping[str, np.ndarray]) -> Seen:
        return seen_by_all(case, self.network, self.classical)

    @cached_property
    def tests(self) -> list[Seen]:
        return [self.seen(case) for case in self.cases()]

    @cached_property
    def images(self) -> list[Volume]:
        return [as_volume(test.case, "first") for test in self.tests]


def register(judge: Judge) -> None:
    """Register the rows of a network."""
    beside(judge, "earns: RMSE in the body", Seen.rmse)
    beside(judge, "earns: RMSE in the body, oracle Gaussian", Seen.rmse, "oracle")
    beside(judge, "RMSE in the body, non-local means", Seen.rmse, "nlm")
    beside(judge, "RMSE in kidneys", figures.in_kidneys)
    beside(judge, "RMSE in liver and spleen", figures.in_organs)
    beside(judge, "earns: error of lesion means", figures.lesion_error)
    beside(judge, "error of lesion means, image as it is", figures.lesion_error, "none")
    _targets(judge)
    _safety(judge)
    _cost(judge)


def beside(
    judge: Judge,
    words: str,
    figure: Callable[[Seen, str], float | None],
    other: str = "gaussian",
    seen: Callable[[], Sequence[Seen]] | None = None,
    source: str | None = None,
) -> None:
    """Register a figure of the network beside that of another method; on the test cases where nothing else is said."""
    unit = "relative" if "lesion means" in words else "of the mean"

    @check(f"{judge.name}/{words}", unit, BELOW, source or judge.source)
    def row():
        result = compared(seen() if seen else judge.tests, figure, other)
        return result.values(), result.better()


def invented(judge: Judge, words: str, seen: Callable[[], Sequence[Seen]]) -> None:
    """Register the mean number of false lesions in some scans."""

    @check(f"{judge.name}/safety: lesions invented {words}, network and Gaussian",
           "1", "network at most 0", judge.source)  # fmt: skip
    def none():
        own, other = (np.mean([s.false_lesions(method) for s in seen()]) for method in ("network", "gaussian"))
        return [own, other], bool(own <= 0)


def flagged(
    judge: Judge, like: Mapping[str, float], unlike: Sequence[tuple[Volume, Mapping[str, float]]], most: float
) -> tuple[list[float], bool]:
    """Parts of unlike images and of the test images that lie outside the card's range, and whether all and at most
    `most` do; each image goes with the features that it does not tell."""
    limits = load_weights(judge.recipe).limits

    def part(images) -> float:
        return float(np.mean([bool(outside(limits, features(image) | dict(more))) for image, more in images]))

    out, inside = part(unlike), part((image, like) for image in judge.images)
    return [out, inside], out == 1 and inside <= most


def _targets(judge: Judge) -> None:
    @check(f"{judge.name}/target: RMSE over that of the Gaussian",
           "1", "at most 0.5", "issue 9: half at a quarter of the counts")  # fmt: skip
    def half_the_rmse():
        result = compared(judge.tests, Seen.rmse)
        return result.network / result.classical, result.network <= 0.5 * result.classical

    @check(f"{judge.name}/target: bias of kidneys, network mean, network largest, Gaussian mean",
           "%", "at most 2 in size", judge.source)  # fmt: skip
    def kidneys_without_bias():
        own, other = (figures.kidney_biases(judge.tests, method) for method in ("network", "gaussian"))
        return [own.mean(), own[np.abs(own).argmax()], other.mean()], bool(np.abs(own).max() <= 2.0)


def _safety(judge: Judge) -> None:
    @check(f"{judge.name}/safety: three times the activity; the network without the division by the image's level",
           "relative", "1e-5",
           "departure from three times the answer: the first by construction, the second as there are no biases",
    )  # fmt: skip
    def tripled():
        image = judge.images[0]
        once, thrice = judge.network(image), judge.network(image.with_array(3 * image.array))
        by_call = float(np.abs(thrice - 3 * once).max() / once.max())
        bare = figures.departure_of_bare_network(load_weights(judge.recipe).members[0], image.array)
        return [by_call, bare], max(by_call, bare) <= 1e-5

    @check(f"{judge.name}/safety: shifted by one voxel, over the image's error",
           "1", "0.5", "rms of the difference in the body")  # fmt: skip
    def shifted():
        test, image = judge.tests[0], judge.images[0]
        moved = np.roll(judge.network(image.with_array(np.roll(image.array, 1, axis=(0, 1, 2)))), -1, axis=(0, 1, 2))
        found, body = test.images["network"], test.case["labels"] > 0
        difference, error = moved - found, found - test.case["noise_free"]
        ratio = float(np.sqrt(np.mean(difference[body] ** 2) / np.mean(error[body] ** 2)))
        return ratio, ratio <= 0.5

    @check(f"{judge.name}/sd: voxels of the body within 1.96 sd", "1", "0.85 to 0.99", judge.source)
    def sd_covers():
        found = []
        for test, image in zip(judge.tests, judge.images):
            made = judge.quiet(image)
            error = made.volume.array - test.case["noise_free"]
            found.append(figures.covered(made.sd.array, error, test.case["labels"] > 0))
        return float(np.mean(found)), 0.85 <= np.mean(found) <= 0.99


def _cost(judge: Judge) -> None:
    shown, slices = judge.field

    @check(f"{judge.name}/seconds of a {shown}", "s", "30", slices)
    def seconds():
        taken = cost.timed(lambda: judge.network(judge.images[0]))
        return taken, taken <= 30

    @check(f"{judge.name}/peak memory", "MB", "2000", "of a process that denoises 60 slices of 128 x 128")
    def memory():
        name = judge.call.__name__
        program = f"from {judge.call.__module__} import {name}\n{name}(v, **{dict(judge.known)!r}, method='network')"
        peak = cost.peak_megabytes(cost.a_scan((60, 128, 128), 5.0) + program)
        return peak, peak <= 2000
