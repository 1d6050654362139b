"""The uncertainty budget: each derivative against differences, formula against sampling, what is refused."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from calibration.budget import Budget, budget, relative_spread
from calibration.budget_chain import COMPONENTS, Chain, VolumeTerms, closed_form, dimensions, log_dose
from calibration.budget_curve import KnownCurve, Scans, between_curves
from calibration.budget_factors import DoseFactor, RecoveryCurve
from calibration.budget_region import Outline, diameter_mm
from calibration.budget_sum import SHARED, summed
from dose.activity import fit_curves
from dose.curves import Exponentials, uptake
from dose.errors import InputError
from dose.organ import dose_coefficient_Gy_per_MBq_h

FWHM_MM = 14.0
B_COVARIANCE = np.array([[0.15**2, 0.3 * 0.15 * 0.06], [0.3 * 0.15 * 0.06, 0.06**2]])
RECOVERY = RecoveryCurve(2.5, 1.2, B_COVARIANCE)
TIME_H = np.array([4.0, 24.0, 96.0, 168.0])
COUNTS = np.array([42.0, 37.0, 16.5, 7.4])
STEP = 1e-5


def chain(volume_mL=15.0, volume_sd=0.05, **changes) -> Chain:
    """A small lesion with four scans of 3 % noise; everything known to a few per cent."""
    scans = Scans(TIME_H, COUNTS, 0.03 * COUNTS, nuclide="177Lu")
    factor = DoseFactor.of("tumour_1", "177Lu", volume_mL)
    return Chain(scans, 0.9, 0.04, Outline(volume_mL, volume_sd, FWHM_MM), RECOVERY, factor, **changes)


@cache
def small() -> Budget:
    return budget(chain(kinetics_relative_sd=0.03))


# recovery, volume, counts, dose factor


def test_recovery_of_two_volumes_is_that_of_the_notes():
    # CLINICAL.md section 6, extra one-liners; six printed digits
    assert RECOVERY.value([5.0, 30.0]) == pytest.approx([0.696730, 0.951749], abs=1e-6)


@pytest.mark.parametrize("volume_mL", [0.4, 5.0, 80.0])
def test_derivatives_of_recovery_are_differences(volume_mL):
    # central differences of step 1e-5 leave about 1e-9
    at = lambda b1, b2, v: float(RecoveryCurve(b1, b2, B_COVARIANCE).value(v))
    b1 = (at(2.5 + STEP, 1.2, volume_mL) - at(2.5 - STEP, 1.2, volume_mL)) / (2 * STEP)
    b2 = (at(2.5, 1.2 + STEP, volume_mL) - at(2.5, 1.2 - STEP, volume_mL)) / (2 * STEP)
    assert RECOVERY.gradient(volume_mL) == pytest.approx([b1, b2], rel=1e-7)
    up, down = (math.log(at(2.5, 1.2, volume_mL * math.exp(s))) for s in (STEP, -STEP))
    assert RECOVERY.slope(volume_mL) == pytest.approx((up - down) / (2 * STEP), rel=1e-7)


def test_a_recovery_curve_is_found_from_phantom_spheres(rng):
    volumes, sd = np.array([0.5, 1.0, 2.0, 5.0, 10.0, 25.0]), np.full(6, 0.02)
    truth = RECOVERY.value(volumes)
    seen = [RecoveryCurve.fitted(volumes, truth + 0.02 * rng.standard_normal(6), sd) for _ in range(200)]
    # 200 repeats: a variance is known to 10 %; three of these
    spread = np.cov([[found.b1_mL, found.b2] for found in seen], rowvar=False)
    assert np.diag(RecoveryCurve.fitted(volumes, truth, sd).covariance) == pytest.approx(np.diag(spread), rel=0.3)


def points_around_a_sphere(radius_mm: float, count: int = 400_000):
    """Where counts of a uniform sphere are seen under the point spread: distances from its centre."""
    rng = np.random.default_rng(5)
    direction = rng.standard_normal((count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    inside = radius_mm * rng.uniform(size=(count, 1)) ** (1 / 3) * direction
    return np.linalg.norm(inside + FWHM_MM / math.sqrt(8 * math.log(2)) * rng.standard_normal((count, 3)), axis=1)


def phi_as_recalled(radius_mm: float) -> float:
    """CLINICAL.md 1.2, marked there as recalled: y stands where 2y belongs."""
    y = 2 * radius_mm * math.sqrt(math.log(2)) / FWHM_MM
    return math.erf(y) - (1 - math.exp(-(y**2))) / (y * math.sqrt(math.pi))


@pytest.mark.parametrize("radius_mm", [4.0, 7.0, 15.0, 40.0])
def test_phi_is_the_density_of_counts_at_the_contour(radius_mm):
    """phi/2 = density in a thin shell at the radius, over the density of the sphere."""
    seen, half = points_around_a_sphere(radius_mm), 0.03 * radius_mm
    shell = (radius_mm + half) ** 3 - (radius_mm - half) ** 3
    counted = np.count_nonzero(np.abs(seen - radius_mm) < half)
    outline = Outline(4 / 3 * math.pi * (radius_mm / 10) ** 3, 0.1, FWHM_MM)
    expected = outline.phi / 2 * shell / radius_mm**3 * len(seen)
    # four standard deviations of the count, and 0.2 % for the curvature across the shell
    assert abs(counted - expected) < 4 * math.sqrt(expected) + 0.002 * expected
    if radius_mm < 0.75 * FWHM_MM:
        recalled = phi_as_recalled(radius_mm) / 2 * shell / radius_mm**3 * len(seen)
        assert abs(counted - recalled) > 10 * math.sqrt(expected)  # negative control


def test_counts_follow_the_contour_around_a_blurred_sphere():
    radius_mm = 12.0
    seen = points_around_a_sphere(radius_mm)
    volume_mL = 4 / 3 * math.pi * (radius_mm / 10) ** 3
    recovery = float(np.mean(seen < radius_mm))
    change = np.log([0.5, 0.8, 1.25, 2.0])
    counted = np.log([np.mean(seen < radius_mm * math.exp(c / 3)) / recovery for c in change])
    # counts of 400 000 points: 0.3 % at the worst
    assert Outline(volume_mL, 0.1, FWHM_MM).log_counts(change, recovery) == pytest.approx(counted, abs=0.006)


def test_counts_slope_is_the_slope_of_the_counts():
    outline = Outline(6.0, 0.1, FWHM_MM)
    for recovery in (0.5, 0.9):
        up, down = outline.log_counts(np.array([0.01, -0.01]), recovery)
        # 1e-3: radial grid of 2000 points
        assert (up - down) / 0.02 == pytest.approx(outline.counts_slope(recovery), rel=1e-3)


def test_volume_uncertainty_by_hand():
    # u(V)/V = 3 u(d)/d, u(d)^2 = a^2/6 + FWHM^2/(4 ln 2): two edges of variance a^2/12 and of a sigma each
    by_hand = 3 * math.sqrt(3.0**2 / 6 + 4.0**2 / (4 * math.log(2))) / 25
    drawn = Outline.sphere(25.0, voxel_mm=3.0, drawing_fwhm_mm=4.0, fwhm_mm=FWHM_MM)
    assert drawn.relative_sd == pytest.approx(by_hand, rel=1e-12)
    assert diameter_mm(drawn.volume_mL) == pytest.approx(25.0, rel=1e-12)


def test_a_diameter_with_such_edges_has_that_uncertainty(rng):
    """The formula from its premises: each edge off by a rounding to voxels and by a Gaussian of the resolution."""
    edges = rng.uniform(-1.5, 1.5, (2, 200_000)) + 4.0 / math.sqrt(8 * math.log(2)) * rng.standard_normal((2, 200_000))
    spread = (edges[1] - edges[0]).std()
    drawn = Outline.sphere(400.0, voxel_mm=3.0, drawing_fwhm_mm=4.0, fwhm_mm=FWHM_MM)
    # 200 000 draws: 0.16 % of a standard deviation
    assert drawn.relative_sd == pytest.approx(3 * spread / 400.0, rel=0.006)


def test_dose_factor_is_the_tangent_of_the_sphere_model():
    factor = DoseFactor.of("tumour_1", "177Lu", 15.0)
    for mass_g in (15.0, 13.0, 17.5):
        exact = dose_coefficient_Gy_per_MBq_h("tumour_1", "177Lu", mass_g).total
        assert factor.value(mass_g) == pytest.approx(exact, rel=1e-3)  # interpolated fractions bend by less
    assert 0.9 < factor.c2 < 1.0


# curves


def test_v12_with_and_without_covariance_by_formula():
    activity = np.array([36.0, 16.0])
    scans = Scans([24.0, 96.0], activity, 0.06 * activity)
    # 1e-4: V12's digits
    assert scans.curve.rates_per_h[0] == pytest.approx(0.01126292, rel=1e-4)
    assert scans.curve.amplitudes_MBq[0] == pytest.approx(47.17335, rel=1e-4)
    assert scans.time_integral == pytest.approx(4188.376, rel=1e-4)
    assert scans.noise_relative_sd == pytest.approx(0.05432, rel=1e-4)
    assert scans.without_covariance == pytest.approx(0.1332, rel=1e-3)


def test_v12_by_sampling_where_the_fit_is_linear():
    """A tenth of V12's noise gives a tenth of its uncertainty; at 6 % sampling says 3 % more than the formula."""
    activity, z = np.array([36.0, 16.0]), np.random.default_rng(0).standard_normal((2, 40_000))
    spread = lambda noise: relative_spread(np.exp(Scans([24.0, 96.0], activity, noise * activity).log_integral(z)))
    (tenth, error), (whole, _) = spread(0.006), spread(0.06)
    assert abs(tenth - 0.005432) < 4 * error
    assert abs(tenth - 0.01332) > 20 * error  # negative control: without covariance
    assert 1.01 < whole / 0.05432 < 1.05


