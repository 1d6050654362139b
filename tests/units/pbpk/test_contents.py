"""Voiding schedules, what is refused, recommended times, and the worked example of docs/contents.md."""

import math
import re
import runpy

import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.nuclides import radionuclide
from pbpk.contents import FIRST_MIN, GROWTH, REGIONS, ROUTES, contents, excretion_times_min
from pbpk.series import _moments
from pbpk.solve import segments, solve
from pbpk.voiding import GUT, FirstOrderVoiding, Voiding, gut_transit_per_d, urine_mL_per_d
from tests.reference.reference_pbpk import bolus, default_patient

KIN = default_patient()
SEG = bolus(100.0, 10.0, excretion_times_min(0.0, 0.0, 1440.0), 1440.0)
ONCE = np.zeros(1)


def held(voiding, seg=SEG, **options):
    return contents(solve(KIN, seg, rtol=1e-4, bed=False), KIN, seg, voiding, **options)


# schedules


def test_voids_come_every_interval_until_the_next_administration_starts_anew():
    times, later = Voiding(4.0, first_void_h=1.0).voids_min(np.array([0.0, 600.0]), 1000.0)
    np.testing.assert_allclose(times, [60, 300, 540, 660, 900])
    assert later[0] == 1140


def test_without_a_first_void_one_interval_passes():
    np.testing.assert_allclose(Voiding(3.0).voids_min(ONCE, 600.0)[0], [180, 360, 540])


def test_a_void_due_at_night_waits_for_the_morning():
    """Given at 18 h; voids due at 22, 2, 6 and 10 h, asleep from 23 to 7."""
    night = Voiding(4.0, night_h=(23.0, 7.0), clock_h=18.0)
    np.testing.assert_allclose(night.voids_min(ONCE, 1000.0)[0], 60 * np.array([4, 13, 16]))


def test_a_residual_is_followed_until_nothing_is_left():
    for residual in (0.1, 0.5, 0.9):
        _, later = Voiding(4.0, residual_fraction=residual).voids_min(ONCE, 1000.0)
        assert residual ** len(later) <= 1e-17


def test_never_and_first_order_have_no_voids():
    for voiding in (Voiding(math.inf), FirstOrderVoiding.icrp()):
        assert [len(times) for times in voiding.voids_min(ONCE, 1e5)] == [0, 0]


def test_rates_are_those_of_icrp():
    np.testing.assert_array_equal(gut_transit_per_d("male"), [6, 2, 2, 2])
    np.testing.assert_array_equal(gut_transit_per_d("female"), [6, 1.5, 1.5, 1.5])
    assert FirstOrderVoiding.icrp("female").rate_per_min == 12 / 1440
    assert urine_mL_per_d() > urine_mL_per_d("female")


def test_mean_volume_is_half_of_what_an_interval_brings_and_more_with_a_residual():
    assert Voiding(6.0).mean_volume_mL(1600.0) == pytest.approx(200.0)
    # fills from 100 to 500 mL and is emptied to a fifth
    assert Voiding(6.0, residual_fraction=0.2).mean_volume_mL(1600.0) == pytest.approx(300.0)


@pytest.mark.parametrize(
    ("make", "field"),
    [
        (lambda: Voiding(0.0), "interval_h"),
        (lambda: Voiding(math.nan), "interval_h"),
        (lambda: Voiding(4.0, first_void_h=-1.0), "first_void_h"),
        (lambda: Voiding(4.0, first_void_h=math.inf), "first_void_h"),
        (lambda: Voiding(math.inf, first_void_h=1.0), "first_void_h"),
        (lambda: Voiding(4.0, residual_fraction=1.0), "residual_fraction"),
        (lambda: Voiding(4.0, residual_fraction=-0.1), "residual_fraction"),
        (lambda: Voiding(4.0, night_h=(22.0, 25.0)), "night_h"),
        (lambda: Voiding(4.0, night_h=(22.0,)), "night_h"),  # pyright: ignore[reportArgumentType]
        (lambda: FirstOrderVoiding(0.0), "rate_per_d"),
        (lambda: FirstOrderVoiding(math.inf), "rate_per_d"),
        (lambda: gut_transit_per_d("mail"), "male"),
    ],
)
def test_an_impossible_schedule_is_refused(make, field):
    with pytest.raises(InputError, match=field):
        make()


# the call


def test_shapes_are_time_region_patient_and_the_default_times_the_edges():
    here = held(Voiding(4.0))
    np.testing.assert_allclose(here.time_min, SEG.end_min)
    assert here.amount_nmol.shape == here.integral_nmol_min.shape == (len(SEG.end_min), len(REGIONS), 1)
    assert here.passed_nmol.shape == here.excreted_nmol.shape == (len(SEG.end_min), len(ROUTES), 1)
    assert here.integral_to_end_nmol_min.shape == (len(REGIONS), 1)


def test_a_void_at_an_asked_time_has_taken_place_and_the_order_asked_is_kept():
    here = held(Voiding(4.0), ask_min=[239.99, 240.0, 0.0, 1.0]).amount_nmol[:, 0, 0]
    assert here[0] > here[3] > 0
    assert here[1] == here[2] == 0


