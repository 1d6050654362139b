"""Which scans to make: what each set of scan times would teach about this patient's doses, before it is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from calibration.belief import Belief
from calibration.design import TIMES_H, DesignTable, scan_designs
from calibration.observations import Observations
from dose.errors import InputError, describe
from dose.regions import is_tumour
from twin.body import Body, body_of
from twin.drawn import completed
from twin.forecast import reported_regions
from twin.patient import PatientTwin
from twin.population import first_belief, later_belief, population_in

DRAWS = 48
"""Posterior draws behind the expectation; more change the sd by less than a tenth of itself."""
USUAL = ("kidneys", "parotid")


def best_scans(
    twin: PatientTwin,
    *,
    quantities: Sequence[str] | None = None,
    regions: Sequence[str] | None = None,
    times_h: Sequence[float] = TIMES_H,
    scans: Sequence[int] = (1, 2),
    cycle: int | None = None,
) -> DesignTable:
    """Expected sd of the dose-relevant integrals after scans at each set of `times_h`, best set first.

    `quantities` are regions whose dose is wanted (default: kidneys, parotids and the named tumours), `regions` what
    a scan would measure (default: those measured so far, or else the quantities), `scans` the numbers of further
    scans. `cycle` defaults to the last one given. What was measured already stays known, so for one further scan
    this answers "which one is worth most now".

    Raises:
        InputError: no therapy administration yet, or names, times and numbers that cannot be used.
    """
    study = twin.study
    tracer = (study.ligand, study.nuclide)
    given = [a.cycle for a in study.administrations if a.cycle > 0 and (a.ligand, a.nuclide) == tracer]
    if not given:
        do = "add the planned administration to the study (twin.Study.administrations)"
        raise InputError(describe("administrations", "no therapy cycle", "the one that the scans follow", do))
    body = body_of(study)
    shown = reported_regions(body, twin)
    quantities = quantities or [r for r in shown if r in USUAL or is_tumour(r)]
    measured = [r for r in dict.fromkeys(study.observations.region) if r in shown or _side_of(r, shown)]
    cycle = max(given) if cycle is None else cycle
    belief, made = _before(twin, body, cycle)
    n = belief.parameters
    return scan_designs(
        body.courses,
        replace(body.prior, covariance=belief.covariance[:n, :n]),
        completed(twin, body).posterior.draws[:DRAWS],
        quantities=quantities,
        regions=regions or measured or quantities,
        times_h=times_h,
        scans=scans,
        cycle=cycle,
        made=made,
    )


def _side_of(region: str, shown) -> bool:
    """Whether a region is one side of a gland that is shown whole."""
    return region.removesuffix("_left").removesuffix("_right") in shown


def _before(twin: PatientTwin, body: Body, cycle: int) -> tuple[Belief, Observations]:
    """What was known before any scan of a cycle, and the scans made in it.

    Earlier cycles enter through the posterior they left, with the drift since; its share of calibration and recovery
    is then counted as the patient's, which makes expected sds a little too wide.
    """
    obs = twin.study.observations
    made = obs.select([max(c, 1) == cycle for c in obs.cycle])
    if cycle > twin.cycle:
        return later_belief(completed(twin, body), body.prior, cycle - twin.cycle), Observations.empty()
    past = [(c, posterior) for c, posterior in twin.earlier if c < cycle]
    if past:
        was = replace(twin, posterior=past[-1][1], earlier=())
        return later_belief(was, body.prior, cycle - past[-1][0]), made
    return first_belief(population_in(twin), twin.study, body.prior) or Belief.of(body.prior), made
