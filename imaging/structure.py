"""The skeleton of a DICOM file, walked by ourselves before pydicom parses it: tags, lengths and nesting, no values.

pydicom recurses into nested sequences (400 levels end in a RecursionError) and believes every length. This walk keeps
its own stack, skips values, and stops at the pixels, so a hostile header costs no more than its elements. Encoding
rules: DICOM PS3.5, chapter 7.
"""

from __future__ import annotations

from dataclasses import dataclass
from struct import Struct

from dose.errors import ImageError, describe

MAX_DEPTH = 32
"""Sequences in sequences; enhanced multi-frame objects use about 8."""

MAX_ELEMENTS, MAX_ITEMS = 400_000, 150_000
"""Elements and sequence items, nested ones included: a SEG of 117 organs in 300 slices has about this many, and pydicom
needs some seconds and half a gigabyte for them."""

MAX_META_BYTES, MAX_HEADER_BYTES = 2**20, 2**28
"""File meta, and everything before the pixels (a large RTSTRUCT has 100 MB)."""

LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
UNDEFINED = 0xFFFFFFFF
PIXELS = (0x7FE00008, 0x7FE00009, 0x7FE00010)
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
META_START = 132
CHUNK_BYTES = 2**16


@dataclass
class Bytes:
    """A file seen through a window, so that a walk over a large one reads only what it looks at."""

    stream: object
    size: int
    start: int = 0
    held: bytes = b""

    def at(self, position: int, count: int) -> bytes:
        """`count` bytes from `position`; fewer at the end of the file."""
        if not (self.start <= position and position + count <= self.start + len(self.held)):
            self.stream.seek(position)  # type: ignore[attr-defined]
            self.start, self.held = position, self.stream.read(CHUNK_BYTES)  # type: ignore[attr-defined]
        offset = position - self.start
        return self.held[offset : offset + count]


@dataclass(frozen=True)
class Level:
    """An open sequence, item or run of pixel fragments; `end` is None where a delimiter closes it."""

    kind: str
    end: int | None
    implicit: bool


@dataclass(frozen=True)
class Skeleton:
    """What a header holds, counted; `pixels_at` is where its pixels begin, or the end of the file."""

    elements: int
    items: int
    depth: int
    pixels_at: int


def transfer_syntax(view: Bytes, where: str) -> tuple[str, int]:
    """Transfer syntax UID of the file meta ("" where there is none) and the position after the meta.

    Raises:
        ImageError: no Part 10 file, or a meta header that is too long or does not end.
    """
    if view.at(128, 4) != b"DICM":
        _refuse(where, "no DICM mark after the preamble", "a DICOM Part 10 file", "export it again, or leave it out")
    position, syntax = META_START, ""
    while position < view.size and view.at(position, 2) == b"\2\0":
        tag, _, start, length = _element(view, position, False, _LITTLE)
        if length > MAX_META_BYTES or start + length > min(view.size, META_START + MAX_META_BYTES):
            _refuse(f"{where}, file meta", "an element that does not end", "at most 1 MiB", "leave this file out")
        if tag == 0x00020010:
            syntax = view.at(start, min(length, 64)).strip(b"\0 ").decode("ascii", "replace")
        position = start + length
    return syntax, position


