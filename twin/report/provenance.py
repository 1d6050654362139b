"""Where the numbers of a report come from: kind by kind, parameter by parameter, region by region, and the sources."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from dose.errors import TheratwinError
from dose.organ import DoseCoefficient, dose_coefficient_Gy_per_MBq_h
from dose.provenance import load_table, sources
from dose.regions import density_g_per_mL, is_tumour, members
from dose.tissues import tissue_name
from pbpk.daughters import is_followed
from twin.patient import DoseReport, PatientTwin, Plan, Study
from twin.report.html import Interval, Markup, bullets, in_one_line, method_of, number, percent, table
from twin.tables import posterior_table

PACKAGES = ("theratwin", "jax", "diffrax", "equinox", "numpy", "xarray", "pydicom", "simpleitk")
"""Distributions whose versions a report names."""
LONG = ("population numbers",)
"""Entries of a twin's provenance that are whole files."""
HOW = (
    ("activity curves", "kinetic model (docs/equations.md) with the posterior's draws"),
    ("measurements", "as read; errors of calibration, recovery and contour from calibration/data/noise.csv"),
    (
        "time-integrated activity",
        "integral of the model's curve to the next cycle or to the end of the solve, draw by draw",
    ),
    ("absorbed dose", "time-integrated activity times the region's S value below; errors of mass and S value drawn"),
    ("BED", "dose + 2 S² K / (α/β), K the integral of activity times its unrepaired part, per cycle and added"),
    ("tail", "part of the integral after the region's last measurement, at the posterior's centre"),
    ("doses of cycles to come", "parameters of the last measured cycle with a random drift of uptake (noise.csv)"),
    ("chance of passing a limit", "share of the draws, errors of mass and drift among them"),
    ("prices", "Lagrange multipliers of the optimisation at the plan: for small changes of a bound"),
    ("label’s schedule", "twin/data/schedules.csv, what is left of it after the cycles given"),
)
"""How each kind of number was made."""


def provenance(twin: PatientTwin, report: DoseReport, plan: Plan) -> Markup:
    """The section: kinds of numbers, what the twin says of itself, and the sources of the tables that were used."""
    return Markup(
        table(["number", "how it was made"], HOW, "How each kind of number was made")
        + "<h3>Data and fit</h3>"
        + bullets([*_lines(twin), *_fit_lines(twin)])
        + f"<h3>Sources of the tables used</h3>{bullets(citations(twin, report, plan))}"
    )


def parameters(twin: PatientTwin) -> Markup:
    """Each moved parameter: prior with its source, posterior, share of the variance removed."""
    origin = prior_sources(twin)
    rows = [
        [row["parameter"].replace("_", " "), row["unit"], row["prior_median"], percent(row["prior_cv"]),
         in_one_line(Interval(row["median"], row["lower90"], row["upper90"])), _removed(row["contraction"]),
         origin.get(row["parameter"], "")] for row in posterior_table(twin).to_dict("records")
    ]  # fmt: skip
    head = ["parameter", "unit", "typical value", "CV", "this patient", "variance removed", "prior from"]
    return table(head, rows, "Parameters: prior and posterior")


def _removed(share: float) -> str:
    return percent(share) if share >= 0.005 else "none"


def prior_sources(twin: PatientTwin) -> dict[str, str]:
    """Parameter -> the source of its prior."""
    from twin.body import body_of

    prior = body_of(twin.study).prior
    return dict(zip(prior.names, prior.sources, strict=True))


def mass_source(study: Study, region: str) -> str:
    """Where the mass of a region is from, in words."""
    density = f" × {density_g_per_mL(region):g} g/mL"
    if region in study.volumes_mL:
        return f"segmented volume, {number(study.volumes_mL[region])} mL{density}"
    sides = [
        r for r in (*members(region), f"{region}_left", f"{region}_right") if r in study.volumes_mL and r != region
    ]
    if sides:
        alike = "" if len(set(sides)) > 1 else ", the other side taken alike"
        return f"segmented volumes of {', '.join(dict.fromkeys(sides))}{alike}{density}"
    if is_tumour(region):
        return f"not segmented: 10 mL assumed{density}"
    return f"typical of the population, scaled to the patient (pbpk/data/physiology.csv){density}"


