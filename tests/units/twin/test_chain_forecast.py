"""Forecasts of alpha emitters follow the daughters; those of other nuclides are as they were."""

from __future__ import annotations

import re
from dataclasses import replace

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest

from calibration.forward import pool_weights
from calibration.observations import Observations
from calibration.posterior import Posterior
from dose.chains import chain_dose
from dose.errors import InputError
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.radiobiology import tissue
from pbpk.administration import Administration
from pbpk.anatomy import KIDNEYS
from pbpk.daughters import daughters, is_followed
from pbpk.freed import typical
from pbpk.parameters import Covariates
from twin import chain_forecast, deposit, forecast
from twin.body import body_of
from twin.chain_forecast import daughter_warnings, masses_g
from twin.outlook import outlook_of
from twin.outlook.report import report_of
from twin.patient import PatientTwin, Plan, Study
from twin.report import page

DRAWS = 50
ACTIVITY_MBq = {"177Lu": 7400.0, "225Ac": 8.0, "212Pb": 100.0, "211At": 100.0, "213Bi": 300.0, "223Ra": 5.0}
VOLUMES_mL = {"tumour_1": 30.0, "tumour_rest": 100.0, "kidney_left": 140.0, "kidney_right": 170.0}


def patient(nuclide: str, spread: float = 1.0) -> PatientTwin:
    """Two cycles of a PSMA-617 in a patient of whom nothing is known but the prior, narrowed by `spread`."""
    given = tuple(
        Administration(c, 1344.0 * (c - 1), ACTIVITY_MBq[nuclide], 90.0, 0.0, "PSMA-617", nuclide) for c in (1, 2)
    )
    person = Covariates.of(weight_kg=80.0, height_m=1.75, sex="male", age_y=70.0, gfr_mL_min=90.0, haematocrit=0.4)
    study = Study("virtual", person, "PSMA-617", nuclide, given, Observations.empty(), VOLUMES_mL)
    prior = body_of(study).prior
    count, rng = len(prior.names), np.random.default_rng(3)
    draws = spread * rng.multivariate_normal(np.zeros(count), prior.covariance, size=DRAWS, method="eigh")
    one, zero = np.ones(count), np.zeros(count)
    return PatientTwin(study, Posterior(prior.names, ("1",) * count, one, one, zero, prior.covariance, draws, 0.0, 0))


DEPOSITED = forecast.deposited


class Run:
    """A report and, seen on the way, the kill integral and what `coefficients` was given and gave."""

    def __init__(self, twin: PatientTwin, monkeypatch):
        given = {}

        def spy(*args):
            given["args"], given["made"] = args, chain_forecast.coefficients(*args)
            return given["made"]

        def doses(*args):
            given["kill"] = args[5]
            return DEPOSITED(*args)

        monkeypatch.setattr(deposit, "coefficients", spy)
        monkeypatch.setattr(forecast, "deposited", doses)
        self.twin = twin
        self.report = forecast.dose_report(twin, twin.study.administrations, frozenset({1}))
        self.args, self.made, self.kill = given["args"], given["made"], given["kill"]
        self.body, _, self.nuclide, self.regions, self.mass_g, self.organ_tia, self.drift = self.args

    def at(self, region: str) -> int:
        return self.regions.index(region)

    def log_sd(self, region: str) -> float:
        return float(np.std(np.log(self.report.dose_Gy[:, 0, self.at(region)])))

    def local(self, region: str):
        return dose_coefficient_Gy_per_MBq_h(region, self.nuclide, self.mass_g[self.at(region)])


@pytest.fixture
def run(monkeypatch):
    return lambda nuclide, spread=1.0: Run(patient(nuclide, spread), monkeypatch)


def in_place(monkeypatch):
    """Take the chains away: every nuclide is dosed as before there were any."""
    monkeypatch.setattr(chain_forecast, "is_followed", lambda nuclide: False)


