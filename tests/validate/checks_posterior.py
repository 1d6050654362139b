"""The posterior's honesty: ranks and coverage of simulated patients, twins made before therapy, NUTS and its rivals."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import numpy as np

from calibration import noise
from calibration.observations import Observations
from calibration.parameters import between_patients
from calibration.scores import uniformity
from pbpk.administration import Administration
from tests import synthetic
from tests import synthetic_cohort as cohort
from tests.validate import check

PATIENTS = 1000
LEVEL = 0.01
TOO_NARROW = 0.7


@cache
def _simulated():
    return cohort.well_specified(PATIENTS)


def _least_p(narrowing: float) -> float:
    """Least p-value over parameters times their number (Bonferroni)."""
    ranks = _simulated().parameter_ranks(narrowing)
    return min(1.0, len(ranks) * min(uniformity(r) for r in ranks))


@check(
    "posterior/ranks of every parameter",
    unit="p, Bonferroni",
    tolerance="above 0.01",
    source=f"SBC, {PATIENTS} patients",
)
def ranks_uniform():
    p = _least_p(1.0)
    return p, p > LEVEL


@check(
    "posterior/ranks negative control", unit="p, Bonferroni", tolerance="below 0.01", source="posterior narrowed by 0.7"
)
def ranks_of_a_narrow_posterior():
    p = _least_p(TOO_NARROW)
    return p, p < LEVEL


def _coverage(k: int, narrowing: float = 1.0) -> float:
    rank = _simulated().dose_ranks(narrowing)[k]
    return 100 * float(np.mean((rank >= 0.05) & (rank <= 0.95)))


def _covered(k: int):
    name = cohort.QUANTITIES[k]
    source = f"{PATIENTS} virtual patients, three SPECT"

    @check(f"posterior/coverage of {name} dose", unit="%", tolerance="88 to 92", source=source)
    def covers():
        return _coverage(k), 88 <= _coverage(k) <= 92

    @check(f"posterior/coverage negative control {name}", unit="%", tolerance="below 88", source="narrowed by 0.7")
    def covers_too_little():
        return _coverage(k, TOO_NARROW), _coverage(k, TOO_NARROW) < 88

    @check(f"posterior/ranks of {name} dose", unit="p", tolerance="above 0.01/3", source=source)
    def dose_ranks():
        p = uniformity(_simulated().dose_ranks()[k])
        return p, p > LEVEL / len(cohort.QUANTITIES)


for _k in range(len(cohort.QUANTITIES)):
    _covered(_k)


@check("posterior/patients whose weights are trusted", unit="%", tolerance="above 75", source="Pareto k below 0.7")
def trusted():
    share = 100 * float(np.mean(_simulated().corrected))
    return share, share > 75


@cache
def _three_ways():
    """Means and sds [parameter] of one virtual patient by Laplace, importance weights and NUTS; and the chains."""
    from calibration.belief import Belief
    from calibration.fit import fit
    from calibration.importance import weighted
    from calibration.sampler import nuts
    from twin.body import body_of

    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(60))
    body = body_of(study)
    fitted = fit(body.courses, study.observations, Belief.of(body.prior))
    drawn = weighted(fitted.experiment, fitted.problem, fitted.optimum, np.random.default_rng(0))
    mean, covariance = drawn.moments(0)
    lower, chains = fitted.problem.cholesky, nuts(fitted)
    flat = chains.offsets.reshape(-1, len(mean))
    weights = (fitted.problem.mean + lower @ mean, np.sqrt(np.diag(lower @ covariance @ lower.T)))
    laplace = (fitted.offsets, np.sqrt(np.diag(fitted.laplace)))
    return {"laplace": laplace, "importance": weights, "nuts": (flat.mean(axis=0), flat.std(axis=0))}, chains


def _against_nuts(method: str, most_mean: float, most_sd: float):
    said = f"means within {most_mean} sd, sds within {100 * most_sd:.0f} %"

    @check(f"posterior/NUTS beside {method}", unit="sd, %", tolerance=said, source="worst of all parameters")
    def close():
        found, _ = _three_ways()
        (mean, sd), (true_mean, true_sd) = found[method], found["nuts"]
        away, wide = np.max(np.abs(mean - true_mean) / true_sd), 100 * np.max(np.abs(sd / true_sd - 1))
        return [round(float(away), 3), round(float(wide), 1)], bool(away < most_mean and wide < 100 * most_sd)

    return close


_against_nuts("importance", 0.2, 0.15)
_against_nuts("laplace", 0.4, 0.25)


@check(
    "posterior/NUTS diagnostics", unit="R-hat, ESS, divergences", tolerance="below 1.01, above 400, none", source="own"
)
def sampler():
    d = _three_ways()[1].diagnostics
    least = min(d["ess_bulk"], d["ess_tail"])
    row = [round(d["rhat"], 4), round(least), int(d["divergences"])]
    return row, bool(d["rhat"] < 1.01 and least > 400 and d["divergences"] == 0)


FOLLOWED = 20


@cache
def _forecasts():
    """Ledgers of virtual patients whose second cycle, seen by the same camera, was forecast from the first."""
    from calibration.sequential import drift_covariance
    from twin.body import body_of
    from twin.ledger import entries_of
    from twin.verbs import calibrate

    rng, second = np.random.default_rng(5), Administration(2, 1008.0, 7400.0, 90.0, 0.0, "PSMA-617", "177Lu")
    first_scans = cohort.template(synthetic.REGIONS)
    scans = first_scans.join(cohort.template(synthetic.REGIONS, (24.0, 168.0), "SPECT", 2))
    study = synthetic.empty_study()
    both = replace(study, administrations=(*study.administrations, second))
    body, errors, entries = body_of(both), noise.errors(scans), []
    q = drift_covariance(body.prior.names, 1)
    draw = lambda covariance: rng.multivariate_normal(np.zeros(len(covariance)), covariance, method="eigh")
    for _ in range(FOLLOWED):
        begin = draw(body.prior.covariance)
        each = {1: begin, 2: begin + draw(q)}
        exact = np.concatenate([cohort.shown(body, scans.of_cycle(c), each[c][None])[:, 0] for c in (1, 2)])
        shared = errors.shared.loads @ (errors.shared.sd * rng.standard_normal(len(errors.shared.sd)))
        noisy = exact * np.exp(shared + errors.sd * rng.standard_normal(len(scans)))
        seen = replace(scans, activity_MBq=noisy, sd_MBq=cohort.COUNTING_SD * noisy)
        twin = calibrate(replace(study, observations=seen.of_cycle(1)))
        entries += entries_of(
            replace(twin, study=replace(twin.study, administrations=both.administrations)), seen.of_cycle(2)
        )
    return entries


@check(
    "posterior/forecasts of the next cycle inside 90 %",
    unit="%",
    tolerance="82 to 97",
    source=f"{FOLLOWED} virtual patients, 10 scans each",
)
def forecast_coverage():
    from twin.ledger import score

    inside = 100 * score(_forecasts()).inside90
    return inside, 82 <= inside <= 97


@check(
    "posterior/forecasts of the next cycle, bias",
    unit="ln observed/forecast",
    tolerance="within 0.08",
    source="as above",
)
def forecast_bias():
    from twin.ledger import score

    bias = score(_forecasts()).bias
    return bias, abs(bias) < 0.08


@check(
    "posterior/forecasts of the next cycle, CRPS",
    unit="log",
    tolerance="below 0.18",
    source="log sd 0.32 known exactly",
)
def forecast_crps():
    """A perfect forecast of log sd s has CRPS s/sqrt(pi); 0.32 is a kidney drawn from the population."""
    from twin.ledger import score

    found = score(_forecasts()).crps
    return found, found < 0.32 / np.sqrt(np.pi)


# twins made before therapy, from 18F PET, as in PEERS.md 1.1
PEOPLE = 50
REGIONS = ("kidney_left", "kidney_right", "liver", "spleen", "parotid", "submandibular", "tumour_1")
EARLY_H = (5 / 60, 10 / 60, 20 / 60, 30 / 60, 45 / 60, 1.0)
PEER = {
    "early": {"parotid": (36.3, 26.2), "kidney_left": (54.7, 40.5), "tumour_1": (-14.9, 52.2)},
    "4 and 8 h": {"parotid": (7.5, 13.7), "kidney_left": (15.0, 15.5), "tumour_1": (25.7, 34.7)},
    "24 h SPECT": {},
    "72 h SPECT": {},
}
"""Mean and sd of the dose error in % of the peer (PyCNO with cluster Gauss-Newton, 18F, 50 virtual patients)."""


def _frames(times_h, modality: str = "PET", cycle: int = 0) -> Observations:
    return cohort.template(REGIONS, times_h, modality, cycle)


@cache
def _before_therapy():
    """(body, designs): 370 MBq 18F-DCFPyL two weeks before the first cycle."""
    from twin.body import body_of

    pet = Administration(0, -336.0, 370.0, 8.0, 0.0, "DCFPyL", "18F")
    study = synthetic.empty_study()
    body = body_of(replace(study, administrations=(pet, *study.administrations)))
    early = _frames(EARLY_H)
    designs = {
        "early": early,
        "4 and 8 h": early.join(_frames((4.0, 8.0))),
        "24 h SPECT": early.join(_frames((24.0,), "SPECT", 1)),
        "72 h SPECT": early.join(_frames((72.0,), "SPECT", 1)),
    }
    return body, designs


VARIED = ("kidney_left", "kidney_right", "parotid", "submandibular")
"""Organs whose density and release the peer's virtual patients draw; tumours' densities are published ones."""


def _is_varied(name: str) -> bool:
    kind, _, organ = name.partition("/")
    drawn = organ in VARIED and kind in ("receptor_density", "release")
    return drawn or (kind == "receptor_density" and organ.startswith("tumour"))


def _peers_people(prior):
    """The peer's kind of patients: density and release of kidneys and glands, densities of tumours; all else known."""
    factor = np.array([1.0 if _is_varied(name) else 0.02 for name in prior.names])
    return replace(prior, covariance=prior.covariance * np.outer(factor, factor))


