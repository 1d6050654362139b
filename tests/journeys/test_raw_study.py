"""A study of raw projections, CT and contours: one call reconstructs, quantifies and gives the fit its observations."""

from __future__ import annotations

from datetime import datetime, timedelta

import jax
import numpy as np
import pytest

from dose.errors import InputError
from imaging.camera_calibration import CameraCalibration
from imaging.dicom_write import StudyLabels, write_projections, write_segmentation, write_slices
from imaging.geometry import Volume
from imaging.scanner import Protocol, camera, sensitivity_cps_per_MBq, simulate_spect
from imaging.series import Radiopharmaceutical
from imaging.site_files import write_calibration
from twin.study import read_study

START = datetime(2026, 3, 10, 9, 0)
SCANNED = START + timedelta(hours=24)
PLACES = {"kidney_left": (55.0, 30.0, 0.0), "kidney_right": (-55.0, 30.0, 10.0)}
GIVEN_MBq = {"kidney_left": 120.0, "kidney_right": 90.0}
TOML = """
id = "raw"
tracer = "177Lu-DOTATATE"
[imaging]
{line}
recovery = "none"
"""


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    """A water cylinder with two spheres, scanned for 20 s a view; the folder holds no image in Bq/mL."""
    folder, grid = tmp_path_factory.mktemp("raw"), np.arange(32) * 9.6 - 148.8
    z, y, x = grid[:, None, None], grid[None, :, None], grid[None, None, :]
    affine = np.diag([9.6, 9.6, 9.6, 1.0])
    affine[:3, 3] = grid[0]
    water = np.broadcast_to((x / 120) ** 2 + (y / 100) ** 2 < 1, (32, 32, 32)) & (np.abs(z) < 130)
    masks = {
        name: ((x - at[0]) ** 2 + (y - at[1]) ** 2 + (z - at[2]) ** 2 < 34.0**2).astype(np.float32)
        for name, at in PLACES.items()
    }
    ct = Volume(np.where(water, 0.0, -1000.0), affine)
    activity = 2e3 * water + sum(GIVEN_MBq[n] * 1e6 / (m.sum() * ct.voxel_mL) * m for n, m in masks.items())
    protocol = Protocol("177Lu", 20.0, views=24, matrix=(32, 32), pixel_mm=9.6, radius_mm=180.0)
    spec = camera("SY-ME", dead_time_us=0.0)
    given = Radiopharmaceutical("177Lu", 159.5, 7400.0, START)
    told = {"started_at": SCANNED, "given": given}
    seen = simulate_spect(Volume(activity, affine), ct, spec, protocol, key=jax.random.key(1), oversample=1, **told)
    study = StudyLabels(3, 80.0, 1.75, "male", START)
    tags = {"Modality": "CT", "SeriesDate": "20260311", "SeriesTime": "090000"}
    sources = write_slices(folder / "ct", ct, study, "CT", tags, is_ct=True)
    write_segmentation(folder / "seg.dcm", masks, study.exported().referring_to(sources))
    write_projections(folder / "tomo.dcm", seen, study.exported())
    peak = protocol.acquisition().windows[seen.window("peak", 208.4)]
    cps = sensitivity_cps_per_MBq(spec, "177Lu", peak)
    known = CameraCalibration(cps, 0.02 * cps, "cylinder", "177Lu", (peak.lower_keV, peak.upper_keV), "SY-ME")
    write_calibration(folder / "camera.json", known)
    return folder


def test_observations_come_from_the_projections(raw):
    (raw / "patient.toml").write_text(TOML.format(line='calibration = "camera.json"'), encoding="utf-8")
    study = read_study(raw)
    seen = dict(zip(study.observations.region, study.observations.activity_MBq, strict=True))
    assert list(study.observations.time_h) == pytest.approx([24.0, 24.0])
    for name, truth in GIVEN_MBq.items():
        # 10 %: 24 views, a scatter model the camera does not share, spheres of 7 voxels without a recovery correction
        assert seen[name] == pytest.approx(truth, rel=0.10)
    assert study.observations.shared_sd["calibration/SPECT"] == pytest.approx(0.02)
    # counting is carried through the iterations: not the table's 15 % of a mL over the root of the volume
    counting = study.observations.sd_MBq / study.observations.activity_MBq
    assert not np.any(np.isclose(counting, 0.15 / np.sqrt(study.observations.volume_mL), rtol=0.02))
    assert np.all(counting < 0.1)


def test_counts_without_a_calibration_take_no_part_and_this_is_said(raw):
    (raw / "patient.toml").write_text(TOML.format(line=""), encoding="utf-8")
    with pytest.raises(InputError, match="no PET or SPECT image"):
        read_study(raw)