def walk(view: Bytes, position: int, where: str, *, implicit: bool, little: bool = True) -> Skeleton:
    """Count elements, items and depth from `position` to the pixels.

    Raises:
        ImageError: over a limit, or a length that leads out of its sequence or of the file.
    """
    words = _LITTLE if little else _BIG
    implicit = implicit and not _looks_explicit(view.at(position, 6))
    elements = items = depth = 0
    levels: list[Level] = []
    while True:
        position = _close(levels, position, view.size, where)
        if position + 8 > view.size:
            break
        inside = levels[-1] if levels else Level("item", None, implicit)
        tag, vr, start, length = _element(view, position, inside.implicit, words)
        if tag in (ITEM_END, SEQUENCE_END):
            _delimited(levels, tag)
            position += 8
            continue
        if tag == ITEM:
            items += 1
            position = _item(levels, inside, start, length, where)
        elif inside.kind != "item":
            _refuse(where, "a sequence without items", "items", "export it again, or leave this file out")
        elif tag in PIXELS and not levels:
            break
        else:
            elements += 1
            position = _value(levels, inside, tag, vr, start, length)
        depth = max(depth, (len(levels) + 1) // 2)
        if (
            depth > MAX_DEPTH
            or elements > MAX_ELEMENTS
            or items > MAX_ITEMS
            or min(position, view.size) > MAX_HEADER_BYTES
        ):
            _over(where)
    return Skeleton(elements, items, depth, min(position, view.size))


_LITTLE, _BIG = (tuple(Struct(order + form).unpack for form in ("HHL", "HH2sH", "L")) for order in "<>")


def _looks_explicit(head: bytes) -> bool:
    """Two capitals where the VR stands: files that promise implicit VR and are explicit are read as pydicom does."""
    return len(head) == 6 and head[4:6].isalpha() and head[4:6].isupper()


def _element(view: Bytes, position: int, implicit: bool, words) -> tuple[int, bytes, int, int]:
    """Tag, VR (empty where implicit), start of the value, and its length."""
    head = view.at(position, 12)
    if len(head) < 8:
        return 0, b"", view.size, 0
    group, element, length = words[0](head[:8])
    tag = group << 16 | element
    if implicit or group == 0xFFFE or not b"AA" <= head[4:6] <= b"ZZ":
        return tag, b"", position + 8, length
    vr = head[4:6]
    if vr not in LONG_VRS:
        return tag, vr, position + 8, words[1](head[:8])[3]
    return tag, vr, position + 12, words[2](head[8:12])[0] if len(head) == 12 else UNDEFINED - 1


def _close(levels: list[Level], position: int, size: int, where: str) -> int:
    """Leave the levels that end here; a value that ran past its level's end or the file's is damage."""
    while levels and levels[-1].end is not None and position >= levels[-1].end:
        if position > levels[-1].end:
            _refuse(where, "an element longer than its sequence", "lengths that agree", "export this file again")
        levels.pop()
    if position > size:
        _refuse(where, "an element longer than the file (cut short?)", "a whole file", "export or copy it again")
    return position


def _delimited(levels: list[Level], tag: int) -> None:
    """A delimiter closes the open item or sequence it belongs to; a stray one is passed over."""
    if tag == ITEM_END and levels and levels[-1].kind == "item":
        levels.pop()
    elif tag == SEQUENCE_END:
        while levels and levels[-1].kind == "item":
            levels.pop()
        if levels:
            levels.pop()


def _item(levels: list[Level], inside: Level, start: int, length: int, where: str) -> int:
    if inside.kind == "item":
        _refuse(where, "an item outside a sequence", "items in sequences only", "leave this file out")
    if inside.kind == "fragments":
        return start + length
    levels.append(Level("item", None if length == UNDEFINED else start + length, inside.implicit))
    return start


def _value(levels: list[Level], inside: Level, tag: int, vr: bytes, start: int, length: int) -> int:
    """Where to go on: into a sequence, or behind a value."""
    if length == UNDEFINED and vr in (b"OB", b"OW"):
        levels.append(Level("fragments", None, False))
    elif length == UNDEFINED or vr == b"SQ" or (vr in (b"", b"UN") and _is_sequence(tag)):
        implicit = inside.implicit or vr in (b"", b"UN")
        levels.append(Level("sequence", None if length == UNDEFINED else start + length, implicit))
    else:
        return start + length
    return start


def _is_sequence(tag: int) -> bool:
    from pydicom.datadict import dictionary_VR

    try:
        return dictionary_VR(tag) == "SQ"
    except KeyError:
        return False


def _over(where: str) -> None:
    expected = f"at most {MAX_DEPTH} levels, {MAX_ELEMENTS} elements, {MAX_ITEMS} items and 256 MiB before the pixels"
    _refuse(where, "a header nested too deeply or too long", expected, "leave this file out, or split the object")


def _refuse(where: str, found: str, expected: str, do: str) -> None:
    raise ImageError(describe(where, found, expected, do))
