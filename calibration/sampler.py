"""The posterior by NUTS, the reference for the faster approximations (Hoffman and Gelman, JMLR 2014;15:1593; numpyro).

Chains move in coordinates in which the Laplace approximation is standard normal, so the metric is right from the start
and trajectories are short. All chains are lanes of one solve. Trajectories follow the gradient of a polynomial that
stands in for the model (`emulator`; every point is weighed by the model itself), or, where that is not close enough,
the model's own by its hand-written adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from calibration.emulator import Emulator, emulator, mismatch
from calibration.fit import Fitted
from calibration.forward import observe
from calibration.problem import Problem

CHAINS, WARMUP, SAMPLES = 4, 300, 1000
ACCEPT = 0.9
"""Shorter steps than the usual 0.8 asks for: rates that the data hold loosely make long, curved ridges."""
SPREAD = 1.5
"""Chains begin at draws from the Laplace approximation made this much wider."""
TUNING = 1000
"""Draws of the stand-in's own density on which the step is tuned."""
CLOSE = 1.0
"""Sd of the error of the emulated log posterior above which trajectories follow the model's own gradient: the energy
error of a trajectory is about as large, and with more than this too few would be accepted."""
MOST_PARAMETERS = 40
"""Above this the stand-in's fit (terms grow as the square) takes longer and more memory than it saves."""
RHAT_LIMIT, ESS_LIMIT = 1.01, 400.0
"""Rank-normalised R-hat and bulk effective sample size that a converged run keeps (Vehtari et al., Bayesian Analysis
2021;16:667)."""


@dataclass(frozen=True)
class Chains:
    """`offsets` [chain, sample, parameter] of the log; `diagnostics`: worst R-hat, least bulk and tail effective sample
    size over parameters, number of divergences, leapfrog steps a sample, share of proposals accepted, and whether the
    stand-in steered (1) or the model's own gradient (0); `warnings` where a limit is broken."""

    names: tuple[str, ...]
    offsets: np.ndarray
    diagnostics: dict[str, float]

    @property
    def warnings(self) -> tuple[str, ...]:
        d, said = self.diagnostics, []
        if d["rhat"] > RHAT_LIMIT:
            said.append(f"R-hat {d['rhat']:.3f} above {RHAT_LIMIT}")
        if min(d["ess_bulk"], d["ess_tail"]) < ESS_LIMIT:
            said.append(f"effective sample size {min(d['ess_bulk'], d['ess_tail']):.0f} below {ESS_LIMIT:.0f}")
        if d["divergences"] > 0:
            said.append(f"{d['divergences']:.0f} divergent trajectories")
        return (f"NUTS has not converged: {'; '.join(said)}; run more samples",) if said else ()


def nuts(
    fitted: Fitted, *, chains: int = CHAINS, samples: int = SAMPLES, warmup: int = WARMUP, seed: int = 0
) -> Chains:
    """Sample the posterior that `fitted` has the optimum of.

    First steered by the stand-in; where that is not close to the model, or its chains do not converge (they tarry in
    tails that it does not know), by the model's own gradient, at some ten times the cost.
    """
    metric, rng = metric_of(fitted), np.random.default_rng(seed)
    key, begin = jax.random.split(jax.random.key(seed))
    start = SPREAD * jax.random.normal(begin, (chains, len(metric)))
    stand_in = _close_stand_in(fitted, metric, rng)
    if stand_in is not None:
        kernel, near = _warmed(stand_in, potential(fitted, metric, emulated_gradient(stand_in)), start, key)
        found = _chains(fitted, metric, _run(kernel, near, key, warmup, samples), steered=True)
        if not found.warnings:
            return found
    kernel = _kernel(potential(fitted, metric), dense_mass=True)
    return _chains(fitted, metric, _run(kernel, start, key, warmup, samples), steered=False)


def _close_stand_in(fitted: Fitted, metric: np.ndarray, rng) -> Emulator | None:
    if len(metric) > MOST_PARAMETERS:
        return None
    found = emulator(fitted, metric, rng)
    return found if mismatch(fitted, found, rng) < CLOSE else None


def _chains(fitted: Fitted, metric: np.ndarray, run, steered: bool) -> Chains:
    u = np.asarray(run.get_samples(group_by_chain=True))
    offsets = fitted.problem.mean + (fitted.optimum.z[:, 0] + u @ metric.T) @ fitted.problem.cholesky.T
    extra = {name: np.asarray(x) for name, x in run.get_extra_fields(group_by_chain=True).items()}
    return Chains(
        fitted.problem.names, offsets, diagnosed(offsets) | _trajectories(extra) | {"steered": float(steered)}
    )


