"""Laws of the virtual PET: conservation, linearity, decay in frames, positron range, noise as set, DICOM and back."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest

from dose.errors import InputError
from dose.provenance import load_table
from imaging.decay import factor_to_scan_start
from imaging.geometry import Volume
from imaging.noise_model import noise_of_width
from imaging.scanner.pet import Frames, pet_scanner, simulate_pet
from imaging.scanner.pet_noise import voxel_sd
from imaging.scanner.positron_range import gaussian, positron_range, spread
from imaging.scanner.spect import Timed
from imaging.series import Radiopharmaceutical

SHARP = pet_scanner(crystal_mm=0.0, ring_mm=0.0, block_mm=0.0, filter_fwhm_mm=0.0)
LSO = pet_scanner()
NUCLIDES = [row["nuclide"] for row in load_table("imaging", "positron_range.csv")]
AT = datetime(2026, 3, 2, 23, 50)


def volume(array, step=2.0) -> Volume:
    return Volume(array, np.diag([step, step, step, 1.0]))


def point(side=41, step=1.0) -> Volume:
    array = np.zeros((side,) * 3)
    array[(side // 2,) * 3] = 1e6
    return volume(array, step)


@pytest.mark.parametrize("nuclide", NUCLIDES)
def test_positron_range_keeps_counts_and_has_its_mean_and_variance(nuclide):
    kernel, source = positron_range(nuclide), point(side=61, step=0.5)
    seen = spread(source.array, source.spacing_mm, kernel)
    assert seen.sum() == pytest.approx(1e6, rel=1e-6)
    row = next(r for r in load_table("imaging", "positron_range.csv") if r["nuclide"] == nuclide)
    # the table keeps four digits
    assert kernel.mean_mm == pytest.approx(float(row["mean_mm"]), rel=1e-3)
    along = (np.arange(61) - 30) * 0.5
    variance = (seen.sum(axis=(0, 1)) * along**2).sum() / seen.sum()
    # the Gaussians reach 5 sigma
    assert variance == pytest.approx(np.dot(kernel.share, np.square(kernel.sigma_mm)), rel=1e-3)


def test_distances_of_the_table_grow_with_the_energy_and_lie_among_published_ones():
    means = {nuclide: positron_range(nuclide).mean_mm for nuclide in NUCLIDES}
    assert means["18F"] < means["64Cu"] < means["89Zr"] < means["68Ga"]
    # published mean distances to annihilation lie at 0.4 to 0.7 mm and 2.1 to 3 mm by definition and code (recalled)
    assert 0.4 < means["18F"] < 0.7
    assert 2.1 < means["68Ga"] < 3.0


def test_the_range_goes_with_one_over_density():
    source, kernel = point(), positron_range("68Ga")
    widths = {}
    for density in (0.3, 1.0, 1.5):
        seen = spread(source.array, source.spacing_mm, kernel, np.full(source.array.shape, density))
        along = (np.arange(41) - 20.0) ** 2
        widths[density] = (seen.sum(axis=(0, 1)) @ along) / seen.sum()
    assert widths[1.5] == pytest.approx(widths[1.0] / 1.5**2, rel=1e-3)
    # in lung the kernel reaches the edge of the field
    assert widths[0.3] == pytest.approx(widths[1.0] / 0.3**2, rel=0.05)


def test_the_image_is_linear_and_keeps_the_activity(rng):
    array = np.zeros((30, 30, 30))
    array[10:20, 10:20, 10:20] = rng.random((10, 10, 10)) * 1e4
    one, two = volume(array, 4.0), volume(3 * array, 4.0)
    seen = [simulate_pet(v, None, LSO, "68Ga", Frames.static(600.0))[0].volume.array for v in (one, two)]
    np.testing.assert_allclose(seen[1], 3 * seen[0], rtol=1e-5, atol=1e-3)
    # tails beyond 5 sigma and float32 voxels
    assert seen[0].sum(dtype=float) == pytest.approx(array.sum(), rel=1e-5)


def test_resolution_is_that_of_its_parts():
    source = point(step=1.0)
    image = simulate_pet(source, None, replace(LSO, with_range=False), "18F", Frames.static(60.0))[0]
    along = np.arange(41) - 20.0
    variance = (image.volume.array.sum(axis=(0, 1), dtype=float) @ along**2) / image.volume.array.sum(dtype=float)
    assert np.sqrt(8 * np.log(2) * variance) == pytest.approx(LSO.fwhm_mm, rel=1e-3)
    assert LSO.fwhm_mm == pytest.approx(np.hypot(1.25 * np.sqrt(4 + (0.0022 * 820) ** 2 + 4), 4.0))
    assert image.resolution_mm == LSO.fwhm_mm


def test_decay_within_long_frames_is_taken_back_exactly():
    source = volume(np.full((8, 8, 8), 1000.0))
    frames = Frames.following(60.0, 3600.0, 7200.0)
    middle = [s.volume.array[4, 4, 4] for s in simulate_pet(source, None, SHARP, "68Ga", frames)]
    np.testing.assert_allclose(middle, middle[0], rtol=1e-6)


def test_a_curve_of_pure_decay_gives_what_a_volume_gives():
    source = volume(np.full((12, 12, 12), 1000.0))
    from dose.nuclides import radionuclide

    curve = Timed(source, lambda time_h: 2 ** (-time_h / radionuclide("68Ga").half_life_h))
    frames = Frames((0.0, 900.0), (600.0, 900.0))
    for one, two in zip(*(simulate_pet(a, None, LSO, "68Ga", frames) for a in (source, [curve]))):
        np.testing.assert_allclose(one.volume.array, two.volume.array, rtol=1e-6)


def test_a_curve_that_rises_shows_in_its_frames():
    source = volume(np.full((6, 6, 6), 1000.0))
    rising = Timed(source, lambda time_h: time_h * 2 ** (-time_h / 1.8295))
    seen = simulate_pet([rising], None, SHARP, "18F", Frames.following(600.0, 600.0, 600.0))
    middle = np.array([s.volume.array[3, 3, 3] for s in seen])
    # the mean over a frame of t exp(-rate t), corrected as if the concentration stood still
    rate, edges = np.log(2) / 1.8295, np.array([0, 1, 2, 3]) / 6
    upto = -np.exp(-rate * edges)
    expected = (np.diff(upto * (edges / rate + 1 / rate**2))) / np.diff(upto / rate)
    np.testing.assert_allclose(middle, 1000 * expected, rtol=1e-4)


@pytest.fixture(scope="module")
def draws():
    """Noise of an even field: 12 draws, [draw, z, y, x], the expected image, its sd."""
    source = volume(np.full((40, 40, 40), 5000.0), 4.0)
    frames = Frames.static(300.0)
    mean = simulate_pet(source, None, LSO, "18F", frames)[0].volume.array
    seen = [simulate_pet(source, None, LSO, "18F", frames, seed=k)[0].volume.array - mean for k in range(12)]
    return np.stack(seen)[:, 6:-6, 6:-6, 6:-6], source


def noise_sd(source, duration_s=300.0):
    positrons, grid = positron_range("18F").positrons_per_decay, source
    from imaging.scanner.counting import mean_decay

    decayed = float(mean_decay(0.0, duration_s, 109.77 / 60))
    # the outer voxels lose activity to the surroundings: randoms hardly notice
    field_MBq = source.array.sum() * source.voxel_mL * positrons * decayed / 1e6
    counts = LSO.counting.counts_per_decay(field_MBq) * positrons * grid.voxel_mL * duration_s
    return voxel_sd(5000.0 * decayed, source.spacing_mm, counts, LSO.counting, LSO.filter_fwhm_mm) / decayed


def test_noise_has_the_sd_and_the_correlation_set(draws):
    seen, source = draws
    # 12 x 28^3 voxels, of which some 1 in 10 are independent: sd of the sd 0.4 %
    assert seen.std() == pytest.approx(float(noise_sd(source)), rel=0.02)
    asked = noise_of_width(1.0, LSO.filter_fwhm_mm, source.spacing_mm).correlation
    centre = asked.shape[0] // 2
    for lag in (1, 2):
        found = (seen[..., lag:] * seen[..., :-lag]).mean() / seen.var()
        # some 100 000 independent voxels: sd of a correlation 0.003
        assert found == pytest.approx(asked[centre, centre, centre + lag], abs=0.015)


def test_a_region_sum_has_the_variance_of_its_noise_equivalent_counts(draws):
    seen, source = draws
    sums = seen[:, 2:26, 2:26, 2:26].reshape(12, 2, 12, 2, 12, 2, 12).mean(axis=(2, 4, 6))
    positrons = positron_range("18F").positrons_per_decay
    counts = LSO.counting.counts_per_decay(5000 * 64 * 40**3 / 1e9 * positrons) * positrons * 300 * 5000
    relative = np.sqrt(LSO.counting.amplification / (counts * source.voxel_mL * 12**3))
    # 96 cubes: sd of the sd 7 %; smoothing takes some 5 % over their faces
    assert sums.std() / 5000 == pytest.approx(relative, rel=0.25)


def test_noise_falls_with_the_root_of_time_and_its_seed_decides_it():
    source = volume(np.full((24, 24, 24), 5000.0), 4.0)
    sd = {}
    for duration in (30.0, 120.0):
        frames = Frames.static(duration)
        mean = simulate_pet(source, None, LSO, "18F", frames)[0].volume.array
        one, two = (simulate_pet(source, None, LSO, "18F", frames, seed=3)[0].volume.array for _ in range(2))
        np.testing.assert_array_equal(one, two)
        sd[duration] = (one - mean).std()
    assert sd[30.0] / sd[120.0] == pytest.approx(2.0, rel=0.02)


def test_sharp_noise_is_white():
    source = volume(np.full((30, 30, 30), 5000.0), 4.0)
    unfiltered = replace(LSO, filter_fwhm_mm=0.0)
    frames = Frames.static(60.0)
    mean = simulate_pet(source, None, unfiltered, "18F", frames)[0].volume.array
    noise = simulate_pet(source, None, unfiltered, "18F", frames, seed=1)[0].volume.array - mean
    # 27 000 voxels: sd of a correlation 0.006
    assert abs((noise[..., 1:] * noise[..., :-1]).mean() / noise.var()) < 0.03


def test_frames_scanners_and_sources_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="frames"):
        Frames((0.0, 30.0), (60.0, 60.0))
    with pytest.raises(InputError, match="one of lso"):
        pet_scanner("bgo_ring")
    with pytest.raises(InputError, match="counting model"):
        pet_scanner(survival=1.5)
    with pytest.raises(InputError, match="positron emitter"):
        simulate_pet(point(5), None, LSO, "177Lu", Frames.static(60.0))
    with pytest.raises(InputError, match="zero or more"):
        simulate_pet(volume(-np.ones((4, 4, 4))), None, LSO, "18F", Frames.static(60.0))
    with pytest.raises(InputError, match="grid"):
        simulate_pet(point(5), volume(np.zeros((4, 4, 4))), LSO, "18F", Frames.static(60.0))


def test_a_scan_written_as_dicom_is_read_back(tmp_path):
    from imaging.dicom_read import read_folder
    from imaging.dicom_write import Exported, write_pet_copy

    told = Radiopharmaceutical(administered_MBq=150.0, started_at=AT - timedelta(hours=1))
    source = volume(np.full((6, 8, 8), 1000.0), 4.0)
    [image] = simulate_pet(source, None, LSO, "68Ga", Frames.static(600.0), seed=1, started_at=AT, injection=told)
    write_pet_copy(tmp_path / "pet", image, Exported.virtual(1, AT, weight_kg=70.0, height_m=1.7, sex="male"))
    [read] = read_folder(tmp_path).of("PET")
    np.testing.assert_allclose(read.volume.array, image.volume.array, atol=2e-5 * np.abs(image.volume.array).max())
    np.testing.assert_allclose(read.volume.affine, image.volume.affine, atol=1e-3)
    assert read.decay_correction == "START"
    assert read.radiopharmaceutical.nuclide == "68Ga"
    np.testing.assert_allclose(factor_to_scan_start(read), 1.0)


def test_a_later_frame_is_read_back_as_corrected_to_the_start_of_the_scan(tmp_path):
    from imaging.dicom_read import read_folder
    from imaging.dicom_write import Exported, write_pet_copy

    source = volume(np.full((6, 8, 8), 1000.0), 4.0)
    told = Radiopharmaceutical(administered_MBq=150.0, started_at=AT)
    late = simulate_pet(source, None, LSO, "68Ga", Frames.following(600.0, 1200.0), started_at=AT, injection=told)[1]
    write_pet_copy(tmp_path / "pet", late, Exported.virtual(1, AT, weight_kg=70.0, height_m=1.7, sex="male"))
    study = read_folder(tmp_path)
    [read] = study.of("PET")
    # what the voxels say of the activity at the start of the frame is the same: 0.9 of the value, not all of it
    waited_h = (late.reference_at - read.reference_at).total_seconds() / 3600
    decayed = factor_to_scan_start(read) * 2 ** (-waited_h / late.radiopharmaceutical.half_life_h)
    np.testing.assert_allclose(decayed, factor_to_scan_start(late), rtol=1e-6)
    assert decayed[0] == pytest.approx(0.9027, abs=1e-3)
    assert not any("DecayFactor" in warning for warning in study.warnings)


def test_the_discrete_gaussian_keeps_sum_and_variance():
    line = np.zeros((1, 1, 81))
    line[0, 0, 40] = 1
    for variance in (0.01, 0.3, 9.0):
        seen = gaussian(line, (1.0, 1e6, 1e6), variance)[0, 0]
        assert seen.sum() == pytest.approx(1.0, rel=1e-6)
        assert seen @ (np.arange(81) - 40.0) ** 2 == pytest.approx(variance, rel=1e-4)
