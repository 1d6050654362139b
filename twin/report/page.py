"""The report page: one self-contained HTML file, notice and warnings first, the origin of each number last."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from string import Template

from twin.patient import DoseReport, PatientTwin, Plan
from twin.report import pictures as of
from twin.report.answers import answers
from twin.report.assumptions import assumptions
from twin.report.doses import doses
from twin.report.extras import NOTICE, Extras, Picture
from twin.report.fields import fields_section
from twin.report.html import Markup, bullets, escaped, figure, paragraph
from twin.report.planning import conflict, planning
from twin.report.provenance import parameters, provenance, versions
from twin.report.reporting import STANDARD, reporting_fields

FIELDS_WORDS = f"Headings after the {STANDARD}. reporting_fields.json holds the same for machines."


def page(
    twin: PatientTwin, report: DoseReport, plan: Plan, pictures: Sequence[Picture] = (), extras: Extras | None = None
) -> str:
    """The HTML of a report; `report` holds the doses of the cycles given and to come.

    Raises:
        InputError: `extras.recorded` names a field that there is not.
    """
    extras = extras or Extras()
    warnings = [w for w in all_warnings(twin, report, plan) if w != str(plan.conflict)]
    sections = _sections(twin, report, plan, tuple(pictures), extras)
    words = {
        "notice": escaped(NOTICE),
        "title": escaped(f"{twin.study.id}, {twin.study.nuclide}-{twin.study.ligand}"),
        "subtitle": escaped(_subtitle(twin)),
        "made": escaped(_made(extras)),
        "conflict": conflict(plan),
        "warning_count": _count(warnings),
        "warning_class": "" if warnings else "none",
        "warnings": bullets(warnings),
        "contents": "".join(f'<a href="#{name}">{escaped(title)}</a>\n' for name, title, _ in sections),
        "sections": "".join(
            f'<section id="{name}"><h2>{escaped(title)}</h2>\n{content}</section>\n'
            for name, title, content in sections
        ),
    }
    return Template(files("twin").joinpath("data", "report.html").read_text(encoding="utf-8")).substitute(words)


def all_warnings(twin: PatientTwin, report: DoseReport, plan: Plan) -> tuple[str, ...]:
    """Warnings of the study, the fit, the doses and the plan, each once."""
    every = (*twin.study.warnings, *twin.posterior.warnings, *report.warnings, *plan.warnings)
    return tuple(dict.fromkeys(every))


def _count(warnings) -> str:
    if not warnings:
        return "No warnings"
    return f"{len(warnings)} warning{'s' * (len(warnings) > 1)}"


def _subtitle(twin: PatientTwin) -> str:
    study = twin.study
    given = ", ".join(f"cycle {a.cycle}: {a.activity_MBq:.0f} MBq of {a.nuclide}" for a in study.administrations)
    return f"Given so far: {given or 'nothing'}. {len(study.observations)} measurements. {study.source}"


def _made(extras: Extras) -> str:
    program = f"theratwin {versions().get('theratwin', '')}".strip()
    return f"{program}, {extras.made_at}" if extras.made_at else program


def _sections(twin: PatientTwin, report: DoseReport, plan: Plan, pictures, extras: Extras):
    """(id, title, content) of each section that has any."""
    drawn = lambda name: Markup("".join(figure(p) for p in pictures if p.section == name))
    fields = reporting_fields(twin, report, extras)
    every = (
        ("plan", "Proposed schedule", planning(plan, extras.probability) + drawn(of.PLANNING)),
        ("doses", "Absorbed dose", doses(report) + drawn(of.DOSE)),
        ("lesions", "Lesions", drawn(of.LESIONS)),
        ("voxels", "Dose within regions", drawn(of.VOXELS)),
        ("curves", "Activity over time", drawn(of.CURVES)),
        ("forecasts", "Forecasts and what followed", drawn(of.FORECASTS)),
        ("learning", "What the measurements taught", drawn(of.LEARNING) + parameters(twin)),
        ("sensitivity", "What moves the dose", drawn(of.SENSITIVITY)),
        ("questions", "A physicist’s questions", answers(twin, report, extras)),
        ("assumptions", "Assumptions", bullets(assumptions(twin, report, plan))),
        ("fields", "Dosimetry reporting fields", paragraph(FIELDS_WORDS, "quiet") + fields_section(fields)),
        ("provenance", "Where the numbers come from", provenance(twin, report, plan)),
    )
    return [(name, title, content) for name, title, content in every if content]
