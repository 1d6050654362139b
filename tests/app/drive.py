"""Drives the planner page in Chromium: `python -m tests.app.drive JOURNEY FOLDER [SHOTS]` prints one JSON object.

A process of its own, as tests open no socket: it starts the server as a user would, opens the page and works it with
keys alone. JOURNEY is one of `JOURNEYS`; SHOTS is a folder for screenshots.
"""

from __future__ import annotations

import http.client
import io
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = (
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
)  # fmt: skip
SERVE = ("-m", "twin.cli", "app", "--no-browser")
PATIENCE_MS = 90_000
SETTLED_MS = 1000
WIDE, NARROW = (1440, 1000), (390, 844)
MOST_TABS = 60
ACTIVE = """() => {
  let e = document.activeElement;
  while (e && e.shadowRoot && e.shadowRoot.activeElement) e = e.shadowRoot.activeElement;
  return e;
}"""
LEAST = "least activity (GBq, counted negative) for the effect demanded"
EVERY, KIDNEY = "Activity of every cycle (GBq)", "#kidney-bed .value"


def missing() -> str:
    """Why the page cannot be driven here; empty where it can."""
    from importlib.util import find_spec

    absent = [name for name in ("marimo", "plotly", "playwright") if find_spec(name) is None]
    if absent:
        return f"{', '.join(absent)} not installed (the dev extra has them)"
    return "" if browser_path() else f"no browser on this machine ({', '.join(BROWSERS)})"


def browser_path() -> str | None:
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def dark_settings() -> tempfile.TemporaryDirectory:
    """A user's settings of marimo, dark: the page must not take them over."""
    folder = tempfile.TemporaryDirectory()
    place = Path(folder.name, "marimo")
    place.mkdir()
    (place / "marimo.toml").write_text('[display]\ntheme = "dark"\n', encoding="utf-8")
    return folder


class Server:
    """The page's server in a process of its own, and its address."""

    def __init__(self, folder: str):
        begin = time.perf_counter()
        self.settings = dark_settings()
        self.process = subprocess.Popen(
            [sys.executable, *SERVE, folder], cwd=REPOSITORY, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"XDG_CONFIG_HOME": self.settings.name},
        )  # fmt: skip
        self.said: list[str] = []
        self.address = self._address()
        threading.Thread(target=self._listen, daemon=True).start()
        self.seconds_to_start = time.perf_counter() - begin

    def _address(self) -> str:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.said.append(line)
            if "http://" in line:
                return "http://" + line.split("http://")[1].strip()
        raise RuntimeError("the server did not start: " + "".join(self.said))

    def _listen(self) -> None:
        """What the server says later: errors of cells."""
        assert self.process.stderr is not None
        self.said += self.process.stderr.readlines()

    @property
    def port(self) -> int:
        return int(self.address.split(":")[2].split("/")[0])

    @property
    def token(self) -> str:
        return self.address.split("access_token=")[1]

    def listens_on(self) -> list[str]:
        import psutil

        found = psutil.Process(self.process.pid).net_connections(kind="inet")
        return sorted({c.laddr.ip for c in found if c.status == psutil.CONN_LISTEN})

    def end(self) -> dict:
        """Ctrl-C; what is left of it after that."""
        import psutil

        family = psutil.Process(self.process.pid).children(recursive=True)
        begin = time.perf_counter()
        self.process.send_signal(signal.SIGINT)
        try:
            code = self.process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = None
        left = [p.pid for p in family if p.is_running()]
        self.settings.cleanup()
        return {"exit_code": code, "seconds_to_end": time.perf_counter() - begin, "left": left}


