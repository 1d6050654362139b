"""Sizes that may come out of a small file, and the Deflated transfer syntax inflated within them.

pydicom inflates without a bound (64 KB became 64 MB in 25 s, ENGINEERING notes 5.3), so it never sees a deflated file:
it gets one that we inflated.
"""

from __future__ import annotations

import io
import zlib

from dose.errors import ImageError, describe

DEFLATED, EXPLICIT_LITTLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.1"
MAX_EXPANDED_BYTES = 2 * 1024**3
FREE_BYTES, MAX_RATIO = 128 * 1024**2, 200
"""What a file may always become, and beyond that, by how much it may grow: empty label maps shrink a thousandfold and
stay under the first, while images shrink two- to twentyfold."""

_CHUNK = 2**20


def check_expansion(stored: int, expanded: int, where: str) -> None:
    """Refuse what would grow too far, before it does.

    Raises:
        ImageError: over `MAX_EXPANDED_BYTES`, or over `FREE_BYTES` and more than `MAX_RATIO` times the stored size.
    """
    if expanded > MAX_EXPANDED_BYTES or (expanded > FREE_BYTES and expanded > MAX_RATIO * stored):
        found = f"{stored} bytes that would become {expanded}"
        expected = f"at most 2 GiB, and beyond 128 MiB at most {MAX_RATIO} times the stored size"
        raise ImageError(describe(where, found, expected, "leave this file out, or export it uncompressed"))


def inflated(path, dataset_at: int, where: str) -> io.BytesIO:
    """A deflated file as Explicit VR Little Endian, held in memory; `dataset_at` is where its file meta ends.

    Raises:
        ImageError: a stream that grows too far or is cut short.
    """
    with path.open("rb") as stream:
        head = stream.read(dataset_at)
        body = _inflate(stream, where)
    return io.BytesIO(_with_explicit_syntax(head) + body)


def _inflate(stream, where: str) -> bytes:
    engine, parts, stored, expanded = zlib.decompressobj(-zlib.MAX_WBITS), [], 0, 0
    while not engine.eof:
        chunk = engine.unconsumed_tail or stream.read(_CHUNK)
        if not chunk:
            raise ImageError(describe(where, "a deflated stream cut short", "a whole file", "export or copy it again"))
        parts.append(engine.decompress(chunk, _CHUNK))
        stored += len(chunk) - len(engine.unconsumed_tail)
        expanded += len(parts[-1])
        check_expansion(stored, expanded, where)
    return b"".join(parts)


def _with_explicit_syntax(head: bytes) -> bytes:
    """The same file meta with the transfer syntax's last three characters, ".99", as padding."""
    return head.replace(DEFLATED.encode(), EXPLICIT_LITTLE.encode() + b"\0\0\0", 1)
