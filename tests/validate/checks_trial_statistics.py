"""Statistics of virtual trials: power against closed forms, coverage of paired intervals, survival of a worked example.

The worked example is Freireich's trial of 6-mercaptopurine (Blood 1963;21:699), with the numbers that R's `survfit` and
`survdiff` give for it in teaching texts.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import norm

from tests.validate import check
from twin.policies.intervals import wilson
from twin.trial import power
from twin.trial import statistics_sums as sums
from twin.trial import survival as km

Z = norm.ppf(0.975)
TRIALS, PATIENTS = 1000, 150
NORMAL = "normal approximation, statistics textbooks"
FREIREICH = "Freireich 1963 as in R's survival package (survfit, survdiff)"
COHEN = "Cohen, Psychol Bull 1992;112:155, table 2 (recalled)"
WEEKS = np.array([6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 35.0])
RELAPSED = np.arange(21) < 9
PLACEBO = np.array([1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23.0])


def groups(effect: float) -> list[np.ndarray]:
    """Two arms of many standard normal patients, the second higher by `effect`."""
    values = np.random.default_rng(5).normal(size=100_000)
    values = (values - values.mean()) / values.std()
    return [values[None], values[None] + effect]


@check("trial/statistics/power of a mean, 40, 80 and 160 an arm", "share", "0.03 of the closed form", NORMAL)
def power_of_means():
    sizes, rng = np.array([40, 80, 160]), np.random.default_rng(6)
    found = np.array([power._share_found("mean", groups(0.35), int(n), 8000, rng) for n in sizes])
    return found, bool(np.all(np.abs(found - norm.cdf(0.35 * np.sqrt(sizes / 2) - Z)) < 0.03))


@check("trial/statistics/power of a share, 100 and 200 an arm", "share", "0.03 of the closed form", NORMAL)
def power_of_shares():
    sizes, rng, (p, q) = np.array([100, 200]), np.random.default_rng(7), (0.25, 0.4)
    arms = [np.array([[1.0] * int(100 * s) + [0.0] * int(100 * (1 - s))]) for s in (p, q)]
    found = np.array([power._share_found("share", arms, int(n), 40_000, rng) for n in sizes])
    pooled = np.sqrt((p + q) * (1 - (p + q) / 2))
    expected = norm.cdf(((q - p) * np.sqrt(sizes) - Z * pooled) / np.sqrt(p * (1 - p) + q * (1 - q)))
    return found, bool(np.all(np.abs(found - expected) < 0.03))


@check("trial/statistics/patients an arm for a medium effect, 80 %", "patients", "64 within 3", COHEN)
def medium_effect():
    sizes, rng = np.array([32, 48, 64, 80, 96]), np.random.default_rng(8)
    found = np.array([power._share_found("mean", groups(0.5), int(n), 8000, rng) for n in sizes])
    value = power.needed_for(sizes, found)
    return value, abs(value - 64) <= 3


@check("trial/statistics/negative control: power where arms are alike", "share", "0.05 within 0.01", NORMAL)
def no_effect():
    value = power._share_found("mean", groups(0.0), 60, 20_000, np.random.default_rng(9))
    return value, abs(value - 0.05) < 0.01


def share_that_holds(paired: bool) -> float:
    """Simulated trials whose 95 % interval of the mean difference holds the truth, with skewed patients."""
    rng, held = np.random.default_rng(10), 0
    for trial in range(TRIALS):
        person = rng.lognormal(0, 0.6, PATIENTS)
        one, other = (person * rng.lognormal(0, 0.1, PATIENTS) for _ in range(2))
        gap = 1.2 * other - one
        truth = 0.2 * np.exp(0.6**2 / 2 + 0.1**2 / 2)
        if paired:
            low, high = (float(x[0]) for x in _ends(gap, trial))
        else:
            error = np.sqrt(one.var() + (1.2 * other).var()) / np.sqrt(PATIENTS)
            low, high = gap.mean() - Z * error, gap.mean() + Z * error
        held += low <= truth <= high
    return held / TRIALS


def _ends(gap: np.ndarray, seed: int):
    return sums.bootstrap_means(gap[None], seed)


@check("trial/statistics/paired 95 % intervals that hold the truth", "share", "0.92 to 0.97", "1000 simulated trials")
def coverage():
    value = share_that_holds(paired=True)
    return value, 0.92 <= value <= 0.97


@check(
    "trial/statistics/negative control: the same as of separate groups", "share", "above 0.99", "1000 simulated trials"
)
def coverage_unpaired():
    value = share_that_holds(paired=False)
    return value, value > 0.99


@check(
    "trial/statistics/paired shares: intervals that hold the truth", "share", "0.93 to 0.98", "4000 simulated trials"
)
def coverage_of_shares():
    rng, held, chances = np.random.default_rng(11), 0, np.array([0.15, 0.12, 0.04, 0.69])
    for _ in range(4000):
        _, low, high = sums.paired_share(*rng.multinomial(PATIENTS, chances).astype(float))
        held += low <= 0.08 <= high
    return held / 4000, 0.93 <= held / 4000 <= 0.98


@check("trial/statistics/Wilson's interval of 81 of 263", "share", "0.2553 and 0.3662 within 5e-5",
       "Newcombe, Stat Med 1998;17:857 (recalled)")  # fmt: skip
def wilsons():
    value = wilson(81, 263)
    return value, bool(np.allclose(value, (0.2553, 0.3662), atol=5e-5))


@check("trial/statistics/Kaplan-Meier after 6, 7, 10, 13, 16, 22 and 23 weeks", "share",
       "0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448 within 5e-4", FREIREICH)  # fmt: skip
def worked_curve():
    tally = km.Tally.of(WEEKS, RELAPSED)
    value = km.kaplan_meier(tally).survival[tally.deaths > 0]
    return value, bool(np.allclose(value, [0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448], atol=5e-4))


@check("trial/statistics/medians with the drug and with placebo", "weeks", "23 and 8", FREIREICH)
def worked_medians():
    tallies = (km.Tally.of(WEEKS, RELAPSED), km.Tally.of(PLACEBO, np.ones(21)))
    value = [km.median(km.kaplan_meier(tally))[0] for tally in tallies]
    return value, value == [23.0, 8.0]


@check("trial/statistics/log-rank chi-squared and p", "1", "16.8 within 0.05 and 4.17e-5 within 1 %", FREIREICH)
def worked_test():
    chi2, p = km.log_rank(km.Tally.of(WEEKS, RELAPSED), km.Tally.of(PLACEBO, np.ones(21)))
    return [chi2, p], abs(chi2 - 16.8) < 0.05 and abs(p / 4.17e-5 - 1) < 0.01
