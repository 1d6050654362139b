"""Bombs, nesting, polyglots and path tricks: refused in time and memory, or harmless and said so."""

from __future__ import annotations

import os
import resource
import time
from pathlib import Path

import numpy as np
import pytest

from dose.errors import ImageError
from imaging.bids import read_bids_pet
from imaging.dicom_read import CT, read_folder
from imaging.folder import folder_files, path_inside, safe_name
from imaging.guard import PREAMBLES, open_header, open_pixels
from tests.hostile.mutants import LIMIT_MB, LIMIT_S, leaks, outcome
from tests.hostile.seeds import as_bytes, seeds, slices
from tests.hostile.tricks import ENDS, ITEM, SEQUENCE, START, TRICKS, deflate, meta


@pytest.mark.parametrize("name", TRICKS)
def test_a_trick_is_refused_in_time_and_memory(tmp_path, name):
    folder = tmp_path / "study"
    folder.mkdir()
    TRICKS[name](folder)
    before, begun = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    ended, words = outcome(folder)
    assert (ended, leaks(words)) == ("ImageError", [])
    assert time.process_time() - begun < LIMIT_S
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024 < LIMIT_MB


def with_preamble(content: bytes, start: bytes) -> bytes:
    return start + content[len(start) :]


@pytest.mark.parametrize("start", [*PREAMBLES, b"%!\n%PDF-1.4"])
def test_a_polyglot_is_read_with_a_note(tmp_path, start):
    for k, content in enumerate(seeds()[0]):
        (tmp_path / f"{k}.dcm").write_bytes(with_preamble(content, start))
    study = read_folder(tmp_path)
    assert len(study.images) == 1
    assert [w for w in study.warnings if "preamble" in w]


@pytest.mark.parametrize("start", [b"\0", b"II*\0"])
def test_an_empty_preamble_and_that_of_a_tiff_need_no_note(tmp_path, start):
    for k, content in enumerate(seeds()[0]):
        (tmp_path / f"{k}.dcm").write_bytes(with_preamble(content, start))
    assert not [w for w in read_folder(tmp_path).warnings if "preamble" in w]


def test_a_deflated_object_is_read_like_the_plain_one(tmp_path):
    from pydicom.uid import DeflatedExplicitVRLittleEndian

    (d,) = slices(CT, "1", 1)
    plain = d.pixel_array.copy()
    d.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    (tmp_path / "x.dcm").write_bytes(as_bytes(d))
    assert np.array_equal(open_pixels(tmp_path / "x.dcm", "file").pixel_array, plain)


@pytest.mark.parametrize("codec", ["RLELossless", "JPEGLSLossless"])
def test_an_intact_compressed_object_is_read(tmp_path, codec):
    from pydicom import uid

    (d,) = slices(CT, "1", 1)
    plain = d.pixel_array.copy()
    d.compress(getattr(uid, codec))
    (tmp_path / "x.dcm").write_bytes(as_bytes(d))
    assert np.array_equal(open_pixels(tmp_path / "x.dcm", "file").pixel_array, plain)


def test_nesting_within_the_limit_is_read(tmp_path):
    (tmp_path / "x.dcm").write_bytes(meta() + START + (SEQUENCE + ITEM) * 20 + ENDS * 20)
    assert open_header(tmp_path / "x.dcm", "file").SOPClassUID == CT
    (tmp_path / "y.dcm").write_bytes(
        meta(b"1.2.840.10008.1.2.1.99") + deflate(START + (SEQUENCE + ITEM) * 20 + ENDS * 20)
    )
    assert open_header(tmp_path / "y.dcm", "file").SOPClassUID == CT


def test_a_folder_inside_itself_and_odd_names_are_listed_once(tmp_path):
    inner = tmp_path / "a\nb"
    inner.mkdir()
    (inner / "loop").symlink_to(tmp_path)
    for k, content in enumerate(seeds()[0]):
        Path(os.fsdecode(os.fsencode(inner) + b"/\xff\xfe" + str(k).encode() + b".dcm")).write_bytes(content)
    assert len(folder_files(tmp_path)) == 3
    assert len(read_folder(tmp_path).images) == 1


def test_links_within_the_folder_count_as_the_file(tmp_path):
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "a").write_bytes(b"")
    (tmp_path / "a").symlink_to("store/a")
    assert len(folder_files(tmp_path)) == 2


def test_too_many_files_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("imaging.folder.MAX_FILES", 3)
    for k in range(4):
        (tmp_path / f"{k}").write_bytes(b"")
    with pytest.raises(ImageError, match="at most 3"):
        folder_files(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("kidney_left", "kidney_left"),
        ("../../etc/passwd", "etc_passwd"),
        ("a\nb\0c", "a_b_c"),
        ("..", "unnamed"),
        ("", "unnamed"),
        (".hidden", "hidden"),
        ("CON.txt", "unnamed"),
        ("x" * 500, "x" * 64),
        ("Leber ä", "Leber"),
    ],
)
def test_a_file_name_is_spelt_from_an_allow_list(tmp_path, text, name):
    assert safe_name(text) == name
    assert path_inside(tmp_path, text) == tmp_path / name


def test_a_name_that_is_a_link_out_of_the_folder_is_refused(tmp_path):
    (tmp_path / "root").mkdir()
    (tmp_path / "root" / "report").symlink_to(tmp_path)
    with pytest.raises(ImageError, match="leads out"):
        path_inside(tmp_path / "root", "report")


def test_bids_folders_are_listed_by_the_same_rules(tmp_path):
    os.mkfifo(tmp_path / "sub-1_pet.nii")
    with pytest.raises(ImageError, match="BIDS"):
        read_bids_pet(tmp_path)
