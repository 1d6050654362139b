"""The three dose networks against Monte Carlo, beside the kernel engine on the same scenes."""

from __future__ import annotations

import time

import numpy as np

from dose.errors import InputError
from dose.gamma import gamma_index
from dose.learning.paired import paired
from dose.network.predict import NETWORKS, learned_dose
from dose.voxels import voxel
from tests.validate import ai_dose as on
from tests.validate import check
from tests.validate.ai_cost import peak_megabytes

ORGAN_TARGET = 2.0
"""Percent of mean organ dose from Monte Carlo."""

FASTER_TARGET = 50.0
NOISE = 0.02
"""Relative sd of a voxel in organs at which the Monte Carlo's time is taken."""

EARNS = "the whole 95 % interval of network less classical is below 0"


ELSEWHERE = {
    "abdomen": "real CT at 4 mm",
    "torso": "48 voxels a side",
    "spheres": "NEMA-like spheres",
    "slabs": "slabs of lung and bone, 90Y",
}


def both(name: str, figure, seeds=on.TESTS, other: str = "kernel"):
    """A figure of network and of tissue-wise kernels (or another method) on the same scenes, where the scene has it."""
    found = np.array([[figure(on.dose_of(m, s), on.case(s)) for s in seeds] for m in (name, other)])
    known, groups = np.isfinite(found).all(axis=0), np.array([on.GROUPS[on.TESTS.index(s)] for s in seeds])
    return paired(*found[:, known], groups=groups[known].tolist())


def at_interfaces(dose, one) -> float:
    return on.relative_rms(dose, one, on.interfaces(one))


def everywhere(dose, one) -> float:
    return on.relative_rms(dose, one, on.judged(one))


EARNING = (
    ("earns: voxels at lung and bone borders, rms", "%", at_interfaces),
    ("earns: organ means, mean square", "%^2", on.organ_square),
    ("organ means, rms", "%", on.organ_rms),
)
"""What decides is the mean square: it is without bias, where the root of a noisy square is not."""


def register(name: str) -> None:
    _earning(name)
    _figures(name)
    _elsewhere(name)
    _safety(name)
    _cost(name)


def _earning(name: str) -> None:
    for words, unit, figure in EARNING:

        @check(f"ai/{name}/{words}", unit=f"{unit} [network, kernels, difference, interval]", tolerance=EARNS,
               source=on.SOURCE)  # fmt: skip
        def _row(figure=figure):
            found = both(name, figure)
            return found.values(), found.better()


def _figures(name: str) -> None:
    @check(f"ai/{name}/target: organ means, rms difference; organs; left out for noise", unit="%; 1; 1",
           tolerance=f"at most {ORGAN_TARGET:g} %", source=on.SOURCE)  # fmt: skip
    def _organs():
        found = organ_squares(name)
        value = float(np.sqrt(max(found.mean(), 0.0)))
        return [value, len(found), left_out()], value <= ORGAN_TARGET

    @check(f"ai/{name}/organ means, rms difference with two standard errors over bodies", unit="%",
           tolerance=f"{ORGAN_TARGET:g}", source=on.SOURCE)  # fmt: skip
    def _surely():
        found = organ_squares(name)
        value = float(np.sqrt(max(found.mean() + 2 * standard_error(found, organ_bodies(name)), 0.0)))
        return value, value <= ORGAN_TARGET

    for words, seeds in (("the woman's body", on.BODIES), ("geometry", on.GEOMETRY), ("twelve bodies", on.SHAPES)):

        @check(f"ai/{name}/organ means of {words}: rms difference by network, kernels", unit="%", tolerance="reported",
               source=on.SOURCE)  # fmt: skip
        def _kinds(seeds=seeds):
            methods = (name, "kernel")
            found = [[d for s in seeds for d in on.organs(on.dose_of(m, s), on.case(s))] for m in methods]
            return [float(np.sqrt(max(np.mean(f), 0.0))) for f in found], True

    for nuclide, first in (("177Lu", 0), ("90Y", 1)):

        @check(f"ai/{name}/voxels, {nuclide}: rms", unit="% [network, kernels, difference, interval]",
               tolerance=EARNS, source=on.SOURCE)  # fmt: skip
        def _voxels(first=first):
            of = [seed for seed in on.TESTS if int(on.case(seed)["nuclide"]) == first]
            found = both(name, everywhere, of)
            return found.values(), found.better()

    for method, words in on.CLASSICAL.items():
        if method != "kernel":

            @check(f"ai/{name}/borders beside {words}: rms", unit="% [network, classical, difference, interval]",
                   tolerance=EARNS, source=on.SOURCE)  # fmt: skip
            def _simple(method=method):
                found = both(name, at_interfaces, other=method)
                return found.values(), found.better()

    @check(f"ai/{name}/stated sd: squared error over squared sd, median and mean; voxels within 2 sd and noise",
           unit="1", tolerance="median 0.5 to 2; share above 0.9", source=on.SOURCE)  # fmt: skip
    def _sd():
        ratios, shares = zip(*(_calibration(name, seed) for seed in on.TESTS))
        value = [float(np.median(ratios)), float(np.mean(ratios)), float(np.mean(shares))]
        return value, 0.5 <= value[0] <= 2 and value[2] > 0.9