def test_a_void_on_an_edge_is_the_same_as_within_a_segment():
    on = bolus(100.0, 10.0, np.append(SEG.end_min[:-1], 240.0), 1440.0)
    one, other = (held(Voiding(4.0), seg, ask_min=[100.0, 300.0, 1000.0]).amount_nmol for seg in (SEG, on))
    np.testing.assert_allclose(one, other, rtol=1e-5)


def test_activity_and_tia_are_amount_and_integral():
    lu, here = radionuclide("177Lu"), held(Voiding(4.0))
    np.testing.assert_allclose(here.activity_MBq(lu), lu.activity_MBq_per_nmol * here.amount_nmol)
    # decays per hour of one nmol in MBq: TIA in MBq h over all atoms is the mean life
    np.testing.assert_allclose(here.tia_MBq_h(lu), here.integral_to_end_nmol_min * lu.activity_MBq_per_nmol / 60)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"ask_min": [-1.0]}, "ask_min"),
        ({"ask_min": [100.0, 2000.0]}, "ask_min"),
        ({"ask_min": [math.nan]}, "ask_min"),
        ({"transit_per_d": [6.0, 2.0]}, "transit"),
        ({"transit_per_d": [6.0, 2.0, 0.0, 2.0]}, "transit"),
    ],
)
def test_a_call_that_makes_no_sense_is_refused(options, field):
    with pytest.raises(InputError, match=field):
        held(Voiding(4.0), **options)


@pytest.mark.parametrize("asked", [(), (1440.0,)])
def test_contents_that_would_be_negative_or_more_than_was_given_are_refused(asked):
    """A solve that knows only the infusion's end, a day and the end gave a negative bladder or 4700 times the dose."""
    end_min = 22 * math.log(2) / float(KIN.decay[0])
    sparse = segments([0.0], [30.0], [100.0], [10.0], asked, end_min)
    with pytest.raises(InputError, match="excretion_times_min"):
        held(Voiding(4.0), sparse, ask_min=[60.0, 240.0, 1000.0])
    dense = segments([0.0], [30.0], [100.0], [10.0], excretion_times_min(0.0, 30.0, end_min), end_min)
    assert jnp.all(held(Voiding(4.0), dense, ask_min=[60.0, 240.0, 1000.0]).excreted_nmol < 10.0)


def test_segments_that_are_not_the_solutions_are_refused():
    with pytest.raises(InputError, match="seg"):
        contents(solve(KIN, SEG, rtol=1e-4, bed=False), KIN, bolus(100.0, 10.0, [60.0], 1440.0), Voiding(4.0))


def test_recommended_times_begin_after_each_dose_and_end_of_infusion():
    times = excretion_times_min([0.0, 1000.0], [0.0, 30.0], 3000.0)
    for begin, end in ((0.0, 1000.0), (1000.0, 1030.0), (1030.0, 3000.0)):
        here = times[(times > begin) & (times <= end)]
        assert here[0] == pytest.approx(begin + FIRST_MIN)
        np.testing.assert_allclose((here[1:] - begin) / (here[:-1] - begin), GROWTH)
        assert (end - begin) / (here[-1] - begin) <= GROWTH * (1 + 1e-12)
    assert excretion_times_min(0.0, 0.0, FIRST_MIN).size == 0


def test_infused_and_injected_ligand_is_voided_from_its_own_start():
    seg = segments([0.0, 1000.0], [0.0, 30.0], [100.0, 100.0], [10.0, 10.0], [1239.0, 1241.0], 1440.0)
    here = held(Voiding(4.0), seg, ask_min=[1239.0, 1241.0]).amount_nmol[:, 0, 0]
    assert here[0] > 10 * here[1]


@pytest.mark.parametrize("z", [0.0, 1e-9, 0.3, 0.999, 1.0, 1.001, 3.0, 8.0, 40.0])
def test_moments_are_integrals_of_powers_times_a_decay(z):
    x, w = np.polynomial.legendre.leggauss(60)
    x, w = (x + 1) / 2, w / 2
    expected = [np.sum(w * x**j * np.exp(-z * x)) for j in range(5)]
    np.testing.assert_allclose(_moments(jnp.asarray(z)), expected, rtol=1e-13)


@pytest.mark.slow
def test_the_page_runs_and_prints_its_numbers(repository, tmp_path):
    page = (repository / "docs" / "contents.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    assert len(blocks) == 1
    script = tmp_path / "example.py"
    script.write_text(blocks[0], encoding="utf-8")
    names = runpy.run_path(str(script))
    row = re.search(r"^\| every 4 h \| ([\d.]+) \| ([\d.]+) \|", page, flags=re.MULTILINE)
    assert row is not None
    found = names["tia_MBq_h"]["bladder"] / 7.4, names["wall_Gy"]["bladder"] / 7.4
    np.testing.assert_allclose(found, [float(x) for x in row.groups()], rtol=0.005)  # three digits are printed
    assert set(names["wall_Gy"]) == {"bladder", *GUT}