@pytest.mark.parametrize("form", ["mono", "uptake", "bi"])
def test_a_fit_is_that_of_the_region(form):
    """Same numbers as `dose.fit_curves`, which uses another optimiser and differences."""
    time_h = np.array([1.0, 4.0, 24.0, 48.0, 96.0, 168.0])
    counts = np.array([18.0, 33.5, 36.0, 27.4, 15.5, 6.2]) if form == "uptake" else 30 * np.exp(-time_h / 70)
    counts = counts + (12 * np.exp(-time_h / 6) if form == "bi" else 0)
    other = {fit.model: fit for fit in fit_curves(time_h, counts, 0.05 * counts, "177Lu").fits}[form]
    scans = Scans(time_h, counts, 0.05 * counts, form, "177Lu")
    assert scans.time_integral == pytest.approx(other.tia_MBq_h, rel=1e-5)
    assert scans.noise_relative_sd * scans.widening == pytest.approx(other.tia_sd_MBq_h / other.tia_MBq_h, rel=1e-3)


def test_a_known_curve_with_the_covariance_of_scans_says_the_same():
    scans = Scans(TIME_H, COUNTS, 0.01 * COUNTS)
    rate = scans.curve.rates_per_h[0]
    to_plain = np.diag([scans.curve.amplitudes_MBq[0], rate])
    known = KnownCurve(scans.curve, to_plain @ scans.covariance @ to_plain)
    assert known.noise_relative_sd == pytest.approx(scans.noise_relative_sd, rel=1e-9)
    assert known.without_covariance == pytest.approx(scans.without_covariance, rel=1e-9)
    spread, error = relative_spread(np.exp(known.log_integral(np.random.default_rng(1).standard_normal((2, 20_000)))))
    assert abs(spread - known.noise_relative_sd) < 4 * error


