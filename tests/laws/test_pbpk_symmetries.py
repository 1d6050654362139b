"""What may not matter: the order of tumours, the units; and what must close: the flow through every node."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pbpk.kinetics import rates
from pbpk.model import blood, perfusion
from pbpk.solve import segments, solve
from pbpk.state import Ligand
from tests.reference.reference_pbpk import bolus, default_patient, flat

KIN = default_patient()
TIMES_MIN = (10.0, 240.0, 1440.0)
END_MIN = 10_080.0
ROUNDING = 1e-9
"""Of a peak: other units round otherwise, and a step may be rejected that was taken before."""


def hot(kin=KIN, scale=1.0, minutes=1.0):
    """Hot amounts [pool, organ, time] after a bolus; `scale` nmol and `minutes` per min are the units."""
    ask = np.asarray(TIMES_MIN) * minutes
    seg = bolus(100.0 * scale, 10.0 * scale, ask, END_MIN * minutes)
    return flat(solve(kin, seg, rtol=1e-9)).hot


def apart(a, b):
    """Largest difference over the peak of each pool that holds anything."""
    peak = np.max(np.abs(b), axis=-1)
    held = peak > 1e-10 * peak.max()
    return float(np.max(np.max(np.abs(a - b), axis=-1)[held] / peak[held]))


def times(**factors):
    names = list(factors)
    return eqx.tree_at(lambda k: [getattr(k, n) for n in names], KIN, [f * getattr(KIN, n) for n, f in factors.items()])


# tumours


def swapped(kin, fields):
    """The two tumours' rows of some fields exchanged."""
    order = list(range(len(kin.organs)))
    one, other = (kin.organs.index(t) for t in ("tumour_1", "tumour_rest"))
    order[one], order[other] = other, one
    names = [name for name in fields if getattr(kin, name).ndim == 2]
    return eqx.tree_at(
        lambda k: [getattr(k, n) for n in names], kin, [getattr(kin, n)[np.array(order)] for n in names]
    ), order


FIELDS = [name for name in vars(KIN) if isinstance(getattr(KIN, name), jax.Array)]


def test_the_order_of_tumours_does_not_matter():
    other, order = swapped(KIN, FIELDS)
    assert apart(hot(other), hot()[:, order]) <= ROUNDING


def test_tumours_that_exchange_receptors_only_are_other_tumours():
    """Negative control."""
    other, order = swapped(KIN, ["receptors"])
    assert apart(hot(other), hot()[:, order]) > 1e-3


# units


def test_litres_or_millilitres_give_the_same_amounts():
    volumes = ("plasma_flow", "vascular", "interstitial", "transit", "permeability", "filtration", "arterial", "venous")
    in_mL = times(**dict.fromkeys((*volumes, "k_on"), 1000.0))
    assert apart(hot(in_mL), hot()) <= ROUNDING


def test_nanomoles_or_picomoles_give_the_same_amounts():
    in_pmol = times(receptors=1000.0, k_on=1e-3)
    assert apart(hot(in_pmol, scale=1000.0) / 1000, hot()) <= ROUNDING


def test_minutes_or_seconds_give_the_same_amounts():
    rates_per_min = ("plasma_flow", "permeability", "filtration", "internalisation", "release", "nonsaturable",
                     "repair", "k_on", "k_off", "protein_binding", "protein_return", "decay")  # fmt: skip
    in_s = times(**dict.fromkeys(rates_per_min, 1 / 60))
    # the first step is a number of minutes, so the step sequence is another: errors of the solver remain
    assert apart(hot(in_s, minutes=60.0), hot()) <= 1e-7


@pytest.mark.parametrize("forgotten", ["k_on", "filtration"])
def test_a_forgotten_unit_is_seen(forgotten):
    """Negative control."""
    volumes = ["plasma_flow", "vascular", "interstitial", "transit", "permeability", "filtration", "arterial", "venous"]
    rest = [name for name in (*volumes, "k_on") if name != forgotten]
    assert apart(hot(times(**dict.fromkeys(rest, 1000.0))), hot()) > 1e-3


# flow


def net_flow(kin, r):
    """Transport into every vascular pool, vein and artery at one concentration everywhere, over the whole flow."""
    nothing = jnp.zeros((len(kin.organs), 1))
    few = lambda count: jnp.zeros((count, 1))
    pools = jnp.stack([kin.venous, kin.arterial, 0 * kin.venous])
    layout = kin.layout
    x = Ligand(kin.vascular, nothing, few(layout.kidneys), few(layout.specific), few(layout.specific), pools)
    no_binding = eqx.tree_at(lambda q: q.protein_binding, r, 0 * r.protein_binding)
    into = jnp.concatenate([perfusion(x, r)[:, 0], blood(x, no_binding, 0.0)[:2, 0]])
    return float(jnp.max(jnp.abs(into)) / jnp.sum(kin.plasma_flow[1:]))


def test_what_flows_into_a_node_flows_out():
    assert net_flow(KIN, rates(KIN)) <= 1e-14


@pytest.mark.parametrize("where", [1, 4])
def test_a_flow_that_is_lost_is_seen(where):
    """Negative control: the liver without what spleen and gut bring, and a kidney that keeps a tenth."""
    r = rates(KIN)
    leaking = eqx.tree_at(lambda q: q.outflow, r, r.outflow.at[where].multiply(0.9, unique_indices=True))
    assert net_flow(KIN, leaking) > 1e-3


def test_a_course_can_be_cut_anywhere():
    """The times asked for change the steps and nothing else."""
    ask = (*TIMES_MIN, 33.0, 777.0, 5000.0)
    cut = flat(solve(KIN, segments([0.0], [0.0], [100.0], [10.0], ask, END_MIN), rtol=1e-9)).hot[..., -1]
    assert apart(cut[..., None], hot()[..., -1:]) <= 1e-7
