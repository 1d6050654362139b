"""The page's numbers: a sentence, tiles with the label's numbers beneath, and the table of cycles, as HTML."""

from __future__ import annotations

import html

import numpy as np

from twin.app.desk import Desk
from twin.app.words import NO_BREAK, activity, has, interval, limited, number, percent, readable, spread, total_MBq
from twin.tables import HOURS_PER_DAY
from twin.what_if import Limited, WhatIf

TABLE_REGIONS = ("kidneys", "red_marrow", "parotid")
"""Regions of the table beside the tumours."""


def status(shown: WhatIf, tail: float) -> str:
    """One sentence that stays in sight and that screen readers say after each change."""
    parts = [f"tumour {number(spread(shown.tumour_dose_Gy)[0])} Gy"] if has(shown.tumour_dose_Gy) else []
    parts += [
        f"{limited(row.limit)} {number(row.median_Gy)} Gy (limit {row.limit.value_Gy:g}: {verdict(row, tail)[1]})"
        for row in shown.limits
    ]
    text = "; ".join(parts) or "no tumour and no limited organ in the report"
    return f'<p class="status" role="status" aria-live="polite" id="status">{html.escape(text)}</p>'


def verdict(row: Limited, tail: float) -> tuple[str, str]:
    """A class for the colour, and words: whether the chance of passing the limit is one that is allowed."""
    if row.exceeded <= (row.limit.tail or tail) + 1e-9:
        return "good", "within"
    return "bad", f"passed with {percent(row.exceeded)}"


def tiles(desk: Desk, shown: WhatIf, label: WhatIf | None, tail: float) -> str:
    """The numbers, each over the label schedule's same number."""
    beside = "" if label is None else activity(desk, total_MBq(label.report))
    made = [
        _of_draws("Mean tumour dose", "Gy", shown, label, lambda w: w.tumour_dose_Gy, "tumour-dose"),
        _of_draws("Kidney BED", "Gy", shown, label, kidney_bed_Gy, "kidney-bed"),
        *(_of_limit(row, label, tail) for row in shown.limits),
        _of_draws("Therapeutic index", "", shown, label, lambda w: w.therapeutic_index, "index"),
        tile("Activity in all", activity(desk, total_MBq(shown.report)), "given and to come", beside, "activity"),
    ]
    words = "the label's cycles are all given" if label is None else f"label: {desk.label.words}"
    return f'<div class="tiles">{"".join(made)}</div><p class="quiet">{html.escape(words)}</p>'


def kidney_bed_Gy(shown: WhatIf) -> np.ndarray:
    """BED of the kidneys over the course, [draw]; NaN without kidneys."""
    report = shown.report
    if "kidneys" not in report.regions:
        return np.full(len(report.bed_Gy), np.nan)
    return report.bed_Gy[..., report.regions.index("kidneys")].sum(axis=1)


def _of_draws(title: str, unit: str, shown, label, read, name: str) -> str:
    if not has(read(shown)):
        return tile(title, "–", "not in this twin", "", name)
    middle, low, high = map(number, spread(read(shown)))
    beside = "" if label is None else interval(read(label))
    return tile(title, f"{middle} {unit}".strip(), f"90 %: {low} to {high}", beside, name)


def _of_limit(row: Limited, label: WhatIf | None, tail: float) -> str:
    kind, words = verdict(row, tail)
    allowed = f"{percent(row.limit.tail or tail)} allowed"
    chance = allowed if kind == "bad" else f"passed with {percent(row.exceeded)}, {allowed}"
    other = [r for r in label.limits if r.limit.name == row.limit.name] if label else []
    beside = f"passed with {percent(other[0].exceeded)}" if other else ""
    title = f"{limited(row.limit)} ≤{NO_BREAK}{row.limit.value_Gy:g}{NO_BREAK}Gy"
    return tile(title[:1].upper() + title[1:], words, chance, beside, f"limit-{row.limit.name}", kind)


def tile(title: str, value: str, more: str, label: str, name: str, kind: str = "") -> str:
    """One number, what goes with it, and the label's beneath."""
    beside = f'<div class="beside">label: {html.escape(label)}</div>' if label else ""
    return (
        f'<div class="tile {kind}" id="{html.escape(name)}"><div class="what">{html.escape(title)}</div>'
        f'<div class="value">{html.escape(value)}</div><div class="more">{html.escape(more)}</div>{beside}</div>'
    )


def table_regions(shown: WhatIf) -> tuple[str, ...]:
    return tuple(r for r in shown.report.regions if r in TABLE_REGIONS or "tumour" in r)


def cycles_table(desk: Desk, shown: WhatIf, quantity: str) -> str:
    """Each cycle's day, activity and dose or BED of some regions with 90 % intervals, then the sums."""
    report, regions = shown.report, table_regions(shown)
    starts = {a.cycle: a.time_h for a in (*desk.outlook.given_administrations, *shown.administrations)}
    values = getattr(report, quantity)[..., [report.regions.index(r) for r in regions]]
    body = ""
    for k, cycle in enumerate(report.cycles):
        kind = "to come" if report.kind[k] == "forecast" else "given"
        day, MBq = f"{starts[cycle] / HOURS_PER_DAY:.0f}", report.administered_MBq[k] / desk.unit_MBq
        body += _row("td", (str(cycle), kind, day, f"{MBq:.2f}", *map(interval, values[:, k].T)))
    sums = map(interval, values.sum(axis=1).T)
    body += _row("td", ("all", "", "", f"{total_MBq(report) / desk.unit_MBq:.2f}", *sums), "sum")
    head = _row("th", ("cycle", "kind", "day", desk.unit, *(f"{readable(r)}, Gy" for r in regions)))
    caption = f"{'BED' if quantity == 'bed_Gy' else 'Absorbed dose'} of each cycle: median (90 % interval)"
    return (
        f'<div class="wide" tabindex="0" role="region" aria-label="{caption}"><table><caption>{caption}</caption>'
        f"<thead>{head}</thead><tbody>{body}</tbody></table></div>"
    )


def _row(tag: str, cells, kind: str = "") -> str:
    scope = ' scope="col"' if tag == "th" else ""
    return f'<tr class="{kind}">' + "".join(f"<{tag}{scope}>{html.escape(c)}</{tag}>" for c in cells) + "</tr>"
