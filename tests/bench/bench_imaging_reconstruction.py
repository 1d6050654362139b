"""OSEM of 4 iterations with 8 subsets, attenuation and blur; all but compiling counts, sensitivities included."""

from __future__ import annotations

from importlib.util import find_spec

from imaging.reconstruct.osem import osem
from tests.bench import Skipped, bench, best_of
from tests.validate.checks_imaging_reconstruction import RESPONSE, OSEM_4x8, noisy, phantom


def whole_osem(edge: int, views: int, repeats: int) -> float:
    """Seconds from the projections and the system to the image."""
    system, acquisition = phantom(edge, views)[1], noisy(edge, views, seed=0)
    return best_of(lambda: osem(acquisition, system, iterations=4, subsets=8), repeats=repeats)


@bench("imaging/OSEM 4x8 64^3 x 60", unit="s", peer="asked", peer_value=5.0)
def small():
    return whole_osem(64, 60, repeats=3)


@bench("imaging/OSEM 4x8 128^3 x 120", unit="s", peer="asked", peer_value=120.0)
def large():
    return whole_osem(128, 120, repeats=1)


@bench("imaging/OSEM 4x8 64^3 x 60, beside PyTomography", unit="s", peer="PyTomography 3.4, same run")
def beside_pytomography():
    if find_spec("pytomography") is None:
        raise Skipped("PyTomography is not installed (extra spect)")
    from imaging.reconstruct.engine import pytomography_osem

    attenuation, acquisition = phantom(64, 60)[4], noisy(64, 60, seed=0)
    run = lambda: pytomography_osem(acquisition, OSEM_4x8, response=RESPONSE, attenuation_per_mm=attenuation)
    return whole_osem(64, 60, repeats=2), best_of(run, repeats=1, warm_up=0)
