"""Red-marrow dose from blood samples or from images of vertebrae, with the cross-dose of organs and of the remainder.

Blood: the marrow's activity per gram is that of blood times a ratio, the extracellular share of the marrow over that
of blood, 0.19 / (1 - haematocrit), for tracers outside the cells that do not bind to marrow (Sgouros, J Nucl Med
1993;34:689; EANM guideline 2010), or a measured one (1.0 for 177Lu-DOTATATE, Forrer 2009). Images: the activity in some
vertebrae over their share of all marrow. The marrow's mass goes with the body's (EANM 2010): it cancels in the dose of
the marrow to itself from a blood concentration.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.phantom.skeleton import body_mass_g, check_sex, quantities, site_masses_g, tissue_mass_g
from dose.provenance import load_table
from dose.regions import density_g_per_mL
from dose.smatrix.groups import REMAINDER, region_name
from dose.smatrix.matrix import SMatrix
from dose.smatrix.saf import RED_MARROW


@dataclass(frozen=True)
class MarrowActivity:
    """Time-integrated activity of the red marrow in MBq h, its relative sd, the marrow's mass and how it was made."""

    tia_MBq_h: float
    relative_sd: float
    mass_g: float
    method: str


@dataclass(frozen=True)
class MarrowDose:
    """Absorbed dose to the red marrow in Gy, physical: from itself, by organ, from the remainder; alphas of it apart.

    `sd_Gy` holds the marrow's activity and the S values; organs' activities are taken as exact.
    """

    self_Gy: float
    by_organ_Gy: Mapping[str, float]
    remainder_Gy: float
    alpha_Gy: float
    sd_Gy: float
    method: str

    @property
    def cross_Gy(self) -> float:
        """From organs and the remainder."""
        return sum(self.by_organ_Gy.values()) + self.remainder_Gy

    @property
    def total_Gy(self) -> float:
        return self.self_Gy + self.cross_Gy


def _row(quantity: str, name: str = "") -> float:
    rows = [r for r in load_table("dose", "marrow.csv") if r["quantity"] == quantity]
    found = {r["name"]: float(r["value"]) for r in rows}
    if name not in found:
        hint = nearest(name, found) or ", ".join(found)
        raise InputError(describe(quantity, repr(name), hint, "correct the name, or give the number"))
    return found[name]


def patient_marrow_mass_g(sex: str, weight_kg: float) -> float:
    """Red-marrow mass of a patient: the reference's by body weight (EANM 2010).

    Raises:
        InputError: unknown sex or a weight that is not above 0.
    """
    if not (math.isfinite(weight_kg) and weight_kg > 0):
        raise InputError(describe("weight_kg", f"{weight_kg}", "above 0 kg", "give the patient's weight"))
    return tissue_mass_g(RED_MARROW, check_sex(sex)) * weight_kg * 1e3 / body_mass_g(sex)


def marrow_to_blood_ratio(haematocrit: float) -> float:
    """Activity of marrow over that of blood per gram, for a tracer in the extracellular fluid (Sgouros 1993, eq. 9).

    Raises:
        InputError: a haematocrit that no patient has; in per cent, most likely.
    """
    low, high = _row("haematocrit_low"), _row("haematocrit_high")
    if not low <= haematocrit <= high:
        do = "give a fraction, 0.42 for 42 %"
        raise InputError(describe("haematocrit", f"{haematocrit}", f"{low:g} to {high:g}", do))
    return _row("extracellular_fraction") / (1 - haematocrit)


def reference_ratio(nuclide: str) -> float:
    """Measured ratio of a nuclide's tracers (177Lu peptides: 1).

    Raises:
        InputError: none is known; use the haematocrit.
    """
    return _row("ratio", radionuclide(nuclide).name)


def marrow_from_blood(
    blood_MBq_h_per_mL: float, mass_g: float, *, haematocrit: float | None = None, ratio: float | None = None
) -> MarrowActivity:
    """Marrow's time-integrated activity from that of a millilitre of blood.

    Give the haematocrit or a ratio of concentrations per gram, not both.

    Raises:
        InputError: both or neither, or a number out of range.
    """
    if (haematocrit is None) == (ratio is None):
        do = "give haematocrit= for a tracer in plasma, or ratio= as measured"
        raise InputError(describe("haematocrit and ratio", "both or neither", "one of them", do))
    used = marrow_to_blood_ratio(haematocrit) if haematocrit is not None else _positive("ratio", ratio)
    per_g = _not_negative("blood_MBq_h_per_mL", blood_MBq_h_per_mL) / density_g_per_mL("blood")
    tia = per_g * used * _positive("mass_g", mass_g)
    return MarrowActivity(tia, _row("ratio_relative_sd"), mass_g, f"blood, marrow to blood ratio {used:.3g}")


