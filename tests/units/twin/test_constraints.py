"""Limits as data: files of one's own, and what is refused in them."""

from __future__ import annotations

import re

import pytest

from dose.errors import InputError
from twin.constraints import default_limits, read_limits
from twin.schedules import label_schedule

OWN = """set_by = "tumour board"
[[limits]]
name = "kidney_bed_27"
tail = 0.1
[[limits]]
name = "glands"
region = "parotid"
quantity = "dose_Gy"
value_Gy = 20
per = "cycle"
rule = "cvar"
"""


@pytest.fixture
def read(tmp_path):
    def from_text(text):
        path = tmp_path / "limits.toml"
        path.write_text(text)
        return read_limits(path)

    return from_text


def test_the_file_of_the_page_is_read(read, repository):
    page = (repository / "docs" / "planning.md").read_text(encoding="utf-8")
    [text] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    kidney, marrow, tumour = read(text)
    assert (kidney.value_Gy, kidney.quantity, kidney.set_by) == (27.0, "bed_Gy", "tumour board, 2026-11-20")
    assert (marrow.per, marrow.rule) == ("cycle", "cvar")
    assert tumour.at_least
    assert tumour.words(0.05) == "tumours dose per course >= 60 Gy on average"


def test_a_known_limit_keeps_its_source(read):
    kidney, glands = read(OWN)
    assert kidney.source_id == "sundlov_2022"
    assert kidney.tail == 0.1
    assert glands.source_id == "the user's file"
    assert kidney.words(0.05) == "kidneys BED per course <= 27 Gy with 90% probability"
    assert default_limits()[0].set_by == "theratwin default"


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('set_by = "tumour board"', "", "set_by"),
        ("value_Gy = 20", "value_Gy = -2", "value_Gy"),
        ("value_Gy = 20\n", "", "all three"),
        ('rule = "cvar"', 'rule = "cvarr"', "rule"),
        ('name = "kidney_bed_27"', 'name = "kidney_bed_2"', "kidney_bed_2"),
        ("tail = 0.1", "tail = 0.9", "tail"),
        ("[[limits]]\nname", "[[limit]]\nname", "limit"),
        ('set_by = "tumour board"', "set_by = ", "TOML"),
    ],
)
def test_mistakes_are_told(read, old, new, words):
    with pytest.raises(InputError, match=words):
        read(OWN.replace(old, new, 1))


def test_a_file_that_is_not_there_is_told(tmp_path):
    with pytest.raises(InputError, match=r"limits\.toml"):
        read_limits(tmp_path / "limits.toml")


def test_labels():
    assert label_schedule("PSMA-617", "177Lu").words == "6 x 7.4 GBq every 6 weeks"
    assert label_schedule("DOTATATE", "177Lu").words == "4 x 7.4 GBq every 8 weeks"
    assert label_schedule("PSMA-617", "161Tb").source_id == "assumption"
    with pytest.raises(InputError, match="activity_cap"):
        label_schedule("PSMA-617", "67Cu")
