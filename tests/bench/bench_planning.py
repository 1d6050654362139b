"""Seconds of a what-if and of a whole plan, warm, beside a direct solve and the times asked for."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests import synthetic
from tests.bench import bench, best_of

SCHEDULE, MOVED = [7400.0] * 6, [7000.0, 6000.0, 6000.0, 5000.0, 5000.0, 4000.0]


@cache
def _patient():
    from twin.verbs import calibrate

    study, _ = synthetic.with_scans(synthetic.empty_study(), np.random.default_rng(4))
    return calibrate(study, draws=200)


def _whatif(**options) -> float:
    """Every call another schedule, as a slider makes them."""
    from twin.what_if import whatif

    moves = iter([*np.linspace(1000, 7400, 12)])
    whatif(_patient(), SCHEDULE, **options)
    return best_of(lambda: whatif(_patient(), [next(moves), *MOVED[1:]], **options), repeats=9)


@bench("planning/what-if, 200 draws, bands, limits and outcomes, warm", unit="s", peer="asked", peer_value=0.2)
def everything():
    return _whatif()


@bench("planning/what-if, 200 draws, bands and limits, warm", unit="s", peer="the same schedule solved directly, warm")
def bands():
    from twin.forecast import dose_report
    from twin.what_if import outlook_for, schedule_of

    planned = schedule_of(outlook_for(_patient()), SCHEDULE)
    course = (*_patient().study.administrations, *planned)
    direct = best_of(lambda: dose_report(_patient(), course, frozenset({1})), repeats=3)
    return _whatif(with_outcomes=False), direct


@bench(
    "planning/first what-if of a twin, surfaces made, programs warm", unit="s", peer="asked of a page", peer_value=10.0
)
def first():
    from dataclasses import replace

    from twin.what_if import whatif

    whatif(_patient(), SCHEDULE)
    return best_of(lambda: whatif(replace(_patient()), SCHEDULE), repeats=3, warm_up=0)


def _plan(objective: str, **choices) -> float:
    from twin.planning import plan

    return best_of(lambda: plan(_patient(), None, objective, cycles=7, **choices), repeats=2)


@bench("planning/plan, activities of 6 cycles, 200 draws, warm", unit="s", peer="asked", peer_value=10.0)
def activities():
    return _plan("mean_tumour_dose")


@bench("planning/plan, activity, amount and interval of 6 cycles, 200 draws, tumours that shrink, warm", unit="s",
       peer="asked", peer_value=10.0)  # fmt: skip
def three_variables():
    return _plan("tumour_volume", amount_nmol=(40.0, 250.0), interval_days=(42.0, 84.0))


@bench(
    "planning/plan, activity and amount of each of 6 cycles, 200 draws, warm", unit="s", peer="asked", peer_value=10.0
)
def amount_per_cycle():
    return _plan("worst_lesion_eubed", amount_nmol=(40.0, 250.0), amount_per_cycle=True)


@bench("planning/front of 9 points, 6 cycles, 200 draws, warm", unit="s", peer="asked of a plan", peer_value=10.0)
def front_of_nine():
    from twin.planning import front

    return best_of(lambda: front(_patient(), cycles=7), repeats=2)


@bench(
    "planning/plan with a stop rule, up to 6 cycles, 4 sets of scans, 200 draws, warm", unit="s", peer="asked",
    peer_value=10.0,
)  # fmt: skip
def stop_rule():
    return _plan("mean_tumour_dose", stop_at=("kidney_bed_40",))
