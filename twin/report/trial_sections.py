"""The sections of a trial's page, each from what was computed; the texts that state what is assumed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dose.errors import InputError, describe
from dose.provenance import load_table, sources
from twin.constraints import known_limits
from twin.report.html import Markup, bullets, escaped, heading, number, paragraph, percent, table
from twin.report.provenance import versions
from twin.tables import MBQ_PER_GBQ
from twin.trial import survival as km
from twin.trial.results import Trial
from twin.trial.statistics_endpoints import COVERED, OK

if TYPE_CHECKING:
    import pandas as pd

    from twin.report.trial import Results
    from twin.trial.power import PowerCurve

GATE_KEYS = ("organ", "quantity", "value", "low", "high", "passes", "source")
POLICIES = {
    "fixed": "the same activity in each cycle",
    "stop_rule": "the same activity until one more cycle would pass the limit",
    "last_cycle": "what the limit leaves, at the last cycle's measured Gy per MBq",
    "chance_twin": "the largest activity that passes the limit with small probability, planned anew each cycle",
    "oracle": "knows the truth: no clinic can do this; it bounds what knowing more can be worth",
}
ASSUMPTIONS = (
    "these patients are drawn from a model: no result here was seen in a patient, and none is a forecast for one",
    "all arms treat the same virtual patients with the same random numbers: a difference is within a patient",
    "so a difference is known far better than from a real trial of this size; power is for one with separate groups",
    "intervals say how exactly this cohort's result is known with so many patients, not how far the model is wrong",
    "patients that are not eligible or could not be computed are counted, and left out of the endpoints",
    "platelets are of a demonstration model without parameters confirmed for this therapy",
    "survival ends with the tumour burden of the model alone; there is no other cause of death and no other therapy",
    "volume and PSA are the model's, at their best, without confirmation and without new lesions",
    "the log-rank test takes the arms for independent groups, which they are not: its p-value is too large here",
    "no hazard ratio is given, since hazards of this model are not proportional",
    "power takes the difference found here as true and knows neither missed visits nor other loss",
)


def each(table: pd.DataFrame) -> Any:
    """Rows whose columns are attributes."""
    return table.itertuples(index=False)


def warnings(made: Results) -> list[str]:
    """What a reader must know first."""
    trial, found = made.trial, []
    if not trial.complete:
        found.append(f"The trial is not complete: {trial.count} of {trial.design['patients']} patients are there")
    lost = [row for row in each(made.counts) if row.failed]
    found += [f"{row.arm}: {row.failed} of {row.patients} patients could not be computed" for row in lost]
    if made.gate is None:
        found.append("The cohort's doses were not checked against published bands (no gate.json)")
    elif missed := [g for g in made.gate if not g["passes"]]:
        said = ", ".join(f"{g['organ']} {g['quantity']} {number(g['value'])}" for g in missed)
        found.append(f"The cohort is outside of published bands: {said}; no result of this trial should be quoted")
    return found


def design(trial: Trial) -> Markup:
    """The design in words, and its arms."""
    d = trial.design
    lines = [f"{d['patients']} virtual patients, the same in each arm; tracer {d.get('tracer', 'not said')}"]
    lines.append(f"Compared with the arm “{trial.reference}”")
    for key, words in (("eligibility", "Eligible"), ("cohort", "Cohort"), ("imaging", "Scans")):
        if d.get(key):
            lines.append(f"{words}: {_words(d[key])}")
    if "dropout_per_cycle" in d:
        lines.append(f"Chance to leave before each cycle after the first: {percent(d['dropout_per_cycle'], 1)}")
    if "follow_up_days" in d:
        lethal = number(d.get("lethal_mL", np.nan))
        lines.append(f"Followed for {number(d['follow_up_days'])} days; death at {lethal} mL of tumour, or at twice "
                     "the first volume if that is more")  # fmt: skip
    limits = [_limit(name) for name in d.get("limits", ())]
    lines += [f"Limits counted in truth: {'; '.join(limits)}"] if limits else []
    rows = [
        [arm["name"], POLICIES.get(arm.get("policy", ""), arm.get("policy", "")), *_given(arm)] for arm in d["arms"]
    ]
    head = ["arm", "rule", "activity of a cycle, MBq", "cycles", "interval, days", "keeps", "knows the dose by"]
    return Markup(bullets(lines) + table(head, rows, "Arms of the trial"))


def _given(arm: Mapping) -> list[str]:
    """Activity, cycles, interval, limit, estimator and its scans; of a policy that plans, the most it may give."""
    policy, said = arm.get("policy", "fixed"), lambda key: "" if arm.get(key) is None else number(arm[key])
    plans = policy in ("chance_twin", "oracle") and arm.get("cap_MBq") is not None
    each = f"at most {said('cap_MBq')}" if plans else said("activity_MBq")
    hours = _list((arm.get("imaging") or {}).get("times_h", ()))
    known = "the truth" if policy == "oracle" else said("estimator") + (f", scans at {hours} h" if hours else "")
    adapts = (said("limit").replace("_", " "), known) if policy != "fixed" else ("", "")
    return [each, said("cycles"), said("interval_days"), *adapts]


TOLD = {
    "least_gfr_mL_min": ("GFR {} mL/min or more", None),
    "least_age_y": ("{} years or older", None),
    "most_age_y": ("up to {} years", 120.0),
    "least_tumour_mL": ("{} mL of tumour or more", 0.0),
    "most_tumour_mL": ("up to {} mL of tumour", 1e6),
    "most_lesions": ("up to {} lesions", 1_000_000),
    "file": ("covariates from {}", None),
    "tumour_trend_log_per_cycle": ("log of tumour uptake changes by {} a cycle", 0.0),
    "response": ("tumours change size between cycles: {}", None),
    "drift": ("uptake drifts between cycles: {}", None),
    "times_h": ("{} h after each administration", None),
    "proportional": ("proportional error {} besides", 0.0),
    "additive_MBq": ("additive error {} MBq", 0.0),
}
"""Words for a field of the design, and the value that needs none."""


def _words(part: Mapping) -> str:
    told = [_told(key, value) for key, value in part.items() if value is not None]
    return "; ".join(words for words in told if words)


def _told(key: str, value) -> str:
    text, silent = TOLD.get(key, (heading(key) + " {}", None))
    if value == silent:
        return ""
    if isinstance(value, bool):
        return text.format("yes" if value else "no")
    return text.format(value if isinstance(value, str) else _list(np.atleast_1d(value)))


def _list(values) -> str:
    return ", ".join(f"{float(v):g}" for v in values)


def _limit(name: str) -> str:
    found = known_limits().get(name)
    if found is None:
        return name
    what = {"dose_Gy": "dose", "bed_Gy": "BED"}.get(found.quantity, found.quantity)
    return f"{found.region.replace('_', ' ')} {what} {found.value_Gy:g} Gy [{found.source_id}]"


def kidney_bed_limit(trial: Trial) -> float | None:
    """The first limit of the design on the kidneys' BED."""
    found = (known_limits().get(name) for name in trial.design.get("limits", ()))
    return next((x.value_Gy for x in found if x and (x.region, x.quantity) == ("kidneys", "bed_Gy")), None)


