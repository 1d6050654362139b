"""Scan design: laws of information, patients whose best scan differs, and a small simulated calibration."""

from __future__ import annotations

import re

import numpy as np
import pytest

from calibration.design import _variance, scan_designs
from calibration.design_gradients import slopes
from calibration.forward import pool_weights
from calibration.observations import Observations
from dose.errors import InputError
from tests import synthetic
from twin.body import body_of
from twin.forecast import states, tia_MBq_h

TIMES_H = (4.0, 24.0, 96.0, 168.0)
QUANTITIES = ("kidneys", "tumour_1")


@pytest.fixture(scope="module")
def body():
    return body_of(synthetic.empty_study())


@pytest.fixture(scope="module")
def draws(body):
    rng = np.random.default_rng(3)
    return rng.multivariate_normal(np.zeros(len(body.prior.names)), body.prior.covariance, size=16, method="eigh")


@pytest.fixture(scope="module")
def ask(body, draws):
    def ask(draws=draws, **changes):
        chosen = {"quantities": QUANTITIES, "regions": synthetic.REGIONS, "times_h": TIMES_H, "scans": (1, 2, 3)}
        return scan_designs(body.courses, body.prior, draws, **chosen | changes)

    return ask


@pytest.fixture(scope="module")
def table(ask):
    return ask()


def row(table, *times_h):
    return next(r for r in table.rows if r.times_h == times_h)


def made(*times_h, activity_MBq=50.0, regions=synthetic.REGIONS) -> Observations:
    names = tuple(r for r in regions for _ in times_h)
    count = len(names)
    columns = np.tile(times_h, len(regions)), np.full(count, activity_MBq), np.full(count, 0.03 * activity_MBq)
    return Observations(names, *columns, np.full(count, np.nan), ("SPECT",) * count, (1,) * count)


def test_woodbury_gives_the_variance_of_the_full_inverse(rng):
    white, gradient = rng.standard_normal((2, 5, 9)), rng.standard_normal((2, 3, 9))
    root = rng.standard_normal((5, 5))
    covariance = root @ root.T + np.eye(5)
    information = np.eye(9) + white.swapaxes(1, 2) @ np.linalg.inv(covariance) @ white
    direct = np.einsum("dqp,dpr,dqr->dq", gradient, np.linalg.inv(information), gradient)
    assert _variance(white, gradient, covariance) == pytest.approx(direct, rel=1e-10)


def test_the_gradient_of_a_tia_is_that_of_independent_adaptive_solves(body, draws):
    """Central differences of `twin.forecast`: rtol 1e-4 gives 2e-6, over a step of 0.1 1e-4; truncation 1e-3."""
    wanted = np.stack([pool_weights(q, body.organs, frozenset()) for q in QUANTITIES])
    found = slopes(body.courses, made(24.0), body.prior.names, draws[:1], wanted)
    end = np.array([body.first.end_min])
    for name in ("filtration", "release/kidney_left", "receptor_density/tumour_1"):
        k = body.prior.names.index(name)
        shift = 0.05 * np.eye(len(body.prior.names))[k]
        tia = tia_MBq_h(states(body.first, body.prior.names, draws[0] + [shift, -shift], end), body.first)[:, 0]
        up, down = np.log(wanted @ tia).T
        assert found.tia_by[0, :, k] == pytest.approx((up - down) / 0.1, abs=2e-3)


def test_each_scan_adds_information(table):
    for design in table.rows:
        for time_h in design.times_h if len(design.times_h) > 1 else ():
            fewer = row(table, *(t for t in design.times_h if t != time_h))
            assert np.all(design.information_nats > fewer.information_nats)
            assert np.all(design.log_sd < fewer.log_sd)
    assert np.all(table.best(1).log_sd < table.before_log_sd)


def test_rows_are_ranked_and_the_cost_is_what_is_lost_to_the_best(table):
    for scans in (1, 2, 3):
        worth = [r.information_nats.mean() for r in table.of(scans)]
        assert worth == sorted(worth, reverse=True)
        assert [r.cost_nats for r in table.of(scans)] == pytest.approx([worth[0] - w for w in worth])
    assert "168" in str(table)


