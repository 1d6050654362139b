"""theratwin: patient digital twins for radiopharmaceutical therapy. Research software, not a medical device.

A patient twin is an immutable value; each verb is a pure function that returns a new one. The names below load on first
use, so that `import twin` brings in no heavy library.
"""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

__version__ = "0.1.0"

_HOME = Path(__file__).resolve().parent.parent
_EXPORTS = {
    "Study": "twin.patient",
    "PatientTwin": "twin.patient",
    "DoseReport": "twin.patient",
    "Plan": "twin.patient",
    "Observations": "calibration.observations",
    "Administration": "pbpk.administration",
    "Covariates": "pbpk.parameters",
    "read_study": "twin.study",
    "calibrate": "twin.verbs",
    "predict": "twin.verbs",
    "band": "twin.verbs",
    "plan": "twin.verbs",
    "whatif": "twin.what_if",
    "WhatIf": "twin.what_if",
    "Limit": "twin.constraints",
    "limit": "twin.constraints",
    "read_limits": "twin.constraints",
    "Choices": "twin.planning",
    "front": "twin.planning",
    "radiobiology": "twin.planning",
    "scan_worth": "twin.planning",
    "outlook_of": "twin.outlook",
    "write_results": "twin.results",
    "configure": "twin._jax",
    "adapt": "twin.verbs",
    "best_scans": "twin.designs",
    "save": "twin.store",
    "open": "twin.store",
    "estimate_population": "twin.population",
    "load_population": "twin.population_files",
    "save_population": "twin.population_files",
}
__all__ = [*_EXPORTS, "__version__"]  # pyright: ignore[reportUnsupportedDunderAll]


def _refuse_foreign_packages() -> None:
    """A user's own dose.py beside the script would shadow ours: say so instead of failing in odd places."""
    for name in ("dose", "pbpk", "imaging", "calibration"):
        spec, ours = find_spec(name), _HOME / name / "__init__.py"
        found = Path(spec.origin).resolve() if spec and spec.origin else None
        if found != ours:
            raise ImportError(
                f'twin needs its own package "{name}": found {found or "nothing"}; expected {ours}. To do: rename '
                "the file or folder that was found, or start Python elsewhere; if nothing was, install theratwin again."
            )


_refuse_foreign_packages()


def __getattr__(name: str):
    """Import an exported name when it is first asked for (PEP 562)."""
    if name not in _EXPORTS:
        raise AttributeError(f'module "twin" has no "{name}"; it offers {", ".join(sorted(_EXPORTS))}')
    value = getattr(import_module(_EXPORTS[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