def patients(made: Results) -> Markup:
    """From enrolled to analysed, arm by arm, and the plausibility gate."""
    counts = made.counts.set_index("arm")
    words = {"patients": "drawn", "not_eligible": "not eligible", "failed": "could not be computed", "ok": "analysed"}
    words |= {c: f"— {c.removeprefix('failed_').replace('_', ' ')}" for c in counts if c.startswith("failed_")}
    ends = {c: c.removeprefix("ended_").replace("_", " ") for c in counts if c.startswith("ended_")}
    words |= {c: f"therapy ended: {end}" for c, end in ends.items()}
    first = ["patients", "not_eligible", "failed", *(c for c in counts if c.startswith("failed_")), "ok"]
    order = [*first, *ends]
    rows = [[words[c], *(int(counts.loc[arm, c]) for arm in made.trial.arms)] for c in order]
    text = table(["patients", *made.trial.arms], rows, "Patients from drawn to analysed")
    return Markup(text + gate(made.gate))


def gate(found: tuple[dict, ...] | None) -> Markup:
    if not found:
        return Markup("")
    rows = [[str(g["organ"]).replace("_", " "), str(g["quantity"]), float(g["value"]),
             f"{number(g['low'])}–{number(g['high'])}", "passes" if g["passes"] else "fails", str(g["source"])]
            for g in found]  # fmt: skip
    head = ["organ", "quantity", "this cohort", "published band", "gate", "source"]
    return Markup("<h3>Plausibility gate</h3>" + table(head, rows, "Plausibility gate of the cohort"))