def _warmed(stand_in: Emulator, density, start, key):
    """Kernel and starting points for `density`, the step tuned on the stand-in alone, at a ten thousandth of the cost.

    Tuned on the model, steps would shrink at every visit to a tail where the stand-in is poor, to no avail.
    """
    tuned: Any = _run(_kernel(lambda u: stand_in.loss(u[:, None])[0]), start, key, TUNING, 1).last_state
    step = float(np.median(tuned.adapt_state.step_size))
    return _kernel(density, step_size=step, adapt_step_size=False), tuned.z


def _kernel(density, **words):
    import numpyro.infer

    # the metric makes Laplace standard normal: there is no mass matrix to learn unless asked
    words = {"adapt_mass_matrix": words.get("dense_mass", False)} | words
    return numpyro.infer.NUTS(potential_fn=density, target_accept_prob=ACCEPT, **words)


def _run(kernel, start, key, warmup: int, samples: int):
    import numpyro.infer

    run = numpyro.infer.MCMC(
        kernel,
        num_warmup=warmup,
        num_samples=samples,
        num_chains=len(start),
        chain_method="vectorized",
        progress_bar=False,
    )
    run.run(key, init_params=start, extra_fields=("diverging", "num_steps", "accept_prob"))
    return run


def metric_of(fitted: Fitted) -> np.ndarray:
    """M with M M' the inverse information of the whitened offsets: z = optimum + M u."""
    return np.linalg.inv(np.linalg.cholesky(fitted.optimum.information[0])).T


def _loss(z, exp, data, adjoint: bool):
    """Negative log posterior [lane] of whitened offsets [parameter, lane] (`problem`)."""
    mean, cholesky, sd, observed = data
    seen = observe(exp, mean[:, None] + cholesky @ z, adjoint=adjoint).log_activity[: len(sd)]
    return 0.5 * (jnp.sum(((seen - observed) / sd[:, None]) ** 2, axis=0) + jnp.sum(z**2, axis=0))


def _data(prob: Problem):
    return tuple(jnp.asarray(x) for x in (prob.mean, prob.cholesky, prob.sd, prob.log_observed))


def potential(fitted: Fitted, metric: np.ndarray, gradient=None):
    """Negative log posterior of one chain's u [parameter], whose `jax.vmap` solves all chains as lanes of one solve.

    Its value is the model's; its derivative is `gradient` (of u), or the model's own if that is None.
    """
    exp, data = fitted.experiment, _data(fitted.problem)
    centre, m = jnp.asarray(fitted.optimum.z), jnp.asarray(metric)
    value = _all_chains(lambda u: _loss(centre + m @ u.T, exp, data, adjoint=False))

    def with_gradient(u):
        loss, back = jax.vjp(lambda u: _loss(centre + m @ u.T, exp, data, adjoint=True), u)
        return loss, back(jnp.ones_like(loss))[0]

    both = _all_chains(with_gradient) if gradient is None else lambda u: (value(u), gradient(u))

    @jax.custom_vjp
    def negative_log_posterior(u):
        return value(u)

    negative_log_posterior.defvjp(both, lambda slope, bar: (bar * slope,))
    return negative_log_posterior


def emulated_gradient(found: Emulator):
    """Gradient [parameter] of the emulated negative log posterior at u [parameter]."""
    return jax.grad(lambda u: found.loss(u[:, None])[0])


def _all_chains(of_chains):
    """A function of one chain's u whose `jax.vmap` calls `of_chains`, a function of u [chain, parameter]."""
    together = jax.jit(of_chains)

    @jax.custom_batching.custom_vmap
    def one(u):
        return jax.tree.map(lambda x: x[0], together(u[None]))

    @one.def_vmap
    def _many(_, __, u):
        found = together(u)
        return found, jax.tree.map(lambda _: True, found)

    return one


def diagnosed(draws: np.ndarray) -> dict[str, float]:
    """Worst R-hat and least effective sample sizes over the parameters of draws [chain, sample, parameter]."""
    from arviz_stats.base.array import array_stats

    of = lambda f, **words: [
        float(f(draws[..., k], chain_axis=0, draw_axis=1, **words)) for k in range(draws.shape[-1])
    ]
    return {
        "rhat": max(of(array_stats.rhat)),
        "ess_bulk": min(of(array_stats.ess, method="bulk")),
        "ess_tail": min(of(array_stats.ess, method="tail", prob=(0.05, 0.95))),
    }


def _trajectories(extra: dict[str, np.ndarray]) -> dict[str, float]:
    return {
        "divergences": float(extra["diverging"].sum()),
        "leapfrogs": float(extra["num_steps"].mean()),
        "accepted": float(extra["accept_prob"].mean()),
    }
