"""Virtual trials: cohorts of virtual patients, arms, an engine that loses nothing, and what came of it.

    from twin import trial
    done = trial.run_trial("psma-stop-rule", "out/stop-rule", patients=1000)
    print(trial.endpoint_table(done))

The names below load on first use.
"""

from __future__ import annotations

from importlib import import_module

_EXPORTS = {
    "run_trial": "twin.trial.running",
    "open_trial": "twin.trial.results",
    "Trial": "twin.trial.results",
    "read_design": "twin.trial.design",
    "design_of": "twin.trial.design",
    "TrialDesign": "twin.trial.design",
    "shipped_designs": "twin.trial.design",
    "endpoint_table": "twin.trial.statistics",
    "power_curve": "twin.trial.power",
    "survival_curves": "twin.trial.statistics",
    "write_report": "twin.report.trial",
}
__all__ = [*_EXPORTS]  # pyright: ignore[reportUnsupportedDunderAll]


def __getattr__(name: str):
    """Import an exported name when it is first asked for (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f'module "twin.trial" has no "{name}"; it offers {", ".join(sorted(_EXPORTS))}')
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