def read_gate(folder: Path) -> tuple[dict, ...] | None:
    """Rows of `gate.json`, or None where there is none.

    Raises:
        InputError: not a list of rows with GATE_KEYS.
    """
    path = folder / "gate.json"
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return tuple({key: row[key] for key in GATE_KEYS} for row in found)
    except (OSError, ValueError, KeyError, TypeError) as error:
        expected, do = f"rows with {', '.join(GATE_KEYS)}", "run the gate again, or remove the file"
        raise InputError(describe(str(path), str(error) or "no gate", expected, do)) from error


def endpoints(made: Results) -> Markup:
    """Endpoints by arm, then the differences from the reference."""
    trial, every = made.trial, made.endpoints
    names = list(dict.fromkeys(every["endpoint"]))
    row_of = {(r.endpoint, r.arm): r for r in each(every)}
    head = [f"{arm} (n = {int(made.counts.set_index('arm').loc[arm, 'ok'])})" for arm in trial.arms]
    rows = [[_named(row_of[n, trial.arms[0]]), *(_value(row_of[n, arm]) for arm in trial.arms)] for n in names]
    text = paragraph("Means with 95 % interval and median; shares with 95 % interval.", "quiet")
    text += table(["endpoint", *head], rows, "Endpoints by arm")
    others = [arm for arm in trial.arms if arm != trial.reference]
    if others:
        rows = [[_named(row_of[n, others[0]]), *(_difference(row_of[n, arm]) for arm in others)] for n in names]
        text += f"<h3>Differences from {escaped(trial.reference)}, in the same patients</h3>"
        text += table(["endpoint", *others], rows, "Paired differences from the reference")
    return Markup(text)


def _named(row) -> Markup:
    unit = f", {row.unit}" if row.unit != "1" else ""
    return Markup(escaped(row.words + unit))


def _shown(value: float, row, sign: bool = False) -> str:
    """A number of an endpoint: shares in per cent, what was not reached in words."""
    if np.isnan(value):
        return "–"
    if np.isinf(value):
        return "not reached"
    if row.kind in ("share", "coverage", "survival"):
        text = percent(abs(value), 1)
    else:
        text = f"{abs(value):.0f}" if abs(value) >= 1000 else number(abs(value))
    mark = "" if not value or float(text.rstrip("%")) == 0 else "−" if value < 0 else "+" if sign else ""
    return mark + text


def _value(row) -> Markup:
    if row.patients == 0 or np.isnan(row.value):
        return Markup("–")
    ends = f"{_shown(row.lower95, row)} to {_shown(row.upper95, row)}"
    middle = f"<br><small>median {_shown(row.median, row)}</small>" if row.kind == "mean" else ""
    return Markup(f"{_shown(row.value, row)}<br><small>{ends}</small>{middle}")


def _difference(row) -> Markup:
    if np.isnan(row.difference):
        return Markup("–")
    if np.isnan(row.difference_lower95):
        return Markup(_shown(row.difference, row, True))
    ends = f"{_shown(row.difference_lower95, row, True)} to {_shown(row.difference_upper95, row, True)}"
    return Markup(f"{_shown(row.difference, row, True)}<br><small>{ends}</small>")


