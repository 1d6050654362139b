"""Whether this installation can work: versions, precision, cores, cache and output folder."""

from __future__ import annotations

import os
import platform
from pathlib import Path

from dose.errors import TheratwinError
from twin.report import versions
from twin.results import check_writable


def diagnose(out) -> dict[str, tuple[bool, str]]:
    """Name of each check -> (whether it is well, words)."""
    from twin._jax import cache_folder, configure

    configure()
    import jax
    import jax.numpy as jnp

    from pbpk.batch import cores

    precision = str(jnp.zeros(()).dtype)
    versions_now = versions()
    cache = Path(getattr(jax.config, "jax_compilation_cache_dir", None) or cache_folder())
    return {
        "python": (True, f"{platform.python_version()} on {platform.system()} {platform.machine()}"),
        "versions": ("jax" in versions_now, ", ".join(f"{n} {v}" for n, v in versions_now.items())),
        "double precision": (precision == "float64", f"jax computes in {precision}"),
        "devices": (True, ", ".join(str(device) for device in jax.devices())),
        "cores": (True, f"{cores()} usable of {os.cpu_count()}"),
        "compile cache": (os.access(cache, os.W_OK), f"{cache}, {_size_MB(cache):.0f} MB"),
        "tables": _tables(),
        "output folder": _folder(out),
    }


def _size_MB(folder: Path) -> float:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file()) / 1e6 if folder.is_dir() else 0.0


def _tables() -> tuple[bool, str]:
    from dose.nuclides import known_nuclides
    from dose.regions import known_regions

    try:
        return True, f"{len(known_nuclides())} nuclides, {len(known_regions())} regions"
    except TheratwinError as error:
        return False, str(error)


def _folder(out) -> tuple[bool, str]:
    try:
        return True, f"{check_writable(out).resolve()} can be written"
    except TheratwinError as error:
        return False, str(error)