@contextmanager
def opened(server: Server, size):
    """A page of the server in a fresh browser; `page.asked` collects the hosts of requests that left the browser."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=browser_path(), args=list(FLAGS))
        page = browser.new_page(viewport={"width": size[0], "height": size[1]})
        page.set_default_timeout(PATIENCE_MS)
        hosts, refused = set(), set()
        page.on("requestfinished", lambda r: hosts.add(r.url.split("/")[2] if "//" in r.url else ""))
        page.on("requestfailed", lambda r: refused.add(f"{r.url.split('/')[2]} {r.failure}"))
        begin = time.perf_counter()
        page.goto(server.address)
        page.locator(KIDNEY).wait_for()
        seconds = time.perf_counter() - begin
        yield page, {"load_s": seconds, "hosts": hosts, "refused": refused}
        browser.close()


def plain(found: dict) -> dict:
    return {k: sorted(v) if isinstance(v, set) else v for k, v in found.items()}


def tab_to(page, locator) -> int:
    """Press Tab until the element has the focus; how often."""
    target = locator.element_handle()
    for count in range(1, MOST_TABS + 1):
        page.keyboard.press("Tab")
        if page.evaluate_handle(ACTIVE).evaluate("(a, b) => a === b", target):
            return count
    raise RuntimeError(f"{locator} cannot be reached with Tab")


def focus_shows(page) -> bool:
    """Whether the element with the focus is marked."""
    look = "e => { const s = getComputedStyle(e); return s.outlineStyle !== 'none' || s.boxShadow !== 'none' }"
    return page.evaluate_handle(ACTIVE).evaluate(look)


def seconds_to_change(page, key: str, selector: str = KIDNEY) -> float:
    """From a key to another number."""
    before = page.locator(selector).inner_text()
    begin = time.perf_counter()
    page.keyboard.press(key)
    changed = "([s, b]) => document.querySelector(s).innerText !== b"
    page.wait_for_function(changed, arg=[selector, before], polling="raf")
    return time.perf_counter() - begin


def settled(page, value):
    """The value, after the figures had time to follow."""
    page.wait_for_timeout(SETTLED_MS)
    return value


def slider(page, name: str):
    return page.get_by_role("slider", name=name, exact=True)


def button(page, name: str):
    return page.get_by_role("button", name=name, exact=True)


def overflows(page) -> list[float]:
    """By how much the page is wider than the window, and its widest part."""
    both = "[document.documentElement, document.querySelector('#App')]"
    return page.evaluate(f"() => {both}.map(e => e.scrollWidth - innerWidth)")


def shot(page, folder, name: str) -> None:
    """A screenshot of the whole page, in a window as high as it."""
    if folder:
        size = page.viewport_size
        page.evaluate("() => { document.querySelector('#App').scrollTop = 0 }")
        height = page.evaluate("() => document.querySelector('#App').scrollHeight")
        page.set_viewport_size({"width": size["width"], "height": height})
        page.wait_for_timeout(1500)
        small(page.screenshot(), Path(folder) / f"{name}.png")
        page.set_viewport_size(size)


def small(image: bytes, path: Path) -> None:
    """A PNG of 256 colours, chosen so that rare ones stay what they are."""
    from PIL import Image

    few = (
        Image.open(io.BytesIO(image)).convert("RGB").quantize(256, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    )
    few.save(path, optimize=True)


def short(server: Server, shots) -> dict:
    """Load, move a slider, optimise, export: with keys alone."""
    with opened(server, WIDE) as (page, found):
        page.wait_for_timeout(1500)
        found["tabs"] = tab_to(page, slider(page, EVERY))
        found["focus_shows"] = focus_shows(page)
        found["is_light"] = page.evaluate("() => !document.querySelector('.dark, .dark-theme')")
        found["moves_s"] = [settled(page, seconds_to_change(page, "ArrowLeft")) for _ in range(5)]
        found["hurried_moves_s"] = [seconds_to_change(page, "ArrowLeft") for _ in range(5)]
        found["median_move_s"] = statistics.median(found["moves_s"])
        found["said"] = page.locator("#status").inner_text()
        tab_to(page, button(page, "Optimise"))
        begin = time.perf_counter()
        page.keyboard.press("Enter")
        page.locator("#optimised").wait_for()
        found["optimise_s"] = time.perf_counter() - begin
        found["optimised"] = page.locator("#optimised").inner_text()
        tab_to(page, button(page, "Export report"))
        begin = time.perf_counter()
        page.keyboard.press("Space")
        page.locator("#exported").wait_for()
        found["export_s"] = time.perf_counter() - begin
        found["exported"] = page.locator("#exported p").inner_text()
        with page.expect_download() as download:
            page.get_by_text("Download report.html").click()
        found["downloaded_bytes"] = Path(download.value.path()).stat().st_size
        found["kidney"] = page.locator(KIDNEY).inner_text()
        found["address"] = page.url
        return plain(found | {"guard": guard(server)})


def keyboard(server: Server, shots) -> dict:
    """The names of everything that Tab reaches, in order, and whether each is seen to have the focus."""
    with opened(server, WIDE) as (page, found):
        page.wait_for_timeout(1500)
        tab_to(page, button(page, "Each cycle by itself"))
        page.keyboard.press("Enter")
        page.wait_for_timeout(500)
        page.evaluate("() => document.activeElement.blur()")
        names = [label(page) for _ in range(MOST_TABS) if page.keyboard.press("Tab") is None]
        return plain(found | {"reached": names})


def label(page) -> list:
    """Role, name and visible focus of the active element, as its labels say."""
    say = """e => {
      const root = e.getRootNode(), by = e.getAttribute('aria-labelledby');
      const own = e.getAttribute('aria-label') || (by && root.getElementById(by)?.innerText) || '';
      const tied = e.labels && e.labels.length ? e.labels[0].innerText : '';
      const said = (own || tied || e.innerText || '').trim().split('\\n')[0];
      return [e.getAttribute('role') || e.tagName.toLowerCase(), said];
    }"""
    return [*page.evaluate_handle(ACTIVE).evaluate(say), focus_shows(page)]


def looks(server: Server, shots) -> dict:
    """Both widths: loaded, optimised with the front, in conflict; by how much anything overflows."""
    out = {}
    for name, size in (("1440", WIDE), ("390", NARROW)):
        with opened(server, size) as (page, _):
            page.wait_for_timeout(2500)
            out[f"{name} loaded"] = overflows(page)
            shot(page, shots, f"planner_{name}_loaded")
            button(page, "Optimise").press("Enter")
            page.locator("#optimised").wait_for()
            button(page, "Pareto front").press("Enter")
            page.get_by_text("Best mean tumour BED").wait_for()
            page.get_by_role("switch").press("Space")
            page.get_by_text("never forecasts").wait_for()
            page.wait_for_timeout(2500)
            out[f"{name} optimised"] = overflows(page)
            shot(page, shots, f"planner_{name}_optimised")
            in_conflict(page)
            out[f"{name} conflict"] = overflows(page)
            out["conflict"] = page.locator("#conflict").inner_text()
            shot(page, shots, f"planner_{name}_conflict")
    return out


def in_conflict(page) -> None:
    """The label's effect asked for under a kidney limit that is too low for it."""
    page.get_by_label("Kidney limit", exact=True).select_option("BED 27 Gy")
    page.get_by_label("Objective", exact=True).select_option(LEAST)
    page.wait_for_timeout(1500)
    button(page, "Optimise").press("Enter")
    page.locator("#conflict").wait_for()
    page.wait_for_timeout(2500)


