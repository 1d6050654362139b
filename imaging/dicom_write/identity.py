"""What the objects of one export share: whose study they join, what they refer to, and under which UIDs.

An export joins the study of its source images (patient, study and frame of reference taken over, sources referenced) or
is virtual. Unless `keep_identity=True` the sources go through the de-identification profile first, so that nothing
written afterwards can hold what they said, and UIDs agree with those of `export_deidentified` under the same salt.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from dose.errors import InputError, describe
from imaging.dicom_write.profile import check_salt, deidentified
from imaging.dicom_write.values import date_and_time, decimal, uid_from
from imaging.geometry import Volume

NOTICE = "theratwin, research only, not a medical device"
"""Stands in a description field of every written object."""

TAKEN_OVER = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "PatientAge", "PatientWeight", "PatientSize",
    "PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence",
    "LongitudinalTemporalInformationModified", "StudyInstanceUID", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName", "FrameOfReferenceUID", "PositionReferenceIndicator",
)  # fmt: skip
"""Attributes of the source that every object of an export carries (Patient, General Study, Frame of Reference)."""

MAY_BE_EMPTY = (
    "PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyDate", "StudyTime", "StudyID",
    "AccessionNumber", "ReferringPhysicianName",
)  # fmt: skip
"""Type 2 attributes of Patient and General Study (PS3.3 C.7.1.1, C.7.2.1)."""

PIXELS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")


@dataclass(frozen=True)
class Exported:
    """What all objects of one export share; made by `of` or `virtual`.

    Attributes:
        shared: data set of the attributes in `TAKEN_OVER`.
        sources: headers of the images that written objects refer to, in order along their normal.
        made_at: stamped as date and time of series and content.
        entropy: what UIDs are made from, with the content of each object; the same gives the same UIDs.
        identity_removed: whether the sources went through the de-identification profile, or are virtual.
        is_virtual: no patient stands behind it.
    """

    shared: object
    sources: tuple
    made_at: datetime
    entropy: str
    identity_removed: bool
    is_virtual: bool = False

    @classmethod
    def of(cls, sources, *, keep_identity: bool = False, salt: str = "", seed=None, made_at=None) -> Exported:
        """Join the study of `sources` (pydicom data sets of one series).

        `salt` is the project's secret for remapped UIDs and shifted dates; `seed` makes UIDs reproducible.

        Raises:
            InputError: no source, sources of several studies or frames, or identity to be removed without a salt.
        """
        headers = [_without_pixels(source) for source in sources]
        studies = {(h.get("StudyInstanceUID"), h.get("FrameOfReferenceUID")) for h in headers}
        if len(studies) != 1:
            found = f"{len(headers)} images of {len(studies)} studies or frames of reference"
            raise InputError(describe("sources", found, "one or more images of one series", "give one series"))
        if not keep_identity:
            headers = [_filled(deidentified(header, check_salt(salt))) for header in headers]
        made_at = made_at or (datetime.now() if keep_identity else study_moment(headers[0]))
        entropy = secrets.token_hex(16) if seed is None else f"{seed} {salt}"
        shared = _shared(headers[0])
        return cls(shared, tuple(sorted(headers, key=_height)), made_at, entropy, not keep_identity)

    @classmethod
    def virtual(cls, seed: int, began_at: datetime, *, weight_kg=None, height_m=None, sex: str = "") -> Exported:
        """The study of a virtual patient; UIDs come from the seed, so the same study is the same bytes."""
        from pydicom.dataset import Dataset

        shared, entropy = Dataset(), f"{seed} {began_at.isoformat()}"
        shared.PatientName, shared.PatientID, shared.PatientBirthDate = "VIRTUAL^PATIENT", f"VIRTUAL-{seed}", ""
        shared.PatientSex = {"male": "M", "female": "F"}.get(sex, "O")
        if weight_kg is not None:
            shared.PatientWeight = decimal(weight_kg)
        if height_m is not None:
            shared.PatientSize = decimal(height_m)
        shared.StudyInstanceUID = uid_from(entropy, "study")
        shared.StudyDate, shared.StudyTime = date_and_time(began_at)
        shared.StudyID, shared.AccessionNumber, shared.ReferringPhysicianName = "VIRTUAL", "", ""
        shared.FrameOfReferenceUID, shared.PositionReferenceIndicator = uid_from(entropy, "frame"), ""
        return cls(shared, (), began_at, entropy, identity_removed=True, is_virtual=True)

    def referring_to(self, sources) -> Exported:
        """The same export with objects that were written in it as sources.

        Raises:
            InputError: a source of another study.
        """
        headers = [_without_pixels(source) for source in sources]
        if not headers or any(h.StudyInstanceUID != self.study_uid for h in headers):
            raise InputError(describe("sources", "images of another study", "images written in this export", "see of"))
        ordered = tuple(sorted(headers, key=_height))
        return Exported(self.shared, ordered, self.made_at, self.entropy, self.identity_removed, self.is_virtual)

    def uid(self, *words) -> str:
        """A UID of this export, the same for the same words and arrays."""
        return uid_from("theratwin", self.entropy, *words)

    @property
    def study_uid(self) -> str:
        return str(self.shared["StudyInstanceUID"].value)  # pyright: ignore[reportIndexIssue]

    @property
    def patient_position(self) -> str:
        """As the sources state it; a virtual patient lies head first, supine."""
        stated = str(self.sources[0].get("PatientPosition") or "") if self.sources else ""
        return stated or ("HFS" if self.is_virtual else "")

    def need_sources(self, what: str) -> tuple:
        """The sources.

        Raises:
            InputError: there are none, and an object of this kind must refer to some.
        """
        if not self.sources:
            do = "write the image first and say exported.referring_to(written)"
            raise InputError(describe("exported.sources", "none", f"the images that the {what} refers to", do))
        return self.sources

    def source_grid(self) -> Volume:
        """An empty volume on the grid of the sources (slices of a series)."""
        first, last = self.sources[0], self.sources[-1]
        orientation = np.array(first.ImageOrientationPatient, dtype=float)
        row, column = orientation[:3], orientation[3:]
        origin = np.array(first.ImagePositionPatient, dtype=float)
        step = np.cross(row, column) * float(first.get("SliceThickness") or 1.0)
        if len(self.sources) > 1:
            step = (np.array(last.ImagePositionPatient, dtype=float) - origin) / (len(self.sources) - 1)
        dy, dx = (float(v) for v in first.PixelSpacing)
        affine = np.eye(4)
        affine[:3, :] = np.stack([row * dx, column * dy, step, origin], axis=1)
        return Volume(np.zeros((len(self.sources), int(first.Rows), int(first.Columns)), np.float32), affine)


def study_moment(header) -> datetime:
    """Date and time of the study (midnight where no time is given), or the first of January 2000 for none."""
    for prefix in ("Study", "Series"):
        day = str(header.get(f"{prefix}Date") or "")
        clock = str(header.get(f"{prefix}Time") or "")[:6].ljust(6, "0")
        try:
            return datetime.strptime(day + clock, "%Y%m%d%H%M%S")
        except ValueError:
            continue
    return datetime(2000, 1, 1)


def _without_pixels(source):
    """A copy of the header; pixels stay where they are."""
    from pydicom.dataset import FileDataset

    kept = FileDataset("", {}, file_meta=getattr(source, "file_meta", None))
    kept.update({element.tag: element for element in source if element.keyword not in PIXELS})
    return kept


def _shared(header):
    from pydicom.dataset import Dataset

    shared = Dataset()
    for name in TAKEN_OVER:
        if name in header:
            shared[name] = header[name]
    return _filled(shared)


def _filled(header):
    """The data set with attributes of type 2 (there, if empty) that every object needs."""
    for name in MAY_BE_EMPTY:
        if name not in header:
            setattr(header, name, "")
    return header


def _height(header) -> float:
    """Position along the normal; objects without one keep their order."""
    if "ImagePositionPatient" not in header or "ImageOrientationPatient" not in header:
        return 0.0
    orientation = np.array(header.ImageOrientationPatient, dtype=float)
    return float(np.cross(orientation[:3], orientation[3:]) @ np.array(header.ImagePositionPatient, dtype=float))
