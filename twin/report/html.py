"""Small pieces of HTML: escaped text, numbers, tables whose headers say what they head, lists and figures."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from calibration.posterior import Posterior
from twin.report.extras import Picture
from twin.tables import LOWER, UPPER


class Markup(str):
    """Text that is HTML already; all other text is escaped."""

    __slots__ = ()


@dataclass(frozen=True)
class Interval:
    """A median with its 90% interval."""

    median: float
    lower: float
    upper: float

    @classmethod
    def of(cls, draws) -> Interval:
        return cls(*(float(x) for x in np.percentile(draws, [50, LOWER, UPPER])))

    def record(self) -> dict:
        """As JSON has it."""
        return {"median": self.median, "lower90": self.lower, "upper90": self.upper}


def escaped(value) -> str:
    """HTML of any value of a table: markup as it is, numbers with three digits, intervals in two lines."""
    if isinstance(value, Markup):
        return value
    if isinstance(value, Interval):
        return f"{number(value.median)}<br><small>{number(value.lower)}–{number(value.upper)}</small>"
    if isinstance(value, list | tuple):
        return html.escape(", ".join(number(v) for v in value))
    return html.escape(number(value))


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


METHOD = {
    "importance": "importance sampling",
    "laplace": "Laplace’s approximation",
    "nuts": "Hamiltonian Monte Carlo (NUTS)",
    "prior": "the prior alone",
}
"""How a posterior was made, in words."""


def method_of(posterior: Posterior) -> str:
    return METHOD.get(posterior.method, posterior.method)


def percent(share: float, digits: int = 0) -> str:
    """A share in per cent; nothing for NaN."""
    return "" if np.isnan(share) else f"{100 * share:.{digits}f}%"


BROAD = 6
"""Columns from which a table keeps a width of its own on a narrow screen, and is scrolled there."""


def table(head: Sequence[str], rows: Iterable[Sequence], label: str, sums: Iterable[int] = ()) -> Markup:
    """A table; the first cell of a row heads it, and rows whose number is in `sums` are set off.

    `label` names it for screen readers: a wide table is a region of its own that scrolls.
    """
    marked, rows = set(sums), [list(row) for row in rows]
    cells = "".join(_head(name, k > 0 and rows and _is_number(rows[0][k])) for k, name in enumerate(head))
    body = "".join(_row(row, k in marked) for k, row in enumerate(rows))
    words, kind = html.escape(label), "wide broad" if len(head) >= BROAD else "wide"
    return Markup(
        f'<div class="{kind}" tabindex="0" role="region" aria-label="{words}"><table>'
        f"<thead><tr>{cells}</tr></thead><tbody>{body}</tbody></table></div>\n"
    )


def _row(row: Sequence, is_sum: bool) -> str:
    first, *rest = row
    mark = ' class="sum"' if is_sum else ""
    return f'<tr{mark}><th scope="row">{escaped(first)}</th>{"".join(_cell(value) for value in rest)}</tr>\n'


def _head(name, above_numbers) -> str:
    mark = ' class="number"' if above_numbers else ""
    return f'<th scope="col"{mark}>{escaped(name)}</th>'


def _cell(value) -> str:
    return f'<td class="number">{escaped(value)}</td>' if _is_number(value) else f"<td>{escaped(value)}</td>"


def _is_number(value) -> bool:
    return isinstance(value, Interval | float | int | np.number) and not isinstance(value, bool)


def records(rows: Sequence[Mapping], label: str) -> Markup:
    """A table of rows that share their keys; units at the end of a key follow a comma."""
    head = [heading(name) for name in rows[0]]
    return table(head, [[shown(key, value) for key, value in row.items()] for row in rows], label)


UNITS = ("Gy", "MBq", "mL", "g", "h", "nmol")
SPELT = {
    "s_Gy_per_MBq_h": "S, Gy/(MBq h)",
    "Gy_per_GBq": "Gy/GBq",
    "density_g_per_mL": "density, g/mL",
    "alpha_beta_Gy": "α/β, Gy",
    "tia_MBq_h": "TIA, MBq h",
    "tiac_h": "TIA over activity, h",
    "bed_Gy": "BED, Gy",
}


def heading(key: str) -> str:
    """The header of a record's key: "dose_Gy" as "dose, Gy"."""
    words, unit = key.split("_"), []
    while len(words) > 1 and words[-1] in UNITS:
        unit.insert(0, words.pop())
    return SPELT.get(key) or " ".join(words) + (f", {' '.join(unit)}" if unit else "")


NAMES = ("region", "parameter", "tissue")
"""Keys whose values are names with underscores."""


def shown(key: str, value):
    """A value of a record as a table shows it."""
    if isinstance(value, Mapping):
        return in_one_line(Interval(value["median"], value["lower90"], value["upper90"]))
    if key.startswith("range") and isinstance(value, list) and len(value) == 2:
        return "–".join(f"{end:g}" for end in value)
    if key in NAMES:
        return str(value).replace("_", " ")
    return "" if value is None else value


def in_one_line(found: Interval) -> Markup:
    """An interval for tables of many rows."""
    return Markup(f"{number(found.median)} <small>({number(found.lower)}–{number(found.upper)})</small>")


def bullets(lines: Sequence) -> Markup:
    """A list, or nothing."""
    return Markup("<ul>" + "".join(f"<li>{escaped(line)}</li>" for line in lines) + "</ul>\n" if lines else "")


def paragraph(text: str, kind: str = "") -> Markup:
    mark = f' class="{kind}"' if kind else ""
    return Markup(f"<p{mark}>{escaped(text)}</p>\n" if text else "")


def figure(picture: Picture) -> Markup:
    """A figure with its caption; the image is inside the page."""
    code, text = base64.b64encode(picture.png).decode(), html.escape(picture.caption)
    alt, (width, height) = html.escape(f"{picture.caption}: {picture.alt}", quote=True), picture.size
    image = f'<img alt="{alt}" width="{width}" height="{height}" src="data:image/png;base64,{code}">'
    image = f'<div class="wide pan" tabindex="0" role="group" aria-label="{text}">{image}</div>'
    return Markup(f"<figure>{image}<figcaption>{text}</figcaption></figure>\n")
