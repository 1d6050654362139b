"""The rows of one arm on one block, as columns of the tables in `twin.trial.schema`."""

from __future__ import annotations

import numpy as np

from pbpk.batch import Status
from twin.constraints import limit
from twin.trial.course import ENDED, Course
from twin.trial.endpoints import followed, limit_totals, tumours_of
from twin.trial.people import Group

Columns = dict[str, np.ndarray]
TUMOURS = "tumours"


def rows_of(course: Course, last: int) -> dict[str, Columns]:
    """Columns by table, of patients with numbers below `last`."""
    group = course.scene.group
    status = status_of(course)
    there = group.people.number < last
    treated = np.flatnonzero(there & (status == "ok"))
    tables = {"patients": _patients(course, np.flatnonzero(there), status)}
    tables |= {"cycles": _cycles(course, treated), "limits": _limits(course, treated)}
    design = group.design
    tables["doses"] = _doses(course, treated if design.doses == "cycle" else treated[:0])
    tables["lesions"] = _lesions(course, treated if design.lesions else treated[:0])
    return tables


def status_of(course: Course) -> np.ndarray:
    """ok, not_eligible, or why the patient could not be computed, [patient]."""
    solved = course.scene.truth.status
    words = np.array([Status(int(s)).name.lower() for s in solved], object)
    return np.where((solved == Status.OK) & ~course.scene.eligible, "not_eligible", words).astype(str)


def _patients(course: Course, at: np.ndarray, status: np.ndarray) -> Columns:
    group, end = course.scene.group, followed(course)
    tumour_dose, tumour_bed = (tumours_of(course, x).sum(axis=1) for x in (course.dose_Gy, course.bed_Gy))
    kidney = course.scene.truth.regions.index("kidneys")
    kidney_bed = course.bed_Gy[..., kidney].sum(axis=1)
    lesion = np.where(group.classes >= 0, lesion_dose_Gy(course), np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        index = np.where(kidney_bed > 0, tumour_bed / kidney_bed, np.nan)
    results = {
        "activity_MBq": course.activity_MBq.sum(axis=1),
        "tumour_dose_Gy": tumour_dose,
        "tumour_bed_Gy": tumour_bed,
        "worst_lesion_dose_Gy": lesion.min(axis=1),
        "kidney_dose_Gy": course.dose_Gy[..., kidney].sum(axis=1),
        "kidney_bed_Gy": kidney_bed,
        "therapeutic_index": index,
        "best_volume_share": end.best_volume,
        "best_psa_share": end.best_psa,
        "lowest_platelets_per_nL": end.platelets,
        "survival_d": end.survival_d,
    }
    good = status == "ok"
    columns = who(group, at) | {name: np.where(good, x, np.nan)[at] for name, x in results.items()}
    columns |= {"arm": np.full(len(at), course.arm.name), "status": status[at]}
    columns["ended"] = np.where(good, np.array(ENDED)[course.ended], "")[at]
    columns["cycles"] = np.where(good, np.sum(course.activity_MBq > 0, axis=1), 0)[at]
    return columns | {"died": (good & end.died)[at]}


def who(group: Group, at: np.ndarray) -> Columns:
    """Covariates and tumour load of some patients of a group."""
    names = ("age_y", "weight_kg", "height_m", "gfr_mL_min", "haematocrit")
    return {
        "patient": group.people.number[at],
        "sex": np.where(group.people.female, "female", "male")[at],
        **{name: getattr(group.people, name)[at] for name in names},
        "lesions": group.lesions.count[at],
        "tumour_mL": group.lesions.volume_mL.sum(axis=1)[at],
    }


def _given(course: Course, treated: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Patient and cycle (from 0) of each administration of some patients, patient by patient."""
    row, cycle = np.nonzero(course.activity_MBq[treated] > 0)
    return treated[row], cycle


def _cycles(course: Course, treated: np.ndarray) -> Columns:
    patient, cycle = _given(course, treated)
    return {
        **_head(course, patient),
        "cycle": cycle + 1,
        "day": cycle * float(course.arm.interval_days),
        "activity_MBq": course.activity_MBq[patient, cycle],
        "tumour_mL": course.tumour_mL[patient, cycle],
    }


def _head(course: Course, patient: np.ndarray) -> Columns:
    number = course.scene.group.people.number
    return {"patient": number[patient], "arm": np.full(len(patient), course.arm.name)}


def _limits(course: Course, treated: np.ndarray) -> Columns:
    names = course.scene.group.design.limits
    total = (
        np.stack([x[treated] for x in limit_totals(course, names).values()], axis=1).ravel() if names else np.zeros(0)
    )
    values = np.tile([limit(name).value_Gy for name in names], len(treated))
    return {
        **_head(course, np.repeat(treated, len(names))),
        "limit": np.tile(np.array(names, str), len(treated)),
        "total_Gy": total,
        "exceeded": total > values * (1 + 1e-9),
    }


def _doses(course: Course, treated: np.ndarray) -> Columns:
    truth = course.scene.truth
    patient, cycle = _given(course, treated)
    organs = [k for k in range(len(truth.regions)) if k not in truth.tumours]
    names = np.array([*(truth.regions[k] for k in organs), TUMOURS])
    with_tumours = lambda x: np.concatenate([x[..., organs], tumours_of(course, x)[..., None]], axis=-1)
    estimate = np.exp(course.log_estimate)
    sd = _sd_with_tumours(course, organs, estimate)
    flat = lambda x: x[patient, cycle].ravel()
    return {
        **_head(course, np.repeat(patient, len(names))),
        "cycle": np.repeat(cycle + 1, len(names)),
        "region": np.tile(names, len(patient)),
        "dose_Gy": flat(with_tumours(course.dose_Gy)),
        "bed_Gy": flat(with_tumours(course.bed_Gy)),
        "estimated_Gy": flat(with_tumours(estimate)),
        "estimated_log_sd": flat(sd),
    }


def _sd_with_tumours(course: Course, organs, estimate: np.ndarray) -> np.ndarray:
    """Sd of the log of each organ and of all tumours, whose classes' errors are taken as fully correlated."""
    absolute = tumours_of(course, estimate * course.log_sd) / tumours_of(course, estimate)
    return np.concatenate([course.log_sd[..., organs], absolute[..., None]], axis=-1)


def lesion_dose_Gy(course: Course) -> np.ndarray:
    """Dose of each lesion over the course, [patient, lesion]; 0 where there is none."""
    group, truth = course.scene.group, course.scene.truth
    total = course.dose_Gy.sum(axis=1)[:, truth.tumours]
    return np.take_along_axis(total, np.maximum(group.classes, 0), axis=1) * course.scene.factors


def _lesions(course: Course, treated: np.ndarray) -> Columns:
    group = course.scene.group
    row, lesion = np.nonzero(group.classes[treated] >= 0)
    patient = treated[row]
    biology = course.scene.biology
    weeks = 24 * course.arm.interval_days * course.activity_MBq.shape[1]
    log = np.log(2.0) * weeks / biology.doubling_time_h[:, None]
    log = log - biology.alpha_per_Gy[:, None] * course.lesion_bed_Gy.sum(axis=2)
    return {
        **_head(course, patient),
        "lesion": lesion + 1,
        "volume_mL": group.lesions.volume_mL[patient, lesion],
        "receptor_density_nmol_L": group.receptor_density_nmol_L[patient, lesion],
        "dose_Gy": lesion_dose_Gy(course)[patient, lesion],
        "end_share": np.exp(log[patient, lesion]),
    }
