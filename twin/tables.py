"""Results as tables and labelled arrays: the columns of `doses.csv`, `schedule.csv`, `posterior.csv`, and xarray."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from twin.patient import DoseReport, PatientTwin, Plan

LOWER, UPPER = 5.0, 95.0
"""Percentiles that bound a 90% interval."""

MBQ_PER_GBQ = 1000.0
HOURS_PER_DAY = 24.0


def doses_table(report: DoseReport):
    """One row a cycle and region, then one `cumulative` row a region (a pandas table; doses Gy, TIA MBq h)."""
    import pandas as pd

    rows = [_dose_row(report, k, r) for k in range(len(report.cycles)) for r in range(len(report.regions))]
    return pd.DataFrame(rows + [_cumulative_row(report, r) for r in range(len(report.regions))])


def _dose_row(report: DoseReport, k: int, r: int) -> dict:
    draws = {name: getattr(report, name)[:, k, r] for name in ("dose_Gy", "bed_Gy", "tia_MBq_h")}
    truth = report.truth_Gy.get((report.cycles[k], report.regions[r]), np.nan)
    fraction = report.extrapolated_fraction[k, r]
    return _row(report.cycles[k], report.regions[r], report.administered_MBq[k], draws, fraction, report.kind[k], truth)


def _cumulative_row(report: DoseReport, r: int) -> dict:
    """Sums over cycles; the truth only where it is known for each of them."""
    draws = {name: getattr(report, name)[:, :, r].sum(axis=1) for name in ("dose_Gy", "bed_Gy", "tia_MBq_h")}
    weight = np.median(report.tia_MBq_h[:, :, r], axis=0)
    total = weight.sum()
    fraction = float(report.extrapolated_fraction[:, r] @ weight / total) if total > 0 else np.nan
    truths = [report.truth_Gy.get((cycle, report.regions[r]), np.nan) for cycle in report.cycles]
    kind = "forecast" if "forecast" in report.kind else "assimilated"
    given = float(np.sum(report.administered_MBq))
    return _row("cumulative", report.regions[r], given, draws, fraction, kind, float(np.sum(truths)))


def _row(cycle, region, administered_MBq, draws, fraction, kind, truth_Gy) -> dict:
    dose, tia = draws["dose_Gy"], draws["tia_MBq_h"]
    return {
        "cycle": cycle,
        "region": region,
        "administered_MBq": administered_MBq,
        "dose_Gy_median": np.median(dose),
        "dose_Gy_lower90": np.percentile(dose, LOWER),
        "dose_Gy_upper90": np.percentile(dose, UPPER),
        "dose_Gy_per_GBq_median": np.median(dose) * MBQ_PER_GBQ / administered_MBq if administered_MBq else np.nan,
        "bed_Gy_median": np.median(draws["bed_Gy"]),
        "tia_MBq_h_median": np.median(tia),
        "tia_MBq_h_lower90": np.percentile(tia, LOWER),
        "tia_MBq_h_upper90": np.percentile(tia, UPPER),
        "extrapolated_fraction": fraction,
        "kind": kind,
        "truth_Gy": truth_Gy,
    }


def schedule_table(plan: Plan):
    """The planned administrations with the constraint that stopped each from growing; `share_given` is below 1 where a
    stop rule may end the therapy before."""
    import pandas as pd

    share = list(plan.stopping.given) if plan.stopping else [1.0] * len(plan.administrations)
    return pd.DataFrame(
        {
            "cycle": [a.cycle for a in plan.administrations],
            "day": [a.time_h / HOURS_PER_DAY for a in plan.administrations],
            "activity_MBq": [a.activity_MBq for a in plan.administrations],
            "amount_nmol": [a.amount_nmol for a in plan.administrations],
            "share_given": share,
            "active_constraint": list(plan.active_constraint),
        }
    )


def posterior_table(twin: PatientTwin):
    """Prior and posterior of each moved parameter; `prior_cv` is that of the lognormal prior."""
    import pandas as pd

    p = twin.posterior
    lower, upper = p.interval90()
    cv = np.sqrt(np.expm1(p.prior_log_sd**2))
    columns = {"parameter": p.names, "unit": p.unit, "prior_median": p.prior_median, "prior_cv": cv}
    columns |= {"median": p.median, "lower90": lower, "upper90": upper, "contraction": p.contraction}
    return pd.DataFrame(columns)


def joined(first: DoseReport, second: DoseReport) -> DoseReport:
    """`first` with the cycles that only `second` has; both have the same regions and draws."""
    new = [k for k, cycle in enumerate(second.cycles) if cycle not in first.cycles]
    stacked = {
        name: np.concatenate([getattr(first, name), getattr(second, name)[:, new]], axis=1)
        for name in ("dose_Gy", "bed_Gy", "tia_MBq_h")
    }
    stacked["weighted_Gy"] = np.concatenate([first.linear_bed_Gy, second.linear_bed_Gy[:, new]], axis=1)
    rows = {
        name: np.concatenate([getattr(first, name), np.asarray(getattr(second, name))[new]])
        for name in ("administered_MBq", "extrapolated_fraction")
    }
    return replace(
        first,
        cycles=(*first.cycles, *(second.cycles[k] for k in new)),
        kind=(*first.kind, *(second.kind[k] for k in new)),
        truth_Gy=second.truth_Gy | first.truth_Gy,
        warnings=tuple(dict.fromkeys((*first.warnings, *second.warnings))),
        **stacked,
        **rows,
    )


def to_xarray(report: DoseReport):
    """The report as an `xarray.Dataset` with dimensions draw, cycle, region and units as attributes."""
    import xarray as xr

    cube, units = ("draw", "cycle", "region"), {"dose_Gy": "Gy", "bed_Gy": "Gy", "tia_MBq_h": "MBq h"}
    data = {name: (cube, getattr(report, name), {"units": unit}) for name, unit in units.items()}
    data |= {
        "extrapolated_fraction": (("cycle", "region"), report.extrapolated_fraction, {"units": "1"}),
        "administered_MBq": ("cycle", report.administered_MBq, {"units": "MBq"}),
        "mass_g": ("region", report.mass_g, {"units": "g"}),
        "kind": ("cycle", list(report.kind)),
    }
    return xr.Dataset(data, coords={"cycle": list(report.cycles), "region": list(report.regions)})


def whatif_record(answer) -> dict:
    """A `twin.whatif.WhatIf` as plain words and numbers, for the command line."""
    index = answer.therapeutic_index
    numbers = {
        "activities_MBq": [a.activity_MBq for a in answer.administrations],
        "days": [a.time_h / HOURS_PER_DAY for a in answer.administrations],
        "tumour_dose_Gy": _interval(answer.tumour_dose_Gy),
        "therapeutic_index": None if np.isnan(index).all() else _interval(index),
        "limits": [
            {
                "name": row.limit.name,
                "value_Gy": row.limit.value_Gy,
                "median_Gy": row.median_Gy,
                "lower90_Gy": row.lower90_Gy,
                "upper90_Gy": row.upper90_Gy,
                "probability_exceeded": row.exceeded,
            }
            for row in answer.limits
        ],
        "warnings": list(answer.warnings),
        "notice": "Research software, not a medical device. Not for diagnosis or treatment decisions.",
    }
    return numbers | {"words": _in_words(numbers)}


def _interval(draws) -> dict[str, float]:
    low, middle, high = np.percentile(draws, [LOWER, 50.0, UPPER])
    return {"median": float(middle), "lower90": float(low), "upper90": float(high)}


def _in_words(numbers: dict) -> list[str]:
    dose, lines = numbers["tumour_dose_Gy"], []
    given = ", ".join(f"{a / MBQ_PER_GBQ:g}" for a in numbers["activities_MBq"])
    lines.append(f"To come: {given} GBq")
    text = "Tumours, mean dose of the course: {median:.1f} Gy ({lower90:.1f} to {upper90:.1f})"
    lines.append(text.format(**dose))
    for row in numbers["limits"]:
        text = "{name}: {median_Gy:.1f} Gy ({lower90_Gy:.1f} to {upper90_Gy:.1f}) of {value_Gy:g}; passed with "
        lines.append(text.format(**row) + f"{row['probability_exceeded']:.1%} probability")
    return [*lines, *numbers["warnings"], numbers["notice"]]
