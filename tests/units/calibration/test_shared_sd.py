"""What a site knows of the errors that its scans share goes before the table, and stays with the observations."""

from __future__ import annotations

import numpy as np
import pytest

from calibration import noise
from calibration.observations import Observations
from dose.errors import InputError


def seen(region: str, shared: dict | None = None) -> Observations:
    numbers = [np.array([x]) for x in (24.0, 100.0, 2.0, 150.0)]
    return Observations((region,), *numbers, ("SPECT",), (1,), shared or {})


def sd_of(obs: Observations, name: str) -> float:
    errors = noise.shared_errors(obs)
    return float(errors.sd[errors.names.index(name)])


def test_a_site_s_own_sd_goes_before_the_table():
    table = sd_of(seen("kidneys"), "calibration/SPECT")
    own = seen("kidneys", {"calibration/SPECT": 0.021})
    assert sd_of(own, "calibration/SPECT") == 0.021 != table
    assert sd_of(own, "recovery/kidneys") == sd_of(seen("kidneys"), "recovery/kidneys")
    # the covariance of a single log activity falls by exactly the difference of the squares
    fall = noise.covariance(seen("kidneys"))[0, 0] - noise.covariance(own)[0, 0]
    assert fall == pytest.approx(table**2 - 0.021**2, rel=1e-12)


def test_it_stays_when_rows_are_chosen_or_joined():
    own = seen("kidneys", {"calibration/SPECT": 0.02, "recovery/kidneys": 0.04})
    assert own.of_cycle(1).shared_sd == own.shared_sd
    joined = own.join(seen("liver", {"calibration/SPECT": 0.03}))
    assert joined.shared_sd == {"calibration/SPECT": 0.03, "recovery/kidneys": 0.04}


@pytest.mark.parametrize("shared", [{"camera/SPECT": 0.02}, {"calibration": 0.02}, {"calibration/SPECT": 0.0}])
def test_an_unknown_name_or_an_impossible_sd_is_refused(shared):
    with pytest.raises(InputError, match="shared_sd"):
        seen("kidneys", shared)
