"""Serving the planner page: on 127.0.0.1 alone, with a fresh token, until Ctrl-C.

The server is uvicorn around marimo's ASGI app, in this process: the twin is opened, calibrated if need be and its first
answer compiled before the address is told, and nothing outlives the command.
"""

from __future__ import annotations

import os
import secrets
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from dose.errors import InputError, describe

HOST = "127.0.0.1"
PAGE = Path(__file__).with_name("planner.py")
TOKEN_BYTES = 24
GRACE_S = 1
"""How long open connections may take to close at the end."""
LIGHT = {"display": {"theme": "light"}}
WAITING = 64
"""Connections that may wait while the server starts."""


@contextmanager
def told(words: str):
    """One line on stderr before the block."""
    sys.stderr.write(f"{words}\n")
    sys.stderr.flush()
    yield


def launch(
    path,
    port: int | None = None,
    open_browser: bool = True,
    *,
    tracer: str | None = None,
    step: Callable[[str], AbstractContextManager] = told,
) -> None:
    """Serve the planner page of `path` until Ctrl-C: a results folder, a saved twin, or a study to calibrate first.

    The address with its token goes to stderr. `port` None takes a free one; `step` shows what takes time.

    Raises:
        InputError: nothing at `path`, no twin and no study there, marimo or plotly missing, a port that is taken.
    """
    require_packages()
    path = checked_path(path)
    listening = bound(port)
    with listening:
        named_for_the_page(path, tracer)
        prepare(step)
        token = secrets.token_urlsafe(TOKEN_BYTES)
        serve(listening, token, open_browser)


def require_packages() -> None:
    missing = [name for name in ("marimo", "plotly") if find_spec(name) is None]
    if missing:
        do = "pip install 'theratwin[app]'"
        raise InputError(describe("planner page", f"{' and '.join(missing)} not installed", "the app extra", do))


def checked_path(path) -> Path:
    """The path, made absolute."""
    found = Path(path)
    if not found.exists():
        do = "give the folder that theratwin plan wrote, a saved twin, or a study"
        raise InputError(describe("planner page", f"nothing at {path}", "a twin or a study", do))
    return found.resolve()


def bound(port: int | None) -> socket.socket:
    """A socket that listens on 127.0.0.1, so that nobody takes the port before the server runs."""
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((HOST, port or 0))
        listening.listen(WAITING)
    except (OSError, OverflowError) as error:
        listening.close()
        found, do = f"port {port} ({error})", "choose another --port, or none for a free one"
        raise InputError(describe("--port", found, "a port that is free", do)) from error
    return listening


def named_for_the_page(path: Path, tracer: str | None) -> None:
    """Say in the environment what the page opens: the address holds no path and no name."""
    from twin.app.desk import PATH, TRACER

    os.environ[PATH] = str(path)
    os.environ[TRACER] = tracer or ""


def prepare(step: Callable[[str], AbstractContextManager]) -> None:
    """Open or calibrate the twin and answer once, so that programs are compiled before the page asks."""
    from twin.app.desk import page_desk
    from twin.app.settings import answers, first_settings

    with step("opening the twin and its surfaces"):
        desk = page_desk()
    with step("preparing the first answer"):
        answers(desk, first_settings(desk))


def serve(listening: socket.socket, token: str, open_browser: bool) -> None:
    """Run the server on a socket until Ctrl-C."""
    import uvicorn

    port = listening.getsockname()[1]
    config = uvicorn.Config(page_app(token, port), log_level="error", timeout_graceful_shutdown=GRACE_S)
    address = f"http://{HOST}:{port}/?access_token={token}"
    sys.stderr.write(f"planner page at {address}\nCtrl-C ends it\n")
    sys.stderr.flush()
    if open_browser:
        threading.Thread(target=webbrowser.open, args=(address,), daemon=True).start()
    with suppress(KeyboardInterrupt):
        uvicorn.Server(config).run(sockets=[listening])


def page_app(token: str, port: int):
    """The ASGI app of the page.

    At its end marimo's sessions are closed, as their threads would hold the process. The page is light whatever the
    user's marimo is set to: its figures and boxes are drawn for white.
    """
    import marimo
    from starlette.applications import Starlette
    from starlette.routing import Mount

    from twin.app.guard import only_here

    page: Any = marimo.create_asgi_app(quiet=True, token=token).with_app(path="/", root=str(PAGE)).build()

    states = [route.app.state for route in page.routes]
    for state in states:
        state.config_manager = state.config_manager.with_overrides(LIGHT)

    @asynccontextmanager
    async def closing(_app):
        yield
        for state in states:
            await state.session_manager.shutdown()

    return Starlette(routes=[Mount("/", app=only_here(page, port))], lifespan=closing)
