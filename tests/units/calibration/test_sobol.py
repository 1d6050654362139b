"""Sobol indices of groups: functions whose indices are known, correlated inputs, and the model's doses."""

from __future__ import annotations

import re
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from scipy.stats import norm

from calibration import noise
from calibration.budget_calibrated import calibrated_drivers, calibrated_inputs
from calibration.budget_chain import Chain
from calibration.budget_curve import Scans
from calibration.budget_drivers import dose_indices, drivers, group_of, log_tia, posterior_inputs, prior_inputs
from calibration.budget_factors import DoseFactor, RecoveryCurve
from calibration.budget_region import Outline
from calibration.posterior import Posterior
from calibration.sobol import Inputs, group_indices
from dose.errors import InputError
from tests.synthetic import empty_study, with_scans
from twin.body import body_of
from twin.deposit import mass_g
from twin.verbs import calibrate, predict

REGIONS = ("kidneys", "tumour_1")


def independent(*groups: str, sd=None) -> Inputs:
    names = tuple(f"x{k}" for k in range(len(groups)))
    return Inputs(names, np.zeros(len(groups)), np.diag(np.square(sd or np.ones(len(groups)))), groups)


def of(function, inputs, **options):
    return group_indices(function, inputs, ("y",), **{"samples": 4096, "seed": 3, **options})


def ishigami(x):
    """Ishigami and Homma 1990, a = 7, b = 0.1, of uniform variables in (-pi, pi)."""
    a, b, c = 2 * np.pi * (norm.cdf(x) - 0.5)
    return (np.sin(a) + 7 * np.sin(b) ** 2 + 0.1 * c**4 * np.sin(a))[None]


def test_indices_of_ishigami_are_the_analytic_ones():
    found = of(ishigami, independent("a", "b", "c"))
    # 0.02: four standard errors at N = 4096
    assert found.first[0] == pytest.approx([0.3139, 0.4424, 0.0], abs=0.02)
    assert found.total[0] == pytest.approx([0.5576, 0.4424, 0.2437], abs=0.02)


def test_a_group_takes_the_interaction_of_its_members():
    """Ishigami's first and third variable act together: in one group their interaction is first order."""
    found = of(ishigami, independent("odd", "b", "odd"))
    assert found.groups == ("odd", "b")
    assert found.first[0] == pytest.approx([0.5576, 0.4424], abs=0.02)
    assert found.total[0] == pytest.approx([0.5576, 0.4424], abs=0.02)


LOG_SD = np.array([0.5, 0.3, 0.2])


def test_indices_of_a_product_of_lognormals_are_the_analytic_ones():
    """D = exp(sum x): first (e^(s_i^2) - 1)/(e^(s^2) - 1), total 1 - (e^(s^2 - s_i^2) - 1)/(e^(s^2) - 1)."""
    whole = np.sum(LOG_SD**2)
    first = np.expm1(LOG_SD**2) / np.expm1(whole)
    total = 1 - np.expm1(whole - LOG_SD**2) / np.expm1(whole)
    found = of(lambda x: x.sum(axis=0, keepdims=True), independent("a", "b", "c", sd=list(LOG_SD)), scale="dose")
    # 0.04: four standard errors at N = 4096 (20 seeds), larger than in logs because of the long tail
    assert found.first[0] == pytest.approx(first, abs=0.04)
    assert found.total[0] == pytest.approx(total, abs=0.04)
    assert found.cv[0] == pytest.approx(np.sqrt(np.expm1(whole)), rel=0.03)
    logs = of(lambda x: x.sum(axis=0, keepdims=True), independent("a", "b", "c", sd=list(LOG_SD)))
    assert logs.first[0] == pytest.approx(LOG_SD**2 / whole, abs=0.02)  # additive in logs: no interaction
    assert logs.total[0] == pytest.approx(LOG_SD**2 / whole, abs=0.02)


WEIGHTS = np.array([1.0, 2.0, -1.0])
CORRELATED = np.array([[1.0, 0.6, 0.2], [0.6, 1.0, -0.3], [0.2, -0.3, 1.0]])


def linear(x):
    return (WEIGHTS @ x)[None]


def test_indices_of_a_sum_of_correlated_inputs_are_the_analytic_ones():
    """first = cov(y, x_k)^2 / (C_kk var y), total = w_k^2 / ((C^-1)_kk var y)."""
    variance = WEIGHTS @ CORRELATED @ WEIGHTS
    first = (CORRELATED @ WEIGHTS) ** 2 / np.diag(CORRELATED) / variance
    total = WEIGHTS**2 / np.diag(np.linalg.inv(CORRELATED)) / variance
    found = of(linear, Inputs(("a", "b", "c"), np.zeros(3), CORRELATED, ("a", "b", "c")))
    assert found.first[0] == pytest.approx(first, abs=0.02)
    assert found.total[0] == pytest.approx(total, abs=0.02)
    assert found.correlated
    assert found.first[0].sum() > 1.2  # correlated: first-order indices no longer share out the variance
    alone = of(linear, Inputs(("a", "b", "c"), np.zeros(3), np.eye(3), ("a", "b", "c")))
    assert np.max(np.abs(alone.first[0] - first)) > 0.15  # negative control: the correlation left out


