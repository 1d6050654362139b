"""Which parameters move in a calibration, and their log-normal prior.

A parameter is named after its kind and organ, "release/kidney_left"; its value is the prior median times exp(offset),
and a vector of offsets is what everything downstream carries. Organs of a group (kidneys, glands, lesions) are
correlated a priori, so that one kidney's scan informs the other (calibration/data/correlations.csv).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cache

import equinox as eqx
import jax.numpy as jnp
import numpy as np

from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk import levers
from pbpk.anatomy import kind_of
from pbpk.kinetics import Kinetics
from pbpk.parameters import Covariates, Ligand, Value
from pbpk.scaling import sites_nmol_L

GLANDS = ("parotid", "submandibular", "sublingual", "lacrimal")
FIELD = {"filtration": "filtration"} | {kind: field for kind, (field, _) in levers.FIELD.items() if kind != "phi"}
"""The field of `Kinetics` that each kind of parameter scales."""
GFR_LOG_SD = {"assumed": 0.22, "measured": 0.10}
"""Spread of GFR between patients, and the error of one measured GFR (PBPK_DEFAULTS: CV 0.22, an assumption; 10 %)."""


@dataclass(frozen=True)
class Prior:
    """Names, units and medians of shape [parameter]; `covariance` [parameter, parameter] of the log offsets."""

    names: tuple[str, ...]
    unit: tuple[str, ...]
    median: np.ndarray
    covariance: np.ndarray
    sources: tuple[str, ...]

    @property
    def log_sd(self) -> np.ndarray:
        return np.sqrt(np.diag(self.covariance))


@cache
def _correlation() -> dict[tuple[str, str], float]:
    return {
        (row["parameter"], row["group"]): float(row["value"]) for row in load_table("calibration", "correlations.csv")
    }


def _group(organ: str) -> str:
    if kind_of(organ) == "kidneys":
        return "kidneys"
    if organ in GLANDS:
        return "glands"
    return "tumours" if is_tumour(organ) else ""


def prior(drug: Ligand, organs: tuple[str, ...], patient: Covariates, amino_acids: bool | None = None) -> Prior:
    """The prior over every dose-relevant parameter of a patient whose model has these organs."""
    rows = [("filtration", "", _filtration(drug, patient)), ("protein_binding", "", drug.rows["protein_binding", ""])]
    for organ in organs:
        rows += [(kind, organ, value) for kind, value in _organ_values(drug, organ, amino_acids) if value.cv > 0]
    log_sd = np.array([value.log_sd for _, _, value in rows])
    keys = [(kind, organ) for kind, organ, _ in rows]
    correlation = np.array([[correlated(a, b) for b in keys] for a in keys])
    return Prior(
        names=tuple(kind + (f"/{organ}" if organ else "") for kind, organ in keys),
        unit=tuple(value.unit for _, _, value in rows),
        median=np.array([value.value for _, _, value in rows]),
        covariance=correlation * np.outer(log_sd, log_sd),
        sources=tuple(value.source_id for _, _, value in rows),
    )


def between_patients(fit: Prior) -> Prior:
    """The prior with the spread between patients alone (calibration/data/cohort.csv), for drawing virtual patients.

    The prior of a fit is wider: it holds the doubt about the typical values too.
    """
    rows = {(r["parameter"], r["group"]): float(r["value"]) for r in load_table("calibration", "cohort.csv")}
    keys = [name.partition("/")[::2] for name in fit.names]
    group = lambda organ: _group(organ) if organ else ""
    cv = np.array([rows.get((kind, group(organ)), rows.get((kind, "default"))) for kind, organ in keys], float)
    log_sd = np.sqrt(np.log1p(cv**2))
    correlation = fit.covariance / np.outer(fit.log_sd, fit.log_sd)
    return replace(fit, covariance=correlation * np.outer(log_sd, log_sd))


def _filtration(drug: Ligand, patient: Covariates) -> Value:
    phi = drug.rows["phi", ""]
    gfr = GFR_LOG_SD["assumed" if "gfr_mL_min" in patient.assumed else "measured"]
    cv = float(np.sqrt(np.expm1(phi.log_sd**2 + gfr**2)))
    return Value(patient.gfr_mL_min / 1000 * phi.value, cv, "L/min", phi.source_id)


def _organ_values(drug: Ligand, organ: str, amino_acids: bool | None) -> Iterator[tuple[str, Value]]:
    density, uptake = drug.get("receptor_density", organ), drug.get("nonsaturable_uptake", organ)
    release, internalisation = drug.get("release", organ), drug.get("internalisation", organ)
    if density:
        yield "receptor_density", replace(density, value=sites_nmol_L(drug, organ, amino_acids))
    if uptake:
        yield "nonsaturable_uptake", uptake
    if release and (density or uptake):
        yield "release", release
    if density and internalisation and (kind_of(organ) == "kidneys" or is_tumour(organ)):
        yield "internalisation", internalisation
    if permeability := drug.get("kPS", organ):
        yield "kPS", permeability


def correlated(a: tuple[str, str], b: tuple[str, str]) -> float:
    """Correlation between patients of the log of two parameters, each (kind, organ)."""
    if a == b:
        return 1.0
    same = a[0] == b[0] and _group(a[1]) and _group(a[1]) == _group(b[1])
    return _correlation().get((a[0], _group(a[1])), 0.0) if same else 0.0


class Scaling(eqx.Module):
    """How log offsets act on `Kinetics`: per field a matrix [organ or 1, parameter] of zeros and ones."""

    weights: dict[str, np.ndarray]

    @classmethod
    def of(cls, names: tuple[str, ...], organs: tuple[str, ...]) -> Scaling:
        weights = {}
        for k, name in enumerate(names):
            kind, _, organ = name.partition("/")
            shape = (1 if kind == "protein_binding" else len(organs), len(names))
            w = weights.setdefault(FIELD[kind], np.zeros(shape))
            w[organs.index(organ) if organ else slice(None), k] = 1.0
        return cls(weights)

    def apply(self, kin: Kinetics, offsets) -> Kinetics:
        """`offsets` of shape [parameter, patient] (or [parameter, 1])."""
        fields = tuple(self.weights)
        factors = [jnp.exp(jnp.asarray(self.weights[f]) @ offsets) for f in fields]
        scaled = tuple(
            getattr(kin, f) * (x[0] if f == "protein_binding" else x) for f, x in zip(fields, factors, strict=True)
        )
        return eqx.tree_at(lambda k: tuple(getattr(k, f) for f in fields), kin, scaled)
