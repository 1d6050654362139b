"""The posterior by NUTS, the reference for the faster approximations (Hoffman and Gelman, JMLR 2014;15:1593; numpyro).

Chains move in coordinates in which the Laplace approximation is standard normal, so the metric is right from the start
and trajectories are short. All chains are lanes of one solve, and gradients come from the hand-written adjoint.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np

from calibration.fit import Fitted
from calibration.forward import observe
from calibration.problem import Problem

CHAINS, WARMUP, SAMPLES = 4, 300, 1000
ACCEPT = 0.9
"""Shorter steps than the usual 0.8 asks for: rates that the data hold loosely make long, curved ridges."""
SPREAD = 1.5
"""Chains begin at draws from the Laplace approximation made this much wider."""
RHAT_LIMIT, ESS_LIMIT = 1.01, 400.0
"""Rank-normalised R-hat and bulk effective sample size that a converged run keeps (Vehtari et al., Bayesian Analysis
2021;16:667)."""


@dataclass(frozen=True)
class Chains:
    """`offsets` [chain, sample, parameter] of the log; `diagnostics`: worst R-hat, least bulk and tail effective sample
    size over parameters, number of divergences, leapfrog steps a sample; `warnings` where a limit is broken."""

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
    """Sample the posterior that `fitted` has the optimum of."""
    import numpyro.infer

    prob, metric = fitted.problem, _metric(fitted)
    run = numpyro.infer.MCMC(
        numpyro.infer.NUTS(potential_fn=potential(fitted, metric), target_accept_prob=ACCEPT, dense_mass=True),
        num_warmup=warmup,
        num_samples=samples,
        num_chains=chains,
        chain_method="vectorized",
        progress_bar=False,
    )
    key, begin = jax.random.split(jax.random.key(seed))
    start = SPREAD * jax.random.normal(begin, (chains, len(prob.names)))
    run.run(key, init_params=start, extra_fields=("diverging", "num_steps"))
    u = np.asarray(run.get_samples(group_by_chain=True))
    offsets = prob.mean + (fitted.optimum.z[:, 0] + u @ metric.T) @ prob.cholesky.T
    extra = {name: np.asarray(x) for name, x in run.get_extra_fields(group_by_chain=True).items()}
    return Chains(prob.names, offsets, diagnosed(offsets) | _trajectories(extra))


def _metric(fitted: Fitted) -> np.ndarray:
    """M with M M' the inverse information of the whitened offsets: z = optimum + M u."""
    return np.linalg.inv(np.linalg.cholesky(fitted.optimum.information[0])).T


def _loss(z, exp, data):
    """Negative log posterior [lane] of whitened offsets [parameter, lane] (`problem`)."""
    mean, cholesky, sd, observed = data
    seen = observe(exp, mean[:, None] + cholesky @ z, adjoint=True).log_activity[: len(sd)]
    return 0.5 * (jnp.sum(((seen - observed) / sd[:, None]) ** 2, axis=0) + jnp.sum(z**2, axis=0))


def _data(prob: Problem):
    return tuple(jnp.asarray(x) for x in (prob.mean, prob.cholesky, prob.sd, prob.log_observed))


def potential(fitted: Fitted, metric: np.ndarray):
    """Negative log posterior of one chain's u [parameter], whose `jax.vmap` solves all chains as lanes of one solve."""
    exp, data = fitted.experiment, _data(fitted.problem)
    centre, m = jnp.asarray(fitted.optimum.z), jnp.asarray(metric)

    @jax.jit
    def lanes(u):
        value, back = jax.vjp(lambda u: _loss(centre + m @ u.T, exp, data), u)
        return value, back(jnp.ones_like(value))[0]

    @jax.custom_batching.custom_vmap
    def one(u):
        value, gradient = lanes(u[None])
        return value[0], gradient[0]

    @one.def_vmap
    def _many(_, __, u):
        return lanes(u), (True, True)

    @jax.custom_vjp
    def negative_log_posterior(u):
        return one(u)[0]

    negative_log_posterior.defvjp(lambda u: one(u), lambda gradient, bar: (bar * gradient,))
    return negative_log_posterior


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
    return {"divergences": float(extra["diverging"].sum()), "leapfrogs": float(extra["num_steps"].mean())}
