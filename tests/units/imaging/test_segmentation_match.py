"""Lesions of two scans: the same, split, merged, vanished, new; tracks over three scans."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from imaging.geometry import Volume
from imaging.segmentation import follow_lesions, match_lesions

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def scan(boxes: dict[int, tuple[int, int]]) -> Volume:
    """Bars along x: label to its first and last voxel."""
    labels = np.zeros((4, 4, 40))
    for label, (first, last) in boxes.items():
        labels[1:3, 1:3, first : last + 1] = label
    return Volume(labels, AFFINE)


def kinds(before, after, **settings) -> list[tuple]:
    return [(r.kind, r.before, r.after) for r in match_lesions(scan(before), scan(after), **settings).rows]


def test_each_fate_has_its_row():
    before = {1: (0, 3), 2: (6, 15), 3: (18, 20), 4: (22, 24), 5: (36, 39)}
    after = {1: (1, 3), 2: (6, 9), 3: (12, 15), 4: (18, 24), 5: (30, 32)}
    assert kinds(before, after) == [
        ("same", (1,), (1,)),
        ("split", (2,), (2, 3)),
        ("merged", (3, 4), (4,)),
        ("vanished", (5,), ()),
        ("appeared", (), (5,)),
    ]


def test_what_a_motion_carried_apart_is_joined_within_reach_only():
    assert kinds({1: (0, 2)}, {1: (4, 6)}, reach_mm=10.0) == [("same", (1,), (1,))]
    assert [k for k, *_ in kinds({1: (0, 2)}, {1: (4, 6)}, reach_mm=7.0)] == ["vanished", "appeared"]


def test_nearness_joins_one_to_one_and_the_nearest_first():
    assert kinds({1: (0, 2), 2: (6, 8)}, {1: (4, 4)}, reach_mm=12.0)[1][0] == "vanished"


def test_a_grazing_overlap_is_no_match_but_nearness_may_be():
    row = match_lesions(scan({1: (0, 9)}), scan({1: (9, 20)}), overlap=0.2, reach_mm=0.0).rows
    assert [r.kind for r in row] == ["same"]
    assert row[0].gap_mm == 0.0
    two = match_lesions(scan({1: (0, 9), 2: (10, 19)}), scan({1: (9, 20)}), overlap=0.2).rows
    assert [r.kind for r in two] == ["vanished", "same"]


def test_numbers_of_a_row():
    (row,) = match_lesions(scan({1: (0, 3)}), scan({1: (2, 9)})).rows
    assert row.volume_before_mL == pytest.approx(16 * 0.064)
    assert row.growth == pytest.approx(2.0)
    assert row.overlap == pytest.approx(0.5)
    assert match_lesions(scan({}), scan({})).rows == ()


def test_time_turned_back_turns_fates_back():
    before, after = {1: (0, 9), 2: (20, 22)}, {1: (0, 3), 2: (6, 9), 3: (30, 33)}
    forth = [k for k, *_ in kinds(before, after)]
    back = [k for k, *_ in kinds(after, before)]
    turn = {"split": "merged", "merged": "split", "vanished": "appeared", "appeared": "vanished"}
    assert sorted(turn[k] for k in forth) == sorted(back)


def test_tracks_keep_a_number_through_split_and_merger():
    tracks = follow_lesions([scan({1: (0, 9)}), scan({1: (0, 3), 2: (6, 9), 3: (20, 22)}), scan({1: (0, 9)})])
    assert tracks == ({1: 1}, {1: 1, 2: 1, 3: 2}, {1: 1})


def test_tracks_that_merge_later_share_the_lower_number():
    tracks = follow_lesions([scan({1: (0, 3), 2: (6, 9)}), scan({1: (0, 9)})])
    assert tracks == ({1: 1, 2: 1}, {1: 1})


def test_labels_of_another_grid_are_taken_onto_it():
    shifted = Volume(scan({1: (0, 3)}).array[..., 2:], AFFINE + np.eye(4, k=3) * [[8.0], [0], [0], [0]])
    assert [r.kind for r in match_lesions(scan({1: (0, 3)}), shifted).rows] == ["same"]


def test_what_holds_no_labels_is_refused():
    half = scan({1: (0, 3)}).with_array(0.5 * scan({1: (0, 3)}).array)
    with pytest.raises(ImageError, match="labels"):
        match_lesions(half, half)
    with pytest.raises(InputError):
        match_lesions(scan({}), scan({}), overlap=0.0)
    with pytest.raises(InputError):
        follow_lesions([scan({})])
