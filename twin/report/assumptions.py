"""What a report takes for granted, said of this patient."""

from __future__ import annotations

import numpy as np

from calibration.noise import drift_log_sd
from twin.patient import DoseReport, PatientTwin, Plan
from twin.report.provenance import mass_source


def assumptions(twin: PatientTwin, report: DoseReport, plan: Plan) -> list[str]:
    """One sentence each; docs/limits.md has those that hold for every patient."""
    study = twin.study
    lines = []
    if study.covariates.assumed:
        lines.append(f"typical of the population, not measured: {', '.join(study.covariates.assumed)}")
    typical = [r.replace("_", " ") for r in report.regions if "segmented volume" not in mass_source(study, r)]
    if typical:
        lines.append(f"mass not segmented: {', '.join(typical)}")
    blind = [r.replace("_", " ") for k, r in enumerate(report.regions) if _is_unmeasured(report, k)]
    if blind:
        lines.append(f"never measured, so doses rest on the population and on measured organs: {', '.join(blind)}")
    if "forecast" in report.kind or plan.administrations:
        lines.append(_drift_words())
    if plan.schedules:
        lines.append("the label’s schedule is taken from where the patient stands: cycles given stay as given")
    return [*lines, *ALWAYS]


ALWAYS = [
    "self-dose of uniform spheres in water; no dose from other organs but a rough photon term in the marrow",
    "BED with one repair half-time and one α/β per tissue; their own uncertainty is not in the intervals",
    "release, filtration and volumes are the same in all cycles; tumours keep their size unless a plan lets them move",
    "the intervals cover measurement, parameters, mass and S value as stated, not a wrong model (docs/limits.md)",
]


def _is_unmeasured(report: DoseReport, region: int) -> bool:
    return bool(np.all(report.extrapolated_fraction[:, region] >= 1))


def _drift_words() -> str:
    organ, tumour = 100 * drift_log_sd("kidneys", 1), 100 * drift_log_sd("tumour_1", 1)
    return (
        f"uptake drifts between cycles as a random walk without trend: sd {organ:.0f}% a cycle in organs and "
        f"{tumour:.0f}% in tumours (calibration/data/noise.csv)"
    )
