"""Names that nothing defines. ruff's own rule is off, as it takes the axes of jaxtyping's shapes for names."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tokenize
from pathlib import Path

PACKAGES = ("twin", "pbpk", "imaging", "dose", "calibration", "tests", "docs")


def undefined(root: Path, *folders: str) -> list[str]:
    """Places of names that nothing defines, those within strings left out."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "check",
        "--isolated",
        "--select",
        "F821",
        "--output-format",
        "json",
        *folders,
    ]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    found = json.loads(done.stdout)
    return [f"{hit['filename']}:{hit['location']['row']} {hit['message']}" for hit in found if not in_string(hit)]


def in_string(hit: dict) -> bool:
    """Whether a finding lies within a string, as axes of shapes do."""
    place = (hit["location"]["row"], hit["location"]["column"] - 1)
    text = Path(hit["filename"]).read_text(encoding="utf-8")
    strings = [t for t in tokenize.generate_tokens(io.StringIO(text).readline) if t.type == tokenize.STRING]
    return any(token.start <= place < token.end for token in strings)


def test_every_name_is_defined(repository):
    assert undefined(repository, *PACKAGES) == []


def test_a_name_that_nothing_defines_is_caught(tmp_path):
    (tmp_path / "a.py").write_text(
        'from jaxtyping import Float\n\n\ndef f(x: Float["array", " organ"]):\n    return log(x)\n'
    )
    found = undefined(tmp_path, "a.py")
    assert len(found) == 1
    assert "log" in found[0]
