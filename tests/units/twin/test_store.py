"""A twin on disk: what comes back, and that nothing half written is ever left."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from dose.errors import InputError
from pbpk.anatomy import Anatomy
from twin import store
from twin.body import tables


def test_a_saved_twin_comes_back_the_same(patient, tmp_path):
    again = store.open(store.save(patient, tmp_path / "p"))
    assert again.study.administrations == patient.study.administrations
    assert again.study.covariates == patient.study.covariates
    assert again.study.observations.region == patient.study.observations.region
    assert again.ledger == patient.ledger
    for name in store.POSTERIOR:
        assert np.array_equal(getattr(again.posterior, name), getattr(patient.posterior, name))
    for name in store.NUMBERS:
        ours, theirs = getattr(again.study.observations, name), getattr(patient.study.observations, name)
        assert np.array_equal(ours, theirs, equal_nan=True)


def test_a_divided_body_comes_back(patient, tmp_path):
    study = replace(patient.study, anatomy=Anatomy(kidney_parts=True), amino_acids=False)
    again = store.open(store.save(replace(patient, study=study), tmp_path / "p"))
    assert (again.study.anatomy, again.study.amino_acids) == (Anatomy(kidney_parts=True), False)


def test_the_errors_that_a_site_knows_come_back(patient, tmp_path):
    known = {"calibration/SPECT": 0.02}
    study = replace(patient.study, observations=replace(patient.study.observations, shared_sd=known))
    again = store.open(store.save(replace(patient, study=study), tmp_path / "p"))
    assert again.study.observations.shared_sd == known


def test_a_twin_of_the_first_format_opens(patient, tmp_path):
    """It had no word of the model's divisions: there was one body only."""
    folder = store.save(patient, tmp_path / "p")
    words = json.loads((folder / "twin.json").read_text(encoding="utf-8"))
    del words["study"]["model"]
    (folder / "twin.json").write_text(json.dumps(words | {"format": 1}), encoding="utf-8")
    again = store.open(folder)
    assert (again.study.anatomy, again.study.amino_acids) == (Anatomy(), None)
    assert again.provenance["tables"] != tables()


def test_saving_again_replaces_and_leaves_no_other_file(patient, tmp_path):
    store.save(patient, tmp_path / "p")
    store.save(patient, tmp_path / "p")
    assert [f.name for f in tmp_path.iterdir() if f.name != "study"] == ["p"]


def test_a_changed_file_is_noticed(patient, tmp_path):
    folder = store.save(patient, tmp_path / "p")
    with (folder / "arrays.nc").open("ab") as file:
        file.write(b"x")
    with pytest.raises(InputError, match="checksum"):
        store.open(folder)


def test_a_newer_format_is_refused(patient, tmp_path):
    folder = store.save(patient, tmp_path / "p")
    words = json.loads((folder / "twin.json").read_text())
    (folder / "twin.json").write_text(json.dumps(words | {"format": store.FORMAT + 1}))
    with pytest.raises(InputError, match="update theratwin"):
        store.open(folder)


def test_an_older_format_is_migrated_step_by_step(patient, tmp_path, monkeypatch):
    folder = store.save(patient, tmp_path / "p")
    words = json.loads((folder / "twin.json").read_text())
    (folder / "twin.json").write_text(json.dumps(words | {"format": 0}))
    monkeypatch.setitem(store.MIGRATIONS, 0, lambda old: old | {"format": 1})
    assert store.open(folder).study.id == patient.study.id


def test_a_folder_that_is_no_twin_is_left_alone(patient, tmp_path):
    (tmp_path / "p").mkdir()
    (tmp_path / "p" / "mine.txt").write_text("keep")
    with pytest.raises(InputError, match="no twin"):
        store.save(patient, tmp_path / "p")
    assert (tmp_path / "p" / "mine.txt").read_text() == "keep"


def test_nothing_is_left_where_the_write_fails_half_way(patient, tmp_path, monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store, "write_whole", fail)
    with pytest.raises(InputError, match="No space left"):
        store.save(patient, tmp_path / "p")
    assert [f.name for f in tmp_path.iterdir()] == ["study"]


def test_no_pickle_is_written(patient, tmp_path):
    folder = store.save(patient, tmp_path / "p")
    assert sorted(f.name for f in folder.iterdir()) == ["arrays.nc", "twin.json"]
    assert (folder / "arrays.nc").read_bytes()[:8] == b"\x89HDF\r\n\x1a\n"