def keep(monkeypatch, held: float):
    """Give every region the retention `held`, in every draw."""
    drawn = chain_forecast.redistribution

    def fixed(*args):
        where = lambda r: (r.held, r.chelate_kept)
        return eqx.tree_at(where, drawn(*args), replace_fn=lambda x: jnp.full_like(x, held))

    monkeypatch.setattr(chain_forecast, "redistribution", fixed)


def fix_at_the_table(monkeypatch):
    monkeypatch.setattr(chain_forecast, "redistribution", lambda places, mass_g, draws: typical(places, mass_g))


def direct(run: Run):
    """Doses of the MAP in Gy, [region, cycle], of a call of `pbpk.daughters` that shares no code with the forecast."""
    organs = run.body.organs
    places, masses = (*organs, "blood"), masses_g(run.body, "male")
    tia = run.organ_tia[..., -1]
    parent = np.stack([*tia[: len(organs)], tia[len(organs) :].sum(axis=0)])
    found = daughters(run.nuclide, parent, typical(places, masses))
    return dict(zip(places, np.asarray(chain_dose(found.tia_MBq_h, places, masses).total_Gy), strict=True)), masses


@pytest.mark.parametrize("nuclide", ["225Ac", "212Pb", "223Ra", "213Bi"])
def test_doses_of_the_map_are_those_of_a_direct_call(run, nuclide):
    run = run(nuclide)
    dose, masses = direct(run)
    tia = dict(zip(run.body.organs, run.organ_tia[..., -1], strict=False))
    for region in ("kidney_left", "liver", "parotid", "tumour_1", "red_marrow"):
        ours = run.made[run.at(region)].total_Gy_per_MBq_h[-1] * tia[region]
        np.testing.assert_allclose(ours, dose[region], rtol=1e-10)
    both = sum(masses[o] * dose[o] for o in KIDNEYS) / sum(masses[o] for o in KIDNEYS)
    ours = run.made[run.at("kidneys")].total_Gy_per_MBq_h[-1] * sum(tia[o] for o in KIDNEYS)
    # the union is two spheres of the mean mass, so electrons that escape differ a little
    np.testing.assert_allclose(ours, both, rtol=1e-3)


def test_free_bismuth_of_225ac_adds_to_the_kidneys_and_is_missed_by_glands_and_tumours(run):
    run = run("225Ac")
    change = lambda region: run.made[run.at(region)].total_Gy_per_MBq_h[-1, 0] / run.local(region).total
    assert 1.1 < change("kidneys") < 1.4
    assert 0.8 < change("parotid") < 1.0
    assert 0.8 < change("tumour_1") < 1.0


def test_the_table_of_the_page_is_that_of_the_map(run, repository):
    run = run("225Ac")
    page_text = (repository / "docs/daughters.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (\w+) of \d+ g \| (.*?) \| (.*?) \| .*? \|$", page_text, re.MULTILINE)
    assert [region for region, *_ in rows] == ["kidneys", "liver", "parotid", "tumour_1"]
    for region, *numbers in rows:
        per_MBq = pool_weights(region, run.body.organs, frozenset()) @ run.organ_tia[:, 0, -1] / ACTIVITY_MBq["225Ac"]
        both = (run.local(region).total, run.made[run.at(region)].total_Gy_per_MBq_h[-1, 0])
        # half a unit of the last of three digits
        np.testing.assert_allclose([float(n) for n in numbers], per_MBq * np.array(both), rtol=0.005)


def test_the_report_moves_as_its_map_does(run, monkeypatch):
    now = run("225Ac")
    in_place(monkeypatch)
    before = run("225Ac")
    k = now.at("kidneys")
    expected = now.made[k].total_Gy_per_MBq_h[:-1, 0] / before.made[k].total_Gy_per_MBq_h
    moved = now.report.dose_Gy[:, 0, k] / before.report.dose_Gy[:, 0, k]
    # the random error of the coefficient has a slightly other width, as it is taken nuclide by nuclide
    np.testing.assert_allclose(moved, expected, rtol=2e-3)
    np.testing.assert_array_equal(now.report.tia_MBq_h, before.report.tia_MBq_h)