def test_an_uptake_curve_given_by_its_parameters_has_the_uncertainty_of_its_three():
    """One amplitude stands twice in it, with both signs: its covariance holds that, and the formula follows."""
    amplitude, slow, fast = 30.0, 0.0115, 0.23
    to_both = np.array([[1, 0, 0], [-1, 0, 0], [0, 1, 0], [0, 0, 1.0]])
    covariance = to_both @ np.diag([0.5, 1e-7, 4e-4]) @ to_both.T
    known = KnownCurve(uptake(amplitude, slow, fast), covariance)
    gradient = np.array([1 / slow - 1 / fast, -amplitude / slow**2, amplitude / fast**2])
    by_hand = np.sqrt(np.sum(gradient**2 * [0.5, 1e-7, 4e-4])) / (amplitude * (1 / slow - 1 / fast))
    assert known.noise_relative_sd == pytest.approx(by_hand, rel=1e-9)
    assert budget(replace(chain(), measured=known), samples=5000).row("counting noise").agrees


def test_the_spread_between_curves_is_found_from_scans():
    """Three scans that rise and fall leave two curves possible, with equal weights; six on a line leave one."""
    three = np.array([60.0, 69.0, 21.0])
    fits = fit_curves([4.0, 24.0, 120.0], three, 0.15 * three, "177Lu").fits
    one, other = (fit.tia_MBq_h for fit in fits)
    found = between_curves([4.0, 24.0, 120.0], three, 0.15 * three, "177Lu")
    assert [fit.weight for fit in fits] == [0.5, 0.5]
    assert found == pytest.approx(abs(one - other) / (one + other), rel=1e-9)
    time_h = np.array([1.0, 4.0, 24.0, 48.0, 96.0, 168.0])
    line = 30 * np.exp(-time_h / 70)
    assert between_curves(time_h, line, 0.05 * line, "177Lu") < 0.001 < found


