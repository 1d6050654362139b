"""An estimated population, and what it says of a new patient, a new lesion, a next cycle."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np
from scipy.special import expit

from calibration.belief import Belief
from calibration.parameters import Prior
from calibration.population_groups import Table, constant, group_of
from calibration.population_members import DRIFTS, lesion_logits
from calibration.posterior import Z90
from calibration.sequential import drift_covariance
from calibration.sequential import extended as extended_by
from dose.errors import InputError, describe, nearest
from dose.provenance import numbers_of
from dose.regions import is_tumour


@dataclass(frozen=True)
class Population:
    """Typical values and spreads of the log offsets from a ligand table's medians, of the groups a cohort informed.

    Of each of `groups` ("release/kidneys"): `shift_log`, the typical value's log offset, `shift_covariance`
    [group, group] its doubt (a camera's calibration included), `spread_log` the log sd between patients and `spread_se`
    the standard error of that sd's logarithm. `together` [lesions] is the correlation between lesions of one patient,
    of the groups `lesions`; `together_se` that of its logit. `drift` multiplies the change from cycle to cycle of
    noise.csv and `drift_se` is its log's standard error; both are empty where no patient had two cycles. `errors`
    multiplies noise.csv's proportional errors; empty where that was not asked. `tables` is the fingerprint of the table
    that the offsets refer to.
    """

    ligand: str
    tables: str
    patients: int
    groups: tuple[str, ...]
    shift_log: np.ndarray
    shift_covariance: np.ndarray
    spread_log: np.ndarray
    spread_se: np.ndarray
    lesions: tuple[str, ...]
    together: np.ndarray
    together_se: np.ndarray
    drift: dict[str, float] = field(default_factory=dict)
    drift_se: dict[str, float] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    rounds: int = 0
    converged: bool = True
    notes: tuple[str, ...] = ()

    @property
    def shift_se(self) -> np.ndarray:
        """Standard error of each typical value's log offset, [group]."""
        return np.sqrt(np.diag(self.shift_covariance))

    def index(self, group: str) -> int:
        """Place of a group.

        Raises:
            InputError: the cohort informed no such group; the nearest is named.
        """
        if group not in self.groups:
            do = (
                f"did you mean {nearest(group, self.groups)}?"
                if nearest(group, self.groups)
                else "ask for one of these"
            )
            raise InputError(describe("population: group", repr(group), ", ".join(self.groups) or "none", do))
        return self.groups.index(group)

    def interval90(self, group: str) -> tuple[float, float]:
        """90 % interval of the factor by which a group's typical value differs from the table's median."""
        k = self.index(group)
        middle, half = self.shift_log[k], Z90 * self.shift_se[k]
        return float(np.exp(middle - half)), float(np.exp(middle + half))

    def belief(self, prior: Prior) -> Belief:
        """What is known of a new patient of this population: its typical values with their doubt, and its spread.

        Groups that the cohort knew nothing of follow from it where the tables correlate them, and are the tables' else.
        """
        table = Table.of([prior], self.ligand)
        typical = self._typical(table)
        x = table.membership(prior.names)
        covariance = self._between(table, prior) + x @ typical.covariance @ x.T
        return Belief(prior.names, len(prior.names), x @ typical.mean, covariance)

    def draw(self, prior: Prior, patients: int, rng: np.random.Generator) -> np.ndarray:
        """Log offsets [patient, parameter] of virtual patients, about the best estimate of the typical values."""
        table = Table.of([prior], self.ligand)
        centre = table.membership(prior.names) @ self._typical(table).mean
        return rng.multivariate_normal(centre, self._between(table, prior), size=patients, method="eigh")

    def extended(self, belief: Belief, prior: Prior) -> Belief:
        """`belief` over all parameters of `prior`; a lesion that is new follows from the patient's others as lesions of
        this population do (`sequential.extended`, about this population's centre)."""
        fresh = self.belief(prior)
        centre = dict(zip(fresh.names, fresh.mean, strict=True))
        old = np.array([centre.get(name, 0.0) for name in belief.names])
        moved = extended_by(replace(belief, mean=belief.mean - old), replace(prior, covariance=fresh.covariance))
        return replace(moved, mean=moved.mean + np.array([centre.get(name, 0.0) for name in moved.names]))

    def drifted(self, belief: Belief, cycles_apart: int) -> Belief:
        """What is known some cycles later: widened by the cohort's drift, or the tables' where none was estimated.

        The variance is the expected one given the drift's own doubt, exp(2 se^2) times the square of its estimate.
        """
        kinds = [DRIFTS["/" in n and is_tumour(n.split("/")[1])] for n in belief.names[: belief.parameters]]
        factor = np.array([self._drift_factor(kind) for kind in kinds] + [1.0] * len(belief.errors))
        change = drift_covariance(belief.names, cycles_apart) * np.outer(factor, factor)
        return replace(belief, covariance=belief.covariance + change)

    def _drift_factor(self, kind: str) -> float:
        return self.drift[kind] * float(np.exp(self.drift_se[kind] ** 2)) if self.drift else 1.0

    def _typical(self, table: Table) -> Belief:
        """The typical values of a table's groups, those of this population where it has them."""
        hyper = Belief(table.groups, len(table.groups), np.zeros(len(table.groups)), table.typical)
        mine = [self.index(g) for g in table.groups if g in self.groups]
        known = hyper.index([self.groups[k] for k in mine])
        return hyper.updated(known, self.shift_log[mine], self.shift_covariance[np.ix_(mine, mine)])

    def _between(self, table: Table, prior: Prior) -> np.ndarray:
        """Covariance [parameter, parameter] between patients of this population, a patient's own GFR included."""
        omega, own = table.between(prior)
        mine = dict(zip(self.groups, self.spread_log, strict=True))
        factor = {g: mine.get(g, sd) / sd for g, sd in zip(table.groups, table.spread_log, strict=True)}
        groups = [group_of(name) for name in prior.names]
        scale = np.array([factor[g] for g in groups])
        omega = omega * np.outer(scale, scale)
        for g, correlation in zip(self.lesions, self.together, strict=True):
            mine = [k for k, name in enumerate(groups) if name == g]
            variance = omega[mine, mine]
            block = correlation * np.sqrt(np.outer(variance, variance))
            omega[np.ix_(mine, mine)] = block + np.diag(variance * (1 - correlation))
        return omega + np.diag(own)


def tabled(prior: Prior, ligand_name: str) -> Population:
    """The population of the tables themselves, every group of a patient's prior named: to make others of, by
    `dataclasses.replace`, for virtual patients."""
    table = Table.of([prior], ligand_name)
    logits = lesion_logits(table, prior)
    return Population(
        ligand=table.ligand,
        tables=numbers_of("pbpk", "ligands.csv"),
        patients=0,
        groups=table.groups,
        shift_log=np.zeros(len(table.groups)),
        shift_covariance=table.typical,
        spread_log=table.spread_log,
        spread_se=np.full(len(table.groups), constant("spread_log_sd")),
        lesions=tuple(logits),
        together=expit(np.array(list(logits.values()))),
        together_se=np.full(len(logits), constant("share_logit_sd")),
    )
