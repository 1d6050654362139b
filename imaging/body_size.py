"""What an SUV divides by: body weight, body surface area, or lean body mass.

Surface area after Du Bois 1916, lean body mass after Janmahasatian 2005 (falls for no weight) or James 1976 (which
falls again for the very heavy, and is refused there). Coefficients: `data/body_size.csv`.
"""

from __future__ import annotations

from dose.errors import ImageError, describe
from dose.provenance import load_table


def body_surface_m2(weight_kg: float, height_m: float) -> float:
    """Body surface area after Du Bois 1916: 0.007184 W^0.425 H^0.725 with W in kg, H in cm."""
    row = _coefficients("dubois", "any")
    return row["scale"] * weight_kg ** row["weight_exponent"] * (100 * height_m) ** row["height_exponent"]


def lean_mass_kg(weight_kg: float, height_m: float, sex: str, formula: str = "janmahasatian") -> float:
    """Lean body mass after "janmahasatian" or "james".

    Raises:
        ImageError: sex neither "male" nor "female", an unknown formula, or a weight where James' formula falls.
    """
    row = _coefficients(formula, sex)
    if formula == "janmahasatian":
        return row["scale"] * weight_kg / (row["offset"] + row["slope"] * weight_kg / height_m**2)
    height_cm = 100 * height_m
    if weight_kg > row["scale"] * height_cm**2 / (2 * row["drop"]):
        found, expected = "a weight beyond which James' formula falls", "a weight in its range"
        raise ImageError(describe("lean body mass", found, expected, "use the formula of Janmahasatian"))
    return row["scale"] * weight_kg - row["drop"] * (weight_kg / height_cm) ** 2


def _coefficients(formula: str, sex: str) -> dict[str, float]:
    table = load_table("imaging", "body_size.csv")
    rows = {r["quantity"]: float(r["value"]) for r in table if r["formula"] == formula and r["sex"] == sex}
    if not rows:
        found = f'formula "{formula}" for sex "{sex}"'
        do = "give the sex, which the header does not tell, or choose SUVbw"
        raise ImageError(describe("lean body mass", found, "janmahasatian or james, male or female", do))
    return rows
