"""What the calls of time-integrated activity refuse: slips of units, masks, text for numbers; and what they still take.

Each refusal stands beside a call that passes, so that a check that refuses everything fails too.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from dose.errors import ImageError, InputError, TheratwinError
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.networks.tia_checks import MOST_SHARE
from imaging.networks.tia_from_pet import tia_from_pet_scan
from imaging.networks.tia_single import tia_from_single_scan
from imaging.series import ImageSeries

SHAPE = (24, 26, 30)
HOT = np.zeros(SHAPE, bool)
HOT[8:14, 8:14, 8:14] = True
SPECT = Volume(np.where(HOT, 2e5, 5e3), np.diag([6.0, 6.0, 6.0, 1.0]))
PET = SPECT.with_array(np.where(HOT, 20.0, 0.5))
CT = SPECT.with_array(np.zeros(SHAPE))
SINGLE = {"time_h": 72.0, "administered_MBq": 7400.0, "mass_g": 80_000.0, "tracer": "psma", "fwhm_mm": 12.0}
FORESEEN = {"mass_g": 80_000.0, "tracer": "psma", "fwhm_mm": 6.0}
MASK = {"kidney_left": HOT}


def single(image: Any = SPECT, ct: Any = CT, regions: Any = MASK, **more: Any):
    return tia_from_single_scan(image, ct, regions=regions, **{**SINGLE, "method": "classical", **more})


def foreseen(image: Any = PET, ct: Any = CT, regions: Any = MASK, **more: Any):
    return tia_from_pet_scan(image, ct, regions, **{**FORESEEN, "method": "classical", **more})


CALLS = [single, foreseen]
SLIPS = {
    "GBq": {"administered_MBq": 7.4},
    "seconds": {"time_h": 72 * 3600.0},
    "minutes": {"time_h": 72 * 60.0},
    "another nuclide": {"nuclide": "68Ga"},
    "kilograms": {"mass_g": 80.0},
    "milligrams": {"mass_g": 8e7},
}


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
@pytest.mark.parametrize("method", ["classical", "network", "auto"])
def test_more_decays_than_there_can_be_are_refused_by_the_name_of_what_is_wrong(slip, method):
    with pytest.raises(InputError, match=next(iter(slip))):
        single(method=method, **slip)
    assert single(method=method).volume.array.max() > 0


def test_a_field_may_hold_what_was_administered_but_for_errors_of_calibration():
    seen_MBq = SPECT.array.sum(dtype=float) * SPECT.voxel_mL * 1e-6
    given_MBq = seen_MBq * np.exp(np.log(2) * 72.0 / radionuclide("177Lu").half_life_h)
    assert single(administered_MBq=1.01 * given_MBq / MOST_SHARE).volume.array.max() > 0
    with pytest.raises(InputError, match="administered"):
        single(administered_MBq=0.99 * given_MBq / MOST_SHARE)


def test_a_pet_in_becquerel_or_with_a_mass_in_kilograms_is_refused():
    with pytest.raises(InputError, match="SUV by body weight"):
        foreseen(PET.with_array(1e4 * PET.array))
    with pytest.raises(InputError, match="mass_g.*grams"):
        foreseen(mass_g=80.0)
    whole = PET.array.sum(dtype=float) * PET.voxel_mL
    assert foreseen(mass_g=1.01 * whole / MOST_SHARE).volume.array.max() > 0
    with pytest.raises(InputError, match="SUV"):
        foreseen(mass_g=0.99 * whole / MOST_SHARE)


WORDS = [(single, "time_h", "72"), (single, "administered_MBq", "7.4 GBq"), (single, "administered_MBq", None)]
WORDS += [(call, name, value) for call in CALLS for name, value in (("mass_g", "80 kg"), ("fwhm_mm", None))]
WORDS += [(single, "time_h", [24.0, 72.0]), (single, "time_h", True), (single, "nuclide", None)]


@pytest.mark.parametrize(("call", "name", "value"), WORDS)
def test_text_for_a_number_is_refused_by_name(call, name, value):
    with pytest.raises(InputError, match=name):
        call(**{name: value})


@pytest.mark.parametrize("number", [72, np.float32(72), np.array(72.0)])
def test_numbers_of_any_kind_are_taken(number):
    np.testing.assert_allclose(single(time_h=number).volume.array, single().volume.array, rtol=1e-6)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "wrong", [None, np.zeros(SHAPE), ImageSeries(CT, "CT", "HU", "", "")], ids=["none", "array", "series"]
)
def test_what_is_no_volume_is_refused(call, wrong):
    do = r"give its \.volume" if isinstance(wrong, ImageSeries) else "Volume"
    with pytest.raises(InputError, match=f"ct.*{do}"):
        call(ct=wrong)
    with pytest.raises(InputError, match=do):
        call(wrong)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize(
    "mask", [CT.with_array(HOT), HOT.astype(int), 0.9 * HOT], ids=["volume", "integers", "weights"]
)
def test_masks_of_all_kinds_are_the_same_mask(call, mask):
    usual, found = call(), call(regions={"kidney_left": mask})
    np.testing.assert_array_equal(found.volume.array, usual.volume.array)
    if call is single:
        assert found.of(mask) == usual.of(HOT)


def test_voxels_of_at_most_one_half_are_outside():
    soft = np.where(HOT, 1.0, 0.5)
    np.testing.assert_array_equal(single(regions={"kidney_left": soft}).volume.array, single().volume.array)


ELSEWHERE = Volume(HOT, np.diag([5.0, 5.0, 5.0, 1.0]))
BAD_MASKS = {
    "grid": ELSEWHERE,
    "shape": HOT[1:],
    "empty": ~HOT & HOT,
    "faint": 0.4 * HOT,
    "none": None,
    "text": "kidney",
}


@pytest.mark.parametrize("mask", BAD_MASKS.values(), ids=BAD_MASKS)
def test_a_mask_that_does_not_fit_is_refused_by_name(mask):
    for call in CALLS:
        with pytest.raises(ImageError, match="kidney_left"):
            call(regions={"kidney_left": mask})
    with pytest.raises(ImageError, match="mask"):
        single().of(mask)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("regions", [{1: HOT}, {None: HOT}, [HOT], HOT, CT])
def test_regions_without_names_are_refused(call, regions):
    with pytest.raises(InputError, match="regions"):
        call(regions=regions)


def test_no_regions_are_no_error():
    assert single(regions=None).volume.array.max() == single(regions={}).volume.array.max() > 0
    assert foreseen(regions=None).region_mean.keys() == {"remainder"}


def test_both_kidneys_in_one_mask_are_not_one_kidney_of_twice_the_size():
    right = np.zeros(SHAPE, bool)
    right[8:14, 8:14, 18:24] = True
    pet = PET.with_array(np.where(HOT | right, 20.0, 0.5))
    apart = foreseen(pet, regions={"kidney_left": HOT, "kidney_right": right})
    for name in ("kidneys", "renal"):
        fleck = np.zeros(SHAPE, bool)
        fleck[20, 20, 20] = name == "renal"
        both = foreseen(pet, regions={name: HOT | right | fleck})
        assert both.region_mean[name] == pytest.approx(apart.region_mean["kidney_left"], rel=0.02)
    large = foreseen(pet, regions={"kidney_left": HOT | right})
    assert abs(large.region_mean["kidney_left"] / apart.region_mean["kidney_left"] - 1) > 0.05


def test_errors_of_masks_and_units_are_the_packages_own():
    for wrong in ({"time_h": "72"}, {"regions": {"kidney_left": None}}, {"ct": None}, {"administered_MBq": 7.4}):
        with pytest.raises(TheratwinError, match="To do"):
            single(**wrong)
