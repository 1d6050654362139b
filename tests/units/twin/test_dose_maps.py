"""Dose maps: sums that are kept, a dose that is known, scans that are moved, and tails that are not passed over."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from dose.errors import ImageError, InputError
from dose.nuclides import radionuclide
from dose.voxels import tia_per_voxel_MBq_h, voxel
from imaging.geometry import Volume
from imaging.recovery import measurement
from imaging.registration import SpatialTransform, resample
from imaging.series import ImageSeries, Radiopharmaceutical, Segment, Segmentation, StudyImages
from twin.dose_maps import MapSettings, dose_maps
from twin.dose_maps_body import outline
from twin.dose_maps_grid import averaged
from twin.dose_maps_learned import learned_map
from twin.dose_maps_noise import grain, grain_voxels
from twin.dose_maps_regions import Z90, interval90
from twin.image_study import ImageStudy
from twin.plots_images import dose_slices
from twin.study_files import ImagingFile, PatientFile

GIVEN = datetime(2026, 3, 10, 9, 0)
LU = radionuclide("177Lu")
SPACING = 5.0
LOCAL = MapSettings(voxel_mm=SPACING, engine="local")
J_PER_MEV, S_PER_H = 1.602176634e-13, 3600.0


def ball(centre=(10, 12, 11), radius=4.0, shape=(20, 24, 24)):
    z, y, x = np.indices(shape)
    return ((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 <= radius**2).astype(np.float32)


BODY, LESION = ball(radius=9.0), ball()


def volume(array) -> Volume:
    return Volume(array, np.array([[SPACING, 0, 0, -60], [0, SPACING, 0, -60], [0, 0, SPACING, 40], [0, 0, 0, 1.0]]))


def scan(hours: float, level_Bq_mL: float, *, frame="a", array=None, given=GIVEN, series=None) -> ImageSeries:
    array = level_Bq_mL * (LESION + 0.02 * BODY) if array is None else array
    drug, at = Radiopharmaceutical("177Lu", LU.half_life_h, 7400.0, given), given + timedelta(hours=hours)
    name, zero = series or f"{frame}{hours:g}", np.zeros(len(array))
    return ImageSeries(volume(array), "SPECT", "Bq/mL", name, frame, "", "NONE", at, zero, drug)


def study(*scans, frames=("a",), label="tumour_1", others=(), drawn=LESION) -> ImageStudy:
    sets = tuple(Segmentation((Segment(label, volume(drawn)),), frame, f"seg{frame}") for frame in frames)
    file = PatientFile(imaging=ImagingFile(boundary="centre"))
    return ImageStudy("here", "here", file, StudyImages((*scans, *others), (), sets), ())


def decaying(teff_h: float, times=(20.0, 90.0)) -> list[ImageSeries]:
    return [scan(t, 1e6 * math.exp(-math.log(2) / teff_h * t)) for t in times]


def ct(hu: float, frame="a") -> ImageSeries:
    array = np.where(BODY > 0, hu, -1000.0)
    return ImageSeries(volume(array), "CT", "HU", "ct", frame)


@pytest.mark.parametrize("voxel_mm", [5.0, 7.3, 9.9])
def test_a_coarser_grid_keeps_every_sum_and_the_centre_of_mass(rng, voxel_mm):
    fine = volume(gaussian_filter(ball(), 1.5) * (1 + 0.1 * rng.random(BODY.shape)))
    coarse = averaged(fine, voxel_mm)
    total = lambda v: v.array.sum(dtype=float) * v.voxel_mL
    # float32 voxels
    assert total(coarse) == pytest.approx(total(fine), rel=1e-6)
    centre = lambda v: v.to_lps_mm(np.indices(v.array.shape)[::-1].reshape(3, -1) @ v.array.ravel() / v.array.sum())
    # a voxel goes to the middles of the one or two new ones it lies in; for a smooth image that cancels to 0.1 mm
    np.testing.assert_allclose(centre(coarse), centre(fine), atol=0.1)


def test_the_dose_of_local_deposition_is_the_energy_of_the_decays_over_the_mass():
    found = dose_maps(study(*decaying(60.0)), LOCAL)
    (row,) = found.regions
    tia = row.volume_mL * 1.02 * 60.0 / math.log(2)  # 1 MBq/mL at the start
    assert row.tia_MBq_h == pytest.approx(tia, rel=1e-3)  # mono through two exact points; float32 scans
    energy = tia * 1e6 * S_PER_H * LU.electron_MeV * J_PER_MEV
    assert row.dose_Gy == pytest.approx(energy / (row.mass_g * 1e-3), rel=1e-3)
    assert row.teff_h == pytest.approx(60.0, rel=1e-3)
    assert row.D95_Gy == pytest.approx(row.D50_Gy, rel=1e-3)  # even activity


def test_dose_is_linear_in_activity_with_the_same_relative_uncertainty():
    once, twice = decaying(60.0), [replace(s, volume=volume(2 * s.volume.array)) for s in decaying(60.0)]
    (a,), (b,) = (dose_maps(study(*scans), LOCAL).regions for scans in (once, twice))
    assert b.dose_Gy == pytest.approx(2 * a.dose_Gy, rel=1e-5)
    assert b.relative_sd == pytest.approx(a.relative_sd, rel=1e-4)


def test_a_ct_in_the_frame_gives_the_density_and_one_of_another_frame_does_not():
    scans = decaying(60.0)
    water = dose_maps(study(*scans), LOCAL).regions[0]
    dense = dose_maps(study(*scans, others=(ct(1000.0),)), LOCAL)
    assert dense.regions[0].mass_g > 1.3 * water.mass_g
    energies = [row.dose_Gy * row.mass_g for row in (water, dense.regions[0])]
    assert energies[1] == pytest.approx(energies[0], rel=1e-4)
    elsewhere = dose_maps(study(*scans, others=(ct(1000.0, frame="b"),)), LOCAL)
    assert elsewhere.regions[0].mass_g == pytest.approx(water.mass_g)
    assert any("no CT" in words for words in elsewhere.provenance)


def test_the_kernel_engine_leaves_some_energy_outside_a_small_region():
    local, kernel = (
        dose_maps(study(*decaying(60.0)), MapSettings(SPACING, e)).regions[0] for e in ("local", "density")
    )
    # electrons of 177Lu reach 2 mm at most: a ball of 40 mm loses little to its rim and gains some from photons
    assert 0.9 < kernel.dose_Gy / local.dose_Gy < 1.1
    assert kernel.D95_Gy < 0.99 * kernel.D50_Gy
    assert kernel.tia_MBq_h == pytest.approx(local.tia_MBq_h)


def test_a_scan_of_another_frame_is_moved_back_and_reported():
    scans = decaying(60.0)
    texture = 1 + 0.5 * np.sin(np.indices(BODY.shape).sum(0) / 3.0)  # a ball alone would fit turned any way
    arrays = [gaussian_filter(s.volume.array * texture, 1.5) for s in scans]
    shift = SpatialTransform.rigid(translation_mm=(7.0, -6.0, 8.0))
    there = resample(volume(arrays[1]), shift.inverse(), volume(arrays[1])).array
    still = study(scan(20.0, 0, array=arrays[0]), scan(90.0, 0, array=arrays[1]))
    moved = study(scan(20.0, 0, array=arrays[0]), scan(90.0, 0, array=there, frame="b"))
    right, found = (dose_maps(s, LOCAL) for s in (still, moved))
    # two linear interpolations blur a ball of eight voxels: some 3 % each
    assert found.regions[0].dose_Gy == pytest.approx(right.regions[0].dose_Gy, rel=0.08)
    (told,) = found.scans.moved
    assert told.after_MBq == pytest.approx(told.before_MBq, rel=0.02)
    assert "SPECT to SPECT" in told.by
    assert found.regions[0].budget["registration"] > right.regions[0].budget["registration"]
    # the same images without a move: what registration is for
    unmoved = dose_maps(study(scan(20.0, 0, array=arrays[0]), scan(90.0, 0, array=there)), LOCAL)
    assert abs(unmoved.regions[0].dose_Gy / right.regions[0].dose_Gy - 1) > 0.1


def test_a_rising_lesion_is_told_in_words_and_doubted():
    later = 1e6 * (1.15 * LESION + 0.1 * BODY)  # what the lesion gains the body has lost
    rising = dose_maps(study(scan(4.0, 0, array=1e6 * (LESION + 0.2 * BODY)), scan(28.0, 0, array=later)), LOCAL)
    (row,) = rising.regions
    assert row.rising_share > 0.9
    assert any("tumour_1" in w and "still rise" in w and "physical decay" in w for w in rising.warnings)
    assert row.teff_h == pytest.approx(LU.half_life_h, rel=1e-3)
    assert row.budget["clearance"] > 0.4  # some 90 % of the integral is after the last scan
    falling = dose_maps(study(*decaying(60.0)), LOCAL)
    assert not any("rise" in w for w in falling.warnings)
    assert falling.regions[0].budget["clearance"] < 0.05


def test_one_scan_needs_a_half_life_and_doubts_it():
    one = study(decaying(60.0)[0])
    with pytest.raises(InputError, match="--teff-h"):
        dose_maps(one, LOCAL)
    (row,) = dose_maps(one, replace(LOCAL, teff_h=60.0, teff_relative_sd=0.2)).regions
    assert row.tia_MBq_h == pytest.approx(row.volume_mL * 1.02 * 60.0 / math.log(2), rel=1e-4)
    assert row.budget["clearance"] == pytest.approx(abs(math.log(2) / 60.0 * 20.0 - 1) * 0.2, rel=1e-4)


def test_a_half_life_beside_several_scans_is_refused():
    with pytest.raises(InputError, match="leave --teff-h out"):
        dose_maps(study(*decaying(60.0)), replace(LOCAL, teff_h=60.0))


def test_several_injections_need_a_choice():
    later = scan(24.0, 1e6, given=GIVEN + timedelta(days=56), series="z")
    both = study(*decaying(60.0), later)
    with pytest.raises(InputError, match="--injection"):
        dose_maps(both, LOCAL)
    assert len(dose_maps(both, LOCAL, injection=1).scans.time_h) == 2
    with pytest.raises(InputError, match="--injection"):
        dose_maps(both, LOCAL, injection=3)


def test_scans_that_are_not_on_one_scale_are_refused():
    with pytest.raises(ImageError, match="one scale"):
        dose_maps(study(scan(4.0, 1e6), scan(28.0, 3e6)), LOCAL)


def test_what_a_scan_did_not_see_is_unknown_and_not_empty():
    first, second = decaying(60.0)
    short = replace(second, volume=Volume(second.volume.array[:12], second.volume.affine), slice_mid_s=np.zeros(12))
    found = dose_maps(study(first, short), LOCAL)
    (row,) = found.regions
    assert 0.4 < row.seen_share < 0.9
    assert any("not seen by all scans" in w for w in found.warnings)
    assert found.tia.where("invalid").any()


def test_the_budget_is_the_sd_and_the_interval_holds_the_dose():
    (row,) = dose_maps(study(*decaying(60.0)), LOCAL).regions
    assert row.relative_sd == pytest.approx(math.sqrt(sum(sd**2 for sd in row.budget.values())))
    low, high = row.interval_Gy
    assert low < row.dose_Gy < high
    assert math.log(high / low) == pytest.approx(2 * Z90 * math.sqrt(math.log1p(row.relative_sd**2)))
    assert interval90(3.0, 0.0) == (3.0, 3.0)


def test_the_noise_of_a_region_is_that_of_one_mL_over_the_root_of_its_volume():
    (row,) = dose_maps(study(decaying(60.0)[0]), replace(LOCAL, teff_h=60.0)).regions
    stated = measurement("SPECT").noise_cv_1mL / math.sqrt(row.volume_mL)
    # sixteen random fields give an sd to 18 %, and the region's rim is part of the grain's reach: 2.5 of those sds
    assert row.budget["noise"] == pytest.approx(stated, rel=0.45)


def test_the_grain_shares_its_noise_between_as_many_voxels_as_it_says(rng):
    how, grid = measurement("SPECT"), volume(np.zeros((64, 64, 64)))
    field = grain(rng, grid.array.shape, grid, how)
    blocks = field.reshape(8, 8, 8, 8, 8, 8).mean(axis=(1, 3, 5))
    # variance of a mean of n voxels is m/n: 512 blocks give it to 6 %; at a block's rim the grain reaches out of it,
    # on 40 mm by 8 % an axis
    assert blocks.var() * 512 == pytest.approx(0.78 * grain_voxels(grid, how), rel=0.2)


def test_the_sd_map_holds_what_all_voxels_share():
    found = dose_maps(study(*decaying(60.0)), LOCAL)
    floor = measurement("SPECT").calibration_cv * found.dose_Gy
    assert np.all(found.dose_sd_Gy >= floor * (1 - 1e-5))


def test_a_study_without_a_region_has_maps_and_says_so():
    found = dose_maps(study(*decaying(60.0), frames=()), LOCAL)
    assert found.regions == ()
    assert found.dose_Gy.max() > 0
    assert any("no region is drawn" in words for words in found.warnings)


def test_the_outline_holds_the_body_and_leaves_the_air():
    grid = volume(np.zeros(BODY.shape))
    found = outline(0.02 * BODY + LESION, grid)
    assert found[BODY > 0].mean() > 0.99
    assert found.sum() < 2.0 * BODY.sum()  # blurred by 6 mm, threshold at half a percent: a rim of three voxels


@pytest.mark.parametrize(
    "wrong",
    [{"voxel_mm": 0.1}, {"engine": "kernal"}, {"teff_h": -3.0}, {"teff_relative_sd": 1.5}, {"voxel_mm": math.nan}],
)
def test_settings_that_cannot_be_meant_are_refused(wrong):
    with pytest.raises(InputError):
        MapSettings(**wrong)


@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_the_picture_shows_the_patient_the_same_way_round_whatever_the_grid(signs):
    dose = np.zeros((8, 9, 10))
    dose[1, 2, 3] = 5.0  # low, in front, on the right
    array = np.flip(dose, [axis for axis, sign in zip((2, 1, 0), signs, strict=True) if sign < 0])
    grid = Volume(array, np.diag([*(4.0 * np.array(signs)), 1.0]))
    figure = dose_slices(grid, {"tumour_1": (array > 0).astype(float)}, "title")
    shown = figure.axes[0].images[0].get_array()
    assert np.unravel_index(np.argmax(shown), shown.shape) == (1, np.argmax(shown[1]))
    assert figure.axes[0].images[0].origin == "lower"  # row 1 of 8 is near the feet
    assert np.argmax(shown[1]) < shown.shape[1] / 2  # the patient's right is on the left


def test_the_learned_engine_out_of_its_range_is_the_kernels_and_says_why():
    scans = decaying(60.0)
    learned, kernel = (dose_maps(study(*scans), MapSettings(SPACING, e)) for e in ("learned", "kernel"))
    assert np.array_equal(learned.dose.dose_Gy, kernel.dose.dose_Gy)
    assert any("not by the network" in words and "voxel size" in words for words in learned.warnings)


def lung_and_tissue(side=24):
    density = np.full((side,) * 3, 1.03)
    density[: side // 2] = 0.26
    tia = np.full(density.shape, 0.02)
    tia[side // 2 : side // 2 + 3, 8:14, 8:14] = 2.0
    return tia, density


def test_the_learned_engine_corrects_the_kernels_and_carries_its_sd():
    tia, density = lung_and_tissue()
    spacing = (4.0, 4.0, 4.0)
    kernel = voxel(tia_per_voxel_MBq_h(tia, spacing), density, "90Y", spacing, heterogeneity="tissue")
    found = learned_map(kernel, tia, density, kernel)
    assert found.engine == "learned"
    assert found.dose_Gy == pytest.approx(found.electron_Gy + found.photon_Gy)
    assert 0.01 < np.abs(found.dose_Gy / kernel.dose_Gy - 1).max() < 1.0
    assert found.relative_sd is not None
    assert 0 < found.relative_sd.max() < 1.0


def test_what_lies_below_zero_from_noise_is_left_to_the_kernels():
    tia, density = lung_and_tissue()
    spacing = (4.0, 4.0, 4.0)
    noisy = tia - 0.5 * (np.random.default_rng(1).random(tia.shape) < 0.05)
    above = np.maximum(noisy, 0.0)
    whole, positive = (
        voxel(tia_per_voxel_MBq_h(x, spacing), density, "177Lu", spacing, heterogeneity="tissue", allow_negative=True)
        for x in (noisy, above)
    )
    found = learned_map(whole, above, density, positive)
    plain = learned_map(positive, above, density, positive)
    assert found.dose_Gy - plain.dose_Gy == pytest.approx(whole.dose_Gy - positive.dose_Gy, rel=1e-4, abs=1e-6)
