"""Patient covariates and ligand tables: what the scaling turns into `Kinetics`."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import cache

from dose.errors import InputError, describe, nearest
from dose.provenance import load_table
from pbpk.anatomy import SMALL_GLANDS, Anatomy, kind_of

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
        """Another ligand under a name of its own: as this one but for `values`, keyed (parameter, organ).

        Parameters of the whole ligand take "" for the organ; the others an organ of the model, "kidneys", "tumour" or
        "default". Units are those of the table's rows; KD_albumin is in nmol/L, kPS_albumin in 1/min.

        Raises:
            InputError: a parameter that no ligand has, an organ where none belongs or one that no body has, a value out
                of range, or permeability of ligand on albumin without its `KD_albumin`.
        """
        for (parameter, organ), value in values.items():
            _check_row(f"ligand {name!r}: {parameter}", parameter, organ, value)
        rows = {(p, o): Value(float(x), self._cv(p, o), self._unit(p), "user") for (p, o), x in values.items()}
        made = replace(self, name=name, rows=self.rows | rows)
        if any(p == "kPS_albumin" for p, _ in made.rows) and ("KD_albumin", "") not in made.rows:
            do = "give KD_albumin too, nmol/L"
            raise InputError(describe(f"ligand {name!r}: kPS_albumin", "no ligand on albumin", "KD_albumin", do))
        return made

    def _cv(self, parameter: str, organ: str) -> float:
        found = self.rows.get((parameter, "")) or self.get(parameter, organ)
        return found.cv if found else 0.0

    def _unit(self, parameter: str) -> str:
        return next((row.unit for (p, _), row in self.rows.items() if p == parameter), OPTIONAL.get(parameter, ""))

    def typical_amount_nmol(self, use: str) -> float:
        """Usual ligand amount of an administration; `use` is "therapy" or "diagnostic"."""
        return self.rows["typical_amount", use].value


FRACTIONS = ("f_exc", "biliary_fraction", "medulla_share", "returned_fraction", "amino_acid_kidney_sites")
ABOVE_ZERO = ("KD", "k_on", "KD_albumin", "amino_acid_kidney_sites")


@cache
def _places() -> dict[str, bool]:
    """Each parameter that a ligand may have, and whether it is of an organ."""
    rows = [key for drug in map(ligand, known_ligands()) for key in drug.rows]
    return {p: bool(organ) for p, organ in rows} | {p: p != "KD_albumin" for p in OPTIONAL}


@cache
def _organs() -> tuple[str, ...]:
    """Every organ that some body has, and the words that stand for several."""
    bodies = [Anatomy(divided, True).organs(t, "male", ()) for divided in (False, True) for t in SMALL_GLANDS]
    return tuple(dict.fromkeys(("default", "kidneys", "tumour", *(o for body in bodies for o in body))))


def _check_row(field: str, parameter: str, organ: str, value: float) -> None:
    if parameter not in _places():
        meant = nearest(parameter, tuple(_places())) or "one of " + ", ".join(sorted(_places()))
        raise InputError(describe(f"{field}: parameter", repr(parameter), meant, "correct the name"))
    of_organ = _places()[parameter] and parameter != "typical_amount"
    if parameter != "typical_amount" and bool(organ) != of_organ:
        expected = 'an organ, "kidneys", "tumour" or "default"' if of_organ else '"", as it holds for the whole ligand'
        raise InputError(describe(f"{field}: organ", repr(organ), expected, "correct the key"))
    if of_organ and organ not in _organs() and not organ.startswith("tumour_"):
        meant = nearest(organ, _organs()) or "one of " + ", ".join(_organs())
        raise InputError(describe(f"{field}: organ", repr(organ), meant, "correct the name"))
    good = math.isfinite(value) and value >= 0 and (parameter not in ABOVE_ZERO or value > 0)
    if not good or (parameter in FRACTIONS and value > 1):
        low = "above 0" if parameter in ABOVE_ZERO else "0"
        expected = f"{low} to 1" if parameter in FRACTIONS else f"{low} or more" if low == "0" else low
        raise InputError(describe(f"{field}, {organ}" if organ else field, f"{value:g}", expected, "correct the value"))


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
