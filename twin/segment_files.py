"""The folder of drawn regions: a SEG to lie beside the images, a table, a picture, whole or not at all.

The SEG belongs to the patient's own study (same UIDs, name and frame of reference), as it is of no use elsewhere; take
identity out of images and regions together by `theratwin deidentify`.
"""

from __future__ import annotations

import json
from pathlib import Path

from imaging.dicom_write import Exported, write_segmentation
from imaging.geometry import Volume
from imaging.guard import quiet
from twin.dose_maps_files import headers_of
from twin.segment import DrawnRegions
from twin.table_files import csv_bytes, put_files
from twin.whole import new_folder_beside, write_whole

NAMES = ("regions_seg.dcm", "regions.csv", "regions.json", "regions.png")
"""What `write_regions` writes."""


def write_regions(out, drawn: DrawnRegions, folder: Path) -> Path:
    """Write everything to a hidden sibling of `out`, then put it in place; on any error `out` is as it was.

    Args:
        out: the folder; what else lies in it stays.
        drawn: the regions.
        folder: the images, whose headers say whose study it is.

    Raises:
        InputError: the folder can't be written.
        ImageError: the scan's files are not in `folder`.
    """
    out = Path(out)
    with new_folder_beside(out) as temporary:
        with quiet():  # pydicom's warnings quote header values
            exported = Exported.of(headers_of(folder, drawn.scan.series_uid_hash), keep_identity=True)
            write_segmentation(temporary / "regions_seg.dcm", drawn.masks, exported)
        write_whole(temporary / "regions.csv", csv_bytes(drawn.rows))
        write_whole(temporary / "regions.json", json.dumps(record_of(drawn), indent=1).encode())
        write_whole(temporary / "regions.png", _picture(drawn))
        put_files(temporary, out, NAMES)
    return out


def record_of(drawn: DrawnRegions) -> dict:
    """The table and the notes for JSON; no word of the patient's."""
    scan = {"series": drawn.scan.series_uid_hash, "modality": drawn.scan.modality}
    return {
        "research_only": "not a medical device",
        "scan": scan,
        "regions": list(drawn.rows),
        "notes": list(drawn.notes),
    }


def _picture(drawn: DrawnRegions) -> bytes:
    from twin.plots import png
    from twin.plots_images import volume_slices

    image: Volume = drawn.scan.volume
    shown = {name: mask.array for name, mask in drawn.masks.items()}
    return png(volume_slices(image, shown, f"Regions drawn on the {drawn.scan.modality}", drawn.scan.unit))
