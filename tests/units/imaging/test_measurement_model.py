"""The fast measurement model: scaling, noise as stated, and agreement with the full simulation it is fitted to."""

from __future__ import annotations

import json
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from imaging.geometry import Volume
from imaging.reconstruct.iterations import Settings
from imaging.scanner.anatomy import Anatomy
from imaging.scanner.camera import camera
from imaging.scanner.fit_measurement import fit_measurement_model, region_totals_MBq
from imaging.scanner.measured_scan import Scan, beds_of
from imaging.scanner.measurement_file import (
    checked,
    measurement_model,
    read_measurement_model,
    save_measurement_model,
    tumour_volumes_mL,
)
from imaging.scanner.measurement_model import MeasurementModel, root
from imaging.scanner.protocol import Protocol
from imaging.scanner.spect import simulate_spect

REFERENCE = {"liver": 100.0, "spleen": 20.0, "remainder": 60.0}
SEEN = 9.0
"""Counts per second for each MBq in the image; any number will do for the laws."""


@pytest.fixture(scope="module")
def scan() -> Scan:
    """A cylinder of water with a large and a small ball, few coarse views."""
    at = (np.arange(24) - 11.5) * 10.0
    z, y, x = np.meshgrid(at, at, at, indexing="ij")
    labels = np.where((np.hypot(x, y) < 90) & (abs(z) < 80), 1, 0)
    labels[np.sqrt((x + 40) ** 2 + y**2 + z**2) < 32] = 2
    labels[np.sqrt((x - 35) ** 2 + (y - 20) ** 2 + z**2) < 22] = 3
    affine = np.diag([10.0, 10.0, 10.0, 1.0])
    affine[:3, 3] = at[0]
    ct = Volume(np.where(labels > 0, 0.0, -1000.0).astype(np.float32), affine)
    body = Anatomy(labels, ("outside", "muscle", "liver", "spleen"), np.array([0.001, 1, 1, 1]), ct)
    windows = Protocol("177Lu", frame_s=1.0).energy_windows[:3]
    bed = Protocol("177Lu", 30.0, windows, views=12, matrix=(24, 24), pixel_mm=10.0, radius_mm=150.0)
    return Scan(body, camera("SY-ME"), (bed,), tuple(REFERENCE), 208.4, Settings(4, 6), {}, oversample=1)


@pytest.fixture(scope="module")
def beds(scan):
    return beds_of(scan)


@pytest.fixture(scope="module")
def fitted(scan, beds) -> MeasurementModel:
    return fit_measurement_model(scan, REFERENCE, beds=beds, cps_per_MBq=SEEN, calibration_cv=0.05, blur_cv=0.05)


@pytest.fixture(scope="module")
def model() -> MeasurementModel:
    """Any response and any covariances do for the laws."""
    rng = np.random.default_rng(11)
    parts = rng.normal(size=(4, 3, 3))
    covariances = np.moveaxis(parts @ parts.transpose(0, 2, 1), 0, -1) * 20.0
    response = np.array([[0.9, 0.05, 0.02], [0.06, 0.6, 0.04], [0.1, 0.3, 0.95]])
    arrays = (response, covariances[..., :3], np.array([0.1, 0.2, -0.1]), covariances[..., 3], 0.3 * np.eye(3))
    plain = [jnp.asarray(a) for a in (*arrays, 0.05, 0.1, 600.0)]
    return checked(MeasurementModel(*plain, regions=tuple(REFERENCE), about=(("made by", "hand"),)))


def measured(model, activity_MBq, key, scan_time_s=None, shared=None):
    return jax.jit(MeasurementModel.measure)(model, jnp.asarray(activity_MBq), key, scan_time_s, shared=shared)


@pytest.fixture(scope="module")
def pattern() -> np.ndarray:
    return np.array(list(REFERENCE.values()))


@pytest.mark.slow
def test_counts_of_a_pattern_are_sums_of_its_sources(scan, beds, pattern):
    """The simulator is linear without dead time: what a fit may rest on."""
    still = replace(scan.camera, dead_time_us=0.0, background_cps_per_keV=0.0)
    activity = scan.activity(dict(zip(scan.regions, pattern, strict=True)))
    whole = simulate_spect(activity, scan.anatomy.ct, still, scan.beds[0], oversample=1).counts
    np.testing.assert_allclose(beds[0].counts(pattern) - beds[0].room, whole, rtol=1e-4, atol=1e-4 * whole.max())


