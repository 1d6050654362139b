"""The stylised body: volumes as asked for, sides as in LPS, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from dose.errors import InputError
from imaging.phantoms import stylised_body

VOLUMES = {"kidney_left": 155, "kidney_right": 150, "liver": 1800, "spleen": 150, "parotid": 50, "tumour_1": 10}


@pytest.mark.parametrize(("weight_kg", "height_m"), [(50, 1.5), (75, 1.75), (120, 1.95)])
def test_organ_volumes_are_within_one_per_cent(weight_kg, height_m):
    body = stylised_body(VOLUMES, weight_kg=weight_kg, height_m=height_m)
    for name, volume in VOLUMES.items():
        assert body.volume_mL(name) == pytest.approx(volume, rel=0.01)


def centre_mm(body, name) -> np.ndarray:
    return body.labels.to_lps_mm(np.argwhere(body.mask(name)).mean(axis=0)[::-1])


def test_left_is_positive_x_and_the_head_is_up():
    body = stylised_body(VOLUMES)
    assert centre_mm(body, "kidney_left")[0] > 40
    assert centre_mm(body, "liver")[0] < -40
    assert centre_mm(body, "parotid")[2] > centre_mm(body, "liver")[2] > centre_mm(body, "kidney_right")[2]


def test_a_heavier_body_is_larger():
    small, large = (stylised_body(VOLUMES, weight_kg=w).volume_mL("remainder") for w in (60, 90))
    assert large > 1.3 * small


@pytest.mark.parametrize(
    "volumes", [{"muscle": 1000}, {"liver": -1}, {"liver": 1e6}, {f"tumour_{k}": 5 for k in range(9)}]
)
def test_what_does_not_fit_is_refused(volumes):
    with pytest.raises(InputError):
        stylised_body(volumes)