def organ_squares(name: str) -> np.ndarray:
    """`ai_dose.organs` of all test scenes, [organ]."""
    return np.array([d for seed in on.TESTS for d in on.organs(on.dose_of(name, seed), on.case(seed))])


def organ_bodies(name: str) -> np.ndarray:
    """Of each of `organ_squares` the body that its scene is of."""
    numbers = [len(on.organs(on.dose_of(name, seed), on.case(seed))) for seed in on.TESTS]
    return np.repeat(on.GROUPS, numbers)


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Of the mean, where values of one group hang together: from the sums of departures over each group."""
    which = np.unique(groups, return_inverse=True)[1]
    sums = np.bincount(which, values - values.mean())
    n = len(sums)
    return float(np.sqrt(n / (n - 1) * np.sum(sums**2)) / len(values))


def left_out() -> int:
    """Organs of the test scenes whose truth is too noisy."""
    count = 0
    for one in (on.case(seed) for seed in on.TESTS):
        sizes = np.bincount(one["labels"][on.judged(one)].ravel())
        count += int(np.sum(sizes[1:] >= on.LEAST_VOXELS)) - len(on.organ_masks(one))
    return count


def _calibration(name: str, seed: int) -> tuple[float, float]:
    one, (dose, sd) = on.case(seed), on.answer(name, seed)
    a, b = on.runs(one)
    where = on.judged(one) & (dose > 0.05 * dose[on.judged(one)].mean())
    error = ((dose - a) * (dose - b))[where] / dose[where] ** 2
    noise = on.counting_variance(one)[where]
    within = np.abs(dose - (a + b) / 2)[where] <= 2 * np.sqrt(sd[where] ** 2 + noise / 2)
    return float(error.mean() / np.mean((sd[where] / dose[where]) ** 2)), float(within.mean())


def _elsewhere(name: str) -> None:
    for other, words in ELSEWHERE.items():

        @check(f"ai/{name}/out of distribution, {words}: organ means, rms", unit="% [network, kernels, noise]",
               tolerance=f"network at most {ORGAN_TARGET:g} %, noise at most half of it", source=on.SOURCE)  # fmt: skip
        def _row(other=other):
            one = on.other(other)
            value = [on.organ_rms(d, one) for d in (on.other_answer(name, other), on.classical_map("kernel", one))]
            noise = on.organ_noise(one)
            return [*value, noise], value[0] <= ORGAN_TARGET and noise <= ORGAN_TARGET / 2

    @check(f"ai/{name}/gamma 3 %/3 mm local across slabs of lung and bone, 90Y", unit="% passing [network, kernels]",
           tolerance="network not below kernels", source="Monte Carlo averaged along the slabs")  # fmt: skip
    def _gamma():
        one = on.other("slabs")
        truth = _profile(sum(on.runs(one)) / 2)
        options = {"dose_percent": 3.0, "distance_mm": 3.0, "normalisation": "local", "threshold_percent": 2.0}
        maps = (on.other_answer(name, "slabs"), on.classical_map("kernel", one))
        value = [gamma_index(truth, _profile(m), (4.0,) * 3, **options).pass_percent for m in maps]
        return value, value[0] >= value[1]

    @check(f"ai/{name}/flagged: 131I, 2 mm, flat voxels, metal, a thin map; each named", unit="cases of 5",
           tolerance="5", source="inputs outside the range of training")  # fmt: skip
    def _flagged():
        found = [flags(given, name) for given in outside()]
        value = sum(any("trained for" in words for words in reasons) for reasons in found)
        return value, value == 5


def flags(given: tuple, name: str) -> tuple[str, ...]:
    """What is said of an input when the network is asked for, or, where that is refused (nuclide), when it is not."""
    try:
        return learned_dose(*given, method="network", network=name).choice.reasons
    except InputError:
        return learned_dose(*given, network=name).choice.reasons


def outside() -> list[tuple]:
    """Inputs that no scene of the training resembles: tia, density, nuclide, spacing."""
    tia, density = np.ones((32, 32, 32)), np.full((32, 32, 32), 1.03)
    metal = density.copy()
    metal[10:12, 10:12, 10:12] = 7.8
    four = (4.0, 4.0, 4.0)
    return [(tia, density, "131I", four), (tia, density, "177Lu", (2.0,) * 3), (tia, density, "177Lu", (3.0, 4.0, 4.0)),
            (tia, metal, "177Lu", four), (tia[:6], density[:6], "177Lu", four)]  # fmt: skip


def _profile(dose: np.ndarray) -> np.ndarray:
    """A map whose slices hold the mean of the middle of the slabs' slices."""
    middle = dose[:, 8:-8, 8:-8].mean(axis=(1, 2))
    return np.broadcast_to(middle[:, None, None], (len(middle), 5, 5)).copy()


