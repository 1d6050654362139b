"""Reverse derivatives on a frozen grid by the discrete adjoint of the Rosenbrock step, written by hand.

Automatic reverse mode through a step stores and differentiates every operation of eight stages. The adjoint needs per
stage one transposed elimination and one product with the transposed Jacobian; what the parameters and the step's own
Jacobian contribute is gathered once per step. It is the derivative of the numbers that were computed, not of the
equation (PERFORMANCE.md section 3; discrete adjoints of Rosenbrock methods: Sandu, Daescu, Carmichael, Atmos Environ
2003;37:5083). States before each step are kept; stages are computed again on the way back.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pbpk import integrals as over_time
from pbpk.forms import FORMS, Drive
from pbpk.kinetics import Rates
from pbpk.rosenbrock import AT, GAMMA, STAGES, A, C, after, jacobian_product, linear_solve, stages


@partial(jax.custom_vjp, nondiff_argnums=(0, 1))
def states_after_steps(form_name: str, bed: bool, r: Rates, steps):
    """(y, integrals) after every step, [step, row, patient]; `steps` = (h_min, active, injected, infusion, ratio).

    `injected` [step, row, patient or 1] is added before a step, `infusion` is [step, species, patient or 1], `ratio`
    [step, patient]. Reverse derivatives reach `r`, `injected`, `infusion` and `ratio`; steps are held.
    """
    return _forward(form_name, bed, r, steps)[1]


def steps_by_scan(form_name: str, bed: bool, r: Rates, steps):
    """The same with automatic derivatives of any order and mode."""
    return _forward(form_name, bed, r, steps, jax.checkpoint)[1]


def _forward(form_name, bed, r: Rates, steps, wrap=lambda body: body):
    form, layout = FORMS[form_name], r.layout
    patients, dtype = r.outflow.shape[-1], r.outflow.dtype

    def body(now, item):
        h, active, injected, infusion, ratio = item
        now = (now[0] + injected, now[1])
        go = lambda now: _where(active, _step(form, *now, r, Drive(infusion, ratio), h), now)
        ended = jax.lax.cond(jnp.any(active), go, lambda now: now, now)
        return ended, (now, ended)

    begin = jnp.zeros((form.species * layout.rows, patients), dtype)
    _, (before, ended) = jax.lax.scan(wrap(body), (begin, over_time.start(layout, patients, bed, dtype)), steps)
    return before, ended


def _where(active, new, old):
    return jax.tree.map(lambda a, b: jnp.where(active, a, b), new, old)


def _step(form, y, integrals, r, drive, h):
    return _end(form, h, y, integrals, stages(form, y, r, drive, h), r)


def _end(form, h, y, integrals, k, r: Rates):
    hot = slice((form.species - 1) * r.layout.rows, None)
    return after(y, k)[0], over_time.advance(integrals, y[hot], k[:, hot], r, h)


def _forward_and_keep(form_name, bed, r, steps):
    before, ended = _forward(form_name, bed, r, steps)
    return ended, (r, steps, before)


def _backward(form_name, bed, kept, ended_bar):
    r, steps, before = kept
    form = FORMS[form_name]

    def body(carry, item):
        now_bar, r_bar = carry
        (h, active, _, infusion, ratio), now, ended_bar = item
        ended_bar = jax.tree.map(jnp.add, now_bar, ended_bar)
        drive = Drive(infusion, ratio)

        def back(ended_bar):
            stepped = _where(active, ended_bar, jax.tree.map(jnp.zeros_like, ended_bar))
            held = _where(active, jax.tree.map(jnp.zeros_like, ended_bar), ended_bar)
            now_bar, mine, drive_bar = _step_adjoint(form, now, r, drive, h, stepped)
            return jax.tree.map(jnp.add, now_bar, held), mine, drive_bar

        idle = lambda bar: (bar, jax.tree.map(jnp.zeros_like, r), jax.tree.map(jnp.zeros_like, drive))
        now_bar, mine, drive_bar = jax.lax.cond(jnp.any(active), back, idle, ended_bar)
        return (now_bar, jax.tree.map(jnp.add, r_bar, mine)), (now_bar[0], drive_bar)

    zero = jax.tree.map(lambda x: jnp.zeros_like(x[0]), before)
    start = (zero, jax.tree.map(jnp.zeros_like, r))
    (_, r_bar), (y_bar, drive_bar) = jax.lax.scan(body, start, (steps, before, ended_bar), reverse=True)
    h, active, injected, _, _ = steps
    not_a_number = np.zeros(active.shape, jax.dtypes.float0)
    injected_bar = _sum_to(y_bar, injected.shape)
    return r_bar, (jnp.zeros_like(h), not_a_number, injected_bar, drive_bar.infusion, drive_bar.ratio)


def _sum_to(x, shape):
    """Cotangent of an array that was broadcast along its last axis."""
    return x if x.shape == shape else jnp.sum(x, axis=-1, keepdims=True)


def _step_adjoint(form, now, r: Rates, drive: Drive, h, ended_bar):
    """Cotangents of state and integrals before a step, of the rates and of the drive, from those after it."""
    y, integrals = now
    k = stages(form, y, r, drive, h)
    _, end_vjp = jax.vjp(partial(_end, form, h), y, integrals, k, r)
    y_bar, integrals_bar, k_bar, r_bar = end_vjp(ended_bar)
    u = y + jnp.tensordot(jnp.asarray(A, y.dtype), k, 1)
    v, u_bar = _stages_adjoint(form, y, u, r, drive, h, k_bar)
    gathered = jax.vjp(partial(_weighted, form, h, u, k, v), y, r, drive)[1]
    more_y, more_r, drive_bar = gathered(jnp.ones((), y.dtype))
    y_bar = y_bar + jnp.sum(u_bar, axis=0) + more_y
    return (y_bar, integrals_bar), jax.tree.map(jnp.add, r_bar, more_r), drive_bar


def _stages_adjoint(form, y, u, r: Rates, drive: Drive, h, k_bar):
    """Stage by stage backwards: v solves the transposed system, u_bar is the cotangent of the stage's state."""
    a, c = jnp.asarray(A, y.dtype), jnp.asarray(C, y.dtype)
    shift = 1 / (h * GAMMA)
    f = form.factor(*jax.lax.stop_gradient((y, r, drive, shift)))
    transposed = jax.linear_transpose(lambda b: linear_solve(form, f, y, r, drive, shift, b), y)
    minutes = jnp.multiply.outer(jnp.asarray(A @ AT, y.dtype), h)

    def stage(j, carry):
        v, u_bar = carry
        i = STAGES - 1 - j
        mine = k_bar[i] + jnp.tensordot(a[:, i], u_bar, 1) + jnp.tensordot(c[:, i], v, 1) / h
        (v_i,) = transposed(mine)
        slope = lambda w: form.derivative(w, r, drive.later(minutes[i], r.decay))
        (u_i,) = jax.vjp(slope, u[i])[1](v_i)
        put = jax.lax.dynamic_update_index_in_dim
        return put(v, v_i, i, 0), put(u_bar, u_i, i, 0)

    return jax.lax.fori_loop(0, STAGES, stage, (jnp.zeros_like(k_bar), jnp.zeros_like(k_bar)))


def _weighted(form, h, u, k, v, y, r: Rates, drive: Drive):
    """Sum over stages of v with what each stage's equation takes from parameters, drive and the step's Jacobian."""
    minutes = jnp.multiply.outer(jnp.asarray(A @ AT, y.dtype), h)
    slopes = jax.vmap(lambda w, m: form.derivative(w, r, drive.later(m, r.decay)))(u, minutes)
    products = jax.vmap(lambda x: jacobian_product(form, y, r, drive, x))(k)
    by_time = h * form.time_derivative(y, r, drive)
    of_time = jnp.tensordot(jnp.asarray(AT, y.dtype), v, 1)
    return jnp.sum(v * (slopes + products)) + jnp.sum(of_time * by_time)


states_after_steps.defvjp(_forward_and_keep, _backward)
