"""Surfaces of coming cycles against direct solves: schedules, amounts, cold ligand, tumour sizes; what-if on them."""

from __future__ import annotations

from dataclasses import replace

import jax
import numpy as np
import pytest

from calibration.observations import Observations
from dose.errors import InputError
from pbpk.administration import Administration
from tests import synthetic
from twin.forecast import dose_report
from twin.outlook import Coming, doses, outlook_of
from twin.outlook.report import report_of
from twin.outlook.surface import MOST_CYCLES
from twin.planning import plan
from twin.verbs import calibrate
from twin.what_if import outlook_for, schedule_of, whatif

AMOUNTS = (45.0, 200.0)


@pytest.fixture(scope="module")
def patient():
    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(4))
    return calibrate(study, draws=51)


@pytest.fixture(scope="module")
def plain(patient):
    return outlook_of(patient)


@pytest.fixture(scope="module")
def varied(patient, plain):
    return outlook_of(patient, amounts_nmol=AMOUNTS, report=plain.given)


def directly(patient, planned):
    """The doses of given and coming cycles solved together."""
    return dose_report(patient, (*patient.study.administrations, *planned), frozenset({1}))


def test_a_schedule_reads_as_it_solves(patient, plain):
    """What is left of a cycle after six weeks, 0.2 % of the ligand, is all the surfaces leave out."""
    planned = schedule_of(plain, [7400.0, 5000.0, 3000.0])
    read, solved = report_of(plain, planned), directly(patient, planned)
    for name in ("dose_Gy", "bed_Gy", "tia_MBq_h", "weighted_Gy"):
        np.testing.assert_allclose(getattr(read, name), getattr(solved, name), rtol=4e-3, err_msg=name)
    assert read.kind == ("assimilated", "forecast", "forecast", "forecast")


def test_other_amounts_read_as_they_solve(patient, varied):
    """Between nodes of the polynomial; `interpolation_error` says how far off that is."""
    planned = schedule_of(varied, [7400.0, 7400.0], amount_nmol=71.0)
    read, solved = report_of(varied, planned), directly(patient, planned)
    bound = 4e-3 + 3 * varied.interpolation_error
    np.testing.assert_allclose(read.dose_Gy[:, 1:], solved.dose_Gy[:, 1:], rtol=bound)
    assert varied.interpolation_error < 2e-3
    other = report_of(varied, schedule_of(varied, [7400.0, 7400.0], amount_nmol=180.0))
    tumour = read.regions.index("tumour_1")
    assert np.median(other.dose_Gy[:, 1, tumour] / read.dose_Gy[:, 1, tumour]) < 0.9  # receptors fill


def test_the_slope_by_amount_is_that_of_the_solver(patient, varied):
    """The surface's derivative against central differences of solves (their tolerance over a 10 % step: 1e-3)."""
    slope = jax.jacfwd(lambda log: jax.numpy.log(_dose(varied, jax.numpy.exp(log))))(np.log(90.0))
    ends = [np.log(directly(patient, schedule_of(varied, [7400.0], amount_nmol=n)).dose_Gy[:, 1].mean(axis=0))
            for n in (90.0 * np.exp(0.05), 90.0 * np.exp(-0.05))]  # fmt: skip
    numeric = (ends[0] - ends[1]) / 0.1
    assert np.max(np.abs(numeric)) > 0.1
    np.testing.assert_allclose(np.asarray(slope), numeric, atol=0.02)


def _dose(look, amount):
    pad = lambda x: jax.numpy.zeros(MOST_CYCLES).at[0].set(x)
    cycles = Coming(pad(7400.0), jax.numpy.full(MOST_CYCLES, amount), pad(1008.0), jax.numpy.ones(MOST_CYCLES))
    return doses(look.surfaces, cycles).dose_Gy[:, 0].mean(axis=0)


