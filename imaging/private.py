"""Private elements by their creator: the same number means another thing under another maker's creator element.

The block of a creator may begin anywhere from (gggg,10xx) on (PS3.5, 7.8.1). An anonymiser may have dropped the creator
and kept the element: then the number counts at its usual place, if Manufacturer names the maker.
"""

from __future__ import annotations

from dataclasses import dataclass

from dose.provenance import load_table


@dataclass(frozen=True)
class PrivateElement:
    """`element` is the number at its usual place, in block 10."""

    group: int
    element: int
    creator: str
    maker: str

    @property
    def tag(self) -> tuple[int, int]:
        return self.group, self.element


def private_element(name: str) -> PrivateElement:
    """A row of `data/private_elements.csv`."""
    row = next(r for r in load_table("imaging", "private_elements.csv") if r["name"] == name)
    return PrivateElement(int(row["group"], 16), int(row["element"], 16), row["creator"], row["maker"])


def private_value(dataset, wanted: PrivateElement):
    """The value of a private element, None where the data set does not hold it under its creator."""
    creators = {b: _creator(dataset, wanted.group, b) for b in _blocks(dataset, wanted.group)}
    block = next((b for b, creator in creators.items() if creator == wanted.creator), None)
    usual = wanted.element >> 8
    if block is None and usual not in creators and _is_by(dataset, wanted.maker):
        block = usual
    element = None if block is None else dataset.get((wanted.group, block << 8 | wanted.element & 0xFF))
    return None if element is None else element.value


def _blocks(dataset, group: int) -> list[int]:
    return [tag & 0xFFFF for tag in dataset.keys() if tag >> 16 == group and 0x10 <= tag & 0xFFFF <= 0xFF]  # noqa: SIM118


def _creator(dataset, group: int, block: int) -> str:
    value = dataset[group, block].value
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip("\0 ")


def _is_by(dataset, maker: str) -> bool:
    return str(dataset.get("Manufacturer", "")).upper().startswith(maker.upper())