def asked(port: int, path: str, method: str = "GET", **headers) -> list:
    """Status and the first words of an answer; headers are given over those of a plain request."""
    link = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    body = fields.pop("body", None)
    link.request(method, path, body=body, headers=fields)
    answer = link.getresponse()
    try:
        text = answer.read(4000)
    except http.client.IncompleteRead as cut:
        text = cut.partial
    return [answer.status, text.decode("utf-8", "replace"), dict(answer.getheaders())]


UPGRADE = {
    "Connection": "Upgrade", "Upgrade": "websocket", "Sec_WebSocket_Version": "13",
    "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
}  # fmt: skip
OUTSIDE = (
    "/../../../../../../etc/passwd", "/%2e%2e/%2e%2e/%2e%2e/etc/passwd", "/assets/..%2f..%2f..%2f..%2fetc/passwd",
    "/public/../../../../../../etc/passwd", "/@file/100-..%2f..%2f..%2fetc%2fpasswd", "/files/etc/passwd",
)  # fmt: skip
EDITING = ("/api/kernel/run", "/api/files/list_files", "/api/kernel/save", "/api/terminal/open", "/api/packages/add")


def guard(server: Server) -> dict:
    """What the server answers to those who should get nothing."""
    port, token = server.port, server.token
    status = lambda *a, **k: asked(port, *a, **k)[0]
    mine = {"Authorization": f"Bearer {token}"}
    outside = [asked(port, path, **mine) for path in OUTSIDE]
    return {
        "without token": {p: status(p) for p in ("/", "/api/status", "/api/usage")},
        "wrong token": status("/?access_token=guess"),
        "socket without token": status("/ws?session_id=s_1", **UPGRADE),
        "with token": status("/", **mine),
        "other host": status("/", Host="evil.example", **mine),
        "other origin": status("/", Origin="http://127.0.0.1:1", **mine),
        "socket of another origin": status("/ws?session_id=s_1", Origin="http://127.0.0.1:1", **UPGRADE, **mine),
        "files outside": [[path, s, "root:" in text] for path, (s, text, _) in zip(OUTSIDE, outside, strict=True)],
        "editing": {p: status(p, "POST", body="{}", Content_Type="application/json", **mine) for p in EDITING},
        "policy": asked(port, "/", **mine)[2].get("content-security-policy", ""),
        "listens_on": server.listens_on(),
    }


JOURNEYS = {"short": short, "keyboard": keyboard, "looks": looks}


def main(journey: str, folder: str, shots: str | None = None) -> dict:
    """Run a journey; the server is ended whatever happens."""
    server = Server(folder)
    found: dict = {}
    try:
        found = JOURNEYS[journey](server, shots)
    finally:
        ended = server.end()
        sys.stderr.writelines(server.said)
    return found | ended | {"seconds_to_start": server.seconds_to_start}


if __name__ == "__main__":
    print(json.dumps(main(*sys.argv[1:])))
