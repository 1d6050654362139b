"""What was measured: activity in named regions at times after an administration."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from dose.errors import InputError, describe
from dose.regions import region as canonical_region

FIELDS = ("region", "time_h", "activity_MBq", "sd_MBq", "volume_mL", "modality", "cycle")
LATEST_TIME_H = 5000.0
"""A measurement later than this after its administration is taken for a mistaken clock."""

SHARED, LARGEST_SHARED_SD = ("calibration", "recovery", "volume"), 1.0
"""What errors may be shared by several observations, and a relative sd that is certainly a slip."""


@dataclass(frozen=True)
class Observations:
    """Region activities, one entry a region and time.

    `time_h` counts from the start of the administration of that `cycle` (0 is the pre-therapy scan, 1, 2, ... the
    therapy cycles); `activity_MBq` is the activity present at that time, not corrected for decay; `sd_MBq` is the
    standard deviation of that scan alone (counting), as calibration, recovery and contour, which scans share, are added
    by `calibration.noise`; `volume_mL` may be
    NaN. Arrays have shape [observation]. `shared_sd` holds the relative sd of errors that a site knows better than
    `calibration.noise`'s table, by that module's names: "calibration/SPECT", "recovery/kidneys", "volume/tumour_1".

    Raises:
        InputError: unequal lengths, unknown region, time negative or not finite, activity not positive or not
            finite, sd not positive, a shared error of another name.
    """

    region: tuple[str, ...]
    time_h: np.ndarray
    activity_MBq: np.ndarray
    sd_MBq: np.ndarray
    volume_mL: np.ndarray
    modality: tuple[str, ...]
    cycle: tuple[int, ...]
    shared_sd: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self):
        object.__setattr__(self, "region", tuple(canonical_region(name) for name in self.region))
        for name in ("time_h", "activity_MBq", "sd_MBq", "volume_mL"):
            object.__setattr__(self, name, np.asarray(getattr(self, name), dtype=float))
        object.__setattr__(self, "cycle", tuple(int(c) for c in self.cycle))
        self._check_lengths()
        self._check_values()
        self._check_shared()

    def _check_lengths(self):
        lengths = {name: len(getattr(self, name)) for name in FIELDS}
        if len(set(lengths.values())) != 1:
            raise InputError(
                describe("observations", str(lengths), "one entry a row in every column", "fill the table")
            )

    def _check_values(self):
        checks = (
            ("time_h", np.isfinite(self.time_h) & (self.time_h > 0), "a finite time after the start of administration"),
            ("time_h", self.time_h <= LATEST_TIME_H, f"a time in hours below {LATEST_TIME_H:g}"),
            ("activity_MBq", np.isfinite(self.activity_MBq) & (self.activity_MBq > 0), "a finite activity above zero"),
            ("sd_MBq", np.isfinite(self.sd_MBq) & (self.sd_MBq > 0), "a finite standard deviation above zero"),
            ("volume_mL", np.isnan(self.volume_mL) | (self.volume_mL > 0), "a volume above zero, or left empty"),
        )
        for name, good, expected in checks:
            if not np.all(good):
                k = int(np.argmin(good))
                where = f'observations.{name} of region "{self.region[k]}" (row {k + 1})'
                found = f"{getattr(self, name)[k]:g}"
                raise InputError(describe(where, found, expected, "correct the clock, unit or row and read it again"))

    def _check_shared(self):
        for name, sd in self.shared_sd.items():
            known = name.partition("/")[0] in SHARED and bool(name.partition("/")[2])
            if not (known and 0 < sd < LARGEST_SHARED_SD):
                found, expected = f"{name}: {sd:g}", f"one of {SHARED} with its region or modality, below 1"
                do = "name the error as calibration.noise does, and give its relative sd"
                raise InputError(describe("observations.shared_sd", found, expected, do))

    def __len__(self):
        return len(self.region)

    def select(self, keep) -> Observations:
        """The rows where the boolean mask `keep`, shape [observation], is true."""
        index = np.flatnonzero(np.asarray(keep))
        columns = {name: tuple(getattr(self, name)[k] for k in index) for name in FIELDS}
        return Observations(**columns, shared_sd=self.shared_sd)

    def of_cycle(self, cycle: int) -> Observations:
        return self.select(np.asarray(self.cycle) == cycle)

    def join(self, other: Observations) -> Observations:
        """Both sets, this one's rows first; of a shared error that both know, the larger sd."""
        names = {*self.shared_sd, *other.shared_sd}
        shared = {n: max(self.shared_sd.get(n, 0.0), other.shared_sd.get(n, 0.0)) for n in sorted(names)}
        columns = {name: (*getattr(self, name), *getattr(other, name)) for name in FIELDS}
        return Observations(**columns, shared_sd=shared)

    @classmethod
    def empty(cls) -> Observations:
        return cls(**dict.fromkeys(FIELDS, ()))