def test_correlation_within_a_group_leaves_groups_independent():
    covariance = np.array([[1.0, 0.9, 0], [0.9, 1.0, 0], [0, 0, 1.0]])
    inputs = Inputs(("a", "b", "c"), np.zeros(3), covariance, ("k", "k", "c"))
    found = of(lambda x: x.sum(axis=0, keepdims=True), inputs)
    assert not found.correlated
    assert found.evaluations == 4096 * (2 + 2)
    # variances 3.8 and 1
    assert found.first[0] == pytest.approx([3.8 / 4.8, 1 / 4.8], abs=0.02)
    assert found.total[0] == pytest.approx([3.8 / 4.8, 1 / 4.8], abs=0.02)


def test_intervals_hold_the_known_indices_and_narrow_with_samples():
    few, many = (of(ishigami, independent("a", "b", "c"), samples=n) for n in (256, 4096))
    for found in (few, many):
        low, high = found.total_interval[:, 0]
        assert np.all((low <= [0.5576, 0.4424, 0.2437]) & (high >= [0.5576, 0.4424, 0.2437]))
    assert np.all(np.ptp(many.total_interval, axis=0) < 0.5 * np.ptp(few.total_interval, axis=0))


def test_the_order_of_inputs_and_the_seed_do_not_matter_beyond_noise():
    inputs = Inputs(("a", "b", "c"), np.zeros(3), CORRELATED, ("a", "b", "c"))
    backwards = Inputs(("c", "b", "a"), np.zeros(3), CORRELATED[::-1, ::-1], ("c", "b", "a"))
    found, again = (of(linear, inputs, samples=512) for _ in range(2))
    turned = of(lambda x: linear(x[::-1]), backwards, samples=512)
    assert np.array_equal(found.first, again.first)
    assert turned.first[0, ::-1] == pytest.approx(found.first[0], abs=0.05)


# the model


@cache
def patient():
    body = body_of(empty_study())
    return body.first, body.prior


@cache
def across():
    course, prior = patient()
    return dose_indices(course, prior_inputs(prior), REGIONS, samples=128)


def test_groups_are_named_after_what_varies_together():
    assert group_of("receptor_density/kidney_left") == group_of("receptor_density/kidney_right")
    assert group_of("release/tumour_rest") == "release, tumours"
    assert group_of("kPS/parotid") == "permeability, glands"
    assert group_of("filtration") == "filtration"
    assert group_of("release/liver") == "release, liver"


def test_the_groups_of_the_prior_are_independent():
    assert not across().correlated
    assert across().evaluations == 128 * (len(across().groups) + 2)


def test_first_order_indices_of_the_model_sum_to_no_more_than_one():
    # slack: the resampling error of the largest index stands for that of the sum
    slack = float(np.max(np.ptp(across().first_interval, axis=0)))
    assert np.all(across().first.sum(axis=1) <= 1 + slack)
    assert np.all(across().total.sum(axis=1) >= 1 - slack)


def test_kidney_dose_is_led_by_its_own_density_internalisation_filtration_and_release():
    names = [name for name, _, _ in across().leading("kidneys", 4)]
    assert names[0] == "receptor density, kidneys"
    assert set(names[1:]) == {"internalisation, kidneys", "filtration", "release, kidneys"}
    assert across().leading("tumour_1", 1)[0][0] == "receptor density, tumours"


def test_one_kidney_alone_is_known_by_way_of_the_other():
    """Split, each kidney's density (correlation 0.95) is known from the other's: first order large, total small."""
    course, prior = patient()
    split = lambda name: name if name.startswith("receptor_density/kidney") else group_of(name)
    found = dose_indices(course, prior_inputs(prior, split), ("kidneys",), samples=128)
    left = found.groups.index("receptor_density/kidney_left")
    assert found.correlated
    assert found.first[0, left] > 0.25
    assert found.total[0, left] < 0.1
    both = across().groups.index("receptor density, kidneys")
    assert across().first[0, both] == pytest.approx(found.first[0, left], abs=0.2)


def test_log_tia_scales_with_activity_per_ligand_only_by_its_law():
    """A doubled density of all receptors raises the kidneys' integral, and a doubled release lowers it."""
    course, prior = patient()
    move = lambda kind: np.array([[np.log(2) if n.startswith(f"{kind}/kidney") else 0.0] for n in prior.names])
    offsets = np.hstack([np.zeros((len(prior.names), 1)), move("receptor_density"), move("release")])
    base, more, faster = log_tia(course, prior.names, ("kidneys",), offsets)[0]
    assert base + 0.4 < more < base + np.log(2)
    assert faster < base - 0.2