def test_ranked_by_one_quantity_its_sharpest_design_comes_first(table):
    by_tumour = table.ranked_by("tumour_1")
    gain = [r.information_nats[1] for r in by_tumour.of(2)]
    assert gain == sorted(gain, reverse=True)


def test_a_tumour_that_keeps_its_ligand_wants_a_later_scan(body, ask):
    """Same question, two patients: release of tumour_1 at a third and at three times the median."""
    typical = np.zeros((1, len(body.prior.names)))
    k = body.prior.names.index("release/tumour_1")
    unit = np.eye(len(body.prior.names))[k]
    times_h = (24.0, 48.0, 72.0, 96.0, 120.0, 168.0)
    best = [
        ask(typical + x * unit, times_h=times_h, scans=(1,), quantities=("tumour_1",)).best().times_h[0]
        for x in (-np.log(3), np.log(3))
    ]
    assert best[0] > best[1]


def test_what_is_worth_most_next_depends_on_what_was_made(ask):
    """After an early scan a late one, after a late one an early one."""
    after_early, after_late = (ask(scans=(1,), made=made(t)).best().times_h[0] for t in (24.0, 168.0))
    assert after_early > 24.0
    assert after_late < 168.0


def test_scans_already_made_are_in_the_spread_before(ask, table):
    after = ask(scans=(1,), made=made(24.0))
    assert np.all(after.before_log_sd < table.before_log_sd)
    assert np.all(after.best().log_sd < after.before_log_sd)


def test_scanning_one_organ_says_little_of_another(ask):
    """The control of `regions`: kidneys alone do not tell the tumour's dose."""
    alone = ask(regions=("kidney_left", "kidney_right"))
    both = ask()
    assert row(alone, 24.0, 168.0).log_sd[1] > 3 * row(both, 24.0, 168.0).log_sd[1]


def test_more_noise_is_a_wider_answer(ask, table):
    noisy = ask(counting_sd=0.3)
    assert np.all(row(noisy, 24.0, 168.0).log_sd > row(table, 24.0, 168.0).log_sd)


def test_the_page_runs_as_it_stands(repository, capsys):
    text = (repository / "docs" / "identifiability.md").read_text(encoding="utf-8")
    code = re.findall(r"```python\n(.*?)```", text, re.S)[0]
    assert "draws = 64" in code
    page: dict = {}
    exec(code.replace("draws = 64", "draws = 16"), page)  # noqa: S102 - the page is ours
    assert "parameters learnt" in capsys.readouterr().out
    assert page["plan"].best(2).times_h[0] == 24.0
    assert page["plan"].best(2).times_h[1] >= 96.0
    assert page["plan"].ranked_by("kidneys").best().times_h[0] in (48.0, 72.0)
    assert page["third"].ranked_by("tumour_1").best().times_h[0] >= 120.0


@pytest.mark.slow
def test_expected_sd_is_the_error_of_simulated_calibrations():
    """24 patients: the sampling error of a root mean square is 14 %, three of which are allowed."""
    from tests.validate import checks_design

    times_h = (24.0, 168.0)
    errors = checks_design.map_errors(times_h, 24)
    ratio = np.sqrt(np.mean(errors**2, axis=0)) / checks_design.expected(times_h)
    assert np.all((ratio > 0.58) & (ratio < 1.42))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"times_h": (24.0, 24.0)}, "different finite hours"),
        ({"times_h": (0.0, 24.0)}, "above 0"),
        ({"scans": (5,)}, "numbers from 1 to 3"),
        ({"scans": ()}, "numbers from 1 to 3"),
        ({"cycle": 7}, "cycle"),
        ({"counting_sd": 3.0}, "0.03 is 3 %"),
        ({"quantities": ("kidnys",)}, "kidney"),
        ({"regions": ("bladder",)}, "regions|parameter"),
        ({"draws": np.zeros((2, 3))}, "Posterior.draws"),
    ],
)
def test_bad_input_is_refused(ask, changes, words):
    with pytest.raises(InputError, match=words):
        ask(**changes)
