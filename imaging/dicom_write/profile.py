"""De-identification of one data set by an allow-list, after DICOM PS3.15 annex E (Basic Profile).

An attribute stays only if `data/deidentification.csv` has a row for it, and then as the row's action says: numbers and
pixels as they are, UIDs remapped by a salted hash, dates shifted by the same days for all of a patient's objects, words
only where they stand in the row's list. Everything else, private attributes included, is dropped. Options of the
profile in use: modified dates, patient characteristics (sex, weight, height), cleaned descriptors. This is for the
attributes that theratwin reads and writes; it is no general de-identification tool, and it does not look at pixels.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

from dose.errors import ImageError, InputError, describe
from dose.provenance import load_table
from imaging.dicom_write.codes import vocabulary_name
from imaging.dicom_write.profile_values import SIMPLE, Disguise
from imaging.dicom_write.values import code_item, digest

METHOD = "theratwin export profile after PS3.15 Basic Profile"
METHOD_CODES = (
    ("113100", "Basic Application Confidentiality Profile"),
    ("113105", "Clean Descriptors Option"),
    ("113107", "Retain Longitudinal Temporal Information Modified Dates Option"),
    ("113108", "Retain Patient Characteristics Option"),
)
"""DeidentificationMethod and its codes (PS3.16 CID 7050)."""

SHORTEST_SALT = 8
"""Characters; without a secret anyone who knows a UID could look up its replacement."""

SHIFT_DAYS = (365, 3650)
"""Dates go back by a number of days in this range, set by the salt and the patient."""

SCHEMES = ("SCT", "DCM", "UCUM")


def check_salt(salt: str) -> str:
    """The salt.

    Raises:
        InputError: it is too short to be a secret.
    """
    if len(salt) < SHORTEST_SALT:
        expected, do = f"{SHORTEST_SALT} characters or more", "give one per project and keep it secret"
        raise InputError(describe("salt", f"{len(salt)} characters", expected, f"{do}, or keep_identity=True"))
    return salt


def deidentified(dataset, salt: str):
    """A copy of the data set with what the allow-list lets through, and the statement that identity was removed.

    Raises:
        InputError: a salt too short.
        ImageError: the header says that text is burned into the pixels.
    """
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import UID

    if str(dataset.get("BurnedInAnnotation", "")).upper() == "YES":
        found, do = "YES", "leave this object out; nothing here cleans pixels"
        raise ImageError(describe("BurnedInAnnotation", found, "NO, or no statement", do))
    patient = str(dataset.get("PatientID", "")) or str(dataset.get("StudyInstanceUID", ""))
    low, high = SHIFT_DAYS
    disguise = Disguise(check_salt(salt), low + int(digest("days", salt, patient), 16) % (high - low))
    meta = FileMetaDataset()
    kept = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128)
    kept.update({e.tag: e for e in _filtered(dataset, disguise)})
    kept.PatientID = kept.PatientName = digest("patient", salt, patient)[:16]
    before = getattr(dataset, "file_meta", None)
    if before is not None and "TransferSyntaxUID" in before:
        meta.TransferSyntaxUID = UID(before.TransferSyntaxUID)
    meta.MediaStorageSOPClassUID = kept.get("SOPClassUID", UID(""))
    meta.MediaStorageSOPInstanceUID = kept.get("SOPInstanceUID", UID(""))
    return _stated(kept)


def _stated(kept):
    kept.PatientIdentityRemoved, kept.DeidentificationMethod = "YES", METHOD
    kept.DeidentificationMethodCodeSequence = [code_item(value, "DCM", meaning) for value, meaning in METHOD_CODES]
    kept.LongitudinalTemporalInformationModified = "MODIFIED"
    return kept


@cache
def _rules() -> dict[str, tuple[str, tuple[str, ...]]]:
    rows = load_table("imaging", "deidentification.csv")
    return {row["keyword"]: (row["action"], tuple(filter(None, row["values"].split("|")))) for row in rows}


def _filtered(dataset, disguise: Disguise):
    """The data set's elements that stay, each as its rule says, recursively."""
    from pydicom.dataset import Dataset

    kept = Dataset()
    for number, element in enumerate(dataset):
        action, values = _rules().get("" if element.tag.is_private else element.keyword, ("drop", ()))
        if action == "sequence" and element.VR == "SQ":
            setattr(kept, element.keyword, [_filtered(item, disguise) for item in element.value])
        elif action == "pixels":
            kept[element.tag] = element
        elif action in SIMPLE:
            value = SIMPLE[action](element.value, values, disguise)
            if value is not None:
                kept.add_new(element.tag, element.VR, value)
        elif action in CODED:
            CODED[action](kept, element, dataset, number)
    return kept


def _nuclide(kept, _element, dataset, _number) -> None:
    from imaging.header import nuclide_of

    name = nuclide_of(dataset)
    if name is not None:
        kept.RadionuclideCodeSequence = [code_item(name, "99THERATWIN", name)]
        kept.Radiopharmaceutical = f"{name} {kept.get('Radiopharmaceutical', '')}".strip()


def _region(kept, element, dataset, number: int) -> None:
    name = cleaned_label(str(element.value or ""))
    own = dataset.get("ROINumber", dataset.get("SegmentNumber", number))
    setattr(kept, element.keyword, name or f"region {int(own)}")


def cleaned_label(label: str) -> str | None:
    """The region that a label means if it holds no free word; a tumour may be named by numbers and regions only."""
    name = vocabulary_name(label)
    if name is None or not name.startswith("tumour_"):
        return name
    words = name.removeprefix("tumour_").split("_")
    known = {part for row in load_table("imaging", "segment_codes.csv") for part in row["region"].split("_")}
    return name if all((w.isdigit() and len(w) <= 3) or w in known or w in ("left", "right") for w in words) else None


def _code(kept, element, *_) -> None:
    """Standard concepts, with the meaning that the dictionary gives; others are dropped."""
    items = [found for found in (_standard(item) for item in element.value) if found is not None]
    if items:
        setattr(kept, element.keyword, items)


def _standard(item):
    value, scheme = str(item.get("CodeValue", "")), str(item.get("CodingSchemeDesignator", ""))
    meaning = _concepts().get((scheme, value))
    return None if meaning is None else code_item(value, scheme, meaning)


@cache
def _concepts() -> dict[tuple[str, str], str]:
    """Meanings of the concepts in pydicom's dictionary and of the units in our own tables."""
    from pydicom.sr.codedict import codes

    found = {}
    for scheme in SCHEMES:
        collection = getattr(codes, scheme)
        for name in collection.dir():
            code = getattr(collection, name)
            found.setdefault((scheme, code.value), code.meaning)
    for row in load_table("imaging", "quantity_codes.csv"):
        found[("UCUM", row["unit"])] = row["unit_meaning"]
    return found


CODED: dict[str, Callable] = {"nuclide": _nuclide, "region": _region, "code": _code}
"""Actions that look beyond their own value."""
