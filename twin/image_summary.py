"""What a folder of images holds: series, warnings, region activities with their budgets, and the fields that were used.

Rows of plain words and numbers, of which none is patient text: series are salted hashes, regions are names of
`dose.regions`, fields are shown by kind (`imaging.import_report`).
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from dose.errors import ImageError
from imaging.decay import injection_time
from imaging.quantify import ImagingChain, RegionActivity, region_activities
from imaging.region_masks import region_or_none
from imaging.scan_budget import PARTS
from imaging.series import ImageSeries, StudyImages
from twin.dicom_study import start_of
from twin.image_study import ImageStudy
from twin.imaging_chain import chain_of
from twin.table_files import csv_bytes, put_files
from twin.whole import new_folder_beside, write_whole

EMISSION = ("PET", "SPECT")
NAMES = ("series.csv", "activities.csv", "budget.csv", "fields.csv", "import.json")
"""What `write_summary` writes."""


@dataclass(frozen=True)
class ImageSummary:
    """Tables as rows. `why_no_activities` is "" where there are some; `is_broken` where that is a fault of the images
    and not for want of a scan or a drawing."""

    series: tuple[dict, ...]
    activities: tuple[dict, ...]
    budget: tuple[dict, ...]
    fields: tuple[dict, ...]
    warnings: tuple[str, ...]
    skipped: dict[str, int]
    why_no_activities: str = ""
    is_broken: bool = False

    def record(self) -> dict:
        """All of it for JSON."""
        return {"research_only": "not a medical device", **asdict(self)}


def summary_of(study: ImageStudy) -> ImageSummary:
    """The summary of an opened study; what can't be quantified is said and does not hide the rest."""
    images = study.images
    why, broken, found, warnings = _missing(images), False, [], list(study.notes)
    if not why:
        try:
            found = _activities(study, chain_of(study.file.imaging, study.beside))
        except ImageError as error:
            why, broken = str(error), True
    warnings += [note for activity in found for note in activity.notes]
    return ImageSummary(
        series=tuple(images.report.table()),
        activities=tuple(_activity_row(a) for a in found),
        budget=tuple(_budget_row(a, part) for a in found for part in a.budget.rows()),
        fields=tuple(asdict(f) for f in images.report.fields),
        warnings=tuple(dict.fromkeys(warnings)),
        skipped=dict(images.skipped),
        why_no_activities=why,
        is_broken=broken,
    )


def _missing(images: StudyImages) -> str:
    """Why there can be no activities."""
    dynamic = {scan.series_uid_hash for scan in images.of(*EMISSION) if scan.frame > 0}
    if not images.of(*EMISSION):
        return "no PET or SPECT image" + (" (projections are to be reconstructed first)" if images.projections else "")
    if all(scan.series_uid_hash in dynamic for scan in images.of(*EMISSION)):
        return "dynamic series only, whose frames are for imaging.parametric"
    labels = [c.label for s in images.contour_sets for c in s.contours]
    labels += [c.label for s in images.segmentations for c in s.segments]
    if not labels:
        return "no region is drawn: add an RTSTRUCT or SEG with region names"
    return "" if any(map(region_or_none, labels)) else "no drawn structure has a region name of dose.regions"


def _activities(study: ImageStudy, chain: ImagingChain) -> list[RegionActivity]:
    """Of all scans, each counted from its own injection."""
    scans: dict = {}
    for scan in study.images.of(*EMISSION):
        scans.setdefault(_start(scan, study), []).append(scan)
    found = [region_activities(study.images, start, chain, scans=tuple(s)) for start, s in scans.items()]
    return [activity for group in found for activity in group]


def _start(scan: ImageSeries, study: ImageStudy):
    return injection_time(scan, start_of(scan, study.file))


def _activity_row(activity: RegionActivity) -> dict:
    budget = activity.budget
    return {
        "region": activity.region,
        "time_h": activity.time_h,
        "activity_MBq": activity.activity_MBq,
        "sd_MBq": activity.sd_MBq,
        "volume_mL": activity.volume_mL,
        **{f"{part}_relative_sd": getattr(budget, part) for part in PARTS},
        "total_relative_sd": budget.total,
        "volume_relative_sd": budget.volume,
        "modality": activity.modality,
        "nuclide": activity.nuclide,
        "series": activity.series_uid_hash,
        "decay_factor_undone": activity.decay_factor_undone,
        "partial_volume": activity.recovery,
        "drawn": activity.drawn,
    }


def _budget_row(activity: RegionActivity, part: dict) -> dict:
    return {"region": activity.region, "time_h": activity.time_h, "series": activity.series_uid_hash, **part}


def write_summary(out: Path, summary: ImageSummary) -> None:
    """The tables into `out`, all or none.

    Raises:
        InputError: the folder can't be written.
    """
    tables = {name: csv_bytes(getattr(summary, name)) for name in ("series", "activities", "budget", "fields")}
    with new_folder_beside(out) as temporary:
        for name, content in tables.items():
            write_whole(temporary / f"{name}.csv", content)
        write_whole(temporary / "import.json", json.dumps(summary.record(), indent=1).encode())
        put_files(temporary, out, NAMES)
