"""Projections to Bq/mL in place and time, by our engine and by PyTomography."""

from __future__ import annotations

import warnings
from dataclasses import replace
from datetime import datetime

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from imaging.bridge import to_numpy, to_torch
from imaging.decay import factor_to_scan_start
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct.decaying import decay_factors, decaying
from imaging.reconstruct.iterations import Settings
from imaging.reconstruct.reconstruction import Measured, reconstruct, reconstruct_regions
from imaging.reconstruct.response import DetectorResponse
from imaging.reconstruct.scatter import tew
from imaging.reconstruct.system import spect_system

EDGE, ROWS, VIEWS, PIXEL_MM = 24, 16, 24, 8.0
RESPONSE = DetectorResponse(0.03, 1.2, 1.6)
CPS_PER_MBQ = 9.4
CENTRE = np.array([5.0, -12.0, 300.0])


@pytest.fixture(scope="module")
def empty() -> Projections:
    """Two heads, each over half a turn; a 99mTc acquisition of 24 minutes, over which 4.5 % decay."""
    half = np.arange(VIEWS // 2) * 360 / VIEWS
    return Projections(
        counts=np.ones((1, VIEWS, ROWS, EDGE)),
        windows=(EnergyWindow(126, 154, "peak", 140.5),),
        angles_deg=np.concatenate([half + 180, half]),
        radii_mm=np.full(VIEWS, 180.0),
        frame_s=np.full(VIEWS, 115.0),
        pixel_mm=PIXEL_MM,
        centre_lps_mm=CENTRE,
        started_at=datetime(2026, 3, 1, 10),
        gap_s=5.0,
        heads=2,
    )


@pytest.fixture(scope="module")
def activity_MBq(empty) -> np.ndarray:
    """A blob off every axis, MBq per voxel."""
    grid = empty.grid()
    place = grid.to_lps_mm(np.stack(np.indices(grid.array.shape)[::-1], axis=-1))
    apart = ((place - (CENTRE + np.array([30.0, -25.0, 15.0]))) ** 2).sum(axis=-1)
    return np.exp(-apart / 2 / 14.0**2).astype(np.float32)


@pytest.fixture(scope="module")
def acquired(empty, activity_MBq) -> Projections:
    """Noiseless counts of the decaying activity."""
    system = decaying(spect_system(empty, response=RESPONSE), empty, "99mTc")
    return empty.with_counts(np.asarray(system.forward(CPS_PER_MBQ * activity_MBq))[None])


MEASURED = Measured(CPS_PER_MBQ, RESPONSE, scatter=None, nuclide="99mTc")
ENGINES = ["own", pytest.param("pytomography", marks=pytest.mark.slow)]


@pytest.fixture(params=ENGINES, scope="module")
def made(request, acquired):
    if request.param == "pytomography":
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SyntaxWarning)
            pytest.importorskip("pytomography.transforms.SPECT")
    return reconstruct(acquired, MEASURED, Settings(4, 6), engine=request.param)


def test_activity_comes_back_in_bq_per_ml_at_the_start_of_the_scan(made, activity_MBq):
    total_MBq = made.volume.array.sum(dtype=float) * made.volume.voxel_mL / 1e6
    # the data are without noise and the subsets nearly consistent; the peer's projector differs by some 0.1 %
    assert total_MBq == pytest.approx(activity_MBq.sum(), rel=0.005)
    assert made.unit == "Bq/mL"
    assert np.all(factor_to_scan_start(made) == 1)


def test_a_blob_is_found_where_it_was_in_lps(made):
    assert np.allclose(centre_lps_mm(made.volume), np.add(CENTRE, (30, -25, 15)), atol=0.1)


def centre_lps_mm(volume) -> np.ndarray:
    weights = volume.array.astype(float)
    index = [(weights * g).sum() / weights.sum() for g in np.indices(weights.shape)][::-1]
    return volume.to_lps_mm(index)


def test_decay_left_out_is_seen(acquired, activity_MBq):
    """The negative control: reconstructed as a nuclide that hardly decays, 2 % of the activity are missing."""
    made = reconstruct(acquired, replace(MEASURED, nuclide="177Lu"), Settings(4, 6))
    total_MBq = made.volume.array.sum(dtype=float) * made.volume.voxel_mL / 1e6
    assert total_MBq < 0.985 * activity_MBq.sum()