def posterior(shrink: float, error_names=(), error_covariance=None) -> Posterior:
    """The prior with its covariance shrunk, and shared errors as given."""
    prior = patient()[1]
    count, errors = len(prior.names), len(error_names)
    return Posterior(
        names=prior.names,
        unit=prior.unit,
        prior_median=prior.median,
        prior_log_sd=prior.log_sd,
        map_log=np.full(count, 0.1),
        covariance=shrink * prior.covariance,
        draws=np.zeros((0, count)),
        chi2=0.0,
        observations_used=0,
        error_names=error_names,
        error_mean=np.zeros(errors),
        error_covariance=np.zeros((0, 0)) if error_covariance is None else error_covariance,
    )


def test_posterior_inputs_are_its_optimum_and_covariance():
    prior = patient()[1]
    found = posterior_inputs(posterior(0.25))
    assert np.array_equal(found.mean, np.full(len(prior.names), 0.1))
    assert np.array_equal(found.covariance, 0.25 * prior.covariance)


def measured(volume_mL: float, region: str) -> Chain:
    time_h, counts = np.array([24.0, 72.0, 168.0]), np.array([40.0, 20.0, 6.0])
    outline = Outline.drawn(volume_mL, voxel_mm=3.0, drawing_fwhm_mm=3.0, fwhm_mm=14.0)
    recovery = RecoveryCurve(2.5, 1.2, np.diag([0.15**2, 0.06**2]))
    factor = DoseFactor.of(region, "177Lu", volume_mL)
    return Chain(Scans(time_h, counts, 0.03 * counts), 1.0, 0.05, outline, recovery, factor)


def test_drivers_share_out_kinetics_and_measurement():
    """In logs measurement adds to kinetics, so its share is its own variance over the whole."""
    course, prior = patient()
    narrow = Inputs(
        prior.names, np.zeros(len(prior.names)), 0.02 * prior.covariance, tuple(group_of(n) for n in prior.names)
    )
    chains = {region: measured(volume, region) for region, volume in zip(REGIONS, (300.0, 30.0), strict=True)}
    found = drivers(course, narrow, chains, samples=128)
    calibration = found.groups.index("calibration factor")
    share = np.log1p(0.05**2) / np.log1p(found.cv**2)
    # log-normal to within 2 %; estimates at N = 128 to 0.08
    assert found.total[:, calibration] == pytest.approx(share, abs=0.1)
    assert found.leading("tumour_1", 1)[0][0] == "volume"
    kinetic = [g for g, name in enumerate(found.groups) if name in across().groups]
    assert found.first[1, kinetic].sum() < 0.5 < across().first[1].sum()
    assert "CV of dose" in str(found)


def mirrored(correlation: float) -> tuple[Inputs, np.ndarray]:
    """A camera factor of 5 % that the kidneys' densities mirror, and how ln D goes with all inputs (dose ~ density)."""
    course, prior = patient()
    kidney = np.array([float(n.startswith("receptor_density/kidney")) for n in prior.names])
    alike = 0.998 * 0.05**2 * (np.outer(kidney, kidney) - np.diag(kidney))
    cross = np.append(-correlation * 0.05**2 * kidney, 0.05**2)[None]
    made = posterior(1.0, ("calibration/SPECT",), cross)
    made = replace(made, covariance=np.diag(np.where(kidney > 0, 0.05**2, 1e-8)) + alike)
    inputs, slopes = calibrated_inputs(course, made, {"kidneys": DoseFactor(0.08, 1.0, 0.01)})
    return inputs, slopes["kidneys"] + np.pad(kidney / 2, (0, len(inputs.names) - len(kidney)))


def test_after_a_calibration_a_camera_factor_tells_of_the_densities():
    """Known, it takes the densities' doubt away; with all else known it leaves none: the dose goes by densities."""
    (inputs, weights), volume_sd = mirrored(0.999), noise.volume_log_sd("kidneys")
    found = of(lambda x: (weights @ x)[None], inputs, samples=1024)
    share = 0.05**2 / (0.05**2 + volume_sd**2 + 0.01**2)
    at = {name: k for k, name in enumerate(found.groups)}
    # 0.05: three standard errors at N = 1024
    assert found.first[0, at["calibration factor"]] == pytest.approx(share, abs=0.05)
    assert found.total[0, at["calibration factor"]] == pytest.approx(0.0, abs=1e-3)
    assert found.total[0, at["volume"]] == pytest.approx(volume_sd**2 * share / 0.05**2, abs=0.05)


