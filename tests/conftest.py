"""House rules of every test: float64, no network, no screen, fixed seeds. Warnings are errors by pyproject.toml."""

from __future__ import annotations

import os

os.environ["MPLBACKEND"] = "Agg"

import gc
import socket
from pathlib import Path

import numpy as np
import pytest

from twin._jax import configure

configure()

REPOSITORY = Path(__file__).resolve().parent.parent
SHARED = REPOSITORY.parent / "shared"
LOCAL_FAMILIES = tuple(getattr(socket, name) for name in ("AF_UNIX",) if hasattr(socket, name))


class NetworkUsed(RuntimeError):
    """A test or the code under test tried to open a connection."""


def _refuse(self, address, *_):
    if self.family not in LOCAL_FAMILIES:
        raise NetworkUsed("a connection was asked for; theratwin works without a network")
    return _OPEN(self, address)


_OPEN = socket.socket.connect


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    """Sockets are shut, but for those within this machine's kernel (AF_UNIX, used by asyncio)."""
    monkeypatch.setattr(socket.socket, "connect", _refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", _refuse)


MAPS, MOST_MAPS = Path("/proc/self/maps"), 20_000
"""Each compiled program holds several memory maps, and Linux gives a process 65 530."""


@pytest.fixture(autouse=True, scope="module")
def _room_for_programs():
    """Compiled programs are dropped after a module once there are many; the persistent cache keeps them."""
    yield
    if MAPS.exists() and MAPS.read_text().count("\n") > MOST_MAPS:
        import jax

        jax.clear_caches()
        gc.collect()


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator with a fixed seed."""
    return np.random.default_rng(20261121)


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference data beside the checkout; tests that need it are skipped where it isn't there."""
    if not (SHARED / "data").is_dir():
        pytest.skip("reference data not here: these numbers may be read by tests but not shipped")
    return SHARED