def _safety(name: str) -> None:
    exact = name != "dose_unet"

    @check(f"ai/{name}/doubled activity, and sum of two maps: relative error", unit="1",
           tolerance="1e-4; 1e-4" if exact else "1e-4; reported", source="dose is linear in activity")  # fmt: skip
    def _linear():
        tia, density, nuclide, spacing = on.inputs(on.case(on.TESTS[1]))
        hot = tia > 3 * tia.mean()
        maps = [learned_dose(t, density, nuclide, spacing, method="network", network=name).dose_Gy
                for t in (tia, 2 * tia, np.where(hot, tia, 0), np.where(hot, 0, tia))]  # fmt: skip
        norm = np.sqrt(np.mean(maps[0] ** 2))
        value = [float(np.sqrt(np.mean(d**2)) / norm) for d in (maps[1] - 2 * maps[0], maps[2] + maps[3] - maps[0])]
        return value, value[0] < 1e-4 and (not exact or value[1] < 1e-4)

    @check(f"ai/{name}/voxels of tissue below zero; moved by one voxel, relative rms", unit="share; 1",
           tolerance="0.01; 0.02", source="a dose is not negative; place does not matter")  # fmt: skip
    def _signs():
        below = [float(np.mean(on.dose_of(name, s)[on.judged(on.case(s))] < 0)) for s in on.TESTS]
        density, tia = np.full((40, 40, 40), 1.03), np.zeros((40, 40, 40))
        density[16:20, 10:20], tia[18:22, 16:20, 16:20] = 0.26, 1.0
        about = [(np.roll(tia, k, 0), np.roll(density, k, 0), "90Y", (4.0,) * 3) for k in (0, 1)]
        here, there = (learned_dose(*g, method="network", network=name).dose_Gy for g in about)
        here, there = here[10:28], there[11:29]
        value = [float(np.mean(below)), float(np.sqrt(np.mean((here - there) ** 2) / np.mean(here**2)))]
        return value, value[0] < 0.01 and value[1] < 0.02


def a_map() -> tuple:
    """A cube of activity beside lung, 64 voxels of 4 mm a side: what `learned_dose` is given first."""
    tia, density = np.full((64, 64, 64), 0.05), np.full((64, 64, 64), 1.03)
    tia[20:44, 20:44, 20:44], density[:20] = 1.0, 0.26
    return tia, density, "177Lu", (4.0,) * 3


def _cost(name: str) -> None:
    @check(f"ai/{name}/seconds, map of 64 voxels a side: network, Monte Carlo to {NOISE:.0%} a voxel in organs, ratio",
           unit="s; s; 1", tolerance=f"ratio at least {FASTER_TARGET:g}", source="this machine, two cores")  # fmt: skip
    def _seconds():
        given = a_map()
        learned_dose(*given, method="network", network=name)
        begin = time.perf_counter()
        learned_dose(*given, method="network", network=name)
        own = time.perf_counter() - begin
        whole = montecarlo_seconds(given, given[0] > 0.5)
        return [own, whole, whole / own], whole / own >= FASTER_TARGET

    @check(f"ai/{name}/peak memory", unit="MB", tolerance="8000", source="of a process that makes that map")
    def _memory():
        program = (
            "from dose.network.predict import learned_dose\n"
            "from tests.validate.checks_ai_dose import a_map\n"
            f"learned_dose(*a_map(), method='network', network={name!r})"
        )
        value = peak_megabytes(program)
        return value, value <= 8000


TIMED: dict[str, float] = {}
"""Monte Carlo's time is measured once for all three networks."""


def montecarlo_seconds(given, organ: np.ndarray, histories: int = 2**18) -> float:
    """Time for the voxels of an organ to have `NOISE` on average: variance goes with one over the histories."""
    if not TIMED:
        voxel(*given, engine="montecarlo", histories=histories)  # compiles
        begin = time.perf_counter()
        made = voxel(*given, engine="montecarlo", histories=histories)
        seconds = time.perf_counter() - begin
        TIMED["s"] = seconds * float(np.mean(made.relative_sd[organ] ** 2)) / NOISE**2
    return TIMED["s"]


for _name in NETWORKS:
    register(_name)
