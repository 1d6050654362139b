"""Patient covariates and ligand tables: what the scaling turns into `Kinetics`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from pbpk.anatomy import kind_of

SEXES = ("male", "female")
OPTIONAL = {"KD_albumin": "nmol/L", "kPS_albumin": "1/min", "returned_fraction": "1"}
"""Units of parameters that a ligand need not have: without them none is on albumin, and none comes back from cells."""


@cache
def _population() -> dict[str, tuple[float, float, float]]:
    rows = [row for row in load_table("pbpk", "physiology.csv") if row["organ"] == "population"]
    return {row["quantity"]: (float(row["value"]), float(row["low"]), float(row["high"])) for row in rows}


@dataclass(frozen=True)
class Covariates:
    """A patient's measured covariates; `assumed` names those that took the population's value.

    Raises:
        InputError: a value outside the plausible range of pbpk/data/physiology.csv, or an unknown sex.
    """

    weight_kg: float
    height_m: float
    sex: str
    age_y: float
    gfr_mL_min: float
    haematocrit: float
    assumed: tuple[str, ...] = ()

    def __post_init__(self):
        if self.sex not in SEXES:
            raise InputError(describe("patient.sex", repr(self.sex), f"one of {SEXES}", "correct the spelling"))
        for name, (_, low, high) in _population().items():
            value = getattr(self, name)
            if not (math.isfinite(value) and low <= value <= high):
                found = f"{value:g}"
                raise InputError(
                    describe(f"patient.{name}", found, f"{low:g} to {high:g}", "check the value and its unit")
                )

    @classmethod
    def of(cls, **known) -> Covariates:
        """Covariates from those known; the rest, and None, take the population's value and are listed in `assumed`."""
        known = {name: value for name, value in known.items() if value is not None}
        defaults = {"sex": "male", **{name: row[0] for name, row in _population().items()}}
        unknown = [name for name in known if name not in defaults]
        if unknown:
            meant = nearest(unknown[0], tuple(defaults)) or "one of " + ", ".join(defaults)
            raise InputError(describe(f"patient.{unknown[0]}", "an unknown covariate", meant, "correct the name"))
        return cls(**{**defaults, **known}, assumed=tuple(name for name in defaults if name not in known))

    def with_weight(self, weight_kg: float) -> Covariates:
        return replace(self, weight_kg=weight_kg, assumed=tuple(a for a in self.assumed if a != "weight_kg"))

    @property
    def body_surface_m2(self) -> float:
        """Mosteller 1987."""
        return math.sqrt(self.height_m * 100 * self.weight_kg / 3600)


@dataclass(frozen=True)
class Value:
    """A typical value with its between-patient coefficient of variation (0: fixed) and where it comes from."""

    value: float
    cv: float
    unit: str
    source_id: str

    @property
    def log_sd(self) -> float:
        return math.sqrt(math.log1p(self.cv**2))


@dataclass(frozen=True)
class Ligand:
    """The rows of one ligand, looked up by parameter and organ with the organ's default as fall-back."""

    name: str
    target: str
    rows: dict[tuple[str, str], Value]

    def get(self, parameter: str, organ: str = "") -> Value | None:
        """The value for an organ; kidneys, glands and tumours of any label share their kind's row."""
        for key in (organ, kind_of(organ), "default"):
            if (parameter, key) in self.rows:
                return self.rows[parameter, key]
        return None

    def number(self, parameter: str, organ: str = "", otherwise: float = 0.0) -> float:
        """The value of a row, or `otherwise` where the ligand has none for this organ."""
        found = self.get(parameter, organ)
        return otherwise if found is None else found.value

    def with_values(self, name: str, values: dict[tuple[str, str], float]) -> Ligand:
        """Another ligand under a name of its own: as this one but for `values`, keyed (parameter, organ or "").

        Parameters that this ligand has no row of take the unit that pbpk/data/README.md gives; none varies more between
        patients than here.

        Raises:
            InputError: a parameter that no ligand has.
        """
        known = {p for drug in map(ligand, known_ligands()) for p, _ in drug.rows} | set(OPTIONAL)
        for parameter, _ in values:
            if parameter not in known:
                meant = nearest(parameter, tuple(known)) or "one of " + ", ".join(sorted(known))
                raise InputError(describe(f"ligand {name!r}: parameter", repr(parameter), meant, "correct the name"))
        old = lambda key: self.rows.get(key, Value(0.0, 0.0, OPTIONAL.get(key[0], ""), "user"))
        rows = {key: replace(old(key), value=float(value), source_id="user") for key, value in values.items()}
        return replace(self, name=name, rows=self.rows | rows)

    def typical_amount_nmol(self, use: str) -> float:
        """Usual ligand amount of an administration; `use` is "therapy" or "diagnostic"."""
        return self.rows["typical_amount", use].value


@cache
def known_ligands() -> tuple[str, ...]:
    return tuple(dict.fromkeys(row["ligand"] for row in load_table("pbpk", "ligands.csv")))


@cache
def ligand(name: str) -> Ligand:
    """The ligand of this name (PSMA-617, PSMA-I&T, PSMA-11, DCFPyL, DOTATATE; case and spaces do not matter).

    Raises:
        InputError: unknown name; the nearest is suggested.
    """
    plain = {known.lower(): known for known in known_ligands()}
    key = plain.get(name.strip().lower().replace(" ", "-"))
    if key is None:
        meant = nearest(name, known_ligands()) or "one of " + ", ".join(known_ligands())
        raise InputError(describe("ligand", repr(name), meant, "correct the name or add rows to pbpk/data/ligands.csv"))
    rows = [row for row in load_table("pbpk", "ligands.csv") if row["ligand"] == key]
    target = next(row["value"] for row in rows if row["parameter"] == "target")
    numbers = {
        (row["parameter"], row["organ"]): Value(float(row["value"]), float(row["cv"]), row["unit"], row["source_id"])
        for row in rows
        if row["parameter"] != "target"
    }
    return Ligand(key, target, numbers)