def coefficient(twin: PatientTwin, region: str, mass_g: float) -> DoseCoefficient | TheratwinError:
    """The self-dose coefficient that a region's dose was made with, or why there is none."""
    try:
        chain = not is_followed(twin.study.nuclide)
        return dose_coefficient_Gy_per_MBq_h(region, twin.study.nuclide, mass_g, chain=chain)
    except TheratwinError as error:
        return error


def followed_words(nuclide: str) -> str:
    """What is said of an alpha chain whose daughters are followed."""
    return "; daughters followed apart, with assumed retention (docs/daughters.md)" if is_followed(nuclide) else ""


def _lines(twin: PatientTwin) -> list[str]:
    assumed = ", ".join(twin.study.covariates.assumed) or "none"
    lines = [f"Measurements: {twin.study.source}", f"Covariates taken from the population: {assumed}"]
    lines += [f"{name}: {text}" for name, text in twin.provenance.items() if name not in LONG]
    return [*lines, "Versions: " + ", ".join(f"{name} {v}" for name, v in versions().items())]


def _fit_lines(twin: PatientTwin) -> list[str]:
    """How the posterior was made, how far that can be trusted, and how earlier forecasts did."""
    from twin.ledger import score

    p = twin.posterior
    quality = ", ".join(f"{name.replace('_', ' ')} {number(value)}" for name, value in p.diagnostics.items())
    lines = [f"Fit: chi-squared {p.chi2:.1f} from {p.observations_used} measurements; posterior by {method_of(p)}"]
    lines[0] += f" ({quality})" if quality else ""
    if done := score(twin.ledger):
        lines.append(
            f"Forecasts so far: {done.forecasts} scans, mean ln(observed/forecast) {done.bias:+.2f} sd {done.sd:.2f}, "
            f"{done.inside90:.0%} inside the 90% interval, CRPS {done.crps:.3f} (log units)"
        )
    return lines


def citations(twin: PatientTwin, report: DoseReport, plan: Plan) -> list[str]:
    """The sources of the priors, masses, errors, nuclide data, tissues, limits and schedules that were used."""
    tissues = {tissue_name(r) for r in report.regions}
    bounds, tracer = {lim.source_id for lim in plan.limits}, (twin.study.ligand, twin.study.nuclide)
    used = {
        "pbpk": {*prior_sources(twin).values(), *_ids("pbpk", "physiology.csv")},
        "dose": _ids("dose", "tissues.csv", lambda row: row["tissue"] in tissues)
        | _ids("dose", "nuclides.csv", lambda row: row["nuclide"] == twin.study.nuclide)
        | _ids("dose", "self_dose_model.csv"),
        "calibration": _ids("calibration", "noise.csv") | _ids("calibration", "correlations.csv"),
        "twin": bounds
        | _ids("twin", "forecast.csv")
        | _ids("twin", "schedules.csv", lambda row: (row["ligand"], row["nuclide"]) == tracer),
    }
    plain = lambda text: text.replace("\\_", "_")
    return [f"[{p}: {s.id}] {plain(s.citation)}" for p, ids in used.items() for s in sources(p).values() if s.id in ids]


def _ids(package: str, filename: str, keep=lambda row: True) -> set[str]:
    return {row["source_id"] for row in load_table(package, filename) if keep(row)}


def fingerprint(twin: PatientTwin) -> str:
    """Sixteen letters by which the twin's data and draws are known; the saved twin has the same."""
    seen = twin.study.observations
    digest = hashlib.sha256()
    for numbers in (seen.time_h, seen.activity_MBq, seen.sd_MBq, twin.posterior.map_log, twin.posterior.draws):
        digest.update(np.ascontiguousarray(numbers, dtype=float).tobytes())
    return digest.hexdigest()[:16]


def versions() -> dict[str, str]:
    """Versions of the packages in use; those not installed are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
