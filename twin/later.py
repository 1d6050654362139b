"""What is new in a later study of a patient whose twin is already there."""

from __future__ import annotations

from dataclasses import replace

from dose.errors import InputError, describe
from pbpk.administration import Administration
from pbpk.anatomy import Anatomy
from twin.patient import PatientTwin, Study

UNNAMED = "unnamed patient"
"""Identity of a study that doesn't say whose it is; it fits every twin."""

SAME_ACTIVITY = 0.01
"""Relative difference below which two records of one administration are taken for the same."""


def later_data(before: PatientTwin, study: Study):
    """(twin with the later study's truth and volumes, new observations, new administrations).

    Raises:
        InputError: another patient or ligand, a changed administration, or nothing new.
    """
    _check_same(before.study, study)
    _check_model(before.study, study)
    known = {a.cycle: a for a in before.study.administrations}
    for a in study.administrations:
        if a.cycle in known:
            _check_administration(known[a.cycle], a)
    seen = {_key(before.study.observations, k) for k in range(len(before.study.observations))}
    new = study.observations.select([_key(study.observations, k) not in seen for k in range(len(study.observations))])
    if not len(new):
        do = "give the folder with the scans that came after"
        raise InputError(describe("later study", "no new measurement", "at least one", do))
    administrations = tuple(a for a in study.administrations if a.cycle not in known)
    return _with_later(before, study), new, administrations


def _key(observations, k):
    """What makes a row the same measurement."""
    return observations.cycle[k], observations.region[k], round(float(observations.time_h[k]), 3)


def _with_later(before: PatientTwin, study: Study) -> PatientTwin:
    old = before.study
    joined = replace(
        old,
        truth_Gy=old.truth_Gy | study.truth_Gy,
        volumes_mL=study.volumes_mL | old.volumes_mL,
        warnings=tuple(dict.fromkeys((*old.warnings, *study.warnings))),
        source=old.source if study.source in old.source else f"{old.source}; later: {study.source}",
    )
    return replace(before, study=joined)


def _check_same(old: Study, new: Study):
    if UNNAMED not in (old.id, new.id) and old.id != new.id:
        do = "check that both belong to one patient, then write the same id in patient.toml"
        raise InputError(describe("later study: id", "another id than the twin's", "the same patient", do))
    if (old.ligand, old.nuclide) != (new.ligand, new.nuclide):
        found, expected = f"{new.nuclide}-{new.ligand}", f"{old.nuclide}-{old.ligand}"
        raise InputError(describe("later study: tracer", found, expected, "calibrate a twin for each tracer"))


def _check_model(old: Study, new: Study):
    if (new.anatomy, new.amino_acids) not in ((Anatomy(), None), (old.anatomy, old.amino_acids)):
        found, expected = f"{new.anatomy}, amino_acids {new.amino_acids}", f"{old.anatomy}, {old.amino_acids}"
        do = "leave the [model] table out of the later study, or calibrate all scans with the new one"
        raise InputError(describe("later study: [model]", found, f"{expected} as in the twin", do))


def _check_administration(old: Administration, new: Administration):
    if abs(old.activity_MBq - new.activity_MBq) > SAME_ACTIVITY * old.activity_MBq:
        field = f"later study: activity_MBq of cycle {old.cycle}"
        do = "correct the record, or give the later administration its own cycle"
        found, expected = f"{new.activity_MBq:g} MBq", f"{old.activity_MBq:g} MBq as in the twin"
        raise InputError(describe(field, found, expected, do))