def survival(made: Results) -> Markup:
    """The log-rank test of each arm against the reference."""
    others = [arm for arm in made.trial.arms if arm != made.trial.reference]
    base = made.curves[made.trial.reference].tally
    rows = []
    for arm in others:
        tally = made.curves[arm].tally
        if base.deaths.sum() + tally.deaths.sum() and base.patients and tally.patients:
            chi2, p = km.log_rank(base, tally)
            rows.append([arm, int(tally.deaths.sum()), float(chi2), f"{p:.2g}" if p >= 1e-4 else "below 0.0001"])
    if not rows:
        return Markup("")
    head = ["arm", "deaths", "log-rank χ²", "p, as of independent groups"]
    return table(head, rows, f"Log-rank test against {made.trial.reference}")


def needed(curve: PowerCurve) -> str:
    """Patients an arm for 80 % in words."""
    if np.isfinite(curve.needed):
        return f"{int(np.ceil(curve.needed))}"
    return f"at most {curve.sizes[0]}" if curve.power[0] >= 0.8 else f"more than {curve.sizes[-1]}"


def power(made: Results) -> Markup:
    if not made.power:
        return Markup("")
    rows = [[c.words, c.arms[1], c.test, needed(c), _ends(c)] for c in made.power]
    head = ["endpoint", f"arm, against {made.trial.reference}", "test at 5 %, two-sided", "patients an arm for 80 %",
            "95 % of the draws"]  # fmt: skip
    return table(head, rows, "Patients that a real trial would need")


def _ends(curve: PowerCurve) -> str:
    ends = (curve.needed_lower95, curve.needed_upper95)
    return f"{ends[0]:.0f} to {ends[1]:.0f}" if np.isfinite(ends).all() else ""


def published_beside(trial: Trial) -> pd.DataFrame:
    """The trial's first cycle beside published cohorts of its tracer: mean and sd between patients, Gy/GBq.

    Columns: region, arm, mean, sd, patients; published, published_sd, published_patients, source, locator.
    """
    import pandas as pd

    arms = {arm["name"]: arm.get("tracer") or trial.design.get("tracer") for arm in trial.design["arms"]}
    order = [trial.reference, *(a for a in trial.arms if a != trial.reference)]
    rows = []
    for row in load_table("twin", "cohorts_published.csv"):
        arm = next((a for a in order if arms[a] == row["tracer"]), None)
        if arm is not None:
            rows.append({"region": row["region"], "arm": arm, "published": float(row["value"]),
                         "published_sd": float(row["sd"] or "nan"), "published_patients": int(row["patients"]),
                         "source": row["source_id"], "locator": row["locator"]})  # fmt: skip
    made = pd.DataFrame(rows)
    found = _first_cycle(trial, tuple(dict.fromkeys(made["arm"])) if len(made) else ())
    known = [row for row in rows if (row["arm"], row["region"]) in found]
    return pd.DataFrame([row | found[row["arm"], row["region"]] for row in known])


def _first_cycle(trial: Trial, arms: tuple[str, ...]) -> dict[tuple[str, str], dict]:
    """Mean, sd and number of patients of Gy/GBq in cycle 1, by arm and region, part by part."""
    from twin.trial.statistics_sums import Moments

    found: dict[tuple[str, str], Moments] = {}
    doses = trial.by_part("doses", ["patient", "arm", "cycle", "region", "dose_Gy"])
    given = trial.by_part("cycles", ["patient", "arm", "cycle", "activity_MBq"])
    for dose, activity in zip(doses, given, strict=True):
        keep = dose[(dose["cycle"] == 1) & dose["arm"].isin(arms)]
        keep, activity = keep.astype({"arm": str, "region": str}), activity.astype({"arm": str})
        both = keep.merge(activity, on=["patient", "arm", "cycle"])
        both = both.assign(per_GBq=MBQ_PER_GBQ * both["dose_Gy"] / both["activity_MBq"])
        for (arm, region), values in _groups(both[both["activity_MBq"] > 0], ["arm", "region"], "per_GBq"):
            new = Moments.of(values.to_numpy())
            found[arm, region] = found[arm, region].plus(new) if (arm, region) in found else new
    spread = lambda m: float(np.sqrt(m.squares / (m.count - 1))) if m.count > 1 else np.nan
    return {key: {"mean": float(m.mean), "sd": spread(m), "patients": int(m.count)} for key, m in found.items()}


