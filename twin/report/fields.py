"""A field of a dosimetry report: its name, its value or "not recorded", and how the page shows it."""

from __future__ import annotations

from dataclasses import dataclass

from twin.report.html import Markup, escaped, records

NOT_RECORDED = "not recorded"
Rows = tuple[dict, ...]


@dataclass(frozen=True)
class Field:
    """One thing to report: text, rows of a table, or None where it was not recorded.

    `place` names a section of the page (id and title) that shows the rows already; the JSON has them in any case.
    """

    group: str
    id: str
    name: str
    value: str | Rows | None = None
    place: tuple[str, str] | None = None


def fields_section(fields: tuple[Field, ...]) -> Markup:
    """A table a group; tables within it follow below."""
    return Markup("".join(_group(name, [f for f in fields if f.group == name]) for name in groups(fields)))


def groups(fields: tuple[Field, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(f.group for f in fields))


def _group(name: str, fields: list[Field]) -> Markup:
    texts = [f for f in fields if f.value is None or f.place or isinstance(f.value, str)]
    rows = "".join(_line(f) for f in texts)
    body = f'<table class="fields"><tbody>{rows}</tbody></table>' if rows else ""
    tables = "".join(f"<h4>{escaped(f.name)}</h4>{_table(f)}" for f in fields if f not in texts)
    return Markup(f"<h3>{escaped(name)}</h3>{body}{tables}")


def _line(field: Field) -> str:
    missing = field.value is None
    mark = ' class="quiet"' if missing else ""
    text = NOT_RECORDED if missing else escaped(field.value)
    if field.place and not missing:
        text = f'in the section <a href="#{field.place[0]}">{escaped(field.place[1])}</a>'
    return f'<tr><th scope="row">{escaped(field.name)}</th><td{mark}>{text}</td></tr>\n'


def _table(field: Field) -> Markup:
    return records([row for row in field.value or () if isinstance(row, dict)], field.name)
