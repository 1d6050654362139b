"""The design of a virtual trial: `trial.toml`, checked field by field.

Numbers may be given with a unit ("7.4 GBq"). What is left out takes the value of the tracer's label or the default
stated here; the design as it was run stands in the trial's manifest, with every default filled in.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_serializer,
    model_validator,
)

from dose.errors import InputError, describe, nearest
from dose.units import parse
from pbpk.parameters import ligand
from twin.constraints import activity_cap_MBq, limit
from twin.schedules import label_schedule
from twin.study import split_tracer

MOST_CYCLES = 12
TRIAL_ORGANS = ("kidneys", "liver", "spleen", "parotid", "submandibular", "lacrimal", "red_marrow")
"""Organs whose doses a trial reports."""
MOST_PATIENTS = 10**9


def _in(unit: str):
    """Numbers, or texts with a unit of this kind."""
    return BeforeValidator(lambda x: parse(x, unit, "value") if isinstance(x, str) else x)


MBq = Annotated[float, _in("MBq"), Field(gt=0)]
Hours = Annotated[tuple[Annotated[float, Field(gt=0, le=1000)], ...], Field(min_length=1, max_length=8)]


class _AbstractPart(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


def known_limit(name: str) -> str:
    """The name of a limit that twin/data/limits.csv has, on dose or BED of a region that trials report."""
    if limit(name).region not in TRIAL_ORGANS:
        raise ValueError(f"{name} is on {limit(name).region}; a trial keeps limits on {', '.join(TRIAL_ORGANS)}")
    return name


class Cohort(_AbstractPart):
    """Who is treated: drawn from the population of the tracer's target, or read from `file` (CSV or Parquet; columns
    age_y, weight_kg, height_m, sex, gfr_mL_min, haematocrit, as many as are known; the rest is drawn).

    `tumour_trend_log_per_cycle` changes the log of the tumours' uptake with each cycle; `response` lets tumours shrink
    and grow between cycles, with their receptors; `drift` lets uptake wander from cycle to cycle.
    """

    file: str | None = None
    tumour_trend_log_per_cycle: float = Field(0.0, ge=-2, le=2)
    response: bool = True
    drift: bool = True


class Eligibility(_AbstractPart):
    """Who may enter; others are rows with the status not_eligible."""

    least_gfr_mL_min: float = Field(30.0, ge=0)
    least_age_y: float = Field(18.0, ge=0)
    most_age_y: float = Field(120.0, gt=0)
    least_tumour_mL: float = Field(0.0, ge=0)
    most_tumour_mL: float = Field(1e6, gt=0)
    most_lesions: int = Field(10**6, gt=0)


class Imaging(_AbstractPart):
    """Scans after each cycle and the errors they have beside those of calibration/data/noise.csv: a further
    proportional one (share of the activity) and an additive one (MBq).

    With `model` "measured", counting noise and spill-over come from the shipped measurement model of the nuclide, for
    scans of `scan_min` minutes a bed (those of the model by default). `correction` says what is done about spill-over:
    "recovery" divides by each region's own recovery and leaves it, "gtm" undoes it, which costs noise.
    """

    times_h: Hours = (24.0, 72.0, 168.0)
    proportional: float = Field(0.0, ge=0, le=1)
    additive_MBq: Annotated[float, _in("MBq"), Field(ge=0)] = 0.0
    model: Literal["constant", "measured"] = "constant"
    scan_min: float | None = Field(None, ge=0.5, le=120)
    correction: Literal["recovery", "gtm"] = "recovery"

    @model_validator(mode="after")
    def _asks_for_a_model(self):
        if self.model == "constant" and (self.scan_min is not None or self.correction != "recovery"):
            raise ValueError('scan_min and correction need model = "measured"')
        return self

    @model_serializer(mode="wrap")
    def _as_before(self, plain) -> dict:
        """Words of a design without the measurement model are what they were before there was one, so that its trial's
        manifest is the same."""
        words = plain(self)
        later = ("model", "scan_min", "correction") if self.model == "constant" else ()
        return {name: value for name, value in words.items() if name not in later}


class Arm(_AbstractPart):
    """What the patients of one arm get. Where `policy` adapts, `limit` names what it keeps.

    `activity_MBq` is that of each cycle (fixed, stop_rule), of the first (last_cycle), or the cap (chance_twin,
    oracle: `cap_MBq` goes before it). `estimator` says what the policy knows of each cycle: exact, linear (regression
    on the scans, learned from other virtual patients) or laplace (the twin's own calibration).
    """

    name: str = Field(min_length=1, max_length=60)
    policy: Literal["fixed", "stop_rule", "last_cycle", "chance_twin", "oracle"] = "fixed"
    tracer: str | None = None
    activity_MBq: MBq | None = None
    cap_MBq: MBq | None = None
    cycles: int | None = Field(None, ge=1, le=MOST_CYCLES)
    interval_days: float | None = Field(None, ge=7, le=365)
    amount_nmol: Annotated[float, _in("nmol"), Field(gt=0, le=1e4)] | None = None
    limit: str = "kidney_bed_40"
    tail: float = Field(0.05, gt=0, le=0.5)
    imaging: Imaging | None = None
    estimator: Literal["exact", "linear", "laplace"] = "linear"

    @field_validator("limit")
    @classmethod
    def _is_known(cls, name: str) -> str:
        return known_limit(name)


class TrialDesign(_AbstractPart):
    """A trial: arms on the same virtual patients with the same random numbers.

    `limits` are counted in truth, whatever the arms keep. `dropout_per_cycle` is the chance of leaving before each
    cycle after the first. Survival ends when the tumours reach `lethal_mL`, or twice what they were at the start if
    that is more, or at the end of follow-up.
    """

    name: str = Field(min_length=1, max_length=80)
    question: str = ""
    patients: int = Field(1000, ge=1, le=MOST_PATIENTS)
    seed: int = Field(0, ge=0, lt=2**31 - 1)
    tracer: str = "177Lu-PSMA-617"
    arms: tuple[Arm, ...] = Field(min_length=1, max_length=40)
    reference: str = ""
    limits: tuple[str, ...] = ("kidney_bed_40", "kidney_dose_23", "marrow_dose_2")
    cohort: Cohort = Cohort()
    eligibility: Eligibility = Eligibility()
    imaging: Imaging = Imaging()
    dropout_per_cycle: float = Field(0.0, ge=0, lt=1)
    follow_up_days: float = Field(1460.0, gt=0, le=20_000)
    lethal_mL: float = Field(1000.0, gt=0)
    doses: Literal["cycle", "none"] = "cycle"
    lesions: bool = True

    @model_validator(mode="after")
    def _hangs_together(self):
        names = [arm.name for arm in self.arms]
        if len(set(names)) < len(names):
            raise ValueError("arms: two have the same name; give each its own")
        if self.reference and self.reference not in names:
            meant = nearest(self.reference, names) or "one of " + ", ".join(names)
            raise ValueError(f"reference: {self.reference!r} is no arm; expected {meant}")
        tracers = [self.tracer, *(arm.tracer for arm in self.arms if arm.tracer)]
        if len({ligand(split_tracer(tracer, "tracer")[0]).target for tracer in tracers}) > 1:
            found = ", ".join(dict.fromkeys(tracers))
            raise ValueError(f"tracers of different targets ({found}); virtual patients have receptors of one")
        if len(set(self.limits)) < len(self.limits):
            raise ValueError("limits: one is named twice")
        rule = self.eligibility
        if rule.least_age_y > rule.most_age_y or rule.least_tumour_mL > rule.most_tumour_mL:
            raise ValueError("eligibility: a least value above the most, so that nobody may enter")
        return self

    @field_validator("limits")
    @classmethod
    def _are_known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(known_limit(name) for name in names)

    def filled(self) -> TrialDesign:
        """The design with every default of its arms written out."""
        arms = tuple(_filled(arm, self) for arm in self.arms)
        return self.model_copy(update={"arms": arms, "reference": self.reference or arms[0].name})

    @property
    def regimens(self) -> tuple[Regimen, ...]:
        """The arms, as they are run."""
        return tuple(Regimen.of(_filled(arm, self)) for arm in self.arms)

    @property
    def target(self) -> str:
        return ligand(split_tracer(self.tracer, "tracer")[0]).target


def _filled(arm: Arm, design: TrialDesign) -> Arm:
    tracer = arm.tracer or design.tracer
    drug, nuclide = split_tracer(tracer, f"arm {arm.name}: tracer")
    label = label_schedule(drug, nuclide)
    each = arm.activity_MBq or min(label.activity_MBq, activity_cap_MBq(nuclide))
    if arm.cap_MBq is not None and arm.cap_MBq < each:
        do = "raise the cap, or lower the activity"
        found = f"{arm.cap_MBq:g} MBq below the activity of {each:g} MBq"
        raise InputError(describe(f"arm {arm.name}: cap_MBq", found, "at least the activity of a cycle", do))
    imaging = arm.imaging or design.imaging
    if imaging.model == "measured":
        from twin.trial.counted import reading_of

        reading_of(nuclide, imaging.correction, imaging.scan_min)  # refuses a nuclide without a model
    return arm.model_copy(
        update={
            "tracer": tracer,
            "activity_MBq": each,
            "cap_MBq": arm.cap_MBq or each,
            "cycles": arm.cycles or label.cycles,
            "interval_days": arm.interval_days or label.interval_days,
            "amount_nmol": arm.amount_nmol or ligand(drug).typical_amount_nmol("therapy"),
            "imaging": imaging,
        }
    )


@dataclass(frozen=True)
class Regimen:
    """An arm with every default filled in: what `Arm` describes."""

    name: str
    policy: str
    tracer: str
    activity_MBq: float
    cap_MBq: float
    cycles: int
    interval_days: float
    amount_nmol: float
    limit: str
    tail: float
    imaging: Imaging
    estimator: str

    @classmethod
    def of(cls, arm: Arm) -> Regimen:
        return cls(**{f.name: getattr(arm, f.name) for f in fields(cls)})


def design_of(words: dict, where: str = "design") -> TrialDesign:
    """A design from a dictionary, every default filled in.

    Raises:
        InputError: an unknown field, a value that cannot be; each with its place.
    """
    try:
        return TrialDesign.model_validate(words).filled()
    except ValidationError as error:
        raise InputError(_said(error, where)) from error


def _said(error: ValidationError, where: str) -> str:
    lines = []
    for e in error.errors():
        place = ".".join(str(x) for x in e["loc"]) or "trial"
        given = e.get("input")
        found = repr(given)[:80] if not isinstance(given, dict | tuple | list) else "this table"
        lines.append(describe(f"{where}: {place}", found, e["msg"].removeprefix("Value error, "), "correct it"))
    return "\n".join(lines)


def read_design(path) -> TrialDesign:
    """A design from a TOML file, or a shipped one by its name (`shipped_designs()`).

    Raises:
        InputError: no such file, no TOML, or fields that are wrong.
    """
    text, where = text_of(path)
    try:
        return design_of(tomllib.loads(text), where)
    except tomllib.TOMLDecodeError as error:
        do = "correct the line; docs/trials.md has an example"
        raise InputError(describe(where, str(error), "a TOML file", do)) from error


def text_of(path) -> tuple[str, str]:
    """The text of a design and the name it goes by.

    Raises:
        InputError: no such file, and no shipped design of this name.
    """
    if str(path) in shipped_designs():
        return files("twin.trial").joinpath("designs", f"{path}.toml").read_text(encoding="utf-8"), str(path)
    try:
        return Path(path).read_text(encoding="utf-8"), Path(path).name
    except (OSError, UnicodeDecodeError) as error:
        expected = "a trial.toml, or a shipped design: " + ", ".join(shipped_designs())
        raise InputError(describe(str(path), "no readable file", expected, "give the path of a design")) from error


def shipped_designs() -> tuple[str, ...]:
    """Names of the shipped designs."""
    folder = files("twin.trial").joinpath("designs")
    return tuple(sorted(p.name.removesuffix(".toml") for p in folder.iterdir() if p.name.endswith(".toml")))
