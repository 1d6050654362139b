"""Scatter by network: what goes into the reconstruction, what scales, what is flagged, what is refused."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.learning.recipe import Config
from imaging.geometry import Volume
from imaging.networks.scatter import DEW_90Y, RECIPE_177LU, TEW_FWHM_mm, estimated_scatter
from imaging.networks.scatter_cases import WINDOWS_90Y, water_mm
from imaging.networks.scatter_model import CHANNELS, batch, channels
from imaging.reconstruct.scatter import ScatterEstimate, tew
from imaging.scanner.protocol import Protocol
from imaging.series import ImageSeries, Radiopharmaceutical
from tests.fit_scatter import fitted, scan_of
from tests.validate.ai_scatter import linear

SHAPE = (24, 32, 32)
LEVELS = {"peak": 10.0, "lower": 2.0, "upper": 0.12}


def ct(width: int = 20) -> Volume:
    """A box of water in air."""
    array = np.full(SHAPE, -1000.0)
    low = (32 - width) // 2
    array[:, low : 32 - low, low : 32 - low] = 0.0
    affine = np.diag([6.0, 6.0, 6.0, 1.0])
    affine[:3, 3] = [-93.0, -93.0, -69.0]
    return Volume(array, affine)


def scan(seed: int = 0, shape=(24, 32), radius_mm: float = 180.0):
    """Poisson counts that are even within the box's shadow."""
    line = tuple(w for w in Protocol("177Lu", 20.0).energy_windows if w.line_keV == 208.4)
    made = Protocol(
        "177Lu", 20.0, energy_windows=line, views=4, heads=1, matrix=shape, pixel_mm=6.0, radius_mm=radius_mm
    ).acquisition()
    shadow = (water_mm(ct(), made) > 0)[None] * np.array([LEVELS[w.role] for w in line])[:, None, None, None]
    return made.with_counts(np.random.default_rng(seed).poisson(shadow).astype(np.float32))


@pytest.mark.parametrize("method", ["network", "classical"])
def test_the_estimate_has_the_form_that_reconstruction_takes(method):
    projections = scan()
    found = estimated_scatter(projections, ct(), method=method)
    assert isinstance(found.estimate, ScatterEstimate)
    assert found.choice.method == method
    assert found.estimate.counts.shape == found.sd.shape == projections.counts.shape[1:]
    assert found.estimate.counts.min() >= 0
    assert np.isfinite(found.sd).all()
    np.testing.assert_allclose(np.sqrt(found.estimate.variance()), found.sd, rtol=1e-4)
    share = found.estimate.counts.sum() / projections.counts[0].sum()
    assert 0.02 < share < 0.6


def test_the_classical_estimate_is_the_triple_energy_window():
    projections = scan()
    found = estimated_scatter(projections, ct(), method="classical").estimate.counts
    np.testing.assert_array_equal(found, tew(projections, line_keV=208.4, fwhm_mm=TEW_FWHM_mm).counts)