def _groups(table: pd.DataFrame, by: list[str], column: str) -> Any:
    """(names, values of the column) of each group."""
    return table.groupby(by)[column]


def published(made: Results) -> Markup:
    """The table beside published cohorts with its sources."""
    rows = made.published
    if not len(rows):
        return Markup("")
    pm = lambda mean, sd: number(mean) + (f" ± {number(sd)}" if np.isfinite(sd) else "")
    cells = [[r.region.replace("_", " "), pm(r.mean, r.sd), pm(r.published, r.published_sd),
              int(r.published_patients), number(r.mean / r.published), _near(r), f"{r.source}: {r.locator}"]
             for r in each(rows)]  # fmt: skip
    head = ["region", "this trial, Gy/GBq", "published, Gy/GBq", "patients", "ratio", "within one sd", "source"]
    cited = [f"[{i}] {sources('twin')[i].citation}" for i in dict.fromkeys(rows["source"])]
    arms = ", ".join(dict.fromkeys(rows["arm"]))
    text = f"First cycle of {arms}, mean ± sd between patients; published cohorts differ among themselves."
    return Markup(paragraph(text, "quiet") + table(head, cells, "This trial beside published cohorts") + bullets(cited))


def _near(row) -> str:
    if not np.isfinite(row.published_sd):
        return "no sd"
    return "yes" if abs(row.mean - row.published) <= row.published_sd else "no"


def some_patients(trial: Trial, columns: list[str]) -> pd.DataFrame:
    """The first patients, up to EXACT, for figures."""
    import pandas as pd

    found, count = [], 0
    for part in trial.by_part("patients", ["status", *columns]):
        found.append(part[part["status"] == OK])
        count += len(part) // len(trial.arms)
        if count >= km.EXACT:
            break
    return pd.concat([f.astype({"arm": str}) for f in found]) if found else trial.patients(columns)


def cycle_doses(trial: Trial) -> dict[str, dict[str, dict[int, np.ndarray]]]:
    """Doses of kidneys and tumours, by region, arm and cycle, of the first patients up to EXACT."""
    made: dict[str, dict[str, dict[int, list]]] = {}
    count = 0
    for dose in trial.by_part("doses", ["patient", "arm", "cycle", "region", "dose_Gy"]):
        shown = dose[dose["region"].isin(COVERED)].astype({"arm": str, "region": str})
        for (region, arm, cycle), values in _groups(shown, ["region", "arm", "cycle"], "dose_Gy"):
            made.setdefault(region, {}).setdefault(arm, {}).setdefault(int(cycle), []).append(values.to_numpy())
        count += len(np.unique(shown["patient"]))
        if count >= km.EXACT:
            break
    joined = lambda cycles: {c: np.concatenate(v) for c, v in sorted(cycles.items())}
    return {region: {arm: joined(made[region][arm]) for arm in trial.arms if arm in made[region]}
            for region in COVERED if region in made}  # fmt: skip


def assumptions(trial: Trial) -> Markup:
    rows = load_table("twin", "endpoints.csv")
    cited = [f"{r['name'].replace('_', ' ')}: {r['value']} {r['unit'] if r['unit'] != '1' else ''} — {r['locator']} "
             f"[{r['source_id']}]" for r in rows]  # fmt: skip
    return Markup(bullets(ASSUMPTIONS) + "<h3>Thresholds</h3>" + bullets(cited))


def provenance(trial: Trial) -> Markup:
    """Versions that ran the trial and that made the page, the seed and the manifest's digest."""
    ran, made = trial.manifest.get("packages", {}), versions()
    lines = [f"Seed {trial.design.get('seed', 'not said')}; {trial.count} patients in {len(trial.parts)} parts"]
    lines += ["Run with " + ", ".join(f"{name} {v}" for name, v in ran.items())] if ran else []
    lines += [f"On {trial.manifest[k]}" for k in ("platform",) if trial.manifest.get(k)]
    lines += ["Page made with " + ", ".join(f"{name} {v}" for name, v in made.items())]
    lines += [f"Manifest {trial.manifest['sha256'][:16]}"] if trial.manifest.get("sha256") else []
    return bullets(lines)
