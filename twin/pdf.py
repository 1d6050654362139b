"""The report as PDF, printed by Chromium without a window: the same page, its print style, A4.

The notice stands on every sheet by a margin box of the page's style, which Chromium knows since version 131; an older
one is refused rather than used without it.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

from dose.errors import InputError, describe
from twin.whole import write_whole

PROGRAMS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
OLDEST = 131
"""First version of Chromium that prints margin boxes."""
TIME_LIMIT_S = 120.0
FLAGS = (
    "--headless", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--no-pdf-header-footer",
)  # fmt: skip
ROOT_FLAGS = ("--no-sandbox",)
"""Chromium's sandbox does not work for the superuser."""


def browser() -> str:
    """The path of Chromium.

    Raises:
        InputError: none found.
    """
    found = next((path for name in PROGRAMS if (path := shutil.which(name))), None)
    if found is None:
        do = "install Chromium, or open report.html in any browser and print it to a file"
        raise InputError(describe("PDF", "no Chromium", f"one of {', '.join(PROGRAMS)} on the PATH", do))
    return found


def pdf(html_path, pdf_path, *, program: str | None = None, time_limit_s: float = TIME_LIMIT_S) -> Path:
    """Print a page to `pdf_path`, which is written whole or not at all; the page may be of any results folder.

    Raises:
        InputError: no such page, no Chromium or one too old, no PDF within the time, or a folder that can't be written.
    """
    page, target = Path(html_path).resolve(), Path(pdf_path)
    if not page.is_file():
        do = "run theratwin plan first, or give its results folder"
        raise InputError(describe("report", f"nothing at {page.name}", "a report.html", do))
    program = program or browser()
    _require_recent(program, time_limit_s)
    with tempfile.TemporaryDirectory(prefix="theratwin_pdf_", ignore_cleanup_errors=True) as folder:
        printed = Path(folder) / "report.pdf"
        flags = (*FLAGS, *(ROOT_FLAGS if _is_root() else ()), f"--user-data-dir={folder}/profile")
        said = _run([program, *flags, f"--print-to-pdf={printed}", page.as_uri()], time_limit_s)
        content = printed.read_bytes() if printed.is_file() else b""
    if not content.startswith(b"%PDF"):
        last = (said.strip().splitlines() or ["no message"])[-1][:200]
        raise InputError(describe("PDF", f"none made ({last})", "a PDF file", "print report.html from a browser"))
    write_whole(target, content)
    return target


def _require_recent(program: str, time_limit_s: float) -> None:
    """Refuse a Chromium that would leave the notice off the sheets; one that says no version is let pass."""
    said = re.search(r"\b(\d+)\.\d+\.\d+", _run([program, "--version"], time_limit_s))
    if said and int(said[1]) < OLDEST:
        do = "update it, or print report.html from a newer browser"
        raise InputError(describe("Chromium", f"version {said[1]}", f"{OLDEST} or newer", do))


def _run(command: list[str], time_limit_s: float) -> str:
    """What a program says, on either stream; its whole family is ended when the time is up.

    Raises:
        InputError: not over within the time, or it could not be started.
    """
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "stdin": subprocess.DEVNULL}
    try:
        process = subprocess.Popen(command, text=True, errors="replace", start_new_session=True, **streams)
    except OSError as error:
        do = "see that it can be started by hand"
        raise InputError(describe("PDF", f"{command[0]}: {error.strerror}", "a Chromium that starts", do)) from error
    try:
        return process.communicate(timeout=time_limit_s)[0]
    except subprocess.TimeoutExpired:
        _end(process)
        do = "try again on a quiet machine, or print report.html from a browser"
        raise InputError(describe("PDF", f"nothing after {time_limit_s:g} s", "a PDF file", do)) from None


def _end(process: subprocess.Popen) -> None:
    """End a program and what it started."""
    if hasattr(os, "killpg"):
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()
    process.communicate()


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0
