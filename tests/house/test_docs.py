"""What the documents promise exists: links, the two commands, the verbs of the first example."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import twin

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = sorted([*REPOSITORY.glob("*.md"), *(REPOSITORY / "docs").rglob("*.md")])
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)")


def name(path: Path) -> str:
    return path.relative_to(REPOSITORY).as_posix()


def blocks(language: str) -> list[str]:
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_each_link_leads_to_a_file(page):
    targets = [t for t in LINK.findall(page.read_text(encoding="utf-8")) if "://" not in t]
    assert [target for target in targets if not (page.parent / target).exists()] == []


def test_two_commands_set_up_everything():
    assert blocks("sh")[0].split("\n") == ["make demo", "make test", ""]


def test_each_make_target_of_the_readme_exists():
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    commands = re.findall(r"(?<!`)`(make [^`\n]+)`(?!`)", text) + blocks("sh")
    wanted = set(re.findall(r"\bmake ([a-z][a-z-]+)", "\n".join(commands)))
    assert wanted == set(re.findall(r"^([a-z][a-z-]*):", makefile, flags=re.MULTILINE))


def test_the_first_example_uses_names_that_are_offered():
    tree = ast.parse(blocks("python")[0])
    used = {n.attr for n in ast.walk(tree) if isinstance(n, ast.Attribute) and ast.unparse(n.value) == "twin"}
    assert used <= set(twin.__all__)
    assert {"read_study", "calibrate", "predict", "plan", "adapt", "save"} <= used


def test_the_research_notice_is_on_the_front_page():
    assert "Not a medical device" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
