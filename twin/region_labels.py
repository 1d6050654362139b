"""Names of drawn structures without free words: what someone wrote into a contour's label is not to be told on.

An organ's name is one of `dose.regions` already. A tumour is named by its own label ("lesion1 Mrs Doe"), of which
numbers of three digits and words of known regions stay ("tumour_1"). The same label gives the same name in all sets.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from dose.regions import known_regions
from imaging.region_masks import region_or_none
from imaging.series import StudyImages

DIGITS = 3
KNOWN_WORDS = frozenset(word for name in known_regions() for word in name.split("_"))
UNNAMED = "structure without a region name"


def with_plain_labels(images: StudyImages) -> tuple[StudyImages, tuple[str, ...]]:
    """The study with plain names for its structures, and what is to be said of it."""
    sets = (*images.contour_sets, *images.segmentations)
    labels = [shape.label for group in sets for shape in getattr(group, "contours", getattr(group, "segments", ()))]
    known = plain_names(name for label in labels if (name := region_or_none(label)))
    contours = tuple(replace(g, contours=_renamed(g.contours, known)) for g in images.contour_sets)
    segments = tuple(replace(g, segments=_renamed(g.segments, known)) for g in images.segmentations)
    notes, unnamed = [], sum(region_or_none(label) is None for label in labels)
    if changed := sum(name != plain for name, plain in known.items()):
        notes.append(f"{changed} of {len(known)} regions had free words in their names, which were left out")
    if unnamed:
        notes.append(f"{unnamed} of {len(labels)} structures have no region name and took no part")
    return replace(images, contour_sets=contours, segmentations=segments), tuple(notes)


def plain_names(regions: Iterable[str]) -> dict[str, str]:
    """Region to its plain name; two regions never share one."""
    found: dict[str, str] = {}
    for name in sorted(set(regions), key=lambda name: (_plain(name) != name, name)):
        found[name] = _free(_plain(name), set(found.values()))
    return found


def _plain(name: str) -> str:
    if not name.startswith("tumour_"):
        return name
    words = name.removeprefix("tumour_").split("_")
    kept = [word for word in words if word in KNOWN_WORDS or (word.isdigit() and len(word) <= DIGITS)]
    return "_".join(["tumour", *kept])


def _free(name: str, taken: set[str]) -> str:
    """The name, or with the first number behind it that makes it one of its own ("tumour" alone names no region)."""
    if name != "tumour" and name not in taken:
        return name
    return next(f"{name}_{k}" for k in range(1, len(taken) + 2) if f"{name}_{k}" not in taken)


def _renamed(shapes, known: dict[str, str]) -> tuple:
    names = [region_or_none(shape.label) for shape in shapes]
    return tuple(replace(s, label=known[n] if n else UNNAMED) for s, n in zip(shapes, names, strict=True))
