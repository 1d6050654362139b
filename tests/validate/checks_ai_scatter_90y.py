"""Scatter in the window of 90Y bremsstrahlung by network, beside multiples and a sum of windows.

Targets were fixed before any test scan was opened: smaller error of the scatter than the better of DEW and the fitted
sum on each scan, organ activities within 5 % of those with the true scatter and nearer to them than DEW's. The
constants of the classical methods are from the 14 training cases.
"""

from __future__ import annotations

from tests.validate.ai_scatter_rows import Judge, register

YTTRIUM = Judge(
    "90Y",
    classical="dew",
    words={
        "dew/fitted": "the better of DEW and the fitted sum",
        "dew": "DEW",
        "fitted": "the fitted sum",
        "fraction": "a constant fraction of the peak",
    },
    best="dew/fitted",
    tests=12,
    scale=1.0,
    other_keV=120.0,
)
register(YTTRIUM)
