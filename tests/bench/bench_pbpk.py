"""The structured solver beside general stiff solvers: one patient, one cycle of six weeks, 100 nmol of 177Lu-PSMA-617.

The peer, scipy's Radau, solves the same equations in the same run, with the Jacobian compiled from the model by JAX.
"""

from __future__ import annotations

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
from scipy.integrate import solve_ivp

from pbpk.general import absolute_tolerance, solve_general
from pbpk.kinetics import rates
from pbpk.model import right_hand_side
from pbpk.solve import AUDIT_RTOL, PLANNING_RTOL, freeze, solve, solve_on
from pbpk.state import rows, species_rows, unpack
from tests.bench import bench, best_of
from tests.reference.reference_pbpk import WEEKS_6_MIN, bolus, default_patient

RADAU = "scipy Radau, rtol 1e-6, Jacobian compiled by JAX, one patient, same run"
DRAWS = 51
SPREAD = 0.3
"""Log standard deviation of receptors and release between draws."""
PARAMETERS = ("receptors", "release", "internalisation", "permeability", "k_on", "k_off", "excreted_fraction",
              "filtration", "plasma_flow", "vascular")  # fmt: skip
CYCLE = bolus(end_min=WEEKS_6_MIN)


@cache
def radau_ms() -> float:
    """One solve by scipy, everything compiled before."""
    kin = default_patient()
    r, nothing, organs = rates(kin), jnp.zeros((2, 1)), len(kin.organs)
    f = lambda y: right_hand_side(y[:, None], r, nothing)[:, 0]
    compiled, jacobian = jax.jit(f), jax.jit(jax.jacfwd(f))
    y0 = np.zeros(rows(organs))
    y0[5 * organs], y0[species_rows(organs) + 5 * organs] = CYCLE.bolus_nmol[0]
    options = {"method": "Radau", "rtol": 1e-6, "atol": np.asarray(absolute_tolerance(kin, CYCLE))[:, 0]}

    def work():
        done = solve_ivp(
            lambda _, y: np.asarray(compiled(y)),
            (0, WEEKS_6_MIN),
            y0,
            jac=lambda _, y: np.asarray(jacobian(y)),
            **options,
        )
        assert done.success, done.message

    return best_of(work, repeats=2) * 1e3


def structured_ms(kin, rtol) -> float:
    return best_of(lambda: solve(kin, CYCLE, rtol=rtol).y.block_until_ready()) * 1e3


def drawn():
    """Patients of one batch: receptors and release vary."""
    rng = np.random.default_rng(7)
    kin = jax.tree.map(lambda x: jnp.repeat(x, DRAWS, axis=-1), default_patient())
    vary = lambda x: x * np.exp(SPREAD * rng.normal(size=x.shape))
    return kin.__class__(**{**vars(kin), "receptors": vary(kin.receptors), "release": vary(kin.release)})


@bench("pbpk/one patient-cycle, audit tolerance", unit="ms", peer=RADAU)
def audit():
    return structured_ms(default_patient(), AUDIT_RTOL), radau_ms()


@bench("pbpk/one patient-cycle, planning tolerance", unit="ms", peer=RADAU)
def planning():
    return structured_ms(default_patient(), PLANNING_RTOL), radau_ms()


@bench(f"pbpk/batch of {DRAWS} draws, planning tolerance, per draw", unit="ms", peer=RADAU)
def batch():
    return structured_ms(drawn(), PLANNING_RTOL) / DRAWS, radau_ms()


@bench("pbpk/value and gradient of kidney TIA by 10 parameters, audit grid", unit="ms", peer=RADAU)
def gradient():
    kin = default_patient()
    grid, kidney = freeze(kin, CYCLE), kin.organs.index("kidney_left")

    def log_tia(theta):
        factors = dict(zip(PARAMETERS, jnp.exp(theta), strict=True))
        changed = kin.__class__(**{**vars(kin), **{name: f * getattr(kin, name) for name, f in factors.items()}})
        return jnp.log(unpack(solve_on(changed, grid)[-1], len(kin.organs)).integrals.organ[kidney, 0])

    both = jax.jit(jax.value_and_grad(log_tia))
    return best_of(lambda: jax.block_until_ready(both(jnp.zeros(len(PARAMETERS)))), repeats=3) * 1e3, radau_ms()


@bench("pbpk/one patient-cycle, diffrax Kvaerno5 (general door), rtol 1e-6", unit="ms", peer=RADAU)
def general():
    kin = default_patient()

    def work(seg):
        assert not solve_general(kin, seg, rtol=1e-6).failed

    work(bolus(end_min=1.0))  # compiles; a whole cycle takes too long to be solved twice
    return best_of(lambda: work(CYCLE), repeats=1, warm_up=0) * 1e3, radau_ms()
