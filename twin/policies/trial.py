"""A virtual trial: every policy on the same patients, with the same drift and the same errors of measurement."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from dose.errors import InputError, describe, nearest
from twin.constraints import Limit
from twin.policies.belief import DoseBelief, DosePrior
from twin.policies.cohort import Cohort
from twin.policies.intervals import bootstrap, wilson
from twin.policies.measure import Noise, log_error, log_error_before, measured
from twin.policies.policy import AbstractPolicy, State


@dataclass(frozen=True)
class Compared:
    """A trial's `table`, one row a policy, and what it was made of: `activity_MBq` [patient, cycle], `tumour_dose_Gy`
    [patient] (mean by mass), and by limit `total_Gy` [patient], each by the policy's name."""

    table: pd.DataFrame
    activity_MBq: dict[str, np.ndarray]
    tumour_dose_Gy: dict[str, np.ndarray]
    total_Gy: dict[str, dict[str, np.ndarray]]


def compare(
    cohort: Cohort,
    policies: Mapping[str, AbstractPolicy],
    prior: DosePrior,
    noise: Noise,
    *,
    limits: Sequence[Limit],
    reference: str,
    seed: int = 0,
    before_therapy: bool = False,
    believed: Noise | None = None,
) -> Compared:
    """Run `policies` on a cohort and compare them with the one named `reference`.

    `limits` are those whose passing is counted, in truth. With `before_therapy` the estimator has a forecast from a PET
    before the first cycle. `believed` is what it takes the errors for (default: what they are).

    Raises:
        InputError: the reference is none of the policies, a policy wants more cycles than the cohort has, or the
            estimator's regions are not the cohort's.
    """
    _check(cohort, policies, prior, reference)
    errors = np.stack([log_error(cohort, noise, c, seed) for c in range(cohort.cycles)], axis=1)
    before = log_error_before(cohort, noise, seed) if before_therapy else None
    known = beliefs(cohort, prior, believed or noise, errors, before)
    given = {name: simulated(cohort, policy, known, errors) for name, policy in policies.items()}
    tumour = {name: np.sum(cohort.tumour_dose * a, axis=1) for name, a in given.items()}
    total = {lim.name: {name: cohort.total_Gy(lim, a) for name, a in given.items()} for lim in limits}
    return Compared(_table(given, tumour, total, limits, reference, seed), given, tumour, total)


def _check(cohort: Cohort, policies: Mapping[str, AbstractPolicy], prior: DosePrior, reference: str) -> None:
    if reference not in policies:
        expected = nearest(reference, policies) or "one of " + ", ".join(policies)
        raise InputError(describe("reference", f'"{reference}"', expected, "name one of the policies"))
    for name, policy in policies.items():
        wanted = max(getattr(policy, field, 0) for field in ("cycles", "most_cycles"))
        if wanted > cohort.cycles:
            do = "make the cohort with more (virtual_cohort(cycles=...)), or shorten the policy"
            raise InputError(describe(f"policy {name}", f"{wanted} cycles", f"at most {cohort.cycles}", do))
    if prior.regions != cohort.regions:
        do = "learn the prior from a cohort of the same tracer"
        raise InputError(describe("prior: regions", f"{prior.regions}", f"{cohort.regions}", do))


def beliefs(cohort: Cohort, prior: DosePrior, noise: Noise, errors: np.ndarray, before=None) -> list[DoseBelief]:
    """The estimator's belief before each cycle and after the last, with every cycle before it measured.

    `errors` [patient, cycle, region] are those of the measurements, `before` [patient, region] that of a PET. What was
    given does not matter: dose per MBq is measured. A patient whose therapy ended has measurements here that nobody
    makes; no policy acts on them.
    """
    log = np.log(cohort.dose)
    now = DoseBelief.of(prior, noise, cohort.patients, cohort.cycles)
    found = [now if before is None else now.foreseen(log[:, 0] + before)]
    for cycle in range(cohort.cycles):
        found.append(found[-1].seen(cycle, log[:, cycle] + errors[:, cycle]))
    return found


def simulated(cohort: Cohort, policy: AbstractPolicy, known: Sequence[DoseBelief], errors: np.ndarray) -> np.ndarray:
    """Activities that a policy gives, MBq [patient, cycle]; once 0, always 0, unless the policy may pause.

    Raises:
        InputError: a policy gives something that is no activity.
    """
    given = np.zeros((cohort.patients, 0))
    for cycle in range(cohort.cycles):
        seen = measured(cohort, given, errors[:, :cycle])
        chosen = policy.activity_MBq(State(cycle, cohort.regions, given, seen, known[cycle]))
        if chosen.shape != (cohort.patients,) or not np.all(np.isfinite(chosen) & (chosen >= 0)):
            found = f"shape {chosen.shape}, {int(np.sum(~(chosen >= 0)))} values below 0 or not numbers"
            do = "correct the policy's activity_MBq"
            raise InputError(describe(type(policy).__name__, found, "one activity of 0 or more for each patient", do))
        ended = given[:, -1] == 0 if cycle and not policy.pauses else False
        given = np.column_stack([given, np.where(ended, 0.0, chosen)])
    return given


def _table(given, tumour, total, limits: Sequence[Limit], reference: str, seed: int) -> pd.DataFrame:
    gain = np.stack([tumour[name] - tumour[reference] for name in given])
    low, high = bootstrap(gain, seed)
    rows = []
    for k, (name, activity) in enumerate(given.items()):
        row = {"policy": name, "tumour_dose_Gy": tumour[name].mean(), "gain_Gy": gain[k].mean()}
        row |= {"gain_lower95_Gy": low[k], "gain_upper95_Gy": high[k]}
        row |= {"cycles": np.sum(activity > 0, axis=1).mean(), "activity_GBq": activity.sum(axis=1).mean() / 1000}
        for lim in limits:
            passed = int(np.sum(total[lim.name][name] > lim.value_Gy * (1 + 1e-9)))
            lower, upper = wilson(passed, len(activity))
            share = {"": passed / len(activity), "_lower95": lower, "_upper95": upper}
            row |= {f"passed_{lim.name}{end}": value for end, value in share.items()}
        rows.append(row)
    return pd.DataFrame(rows).set_index("policy")
