"""What the de-identification profile does to single values: UIDs, dates, numbers, words."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np

from imaging.dicom_write.values import uid_from

NUMBER = re.compile(r"[-+0-9.eE \\]*")
STANDARD_ROOT = "1.2.840.10008."
"""What a number looks like, and the root of the standard's own UIDs, which name classes and not patients."""


@dataclass(frozen=True)
class Disguise:
    """The secret of an export and the days by which this patient's dates move."""

    salt: str
    days: int

    def uid(self, uid: str) -> str:
        """The same replacement for the same UID; classes and other UIDs of the standard stay."""
        return uid if uid.startswith(STANDARD_ROOT) or not uid else uid_from("disguise", self.salt, uid)

    def moved(self, text: str) -> str:
        """A DA or DT value on its new day; "" for what does not read as one."""
        match = re.fullmatch(r"(\d{8})([0-9.+-]*)", text.strip())
        try:
            day = datetime.strptime(match.group(1), "%Y%m%d").date() if match else None
            return (day - timedelta(days=self.days)).strftime("%Y%m%d") + match.group(2) if day and match else ""
        except (ValueError, OverflowError):
            return ""


def _each(value, change: Callable[[str], str]):
    """A changed value, or list of values where there are several."""
    many = isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue"
    return [change(str(v)) for v in value] if many else change("" if value is None else str(value))


def _number(value, *_):
    """Numbers, or None for what is none (a text field would pass its words on)."""
    parts = value if isinstance(value, (list, tuple)) or type(value).__name__ == "MultiValue" else [value]
    if all(isinstance(v, (int, float, np.number)) or NUMBER.fullmatch(str(v)) for v in parts):
        return value
    return None


def _one_of(value, values: tuple[str, ...], _):
    kept = [v for v in ([value] if isinstance(value, str) else list(value or ())) if str(v).strip() in values]
    return (kept[0] if len(kept) == 1 else kept) or None


def _words(value, values: tuple[str, ...], _) -> str:
    """The listed words and phrases that occur, longest first, each once."""
    text, found = str(value or ""), []
    for phrase in sorted(values, key=len, reverse=True):
        shorter, hits = re.subn(rf"(?<![A-Za-z0-9]){re.escape(phrase)}(?![A-Za-z0-9])", " ", text, flags=re.IGNORECASE)
        if hits:
            text = shorter
            found.append(phrase)
    return " ".join(found)


SIMPLE: dict[str, Callable] = {
    "number": _number,
    "uid": lambda value, _, disguise: _each(value, disguise.uid),
    "date": lambda value, _, disguise: _each(value, disguise.moved),
    "time": lambda value, *_: _each(value, lambda v: v if re.fullmatch(r"\d{2,6}(\.\d{1,6})?", v) else ""),
    "zone": lambda value, *_: str(value) if re.fullmatch(r"[+-]\d{4}", str(value)) else None,
    "blank": lambda *_: "",
    "id": lambda *_: "",
    "one of": _one_of,
    "words": _words,
}
"""What happens to a value: (value, the row's list, the disguise) to the new value, or None to drop the attribute."""
