"""One step of Rodas5P, a stiffly accurate Rosenbrock method of order 5 with an embedded error estimate.

Tableau: Steinebach, BIT Numer Math 2023;63:27. Each of the eight stages needs one linear solve with the same matrix.
The solve is wrapped in `jax.lax.custom_linear_solve`, so derivatives of any order, forward or reverse, cost further
structured solves and never differentiate the elimination itself.
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from pbpk.forms import Drive
from pbpk.kinetics import Rates

GAMMA = 0.21193756319429014
_A_ROWS = (
    (3.0,),
    (2.849394379747939, 0.45842242204463923),
    (-6.954028509809101, 2.489845061869568, -10.358996098473584),
    (2.8029986275628964, 0.5072464736228206, -0.3988312541770524, -0.04721187230404641),
    (-7.502846399306121, 2.561846144803919, -11.627539656261098, -0.18268767659942256, 0.030198172008377946),
)
_C_ROWS = (
    (-14.155112264123755,),
    (-17.97296035885952, -2.859693295451294),
    (147.12150275711716, -1.41221402718213, 71.68940251302358),
    (165.43517024871676, -0.4592823456491126, 42.90938336958603, -5.961986721573306),
    (24.854864614690072, -3.0009227002832186, 47.4931110020768, 5.5814197821558125, -0.6610691825249471),
    (30.91273214028599, -3.1208243349937974, 77.79954646070892, 34.28646028294783, -19.097331116725623,
     -28.087943162872662),
    (37.80277123390563, -3.2571969029072276, 112.26918849496327, 66.9347231244047, -40.06618937091002,
     -54.66780262877968, -9.48861652309627),
)  # fmt: skip
STAGES = 8


def _tableau() -> tuple[np.ndarray, np.ndarray]:
    a, c = np.zeros((STAGES, STAGES)), np.zeros((STAGES, STAGES))
    last = _A_ROWS[-1]
    for i, row in enumerate((*_A_ROWS, (*last, 1.0), (*last, 1.0, 1.0)), start=1):
        a[i, : len(row)] = row
    for i, row in enumerate(_C_ROWS, start=1):
        c[i, : len(row)] = row
    return a, c


A, C = _tableau()
WEIGHTS = np.append(A[-1, :-1], 1.0)
_CLOSED = np.linalg.inv(np.eye(STAGES) / GAMMA - C)
AT = _CLOSED.sum(axis=1)
"""Stage vectors of dt/dt = 1 over the step: weights of the time derivative; A @ AT are the stages' times."""
QUADRATURE = (WEIGHTS @ _CLOSED) @ (A + np.eye(STAGES))
"""A linear integral of the state over the step is h times it applied to y + QUADRATURE . k: as if it were a row."""
WEIGHTS_OF_RATES = WEIGHTS @ _CLOSED


def linear_solve(form, f, y, r: Rates, drive: Drive, shift, b):
    """x with (shift I - J(y)) x = b, differentiable in y, r and b; `f` is the factor at y, taken as constant."""
    solve = partial(form.solve, f, jax.lax.stop_gradient(r))
    transposed = jax.linear_transpose(solve, jax.ShapeDtypeStruct(b.shape, b.dtype))
    return jax.lax.custom_linear_solve(
        lambda x: shift * x - jacobian_product(form, y, r, drive, x),
        b,
        solve=lambda _, rhs: solve(rhs),
        transpose_solve=lambda _, rhs: transposed(rhs)[0],
    )


def jacobian_product(form, y, r: Rates, drive: Drive, x):
    return jax.jvp(lambda u: form.derivative(u, r, drive), (y,), (x,))[1]


def stages(form, y, r: Rates, drive: Drive, h):
    """The eight stage vectors, [stage, row, patient], of a step of `h` minutes from y [row, patient]."""
    a, c, at = (jnp.asarray(x, y.dtype) for x in (A, C, AT))
    shift = 1 / (h * GAMMA)
    f = form.factor(*jax.lax.stop_gradient((y, r, drive, shift)))
    by_time = form.time_derivative(y, r, drive) * h
    minutes = jnp.multiply.outer(jnp.asarray(A @ AT, y.dtype), h)

    def stage(i, k):
        u = y + _earlier(a[i], k)
        slope = form.derivative(u, r, drive.later(minutes[i], r.decay))
        rhs = slope + at[i] * by_time + _earlier(c[i], k) / h
        return jax.lax.dynamic_update_index_in_dim(k, linear_solve(form, f, y, r, drive, shift, rhs), i, 0)

    return jax.lax.fori_loop(0, STAGES, stage, jnp.zeros((STAGES, *y.shape), y.dtype))


def _earlier(weights, k):
    """Weighted sum of the stages before the last, written out: faster than a product of so short a vector."""
    return sum(weights[j] * k[j] for j in range(STAGES - 1))


def after(y, k):
    """State at the end of the step, and the local error estimate."""
    return y + jnp.tensordot(jnp.asarray(WEIGHTS, y.dtype), k, 1), k[STAGES - 1]
