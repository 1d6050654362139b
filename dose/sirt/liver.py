"""What an injection of 90Y microspheres perfuses, and how well each number of it is known."""

from __future__ import annotations

from dataclasses import dataclass

from dose.errors import InputError, describe
from dose.regions import region
from dose.sirt.basics import checked, checked_mass_g, checked_share, sirt_value


@dataclass(frozen=True)
class Tumour:
    """A tumour within the perfused liver; `tn_ratio`: its concentration over the perfused normal liver's.

    Raises:
        InputError: a mass or ratio that cannot be.
    """

    name: str
    mass_g: float
    tn_ratio: float

    def __post_init__(self):
        object.__setattr__(self, "name", region(self.name))
        if not self.name.startswith("tumour_"):
            raise InputError(describe("name", self.name, "a tumour", 'write "tumour_1"'))
        checked_mass_g(f"mass_g of {self.name}", self.mass_g)
        do = "divide concentrations: dose.sirt.tumour_to_normal"
        checked(f"tn_ratio of {self.name}", self.tn_ratio, 0.0, 100.0, do, open_low=True)


@dataclass(frozen=True)
class Liver:
    """What one injection perfuses, and what it does not.

    `normal_g` is perfused normal liver without tumours, `unperfused_g` normal liver that gets nothing; `lungs_g` left
    out is 1 kg. `shunt_by` says how the lung shunt was measured ("spect" or "planar"), which sets its interval.

    Raises:
        InputError: no tumour, one name twice, or numbers outside their range.
    """

    tumours: tuple[Tumour, ...]
    normal_g: float
    lung_shunt: float
    unperfused_g: float = 0.0
    lungs_g: float | None = None
    shunt_by: str = "spect"

    def __post_init__(self):
        object.__setattr__(self, "tumours", tuple(self.tumours))
        names = [tumour.name for tumour in self.tumours]
        if not names or len(set(names)) != len(names):
            raise InputError(describe("tumours", f"{names}", "one or more, each name once", "name tumour_1, tumour_2"))
        checked_mass_g("normal_g", self.normal_g)
        checked("unperfused_g", self.unperfused_g, 0.0, 1e4, "give grams")
        checked_share("lung_shunt", self.lung_shunt)
        if self.lungs_g is not None:
            checked("lungs_g", self.lungs_g, 50.0, 5000.0, "give grams of lung tissue")
        sirt_value("lung_odds_log_sd", scenario=self.shunt_by)

    @property
    def lungs_mass_g(self) -> float:
        return sirt_value("lungs_mass") if self.lungs_g is None else self.lungs_g

    @property
    def reserve(self) -> float:
        """Share of the liver (tumours included) that the injection does not reach."""
        perfused = self.normal_g + sum(tumour.mass_g for tumour in self.tumours)
        return self.unperfused_g / (self.unperfused_g + perfused)


@dataclass(frozen=True)
class SirtSpread:
    """Log sds of what goes into a prediction; `tn_factor` corrects MAA's ratio to the one of the spheres.

    Raises:
        InputError: an sd below 0 or above 2, or a factor outside 0.2 to 5.
    """

    lung_odds: float
    tn: float
    tumour_mass: float
    normal_mass: float
    lungs_mass: float
    activity: float
    tn_factor: float = 1.0

    def __post_init__(self):
        for name in ("lung_odds", "tn", "tumour_mass", "normal_mass", "lungs_mass", "activity"):
            checked(name, getattr(self, name), 0.0, 2.0, "give the sd of the logarithm (0.1: 10 %)")
        checked("tn_factor", self.tn_factor, 0.2, 5.0, "1 leaves MAA's ratio as it is")


def default_spread(shunt_by: str = "spect") -> SirtSpread:
    """The spread of `data/sirt.csv`, whose rows say what is measured and what is judged."""
    names = ("tn", "tumour_mass", "normal_mass", "lungs_mass", "activity")
    shunt = sirt_value("lung_odds_log_sd", scenario=shunt_by)
    return SirtSpread(shunt, *(sirt_value(f"{name}_log_sd") for name in names), tn_factor=sirt_value("tn_factor"))


def liver_warnings(liver: Liver) -> tuple[str, ...]:
    """What a reader should know of the input."""
    cold = [tumour.name for tumour in liver.tumours if tumour.tn_ratio < 1]
    notes = [f"{', '.join(cold)}: takes up less than the normal liver, which will get more"] if cold else []
    if liver.lungs_g is None:
        notes.append(f"lungs: {liver.lungs_mass_g:g} g assumed; give the mass from CT")
    if liver.shunt_by == "planar":
        notes.append("lung shunt: planar images overestimate it (8.3 % against 3.3 % by SPECT in 293 patients)")
    return tuple(notes)
