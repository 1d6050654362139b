"""A reduced whole-body model in use: in place of the full one in courses and priors, and its error over patients.

The limits and the refit of what is left were found at one patient; they are applied to any other as factors on his own
`Kinetics`. So the error over a population is that of a model reduced once, not of one fitted again to each.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from calibration.forward import Course, pool_weights, tiled
from calibration.mbam import Step, reduce
from calibration.mbam_pbpk import HOURS, NOISE, REGIONS, ZEROS, levers, predictions, surface, with_change
from calibration.parameters import FIELD, Prior, Scaling
from dose.errors import InputError, describe
from dose.provenance import load_table
from dose.regions import is_tumour
from pbpk.anatomy import KIDNEYS
from pbpk.kinetics import Kinetics
from pbpk.levers import Lever
from pbpk.solve import PLANNING_RTOL, finished, solve

SHIPPED_RMS, SHIPPED_LARGEST = 0.002, 0.0101
"""Log errors of the shipped model over the five patients it was reduced on."""


@dataclass(frozen=True)
class ReducedModel:
    """The whole-body model with some of its numbers at their limits.

    `changes` [lever] are logs of the factors on the full model's numbers, `free` the names of levers that still act;
    `limits` says which went where, in order. `rms` and `largest` are its log errors where it was reduced.
    """

    levers: tuple[Lever, ...]
    changes: np.ndarray
    free: tuple[str, ...]
    limits: tuple[str, ...]
    rms: float
    largest: float

    @classmethod
    def of(cls, moved: tuple[Lever, ...], step: Step) -> ReducedModel:
        reduced = step.reduced
        return cls(moved, reduced.full(step.phi), reduced.free, reduced.limits, step.rms, step.largest)

    @classmethod
    def shipped(cls, kin: Kinetics) -> ReducedModel:
        """The model of calibration/data/mbam_psma617.csv for a patient: other organs and tumours keep their numbers.

        Made for 7.4 GBq of 177Lu-PSMA-617 (docs/identifiability.md); `tumour_2`, ... take the factors of `tumour_1`.
        """
        rows = {row["name"]: row for row in load_table("calibration", "mbam_psma617.csv")}
        moved = levers(kin)
        known = [rows.get(re.sub(r"/tumour_\d+$", "/tumour_1", lever.name)) for lever in moved]
        free = tuple(
            one.name for one, row in zip(moved, known, strict=True) if row is None or row["locator"].startswith("free")
        )
        limits = tuple(f"{name} -> {row['locator'].removeprefix('limit ')}" for name, row in rows.items()
                       if row["locator"].startswith("limit"))  # fmt: skip
        changes = np.array([float(row["value"]) if row else 0.0 for row in known])
        return cls(moved, changes, free, limits, SHIPPED_RMS, SHIPPED_LARGEST)

    def kinetics(self, kin: Kinetics) -> Kinetics:
        """The same patients in the reduced model."""
        return with_change(kin, self.levers, self.changes)

    def course(self, course: Course) -> Course:
        """The same administrations in the reduced model: for `Experiment`, `calibrate` and forecasts as any other."""
        return replace(course, kinetics=self.kinetics(course.kinetics))

    def prior(self, prior: Prior) -> Prior:
        """The prior of the parameters that still act."""
        keep = np.array([k for k, name in enumerate(prior.names) if self._acts(name)])
        pick = lambda values: tuple(values[k] for k in keep)
        return Prior(
            pick(prior.names), pick(prior.unit), prior.median[keep], prior.covariance[np.ix_(keep, keep)],
            pick(prior.sources),
        )  # fmt: skip

    def _acts(self, name: str) -> bool:
        kind, _, organ = name.partition("/")
        organ = "kidneys" if organ in KIDNEYS or kind == "filtration" else organ
        lever = FIELD[kind] + (f"/{organ}" if organ else "")
        return lever in self.free or lever not in {one.name for one in self.levers}


def reductions(
    course: Course,
    prior: Prior,
    draws: Float[np.ndarray, "draw parameter"],
    *,
    largest: float = 0.05,
    regions: Sequence[str] = REGIONS,
    hours: Sequence[float] = HOURS,
) -> Iterator[ReducedModel]:
    """Yield reduced models, with one number less each, up to a `largest` log error over all predictions.

    What is kept are the predictions for the patient of `course` and for those at the log offsets `draws`, all with the
    same limits and the same changes of what is left: a handful of patients, so that the refit does not bend the model
    to one.

    Raises:
        InputError: `largest` is not between 0 and 1, or the course has more than one patient.
    """
    if not 0 < largest < 1:
        raise InputError(describe("largest", f"{largest:g}", "a log error between 0 and 1", "0.05 is about 5 %"))
    if course.kinetics.patients != 1:
        raise InputError(describe("course", f"{course.kinetics.patients} patients", "one", "take one column"))
    offsets = np.concatenate([np.zeros((1, len(prior.names))), np.asarray(draws, float)]).T
    scaling = Scaling.of(prior.names, course.kinetics.organs)
    patients = scaling.apply(tiled(course.kinetics, offsets.shape[1]), jnp.asarray(offsets))
    moved = levers(course.kinetics)
    zeros = frozenset(lever.name for lever in moved if lever.fields[0] in ZEROS)
    names = tuple(lever.name for lever in moved)
    on = surface(predictions(course, patients, regions, hours), moved)
    for step in reduce(on, names, np.zeros(len(moved)), noise=NOISE, largest=largest, zeros=zeros):
        yield ReducedModel.of(moved, step)


@dataclass(frozen=True)
class PopulationError:
    """Log errors of a reduced model, [region]: of the curves over patients and hours, and of the TIA over patients."""

    regions: tuple[str, ...]
    curve_rms: np.ndarray
    curve_largest: np.ndarray
    tia_rms: np.ndarray
    tia_largest: np.ndarray


def population_error(
    model: ReducedModel,
    course: Course,
    prior: Prior,
    draws: Float[np.ndarray, "draw parameter"],
    *,
    regions: Sequence[str] = REGIONS,
    hours: Sequence[float] = HOURS,
) -> PopulationError:
    """Error of a reduced model over patients at log offsets `draws`, both solved adaptively, without refitting.

    Of `regions` and all tumours.
    """
    organs = course.kinetics.organs
    named = (*regions, *filter(is_tumour, organs))
    kept = tuple(r for r in named if pool_weights(r, organs, frozenset()) is not None)
    weights = np.stack([pool_weights(r, organs, frozenset()) for r in kept])
    offsets = jnp.asarray(np.asarray(draws).T)
    kin = Scaling.of(prior.names, organs).apply(tiled(course.kinetics, len(draws)), offsets)
    full, short = (_log_curves(k, course, weights, hours) for k in (kin, model.kinetics(kin)))
    curve, tia = (a - b for a, b in zip(short, full, strict=True))
    rms = lambda x, axis: np.sqrt(np.mean(x**2, axis=axis))
    return PopulationError(kept, rms(curve, (0, 2)), np.abs(curve).max((0, 2)), rms(tia, 1), np.abs(tia).max(1))


def _log_curves(kin: Kinetics, course: Course, weights, hours):
    """Log amounts [hour, region, patient] and log integrals [region, patient] of a course."""
    seg = course.segments(60 * np.asarray(hours, float))
    solved = finished(solve(kin, seg, rtol=PLANNING_RTOL, bed=False))
    at = [int(np.argmin(np.abs(seg.end_min - 60 * h))) for h in hours]
    pools = np.concatenate([solved.hot.organ_total(kin.layout), solved.hot.blood], axis=1)[at]
    whole = np.concatenate([solved.integrals.organ[-1], solved.integrals.blood[-1]])
    return np.log(np.einsum("rp,hpd->hrd", weights, pools)), np.log(weights @ whole)
