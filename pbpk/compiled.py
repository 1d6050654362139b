"""How this package's programs are compiled: with the XLA emitter that suits many small loops.

On processors XLA's newer fusion emitter takes twice as long to compile these programs, which then run a quarter slower
(docs/performance.md). A version of XLA that no longer knows the option compiles without it.
"""

from __future__ import annotations

from functools import cache

import equinox as eqx
import jax

OPTIONS = {"xla_cpu_use_fusion_emitters": False}


@cache
def compiler_options() -> dict[str, bool]:
    """`OPTIONS`, or none of them where this XLA refuses them."""
    try:
        jax.jit(lambda x: x + 1, compiler_options=OPTIONS).lower(0.0).compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return OPTIONS


@cache
def compiled(function):
    """`function` as an `eqx.filter_jit` program with `compiler_options`; the same program each time it is asked for."""
    return eqx.filter_jit(function, compiler_options=compiler_options())
