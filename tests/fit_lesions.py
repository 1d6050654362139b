"""Fits the law of lesions to PET data again and prints its rows: `python -m tests.fit_lesions [resamples]`.

Data: ../shared/data/lesions (AutoPET-III PSMA cohort, CC BY 4.0). A virtual patient is a scan: `case_id` is a patient
with up to six scans, `series_uid` a scan. Each part is a maximum likelihood: the number of lesions (cut at MOST), log
volumes above 1 mL with a trait of the scan (Gauss-Hermite), log SUVmean with a trait of the scan (in closed form) and a
spread of its own (Gauss-Hermite). low and high: 5 % and 95 % of fits to patients drawn with replacement.

The rows of "SSTR" follow from published figures and these numbers: `sstr_rows`.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from typing import NamedTuple

import numpy as np
from scipy.optimize import brentq, minimize
from scipy.special import log_ndtr, logsumexp, ndtr, ndtri

from pbpk.lesions import MOST, LesionLaw, lesion_law, number_probabilities
from tests.runner import shared
from twin._jax import configure

REFERENCE_NUMBER, LEAST_ML, MOST_ML = 5.0, 1.0, 2500.0
NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(15)
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())
RESAMPLES = 40
POEPPEL = {"lesions": 254, "patients": 40, "suvmax": 16.0, "sd": 10.8}
LOFT = {"lesions": 822, "patients": 35}
ROTH = {"lesions": 182, "patients": 41, "least_mL": 8.0}


class Scans(NamedTuple):
    """Lesions by scan: `scan` and the three values are [lesion], `patient` is [scan]."""

    scan: np.ndarray
    volume_mL: np.ndarray
    suv: np.ndarray
    ratio: np.ndarray
    is_18f: np.ndarray
    is_ge: np.ndarray
    patient: np.ndarray

    @property
    def count(self) -> np.ndarray:
        return np.bincount(self.scan, minlength=len(self.patient))

    def sums(self, values: np.ndarray) -> np.ndarray:
        return np.bincount(self.scan, values, len(self.patient))

    def of(self, scans: np.ndarray) -> Scans:
        """The scans of these numbers, in order and as often as named."""
        order = np.argsort(self.scan, kind="stable")
        begin = np.concatenate([[0], np.cumsum(self.count)])
        at = np.concatenate([order[begin[k] : begin[k + 1]] for k in scans])
        parts = (part[at] for part in self[1:6])
        return Scans(np.repeat(np.arange(len(scans)), self.count[scans]), *parts, self.patient[scans])

    def resampled(self, rng: np.random.Generator) -> Scans:
        """As many patients, drawn with replacement, each with all scans."""
        people = np.unique(self.patient)
        drawn = rng.choice(people, len(people))
        return self.of(np.concatenate([np.flatnonzero(self.patient == p) for p in drawn]))


def data() -> Scans:
    """The lesions that the review kept.

    Raises:
        Skipped: the data are not beside this checkout.
    """
    import pyarrow.parquet as pq

    table = pq.read_table(shared("lesions/psma_lesions_autopet3.parquet")).to_pandas()
    table = table[~table.section_3_9_excluded]
    series, scan = np.unique(table.series_uid.to_numpy(str), return_inverse=True)
    patient = np.empty(len(series), int)
    patient[scan] = np.unique(table.case_id.to_numpy(str), return_inverse=True)[1]
    values = (table.volume_ml, table.suvmean, table.suvmean / table.suvmax)
    fluorine, ge = table.radionuclide.str.contains("18"), table.vendor == "GE"
    return Scans(scan, *(v.to_numpy(float) for v in (*values, fluorine, ge)), patient)


def _best(loss, start, method: str = "BFGS") -> np.ndarray:
    return minimize(loss, start, method=method, options={"maxiter": 4000}).x


def fit_number(scans: Scans, start: LesionLaw) -> dict[str, float]:
    """Share and mean of the oligometastatic, mean and shape of the others."""

    def made(x):
        return {"oligo_share": 1 / (1 + np.exp(-x[0]))} | dict(
            zip(("oligo_extra", "poly_extra", "poly_shape"), np.exp(x[1:]), strict=True)
        )

    loss = lambda x: -np.log(number_probabilities(replace(start, **made(x)))[scans.count - 1]).sum()
    begin = [
        np.log(start.oligo_share / (1 - start.oligo_share)),
        *np.log([start.oligo_extra, start.poly_extra, start.poly_shape]),
    ]
    return made(_best(loss, begin, "Nelder-Mead"))


def fit_volume(scans: Scans, start: LesionLaw) -> dict[str, float]:
    """Location, its slope with the number, and the spreads between and within scans of log volume above 1 mL."""
    log_volume, number = np.log(scans.volume_mL), np.log(scans.count / REFERENCE_NUMBER)[scans.scan]

    def loss(x):
        between, within = np.exp(x[2:])
        middle = x[0] + x[1] * number
        terms = []
        for z in NODES:
            at = middle + between * z
            density = -0.5 * ((log_volume - at) / within) ** 2 - x[3] - log_ndtr(at / within)
            terms.append(scans.sums(density))
        return -logsumexp(np.stack(terms, 1) + LOG_WEIGHTS, axis=1).sum()

    x = _best(loss, [start.volume_log, start.volume_number, *np.log([start.volume_between, start.volume_within])])
    return {
        "volume_log": x[0],
        "volume_number": x[1],
        "volume_between": np.exp(x[2]),
        "volume_within": np.exp(x[3]),
    }


def fit_uptake(scans: Scans, start: LesionLaw, covariates: np.ndarray | None = None) -> tuple[dict[str, float], ...]:
    """Parameters of log SUVmean, and the loss with the effects of `covariates` [lesion, covariate] beside them."""
    log_suv, log_volume = np.log(scans.suv), np.log(scans.volume_mL)
    number, n = np.log(scans.count / REFERENCE_NUMBER), scans.count
    other = np.zeros((len(log_suv), 0)) if covariates is None else covariates
    reference = np.log(np.median(scans.volume_mL))

    def loss(x):
        rise = np.minimum(log_volume, x[3]) - reference
        left = log_suv - x[0] - x[1] * number[scans.scan] - x[2] * rise - other @ x[8:]
        first, second, between = scans.sums(left), scans.sums(left**2), np.exp(2 * x[4])
        terms = []
        for z in NODES:
            within = np.exp(2 * (x[5] + x[6] * number + np.exp(x[7]) * z))
            whole = within + n * between
            terms.append(
                -0.5 * ((second - first**2 * between / whole) / within + (n - 1) * np.log(within) + np.log(whole))
            )
        return -logsumexp(np.stack(terms, 1) + LOG_WEIGHTS, axis=1).sum()

    begin = [
        np.log(start.reference_suv), start.uptake_number, start.uptake_volume, np.log(start.flat_mL),
        np.log(start.uptake_between), np.log(start.uptake_within), start.within_number, np.log(start.uptake_spread),
        *np.zeros(other.shape[1]),
    ]  # fmt: skip
    x = _best(loss, begin)
    names = ("reference_suv", "uptake_number", "uptake_volume", "flat_mL", "uptake_between", "uptake_within")
    values = (np.exp(x[0]), x[1], x[2], np.exp(x[3]), np.exp(x[4]), np.exp(x[5]))
    found = dict(zip(names, values, strict=True)) | {"within_number": x[6], "uptake_spread": np.exp(x[7])}
    return found, {"loss": loss(x), "effects": x[8:]}


def fitted(scans: Scans, start: LesionLaw) -> LesionLaw:
    found = fit_number(scans, start) | fit_volume(scans, start) | fit_uptake(scans, start)[0]
    fixed = {"least_mL": LEAST_ML, "most_mL": MOST_ML, "reference_number": REFERENCE_NUMBER}
    return LesionLaw(**found, **fixed, reference_mL=float(np.median(scans.volume_mL)))


def number_of_large(law: LesionLaw, least_mL: float) -> float:
    """Mean number of lesions of `least_mL` and more per patient, the bound on the total left aside."""
    n = np.arange(1, MOST + 1)[:, None]
    middle = law.volume_log + law.volume_number * np.log(n / law.reference_number) + law.volume_between * NODES
    log_share = log_ndtr((middle - np.log(least_mL)) / law.volume_within) - log_ndtr(
        (middle - np.log(law.least_mL)) / law.volume_within
    )
    return float(np.sum(number_probabilities(law)[:, None] * n * np.exp(log_share + LOG_WEIGHTS)))


def sstr_rows(law: LesionLaw, scans: Scans) -> dict[str, float]:
    """What is not taken over from PSMA: see the locators of the rows."""
    means = [report["lesions"] / report["patients"] for report in (POEPPEL, LOFT)]
    extra = np.sqrt(means[0] * means[1]) - 1
    spread = np.log1p((POEPPEL["sd"] / POEPPEL["suvmax"]) ** 2)
    whole = law.uptake_between**2 + law.uptake_within**2
    median_suvmax = POEPPEL["suvmax"] / np.exp(spread / 2)
    poly_extra = (extra - law.oligo_share * law.oligo_extra) / (1 - law.oligo_share)
    large = lambda x: number_of_large(replace(law, poly_extra=poly_extra, volume_log=x), ROTH["least_mL"])
    location = brentq(lambda x: large(x) - ROTH["lesions"] / ROTH["patients"], -5.0, 3.0)
    below = ndtr((np.log(law.least_mL) - location) / law.volume_within)
    return {
        "poly_extra": poly_extra,
        "volume_log": location,
        "reference_mL": np.exp(location + law.volume_within * ndtri((1 + below) / 2)),
        "uptake_between": law.uptake_between * np.sqrt(spread / whole),
        "uptake_within": law.uptake_within * np.sqrt(spread / whole),
        "reference_suv": median_suvmax * float(np.median(scans.ratio)),
    }


def main(resamples: int) -> None:
    scans, rng = data(), np.random.default_rng(7)
    law = fitted(scans, lesion_law("PSMA"))
    again = [asdict(fitted(scans.resampled(rng), law)) for _ in range(resamples)]
    for name, value in asdict(law).items():
        low, high = np.quantile([a[name] for a in again], [0.05, 0.95]) if again else (value, value)
        print(f"PSMA,{name},{value:.4g},{low:.4g},{high:.4g}")
    for name, value in sstr_rows(law, scans).items():
        print(f"SSTR,{name},{value:.4g}")
    beyond = 1 - number_probabilities(law, 20 * MOST)[:MOST].sum()
    print(f"more than {MOST} lesions without the bound: {100 * beyond:.2f} % of patients")
    plain = fit_uptake(scans, law)[1]["loss"]
    for name, column in (("18F against 68Ga", scans.is_18f), ("GE against Siemens", scans.is_ge)):
        found = fit_uptake(scans, law, column[:, None])[1]
        print(f"{name}: uptake x {np.exp(found['effects'][0]):.3f}, gain in log likelihood {plain - found['loss']:.1f}")


if __name__ == "__main__":
    configure()
    main(int(sys.argv[1]) if len(sys.argv) > 1 else RESAMPLES)
