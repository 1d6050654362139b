"""Reporting fields of the model, the time-integrated activities, the doses, the BED and the software."""

from __future__ import annotations

import platform

import numpy as np

from dose.organ import DoseCoefficient
from dose.tissues import tissue, tissue_name
from twin.patient import DoseReport, PatientTwin
from twin.report.extras import Extras
from twin.report.fields import Field
from twin.report.html import Interval, method_of, number, percent
from twin.report.provenance import coefficient, fingerprint, followed_words, mass_source, versions
from twin.tables import MBQ_PER_GBQ, posterior_table

MODEL, TIA, S_VALUE = "Kinetic model", "Time-integrated activity", "Dose conversion"
DOSE, BED, SOFTWARE = "Absorbed dose", "Biologically effective dose", "Software"
PARAMETERS_PLACE, DOSES_PLACE = ("learning", "What the measurements taught"), ("doses", "Absorbed dose")
"""Sections of the page (id and title) that show these tables."""
FUNCTION = (
    "whole-body physiologically based kinetics of hot and cold ligand with finite receptors (docs/equations.md), "
    "one set of parameters for all regions; no sum of exponentials is fitted"
)
SCALING = (
    "absorbed fractions of spheres of the region's own mass from our own Monte Carlo, so that no power law scales a "
    "phantom's S value; the two kidneys are two spheres"
)
CROSS = "self-dose only; in the red marrow a rough photon term of the whole body is added (twin/data/forecast.csv)"
BED_WORDS = "D + 2 S² K / (α/β), K = ∫ A(t) ∫ A(s) exp(−µ(t−s)) ds dt with µ = ln 2 / repair half-time; cycles added"
TIA_METHOD = (
    "integral of the model's curve from this administration to the next, or to the end of the solve; 90% intervals"
)


def fields(twin: PatientTwin, report: DoseReport, extras: Extras) -> tuple[Field, ...]:
    """`report` holds the cycles given and may hold those to come, which are left out here."""
    given = [k for k, c in enumerate(report.cycles) if c in {a.cycle for a in twin.study.administrations}]
    return (
        *_model(twin),
        Field(TIA, "tia_method", "Method", TIA_METHOD),
        Field(TIA, "tia", "Time-integrated activity of each region", _tia(report, given)),
        Field(S_VALUE, "s_values", "S values and masses", _s_values(twin, report)),
        Field(S_VALUE, "mass_scaling", "Mass scaling", SCALING),
        Field(S_VALUE, "cross_dose", "Dose from other regions", CROSS),
        Field(DOSE, "doses", "Absorbed dose of each cycle given", _doses(report, given), DOSES_PLACE),
        Field(DOSE, "dose_uncertainty", "Uncertainty", UNCERTAINTY),
        Field(BED, "bed_method", "Formula", BED_WORDS),
        Field(BED, "bed_parameters", "Tissue parameters and their ranges", _tissues(report)),
        Field(BED, "bed", "BED of the cycles given together", _bed(report, given)),
        *_software(twin, extras),
    )


UNCERTAINTY = (
    "90% intervals of posterior draws: measurement, model parameters, mass, S value and drift between cycles; not a "
    "wrong model (docs/limits.md), and not the tissue parameters of the BED"
)


def _model(twin: PatientTwin):
    p = twin.posterior
    yield Field(MODEL, "fit_function", "Function", FUNCTION)
    drawn = f"{len(p.names)} parameters with priors; posterior by {method_of(p)}, {len(p.draws)} draws"
    yield Field(MODEL, "fit_method", "Estimation", drawn)
    quality = [f"{name.replace('_', ' ')} {number(value)}" for name, value in p.diagnostics.items()]
    fit = f"chi-squared {p.chi2:.3g} from {p.observations_used} measurements"
    yield Field(MODEL, "fit_quality", "Goodness of fit", "; ".join([fit, *quality, "R² is not used"]))
    yield Field(MODEL, "parameter_correlation", "Correlation of parameters", _correlation(twin))
    yield Field(MODEL, "parameters", "Parameters", _parameters(twin), PARAMETERS_PLACE)


