"""Forward and back projection with attenuation and blur, beside PyTomography on the same machine in the same run."""

from __future__ import annotations

import time

from tests.bench import bench, best_of
from tests.imaging_projector import phantom, pytomography_forward, system

PEER = "PyTomography 3.4, same run"


def ours_s(edge: int, views: int, pixel_mm: float) -> tuple[float, float]:
    """Seconds of forward and of back."""
    made, image, mu = phantom(edge, views, pixel_mm)
    ours = system(made, mu)
    counts = ours.forward(image)
    forward = best_of(lambda: ours.forward(image).block_until_ready(), repeats=3)
    return forward, best_of(lambda: ours.back(counts).block_until_ready(), repeats=3)


def theirs_s(edge: int, views: int, pixel_mm: float) -> float:
    """Seconds of their forward with its set-up, once: it takes a minute at 128^3."""
    made, image, mu = phantom(edge, views, pixel_mm)
    begin = time.perf_counter()
    pytomography_forward(made, image, mu)
    return time.perf_counter() - begin


@bench("imaging/forward projection 64^3 x 60", unit="s", peer=PEER)
def small():
    theirs_s(16, 4, 20.0)  # imports
    return ours_s(64, 60, 6.8)[0], theirs_s(64, 60, 6.8)


@bench("imaging/forward projection 128^3 x 120", unit="s", peer=PEER)
def large():
    return ours_s(128, 120, 4.8)[0], theirs_s(128, 120, 4.8)


@bench("imaging/forward and back projection 64^3 x 60, limit", unit="s", peer="limit", peer_value=1.0)
def small_pair():
    return sum(ours_s(64, 60, 6.8))


@bench("imaging/forward and back projection 128^3 x 120, limit", unit="s", peer="limit", peer_value=25.0)
def large_pair():
    return sum(ours_s(128, 120, 4.8))
