"""Which figures a report has: those whose data exist, each with a caption and words for who does not see it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import numpy as np

from dose.regions import is_tumour, members
from twin.patient import Comparison, DoseReport, PatientTwin, Plan
from twin.report.extras import Extras, Picture, Stage
from twin.report.html import number

PLANNING, DOSE, CURVES, FORECASTS = "plan", "dose", "curves", "forecasts"
LESIONS, VOXELS, LEARNING, SENSITIVITY = "lesions", "voxels", "learning", "sensitivity"
CSS_PIXELS_PER_INCH = 96
"""So that a figure's letters have their own size on the page."""


def pictures(
    twin: PatientTwin, every: DoseReport, plan: Plan, curves: Mapping, limits, extras: Extras
) -> Iterator[Picture]:
    """All figures, section by section; `every` holds the doses of the cycles given and to come."""
    drawn = tuple(lim for lim in limits if lim.region in every.regions and _is_upper_on_course(lim))
    yield from _of_plan(twin, every, plan, drawn, extras)
    yield from _of_doses(every, drawn)
    yield from _of_curves(twin, curves)
    yield from _of_forecasts(twin, extras)
    yield from _of_lesions(twin, every, extras)
    yield from _of_learning(twin, extras)
    yield from _of_sensitivity(extras)


def _is_upper_on_course(limit) -> bool:
    """Whether a limit can be drawn on a sum of cycles."""
    return getattr(limit, "per", "course") == "course" and not getattr(limit, "at_least", False)


def _picture(name: str, section: str, caption: str, alt: str, figure) -> Picture:
    from twin.plots import png

    width, height = (round(CSS_PIXELS_PER_INCH * inches) for inches in figure.get_size_inches())
    return Picture(name, section, caption, alt, (width, height), png(figure))


def given_cycles(twin: PatientTwin) -> tuple[int, ...]:
    """Therapy cycles that were given."""
    return tuple(a.cycle for a in twin.study.administrations if a.cycle > 0)


def label_of(plan: Plan) -> Comparison | None:
    """The label's course among the schedules of a plan."""
    return next((s for s in plan.schedules if s.name.startswith("label")), None)


def _of_plan(twin: PatientTwin, every: DoseReport, plan: Plan, limits, extras: Extras):
    from twin import plots_plan

    if limits and every.cycles:
        figure = plots_plan.plan_fan(every, limits, given_cycles(twin), label_of(plan))
        words = "; ".join(_share_of(every, limit) for limit in limits)
        yield _picture("plan", PLANNING, "The course against the limits of the plan", words, figure)
    front, mine = extras.front, plan.schedules[0] if plan.schedules else None
    if front is not None and front.points and _has_tumours(front.points[0]):
        first, last = front.points[0], front.points[-1]
        words = f"from {_trade(first)} to {_trade(last)}" + (f"; label: {_trade(front.label)}" if front.label else "")
        figure = plots_plan.pareto(front, mine)
        yield _picture("front", PLANNING, "The most tumour BED for each kidney limit", words, figure)
    if plan.schedules and _has_tumours(plan.schedules[0]):
        words = "; ".join(f"{s.name}: {number(np.median(s.tumour_bed_Gy / s.kidney_bed_Gy))}" for s in plan.schedules)
        figure = plots_plan.therapeutic_index(plan.schedules)
        yield _picture("therapeutic_index", PLANNING, "Tumour BED over kidney BED, plan and label", words, figure)


def _has_tumours(made) -> bool:
    """Whether a schedule or a point of a front has doses of both, so that their ratio is one."""
    return bool(np.all(made.kidney_bed_Gy > 0) and np.all(made.tumour_bed_Gy > 0))


def _share_of(every: DoseReport, limit) -> str:
    total = np.median(getattr(every, limit.quantity)[:, :, every.regions.index(limit.region)].sum(axis=1))
    return f"{limit.region}: {number(total)} Gy in all against {limit.value_Gy:g} Gy"


def _trade(made) -> str:
    tumour, kidney = np.median(made.tumour_bed_Gy), np.median(made.kidney_bed_Gy)
    return f"{number(tumour)} Gy to the tumours at {number(kidney)} Gy to the kidneys (median BED)"


def _of_doses(every: DoseReport, limits):
    from twin import plots

    if every.cycles:
        words = "the numbers of the table of doses above"
        yield _picture("doses", DOSE, "Absorbed dose of each cycle and their sum", words, plots.doses(every, limits))


def _of_curves(twin: PatientTwin, curves: Mapping):
    from twin import plots

    for cycle, (time_h, bands) in curves.items():
        seen = twin.study.observations.of_cycle(cycle)
        words = f"{len(bands)} regions to {np.max(time_h):.0f} h, {len(seen)} measurements"
        figure = plots.time_activity(cycle, time_h, bands, twin.study.observations)
        yield _picture(
            f"time_activity_cycle_{cycle}", CURVES, f"Activity of each region in cycle {cycle}", words, figure
        )


