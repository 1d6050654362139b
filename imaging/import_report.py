"""What an import used and decided: every header field by series, as kinds and numbers, never as patient text.

Words are shown only where they belong to a small vocabulary; dates, times, names and UIDs are shown as their kind.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field

import numpy as np

from dose.errors import ImageError
from imaging.decay import hours_after
from imaging.private import private_element, private_value
from imaging.series import ImageSeries

NUMBERS = {
    "Rows": "pixels",
    "Columns": "pixels",
    "NumberOfFrames": "frames",
    "ImageOrientationPatient": "",
    "ImagePositionPatient": "mm",
    "PixelSpacing": "mm",
    "SliceThickness": "mm",
    "SpacingBetweenSlices": "mm",
    "RescaleSlope": "",
    "RescaleIntercept": "",
    "DecayFactor": "",
    "FrameReferenceTime": "ms",
    "ActualFrameDuration": "ms",
    "SpatialResolution": "mm",
    "RadionuclideHalfLife": "s",
    "RadionuclideTotalDose": "Bq, or MBq in NM",
}
"""Fields shown as a number or a range, with their unit."""

CORRECTIONS = ("UNIF", "ATTN", "SCAT", "DECY", "DTIM", "RAN", "RADL", "DCAL", "SLSENS", "NORM", "MOTN", "COLLIM", "LIN")
WORDS = {
    "Modality": ("CT", "PT", "NM", "RTSTRUCT", "SEG"),
    "ImageType": (
        "ORIGINAL",
        "DERIVED",
        "PRIMARY",
        "SECONDARY",
        "AXIAL",
        "TOMO",
        "EMISSION",
        "RECON TOMO",
        "WHOLE BODY",
    ),
    "Units": ("BQML", "GML", "CNTS", "CPS", "PROPCNTS", "PROPCPS", "NONE"),
    "SUVType": ("BW", "LBM", "BSA", "LBMJAMES128", "LBMJANMA", "IBW"),
    "DecayCorrection": ("NONE", "START", "ADMIN"),
    "CorrectedImage": CORRECTIONS,
    "PatientPosition": ("HFS", "HFP", "FFS", "FFP", "HFDR", "HFDL", "FFDR", "FFDL"),
}
"""Fields shown as words, and the words of each that may be shown."""

DATES = {
    "SeriesDate": "a date",
    "SeriesTime": "a time",
    "AcquisitionDate": "a date",
    "AcquisitionTime": "a time",
    "AcquisitionDateTime": "a date and time",
    "TimezoneOffsetFromUTC": "an offset from UTC",
    "RadiopharmaceuticalStartTime": "a time",
    "RadiopharmaceuticalStartDateTime": "a date and time",
}
TEXTS = ("Manufacturer", "ManufacturerModelName", "SeriesDescription", "Radiopharmaceutical", "PatientSex")
PATIENT_NUMBERS = {"PatientWeight": "kg", "PatientSize": "m"}
UIDS = ("SOPClassUID", "SeriesInstanceUID", "FrameOfReferenceUID")
SEQUENCES = (
    "RealWorldValueMappingSequence",
    "RadiopharmaceuticalInformationSequence",
    "RadionuclideCodeSequence",
    "EnergyWindowInformationSequence",
    "DetectorInformationSequence",
    "RotationInformationSequence",
    "EnergyWindowVector",
    "DetectorVector",
    "RotationVector",
    "AngularViewVector",
)
PRIVATE = {
    "ge_scan_time": "(0009,100D) GE scan time",
    "philips_suv": "(7053,1000) Philips SUV factor",
    "philips_activity": "(7053,1009) Philips activity factor",
}
"""Fields shown by kind alone: dates, texts, numbers of the patient, UIDs, counts of items, private elements."""


@dataclass(frozen=True)
class FieldUsed:
    """One header field of one series: `value` is its kind, a number with its unit or words of the vocabulary;
    `objects` counts the files that hold it."""

    series: str
    keyword: str
    value: str
    objects: int


@dataclass(frozen=True)
class SeriesSummary:
    """One row of the folder's table; `series` and `frame_of_reference` are salted hashes."""

    series: str
    modality: str
    sop_class: str
    files: int
    frames: int
    size: str = ""
    spacing_mm: str = ""
    unit: str = ""
    nuclide: str = ""
    hours_after_injection: float | None = None
    decay_correction: str = ""
    frame_of_reference: str = ""
    decided: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ImportReport:
    """Series, the fields that were used of each, objects passed over by name, and all notes."""

    series: tuple[SeriesSummary, ...] = ()
    fields: tuple[FieldUsed, ...] = ()
    skipped: Mapping[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def table(self) -> list[dict]:
        """One row a series, all values plain words and numbers."""
        rows = [asdict(s) for s in self.series]
        joined = {"decided": lambda d: "; ".join(f"{k}: {v}" for k, v in d.items()), "notes": "; ".join}
        return [{k: joined[k](v) if k in joined else v for k, v in row.items()} for row in rows]

    def fields_of(self, series: str) -> list[dict]:
        """The fields used of one series (its hash)."""
        return [asdict(f) for f in self.fields if f.series == series]


def fields_used(datasets: list, series: str) -> tuple[FieldUsed, ...]:
    """What of the fields this package looks at these data sets hold."""
    from pydicom.tag import Tag

    items = [next(iter(d.get("RadiopharmaceuticalInformationSequence") or ()), None) for d in datasets]
    both = [*datasets, *(i for i in items if i is not None)]
    found = []
    for keyword in (*UIDS, *WORDS, *TEXTS, *DATES, *NUMBERS, *PATIENT_NUMBERS, *SEQUENCES):
        tag = Tag(keyword)
        holding = [d for d in both if tag in d]
        values = [d[tag].value for d in (holding if keyword in NUMBERS else holding[:1])]
        held = [v for v in values if v not in (None, "")]
        if held:
            found.append(FieldUsed(series, keyword, _shown(keyword, held), len(holding)))
    return (*found, *_private_fields(datasets, series))


def _private_fields(datasets: list, series: str) -> tuple[FieldUsed, ...]:
    wanted = {label: private_element(name) for name, label in PRIVATE.items()}
    counts = {label: sum(private_value(d, e) is not None for d in datasets) for label, e in wanted.items()}
    return tuple(FieldUsed(series, label, "a private value", count) for label, count in counts.items() if count)


def _shown(keyword, values: list) -> str:
    if keyword in NUMBERS:
        return _range(values, NUMBERS[keyword])
    if keyword in WORDS:
        return _words(values[0], WORDS[keyword])
    kinds = {**DATES, **{k: f"a number, {u}" for k, u in PATIENT_NUMBERS.items()}}
    kinds |= dict.fromkeys(TEXTS, "text") | dict.fromkeys(UIDS, "a UID")
    if keyword in SEQUENCES:
        return f"{len(values[0]) if hasattr(values[0], '__len__') else 1} items"
    return kinds[keyword]


def _range(values: list, unit: str) -> str:
    try:
        numbers = np.unique(np.concatenate([np.ravel(np.asarray(v, dtype=float)) for v in values]))
    except (TypeError, ValueError):
        return "no number"
    low, high = numbers[0], numbers[-1]
    span = f"{low:.6g}" if low == high else f"{low:.6g} to {high:.6g}"
    return f"{span} {unit}".strip() + (f" ({len(numbers)} values)" if len(numbers) > 2 else "")


def _words(value, known: tuple[str, ...]) -> str:
    words = [value] if isinstance(value, str) else list(value)
    spelt = [str(word).strip().upper() for word in words]
    return ", ".join(word if word in known else "text" for word in spelt)


def summary_of(images: tuple[ImageSeries, ...], datasets: list, decided: dict, notes) -> SeriesSummary:
    """The row of one series of images."""
    first = images[0]
    columns, rows = first.volume.array.shape[:0:-1]
    return SeriesSummary(
        series=first.series_uid_hash,
        modality=first.modality,
        sop_class=str(datasets[0].SOPClassUID.name),
        files=len(datasets),
        frames=len(images),
        size=f"{columns} x {rows} x {len(first.volume.array)}",
        spacing_mm=" x ".join(f"{s:.4g}" for s in first.volume.spacing_mm),
        unit=first.unit,
        nuclide=first.radiopharmaceutical.nuclide or "",
        hours_after_injection=_hours(first),
        decay_correction=first.decay_correction,
        frame_of_reference=first.frame_hash,
        decided=decided,
        notes=tuple(notes),
    )


def _hours(series: ImageSeries) -> float | None:
    if series.modality == "CT":
        return None
    try:
        return round(hours_after(series), 3)
    except ImageError:
        return None
