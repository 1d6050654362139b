"""The page's plotly figures, each from given values; none computes a result."""

from __future__ import annotations

import itertools

import numpy as np
import plotly.graph_objects as go

from dose.regions import members
from twin.app.desk import Desk
from twin.app.drawing import BLACK, BLUE, GREEN, GREY, HEIGHT, ORANGE, PER_PANEL, RED, axis, band, clear, figure, line
from twin.app.words import kind_of
from twin.constraints import Limit
from twin.outlook.outcomes import Outcomes
from twin.patient import DoseReport
from twin.planning import Front
from twin.tables import HOURS_PER_DAY
from twin.what_if import WhatIf

DECADES = 1e-4
"""Activities below this share of the largest are off the axis."""
SHOWN_DAYS = 10.0
"""What is shown of one cycle."""
BINS = 28
FAN = ((5, 95, 0.22), (25, 75, 0.35))
"""Percentiles and opacity of a fan's parts."""


def time_activity(desk: Desk, shown: WhatIf, region: str, cycle: int = 0) -> go.Figure:
    """Activity of a region over the course: given cycles, what was measured of them, and the cycles to come.

    With a `cycle` only the days after it.
    """
    every = [given_course(desk, region), coming_course(shown, region)]
    traces, looks = [], ((BLUE, "solid", "given"), (ORANGE, "dash", "to come"))
    for (days, middle, low, high), (colour, dash, name) in zip(every, looks, strict=True):
        traces += [*band(days, low, high, colour), line(days, middle, colour, f"{name} (90 % band)", dash)]
    traces += _marks(measured(desk, region))
    top = max((np.nanmax(high) for *_, high in every if len(high)), default=1.0)
    y = axis("activity (MBq)", type="log", dtick=1, exponentformat="power")
    y |= {"range": [np.log10(top * DECADES), np.log10(top * 2)]}
    return figure(traces, xaxis=axis("days since cycle 1") | _window(desk, shown, cycle), yaxis=y)


def _window(desk: Desk, shown: WhatIf, cycle: int) -> dict:
    """The days of one cycle as an axis' range; everything where that cycle is not there."""
    every = (*desk.outlook.given_administrations, *shown.administrations)
    starts = {a.cycle: a.time_h / HOURS_PER_DAY for a in every}
    if cycle not in starts:
        return {}
    return {"range": [starts[cycle] - SHOWN_DAYS / 50, starts[cycle] + SHOWN_DAYS]}


def given_course(desk: Desk, region: str):
    """(days, median, lower, upper) of the cycles given, with gaps between them."""
    starts = {a.cycle: a.time_h for a in desk.outlook.given_administrations}
    parts = [
        (starts[c] + time_h, *bands[region])
        for c, (time_h, bands) in desk.curves.items()
        if c in starts and region in bands
    ]
    return _joined(parts)


def coming_course(shown: WhatIf, region: str):
    """(days, median, lower, upper) of the cycles to come, with gaps between them."""
    time_h, *bands = shown.activity[region]
    starts = [a.time_h for a in shown.administrations]
    which = np.searchsorted(starts, time_h, side="right")
    return _joined([tuple(x[which == k + 1] for x in (time_h, *bands)) for k in range(len(starts))])


def _joined(parts):
    """Columns of several curves behind each other, NaN between; hours become days."""
    gap = np.array([np.nan])
    columns = [
        np.concatenate([x for part in parts for x in (part[k], gap)][:-1]) if parts else gap[:0] for k in range(4)
    ]
    return columns[0] / HOURS_PER_DAY, *columns[1:]


def measured(desk: Desk, region: str) -> list[tuple[float, float, float]]:
    """(days, activity, sd) of what was measured of a region in therapy; of a union where all its members were."""
    seen, parts = desk.twin.study.observations, members(region)
    starts = {a.cycle: a.time_h for a in desk.outlook.given_administrations}
    rows: dict[tuple, dict] = {}
    for name, t, a, sd, c in zip(seen.region, seen.time_h, seen.activity_MBq, seen.sd_MBq, seen.cycle, strict=True):
        if name in (region, *parts) and c in starts:
            rows.setdefault((c, round(float(t), 2)), {})[name] = (a, sd)
    out = [((starts[c] + t) / HOURS_PER_DAY, *_summed(by_name, region, parts)) for (c, t), by_name in rows.items()]
    return [row for row in out if np.isfinite(row[1])]


def _summed(by_name: dict, region: str, parts) -> tuple[float, float]:
    found = [by_name[region]] if region in by_name else [by_name.get(p, (np.nan, np.nan)) for p in parts]
    return float(sum(a for a, _ in found)), float(np.sqrt(sum(sd**2 for _, sd in found)))


def _marks(rows) -> list[dict]:
    if not rows:
        return []
    days, activity, sd = (list(column) for column in zip(*rows, strict=True))
    bars = {"type": "data", "array": [2 * s for s in sd], "thickness": 1.2, "width": 3}
    mark = {"color": BLACK, "size": 7, "symbol": "circle-open", "line": {"width": 1.8}}
    trace = {"type": "scatter", "x": days, "y": activity, "error_y": bars, "mode": "markers", "marker": mark}
    return [trace | {"name": "measured (bars: 2 sd)"}]