@pytest.mark.slow
def test_at_the_reference_the_model_is_the_full_one(scan, beds, fitted, pattern):
    full = region_totals_MBq(scan, beds, SEEN, pattern)
    np.testing.assert_allclose(fitted.expected(pattern), full, rtol=2e-3)  # single precision, a constant start


@pytest.mark.slow
def test_a_scan_twice_as_hot_is_read_twice_as_high(scan, beds, fitted, pattern):
    room_less = [replace(bed, room=np.zeros_like(bed.room)) for bed in beds]
    once, twice = (region_totals_MBq(scan, room_less, SEEN, k * pattern) for k in (1, 2))
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-3)
    plain = np.asarray(fitted.expected(2 * pattern) - fitted.offset_MBq)
    np.testing.assert_allclose(plain, 2 * np.asarray(fitted.expected(pattern) - fitted.offset_MBq), rtol=1e-9)


@pytest.mark.slow
def test_near_the_reference_other_ratios_are_read_as_by_the_full_model(scan, beds, fitted, pattern):
    other = pattern * np.array([1.2, 0.7, 1.1])
    full = region_totals_MBq(scan, beds, SEEN, other)
    np.testing.assert_allclose(fitted.expected(other), full, rtol=0.03)  # OSEM is not linear
    unspilt = np.diag(np.asarray(fitted.response)) * other  # negative control: without spill-over it misses
    assert np.abs(unspilt / full - 1).max() > 0.05


@pytest.mark.slow
def test_noise_is_that_of_noisy_simulations(scan, beds, fitted, pattern):
    drawn = [region_totals_MBq(scan, beds, SEEN, pattern, jax.random.key(n)) for n in range(60)]
    ratio = np.std(drawn, axis=0, ddof=1) / np.sqrt(np.diag(fitted.covariance(pattern)))
    # 60 draws know each sd to 9 %: three of these, and the mean square of three regions to 5 %
    assert np.all(abs(ratio - 1) < 0.27)
    assert abs(np.sqrt(np.mean(ratio**2)) - 1) < 0.15


def test_covariance_goes_with_activity_and_one_over_time(model, pattern):
    less = model.covariance(pattern, model.scan_time_s / 4)
    np.testing.assert_allclose(less, 4 * model.covariance(pattern), rtol=1e-12)
    none = model.covariance(0 * pattern)
    np.testing.assert_allclose(none, model.room_MBq2_s / model.scan_time_s, rtol=1e-12)
    sums = model.covariance(pattern) + model.covariance(2 * pattern)
    np.testing.assert_allclose(sums, model.covariance(3 * pattern) + none, rtol=1e-9)


def test_measurements_have_the_mean_and_covariance_that_are_stated(model, pattern):
    batch = jnp.broadcast_to(jnp.asarray(pattern), (40_000, 3))
    still = np.asarray(measured(model, batch, jax.random.key(1), 60.0, jnp.zeros((40_000, 2))))
    want = np.asarray(model.covariance(pattern, 60.0))
    scale = np.sqrt(np.outer(np.diag(want), np.diag(want)))
    assert np.abs(np.cov(still.T) - want).max() < 0.03 * scale.max()  # 40 000 draws: 0.7 % of a variance
    np.testing.assert_allclose((still.mean(axis=0) - model.expected(pattern)) / np.sqrt(np.diag(want)), 0, atol=0.02)
    shared = np.asarray(model.shared_errors(pattern))
    free = np.asarray(measured(model, batch, jax.random.key(2), 60.0))
    np.testing.assert_allclose(np.cov(free.T).diagonal(), np.diag(want + shared @ shared.T), rtol=0.03)


def test_one_key_gives_one_measurement_and_jit_and_vmap_the_same(model, pattern):
    key = jax.random.key(7)
    first = measured(model, pattern, key, 600.0)
    np.testing.assert_array_equal(first, measured(model, pattern, key, 600.0))
    batch = jnp.stack([pattern, 2 * pattern])
    keys = jax.random.split(key, 2)
    mapped = jax.jit(jax.vmap(model.measure))(batch, keys, jnp.array([300.0, 600.0]))
    np.testing.assert_allclose(mapped[1], measured(model, 2 * pattern, keys[1], 600.0), rtol=1e-9)