@pytest.mark.parametrize("nuclide", ["225Ac", "212Pb", "223Ra", "211At", "213Bi"])
def test_with_full_retention_the_doses_are_those_of_decay_in_place(run, monkeypatch, nuclide):
    keep(monkeypatch, 1.0)
    now = run(nuclide)
    in_place(monkeypatch)
    before = run(nuclide)
    for ours, theirs in zip(now.made, before.made, strict=True):
        np.testing.assert_allclose(ours.total_Gy_per_MBq_h, theirs.total_Gy_per_MBq_h, rtol=1e-6)
        np.testing.assert_allclose(ours.low_let, theirs.low_let, rtol=1e-6)
        # weighted by nuclide rather than over the chain's electrons, photons and alphas: a little wider for 212Pb
        assert ours.relative_sd == pytest.approx(theirs.relative_sd, rel=0.1)
    for name in ("dose_Gy", "bed_Gy"):
        np.testing.assert_allclose(getattr(now.report, name), getattr(before.report, name), rtol=2e-3)


def test_a_little_less_than_full_retention_is_seen(run, monkeypatch):
    keep(monkeypatch, 0.999)
    run = run("225Ac")
    ratio = run.made[run.at("tumour_1")].total_Gy_per_MBq_h[-1, 0] / run.local("tumour_1").total
    assert 1e-5 < 1 - ratio < 1e-3


def test_the_doubt_of_redistribution_widens_the_doses_of_a_patient_whose_kinetics_are_known(run, monkeypatch):
    now = run("225Ac", spread=0.0)
    with monkeypatch.context() as patch:
        fix_at_the_table(patch)
        fixed = run("225Ac", spread=0.0)
    in_place(monkeypatch)
    before = run("225Ac", spread=0.0)
    for region in ("kidneys", "liver", "parotid"):
        assert now.log_sd(region) > 1.05 * before.log_sd(region)
        # control: it is the draws of redistribution that widen, not that daughters move
        assert fixed.log_sd(region) == pytest.approx(before.log_sd(region), rel=0.05)


def test_redistribution_is_of_the_patient_and_not_of_the_cycle(run):
    run = run("225Ac")
    same = np.repeat(run.organ_tia[:, :1], 2, axis=1)
    made = chain_forecast.coefficients(*run.args[:5], same, np.ones_like(run.drift))
    for s in made:
        np.testing.assert_allclose(s.total_Gy_per_MBq_h[:, 0], s.total_Gy_per_MBq_h[:, 1], rtol=1e-12)


def test_more_uptake_in_the_liver_gives_the_kidneys_more(run):
    run = run("225Ac")
    more = np.ones_like(run.drift)
    more[..., run.at("liver")] = 2.0
    kidneys = [
        chain_forecast.coefficients(*run.args[:6], drift)[run.at("kidneys")] for drift in (np.ones_like(more), more)
    ]
    assert np.all(kidneys[1].total_Gy_per_MBq_h > kidneys[0].total_Gy_per_MBq_h)


def test_a_cycle_without_activity_has_no_dose(run):
    run = run("225Ac")
    none = run.organ_tia.copy()
    none[:, 1] = 0.0
    made = chain_forecast.coefficients(*run.args[:5], none, run.drift)
    for s in made:
        np.testing.assert_array_equal(s.total_Gy_per_MBq_h[:, 1], 0.0)
        assert np.all(np.isfinite(s.low_let))


