"""Draws docs/figures/policies.png: tumour dose gained against kidney limits passed, and prints the tables of
docs/policies.md.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.policies` (half a minute).
"""

# ruff: noqa: E402 - double precision is set before anything imports equinox

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from twin._jax import configure

configure()

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from pandas import DataFrame, Series

from tests.validate.checks_policies import ERROR_SEED, KEPT, LABEL, MARROW, OTHER, PATIENTS, cohort, prior
from twin.plots import BLACK, BLUE, BROWN, GREY, ORANGE, RED, STYLE
from twin.policies import ChanceTwin, compare, kidney_gate, noise_of, standard_policies, virtual_cohort

TAILS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5)
MATCHED = {"chance twin": 0.25, "chance twin, 9 cycles": 0.26}
"""Tails with which as many PSMA patients pass the limit as with the stop rule."""
LOOK = {
    "4 x 7.4 GBq": (GREY, "s"),
    "6 x 7.4 GBq": (GREY, "D"),
    "stop rule": (BROWN, "^"),
    "last cycle": (ORANGE, "v"),
    "chance twin": (BLUE, "o"),
    "chance twin, 9 cycles": (RED, "o"),
    "oracle": (BLACK, "X"),
    "oracle, 9 cycles": (BLACK, "P"),
}
SENSITIVITY = {
    "tumour uptake falls by a tenth each cycle": ({"tumour_trend_log_per_cycle": float(np.log(0.9))}, {}, 3),
    "spread between patients alone": ({"widths": "patients"}, {}, 3),
    "one SPECT a cycle": ({}, {}, 1),
    "a PET before therapy": ({}, {"before_therapy": True}, 3),
}
"""What the cohort, the trial and the number of scans are changed to."""


def table(tracer: str, limit=KEPT, cohort_words=None, trial_words=None, scans: int = 3, more=None) -> DataFrame:
    people = virtual_cohort(tracer, PATIENTS, **cohort_words) if cohort_words else cohort(tracer)
    policies = standard_policies(people, limit) | (more or {})
    known = {"limits": (KEPT, OTHER, MARROW), "reference": LABEL[tracer], "seed": ERROR_SEED}
    return compare(people, policies, prior(tracer), noise_of(people, scans), **known, **(trial_words or {})).table


def tails(tracer: str) -> dict[str, DataFrame]:
    """The twin with other tails, in the label's number of cycles and in nine."""
    twins = {name: p for name, p in standard_policies(cohort(tracer), KEPT).items() if isinstance(p, ChanceTwin)}
    more = {
        f"{name} {tail}": ChanceTwin(KEPT, p.cycles, p.cap_MBq, tail) for name, p in twins.items() for tail in TAILS
    }
    found = table(tracer, more=more)
    return {name: found.loc[[f"{name} {tail}" for tail in TAILS]] for name in twins}


def matched(tracer: str) -> DataFrame:
    """The twin against the stop rule where as many patients pass the limit."""
    people = cohort(tracer)
    policies = standard_policies(people, KEPT)
    tried = {"stop rule": policies["stop rule"]} | {k: replace(policies[k], tail=tail) for k, tail in MATCHED.items()}
    known = {"limits": (KEPT, OTHER, MARROW), "reference": "stop rule", "seed": ERROR_SEED}
    return compare(people, tried, prior(tracer), noise_of(people), **known).table


def share(row: Series, limit) -> str:
    value, low, high = (100 * row[f"passed_{limit.name}{end}"] for end in ("", "_lower95", "_upper95"))
    return f"{value:.1f} ({low:.1f} to {high:.1f})"


def shown(found: DataFrame) -> None:
    whole = lambda value: f"{round(value):+d}" if round(value) else "0"
    for name, row in found.iterrows():
        mean, low, high = (row[f"gain{end}_Gy"] for end in ("", "_lower95", "_upper95"))
        gain = f"{whole(mean)} ({whole(low)} to {whole(high)})" if low < high else "0"
        cells = [f"{row['tumour_dose_Gy']:.0f}", gain, *(share(row, lim) for lim in (KEPT, OTHER, MARROW))]
        print(f"| {name} | " + " | ".join([*cells, f"{row['cycles']:.1f}", f"{row['activity_GBq']:.1f}"]) + " |")


def drawn(axis, tracer: str) -> None:
    """Each policy with its 95 % intervals; lines join the twin's tails."""
    found = table(tracer)
    percent = lambda rows, end="": 100 * rows[f"passed_{KEPT.name}{end}"]
    for name, rows in tails(tracer).items():
        label = "both with tails of 1 to 50 %" if name == "chance twin" else None
        axis.plot(percent(rows), rows["gain_Gy"], color=LOOK[name][0], lw=1, alpha=0.6, label=label)
    for name, row in found.iterrows():
        colour, mark = LOOK[str(name)]
        x, y = percent(row), row["gain_Gy"]
        wide = [[x - percent(row, "_lower95")], [percent(row, "_upper95") - x]]
        high = [[y - row["gain_lower95_Gy"]], [row["gain_upper95_Gy"] - y]]
        words = {"color": colour, "fmt": mark, "ms": 6, "lw": 1, "label": str(name)}
        axis.errorbar(x, y, xerr=np.abs(wide), yerr=np.abs(high), **words)
    axis.set_xlabel("patients beyond 40 Gy of kidney BED, %")
    axis.set_title(f"{tracer}, against {LABEL[tracer]}")
    handles, labels = axis.get_legend_handles_labels()
    after = labels.index("chance twin, 9 cycles") + 1
    line = next(k for k, label in enumerate(labels) if label.startswith("both"))
    order = [k for k in range(after) if k != line] + [line, *range(after, len(labels))]
    axis.legend([handles[k] for k in order], [labels[k] for k in order], frameon=False, loc="lower right", fontsize=8)


def main() -> None:
    for tracer in LABEL:
        gate = kidney_gate(cohort(tracer))
        print(f"\n{tracer}: kidneys {gate.mean:.3f} Gy/GBq, CV {100 * gate.cv:.1f} sd {100 * gate.cv_error:.1f} %")
        shown(table(tracer))
        print("the same, with policies that keep 27 Gy")
        shown(table(tracer, OTHER))
        for name, words in SENSITIVITY.items():
            print(name)
            shown(table(tracer, KEPT, *words))
    print("\n177Lu-PSMA-617 against the stop rule, with tails of", *MATCHED.values())
    shown(matched("177Lu-PSMA-617"))
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(10.0, 4.4), layout="constrained")
        left, right = figure.subplots(1, 2)
        for axis, tracer in zip((left, right), LABEL, strict=True):
            drawn(axis, tracer)
        left.set_ylabel("tumour dose gained, Gy (mean by mass)")
        figure.savefig(Path(__file__).with_suffix(".png"), dpi=120)


if __name__ == "__main__":
    main()
