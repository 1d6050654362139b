"""The report page: one self-contained HTML file, warnings first, the origin of each number last."""

from __future__ import annotations

import base64
import html
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from string import Template

import numpy as np

from dose.errors import TheratwinError
from dose.provenance import sources
from twin.patient import DoseReport, PatientTwin, Plan
from twin.tables import doses_table, posterior_table, schedule_table

PACKAGES = ("theratwin", "jax", "diffrax", "equinox", "numpy", "xarray", "pydicom", "simpleitk")
"""Distributions whose versions a report names."""


def page(twin: PatientTwin, report: DoseReport, plan: Plan, figures: dict[str, bytes]) -> str:
    """The HTML of a report; `figures` maps a caption to PNG bytes."""
    study = twin.study
    warnings = all_warnings(twin, report, plan)
    known = ", ".join(f"cycle {a.cycle}: {a.activity_MBq:.0f} MBq" for a in study.administrations)
    words = {
        "title": html.escape(f"{study.id}, {study.nuclide}-{study.ligand}"),
        "subtitle": html.escape(f"Given so far: {known}. {len(study.observations)} measurements. {study.source}"),
        "warning_count": f"{len(warnings)} warnings" if warnings else "No warnings",
        "warning_class": "" if warnings else "none",
        "warnings": _list(warnings),
        "plan": _plan(plan),
        "doses": _doses(report),
        "figures": "".join(_figure(caption, png) for caption, png in figures.items()),
        "parameters": _table(posterior_table(twin)),
        "provenance": _provenance(twin, report),
    }
    return Template(files("twin").joinpath("data", "report.html").read_text(encoding="utf-8")).substitute(words)


def all_warnings(twin: PatientTwin, report: DoseReport, plan: Plan) -> tuple[str, ...]:
    """Warnings of the study, the fit, the doses and the plan, each once."""
    every = (*twin.study.warnings, *twin.posterior.warnings, *report.warnings, *plan.warnings)
    return tuple(dict.fromkeys(every))


def _list(lines) -> str:
    return "<ul>" + "".join(f"<li>{html.escape(str(line))}</li>" for line in lines) + "</ul>" if lines else ""


def _figure(caption: str, png: bytes) -> str:
    code, text = base64.b64encode(png).decode(), html.escape(caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{code}"><figcaption>{text}</figcaption></figure>\n'


def _plan(plan: Plan) -> str:
    chances = [f"chance of passing the limit {name}: {100 * p:.1f}%" for name, p in plan.probability_exceeded.items()]
    return _table(schedule_table(plan)) + _list(chances)


def _doses(report: DoseReport) -> str:
    """The dose table with median and interval in one cell, sums set off."""
    table = doses_table(report)
    shown = table[["cycle", "region", "administered_MBq"]].copy()
    for name, title in (("dose_Gy", "dose, Gy"), ("tia_MBq_h", "time-integrated activity, MBq h")):
        columns = (f"{name}_median", f"{name}_lower90", f"{name}_upper90")
        shown[title] = [f"{number(m)} ({number(a)} to {number(b)})" for m, a, b in table[list(columns)].to_numpy()]
    shown["Gy/GBq"] = table["dose_Gy_per_GBq_median"]
    shown["BED, Gy"] = table["bed_Gy_median"]
    shown["extrapolated"] = [_percent(value) for value in table["extrapolated_fraction"]]
    shown["kind"] = table["kind"]
    if bool(np.any(table["truth_Gy"].notna())):
        shown["truth, Gy"] = table["truth_Gy"]
    return _table(shown)


def _percent(value: float) -> str:
    return "" if np.isnan(value) else f"{100 * value:.0f}%"


def number(value) -> str:
    """Three significant digits without an exponent between 0.001 and 10 million; nothing for NaN."""
    if isinstance(value, str) or not np.isscalar(value):
        return str(value)
    if isinstance(value, int | np.integer):
        return str(value)
    if np.isnan(value):
        return ""
    if value == 0 or not 1e-3 <= abs(value) < 1e7:
        return f"{value:.3g}"
    return f"{value:.{max(0, 2 - int(np.floor(np.log10(abs(value)))))}f}"


def _table(frame) -> str:
    """A pandas table as HTML; rows whose cycle is "cumulative" are set off."""
    head = "".join(f"<th>{html.escape(name.replace('_', ' '))}</th>" for name in frame.columns)
    body = ""
    for row in frame.itertuples(index=False):
        mark = ' class="sum"' if row[0] == "cumulative" else ""
        body += f"<tr{mark}>" + "".join(_cell(value) for value in row) + "</tr>"
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value) -> str:
    text = html.escape(number(value))
    is_word = isinstance(value, str) and not text[:1].isdigit()
    return f"<td>{text}</td>" if is_word else f'<td class="number">{text}</td>'


LONG = ("population numbers",)
"""Entries of a twin's provenance that are whole files."""


def _provenance(twin: PatientTwin, report: DoseReport) -> str:
    study = twin.study
    assumed = ", ".join(study.covariates.assumed) or "none"
    lines = [f"Measurements: {study.source}", f"Covariates taken from the population: {assumed}"]
    lines += [f"{name}: {text}" for name, text in twin.provenance.items() if name not in LONG]
    lines += _fit_lines(twin)
    lines += [f"S value of {region}: {text}" for region, text in dose_methods(twin, report).items()]
    lines.append("Versions: " + ", ".join(f"{name} {v}" for name, v in versions().items()))
    cited = {package: sources(package).values() for package in ("pbpk", "dose", "calibration", "twin")}
    cites = [f"[{package}: {s.id}] {s.citation}" for package, entries in cited.items() for s in entries]
    return _list(lines) + "<p>Sources of the priors, masses, nuclide data and limits:</p>" + _list(cites)


def _fit_lines(twin: PatientTwin) -> list[str]:
    """How the posterior was made, how far that can be trusted, and how earlier forecasts did."""
    from twin.ledger import score

    p = twin.posterior
    quality = ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in p.diagnostics.items())
    lines = [f"Fit: chi-squared {p.chi2:.1f} from {p.observations_used} measurements; posterior by {p.method}"]
    lines[0] += f" ({quality})" if quality else ""
    if done := score(twin.ledger):
        lines.append(
            f"Forecasts so far: {done.forecasts} scans, mean ln(observed/forecast) {done.bias:+.2f} sd {done.sd:.2f}, "
            f"{done.inside90:.0%} inside the 90 % interval, CRPS {done.crps:.3f} (log units)"
        )
    return lines


def dose_methods(twin: PatientTwin, report: DoseReport) -> dict[str, str]:
    """For each region the mass that was used and how its dose coefficient was made."""
    from dose.organ import dose_coefficient_Gy_per_MBq_h
    from pbpk.daughters import is_followed

    methods = {}
    for region, mass_g in zip(report.regions, report.mass_g, strict=True):
        try:
            chain = not is_followed(twin.study.nuclide)
            coefficient = dose_coefficient_Gy_per_MBq_h(region, twin.study.nuclide, float(mass_g), chain=chain)
            followed = "" if chain else "; daughters followed apart, with assumed retention (docs/daughters.md)"
            methods[region] = f"{mass_g:.4g} g, {coefficient.method}{followed}"
        except TheratwinError as error:
            methods[region] = f"not available ({error})"
    return methods


def versions() -> dict[str, str]:
    """Versions of the packages in use; those not installed are left out."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
