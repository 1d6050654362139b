"""Frames of a dynamic scan from image series: clocks, decay references and nuclides that must agree."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.parametric import DynamicFrames, InputFunction, frames_of, patlak, two_tissue_irreversible
from imaging.series import ImageSeries, Radiopharmaceutical

DURATION = np.array([1.0] * 10 + [5.0] * 10)
START = np.concatenate([[0], np.cumsum(DURATION)[:-1]])
AT = datetime(2026, 1, 1, 10)
RATE = radionuclide("68Ga").decay_constant_per_h / 60
KI = 0.03
TIME = np.linspace(0, 60, 1201)
PLASMA = InputFunction(TIME, 3e4 * TIME * np.exp(-TIME) + 1e4 * np.exp(-0.02 * TIME) * (1 - np.exp(-TIME)), True)


def _tissue():
    areas = [PLASMA.integral(np.linspace(s, s + d, 101)).mean() for s, d in zip(START, DURATION, strict=True)]
    return KI * np.array(areas) + 0.3 * PLASMA.frame_means(START, START + DURATION)


def scan(values, *, correction="START", each=False, frame_s=True):
    """A series a frame; `each`: corrected to the frame's own start, not to the scan's."""
    return [
        ImageSeries(
            Volume(np.full((1, 1, 1), value), np.eye(4)), "PET", "Bq/mL", "", "", decay_correction=correction,
            reference_at=AT + timedelta(minutes=float(start)),
            decay_reference_at=None if each or correction == "NONE" else AT,
            radiopharmaceutical=Radiopharmaceutical(nuclide="68Ga"),
            frame=k, frame_s=60 * lasting if frame_s else None,
        )
        for k, (value, start, lasting) in enumerate(zip(values, START, DURATION, strict=True))
    ]  # fmt: skip


def ki(frames):
    return float(patlak(frames, PLASMA, t_star_min=10).maps["Ki"][0, 0, 0])


@pytest.mark.parametrize("kind", ["scan", "each frame", "none"])
def test_any_decay_reference_gives_the_same_rate(kind):
    fade = {
        "scan": 1.0,
        "each frame": np.exp(-RATE * START),
        "none": np.exp(-RATE * START) * -np.expm1(-RATE * DURATION) / (RATE * DURATION),
    }[kind]
    series = scan(_tissue() * fade, correction="NONE" if kind == "none" else "START", each=kind == "each frame")
    frames = frames_of(series)
    assert np.allclose(frames.start_min, START)
    assert np.allclose(frames.duration_min, DURATION)
    assert frames.nuclide == "68Ga"
    # 1e-4: images are float32, the mean over each frame a trapezoid sum of 100 pieces
    assert ki(frames) == pytest.approx(KI, rel=1e-4)


def test_a_reference_taken_for_another_would_show():
    """Control: frames each corrected to their own start, read as corrected to the scan's."""
    values = (_tissue() * np.exp(-RATE * START)).reshape(-1, 1, 1, 1)
    assert ki(DynamicFrames(values, START, DURATION, True, "68Ga")) < 0.6 * KI


def test_time_0_is_the_decay_reference_where_the_scan_began_later():
    series = [replace(s, decay_reference_at=AT - timedelta(minutes=3)) for s in scan(_tissue())]
    assert frames_of(series).start_min[0] == pytest.approx(3.0)


def test_given_times_serve_where_the_headers_bear_them_out():
    half_a_second = 0.5 / 60
    frames = frames_of(scan(_tissue()), START + half_a_second, DURATION)
    assert frames.start_min[0] == half_a_second
    assert np.allclose(frames_of(scan(_tissue(), frame_s=False), None, DURATION).duration_min, DURATION)


@pytest.mark.parametrize(
    ("times", "words"),
    [
        ((START + 10, DURATION), "start_min.*10 min from the headers'"),
        ((None, 2 * DURATION), "duration_min.*5 min from the headers'"),
        ((START[:-1], DURATION), "start_min.*19 times for 20 frames"),
    ],
)
def test_given_times_that_the_headers_contradict_are_refused(times, words):
    with pytest.raises(InputError, match=words):
        frames_of(scan(_tissue()), *times)


def changed(k, **fields):
    series = scan(_tissue())
    series[k] = replace(series[k], **fields)
    return series


@pytest.mark.parametrize(
    ("series", "error", "words"),
    [
        (lambda: scan(_tissue())[::-1], ImageError, "frame numbers that rise"),
        (lambda: [replace(s, frame=0) for s in scan(_tissue())][::-1], ImageError, "before the injection|overlap"),
        (lambda: scan(_tissue(), frame_s=False), InputError, "duration_min.*a frame without"),
        (lambda: changed(3, reference_at=None), InputError, "without date and time"),
        (lambda: changed(3, radiopharmaceutical=Radiopharmaceutical("18F")), InputError, "one nuclide"),
        (lambda: changed(3, decay_correction="NONE"), InputError, "mixed decay"),
        (lambda: [replace(s, decay_correction="ADMIN") for s in scan(_tissue())], InputError, "START or NONE"),
        (lambda: changed(3, volume=Volume(np.ones((1, 1, 2)), np.eye(4))), ImageError, "one grid"),
        (list, InputError, "frames in Bq/mL"),
    ],
)
def test_frames_that_do_not_belong_together_are_refused(series, error, words):
    with pytest.raises(error, match=words):
        frames_of(series())


def test_decay_cannot_be_undone_without_a_nuclide():
    with pytest.raises(InputError, match="input function, nuclide"):
        InputFunction([0, 1, 2], [0, 9, 1], False)
    with pytest.raises(InputError, match="dynamic frames, nuclide"):
        DynamicFrames(np.ones((20, 1)), START, DURATION, False)


def test_plasma_and_frames_of_unequal_nuclides_are_refused():
    frames = frames_of(scan(_tissue()))
    other = replace(PLASMA, nuclide="18F")
    with pytest.raises(InputError, match="plasma of 18F, frames of 68Ga"):
        patlak(frames, other, t_star_min=10)
    with pytest.raises(InputError, match="plasma of 18F, frames of 68Ga"):
        two_tissue_irreversible(frames, other)