def marrow_from_image(tia_MBq_h: float, mass_g: float, *, region: str = "L2-L4", share: float | None = None):
    """Marrow's time-integrated activity from that of some bones: all their activity is taken to be in active marrow.

    `share` of all red marrow in them, if it is not the table's of `region`. Without bone uptake and metastases.

    Raises:
        InputError: an unknown region without a share, or a number out of range.
    """
    part = _row("marrow_share", region) if share is None else _positive("share", share)
    if part > 1:
        raise InputError(describe("share", f"{part}", "at most 1", "give a fraction"))
    tia = _not_negative("tia_MBq_h", tia_MBq_h) / part
    sd = _row("share_relative_sd")
    method = f"image of {region}, {part:.3g} of the marrow"
    return MarrowActivity(tia, sd, _positive("mass_g", mass_g), method)


def marrow_from_concentration(tia_MBq_h_per_mL: float, mass_g: float, *, site: str = "lumbar_spine", sex: str = "male"):
    """Marrow's time-integrated activity from the concentration inside vertebral bodies (spongy bone and marrow).

    The activity is taken to be in active marrow, which fills the share of spongy bone that the site's masses tell.

    Raises:
        InputError: unknown site, or a number out of range.
    """
    sites = site_masses_g(check_sex(sex))
    if site not in sites or not sites[site][RED_MARROW]:
        hint = nearest(site, sites) or "lumbar_spine"
        raise InputError(describe("site", repr(site), hint, "name a site with red marrow"))
    spongy = {tissue: sites[site][tissue] for tissue in ("trabecular_bone", RED_MARROW, "yellow_marrow")}
    density = quantities("tissue_density")
    share = spongy[RED_MARROW] / density[RED_MARROW] / sum(mass / density[t] for t, mass in spongy.items())
    per_g = _not_negative("tia_MBq_h_per_mL", tia_MBq_h_per_mL) / (share * density[RED_MARROW])
    method = f"concentration in {site}, active marrow {share:.3g} of its spongy bone"
    return MarrowActivity(per_g * _positive("mass_g", mass_g), _row("share_relative_sd"), mass_g, method)


def marrow_dose(
    matrix: SMatrix, marrow: MarrowActivity, organs_MBq_h: Mapping[str, float] | None = None, whole_body_MBq_h=None
) -> MarrowDose:
    """Dose to the red marrow from itself, from organs and from what is left of the whole body's activity.

    `matrix` is that of the patient's sex (scale the organs' masses before, if they are known). `whole_body_MBq_h` is
    all activity; organs and marrow are taken from it to give the remainder's.

    Raises:
        InputError: an organ that the matrix does not know, or organs with more activity than the whole body.
    """
    fitted = matrix.scaled({RED_MARROW: marrow.mass_g})
    given = {region_name(name): value for name, value in (organs_MBq_h or {}).items()} | {RED_MARROW: marrow.tia_MBq_h}
    if whole_body_MBq_h is not None:
        left = _not_negative("whole_body_MBq_h", whole_body_MBq_h) - sum(given.values())
        if left < 0:
            found = f"{sum(given.values()):.4g} MBq h in organs and marrow"
            do = "check the units; tumours belong to the organs' sum as well"
            raise InputError(describe("whole_body_MBq_h", found, f"at most {whole_body_MBq_h:.4g} MBq h", do))
        given[REMAINDER] = left
    made = fitted.dose(given)
    row = made.targets.index(RED_MARROW)
    by = dict(zip(made.sources, (float(value) for value in made.by_source_Gy[row])))
    own, rest = by.pop(RED_MARROW), by.pop(REMAINDER, 0.0)
    sd = math.hypot(float(made.sd_Gy[row]), own * marrow.relative_sd)
    alpha = float(made.alpha_Gy[row].sum())
    return MarrowDose(own, by, rest, alpha, sd, f"{marrow.method}; {matrix.method}")


def _positive(field: str, value: float | None) -> float:
    if value is None or not (math.isfinite(value) and value > 0):
        raise InputError(describe(field, f"{value}", "a number above 0", "check the value and its unit"))
    return float(value)


def _not_negative(field: str, value: float) -> float:
    if not (math.isfinite(value) and value >= 0):
        raise InputError(describe(field, f"{value}", "0 or more", "check how it was made"))
    return float(value)
