"""90Y microspheres before the treatment: constants, lung shunt, uptake ratio, classic activities, the vial.

Spheres stay where they lodge, so that a decay of the physical half-life gives the whole integral, and 90Y's electrons
stay within millimetres: D = K A / m with K from ICRP 107 (49.8 Gy kg/GBq; clinics use 49.67 or 50). References: EANM
guideline 2022 (Weber et al.), EANM procedure for 99mTc-MAA and 90Y (Chiesa et al., EJNMMI Phys 2021;8:77, abstract);
numbers: `data/sirt.csv`; docs/sirt.md.
"""

from __future__ import annotations

import math

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.organ import gray_per_MeV
from dose.provenance import load_table

NUCLIDE = "90Y"
PRODUCTS = ("glass", "resin")
LIGHTEST_G, HEAVIEST_G = 0.01, 1e4
"""Masses outside are taken for a wrong unit: no tumour, liver or lung weighs so."""


def sirt_row(quantity: str, product: str = "", scenario: str = "") -> dict[str, str]:
    """A row of `data/sirt.csv`: of the product and scenario, of one of them, or of the quantity alone.

    Raises:
        InputError: no such row.
    """
    rows = {(r["quantity"], r["product"], r["scenario"]): r for r in load_table("dose", "sirt.csv")}
    for key in ((product, scenario), (product, ""), ("", scenario), ("", "")):
        if (quantity, *key) in rows:
            return rows[(quantity, *key)]
    names = sorted({" ".join(filter(None, key[1:])) for key in rows if key[0] == quantity})
    found = f'"{" ".join(filter(None, (product, scenario)))}" for {quantity}'
    meant = nearest(f"{product} {scenario}", names) or "one of " + ", ".join(names)
    raise InputError(describe("product, scenario", found, meant, "correct the names, or give the number itself"))


def sirt_value(quantity: str, product: str = "", scenario: str = "") -> float:
    """The value of `sirt_row`."""
    return float(sirt_row(quantity, product, scenario)["value"])


def checked(field: str, value: float, low: float, high: float, do: str, open_low: bool = False) -> float:
    """`value` as a float within low and high (above low where `open_low`).

    Raises:
        InputError: outside, or not a number.
    """
    inside = math.isfinite(value) and (low < value if open_low else low <= value) and value <= high
    if not inside:
        raise InputError(describe(field, f"{value}", f"{'above ' if open_low else ''}{low:g} to {high:g}", do))
    return float(value)


def checked_GBq(field: str, activity_GBq: float) -> float:
    return checked(field, activity_GBq, 0.0, sirt_value("most_activity"), "give GBq, not MBq", open_low=True)


def checked_mass_g(field: str, mass_g: float) -> float:
    return checked(field, mass_g, LIGHTEST_G, HEAVIEST_G, "give grams; liver_mass_g turns mL into them")


def checked_share(field: str, share: float) -> float:
    if not 0 <= share < 1:
        raise InputError(describe(field, f"{share}", "a share of 0 to below 1", "divide percent by 100"))
    return float(share)


def gray_kg_per_GBq() -> float:
    """K: Gy in 1 kg that keeps all electrons of 1 GBq of 90Y until it has decayed."""
    yttrium = radionuclide(NUCLIDE)
    return yttrium.electron_MeV * gray_per_MeV(1000.0) * 1000.0 / yttrium.decay_constant_per_h


def liver_mass_g(volume_mL: float) -> float:
    """Mass of liver or liver tumour of this volume (density: `data/sirt.csv`)."""
    return checked_mass_g("volume_mL times density", volume_mL * sirt_value("liver_density"))


def lung_shunt_planar(
    *, lungs_anterior: float, lungs_posterior: float, liver_anterior: float, liver_posterior: float
) -> float:
    """Lung shunt from planar 99mTc-MAA counts (background taken off): geometric means, lungs over lungs and liver.

    Without attenuation correction it overestimates: 8.3 % where SPECT finds 3.3 % (planar_spect_2021).

    Raises:
        InputError: counts below 0 or not finite, or none.
    """
    counts = (lungs_anterior, lungs_posterior, liver_anterior, liver_posterior)
    if not all(math.isfinite(c) and c >= 0 for c in counts):
        raise InputError(describe("counts", f"{counts}", "0 or more", "take the background off with its own region"))
    return lung_shunt(math.sqrt(lungs_anterior * lungs_posterior), math.sqrt(liver_anterior * liver_posterior))


def lung_shunt(lungs: float, liver: float) -> float:
    """Lung shunt from counts or activities of SPECT: lungs over lungs and liver.

    Raises:
        InputError: counts below 0 or not finite, or none in the liver.
    """
    if not (math.isfinite(lungs) and math.isfinite(liver) and lungs >= 0 and liver > 0):
        do = "check the two regions"
        raise InputError(describe("lungs, liver", f"{lungs}, {liver}", "0 or more, and counts in the liver", do))
    return lungs / (lungs + liver)