def test_the_gradient_is_that_of_differences(model, pattern):
    value = jax.jit(lambda a: jnp.sum(jnp.sin(model.measure(a, jax.random.key(3), 600.0) / 50)))
    slope, step = jax.grad(value)(jnp.asarray(pattern)), 1e-4
    for k, unit in enumerate(np.eye(3)):
        apart = (value(pattern + step * unit) - value(pattern - step * unit)) / (2 * step)
        np.testing.assert_allclose(slope[k], apart, rtol=1e-5, atol=1e-9)


def test_corrections_give_back_the_truth_and_undone_their_noise(model, pattern):
    np.testing.assert_allclose(model.corrected(model.expected(pattern)), pattern, rtol=1e-9)
    left = np.asarray(model.recovered(model.expected(pattern))) / pattern - 1
    assert np.abs(left).max() > 0.05  # spill-over is there to be corrected
    drawn = measured(model, np.tile(pattern, (40_000, 1)), jax.random.key(4), shared=jnp.zeros((40_000, 2)))
    found = np.cov(np.asarray(model.corrected(drawn)).T)
    np.testing.assert_allclose(found.diagonal(), np.diag(model.undone().covariance(pattern)), rtol=0.03)


def test_the_root_is_a_cholesky_factor_for_every_matrix_of_a_batch(rng):
    part = rng.normal(size=(5, 4, 4))
    matrices = jnp.asarray(part @ part.transpose(0, 2, 1))
    np.testing.assert_allclose(root(matrices), jnp.linalg.cholesky(matrices), rtol=1e-6, atol=1e-6)
    assert np.isfinite(jax.jit(jax.grad(lambda c: root(c).sum()))(jnp.zeros((3, 3)))).all()


def test_a_file_gives_the_model_back(model, tmp_path):
    save_measurement_model(tmp_path / "m.json", model)
    back = read_measurement_model(tmp_path / "m.json")
    assert (back.regions, back.about) == (model.regions, model.about)
    np.testing.assert_allclose(back.noise_MBq_s, model.noise_MBq_s, rtol=1e-6)


@pytest.mark.parametrize("fault", ["format", "response", "noise_MBq_s", "regions", "scan_time_s"])
def test_a_damaged_file_is_refused(model, tmp_path, fault):
    path = tmp_path / "m.json"
    save_measurement_model(path, model)
    words = json.loads(path.read_text())
    wrong = {"format": 2, "response": [[0.0]], "regions": ["liver"] * 3, "scan_time_s": 0}
    words[fault] = wrong.get(fault, (-np.asarray(model.noise_MBq_s)).tolist())
    path.write_text(json.dumps(words))
    with pytest.raises(InputError, match="measurement model"):
        read_measurement_model(path)
    path.write_text("no json")
    with pytest.raises(InputError, match="measurement model"):
        read_measurement_model(path)


def test_what_cannot_be_fitted_is_refused(scan):
    with pytest.raises(InputError, match="reference_MBq"):
        fit_measurement_model(scan, {"liver": 1.0}, beds=(), cps_per_MBq=SEEN)
    away = replace(scan.beds[0], centre_lps_mm=(0.0, 0.0, 900.0))
    with pytest.raises(InputError, match="outside of every bed"):
        beds_of(replace(scan, beds=(away,)))
    with pytest.raises(InputError, match="measurement"):
        replace(scan, beds=(scan.beds[0], replace(scan.beds[0], frame_s=1.0)))


def test_the_shipped_model_is_whole_and_says_what_made_it():
    shipped = checked(measurement_model("Lu-177"))
    about = dict(shipped.about)
    assert about["made by"].startswith("imaging/data/make_measurement.py")
    assert tumour_volumes_mL(shipped) == {"tumour_1": 1.0, "tumour_2": 5.0, "tumour_3": 30.0}
    own = np.diag(np.asarray(shipped.response))[[shipped.regions.index(f"tumour_{k}") for k in (1, 2, 3)]]
    assert np.all(np.diff(own) > 0)  # larger lesions keep more of what they hold
    with pytest.raises(InputError, match="shipped measurement model"):
        measurement_model("90Y")


def test_the_shipped_model_was_made_from_the_tables_that_are_shipped():
    from dose.provenance import numbers_of

    about = dict(measurement_model("177Lu").about)
    made = {name.removeprefix("numbers of "): said for name, said in about.items() if name.startswith("numbers of ")}
    assert made == {name: numbers_of("imaging", name) for name in made}