def test_decay_factors_are_the_mean_over_each_view(empty):
    starts = empty.view_start_s()
    found = decay_factors(empty, "99mTc")
    for view in (0, 5, VIEWS // 2):
        t = starts[view] + (np.arange(10000) + 0.5) / 10000 * empty.frame_s[view]
        assert found[view] == pytest.approx(np.exp2(-t / 3600 / radionuclide("99mTc").half_life_h).mean(), rel=1e-5)
    assert np.allclose(found[: VIEWS // 2], found[VIEWS // 2 :]), "heads count at once"


def test_a_decaying_system_is_still_its_own_transpose(empty, rng):
    system = decaying(spect_system(empty, response=RESPONSE), empty, "99mTc")
    image = rng.random((ROWS, EDGE, EDGE)).astype(np.float32)
    counts = rng.random((VIEWS, ROWS, EDGE)).astype(np.float32)
    summed = lambda a, b: np.vdot(np.asarray(a, dtype=float), np.asarray(b, dtype=float))
    assert summed(system.forward(image), counts) == pytest.approx(summed(image, system.back(counts)), rel=1e-5)


def test_dead_time_is_undone_by_the_live_fraction_of_each_view(acquired, activity_MBq):
    live = np.linspace(0.7, 0.85, VIEWS)
    counted = acquired.with_counts(acquired.counts * live[:, None, None])
    made = reconstruct(counted, replace(MEASURED, live_fraction=live), Settings(4, 6))
    total_MBq = made.volume.array.sum(dtype=float) * made.volume.voxel_mL / 1e6
    assert total_MBq == pytest.approx(activity_MBq.sum(), rel=0.005)
    mask = made.volume.with_array(activity_MBq > 0.1)
    slow = replace(MEASURED, live_fraction=np.full(VIEWS, 0.77))
    even = reconstruct_regions(acquired.with_counts(acquired.counts * 0.77), slow, mask, Settings(2, 6))
    free = reconstruct_regions(acquired, MEASURED, mask, Settings(2, 6))
    # 77 % of the counts: the same activity, an sd larger by the root
    assert even.total == pytest.approx(free.total, rel=1e-4)
    assert even.sd == pytest.approx(free.sd / np.sqrt(0.77), rel=1e-3)


@pytest.mark.parametrize("live", [np.ones(3), np.zeros(VIEWS), np.full(VIEWS, 1.1), np.full(VIEWS, np.nan)])
def test_live_fractions_that_cannot_be_are_refused(acquired, live):
    with pytest.raises(ImageError, match="live_fraction"):
        reconstruct(acquired, replace(MEASURED, live_fraction=live), Settings(1, 1))


def test_tew_takes_an_upper_window_that_was_not_counted_for_empty(acquired):
    lower = EnergyWindow(110, 126, "lower", 140.5)
    some = np.full_like(acquired.counts[0], 0.01)
    two = replace(acquired, counts=np.stack([acquired.counts[0], some]), windows=(*acquired.windows, lower))
    by_name = reconstruct(two, replace(MEASURED, scatter="tew"), Settings(1, 2)).volume.array
    given = reconstruct(two, replace(MEASURED, scatter=tew(two, has_upper=False)), Settings(1, 2)).volume.array
    assert np.array_equal(by_name, given)


def test_regions_in_mbq_are_those_of_the_image(acquired):
    made = reconstruct(acquired, MEASURED, Settings(2, 6))
    mask = made.volume.with_array(made.volume.array > 0.3 * made.volume.array.max())
    regions = reconstruct_regions(acquired, MEASURED, mask, Settings(2, 6))
    in_image = (made.volume.array * mask.array).sum(dtype=float) * made.volume.voxel_mL / 1e6
    assert regions.total[0] == pytest.approx(in_image, rel=1e-5)
    assert 0 < regions.sd[0] < 0.1 * regions.total[0]


def test_impossible_statements_are_refused(acquired):
    for bad in ({"cps_per_MBq": 0.0}, {"cps_per_MBq": np.inf}, {"scatter": "esse"}):
        with pytest.raises(InputError, match="To do"):
            replace(MEASURED, **bad)
    with pytest.raises(ImageError, match="nuclide"):
        reconstruct(acquired, replace(MEASURED, nuclide=None))
    with pytest.raises(ImageError, match="lower windows"):
        reconstruct(acquired, replace(MEASURED, scatter="tew"))
    with pytest.raises(InputError, match="reach_mm"):
        reconstruct(acquired, replace(MEASURED, reach_mm=80.0), engine="pytomography")
    with pytest.raises(InputError, match="engine"):
        reconstruct(acquired, MEASURED, engine="other")


def test_a_missing_peer_names_its_extra(acquired, monkeypatch):
    monkeypatch.setattr("imaging.reconstruct.engine.find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"theratwin\[spect\]"):
        reconstruct(acquired, MEASURED, engine="pytomography")


def test_arrays_cross_to_torch_and_back_unchanged_and_are_checked(rng):
    values = rng.random((2, 3, 4))
    assert np.array_equal(to_numpy(to_torch(values.T)), values.T.astype(np.float32))
    with pytest.raises(ImageError, match="not finite"):
        to_torch(np.array([1.0, np.nan]))
    with pytest.raises(ImageError, match="float64"):
        to_numpy(to_torch(values).double())
