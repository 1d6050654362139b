"""How theratwin sets up JAX: double precision, and compiled programs kept between runs.

Equinox's runtime checks are host callbacks, and a program with a callback is never written to JAX's compile cache.
With EQX_ON_ERROR=nan a failed check gives NaN instead; the verbs look for NaN and raise. The variable is read when
equinox is imported, so `configure` comes before that import.
"""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

KEEP_EVERY_PROGRAM_S = 0.0
"""Shortest compile worth keeping: all, as tracing and compiling cost more than the solves."""

KEEP_EVERY_SIZE_BYTES = -1
"""No smallest entry; JAX then also leaves file-system specific limits alone."""

_log = logging.getLogger(__name__)


def cache_folder() -> Path:
    """The user's cache folder for compiled programs (XDG on Linux, the native place on macOS and Windows)."""
    if os.environ.get("XDG_CACHE_HOME"):
        base = Path(os.environ["XDG_CACHE_HOME"])
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = Path.home() / ".cache"
    return base / "theratwin" / "jax"


def _writable(folder: Path) -> bool:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        _log.warning("compiled programs are not kept: cannot make the cache folder (%s)", type(problem).__name__)
        return False
    return os.access(folder, os.W_OK)


def configure() -> None:
    """Switch on float64 and the persistent compile cache. Safe to call again; call it before importing equinox."""
    os.environ.setdefault("EQX_ON_ERROR", "nan")
    import jax

    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_persistent_cache_min_compile_time_secs", KEEP_EVERY_PROGRAM_S)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", KEEP_EVERY_SIZE_BYTES)
    folder, chosen = cache_folder(), getattr(jax.config, "jax_compilation_cache_dir", None)
    if chosen is None and _writable(folder):
        jax.config.update("jax_compilation_cache_dir", str(folder))
