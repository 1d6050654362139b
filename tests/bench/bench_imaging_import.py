"""Importing a study of 1 000 files: a CT of 600 slices of 256 x 256 and a PET of 400 slices of 128 x 128."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import numpy as np

from imaging.dicom_read import read_folder
from tests.bench import bench, best_of
from tests.units.imaging.dicom_objects import FDG, save, slices

SECONDS = 10.0
BEGAN = datetime(2026, 3, 2, 12, 0)


def study(folder: Path) -> None:
    """Files as scanners write them, with a slope a slice in the PET."""
    rng = np.random.default_rng(1)
    for name, count, side, fields in (("ct", 600, 256, {"modality": "CT"}), ("pet", 400, 128, FDG)):
        stored = rng.integers(0, 2000, (count, side, side)).astype("<i2")
        for k, dataset in enumerate(slices(stored, step_mm=2.0, **fields)):
            save(dataset, folder / name / f"{k:04d}.dcm")


@bench("imaging/import of 1 000 files", unit="s", peer="limit", peer_value=SECONDS)
def import_study():
    with tempfile.TemporaryDirectory() as folder:
        study(Path(folder))
        return best_of(lambda: read_folder(folder), repeats=2, warm_up=1)