def test_cold_ligand_first_reads_as_it_solves(patient, plain):
    look = outlook_of(patient, cold_nmol=60.0, cold_lead_h=1.0, report=plain.given)
    planned = schedule_of(look, [7400.0])
    assert planned[0].cold_nmol == 60.0
    read, solved = report_of(look, planned), directly(patient, planned)
    np.testing.assert_allclose(read.dose_Gy[:, 1], solved.dose_Gy[:, 1], rtol=4e-3)
    without = report_of(plain, schedule_of(plain, [7400.0]))
    kidneys = read.regions.index("kidneys")
    assert np.median(read.dose_Gy[:, 1, kidneys] / without.dose_Gy[:, 1, kidneys]) < 0.98  # receptors are taken


@pytest.mark.slow
def test_smaller_tumours_read_as_they_solve(patient):
    """An outlook over sizes at half of it, against a patient whose tumours are half as large from the start."""
    over_sizes = outlook_of(patient, response=True)
    halved = {name: v / 2 for name, v in patient.study.volumes_mL.items()}
    small = replace(patient, study=replace(patient.study, volumes_mL=halved))
    there = outlook_of(small)
    at_half = np.einsum("s,sdr->dr", np.asarray(over_sizes.surfaces.size.basis(0.5)), over_sizes.surfaces.dose[0])
    assert over_sizes.interpolation_error < 0.02
    np.testing.assert_allclose(np.exp(at_half), np.exp(np.asarray(there.surfaces.dose[0, 0])), rtol=0.02)
    kidneys = over_sizes.regions.index("kidneys")
    gain = np.exp(at_half[:, kidneys]) / np.exp(np.asarray(outlook_of(patient).surfaces.dose[0, 0][:, kidneys]))
    assert np.median(gain) > 1.01  # the sink is smaller
    assert gain.min() > 0.98  # draws with a small tumour: within the error of the polynomial


@pytest.mark.slow
def test_volume_is_planned_with_tumours_that_shrink(patient):
    made = plan(patient, objective="tumour_volume", cycles=3, interval_days=(42, 84))
    assert made.conflict is None
    assert [p.per for p in made.prices if p.bound == "shortest interval"] == ["day"]
    gaps = np.diff([a.time_h for a in made.administrations]) / 24
    np.testing.assert_allclose(gaps, 42.0, atol=0.1)


def test_what_if_is_the_forecast_of_plan(patient):
    made = plan(patient, cycles=3)
    answer = whatif(patient, made.administrations)
    np.testing.assert_allclose(answer.report.dose_Gy, made.forecast.dose_Gy, rtol=1e-9)
    [kidney] = [row for row in answer.limits if row.limit.name == "kidney_bed_40"]
    assert kidney.exceeded == pytest.approx(made.probability_exceeded["kidney_bed_40"])
    assert kidney.lower90_Gy < kidney.median_Gy < kidney.upper90_Gy


def test_a_slider_compiles_nothing(patient, caplog):
    whatif(patient, [7400.0, 7400.0])
    with jax.log_compiles(), caplog.at_level("WARNING"):
        for schedule, days in (([7000.0], 42), ([7400.0, 6000.0, 5000.0], 56), ([1000.0] * 6, 21)):
            whatif(patient, schedule, interval_days=days, trend_log_per_cycle=-0.1)
    assert not [r for r in caplog.records if "Compiling" in r.message]
    with jax.log_compiles(), caplog.at_level("WARNING"):
        jax.jit(lambda x: x + 2.0)(np.arange(7.0))  # the log does show what compiles
    assert [r for r in caplog.records if "Compiling" in r.message]


def test_what_if_units_and_outcomes(patient):
    by_text, by_number = whatif(patient, ["6 GBq"]), whatif(patient, [6000.0])
    np.testing.assert_array_equal(by_text.report.dose_Gy, by_number.report.dose_Gy)
    found = by_number.outcomes
    assert found is not None
    assert found.volume_share is not None
    assert found.psa_share is not None
    for band in (found.volume_share, found.psa_share, found.platelets_per_nL):
        assert np.all(band[0] <= band[1])
        assert np.all(band[1] <= band[2])
    assert found.platelets_per_nL[1].min() < 229.0
    assert by_number.therapeutic_index.shape == (51,)
    assert set(by_number.table()["cycle"]) == {1, 2, "cumulative"}


