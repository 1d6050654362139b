"""The one door for DICOM: a folder in, `StudyImages` out.

Objects are routed by SOP class before any reader is chosen, since SimpleITK opens a SEG at spacing 1, 1, 1 without a
word and drops the value mapping of NM. Guards are in `imaging.guard`, stacking in `imaging.stack`, projections in
`imaging.tomo_read`. Modality is not the class of scan: `imaging.kind` decides and says why.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

from dose.errors import ImageError, describe
from imaging.decay import half_life_warning
from imaging.folder import folder_files
from imaging.guard import MAX_SERIES_FILES, only_image_errors, open_header, open_pixels, polyglot
from imaging.import_report import ImportReport, SeriesSummary, fields_used, summary_of
from imaging.projections import Projections
from imaging.rotation_read import numbered
from imaging.series import StudyImages, uid_hash
from imaging.stack import stack_series
from imaging.structures import contour_sets_of, segmentation_of
from imaging.times import zone_of_study
from imaging.tomo_read import is_planar, projections_of

CT = "1.2.840.10008.5.1.4.1.1.2"
PET, NM = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.20"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes that are read (DICOM PS3.4, table B.5-1); objects of others are counted in `StudyImages.skipped`."""

NM_KINDS = ("RECON TOMO", "TOMO", "STATIC", "WHOLE BODY")
"""Kinds of NM image, third value of ImageType (PS3.3 C.8.4.9.1.1), that are read."""


@dataclass(frozen=True)
class _Part:
    """What one series gave."""

    images: tuple = ()
    projections: tuple = ()
    contour_sets: tuple = ()
    segmentations: tuple = ()
    summaries: tuple = ()
    fields: tuple = ()


@only_image_errors("folder")
def read_folder(
    path, *, salt: str = "", Bq_per_mL_per_count: float | None = None, head_length_mm: float | None = None
) -> StudyImages:
    """Every image, projection, contour set and segmentation below a folder, with the report of what was used.

    `salt` goes into the hashes that stand for UIDs. `Bq_per_mL_per_count` is the scanner's calibration, used for
    images stored as counts only. `head_length_mm` is the length of the camera's field of view along the table, for
    planar whole-body scans whose header does not tell it; without either they are left out, with a note.

    Raises:
        InputError: a `head_length_mm` not above zero.
        ImageError: no DICOM object, a damaged or oversized one, uneven or mixed slices, counts without calibration,
            fields that contradict each other.
    """
    series, skipped, remarks = _by_series(Path(path), salt)
    zone, zones = zone_of_study([header for files in series.values() for _, header in files])
    if zones > 1:
        remarks += (
            f"headers state {zones} time zones; all times, and a start given by hand, are in the earliest scan's",
        )
    parts = []
    for (uid, *_), files in series.items():
        where = f"series {uid_hash(uid, salt)}"
        with only_image_errors(where):
            parts.append(_series(files, where, salt, Bq_per_mL_per_count, zone, head_length_mm))
    whole = {name: tuple(chain.from_iterable(getattr(p, name) for p in parts)) for name in _Part.__annotations__}
    summaries, fields = whole.pop("summaries"), whole.pop("fields")
    warnings = (*remarks, *(note for summary in summaries for note in summary.notes))
    report = ImportReport(summaries, fields, dict(skipped), warnings)
    return StudyImages(**whole, skipped=dict(skipped), warnings=warnings, report=report)


def _series(files, where: str, salt: str, calibration: float | None, zone: int | None, head_mm: float | None) -> _Part:
    first = files[0][1]
    if str(first.SOPClassUID) == RTSTRUCT:
        made = tuple(chain.from_iterable(contour_sets_of(file, salt) for file, _ in files))
        return replace(_summed_up([h for _, h in files], "RTSTRUCT", salt), contour_sets=made)
    if str(first.SOPClassUID) in SEG:
        made = tuple(segmentation_of(file, where, salt) for file, _ in files)
        return replace(_summed_up([h for _, h in files], "SEG", salt), segmentations=made)
    datasets = [open_pixels(file, where) for file, _ in files]
    if _is_acquisition(first):
        return _projections(datasets, where, salt, zone, head_mm)
    images, notes, decided = stack_series(datasets, where, salt=salt, calibration=calibration, zone=zone)
    notes = (*notes, *filter(None, [half_life_warning(images[0])]))
    fields = fields_used(datasets, images[0].series_uid_hash)
    return _Part(images=images, summaries=(summary_of(images, datasets, decided, notes),), fields=fields)


