"""The import in a process of its own: the same study, and its limits of time and memory."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
import pytest

from dose.errors import ImageError
from imaging import records, sandbox
from imaging.dicom_read import read_folder
from imaging.geometry import Volume
from imaging.records import read_record, write_record
from imaging.sandbox import read_folder_guarded
from imaging.series import ImageSeries, Radiopharmaceutical, StudyImages
from tests.hostile.seeds import seeds


@pytest.fixture
def folder(tmp_path):
    for group in seeds()[1:6]:
        for content in group:
            (tmp_path / f"{len(list(tmp_path.iterdir()))}.dcm").write_bytes(content)
    return tmp_path


def plain(value) -> str:
    """A record in words, its arrays as bytes."""
    arrays: list = []
    return json.dumps(records._plain(value, arrays)) + "".join(f"{a.dtype}{a.shape}{a.tobytes()}" for a in arrays)


def test_the_worker_reads_the_same_study(folder):
    study = read_folder_guarded(folder, salt="s")
    assert plain(study) == plain(read_folder(folder, salt="s"))
    assert plain(study) != plain(read_folder(folder, salt="t"))
    assert study.images
    assert study.contour_sets
    assert study.segmentations


def test_an_error_of_the_worker_is_the_same_error(tmp_path):
    with pytest.raises(ImageError) as here:
        read_folder(tmp_path)
    with pytest.raises(ImageError) as there:
        read_folder_guarded(tmp_path)
    assert str(there.value) == str(here.value)


def test_a_worker_that_takes_too_long_is_ended(folder):
    with pytest.raises(ImageError, match=r"over 0\.05 s"):
        read_folder_guarded(folder, limit_s=0.05)


def test_a_worker_that_needs_too_much_memory_ends_alone(folder):
    """How depends on the step that found no room: a decoder, an array, or a library that could not be loaded."""
    with pytest.raises(ImageError):
        read_folder_guarded(folder, memory_MB=120)
    assert read_folder_guarded(folder, memory_MB=2048).images, "the control: the same folder with room"


def test_a_worker_that_crashes_is_told(folder, monkeypatch):
    monkeypatch.setattr(sandbox, "_run", lambda *_: -11)
    with pytest.raises(ImageError, match="code -11"):
        read_folder_guarded(folder)


def a_study() -> StudyImages:
    drug = Radiopharmaceutical("177Lu", 159.5, 7400.0, datetime(2026, 3, 2, 8))
    volume = Volume(np.arange(24).reshape(2, 3, 4), np.eye(4))
    series = ImageSeries(volume, "SPECT", "Bq/mL", "a", "b", slice_mid_s=np.array([1.0, 2.0]), radiopharmaceutical=drug)
    return StudyImages((series,), skipped={"not DICOM": 2}, warnings=("note",))


def test_a_record_comes_back_from_its_files(tmp_path):
    write_record(a_study(), tmp_path)
    assert plain(read_record(tmp_path, StudyImages)) == plain(a_study())
    assert {path.suffix for path in tmp_path.iterdir()} == {".npy", ".json"}


def test_durations_and_lists_are_plain_too():
    held = (timedelta(seconds=3), [1, None], np.float32(2), {"a": (True,)})
    value = json.loads(json.dumps(records._plain(held, [])))
    assert records._rebuilt(value, None) == (timedelta(seconds=3), [1, None], 2.0, {"a": (True,)})


@dataclass(frozen=True)
class Stranger:
    path: str


def test_only_our_records_are_written_and_built(tmp_path):
    with pytest.raises(ImageError, match="Stranger"):
        write_record(Stranger("x"), tmp_path)
    for name in ("subprocess:Popen", "imaging.series:hashlib", "imaging.series:Volume", "os:system", "imaging.series:"):
        (tmp_path / "record.json").write_text(json.dumps({"record": name, "fields": {}}))
        with pytest.raises(ImageError, match="none of ours"):
            read_record(tmp_path, StudyImages)


@pytest.mark.parametrize("text", ["", "{}", "[]", '{"array": 0}', '{"record": 3}', '{"tuple": 3}', '{"what": 1}'])
def test_damaged_files_of_a_record_are_told(tmp_path, text):
    (tmp_path / "record.json").write_text(text)
    with pytest.raises(ImageError, match="record"):
        read_record(tmp_path, StudyImages)


def test_arrays_that_hold_objects_are_not_loaded(tmp_path):
    np.save(tmp_path / "0.npy", np.array([{}], dtype=object), allow_pickle=bool(os.sep))
    (tmp_path / "record.json").write_text('{"array": 0}')
    with pytest.raises(ImageError, match="damaged"):
        read_record(tmp_path, StudyImages)
