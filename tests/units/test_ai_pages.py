"""The tables that validation writes into docs/ai."""

from __future__ import annotations

from tests.validate.ai_pages import fill_pages

ROW = {
    "key": "ai/toy/earns: error",
    "value": [1.0, 2.0, -1.0, -1.5, -0.5],
    "unit": "%",
    "tolerance": "below",
    "pass": True,
}
OTHER = {"key": "ai/toys/error", "value": 3.0, "unit": "%", "tolerance": "2", "pass": False}


def test_rows_appear_between_their_marks_and_nowhere_else(tmp_path):
    page = tmp_path / "toy.md"
    page.write_text("before\n<!-- results:ai/toy -->\nstale words\n<!-- /results -->\nafter\n")
    fill_pages([ROW, OTHER], tmp_path)
    text = page.read_text()
    assert "| earns: error | 1 | 2 | -1 (-1.5 to -0.5) | % | below | yes |" in text
    assert "stale" not in text
    assert "toys" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    fill_pages([ROW, OTHER], tmp_path)
    assert page.read_text() == text


def test_a_row_that_asks_for_nothing_says_no_yes(tmp_path):
    page = tmp_path / "toys.md"
    page.write_text("<!-- results:ai/toys -->\n<!-- /results -->\n")
    for passed, word in ((True, "-"), (False, "**no**")):
        fill_pages([OTHER | {"tolerance": "reported", "pass": passed}], tmp_path)
        assert f"| reported | {word} |" in page.read_text()


def test_a_missed_row_shows(tmp_path):
    page = tmp_path / "toys.md"
    page.write_text("<!-- results:ai/toys -->\n<!-- /results -->\n")
    fill_pages([ROW, OTHER], tmp_path)
    assert "| error | 3 |  |  | % | 2 | **no** |" in page.read_text()
