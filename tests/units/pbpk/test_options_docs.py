"""The code of docs/options.md runs as it stands and gives the table of the page."""

import re

import pytest


@pytest.fixture(scope="module")
def text(repository):
    return (repository / "docs" / "options.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    names: dict = {}
    exec(re.findall(r"```python\n(.*?)```", text, re.S)[0], names)  # noqa: S102 - the page is ours
    return names


def test_the_table_is_what_the_code_gives(page, text):
    rows = re.findall(r"^\| (\w+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", text, re.MULTILINE)
    assert len(rows) == 5
    for organ, *shown in rows:
        found = [page[name][organ] for name in ("standard", "returning", "bound")]
        assert [float(x) for x in shown] == pytest.approx(found, rel=5e-3), organ


def test_the_numbers_of_the_text_are_those_of_the_code(page, text):
    cortex, medulla, ratio = re.search(
        r"are ([\d.]+) in the cortex and ([\d.]+) in the medulla.*?leaves ([\d.]+)\s+times", text, re.S
    ).groups()
    assert [float(cortex), float(medulla)] == pytest.approx(page["left"], rel=5e-3)
    assert float(ratio) == pytest.approx(page["without_amino_acids"], rel=5e-3)
