"""The default population against published organ doses, half-lives, excretion and PET uptake: docs/plausibility.md.

A row gives the default patient, the median of a cohort drawn from the prior and the cohort's coefficient of variation;
both patient and median must lie in the band. A row of spread holds that coefficient alone against published ones.
Anatomy is the reference patient's (80 kg) throughout: the cohort varies what the prior varies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cache

import equinox as eqx
import numpy as np

from calibration.forward import pool_weights
from calibration.observations import Observations
from dose.organ import dose_coefficient_Gy_per_MBq_h
from pbpk.administration import Administration
from pbpk.anatomy import Anatomy
from pbpk.parameters import Covariates
from pbpk.state import LEDGER
from tests.validate import check
from tests.validate.plausibility_bands import BANDS, Band
from twin.body import Body, body_of
from twin.deposit import marrow_photons, mass_g
from twin.forecast import States, states, tia_MBq_h
from twin.patient import Study

PATIENTS, SEED = 200, 20_617
WEIGHT_KG, HAEMATOCRIT = 80.0, 0.42
HOURS = (1.0, 4.0, 5.0, 12.0, 24.0, 48.0, 72.0, 96.0, 120.0)
WINDOW_H = {"PSMA-617": (24.0, 96.0), "DOTATATE": (24.0, 120.0)}
"""Hours over which an organ's effective half-life is fitted (PBPK_DEFAULTS section 1)."""
WHOLE_BODY_H = (24.0, 72.0)
"""First and last hour of the dose rates that the published whole-body half-life rests on."""
UNITS = {"dose_Gy_per_GBq": "Gy/GBq", "half_life_h": "h", "lost_percent": "%", "urine_percent": "%", "suv": "SUV"}


@dataclass(frozen=True)
class Tracer:
    """One administration to the reference patient (PBPK_DEFAULTS section 1)."""

    ligand: str
    nuclide: str
    activity_MBq: float
    amount_nmol: float
    infusion_h: float

    def body(self) -> Body:
        patient = Covariates.of(weight_kg=WEIGHT_KG, height_m=1.711, haematocrit=HAEMATOCRIT)
        given = (self.activity_MBq, self.amount_nmol, self.infusion_h, self.ligand, self.nuclide)
        course = (Administration(1, 0.0, *given),)
        none, volumes_mL = Observations.empty(), {"tumour_1": 20.0}
        study = Study("reference", patient, self.ligand, self.nuclide, course, none, volumes_mL)
        return body_of(replace(study, anatomy=Anatomy(small_glands=True)))


TRACERS = {
    "177Lu-PSMA-617": Tracer("PSMA-617", "177Lu", 7400.0, 100.0, 0.0),
    "177Lu-DOTATATE": Tracer("DOTATATE", "177Lu", 7400.0, 105.0, 0.5),
    "68Ga-PSMA-11": Tracer("PSMA-11", "68Ga", 150.0, 10.0, 0.0),
    "68Ga-DOTATATE": Tracer("DOTATATE", "68Ga", 150.0, 15.0, 0.0),
}


