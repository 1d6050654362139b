"""What a report can show beside the twin, its doses and its plan: each part left out where it was not computed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from twin.patient import DoseReport

if TYPE_CHECKING:
    from dose.histograms import DVH
    from pbpk.sensitivity import Elasticities, SobolIndices
    from twin.planning.front import Front

NOTICE = "Research software, not a medical device. Not for diagnosis or treatment decisions."
"""On the page, on each printed sheet and in the JSON."""


@dataclass(frozen=True)
class Stage:
    """The doses of the cycles given, as known after the measurements up to `cycle` (None: before any)."""

    words: str
    cycle: int | None
    report: DoseReport


@dataclass(frozen=True)
class Picture:
    """A figure of the page: file name, section, caption, words for who does not see it, size in CSS pixels, PNG."""

    name: str
    section: str
    caption: str
    alt: str
    size: tuple[int, int]
    png: bytes


@dataclass(frozen=True)
class Extras:
    """Further results, and what only the caller knows.

    `histograms` maps regions to DVHs of voxel doses, `volume_change` lesions to draws of the change of their volume
    over the course (-0.3: shrinks by 30%); `stages` and `without_last_scan` are made by `twin.report.history`.
    `recorded` fills reporting fields by their id (`twin.report.fields`); `command`, `seed` and `made_at` say how and
    when the numbers were made; `probability` is the plan's own, for limits that name none.
    """

    front: Front | None = None
    histograms: Mapping[str, DVH] = field(default_factory=dict)
    volume_change: Mapping[str, np.ndarray] = field(default_factory=dict)
    elasticities: Elasticities | None = None
    sobol: SobolIndices | None = None
    stages: tuple[Stage, ...] = ()
    without_last_scan: DoseReport | None = None
    recorded: Mapping[str, str] = field(default_factory=dict)
    command: str = ""
    seed: int | None = None
    made_at: str = ""
    probability: float = 0.05