def doses_before(run: Run):
    """Dose and BED without following chains, line by line."""
    body, nuclide, drift, mass = run.body, run.nuclide, run.drift, run.mass_g
    rng = np.random.default_rng(deposit.ERROR_SEED)
    dose, bed = np.empty(drift.shape), np.empty(drift.shape)
    kidney_noise = rng.standard_normal(len(drift))
    for k, region in enumerate(run.regions):
        s = run.local(region)
        noise_draw = kidney_noise if region in (*KIDNEYS, "kidneys") else rng.standard_normal(len(drift))
        error = np.exp(noise_draw * np.hypot(deposit._mass_log_sd(region, body), s.relative_sd))
        error[-1] = 1.0
        tia = np.einsum("p,pcd->dc", pool_weights(region, body.organs, frozenset()), run.organ_tia) * drift[..., k]
        dose[..., k] = s.total * tia * error[:, None]
        if region == "red_marrow":
            photons = deposit.marrow_photons(nuclide) * np.sum(run.organ_tia, axis=0).T
            dose[..., k] += photons * drift[..., k] * error[:, None]
        low_let = (s.electron + s.photon) / s.total
        kill = deposit._quadratic(region, body, run.kill)
        quadratic = kill * (s.total * low_let * error[:, None] * drift[..., k]) ** 2
        weighted = dose[..., k] * (low_let + (1 - low_let) * deposit.constants()["alpha_rbe"])
        bed[..., k] = weighted + 2 * quadratic / tissue(region).alpha_beta_Gy
    return dose[:-1], bed[:-1], mass


def test_177lu_does_not_see_the_chains(run):
    run = run("177Lu")
    dose, bed, mass = doses_before(run)
    np.testing.assert_allclose(run.report.dose_Gy, dose, rtol=1e-12)  # order of multiplication
    np.testing.assert_allclose(run.report.bed_Gy, bed, rtol=1e-12)
    np.testing.assert_array_equal(run.report.mass_g, mass)
    assert run.report.warnings == ()


@pytest.mark.parametrize("nuclide", ["225Ac", "212Pb", "223Ra", "211At", "213Bi"])
def test_chains_that_can_be_followed(nuclide):
    assert is_followed(nuclide)


@pytest.mark.parametrize("nuclide", ["177Lu", "90Y", "131I", "177mLu", "227Th"])
def test_nuclides_without_a_chain_or_without_its_kinetics(nuclide):
    assert not is_followed(nuclide)


def test_a_misspelt_nuclide_is_refused():
    with pytest.raises(InputError, match="225Ac"):
        is_followed("225Acc")


def test_only_chains_with_a_daughter_that_may_move_get_a_warning():
    assert "assumed retention" in daughter_warnings("225Ac")[0]
    assert "not followed" in daughter_warnings("227Th")[0]
    assert [daughter_warnings(nuclide) for nuclide in ("177Lu", "177mLu", "211At")] == [(), (), ()]


def test_the_reader_of_the_report_is_told(run):
    run = run("225Ac")
    plan = Plan((), (), replace(run.report, warnings=()))
    assert "daughters of 225Ac are followed with assumed retention" in page(run.twin, run.report, plan, {})


# planning


@pytest.mark.parametrize("nuclide", ["225Ac", "177Lu"])
def test_surfaces_of_coming_cycles_hold_the_chain(nuclide):
    """Medians of a cycle to come at half the activity against a solve: hot ligand is linear, and what drift does to
    daughters from elsewhere, which the surfaces leave out, is below 2 % of the median."""
    twin = patient(nuclide)
    first, second = twin.study.administrations
    given = replace(twin, study=replace(twin.study, administrations=(first,)))
    half = replace(second, activity_MBq=0.5 * second.activity_MBq)
    read = report_of(outlook_of(given), (half,))
    solved = forecast.dose_report(twin, (first, half), frozenset())
    for name in ("dose_Gy", "linear_bed_Gy", "bed_Gy"):
        ours, theirs = (np.median(getattr(x, name)[:, 1], axis=0) for x in (read, solved))
        np.testing.assert_allclose(ours, theirs, rtol=2e-2, err_msg=name)


def test_a_weighted_dose_taken_as_physical_is_seen(monkeypatch):
    """Negative control: the BED of an alpha emitter would come out far too low."""
    twin = patient("225Ac")
    right = np.median(forecast.dose_report(twin, twin.study.administrations, frozenset()).bed_Gy)
    monkeypatch.setattr(deposit, "constants", lambda: {"alpha_rbe": 1.0, "marrow_photon": 0.0})
    wrong = np.median(forecast.dose_report(twin, twin.study.administrations, frozenset()).bed_Gy)
    assert wrong < 0.5 * right
