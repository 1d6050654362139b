"""Dose maps of two real scans of 256 x 256 x 199 voxels in two frames of reference, from the folder to the table."""

from __future__ import annotations

import tarfile
import tempfile

from tests.bench import bench, best_of, shared

SECONDS = 180.0


@bench("imaging/maps of two SPECT of 13 million voxels, with registration", unit="s", peer="limit", peer_value=SECONDS)
def maps():
    from twin.dose_maps import dose_maps
    from twin.image_study import open_images

    with tempfile.TemporaryDirectory() as folder:
        with tarfile.open(shared("images/spect_lu177_dotatate.tar.xz")) as archive:
            archive.extractall(folder, filter="data")
        return best_of(lambda: dose_maps(open_images(folder)), repeats=1, warm_up=0)
