"""The levels of a population: which parameters share a typical value and a spread, and what the tables say of these.

Log offsets of patient i are theta_i = X_i mu + b_i, b_i ~ N(0, Omega_i): mu has one entry a group, a kind of
parameter in an organ ("release/kidneys", "receptor_density/tumours"), and X_i gives both kidneys and every lesion the
entry of their group. A ligand table's CV holds two widths, the doubt about its typical value and the spread between
patients; its prior covariance P splits as

    P_i = X_i M X_i' + Omega_i + E_i,

M the covariance of the typical values, E_i the error of a patient's own GFR. Without data an estimated population is
therefore the table's prior, to rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from calibration.parameters import Prior, correlated
from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk.anatomy import kind_of
from pbpk.parameters import ligand

TUMOURS = "tumours"


@cache
def _rows() -> dict[str, float]:
    return {row["name"]: float(row["value"]) for row in load_table("calibration", "population.csv")}


def constant(name: str) -> float:
    """A value of population.csv."""
    return _rows()[name]


def group_of(name: str) -> str:
    """The group of a parameter: "release/kidney_left" -> "release/kidneys", "release/tumour_2" -> "release/tumours"."""
    kind, _, organ = name.partition("/")
    if not organ:
        return kind
    if kind_of(organ) == "kidneys":
        return f"{kind}/kidneys"
    return f"{kind}/{TUMOURS if is_tumour(organ) else organ}"


def is_lesions(group: str) -> bool:
    """Whether a group is that of a patient's lesions, whose correlation is estimated."""
    return group.endswith(f"/{TUMOURS}")


@dataclass(frozen=True)
class Table:
    """What the tables say of each group of a ligand: `spread_log` [group], the log sd between patients, and
    `typical` [group, group], the covariance of the typical values' logs."""

    ligand: str
    groups: tuple[str, ...]
    spread_log: np.ndarray
    typical: np.ndarray

    @classmethod
    def of(cls, priors, ligand_name: str) -> Table:
        """Of the groups that occur in the priors of some patients."""
        total = {group_of(n): sd for p in priors for n, sd in zip(p.names, _own_log_sd(p, ligand_name), strict=True)}
        groups = tuple(total)
        sd = np.array(list(total.values()))
        typical = np.array([_typical(g, s, ligand_name) for g, s in total.items()])
        keys = [tuple(g.split("/", 1)) if "/" in g else (g, "") for g in groups]
        alike = np.array([[1.0 if a == b else _between(a, b) for b in keys] for a in keys])
        return cls(ligand_name, groups, np.sqrt(sd**2 - typical**2), alike * np.outer(typical, typical))

    def membership(self, names) -> np.ndarray:
        """X [name, group] of zeros and ones."""
        groups = [group_of(name) for name in names]
        return np.array([[float(g == mine) for g in self.groups] for mine in groups]).reshape(len(groups), -1)

    def between(self, prior: Prior) -> tuple[np.ndarray, np.ndarray]:
        """Omega [parameter, parameter] of one patient by the tables, and E, the variance [parameter] of his own GFR."""
        x = self.membership(prior.names)
        own = np.diag(prior.covariance) - _own_log_sd(prior, self.ligand) ** 2
        return prior.covariance - np.diag(own) - x @ self.typical @ x.T, own


def _own_log_sd(prior: Prior, ligand_name: str) -> np.ndarray:
    """The table's log sd [parameter]: the prior's, but for filtration, whose GFR is each patient's own."""
    phi = ligand(ligand_name).rows["phi", ""].log_sd
    return np.array([phi if n == "filtration" else sd for n, sd in zip(prior.names, prior.log_sd, strict=True)])


def _typical(group: str, total_log_sd: float, ligand_name: str) -> float:
    """Log sd of a group's typical value."""
    usual = _rows().get(f"typical {group}", np.sqrt(constant("typical_share")) * total_log_sd)
    found = _rows().get(f"typical {group} {ligand_name}", usual)
    return min(found, np.sqrt(constant("largest_typical_share")) * total_log_sd)


def _between(a: tuple[str, str], b: tuple[str, str]) -> float:
    """Correlation of two groups' typical values: glands are alike, as they are between patients."""
    unions = {"kidneys", TUMOURS, ""}
    return 0.0 if unions & {a[1], b[1]} else correlated(a, b)