@dataclass(frozen=True)
class Cohort:
    """The default patient (first) and the drawn ones: states at HOURS and at the end.

    `lasting` are the states of a ligand that does not decay. Every quantity has shape [patient]. Patients are drawn in
    mirrored pairs of log offsets, so that the median says what the model does and not what the seed did, and the same
    normal numbers serve whatever the prior's widths are.
    """

    tracer: Tracer
    body: Body
    decaying: States
    lasting: States

    @classmethod
    def of(cls, tracer: Tracer, patients: int = PATIENTS) -> Cohort:
        body = tracer.body()
        names, covariance = body.prior.names, body.prior.covariance
        normal = np.random.default_rng(SEED).standard_normal((patients // 2, len(names)))
        half = normal @ np.linalg.cholesky(covariance).T
        offsets = np.concatenate([np.zeros((1, len(names))), half, -half])
        stable = eqx.tree_at(lambda k: k.decay, body.first.kinetics, 0 * body.first.kinetics.decay)
        courses = (body.first, replace(body.first, kinetics=stable))
        ask = np.array([*(60 * hour for hour in HOURS), body.first.end_min])
        return cls(tracer, body, *(states(course, names, offsets, ask) for course in courses))

    def _parts(self, found: States):
        """Hot ligand [pool, ask, patient] and the urine [ask, patient], as fractions of the labelled amount."""
        given = self.body.first.administrations[0].labelled_nmol
        return found.amount / given, found.ledger[LEDGER.index("urine")] / given

    def _weights(self, region: str) -> np.ndarray:
        return np.asarray(pool_weights(region, self.body.organs, frozenset()))

    def _held(self, region: str, y: States) -> np.ndarray:
        return np.einsum("p,ptd->td", self._weights(region), self._parts(y)[0])

    def dose_Gy_per_GBq(self, region: str, _: float) -> np.ndarray:
        """Self-dose and, in the marrow, the photons of the whole body: what a dose report counts."""
        tia = tia_MBq_h(self.decaying, self.body.first)[:, -1] * 1000 / self.tracer.activity_MBq
        s = dose_coefficient_Gy_per_MBq_h(region, self.tracer.nuclide, mass_g(region, self.body)).total
        photons = marrow_photons(self.tracer.nuclide) if region == "red_marrow" else 0.0
        return s * (self._weights(region) @ tia) + photons * tia[: len(self.body.organs)].sum(axis=0)

    def half_life_h(self, region: str, _: float) -> np.ndarray:
        """Effective half-life: least-squares line through the log activity of a window."""
        first, last = WHOLE_BODY_H if region == "whole_body" else WINDOW_H[self.tracer.ligand]
        inside = [k for k, hour in enumerate(HOURS) if first <= hour <= last]
        held = self._held(region, self.decaying)[inside]
        return -np.log(2) / np.polyfit([HOURS[k] for k in inside], np.log(held), 1)[0]

    def lost_percent(self, _: str, hour: float) -> np.ndarray:
        """What left the body by urine or otherwise, without decay: the complement of a whole-body measurement."""
        return 100 * (1 - self._held("whole_body", self.lasting)[HOURS.index(hour)])

    def urine_percent(self, _: str, hour: float) -> np.ndarray:
        return 100 * self._parts(self.lasting)[1][HOURS.index(hour)]

    def suv(self, region: str, hour: float) -> np.ndarray:
        """Mean uptake value of an organ, or of the whole blood of a vein without the slow protein pool."""
        at, physiology = HOURS.index(hour), self.body.physiology
        if region == "blood":
            venous = self._parts(self.lasting)[0][len(self.body.organs), at]
            return np.asarray(venous * WEIGHT_KG * (1 - HAEMATOCRIT) / physiology.venous_L)
        return np.asarray(self._held(region, self.lasting)[at] * 1000 * WEIGHT_KG / mass_g(region, self.body))


@cache
def cohort(tracer: str) -> Cohort:
    return Cohort.of(TRACERS[tracer])


def found(band: Band, people: Cohort) -> tuple[list[float], bool]:
    """Default patient, cohort median and CV of a band's quantity, and whether they pass.

    The CV is that of a log-normal distribution with the cohort's log sd, which one patient in the tail sways less than
    sd over mean.
    """
    values = getattr(people, band.quantity)(band.region, band.at_h)
    drawn = values[1:]
    cv = np.sqrt(np.expm1(np.var(np.log(drawn), ddof=1)))
    row = [float(values[0]), float(np.median(drawn)), float(cv)]
    held = row[2:] if band.spread else row[:2]
    return row, all(band.low <= value <= band.high for value in held)


def name(band: Band) -> str:
    """The key of a band's row."""
    region = band.region.removesuffix("_1").replace("_", " ")
    words = {
        "dose_Gy_per_GBq": f"{region} Gy/GBq",
        "half_life_h": f"{region} effective half-life",
        "lost_percent": f"gone from the body at {band.at_h:g} h",
        "urine_percent": f"urine at {band.at_h:g} h",
        "suv": f"{region} SUV at {band.at_h:g} h",
    }
    return f"plausibility/{band.tracer} {words[band.quantity]}" + (", spread" if band.spread else "")


def _register(band: Band):
    allowed = f"{'CV' if band.spread else 'patient and median'} within {band.low:g} to {band.high:g}"

    @check(name(band), f"{UNITS[band.quantity]}: patient, median, CV", allowed, band.source)
    def row():
        return found(band, cohort(band.tracer))


for _band in BANDS:
    _register(_band)
