"""The one door for DICOM: a folder in, `StudyImages` out.

Objects are routed by SOP class before any reader is chosen, since SimpleITK opens a SEG at spacing 1, 1, 1 without a
word and drops the value mapping of NM. Guards are in `imaging.guard`, stacking in `imaging.stack`. Modality is not
the class of scan: quantitative SPECT is often stored with modality PT; `kind_of` decides and says why.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from dose.errors import ImageError, describe
from imaging.contours import contour_set_of, segmentation_of
from imaging.decay import half_life_warning
from imaging.guard import MAX_FILES, MAX_SERIES_FILES, only_image_errors, open_header
from imaging.series import StudyImages, uid_hash
from imaging.stack import stack_series

CT = "1.2.840.10008.5.1.4.1.1.2"
PET, NM = "1.2.840.10008.5.1.4.1.1.128", "1.2.840.10008.5.1.4.1.1.20"
RTSTRUCT = "1.2.840.10008.5.1.4.1.1.481.3"
SEG = ("1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.66.7")
"""SOP classes that are read (DICOM PS3.4, table B.5-1); objects of others are counted in `StudyImages.skipped`."""


def read_folder(path, *, salt: str = "", Bq_per_mL_per_count: float | None = None) -> StudyImages:
    """Every image, contour set and segmentation below a folder.

    `salt` goes into the hashes that stand for UIDs. `Bq_per_mL_per_count` is the scanner's calibration, used for
    images stored as counts only.

    Raises:
        ImageError: no DICOM object, a damaged or oversized one, uneven or mixed slices, counts without calibration.
    """
    series, skipped = _by_series(Path(path), salt)
    images, contour_sets, segmentations, warnings = [], [], [], []
    for uid, files in series.items():
        where = f"series {uid_hash(uid, salt)}"
        with only_image_errors(where):
            sop_class = str(files[0][1].SOPClassUID)
            if sop_class in (CT, PET, NM):
                image, notes = stack_series(files, where, salt=salt, calibration=Bq_per_mL_per_count)
                images.append(image)
                warnings += [*notes, *filter(None, [half_life_warning(image)])]
            elif sop_class == RTSTRUCT:
                contour_sets += [contour_set_of(file, salt) for file, _ in files]
            else:
                segmentations += [segmentation_of(file, where, salt) for file, _ in files]
    return StudyImages(tuple(images), tuple(contour_sets), tuple(segmentations), dict(skipped), tuple(warnings))


def _by_series(root: Path, salt: str):
    """Files with their headers by SeriesInstanceUID, and the counts of objects that are not read."""
    series: dict[str, list] = {}
    skipped: Counter = Counter()
    for number, file in enumerate(_files(root), start=1):
        if not _looks_like_dicom(file):
            skipped["not DICOM"] += 1
            continue
        header = open_header(file, f"DICOM file {number}")
        name = _unread(header)
        if name:
            skipped[name] += 1
            continue
        group = series.setdefault(str(header.SeriesInstanceUID), [])
        group.append((file, header))
        if len(group) > MAX_SERIES_FILES:
            where = f"series {uid_hash(str(header.SeriesInstanceUID), salt)}"
            raise ImageError(describe(where, "too many files", f"at most {MAX_SERIES_FILES}", "split the folder"))
    if not series:
        raise ImageError(describe("folder", "no DICOM image", "CT, PET, SPECT, RTSTRUCT or SEG", "check the path"))
    return series, skipped


def _files(root: Path) -> list[Path]:
    if not root.is_dir():
        raise ImageError(describe("folder", "no such folder", "a folder with DICOM files", "check the path"))
    inside = root.resolve()
    files = sorted(f for f in root.rglob("*") if f.is_file() and f.resolve().is_relative_to(inside))
    if len(files) > MAX_FILES:
        raise ImageError(describe("folder", f"{len(files)} files", f"at most {MAX_FILES}", "read one study at a time"))
    return files


def _looks_like_dicom(file: Path) -> bool:
    """Part 10 magic, or a name that promises DICOM (whose damage must then be told, not passed over)."""
    with file.open("rb") as stream:
        magic = stream.read(132)[128:] == b"DICM"
    return magic or file.suffix.lower() in (".dcm", ".dicom", ".ima")


def _unread(header) -> str | None:
    """The name of an object that is passed over, or None for one that is read."""
    sop_class = header.SOPClassUID
    if sop_class not in (CT, PET, NM, RTSTRUCT, *SEG):
        return str(getattr(sop_class, "name", "other"))[:64]
    kinds = [str(word).upper() for word in header.get("ImageType") or ()]
    if sop_class == CT and "LOCALIZER" in kinds:
        return "CT localizer"
    if sop_class == NM and "RECON TOMO" not in kinds:
        return "NM that is not RECON TOMO"
    return None
