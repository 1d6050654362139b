"""What a physicist asks before believing a number, answered from this patient's data."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from dose.organ import DoseCoefficient
from dose.regions import is_tumour
from dose.tissues import tissue, tissue_name
from twin.patient import DoseReport, PatientTwin
from twin.report.extras import Extras
from twin.report.fields import NOT_RECORDED
from twin.report.html import Interval, Markup, bullets, escaped, method_of, number, percent, table
from twin.report.provenance import coefficient, fingerprint, mass_source, versions

MOST_LEARNT = 6
"""Parameters named in the answer on prior and posterior."""


def answers(twin: PatientTwin, report: DoseReport, extras: Extras) -> Markup:
    """Questions and answers as a definition list."""
    pairs = "".join(f"<dt>{escaped(q)}</dt><dd>{a}</dd>\n" for q, a in _pairs(twin, report, extras))
    return Markup(f"<dl>{pairs}</dl>\n")


def _pairs(twin: PatientTwin, report: DoseReport, extras: Extras) -> Iterator[tuple[str, Markup]]:
    yield "Which time points, and which model?", _times_and_model(twin)
    yield "What fraction is extrapolated?", _extrapolated(report)
    yield "Where do the masses come from?", _masses(twin, report)
    yield "Were partial volumes corrected?", _partial_volume(extras)
    yield "Which S values, and which density?", _s_values(twin, report)
    yield "Which repair constants?", _repair(report)
    yield "What did the posterior change from the prior?", _learnt(twin)
    yield "What if the last scan is dropped?", _dropped(twin, report, extras)
    yield "Can it be reproduced from the exported files?", _reproduced(twin, extras)


def _times_and_model(twin: PatientTwin) -> Markup:
    seen, p = twin.study.observations, twin.posterior
    lines = []
    for cycle in sorted(set(seen.cycle)):
        mine = seen.of_cycle(cycle)
        hours = ", ".join(f"{h:g}" for h in sorted({round(float(t), 1) for t in mine.time_h}))
        lines.append(
            f"cycle {cycle}: {'/'.join(dict.fromkeys(mine.modality))} at {hours} h, {len(set(mine.region))} regions"
        )
    model = (
        f"Whole-body kinetic model of {twin.study.nuclide}-{twin.study.ligand}, {len(p.names)} parameters move; "
        f"posterior by {method_of(p)}, chi-squared {number(float(p.chi2))} from {p.observations_used} measurements"
    )
    return bullets([*(lines or ["no measurement: the population's values"]), model])


def _extrapolated(report: DoseReport) -> Markup:
    """Kidneys, marrow and tumours by name, then the largest of the rest; what was not measured."""
    lines = []
    for k, cycle in enumerate(report.cycles):
        share = report.extrapolated_fraction[k]
        measured = {r: float(x) for r, x in zip(report.regions, share, strict=True) if x < 1}
        if report.kind[k] == "assimilated" and measured:
            said = ", ".join(f"{r.replace('_', ' ')} {percent(x)}" for r, x in measured.items())
            others = [r.replace("_", " ") for r in report.regions if r not in measured]
            lines.append(f"cycle {cycle}: {said}" + (f"; not measured: {', '.join(others)}" if others else ""))
    return bullets(lines or ["all of it: no cycle has measurements of a region"])


def _masses(twin: PatientTwin, report: DoseReport) -> Markup:
    return bullets(
        [f"{r.replace('_', ' ')}: {number(float(m))} g, {mass_source(twin.study, r)}"
         for r, m in zip(report.regions, report.mass_g, strict=True)]
    )  # fmt: skip


def _partial_volume(extras: Extras) -> Markup:
    said = extras.recorded.get("partial_volume_correction", NOT_RECORDED)
    taken = "a recovery error shared by a region's scans is taken into its interval (calibration/data/noise.csv)"
    return Markup(f"<p>{escaped(f'{said}; {taken}.')}</p>")


def _s_values(twin: PatientTwin, report: DoseReport) -> Markup:
    """Each method once, with the regions that it serves."""
    by_method: dict[str, list[str]] = {}
    for region, mass_g in zip(report.regions, report.mass_g, strict=True):
        found = coefficient(twin, region, float(mass_g))
        words = found.method if isinstance(found, DoseCoefficient) else f"not available ({found})"
        by_method.setdefault(words, []).append(region.replace("_", " "))
    lines = [f"{', '.join(regions)}: {method}" for method, regions in by_method.items()]
    return bullets([*lines, "spheres of water density and the region's mass; no voxel kernel"])


def _repair(report: DoseReport) -> Markup:
    rows = {tissue_name(r): tissue(r) for r in report.regions}
    return bullets(
        [f"{name.replace('_', ' ')}: half-time {t.repair_half_time_h:g} h, α/β {t.alpha_beta_Gy:g} Gy ({t.source_id})"
         for name, t in rows.items()]
    )  # fmt: skip


def _learnt(twin: PatientTwin) -> Markup:
    p = twin.posterior
    if not p.observations_used:
        return bullets(["nothing: no measurement was used"])
    order = np.argsort(-p.contraction)[:MOST_LEARNT]
    lines = [
        f"{p.names[k].replace('_', ' ')}: {np.exp(p.map_log[k]):.2f} of the population's value, "
        f"{percent(max(float(p.contraction[k]), 0.0))} of the variance removed"
        for k in order
    ]
    untaught = int(np.sum(p.contraction < 0.1))
    return bullets(
        [*lines, f"{untaught} of {len(p.names)} parameters kept nine tenths of their prior variance or more"]
    )


def _dropped(twin: PatientTwin, report: DoseReport, extras: Extras) -> Markup:
    without = extras.without_last_scan
    if without is None:
        return Markup("<p>Not computed for this report: twin.report.history.without_last_scan does.</p>")
    given = [c for c in without.cycles if c in report.cycles]
    rows = []
    for region in (r for r in report.regions if r in without.regions and (r in IMPORTANT or is_tumour(r))):
        both = [Interval.of(_sum(found, region, given)) for found in (report, without)]
        rows.append([region.replace("_", " "), *both, f"{100 * (both[1].median / both[0].median - 1):+.0f}%"])
    head = ["dose of the cycles given, Gy", "all scans", "without the last scan", "change"]
    return table(head, rows, "Doses without the last scan")


IMPORTANT = ("kidneys", "parotid", "red_marrow", "liver", "spleen")


def _sum(report: DoseReport, region: str, cycles) -> np.ndarray:
    at = [report.cycles.index(c) for c in cycles]
    return report.dose_Gy[:, at, report.regions.index(region)].sum(axis=1)


def _reproduced(twin: PatientTwin, extras: Extras) -> Markup:
    seed = twin.provenance.get("seed", NOT_RECORDED) if extras.seed is None else extras.seed
    program = ", ".join(f"{name} {v}" for name, v in versions().items() if name in ("theratwin", "jax", "numpy"))
    lines = [
        f"twin/ holds the data, the posterior and its draws; fingerprint {fingerprint(twin)}",
        f"seed of the draws {seed}; {len(twin.posterior.draws)} draws; {program}",
        f"command: {extras.command or NOT_RECORDED}",
        "the same twin gives the same doses and plan, to the last digits of the processor's arithmetic",
    ]
    return bullets(lines)