def _parameters(twin: PatientTwin):
    return tuple(
        {
            "parameter": row["parameter"],
            "unit": row["unit"],
            "typical": row["prior_median"],
            "this_patient": Interval(row["median"], row["lower90"], row["upper90"]).record(),
        }
        for row in posterior_table(twin).to_dict("records")
    )


def _correlation(twin: PatientTwin) -> str:
    """The strongest of the posterior, and where all are."""
    p = twin.posterior
    sd = np.sqrt(np.diag(p.covariance))
    value = p.covariance / np.outer(sd, sd) - np.eye(len(sd))
    i, j = np.unravel_index(int(np.argmax(np.abs(value))), value.shape)
    return f"strongest: {p.names[i]} with {p.names[j]}, {value[i, j]:+.2f}; all are in twin/arrays.nc (covariance)"


def _tia(report: DoseReport, given):
    rows = [
        {
            "region": region,
            "cycle": str(report.cycles[k]),
            "tia_MBq_h": Interval.of(report.tia_MBq_h[:, k, r]).record(),
            "tiac_h": Interval.of(report.tia_MBq_h[:, k, r] / report.administered_MBq[k]).record(),
            "extrapolated": percent(report.extrapolated_fraction[k, r]),
        }
        for r, region in enumerate(report.regions)
        for k in given
    ]
    return tuple(rows) or None


def _s_values(twin: PatientTwin, report: DoseReport):
    rows = []
    for region, mass_g in zip(report.regions, report.mass_g, strict=True):
        found = coefficient(twin, region, float(mass_g))
        made = (None, None, str(found))
        if isinstance(found, DoseCoefficient):
            made = found.total, percent(found.relative_sd), found.method + followed_words(twin.study.nuclide)
        words = {"region": region, "mass_g": float(mass_g), "mass_from": mass_source(twin.study, region)}
        rows.append(words | dict(zip(("s_Gy_per_MBq_h", "sd", "method"), made, strict=True)))
    return tuple(rows)


def _doses(report: DoseReport, given):
    rows = [
        {
            "region": region,
            "cycle": str(report.cycles[k]),
            "dose_Gy": Interval.of(report.dose_Gy[:, k, r]).record(),
            "Gy_per_GBq": float(np.median(report.dose_Gy[:, k, r]) * MBQ_PER_GBQ / report.administered_MBq[k]),
            "after": {"assimilated": "measurements", "forecast": "no measurement of this cycle"}[report.kind[k]],
        }
        for r, region in enumerate(report.regions)
        for k in given
    ]
    return tuple(rows) or None


def _tissues(report: DoseReport):
    rows = []
    for name, region in {tissue_name(r): r for r in report.regions}.items():
        found = tissue(region)
        ranges = {k: [x for x in v if x is not None] for k, v in found.ranges.items()}
        rows.append({
            "tissue": name,
            "regions": [r.replace("_", " ") for r in report.regions if tissue_name(r) == name],
            "alpha_beta_Gy": found.alpha_beta_Gy, "range_Gy": ranges.get("alpha_beta", []),
            "repair_half_time_h": found.repair_half_time_h, "range_h": ranges.get("repair_half_time", []),
            "source": found.source_id,
        })  # fmt: skip
    return tuple(rows)


def _bed(report: DoseReport, given):
    rows = [
        {"region": region, "bed_Gy": Interval.of(report.bed_Gy[:, given, r].sum(axis=1)).record()}
        for r, region in enumerate(report.regions)
    ]
    return tuple(rows) if given else None


def _software(twin: PatientTwin, extras: Extras):
    packages = ", ".join(f"{name} {found}" for name, found in versions().items())
    yield Field(SOFTWARE, "software", "Program and packages", f"{packages}; Python {platform.python_version()}")
    yield Field(SOFTWARE, "tables", "Tables of the priors (fingerprints)", twin.provenance.get("tables"))
    seed = twin.provenance.get("seed") if extras.seed is None else str(extras.seed)
    yield Field(SOFTWARE, "seed", "Seed of the random draws", seed)
    yield Field(SOFTWARE, "command", "Command", extras.command or None)
    yield Field(SOFTWARE, "made_at", "Made at", extras.made_at or None)
    yield Field(SOFTWARE, "fingerprint", "Fingerprint of data and draws", fingerprint(twin))