def test_the_part_after_the_last_scan_is_told():
    assert small().extrapolated_fraction == pytest.approx(math.exp(-chain().measured.curve.rates_per_h[0] * 168.0))
    assert "after the last scan" in str(small())


def test_a_rate_at_physical_decay_counts_as_known():
    flat = COUNTS[0] * np.exp(-0.002 * TIME_H)  # slower than physical decay, 0.00434 /h
    scans = Scans(TIME_H, flat, 0.03 * flat, nuclide="177Lu")
    assert scans.curve.rates_per_h[0] == pytest.approx(0.004345, rel=1e-3)
    # amplitude alone: below 3 %, as four scans share it
    assert scans.noise_relative_sd < 0.03


# the chain


@pytest.mark.parametrize("component", COMPONENTS)
def test_closed_form_is_the_slope_of_the_sampled_chain(component):
    """u_c^2 = sum over its standard normals of (d ln D / dz)^2: the formula against differences of the whole chain."""
    tight = chain(volume_sd=0.01, kinetics_relative_sd=0.01)
    tight = replace(tight, calibration_relative_sd=0.01, recovery=RecoveryCurve(2.5, 1.2, 0.01 * B_COVARIANCE))
    tight = replace(tight, factor=replace(tight.factor, relative_sd=0.01))
    size, h = dimensions(tight)[component], 0.02
    z = h * np.concatenate([np.eye(size), -np.eye(size)], axis=1)
    value = log_dose(tight, {component: z})
    slope = (value[:size] - value[size:]) / (2 * h)
    # 1e-3: the radial grid of counts, and log sd against relative sd (u^2/4)
    assert np.linalg.norm(slope) == pytest.approx(closed_form(tight)[component], rel=1e-3)


def test_a_chain_worked_by_hand():
    """A large region, sharp camera: phi = R = 1, so counts go half with the volume and mass against it: net -1/2."""
    activity = np.array([36.0, 16.0])
    scans = Scans([24.0, 96.0], activity, 0.06 * activity)
    factor = DoseFactor(0.0853, 1.0, 0.02)
    known = Chain(scans, 1.0, 0.05, Outline(100.0, 0.10, 0.01), None, factor, 1.05, 0.03)
    found = budget(known, samples=200)
    assert found.dose_Gy == pytest.approx(4188.376 * 0.0853 / 105, rel=1e-4)
    by_hand = math.sqrt(0.05**2 + 0.05**2 + 0.05432**2 + 0.03**2 + 0.02**2)
    assert found.whole.closed == pytest.approx(by_hand, rel=1e-3)  # phi of a finite sphere: 3e-4
    assert found.volume.net == pytest.approx(-0.5, abs=1e-3)


