"""The walk over a header, compressed frames and expansion: exact counts on small files, limits met and passed."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from pydicom.data import get_testdata_file

from dose.errors import ImageError
from imaging.codestream import _unpacked
from imaging.deflated import FREE_BYTES, MAX_EXPANDED_BYTES, MAX_RATIO, check_expansion
from imaging.guard import only_image_errors, open_header, open_pixels
from imaging.pixel_checks import _planes_between
from imaging.structure import Bytes, transfer_syntax, walk
from tests.hostile.seeds import CANARY, seeds
from tests.hostile.tricks import EMPTY_ITEM, ENDS, ITEM, SEQUENCE, START, element


def skeleton(content: bytes, **how):
    return walk(Bytes(io.BytesIO(content), len(content)), 0, "file", **({"implicit": False} | how))


def test_a_walk_counts_what_is_there():
    inner = element(8, 0x60, b"CS", b"CT")
    content = START + SEQUENCE + (ITEM + inner + ENDS[:8]) * 3 + ENDS[8:] + inner
    found = skeleton(content)
    assert (found.elements, found.items, found.depth, found.pixels_at) == (6, 3, 1, len(content))
    assert skeleton(content + element(0x7FE0, 0x10, b"OW", bytes(10_000))).pixels_at == len(content)


def test_a_walk_agrees_with_pydicom_on_its_test_files():
    import pydicom

    names = ("CT_small.dcm", "MR_small_implicit.dcm", "MR_small_bigendian.dcm", "rtplan.dcm", "reportsi.dcm")
    for name in names:
        path = get_testdata_file(name, download=False)
        dataset = pydicom.dcmread(path)
        elements, items = 0, 0

        def count(_, e):
            nonlocal elements, items
            elements += not (e.tag.group == 0x7FE0 and e.tag.elem == 0x10)
            items += len(e.value) if e.VR == "SQ" else 0

        dataset.walk(count)
        with Path(path).open("rb") as stream:
            view = Bytes(stream, len(stream.read()))
            syntax, at = transfer_syntax(view, "file")
            found = walk(view, at, "file", implicit=syntax.endswith("1.2"), little=not syntax.endswith("1.2.2"))
        before_pixels = [e for e in dataset if e.tag > 0x7FE00010]
        assert (found.elements + len(before_pixels), found.items) == (elements, items), name


@pytest.mark.parametrize("length", [7, 9, 2**16, 2**31, 2**32 - 2])
def test_a_length_that_leads_out_of_its_sequence_or_the_file_is_refused(length):
    lie = struct.pack("<HH2sHL", 8, 0x60, b"UT", 0, length) + b"A" * 6
    with pytest.raises(ImageError, match="longer than"):
        skeleton(lie)
    held = element(0x0040, 0x0275, b"SQ", EMPTY_ITEM[:4] + struct.pack("<L", len(lie)) + lie)
    with pytest.raises(ImageError, match="longer than"):
        skeleton(held + START)


@pytest.mark.parametrize("content", [SEQUENCE + START, EMPTY_ITEM, START + ITEM])
def test_items_and_sequences_go_together(content):
    with pytest.raises(ImageError, match="item"):
        skeleton(content)


def test_every_cut_of_a_file_is_refused_or_ends_at_an_element(tmp_path):
    """A shorter file never passes for a whole one: what opens has lost whole elements only, and so its pixels."""
    content = seeds()[0][0]
    for size in range(0, len(content), 23):
        (tmp_path / "x.dcm").write_bytes(content[:size])
        with pytest.raises(ImageError):
            open_pixels(tmp_path / "x.dcm", "file")
    (tmp_path / "x.dcm").write_bytes(content)
    assert open_pixels(tmp_path / "x.dcm", "file").Rows == 4


def test_a_file_over_2_GiB_is_refused_unread(tmp_path):
    with (tmp_path / "x.dcm").open("wb") as stream:
        stream.truncate(2**31 + 1)
    with pytest.raises(ImageError, match="over 2 GiB"):
        open_header(tmp_path / "x.dcm", "file")


def test_expansion_is_bounded_by_size_and_then_by_ratio():
    check_expansion(1, FREE_BYTES, "file")
    check_expansion(FREE_BYTES // 100, FREE_BYTES * 2 - 200, "file")
    for stored, expanded in ((1, FREE_BYTES + 1), (2**40, MAX_EXPANDED_BYTES + 1), (2**20, 2**20 * MAX_RATIO + 2**30)):
        with pytest.raises(ImageError, match="would become"):
            check_expansion(stored, expanded, "file")


def test_run_lengths_are_counted_as_they_unpack():
    literal, run, nothing = b"\x04abcde", b"\xfcx", b"\x80"
    assert _unpacked(literal + run + nothing, 0, 9, 100) == 10
    assert 50 < _unpacked(b"\x81\0" * 1000, 0, 2000, 50) < 200


def test_planes_are_counted_at_the_smallest_gap():
    points = [(0.0, 0.0, z) for z in (0.0, 2.0, 4.0, 100.0)]
    assert _planes_between(points) == 51
    assert _planes_between([(0.0, 0.0, 0.0), (0.0, 0.0, float("inf"))]) > 2**60
    assert _planes_between([]) == 0


def test_an_error_keeps_nothing_of_its_cause():
    with pytest.raises(ImageError) as raised, only_image_errors("file"):
        raise KeyError(CANARY)
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)

    def inner():
        try:
            raise KeyError(CANARY)
        except KeyError as error:
            raise ImageError("told") from error

    with pytest.raises(ImageError, match="told") as raised, only_image_errors("file"):
        inner()
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)


def test_a_written_object_has_an_empty_preamble_whatever_its_source_had(tmp_path):
    import pydicom

    from tests.hostile.seeds import as_bytes, segmentation

    sources = []
    for k, content in enumerate(seeds()[0]):
        (tmp_path / f"{k}.dcm").write_bytes(b"MZ" + content[2:])
        sources.append(open_pixels(tmp_path / f"{k}.dcm", "file"))
        assert sources[-1].preamble.startswith(b"MZ"), "the control"
    written = as_bytes(segmentation(sources)[0])
    assert pydicom.dcmread(io.BytesIO(written)).preamble == bytes(128)
    assert np.frombuffer(written[:128], "u1").max() == 0
