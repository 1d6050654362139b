"""One patient's place in a population: his parameters and their drift as one vector, and its distribution given the
levels.

The vector x of a patient holds the fitted log offsets as they stand in his first cycle and, for each later cycle that
was measured, the change since the cycle before (of the kinds that drift: `sequential`). Cycle c sees theta_c = A_c x.
Given the levels phi = (mu, log scale of each spread, logit of the lesions' correlation, log factor of each error),

    x ~ N(X mu, Omega(phi) + E),   Omega_kl = base_kl scale_k scale_l,

base being the tables' covariance, in which the entries between two lesions are spread^2 times their correlation.
Derivatives are written out, as a normal's are short: d log p = 1/2 tr(dV (V^-1 M V^-1 - V^-1)), M the second moment
about the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.special import expit, logit

from calibration.parameters import Prior
from calibration.population_groups import Table, constant, group_of, is_lesions
from calibration.sequential import DRIFTING, drift_covariance
from dose.regions import is_tumour

DRIFTS = ("drift/organs", "drift/tumours")
"""Spreads of the change from one cycle to the next (`noise.csv`: drift)."""
ERRORS = ("SPECT/organs", "SPECT/tumours", "PET/organs", "PET/tumours")
"""Proportional errors that a cohort may estimate; a modality that is not said counts as SPECT."""


@dataclass(frozen=True)
class Levels:
    """Names of the entries of phi, in its order: typical values, scales (groups, then drifts), correlations, errors."""

    groups: tuple[str, ...]
    lesions: tuple[str, ...]
    with_errors: bool

    @classmethod
    def of(cls, table: Table, with_errors: bool) -> Levels:
        return cls(table.groups, tuple(g for g in table.groups if is_lesions(g)), with_errors)

    @property
    def scales(self) -> tuple[str, ...]:
        return (*self.groups, *DRIFTS)

    @property
    def slices(self) -> tuple[slice, slice, slice, slice]:
        ends = np.cumsum([0, len(self.groups), len(self.scales), len(self.lesions), len(ERRORS) * self.with_errors])
        first, second, third, fourth = (slice(int(a), int(b)) for a, b in zip(ends, ends[1:], strict=False))
        return first, second, third, fourth

    @property
    def size(self) -> int:
        return self.slices[-1].stop

    def split(self, phi: np.ndarray) -> list[np.ndarray]:
        return [phi[s] for s in self.slices]

    def information(self, table: Table) -> np.ndarray:
        """Inverse covariance [level, level] of the hyper-prior, which is normal about zero."""
        out = np.zeros((self.size, self.size))
        means, scales, shares, errors = self.slices
        out[means, means] = np.linalg.inv(table.typical)
        for part, name in ((scales, "spread_log_sd"), (shares, "share_logit_sd"), (errors, "error_log_sd")):
            rows = range(part.start, part.stop)
            out[rows, rows] = 1 / constant(name) ** 2
        return out


@dataclass(frozen=True)
class Member:
    """`mean_of` [state, group] is X; `scale_of` [state] indexes the scales; `base` [state, state] is Omega by the
    tables; `share_of` [state, state] indexes the lesions' correlations (-1: none) and `share` [correlation] has their
    logits by the tables; `extra` [state] is E; `stages` [stage, parameter, state] are the A_c."""

    names: tuple[str, ...]
    mean_of: np.ndarray
    scale_of: np.ndarray
    base: np.ndarray
    share_of: np.ndarray
    share: np.ndarray
    extra: np.ndarray
    stages: np.ndarray

    def spread(self, levels: Levels, phi: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Omega without E, and spread_k spread_l where two lesions' correlation stands (0 elsewhere)."""
        _, scale, share, _ = levels.split(phi)
        factor = np.exp(scale)[self.scale_of]
        sd = np.sqrt(np.diag(self.base)) * factor
        lesions = np.where(self.share_of >= 0, np.outer(sd, sd), 0.0)
        correlation = expit(self.share + share)[self.share_of] if len(share) else 0.0
        return np.where(self.share_of >= 0, lesions * correlation, self.base * np.outer(factor, factor)), lesions

    def covariance(self, levels: Levels, phi: np.ndarray) -> np.ndarray:
        return self.spread(levels, phi)[0] + np.diag(self.extra)

    def gradient(self, levels: Levels, phi: np.ndarray, mean: np.ndarray, moment: np.ndarray) -> np.ndarray:
        """Derivative [level] of the expected log density of x, with `mean` [state] of x less its centre and the second
        `moment` [state, state] about that centre."""
        omega, lesions = self.spread(levels, phi)
        inverse = np.linalg.inv(omega + np.diag(self.extra))
        out, (means, scales, shares, _) = np.zeros(levels.size), levels.slices
        out[means] = self.mean_of.T @ inverse @ mean
        pull = inverse @ moment @ inverse - inverse
        out[scales] = np.bincount(self.scale_of, np.sum(omega * pull, axis=1), len(levels.scales))
        together = expit(self.share + phi[shares])
        inside = self.share_of >= 0
        sums = np.bincount(self.share_of[inside], (lesions * pull)[inside], len(levels.lesions))
        out[shares] = 0.5 * sums * together * (1 - together)
        return out


def lesion_logits(table: Table, prior: Prior) -> dict[str, float]:
    """Logit of the correlation between two lesions by the tables, of each group that a patient has two of."""
    omega, _ = table.between(prior)
    groups, out = [group_of(n) for n in prior.names], {}
    for name in dict.fromkeys(g for g in groups if is_lesions(g) and groups.count(g) > 1):
        first, second = [k for k, g in enumerate(groups) if g == name][:2]
        out[name] = float(logit(omega[first, second] / omega[first, first]))
    return out


def member(table: Table, levels: Levels, prior: Prior, fitted: np.ndarray, cycles: tuple[int, ...]) -> Member:
    """The member whose `fitted` parameters (indices into the prior's) were seen in therapy `cycles`, in order."""
    names = tuple(prior.names[k] for k in fitted)
    moving = [k for k, name in enumerate(names) if name.split("/")[0] in DRIFTING]
    later, size = len(cycles) - 1, len(names)
    total = size + later * len(moving)
    omega, own = table.between(prior)
    base = np.zeros((total, total))
    base[:size, :size] = omega[np.ix_(fitted, fitted)]
    mean_of, extra = np.zeros((total, len(table.groups))), np.zeros(total)
    mean_of[:size], extra[:size] = table.membership(names), own[fitted]
    groups = [group_of(name) for name in names]
    scale_of = [levels.scales.index(g) for g in groups]
    stages = [np.eye(size, total)]
    for k in range(later):
        own_drift = slice(size + k * len(moving), size + (k + 1) * len(moving))
        change = drift_covariance(names, cycles[k + 1] - cycles[k])[np.ix_(moving, moving)]
        base[own_drift, own_drift] = change
        scale_of += [levels.scales.index(DRIFTS[is_tumour(names[m].split("/")[1])]) for m in moving]
        step = np.zeros((size, total))
        step[moving, range(own_drift.start, own_drift.stop)] = 1.0
        stages.append(stages[-1] + step)
    share_of = np.full((total, total), -1)
    for a in range(size):
        for b in range(size):
            if a != b and groups[a] == groups[b] and groups[a] in levels.lesions:
                share_of[a, b] = levels.lesions.index(groups[a])
    logits = lesion_logits(table, prior)
    share = np.array([logits.get(g, 0.0) for g in levels.lesions])
    return Member(names, mean_of, np.array(scale_of), base, share_of, share, extra, np.stack(stages))