def tumour_to_normal(*, tumour_counts: float, tumour_mL: float, normal_counts: float, normal_mL: float) -> float:
    """Ratio of MAA concentrations in a tumour and in the perfused normal liver.

    Raises:
        InputError: anything not above 0.
    """
    values = (tumour_counts, tumour_mL, normal_counts, normal_mL)
    if not all(math.isfinite(v) and v > 0 for v in values):
        do = "take counts of both regions of one SPECT"
        raise InputError(describe("counts and volumes", f"{values}", "all above 0", do))
    return tumour_counts / tumour_mL / (normal_counts / normal_mL)


def single_compartment_dose_Gy(activity_GBq: float, mass_g: float, lung_shunt: float = 0.0) -> float:
    """MIRD's one compartment: mean dose of the perfused volume, K A (1 - shunt) / m."""
    activity = checked_GBq("activity_GBq", activity_GBq) * (1 - checked_share("lung_shunt", lung_shunt))
    return gray_kg_per_GBq() * activity / (checked_mass_g("mass_g", mass_g) / 1000)


def single_compartment_activity_GBq(dose_Gy: float, mass_g: float, lung_shunt: float = 0.0) -> float:
    """The activity for a mean dose of the perfused volume."""
    dose = checked("dose_Gy", dose_Gy, 0.0, 5000.0, "give the dose in Gy", open_low=True)
    kept = 1 - checked_share("lung_shunt", lung_shunt)
    return dose * checked_mass_g("mass_g", mass_g) / 1000 / (gray_kg_per_GBq() * kept)


def bsa_m2(height_cm: float, weight_kg: float) -> float:
    """Body surface after Du Bois."""
    height = checked("height_cm", height_cm, 50.0, 250.0, "give centimetres")
    weight = checked("weight_kg", weight_kg, 5.0, 400.0, "give kilograms")
    powers = (height / 100) ** sirt_value("bsa_height_exponent") * weight ** sirt_value("bsa_weight_exponent")
    return sirt_value("bsa_coefficient") * powers


def bsa_activity_GBq(
    *, height_cm: float, weight_kg: float, tumour_mL: float, liver_mL: float, lobe_share: float = 1.0,
    lung_shunt: float = 0.0
) -> float:  # fmt: skip
    """Resin's historical body-surface activity: ((BSA - 0.2) + tumour / liver) lobe_share, less for a lung shunt.

    `tumour_mL` and `liver_mL` (tumours included) of the treated lobe, which is `lobe_share` of the whole liver. It
    knows neither uptake nor dose; it is here to compare with. A shunt above 20 % gives 0.

    Raises:
        InputError: a tumour larger than the liver, or numbers outside their range.
    """
    if not 0 <= tumour_mL < liver_mL:
        do = "give the volume of the liver with its tumours"
        raise InputError(describe("tumour_mL", f"{tumour_mL}", f"0 to below liver_mL, {liver_mL}", do))
    share = checked("lobe_share", lobe_share, 0.0, 1.0, "give a share of the liver", open_low=True)
    whole = bsa_m2(height_cm, weight_kg) - sirt_value("bsa_offset", "resin") + tumour_mL / liver_mL
    return whole * share * _bsa_kept(checked_share("lung_shunt", lung_shunt))


def _bsa_kept(shunt: float) -> float:
    steps = [row for row in load_table("dose", "sirt.csv") if row["quantity"] == "bsa_keeps"]
    return next((float(row["value"]) for row in steps if shunt <= float(row["high"])), 0.0)


def remaining(hours: float) -> float:
    """Share of 90Y left after some hours; above 1 for hours before the calibration."""
    do = "count hours from the vial's calibration"
    return math.exp(-radionuclide(NUCLIDE).decay_constant_per_h * checked("hours", hours, -1000.0, 1000.0, do))


def residual_share(before_uSv_h: float, after_uSv_h: float, hours_between: float = 0.0) -> float:
    """Share of the activity that stayed in vial, tubes and catheter, from dose rates in one geometry.

    Raises:
        InputError: more left than there was, or nothing before.
    """
    if not (before_uSv_h > 0 and 0 <= after_uSv_h <= before_uSv_h * remaining(hours_between)):
        expected = "0 up to the decayed rate before"
        raise InputError(describe("after_uSv_h", f"{after_uSv_h} of {before_uSv_h}", expected, "measure both alike"))
    return after_uSv_h / (before_uSv_h * remaining(hours_between))


def administered_GBq(calibrated_GBq: float, hours_after_calibration: float = 0.0, residual: float = 0.0) -> float:
    """What reached the patient: the vial's activity, decayed, less the residue."""
    delivered = 1 - checked_share("residual", residual)
    return checked_GBq("calibrated_GBq", calibrated_GBq) * remaining(hours_after_calibration) * delivered


def vial_GBq(wanted_GBq: float, hours_after_calibration: float = 0.0, residual: float = 0.0) -> float:
    """The activity at calibration that gives `wanted_GBq` in the patient."""
    delivered = 1 - checked_share("residual", residual)
    return checked_GBq("wanted_GBq", wanted_GBq) / (remaining(hours_after_calibration) * delivered)


def spheres(activity_GBq: float, product: str, hours_after_calibration: float = 0.0) -> float:
    """Number of spheres that hold this activity so long after calibration, when each has decayed."""
    each = sirt_value("sphere_activity", product) * remaining(hours_after_calibration)
    return checked_GBq("activity_GBq", activity_GBq) * 1e9 / each
