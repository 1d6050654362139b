"""The page's parts as marimo shows them: figures under headings with words, and work behind a spinner."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from threading import Lock

import marimo as mo

from twin.app import figures, view
from twin.app.desk import Desk
from twin.app.export import Traded, is_of
from twin.app.settings import Settings, outcomes_of
from twin.constraints import Limit
from twin.what_if import WhatIf

ONE_AT_A_TIME = Lock()
"""Two tabs of the browser are two threads, and share the twin's surfaces."""


def attempt(words: str, work: Callable, *arguments, is_slow: bool = True):
    """What `work` returns, with a spinner while it runs; the cell ends in a red box where the input cannot be used."""
    try:
        with mo.status.spinner(title=words) if is_slow else nullcontext(), ONE_AT_A_TIME:
            return work(*arguments)
    except ValueError as error:
        mo.stop(True, mo.Html(view.error_box(error)))


def captioned(title: str, figure, words: str):
    return mo.Html(view.captioned(title, mo.as_html(figure).text, words))


def activity(desk: Desk, shown: WhatIf, region, span):
    """Activity over the course, its two lists below."""
    drawn = figures.time_activity(desk, shown, region.value, span.value)
    lists = mo.hstack([region, span], justify="start", wrap=True)
    return mo.vstack([captioned("Activity over the course", drawn, view.activity_words(shown, region.value)), lists])


def fan(shown: WhatIf, label: WhatIf | None, limits: tuple[Limit, ...]):
    """Kidneys against their limit; nothing where there is none."""
    kidney = next((lim for lim in limits if lim.region == "kidneys"), None)
    if kidney is None:
        return None
    drawn = figures.kidney_fan(shown, label, kidney)
    return captioned("Kidneys against their limit", drawn, view.fan_words(shown, kidney))


def index(desk: Desk, shown: WhatIf, label: WhatIf | None):
    """Therapeutic index; nothing without a tumour or kidneys."""
    if not desk.has_trade:
        return None
    drawn = figures.index_distribution(shown, label)
    return captioned("Therapeutic index", drawn, view.index_words(shown, label))


def front(traded: Traded | None, settings: Settings, shown: WhatIf):
    """The front with this schedule on it; before it was asked for, how to."""
    if traded is None:
        return mo.Html(view.no_front())
    drawn = figures.pareto(traded.front, shown)
    words = view.front_words(traded.front, is_of(traded.settings, settings))
    return captioned("Tumour against kidney", drawn, words)


def illustration(desk: Desk, shown: WhatIf):
    """Illustrative outcomes; nothing for a course too long for them."""
    found = outcomes_of(desk, shown)
    return found and captioned("Illustrative outcomes", figures.outcome_bands(found), view.ILLUSTRATION)


def exported(folder: Path):
    """Where the report was written, and its page to download."""
    page = mo.download((folder / "report.html").read_bytes(), "report.html", label="Download report.html")
    return mo.vstack([mo.Html(view.export_box(folder)), mo.hstack([page], justify="start")])