def test_formula_and_sampling_agree_where_the_chain_is_linear():
    assert all(row.agrees for row in (*small().rows, small().whole))
    assert small().whole.sampled == pytest.approx(small().whole.closed, rel=0.03)


def test_dropping_the_correlation_through_the_volume_is_caught():
    """Negative control: counts, recovery and mass as if each had a volume of its own."""
    found = budget(chain(volume_sd=0.15), samples=8000)
    wrong, whole = found.without_volume_correlation, found.whole
    assert whole.agrees
    assert abs(wrong - whole.sampled) > 10 * whole.sampled_se
    assert VolumeTerms.of(chain()).as_if_independent > 1.2 * abs(VolumeTerms.of(chain()).net)


def test_a_volume_known_only_to_a_factor_is_not_linear_and_says_so():
    found = budget(chain(volume_mL=1.5, volume_sd=0.8), samples=5000)
    assert not found.row("volume").agrees
    assert "not linear" in found.row("volume").note
    assert "not linear" in found.whole.note
    low, high = found.interval90
    assert high - 1 > 1.3 * (1 - low)  # skewed: no symmetric interval tells it


def test_calibration_does_not_average_out_over_scans():
    """One factor for all scans; errors of its size in each scan would mostly cancel."""
    found = budget(chain(), samples=4000)
    assert found.row("calibration factor").sampled == pytest.approx(0.04, rel=0.05)
    own = Scans(TIME_H, COUNTS, 0.04 * COUNTS, nuclide="177Lu")
    assert own.noise_relative_sd < 0.75 * 0.04


def test_points_that_miss_their_curve_widen_the_budget():
    wavy = COUNTS * np.array([1.1, 0.9, 1.12, 0.9])
    found = budget(replace(chain(), measured=Scans(TIME_H, wavy, 0.03 * wavy, nuclide="177Lu")), samples=4000)
    assert found.row("misfit").closed > found.row("counting noise").closed
    assert small().row("misfit").closed < found.row("misfit").closed


def test_shares_add_to_one_and_the_whole_is_their_root():
    assert sum(row.share for row in small().rows) == pytest.approx(1.0, rel=1e-12)
    assert small().whole.closed == pytest.approx(math.hypot(*(row.closed for row in small().rows)), rel=1e-12)


def test_the_stated_error_of_sampling_is_that_of_repeats():
    rows = [budget(chain(), samples=400, seed=seed).whole for seed in range(40)]
    # 40 repeats know a standard deviation to 11 %; three of these
    assert np.std([row.sampled for row in rows]) == pytest.approx(np.mean([row.sampled_se for row in rows]), rel=0.35)


def test_a_seed_gives_one_answer():
    again = [budget(chain(), samples=500, seed=seed).whole.sampled for seed in (3, 3, 4)]
    assert again[0] == again[1] != again[2]


def test_the_table_names_each_component_and_what_is_correlated():
    text = str(small())
    assert all(re.search(rf"^{name} +[\d.]+% +[\d.]+% +\d+%", text, re.MULTILINE) for name in COMPONENTS)
    assert "net -0.7" in text
    assert [record["component"] for record in small().records()] == [*COMPONENTS, "whole"]


def test_the_guidance_adds_to_the_same_whole():
    """(u(D)/D)^2 = (u(TIA)/TIA)^2 + (u(S)/S)^2 + 2 u(TIA, S)/(TIA S), volume in all three."""
    made, parts, terms = chain(volume_sd=0.12), closed_form(chain(volume_sd=0.12)), VolumeTerms.of(chain())
    through = terms.counts + terms.recovery
    rest = ("calibration factor", "recovery curve", "counting noise", "misfit", "kinetics")
    tia = math.hypot(through * 0.12, *(parts[name] for name in rest))
    factor = math.hypot(made.factor.c2 * 0.12, parts["dose factor"])
    together = -through * made.factor.c2 * 0.12**2
    assert math.sqrt(tia**2 + factor**2 + 2 * together) == pytest.approx(math.hypot(*parts.values()), rel=1e-12)