def test_a_camera_factor_that_tells_nothing_has_no_index():
    """Negative control: the same without the correlation."""
    inputs, weights = mirrored(0.0)
    found = of(lambda x: (weights @ x)[None], inputs, samples=1024)
    assert found.first[0, found.groups.index("calibration factor")] == pytest.approx(0.0, abs=0.02)


def test_a_contour_seen_in_a_scan_brings_its_own_volume_error():
    names = ("volume/kidney_left", "volume/kidney_right", "drift/kidneys/1")
    count = len(patient()[1].names)
    errors = np.hstack([np.zeros((3, count)), 0.06**2 * np.eye(3)])
    factors = {"kidneys": DoseFactor(0.08, 0.98, 0.01), "tumour_1": DoseFactor(0.08, 0.98, 0.01)}
    inputs, slopes = calibrated_inputs(patient()[0], posterior(1.0, names, errors), factors)
    assert "drift/kidneys/1" not in inputs.names
    assert "volume/kidneys" not in inputs.names
    assert "mass/tumour_1" in inputs.names
    by_name = dict(zip(inputs.names, slopes["kidneys"], strict=True))
    assert [by_name[name] for name in names[:2]] == [0.49, 0.49]
    assert by_name["mass/tumour_1"] == 0.0
    assumed, _ = calibrated_inputs(patient()[0], posterior(1.0, names, errors), factors, unsegmented=("kidneys",))
    variance = dict(zip(assumed.names, np.diag(assumed.covariance), strict=True))["mass/kidneys"]
    assert np.sqrt(variance) == pytest.approx(noise.volume_log_sd("kidneys", segmented=False))
    assert sum(slopes["tumour_1"]) == pytest.approx(1.98)


@pytest.mark.slow
def test_the_spread_of_a_calibrated_dose_is_that_of_the_forecast():
    """Same posterior, two ways: normal inputs through the model here, draws through `twin.predict` there."""
    study = replace(empty_study(), volumes_mL={"tumour_1": 30.0, "tumour_rest": 100.0, "kidney_left": 160.0})
    study, _ = with_scans(study, np.random.default_rng(1))
    twin = calibrate(study, draws=1003)
    body, forecast = body_of(study), predict(twin)
    regions = ("kidney_left", "tumour_1", "liver")
    factors = {region: DoseFactor.of(region, "177Lu", mass_g(region, body)) for region in regions}
    found = calibrated_drivers(body.first, twin.posterior, factors, unsegmented=("liver",), samples=128)
    for k, region in enumerate(regions):
        dose = forecast.dose_Gy[:, 0, forecast.regions.index(region)]
        # 256 inputs and 1000 draws: 5 %; the posterior's draws are not exactly normal
        assert found.cv[k] == pytest.approx(dose.std() / dose.mean(), rel=0.15), region


@pytest.mark.slow
def test_the_second_example_of_the_page_runs(repository, shared, monkeypatch, capsys):
    assert shared.is_dir()
    monkeypatch.chdir(repository)
    blocks = re.findall(r"```python\n(.*?)```", (repository / "docs/uncertainty.md").read_text(), re.DOTALL)
    code = "\n".join(blocks)
    assert "samples = 512" in code
    exec(code.replace("samples = 512", "samples = 32"), {})  # noqa: S102 - the page is ours
    printed = capsys.readouterr().out
    assert re.search(r"^receptor density, kidneys +.*%.*%", printed, re.MULTILINE)
    assert "CV of dose" in printed


# what is refused

TWO = independent("a", "b")
WRONG = {
    "samples of no power": (lambda: of(linear, TWO, samples=100), "power of two"),
    "an unknown scale": (lambda: of(lambda x: x[:1], TWO, scale="percent"), "log or dose"),
    "values that are not finite": (lambda: of(lambda x: np.log(x[:1] - 1e9 * (x[:1] > 0) * np.inf), TWO), "not finite"),
    "no spread": (lambda: Inputs(("a", "b"), np.zeros(2), np.diag([1.0, 0.0]), ("a", "b")), "no spread of b"),
    "no covariance": (lambda: Inputs(("a", "b"), np.zeros(2), [[1, 2], [2, 1]], ("a", "b")), "positive definite"),
    "a group missing": (lambda: Inputs(("a", "b"), np.zeros(2), np.eye(2), ("a",)), "equally many"),
    "an unknown region": (lambda: dose_indices(patient()[0], prior_inputs(patient()[1]), ("bladder",)), "bladder"),
    "no factor": (lambda: calibrated_drivers(patient()[0], posterior(1.0), {}), "factors"),
    "no chain": (lambda: drivers(patient()[0], prior_inputs(patient()[1]), {}), "chains"),
}


@pytest.mark.parametrize(("make", "said"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_is_refused(make, said):
    with np.errstate(invalid="ignore"), pytest.raises(InputError, match="To do: ") as refused:
        make()
    assert said in str(refused.value)