def _projections(datasets: list, where: str, salt: str, zone: int | None, head_mm: float | None) -> _Part:
    told = [projections_of(nm, where, salt=salt, zone=zone, head_length_mm=head_mm) for nm in datasets]
    made = numbered([p for several, _ in told for p in several])
    said = {"notes": tuple(dict.fromkeys(note for _, notes in told for note in notes)), "frames": len(made)}
    said |= _said(made[0]) if made else {}
    kind = "planar" if is_planar(datasets[0]) else "tomographic"
    return replace(_summed_up(datasets, f"{kind} projections", salt, **said), projections=made)


def _said(first: Projections) -> dict:
    """The folder's table of an acquisition, by the first of its series."""
    windows, views, rows, columns = first.counts.shape
    return {
        "size": f"{columns} x {rows}, {views} views, {windows} windows",
        "spacing_mm": f"{first.pixel_mm:.4g}",
        "unit": "counts",
        "nuclide": first.radiopharmaceutical.nuclide or "",
        "decided": {"windows": ", ".join(w.role for w in first.windows), "heads": str(first.heads)},
    }


def _summed_up(headers: list, modality: str, salt: str, **said) -> _Part:
    """The row and the fields of a series that is no image."""
    series, frame = (uid_hash(headers[0].get(k, ""), salt) for k in ("SeriesInstanceUID", "FrameOfReferenceUID"))
    row = {"frames": len(headers), "frame_of_reference": frame} | said
    summary = SeriesSummary(series, modality, str(headers[0].SOPClassUID.name), files=len(headers), **row)
    return _Part(summaries=(summary,), fields=fields_used(headers, series))


def _by_series(root: Path, salt: str):
    """Files with their headers by SeriesInstanceUID and class, the counts of objects that are not read, and remarks."""
    series: dict[tuple, list] = {}
    skipped: Counter = Counter()
    double: Counter = Counter()
    for number, file in enumerate(folder_files(root), start=1):
        if not _looks_like_dicom(file):
            skipped["not DICOM"] += 1
            continue
        header = open_header(file, f"DICOM file {number}")
        double.update(filter(None, [polyglot(header)]))
        name = _unread(header)
        if name:
            skipped[name] += 1
            continue
        key = (str(header.SeriesInstanceUID), str(header.SOPClassUID), _is_acquisition(header))
        group = series.setdefault(key, [])
        group.append((file, header))
        if len(group) > MAX_SERIES_FILES:
            where = f"series {uid_hash(str(header.SeriesInstanceUID), salt)}"
            raise ImageError(describe(where, "too many files", f"at most {MAX_SERIES_FILES}", "split the folder"))
    if not series:
        raise ImageError(describe("folder", "no DICOM image", "CT, PET, SPECT, RTSTRUCT or SEG", "check the path"))
    remarks = tuple(f"{count} DICOM files are {kind} as well by their preamble" for kind, count in double.items())
    return series, skipped, remarks


def _looks_like_dicom(file: Path) -> bool:
    """Part 10 magic, or a name that promises DICOM (whose damage must then be told, not passed over)."""
    with file.open("rb") as stream:
        magic = stream.read(132)[128:] == b"DICM"
    return magic or file.suffix.lower() in (".dcm", ".dicom", ".ima")


def _kinds(header) -> list[str]:
    words = header.get("ImageType") or ()
    return [str(word).upper() for word in ([words] if isinstance(words, str) else words)]


def _is_acquisition(header) -> bool:
    """Projections or planar views, rather than an image in space."""
    return str(header.SOPClassUID) == NM and "RECON TOMO" not in _kinds(header)


def _unread(header) -> str | None:
    """The name of an object that is passed over, or None for one that is read."""
    sop_class = header.SOPClassUID
    if sop_class not in (CT, PET, NM, RTSTRUCT, *SEG):
        name = str(getattr(sop_class, "name", ""))
        return name if name and name != str(sop_class) else "objects of an unknown class"
    kinds = _kinds(header)
    if sop_class == CT and "LOCALIZER" in kinds:
        return "CT localizer"
    if sop_class == NM and not any(kind in kinds for kind in NM_KINDS):
        return "NM that is neither RECON TOMO, TOMO, STATIC nor WHOLE BODY"
    return None