# sums


def test_four_cycles_share_the_camera_and_average_the_rest():
    """By hand: equal doses, so shared parts stand as they are and own ones fall by two."""
    one = chain(volume_sd=0.12, kinetics_relative_sd=0.05)
    parts = closed_form(one)
    found = summed([one] * 4, samples=8000)
    by_hand = [value / (1 if name in SHARED else 2) for name, value in parts.items()]
    assert found.dose_Gy == pytest.approx(4 * one.dose_Gy)
    assert found.closed == pytest.approx(math.hypot(*by_hand), rel=1e-9)
    assert abs(found.sampled - found.closed) < 4 * found.sampled_se
    assert found.if_independent == pytest.approx(math.hypot(*parts.values()) / 2, rel=1e-9)
    assert abs(found.sampled - found.if_independent) > 10 * found.sampled_se  # negative control: nothing shared


def test_a_contour_used_in_all_cycles_does_not_average_out():
    one = chain(volume_sd=0.12)
    same = summed([one] * 3, (*SHARED, "volume"), samples=4000)
    assert same.by_component["volume"] == pytest.approx(closed_form(one)["volume"])
    assert abs(same.sampled - same.closed) < 4 * same.sampled_se


def test_one_recovery_curve_moves_lesions_of_two_sizes_by_different_amounts():
    lesions = [chain(volume_mL=2.0, volume_sd=0.05), chain(volume_mL=20.0, volume_sd=0.05)]
    found = summed(lesions, samples=8000)
    assert abs(found.sampled - found.closed) < 4 * found.sampled_se
    doses = np.array([lesion.dose_Gy for lesion in lesions])
    alone = doses / doses.sum() @ [closed_form(lesion)["recovery curve"] for lesion in lesions]
    assert 0 < found.by_component["recovery curve"] <= alone


# the page


@pytest.fixture(scope="module")
def page(repository):
    """docs/uncertainty.md: its text, and the names its first block defines, run as it stands."""
    text, names = (repository / "docs" / "uncertainty.md").read_text(encoding="utf-8"), {}
    exec(re.findall(r"```python\n(.*?)```", text, re.DOTALL)[0], names)  # noqa: S102 - the page is ours
    return text, names


def test_the_worked_budget_is_what_the_code_prints(page):
    text, names = page
    (shown,) = re.findall(r"```\n(component .*?)```", text, re.DOTALL)
    assert shown.split() == str(names["lesion"]).split()


SIZES = {"kidney, 150": ("kidney_left", 150.0, 700.0, 0.02), "lesion, 30": ("tumour_1", 30.0, 500.0, 0.03),
         "lesion, 10": ("tumour_1", 10.0, 200.0, 0.04), "lesion, 4": ("tumour_1", 4.0, 90.0, 0.06),
         "lesion, 1": ("tumour_1", 1.0, 20.0, 0.10)}  # fmt: skip


@pytest.mark.parametrize("name", SIZES)
def test_the_table_by_size_is_what_the_code_gives(page, name):
    text, names = page
    row = re.search(rf"^\| {name} mL \| .*$", text, re.MULTILINE)
    assert row is not None
    made = names["chain"](*SIZES[name])
    found, spread = budget(made), 100 * made.outline.relative_sd
    terms = found.volume.counts, found.volume.recovery, found.volume.mass, found.volume.net
    wholes = 100 * found.whole.closed, 100 * found.whole.sampled
    expected = [spread, *terms, *wholes, *found.interval90, 100 * found.without_volume_correlation]
    shown = [float(x) for x in re.findall(r"[-+]?[\d.]+", row.group().partition("mL")[2])]
    # half a unit of the last digit shown: 0.005, 0.05 of ten and more
    assert shown == pytest.approx(expected, rel=0.006, abs=0.006)


