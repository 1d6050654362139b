"""Only requests for this machine, from this page, and nothing asked of other hosts.

Requests under another host's name or from another page's origin are refused; the page is told to load nothing from
elsewhere (marimo's figures would otherwise ask a public host for MathJax).
"""

from __future__ import annotations

HOSTS = ("127.0.0.1", "localhost")
PLAIN_HEADERS = ((b"referrer-policy", "no-referrer"), (b"x-content-type-options", "nosniff"))
FORBIDDEN = 403
POLICY_VIOLATION = 1008
"""Close code of a websocket that may not be opened."""


def only_here(app, port: int):
    """An ASGI app that answers requests for 127.0.0.1 or localhost at `port`, from no origin but its own.

    The host check stops names that were pointed at this machine (DNS rebinding); the origin check stops pages of other
    ports, to which browsers send the same cookies.
    """

    headers = [(name, value.encode()) for name, value in (*PLAIN_HEADERS, (b"content-security-policy", policy(port)))]

    async def guarded(scope, receive, send):
        async def with_headers(message):
            if message["type"] == "http.response.start":
                message = message | {"headers": [*message["headers"], *headers]}
            await send(message)

        if scope["type"] in ("http", "websocket") and not is_own(scope["headers"], port):
            await _refused(scope, send)
        else:
            await app(scope, receive, with_headers)

    return guarded


def policy(port: int) -> str:
    """The content security policy: everything from this server; inline scripts and styles are marimo's own."""
    sockets = " ".join(f"ws://{host}:{port}" for host in HOSTS)
    parts = (
        "default-src 'self'",
        "script-src 'self' 'unsafe-inline' 'wasm-unsafe-eval'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "font-src 'self' data:",
        "worker-src 'self' blob:",
        f"connect-src 'self' {sockets}",
        "object-src 'none'",
        "base-uri 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
    return "; ".join(parts)


def is_own(headers, port: int) -> bool:
    """Whether host and, where there is one, origin are this server's."""
    own = {f"{host}:{port}" for host in HOSTS}
    named = {name: value.decode("latin-1") for name, value in headers if name in (b"host", b"origin")}
    origin = named.get(b"origin")
    return named.get(b"host") in own and (origin is None or origin in {f"http://{host}" for host in own})


async def _refused(scope, send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": POLICY_VIOLATION})
        return
    await send({"type": "http.response.start", "status": FORBIDDEN, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"this page answers on its own machine only"})
