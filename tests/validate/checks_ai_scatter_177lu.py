"""Scatter of 177Lu by network, beside TEW, DEW and a fitted sum of windows, on Monte Carlo scans of unseen bodies.

Targets were fixed before any test scan was opened: organ activities within 5 % of those with the true scatter, smaller
error of the scatter than TEW, DEW and the fitted sum, whose constants are from training cases.
"""

from __future__ import annotations

from tests.validate import check
from tests.validate.ai_scatter_rows import SIMULATED, Judge, nrmse, register

LUTETIUM = Judge(
    "177Lu",
    classical="tew",
    words={"tew": "TEW", "tew 15 mm": "TEW smoothed by 15 mm", "dew": "DEW", "fitted": "the fitted sum"},
    best="tew",
    tests=12,
    scale=0.3,
    other_keV=166.7,
)
register(LUTETIUM)


@check(
    f"{LUTETIUM.name}/NRMSE of the scatter, beside the effective source of the true activity",
    "1",
    "reported",
    SIMULATED,
)
def nrmse_model():
    return LUTETIUM.row(nrmse, "model")[0], True