def test_the_sums_of_the_page_are_what_the_code_gives(page):
    text, names = page
    shown = re.search(r"own contour: ([\d.]+) %.*?has ([\d.]+) %.*?have ([\d.]+) %.*?it is ([\d.]+) %", text, re.DOTALL)
    assert shown is not None
    made = names["chain"](*SIZES["lesion, 30"])
    own, copied = (summed([made] * 4, errors, samples=200) for errors in (SHARED, (*SHARED, "volume")))
    found = own.closed, names["lesion"].whole.closed, own.if_independent, copied.closed
    # half a unit of the last digit shown
    assert [float(x) for x in shown.groups()] == pytest.approx(100 * np.array(found), abs=0.051)


# what is refused


LAST = {"voxel_mm": 3.0, "drawing_fwhm_mm": 3.0, "fwhm_mm": FWHM_MM}
WRONG = {
    "a negative volume": (lambda: Outline(-3.0, 0.1, FWHM_MM), "volume_mL"),
    "no FWHM": (lambda: Outline(10.0, 0.1, None), "fwhm_mm"),
    "no FWHM of the drawing": (lambda: Outline.drawn(10.0, **{**LAST, "drawing_fwhm_mm": None}), "drawing_fwhm_mm"),
    "a voxel of nothing": (lambda: Outline.drawn(10.0, **{**LAST, "voxel_mm": 0.0}), "voxel_mm"),
    "a negative diameter": (lambda: Outline.sphere(-10.0, **LAST), "diameter_mm"),
    "correlation above one": (lambda: RecoveryCurve(2.5, 1.2, [[1e-2, 2e-2], [2e-2, 1e-2]]), "positive definite"),
    "a negative variance": (lambda: RecoveryCurve(2.5, 1.2, [[-1e-2, 0], [0, 1e-2]]), "positive definite"),
    "a covariance of three": (lambda: RecoveryCurve(2.5, 1.2, np.eye(3)), "positive definite"),
    "b1 of nothing": (lambda: RecoveryCurve(0.0, 1.2, B_COVARIANCE), "b1_mL"),
    "two phantom spheres": (lambda: RecoveryCurve.fitted([1.0, 2.0], [0.3, 0.5], [0.1, 0.1]), "3 or more"),
    "no counts": (lambda: Scans(TIME_H, [40.0, 30.0, 0.0, 5.0], 0.1), "above 0"),
    "noise of nothing": (lambda: Scans(TIME_H, COUNTS, 0.0), "above 0"),
    "one scan": (lambda: Scans([24.0], [40.0], [1.0]), "1 scan for the 2 parameters of mono"),
    "two scans for three parameters": (lambda: Scans([4.0, 24.0], [40.0, 30.0], 1.0, "uptake"), "2 scans for the 3"),
    "one time twice": (lambda: Scans([24.0, 24.0], [40.0, 30.0], 1.0), "distinct times"),
    "a curve of no name": (lambda: Scans(TIME_H, COUNTS, 1.0, "spline"), "one of mono"),
    "a curve covariance of one": (lambda: KnownCurve(Exponentials((40.0,), (0.01,)), np.eye(1)), "curve covariance"),
    "a negative integral": (lambda: KnownCurve(Exponentials((-4.0,), (0.01,)), np.eye(2)), "an integral of"),
    "a wide curve": (lambda: budget(replace(chain(), measured=KnownCurve(Exponentials((4.0,), (0.01,)), np.diag([9, 1e-6])))), "no integral"),  # noqa: E501
    "calibration below zero": (lambda: replace(chain(), calibration_MBq_per_cps=-1.0), "calibration_MBq_per_cps"),
    "negative uncertainty": (lambda: replace(chain(), calibration_relative_sd=-0.1), "calibration_relative_sd"),
    "a sum of nothing": (lambda: summed([]), "chains"),
    "shared noise": (lambda: summed([chain()], ("counting noise",)), "counting noise"),
    "three draws": (lambda: budget(chain(), samples=3), "100 or more"),
}  # fmt: skip


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_is_refused_in_four_parts(make, said):
    with pytest.raises(InputError) as refused:
        make()
    assert said in str(refused.value)
    assert re.search(r": found .*; expected .*\. To do: ", str(refused.value), re.DOTALL)