def kidney_fan(shown: WhatIf, label: WhatIf | None, limit: Limit) -> go.Figure:
    """Kidney BED or dose summed over the cycles, median with 50 and 90 % of the draws, against the limit."""
    cycles, total = summed(shown.report, limit)
    given = sum(kind != "forecast" for kind in shown.report.kind)
    traces = _fan(cycles[: given + 1], total[:, : given + 1], BLUE, "given", "solid")
    traces += _fan(cycles[given:], total[:, given:], ORANGE, "to come", "dash")
    ends = [0, cycles[-1]]
    if label is not None:
        at, other = summed(label.report, limit)
        traces.append(line(at, np.median(other, axis=0), GREY, "label schedule, median", "dot"))
        ends[1] = max(ends[1], at[-1])
    traces.append(line(ends, [limit.value_Gy] * 2, RED, f"limit {limit.value_Gy:g} Gy", "longdash"))
    y = axis(f"kidney {kind_of(limit)} (Gy)", rangemode="tozero")
    return figure(traces, xaxis=axis("after cycle", dtick=1), yaxis=y)


def _fan(cycles, total, colour: str, name: str, dash: str) -> list[dict]:
    if len(cycles) < 2:
        return []
    areas = [band(cycles, *np.percentile(total, ends, axis=0), colour, opacity) for *ends, opacity in FAN]
    return [*itertools.chain(*areas), line(cycles, np.median(total, axis=0), colour, f"{name} (50 and 90 %)", dash)]


def summed(report: DoseReport, limit: Limit) -> tuple[list[int], np.ndarray]:
    """Numbers of the cycles from 0 on, and the sums up to each, [draw, cycle]."""
    each = getattr(report, limit.quantity)[..., report.regions.index(limit.region)]
    return [0, *report.cycles], np.concatenate([np.zeros((len(each), 1)), np.cumsum(each, axis=1)], axis=1)


def index_distribution(shown: WhatIf, label: WhatIf | None) -> go.Figure:
    """Therapeutic index over the draws: this schedule and the label's."""
    rows = [(shown.therapeutic_index, ORANGE, "this schedule", "solid")]
    rows += [(label.therapeutic_index, GREY, "label schedule", "dot")] if label is not None else []
    edges = np.histogram_bin_edges(np.concatenate([values for values, *_ in rows]), BINS)
    traces = []
    for values, colour, name, dash in rows:
        share = np.histogram(values, edges)[0] / len(values) * 100
        step = line((edges[1:] + edges[:-1]) / 2, share, colour, name, dash)
        traces.append(
            step | {"line": step["line"] | {"shape": "hvh"}, "fill": "tozeroy", "fillcolor": clear(colour, 0.2)}
        )
    return figure(traces, xaxis=axis("tumour BED / kidney BED"), yaxis=axis("share of the draws (%)"))


def outcome_bands(found: Outcomes) -> go.Figure:
    """Illustrative courses of tumour volume, PSA and platelets, one below the other."""
    rows = [("tumour volume<br>(share of now)", found.volume_share), ("PSA<br>(share of now)", found.psa_share),
            ("platelets<br>(per nL)", found.platelets_per_nL)]  # fmt: skip
    rows = [(name, values) for name, values in rows if values is not None]
    days, count = (found.time_h - found.time_h[0]) / HOURS_PER_DAY, len(rows)
    traces, axes = [], {"xaxis": axis("days since cycle 1", anchor=f"y{count}" if count > 1 else "y")}
    for k, (name, (low, middle, high)) in enumerate(rows):
        place = {"yaxis": f"y{k + 1}" if k else "y"}
        said = "" if k else "median and 90 % of the draws"
        traces += [*band(days, low, high, GREEN, **place), line(days, middle, GREEN, said, **place)]
        domain = [(count - k - 1) / count, (count - k - 0.2) / count]
        axes[f"yaxis{k + 1}" if k else "yaxis"] = axis(name, rangemode="tozero", domain=domain)
    return figure(traces, PER_PANEL * count + 100, -0.14, **axes)


def pareto(found: Front, shown: WhatIf) -> go.Figure:
    """Best tumour BED for every kidney limit, with this schedule and the label's; medians with 90 % intervals."""
    best = ([p.kidney_bed_Gy for p in found.points], [p.tumour_bed_Gy for p in found.points])
    traces = [_points(*best, BLUE, "circle", "best for a kidney limit", "lines+markers")]
    if (label := found.label_point) is not None:
        traces.append(_points([label.kidney_bed_Gy], [label.tumour_bed_Gy], GREY, "diamond", "label schedule"))
    kidney, tumour = course_beds(shown)
    traces.append(_points([kidney], [tumour], RED, "star", "this schedule"))
    return figure(traces, HEIGHT, xaxis=axis("kidney BED (Gy)"), yaxis=axis("tumour BED (Gy)"))


def course_beds(shown: WhatIf) -> tuple[np.ndarray, np.ndarray]:
    """Kidney and tumour BED of the course, [draw]; the index is their ratio."""
    report = shown.report
    kidney = report.bed_Gy[..., report.regions.index("kidneys")].sum(axis=1)
    return kidney, shown.therapeutic_index * kidney


def _points(kidneys, tumours, colour: str, symbol: str, name: str, mode: str = "markers") -> dict:
    x, y = (np.array([np.percentile(d, (5, 50, 95)) for d in rows]).reshape(-1, 3) for rows in (kidneys, tumours))
    faint = {"type": "data", "thickness": 1, "width": 0, "color": clear(colour, 0.45)}
    bars = lambda v: faint | {"array": v[:, 2] - v[:, 1], "arrayminus": v[:, 1] - v[:, 0]}
    mark = {"color": colour, "size": 14 if symbol == "star" else 9, "symbol": symbol}
    place = {"x": x[:, 1], "y": y[:, 1], "error_x": bars(x), "error_y": bars(y)}
    return {"type": "scatter", "mode": mode, "marker": mark, "line": {"color": colour}, "name": name} | place