def _of_forecasts(twin: PatientTwin, extras: Extras):
    from twin import plots_learning, plots_ledger

    if pairs := dose_pairs(extras.stages):
        words = "; ".join(_kidneys_then(pair) for pair in pairs)
        figure = plots_learning.dose_forecasts(pairs, shown_regions(extras.stages))
        yield _picture(
            "dose_forecasts", FORECASTS, "Dose forecast before a cycle's scans and after them", words, figure
        )
    if not twin.ledger:
        return
    inside = f"{sum(e.is_inside for e in twin.ledger)} of {len(twin.ledger)} inside the 90% interval"
    caption = "Forecasts against the measurements that followed"
    yield _picture("ledger", FORECASTS, caption, inside, plots_ledger.ledger(twin.ledger))
    ratio = np.median([e.observed_MBq / e.forecast_median_MBq for e in twin.ledger])
    words, figure = f"median of measured over forecast: {ratio:.2f}", plots_ledger.residuals(twin.ledger)
    yield _picture("residuals", FORECASTS, "Trend of measured over forecast", words, figure)
    if len(twin.ledger) >= plots_ledger.LEAST_FOR_COVERAGE:
        figure = plots_ledger.coverage(twin.ledger)
        yield _picture("coverage", FORECASTS, "Share of measurements inside forecast intervals", inside, figure)


def dose_pairs(stages: tuple[Stage, ...]) -> list[tuple[int, Stage, Stage]]:
    """(cycle, the stage before its measurements, the stage after) of each measured cycle after the first stage."""
    return [(b.cycle, a, b) for a, b in zip(stages, stages[1:]) if b.cycle is not None and b.cycle in b.report.cycles]


def common_regions(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """Regions that every stage has: a lesion found later is in none of the first."""
    return tuple(r for r in stages[0].report.regions if all(r in s.report.regions for s in stages))


def shown_regions(stages: tuple[Stage, ...]) -> tuple[str, ...]:
    """The common regions without the unions whose parts are there."""
    common = common_regions(stages)
    return tuple(r for r in common if members(r) == (r,) or not set(members(r)) <= set(common))


def _kidneys_then(pair: tuple[int, Stage, Stage]) -> str:
    cycle, *both = pair
    region = "kidneys" if "kidneys" in both[0].report.regions else both[0].report.regions[0]
    dose = [np.median(s.report.dose_Gy[:, s.report.cycles.index(cycle), s.report.regions.index(region)]) for s in both]
    return f"cycle {cycle}, {region}: {number(dose[0])} Gy forecast, {number(dose[1])} Gy after the scans"


def _of_lesions(twin: PatientTwin, every: DoseReport, extras: Extras):
    from twin import plots_lesions

    if every.cycles and (lesions := plots_lesions.lesions_by_dose(every)):
        total = {r: np.median(every.dose_Gy[:, :, every.regions.index(r)].sum(axis=1)) for r in lesions}
        words = "; ".join(f"{r} {number(dose)} Gy" for r, dose in total.items())
        figure = plots_lesions.waterfall(every, given_cycles(twin), extras.volume_change)
        yield _picture("lesions", LESIONS, "Dose of each lesion, the largest first", words, figure)
    if extras.histograms:
        found = extras.histograms
        words = "; ".join(f"{r}: D50% {number(np.median(h.dose_at(50)))} Gy" for r, h in found.items())
        yield _picture("histograms", VOXELS, "Dose-volume histograms", words, plots_lesions.histograms(found))


def _of_learning(twin: PatientTwin, extras: Extras):
    from twin import plots_learning

    if (posterior := twin.posterior).observations_used:
        best = posterior.names[int(np.argmax(posterior.contraction))]
        words, figure = f"best learnt: {best}", plots_learning.contraction(posterior)
        yield _picture("posterior", LEARNING, "What the measurements taught about each parameter", words, figure)
    if len(extras.stages) > 1:
        regions = common_regions(extras.stages)
        chosen = [r for r in ("kidneys", "parotid", "red_marrow") if r in regions] + [
            r for r in regions if is_tumour(r)
        ]
        figure = plots_learning.shrinking(extras.stages, chosen)
        words = "the interval after each cycle's measurements, region by region"
        yield _picture("worth_of_scans", LEARNING, "Dose of the cycles given, as known after each cycle", words, figure)


def _of_sensitivity(extras: Extras):
    from twin import plots_sensitivity

    if extras.elasticities is not None:
        words = f"{len(extras.elasticities.parameters)} parameters, {len(extras.elasticities.outputs)} regions"
        figure = plots_sensitivity.elasticity_heatmap(extras.elasticities)
        yield _picture("elasticities", SENSITIVITY, "Which parameters move the dose of an organ", words, figure)
    if extras.sobol is not None:
        words = f"{len(extras.sobol.outputs)} regions, base sample {extras.sobol.samples}"
        figure = plots_sensitivity.sobol_bars(extras.sobol)
        yield _picture("sobol", SENSITIVITY, "What explains the spread of dose between patients", words, figure)
