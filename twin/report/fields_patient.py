"""Reporting fields of the patient, the administrations, the measurements and the regions."""

from __future__ import annotations

import numpy as np

from dose.regions import density_g_per_mL
from pbpk.administration import Administration
from twin.patient import PatientTwin, Study
from twin.report.fields import Field

PATIENT, GIVEN, MEASURED = "Patient", "Administration", "Measurement"
CORRECTED, REGIONS, CURVES = "Reconstruction and corrections", "Regions", "Time-activity data"
COVARIATES = (
    ("sex", "Sex", ""),
    ("age_y", "Age", " y"),
    ("weight_kg", "Body weight", " kg"),
    ("height_m", "Body height", " m"),
    ("gfr_mL_min", "Glomerular filtration rate", " mL/min"),
    ("haematocrit", "Haematocrit", ""),
)
ASKED = (
    (MEASURED, "camera", "Camera or scanner, maker and model"),
    (MEASURED, "collimator", "Collimator"),
    (MEASURED, "energy_windows", "Energy windows, photopeak and scatter"),
    (MEASURED, "acquisition", "Acquisition: projections or bed positions, time of each, matrix"),
    (MEASURED, "calibration_factor", "Calibration factor of the camera with its uncertainty"),
    (MEASURED, "calibration_traceability", "How the calibration was made and to which standard it is traceable"),
    (CORRECTED, "reconstruction", "Reconstruction: algorithm, iterations, subsets, filter"),
    (CORRECTED, "attenuation_correction", "Attenuation correction"),
    (CORRECTED, "scatter_correction", "Scatter correction"),
    (CORRECTED, "dead_time_correction", "Dead-time correction"),
    (CORRECTED, "partial_volume_correction", "Partial-volume correction, recovery coefficients"),
    (CORRECTED, "registration", "Registration between scans"),
    (REGIONS, "segmentation", "Segmentation: image, method, threshold, who drew"),
)
"""What the study does not keep: filled by the user, else not recorded."""


def fields(twin: PatientTwin) -> tuple[Field, ...]:
    study = twin.study
    asked = [Field(*entry) for entry in ASKED]
    of = lambda group: [f for f in asked if f.group == group]
    return (
        *_patient(study),
        *_given(study),
        *_measured(study),
        *of(MEASURED),
        *of(CORRECTED),
        *of(REGIONS),
        Field(REGIONS, "volumes", "Volumes of the regions", _volumes(study)),
        Field(CURVES, "time_activity_data", "Activity of each region, not corrected for decay", _curves(study)),
        Field(CURVES, "measurement_errors", "Errors taken", ERRORS),
    )


ERRORS = (
    "sd as in the table for counting; calibration, recovery and contour shared between scans, and what the model "
    "misses, as in calibration/data/noise.csv"
)


def _patient(study: Study):
    yield Field(PATIENT, "patient_id", "Patient", study.id)
    for name, words, unit in COVARIATES:
        known = name not in study.covariates.assumed
        value = getattr(study.covariates, name)
        text = f"{value if isinstance(value, str) else f'{value:.4g}'}{unit}"
        yield Field(PATIENT, name, words, text if known else f"{text}, typical of the population, not measured")
    yield Field(PATIENT, "diagnosis", "Diagnosis and earlier treatment")


def _given(study: Study):
    yield Field(GIVEN, "administrations", "Administrations", tuple(_administration(a) for a in study.administrations))
    yield Field(GIVEN, "route", "Route", _route(study))
    yield Field(GIVEN, "administration_clock", "Date and clock time of each administration")
    yield Field(GIVEN, "residual_activity", "Activity left in syringe and lines")
    yield Field(GIVEN, "activity_meter", "Activity meter, its calibration and traceability")
    yield Field(GIVEN, "ligand_mass", "Mass of the ligand (the amount in mol is in the table)")
    yield Field(GIVEN, "extravasation", "Extravasation looked for")
    infused = {True: "infused with the ligand", False: "not given", None: "as the ligand's table assumes, not recorded"}
    yield Field(GIVEN, "amino_acids", "Amino acids for the kidneys", infused[study.amino_acids])


def _administration(a: Administration) -> dict:
    cold = {"unlabelled_before_nmol": a.cold_nmol} if a.cold_nmol else {}
    words = {"cycle": str(a.cycle), "tracer": f"{a.nuclide}-{a.ligand}"}
    numbers = {
        "time_h": a.time_h,
        "activity_MBq": a.activity_MBq,
        "amount_nmol": a.amount_nmol,
        "infusion_h": a.infusion_h,
    }
    return words | numbers | cold


def _route(study: Study) -> str:
    bolus = all(a.infusion_h == 0 for a in study.administrations)
    return "intravenous bolus, as the model takes it" if bolus else "intravenous infusion, as the model takes it"


def _measured(study: Study):
    seen = study.observations
    rows = []
    for cycle in sorted(set(seen.cycle)):
        mine = seen.of_cycle(cycle)
        hours = sorted({round(float(t), 2) for t in mine.time_h})
        kinds = ", ".join(dict.fromkeys(mine.modality))
        rows.append({"cycle": str(cycle), "modality": kinds, "scans_h": hours, "regions": len(set(mine.region))})
    yield Field(MEASURED, "scan_times", "Scans, from the start of the administration", tuple(rows) or None)
    yield Field(MEASURED, "data_source", "Where the measurements come from", study.source or None)


def _volumes(study: Study):
    rows = [
        {"region": r, "volume_mL": v, "density_g_per_mL": density_g_per_mL(r), "mass_g": v * density_g_per_mL(r)}
        for r, v in study.volumes_mL.items()
    ]
    return tuple(rows) or None


def _curves(study: Study):
    """A row a region and cycle, its scans in order of time."""
    seen, rows = study.observations, []
    for cycle, region in sorted(set(zip(seen.cycle, seen.region, strict=True))):
        mine = seen.select([(c, r) == (cycle, region) for c, r in zip(seen.cycle, seen.region, strict=True)])
        order = np.argsort(mine.time_h)
        numbers = {
            name: [float(x) for x in getattr(mine, name)[order]] for name in ("time_h", "activity_MBq", "sd_MBq")
        }
        rows.append({"region": region, "cycle": str(cycle)} | numbers)
    return tuple(rows) or None
