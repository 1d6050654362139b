"""The PDF is printed whole by Chromium, or refused with what to do."""

from __future__ import annotations

import re
import stat

import pytest

from dose.errors import InputError
from twin import pdf as printing
from twin.pdf import pdf
from twin.results import write_results


@pytest.fixture
def html(tmp_path):
    path = tmp_path / "report.html"
    path.write_text("<!doctype html><title>t</title><p>one</p><p style='break-before: page'>two</p>")
    return path


def program(tmp_path, script: str):
    """A stand-in for Chromium."""
    path = tmp_path / "chromium"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


def test_a_page_becomes_a_pdf(html, tmp_path):
    try:
        found = printing.browser()
    except InputError:
        pytest.skip("no Chromium on this machine")
    content = pdf(html, tmp_path / "report.pdf", program=found).read_bytes()
    assert content.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b(?!s)", content)) == 2


def test_without_chromium_the_error_says_what_to_do(html, tmp_path, monkeypatch):
    monkeypatch.setattr(printing.shutil, "which", lambda name: None)
    with pytest.raises(InputError, match=r"install Chromium, or open report\.html"):
        pdf(html, tmp_path / "report.pdf")


def test_a_missing_page_is_refused_first(tmp_path):
    with pytest.raises(InputError, match="nothing at report.html"):
        pdf(tmp_path / "report.html", tmp_path / "report.pdf")


def test_a_chromium_that_cannot_print_the_notice_is_refused(html, tmp_path):
    old = program(tmp_path, "echo Chromium 120.0.6099.224 built on somewhere")
    with pytest.raises(InputError, match="131 or newer"):
        pdf(html, tmp_path / "report.pdf", program=old)


def test_a_failure_leaves_the_old_pdf(html, tmp_path):
    target = tmp_path / "report.pdf"
    target.write_bytes(b"%PDF old")
    with pytest.raises(InputError, match="none made .*cannot open display"):
        pdf(html, target, program=program(tmp_path, "echo cannot open display >&2; exit 1"))
    assert target.read_bytes() == b"%PDF old"


def test_a_browser_that_hangs_is_ended(html, tmp_path):
    with pytest.raises(InputError, match="nothing after 0.3 s"):
        pdf(html, tmp_path / "report.pdf", program=program(tmp_path, "sleep 60"), time_limit_s=0.3)


def test_a_browser_that_does_not_start_is_named(html, tmp_path):
    with pytest.raises(InputError, match="a Chromium that starts"):
        pdf(html, tmp_path / "report.pdf", program=str(tmp_path / "nothing"))


def test_new_results_take_the_old_pdf_away(results, tmp_path, monkeypatch):
    monkeypatch.setattr("twin.plots.png", lambda figure: b"")
    out = write_results(tmp_path / "out", *results)
    (out / "report.pdf").write_bytes(b"%PDF old")
    write_results(out, *results)
    assert not (out / "report.pdf").exists()