def test_twice_the_counts_give_twice_the_scatter():
    projections = scan()
    one, two = (
        estimated_scatter(projections.with_counts(k * projections.counts), ct(), method="network") for k in (1, 2)
    )
    np.testing.assert_allclose(two.estimate.counts, 2 * one.estimate.counts, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(two.sd, 2 * one.sd, rtol=1e-4, atol=1e-4)


def test_views_are_estimated_each_by_itself():
    projections = scan()
    order = [2, 0, 3, 1]
    turned = replace(projections, counts=projections.counts[:, order], angles_deg=projections.angles_deg[order])
    one, two = (estimated_scatter(p, ct(), method="network").estimate.counts for p in (projections, turned))
    np.testing.assert_allclose(two, one[order], rtol=1e-3, atol=1e-3)
    assert np.abs(two - one).max() > 0.05


def test_the_windows_beside_the_peak_tell_the_network_how_much_scatter_there_is():
    projections = scan()
    less = projections.counts.copy()
    less[projections.window("lower")] *= 0.5
    one = estimated_scatter(projections, ct(), method="network").estimate.counts.sum()
    assert estimated_scatter(projections.with_counts(less), ct(), method="network").estimate.counts.sum() < 0.9 * one


def test_scans_unlike_those_of_the_training_are_flagged():
    far = estimated_scatter(scan(radius_mm=400.0), ct())
    assert far.choice.method == "classical"
    assert any("radius" in reason for reason in far.choice.reasons)
    asked = estimated_scatter(scan(radius_mm=400.0), ct(), method="network")
    assert asked.choice.method == "network"
    assert any("radius" in reason for reason in asked.choice.reasons)


def without(projections, role: str):
    keep = [k for k, w in enumerate(projections.windows) if w.role != role]
    return replace(projections, counts=projections.counts[keep], windows=tuple(projections.windows[k] for k in keep))


def test_another_collimator_is_flagged_where_its_name_is_known():
    assert estimated_scatter(replace(scan(), collimator="SY-ME"), ct()).choice.reasons == ()
    assert estimated_scatter(replace(scan(), collimator="a maker's own"), ct()).choice.reasons == ()
    for method, taken in (("auto", "classical"), ("network", "network")):
        found = estimated_scatter(replace(scan(), collimator="GI-MEGP"), ct(), method=method).choice
        assert found.method == taken
        assert found.reasons == ("collimator is GI-MEGP, trained for SY-ME",)


def test_a_ct_that_shows_few_slices_is_flagged():
    few = Volume(ct().array[:12], ct().affine)
    for method, taken in (("auto", "classical"), ("network", "network")):
        found = estimated_scatter(scan(), few, method=method).choice
        assert found.method == taken
        assert any("50% of the counts lie level with the CT" in reason for reason in found.reasons)


def test_without_an_upper_window_or_a_ct_the_windows_are_used():
    for projections, body, why in ((without(scan(), "upper"), ct(), "above the peak"), (scan(), None, "no CT")):
        found = estimated_scatter(projections, body)
        assert found.choice.method == "classical"
        assert why in found.choice.reasons[0]
        assert found.estimate.counts.sum() > 0
    with pytest.raises(ImageError, match="upper"):
        estimated_scatter(without(scan(), "upper"), ct(), method="network")
    with pytest.raises(InputError, match="ct"):
        estimated_scatter(scan(), None, method="network")
    with pytest.raises(InputError, match="method"):
        estimated_scatter(scan(), None, method="best")


def test_without_weights_the_windows_are_used(tmp_path):
    found = estimated_scatter(scan(), ct(), weights=tmp_path)
    assert found.choice.method == "classical"
    assert found.choice.reasons
    with pytest.raises(InputError, match="weights"):
        estimated_scatter(scan(), ct(), method="network", weights=tmp_path)


def test_a_nuclide_without_a_network_goes_by_its_windows():
    found = estimated_scatter(scan(), ct(), nuclide="111In", line_keV=208.4)
    assert found.choice.method == "classical"
    assert "111In" in found.choice.reasons[0]
    with pytest.raises(InputError, match="111In"):
        estimated_scatter(scan(), ct(), nuclide="111In", line_keV=208.4, method="network")


def test_bremsstrahlung_goes_by_the_window_below_while_there_is_no_network(tmp_path):
    made = replace(scan(), windows=WINDOWS_90Y)
    found = estimated_scatter(made, ct(), nuclide="90Y", weights=tmp_path)
    assert found.choice.method == "classical"
    np.testing.assert_allclose(found.estimate.counts.sum(), DEW_90Y["k"] * made.counts[1].sum(), rtol=1e-3)


def test_windows_that_the_factor_of_bremsstrahlung_was_not_fitted_for_are_named():
    given = scan()
    other = replace(given, windows=tuple(replace(w, lower_keV=w.lower_keV - 5) for w in WINDOWS_90Y))
    known = estimated_scatter(replace(given, windows=WINDOWS_90Y), ct(), nuclide="90Y", method="classical")
    assert known.choice.reasons == ()
    found = estimated_scatter(other, ct(), nuclide="90Y", method="classical")
    assert [reason.split()[0] for reason in found.choice.reasons] == ["peak", "lower"]


def test_bremsstrahlung_has_a_network_of_its_own():
    levels = np.array([6.0, 3.9, 1.5])[:, None, None, None]
    made = replace(scan(), windows=WINDOWS_90Y).with_counts(levels * np.ones(scan().counts.shape))
    one = estimated_scatter(made, ct(), nuclide="90Y", method="network")
    assert one.choice.method == "network"
    assert 0.3 < one.estimate.counts.sum() / made.counts[0].sum() < 0.9
    two = estimated_scatter(made.with_counts(2 * made.counts), ct(), nuclide="90Y", method="network")
    np.testing.assert_allclose(two.sd, 2 * one.sd, rtol=1e-4, atol=1e-4)
    far = replace(made, windows=tuple(replace(w, lower_keV=w.lower_keV - 5) for w in WINDOWS_90Y))
    found = estimated_scatter(far, ct(), nuclide="90Y")
    assert found.choice.method == "classical"
    assert any("peak window from keV" in reason for reason in found.choice.reasons)


def test_what_cannot_be_estimated_is_refused():
    projections = scan()
    with pytest.raises(ImageError, match="no counts in the peak"):
        estimated_scatter(projections.with_counts(np.zeros_like(projections.counts)), ct())
    with pytest.raises(InputError, match="method"):
        estimated_scatter(projections, ct(), method="best")
    with pytest.raises(InputError, match="nuclide"):
        estimated_scatter(replace(projections, radiopharmaceutical=Radiopharmaceutical()), ct())
    one = replace(projections, counts=projections.counts[:1], windows=projections.windows[:1])
    with pytest.raises(ImageError, match="lower"):
        estimated_scatter(one, ct(), method="network")


def test_odd_sizes_of_the_detector_are_taken():
    found = estimated_scatter(scan(shape=(23, 31)), ct(), method="network")
    assert found.estimate.counts.shape == (4, 23, 31)


def test_water_is_what_each_pixel_looks_through():
    seen = water_mm(ct(), scan())
    np.testing.assert_allclose(seen[0, 12, 16], 120.0, rtol=1e-3)
    assert seen[0, 12, 0] == 0


def test_a_batch_holds_views_and_their_scatter_relative_to_one_level():
    projections = scan()
    config = RECIPE_177LU.config("small")
    config = Config(config.size, config.network, config.data, {**config.training, "batch": 3})
    half = np.full_like(projections.counts, 2.0)
    case = {"primary": projections.counts, "first": half, "second": half, "water_mm": water_mm(ct(), projections)}
    made = batch([case], np.random.default_rng(1), config)
    assert made["x"].shape == (3, CHANNELS, 24, 32)
    expected = 2.0 / (case["primary"][0].mean() + 2.0)
    np.testing.assert_allclose(made["target"].mean(axis=(1, 2)), expected, rtol=0.2)


def test_channels_do_not_know_the_scale():
    projections = scan()
    given = (water_mm(ct(), projections)[0], (0.0, 1.0, 1.0))
    one, two = (channels(k * projections.counts[:, 0], *given) for k in (1, 3))
    np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


def test_the_fit_of_windows_finds_the_sum_and_the_width_that_made_the_scatter():
    random = np.random.default_rng(0)
    counts = [random.uniform(5, 20, (3, 2, 40, 40)).astype(np.float32) for _ in range(3)]
    seen = [scan_of(one, linear(one, (0.1, 0.5, 0.4), 30.0, 6.0)) for one in counts]
    found = fitted(seen, np.eye(3), 6.0)
    np.testing.assert_allclose(found.weights, (0.1, 0.5, 0.4), rtol=1e-4)
    assert found.fwhm_mm == 30.0
    given = fitted(seen, np.array([[0.0, 1.0, 1.0]]), 6.0, free=False)
    assert given.weights == (0.0, 1.0, 1.0)
    assert given.error > 0.1


def test_an_energy_as_text_and_a_ct_that_is_no_volume_are_refused():
    projections = scan()
    for line in ("208.4", 0.0, -208.0):
        with pytest.raises(InputError, match="line_keV"):
            estimated_scatter(projections, ct(), line_keV=line)  # pyright: ignore[reportArgumentType]
    for given in (ImageSeries(ct(), "CT", "HU", "", ""), ct().array):
        with pytest.raises(InputError, match="ct: found"):
            estimated_scatter(projections, given)
    assert estimated_scatter(projections, ct(), line_keV=208.4, method="network").choice.method == "network"
