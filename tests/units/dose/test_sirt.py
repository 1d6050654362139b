"""90Y before the treatment: constants, shunt, classic activities, the vial; and the examples of docs/sirt.md."""

from __future__ import annotations

import math
import re

import pytest

from dose.errors import InputError
from dose.estimates import Estimate, estimate, generator
from dose.sirt.basics import (
    administered_GBq,
    bsa_activity_GBq,
    bsa_m2,
    gray_kg_per_GBq,
    lung_shunt,
    lung_shunt_planar,
    residual_share,
    single_compartment_activity_GBq,
    single_compartment_dose_Gy,
    sirt_value,
    spheres,
    tumour_to_normal,
    vial_GBq,
)


def test_the_constant_is_energy_times_decays():
    """By hand: 0.933106 MeV, 64.1 h; to the last digit of the SI's joule per MeV."""
    by_hand = 0.933106 * 1.602176634e-13 * 1e9 * 64.1 * 3600 / math.log(2)
    assert gray_kg_per_GBq() == pytest.approx(by_hand, rel=1e-9)
    assert gray_kg_per_GBq() == pytest.approx(49.67, rel=0.003)  # what clinics write


def test_lung_shunt_takes_geometric_means():
    found = lung_shunt_planar(lungs_anterior=9, lungs_posterior=16, liver_anterior=100, liver_posterior=81)
    assert found == pytest.approx(12 / (12 + 90))
    assert lung_shunt(5, 95) == pytest.approx(0.05)
    assert lung_shunt(0, 10) == 0


def test_a_ratio_is_one_of_concentrations():
    assert tumour_to_normal(tumour_counts=400, tumour_mL=100, normal_counts=700, normal_mL=700) == pytest.approx(4)


def test_one_compartment_there_and_back():
    activity = single_compartment_activity_GBq(400.0, 150.0, 0.06)
    assert single_compartment_dose_Gy(activity, 150.0, 0.06) == pytest.approx(400)
    assert single_compartment_dose_Gy(1.0, 1000.0) == pytest.approx(gray_kg_per_GBq())


def test_body_surface_of_a_known_body():
    """1.81 m2 at 170 cm and 70 kg is the tabulated value of Du Bois, to its last digit."""
    assert bsa_m2(170, 70) == pytest.approx(1.81, abs=0.005)


def test_the_body_surface_activity_by_hand():
    whole = {"height_cm": 170, "weight_kg": 70, "tumour_mL": 300, "liver_mL": 1500}
    base = bsa_m2(170, 70) - 0.2 + 0.2
    assert bsa_activity_GBq(**whole) == pytest.approx(base)
    assert bsa_activity_GBq(**whole, lobe_share=0.4) == pytest.approx(0.4 * base)
    kept = [bsa_activity_GBq(**whole, lung_shunt=s) / base for s in (0.05, 0.12, 0.18, 0.25)]
    assert kept == pytest.approx([1, 0.8, 0.6, 0])


def test_vial_and_patient_are_each_others_inverse():
    order = vial_GBq(2.0, 48, 0.05)
    assert administered_GBq(order, 48, 0.05) == pytest.approx(2.0)
    assert administered_GBq(4.0, 64.1) == pytest.approx(2.0)  # one half-life
    assert administered_GBq(4.0, -64.1) == pytest.approx(8.0)  # before calibration


def test_the_residue_is_corrected_for_decay():
    assert residual_share(100.0, 5.0) == pytest.approx(0.05)
    assert residual_share(100.0, 2.5, 64.1) == pytest.approx(0.05)


def test_spheres_decay_and_more_are_needed():
    assert spheres(5.0, "glass") == pytest.approx(2e6)
    assert spheres(5.0, "glass", 64.1) == pytest.approx(4e6)
    assert spheres(2.0, "resin") == pytest.approx(4e7)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: lung_shunt(-1, 10), "0 or more"),
        (lambda: lung_shunt(1, 0), "counts in the liver"),
        (
            lambda: lung_shunt_planar(lungs_anterior=-4, lungs_posterior=-4, liver_anterior=9, liver_posterior=9),
            "backg",
        ),
        (lambda: tumour_to_normal(tumour_counts=1, tumour_mL=0, normal_counts=1, normal_mL=1), "above 0"),
        (lambda: single_compartment_dose_Gy(2000.0, 1000.0), "not MBq"),
        (lambda: single_compartment_dose_Gy(2.0, 1.5e6), "grams"),
        (lambda: single_compartment_dose_Gy(2.0, 1000.0, 5.0), "percent"),
        (lambda: single_compartment_activity_GBq(math.nan, 1000.0), "dose_Gy"),
        (lambda: bsa_m2(1.75, 80), "centimetres"),
        (lambda: bsa_activity_GBq(height_cm=175, weight_kg=80, tumour_mL=2000, liver_mL=1500), "tumour_mL"),
        (lambda: residual_share(10.0, 20.0), "decayed"),
        (lambda: spheres(2.0, "plastic"), "sphere_activity"),
        (lambda: sirt_value("tumour_target", "glas", "hcc"), "glass hcc"),
        (lambda: generator(10, 0, "x"), "100 or more"),
    ],
)
def test_what_cannot_be_right_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_an_interval_holds_95_percent_of_normal_draws():
    """2.5 and 97.5 % of the normal distribution: 1.96; to the noise of 1e5 draws, 0.02."""
    found = estimate(0.0, generator(100_000, 1, "test").standard_normal(100_000))
    assert (found.low, found.high) == pytest.approx((-1.96, 1.96), abs=0.02)
    assert found.scaled(2.0) == Estimate(0.0, 2 * found.low, 2 * found.high)


def test_purposes_of_one_seed_are_independent():
    one, other = (generator(1000, 3, word).standard_normal(1000) for word in ("a", "b"))
    assert abs(sum(one * other)) / 1000 < 0.1  # three sds of a correlation of 1000 pairs
    assert list(one) == list(generator(1000, 3, "a").standard_normal(1000))


@pytest.fixture(scope="module")
def page(repository):
    names: dict = {"print": lambda *_: None}
    for block in re.findall(r"```python\n(.*?)```", (repository / "docs/sirt.md").read_text(encoding="utf-8"), re.S):
        exec(block, names)  # noqa: S102 - the page is ours
    return names


def test_the_examples_of_the_page_run_and_say_what_it_says(page):
    assert (page["planar"], page["shunt"]) == pytest.approx((0.077, 0.040), abs=5e-4)
    assert page["plan"].reaches_target
    assert page["careful"].active == "normal_liver_perfused"
    assert page["before"].regions[0].mean_Gy.value > page["after"].regions[0].mean_Gy.value
    assert page["order"] > page["plan"].activity_GBq.value


def test_the_table_of_targets_is_that_of_the_data(repository):
    text = (repository / "docs/sirt.md").read_text(encoding="utf-8")
    row = re.search(r"\| tumour, HCC / ICC / mCRC \| (\S+) / (\S+) / (\S+) Gy \| (\S+) / (\S+) / (\S+) Gy \|", text)
    assert row
    wanted = [sirt_value("tumour_target", product, d) for product in ("glass", "resin") for d in ("hcc", "icc", "mcrc")]
    assert [float(x) for x in row.groups()] == wanted