def _plain_errors(seen: Observations):
    """The peer's kind of scans: counting noise alone."""
    none = noise.SharedErrors((), np.zeros(0), np.zeros((len(seen), 0)))
    return noise.Errors(np.full(len(seen), cohort.COUNTING_SD), none)


@cache
def _errors(design: str, as_peer: bool) -> dict[str, tuple[float, float]]:
    """Mean and sd in % of (predicted - true)/true dose of each region.

    Patients are of the population file, with all errors of noise.csv, the contour's in the mass among them; or
    `as_peer`, what is known of the peer's test: a few sampled parameters, and noise of the curves alone.
    """
    body, designs = _before_therapy()
    seen, people, errors = designs[design], between_patients(body.prior), None
    if as_peer:
        people, errors = _peers_people(people), _plain_errors(seen)
    true = cohort.truth(body, seen, PEOPLE, np.random.default_rng(11), prior=people, errors=errors)
    found = cohort.fitted(body, true, prior=people, errors=errors)
    error = 100 * np.expm1(np.median(found.dose_draws, axis=1) - found.dose_truth)
    return {r: (float(e.mean()), float(e.std(ddof=1))) for r, e in zip(cohort.QUANTITIES, error, strict=True)}


def _pre_therapy(design: str, region: str, as_peer: bool):
    peer = PEER[design].get(region)
    said = f"below {abs(peer[0])} and {peer[1]}" if peer else "narrower than from PET alone"
    source, kind = "PEERS.md 1.1" if peer else "own", "peer's kind of test, " if as_peer else ""

    @check(f"pre-therapy/{kind}{design} {region}", unit="% mean, sd", tolerance=said, source=source)
    def error():
        mean, sd = _errors(design, as_peer)[region]
        good = (abs(mean) < abs(peer[0]) and sd < peer[1]) if peer else sd < _errors("early", as_peer)[region][1]
        return [round(mean, 1), round(sd, 1)], bool(good)


for _as_peer in (False, True):
    for _design in PEER:
        for _region in cohort.QUANTITIES:
            _pre_therapy(_design, _region, _as_peer)
