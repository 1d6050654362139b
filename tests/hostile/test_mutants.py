"""Damaged DICOM ends in a result or an ImageError, in time, in memory, and without a word of the patient's."""

from __future__ import annotations

import pydicom
import pytest

from dose.errors import ImageError
from tests.hostile import mutants
from tests.hostile.mutants import LIMIT_MB, leaks, mutant, outcome, run, words_during
from tests.hostile.seeds import CANARY, seeds


def checked(tally) -> None:
    assert tally.faults == []
    assert tally.growth_MB <= LIMIT_MB
    assert tally.outcomes["result"] > 0.05 * tally.outcomes.total(), "damage that is always noticed tries nothing"
    assert tally.outcomes["ImageError"] > 0.05 * tally.outcomes.total()


def test_2_000_mutants_end_in_a_result_or_an_image_error(tmp_path, capfd):
    checked(run(0, 2000, tmp_path))
    said = capfd.readouterr()
    assert leaks([said.out, said.err]) == []


@pytest.mark.nightly
def test_100_000_mutants_end_in_a_result_or_an_image_error(tmp_path):
    checked(run(2000, 100_000, tmp_path))


@pytest.mark.parametrize("k", range(6))
def test_the_undamaged_seeds_of_ours_are_read_and_their_text_stays_inside(tmp_path, k):
    for j, content in enumerate(seeds()[k]):
        (tmp_path / f"{j}.dcm").write_bytes(content)
        assert content.count(CANARY.encode()) >= 15
    name, words = outcome(tmp_path)
    assert (name, leaks(words)) == ("result", [])
    assert len(words) > 3


def test_mutants_are_the_same_each_time():
    assert mutant(7) == mutant(7)
    assert mutant(7) != mutant(8)


def test_a_reader_that_leaks_crashes_or_hangs_is_caught(tmp_path, monkeypatch):
    def leaking(_):
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ImageError("damaged") from error

    def slow(_):
        while True:
            pass

    monkeypatch.setattr(mutants, "read_folder", leaking)
    assert run(0, 1, tmp_path).faults
    monkeypatch.setattr(mutants, "read_folder", lambda _: {}["absent"])
    assert run(0, 1, tmp_path).outcomes == {"KeyError": 1}
    monkeypatch.setattr(mutants, "read_folder", slow)
    monkeypatch.setattr(mutants, "STUCK_S", 1)
    assert run(0, 1, tmp_path).outcomes == {"Stuck": 1}


def test_plain_pydicom_would_tell_the_patient(tmp_path):
    """The control: what the door keeps in, the reader behind it lets out."""
    content = seeds()[0][0].replace(b"LO\x0c\0" + CANARY.encode(), b"IS\x0c\0" + CANARY.encode())
    (tmp_path / "x.dcm").write_bytes(content)
    name, words = words_during(lambda: [element.value for element in pydicom.dcmread(tmp_path / "x.dcm")])
    assert leaks(words), name