def test_the_activity_band_is_that_of_a_solve(patient, plain):
    from twin.verbs import band

    answer = whatif(patient, [7400.0])
    time_h, middle, low, high = answer.activity["kidney_left"]
    assert time_h[0] > answer.administrations[0].time_h
    again = band(patient, 1, time_h - answer.administrations[0].time_h)["kidney_left"]
    # the coming cycle has the drift on top of the same kinetics: wider, with a median near the first cycle's
    np.testing.assert_allclose(middle, again[0], rtol=0.12)
    assert np.mean(np.log(high / low)) > np.mean(np.log(again[2] / again[1]))


def test_the_whole_body_holds_more_than_its_organs(patient):
    from twin.verbs import band

    bands = band(patient, 1, [4.0, 48.0], also=("whole_body",))
    organs = [name for name in bands if name not in ("whole_body", "remainder", "kidneys")]
    parts = np.sum([bands[name][0] for name in organs], axis=0)
    assert np.all(bands["whole_body"][0] > parts)
    assert "whole_body" not in band(patient, 1, [4.0])


def test_the_outlook_is_made_once(patient):
    assert outlook_for(patient) is outlook_for(patient)
    assert outlook_for(replace(patient)) is not outlook_for(patient)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda p: whatif(p, [7400.0] * 13), "1 to 12"),
        (lambda p: whatif(p, [-5.0]), "activity_MBq"),
        (lambda p: whatif(p, ["7.4 Gy"]), "MBq"),
        (lambda p: whatif(p, [7400.0], interval_days=-3), "above 0"),
        (lambda p: whatif(outlook_of(p), [7400.0], amount_nmol=2000.0), "amounts_nmol"),
        (lambda p: whatif(p, ()), "1 to 12"),
        (lambda p: outlook_of(p, amounts_nmol=(50.0, 20.0)), "low <= high"),
    ],
)
def test_mistakes_are_told(patient, call, words):
    with pytest.raises(InputError, match=words):
        call(patient)


def test_before_therapy_the_first_cycle_is_at_time_0_and_without_a_tumour_activity_counts():
    pet = Administration(0, -48.0, 150.0, 3.0, 0.0, "PSMA-11", "68Ga")
    one = np.ones(1)
    seen = Observations(("kidneys",), one, 8 * one, 0.3 * one, np.nan * one, ("PET",), (0,))
    study = replace(synthetic.empty_study(), volumes_mL={}, administrations=(pet,), observations=seen)
    twin = calibrate(study, draws=51)
    made = plan(twin, cycles=2)
    assert made.objective == "activity"
    assert [a.time_h for a in made.administrations] == [0.0, 1008.0]
    answer = whatif(twin, [7400.0])
    assert np.isnan(answer.therapeutic_index).all()
    assert answer.outcomes is not None
    assert answer.outcomes.volume_share is None


def test_cycles_that_touch_are_told(patient):
    close = whatif(patient, [3000.0] * 3, interval_days=7)
    assert "still there in the next" in close.warnings[-1]
    assert not whatif(patient, [3000.0] * 3, interval_days=42).warnings


def test_unequal_lesions_are_read_at_the_size_of_all_and_hold_their_own_share(patient):
    """A gram of a lesion takes up what the blood lets it, whatever its own size; its activity goes with its size."""
    from twin.outlook.read import _own_size, _reader

    found = outlook_of(patient, response=True).surfaces
    share = found.lesion_mL / found.lesion_mL.sum()
    draws, lesions = found.dose.shape[2], len(found.lesions)
    equal, uneven = np.zeros((draws, lesions)), np.zeros((draws, lesions))
    equal[:] = np.log(0.5)
    uneven[:, 0], uneven[:, 1:] = np.log(0.25), np.log((0.5 - 0.25 * share[0]) / (1 - share[0]))
    one = found.amount.basis(np.array([found.amount.low]))[0]
    doses = [np.asarray(_reader(found, one, x, share)(found.dose)) for x in (equal, uneven)]
    np.testing.assert_allclose(doses[0], doses[1], rtol=1e-6)
    own = np.asarray(_own_size(found, uneven, share))
    np.testing.assert_allclose(own[:, found.lesions[0]], 0.5, rtol=1e-6)
    assert np.all(np.delete(own, found.lesions, axis=1) == 1.0)
