"""Stored values to Bq/mL: per-slice slopes, value mappings and the vendors' private factors.

Order of belief (IMAGING notes 5.1): a real-world value mapping to Bq/mL acts on stored values, so a RescaleSlope beside
it is left alone; else each slice's own slope, then the unit that the header states. Counts are refused without a
calibration. Philips writes CNTS with private factors to SUV (7053,1000) and to Bq/mL (7053,1009) (read in: MOOSE issue
230, Dicom-To-CNN issue 4, OHIF issue 1418), believed under Philips' creator only. SUV by body weight goes back to Bq/mL
where weight, activity and times are known, and otherwise stays in g/mL.
"""

from __future__ import annotations

import re

import numpy as np

from dose.errors import ImageError, describe
from dose.nuclides import radionuclide
from imaging.private import private_element, private_value

PREFIXES = {"": 1.0, "k": 1e3, "K": 1e3, "M": 1e6, "m": 1e-3}
"""UCUM prefixes of a becquerel, in which case tells milli from mega."""

CALIBRATED = "calibration given"

COUNTS = ("CNTS", "CPS", "PROPCNTS", "PROPCPS", "")
"""Units of an image (PS3.3 C.8.9.1.1.3) that a calibration factor turns into Bq/mL."""

KNOWN_UNITS = (*COUNTS[:4], "BQML", "GML", "NONE", "PCNT", "MGMINML", "UMOLMINML", "MLMING", "MLMINML", "STDDEV")

_CONCENTRATION = re.compile(r"([kKMm]?)[Bb][Qq]/([Mm][Ll]|[Cc][Mm]3)")

TOO_FEW, TOO_MUCH = 1e-3, 1.5
"""A field that holds less or more than these shares of the administered activity is told: the scale may be wrong."""


def stored_values(dataset) -> np.ndarray:
    """Stored values, float32; plain 16 bit pixels are taken from the bytes at once, three times as quick."""
    meta, samples = dataset.file_meta.TransferSyntaxUID, int(dataset.get("SamplesPerPixel", 1) or 1)
    is_whole = int(dataset.BitsAllocated) == int(dataset.BitsStored) == 16 and samples == 1
    if meta.is_compressed or not is_whole or not meta.is_little_endian:
        return dataset.pixel_array.astype(np.float32)
    frames, rows, columns = int(dataset.get("NumberOfFrames", 1) or 1), int(dataset.Rows), int(dataset.Columns)
    kind = "<i2" if int(dataset.PixelRepresentation) == 1 else "<u2"
    flat = np.frombuffer(dataset.PixelData, dtype=kind, count=frames * rows * columns).astype(np.float32)
    return flat.reshape((frames, rows, columns) if frames > 1 else (rows, columns))


def rescaled(dataset) -> np.ndarray:
    """Stored values by the data set's own slope and intercept.

    Raises:
        ImageError: a slope of zero, which would make an empty image.
    """
    slope, intercept = dataset.get("RescaleSlope"), dataset.get("RescaleIntercept")
    factor = 1.0 if slope in (None, "") else float(slope)
    if factor == 0 or not np.isfinite(factor):
        found = "a slope that is zero or not finite"
        raise ImageError(describe("RescaleSlope", found, "the factor of each slice", "export the series again"))
    return stored_values(dataset) * np.float32(factor) + np.float32(float(intercept or 0))


def emission_array(datasets: list, where: str, calibration: float | None) -> tuple[np.ndarray, str, str]:
    """Values of the data sets, stacked along z in their order; their unit ("Bq/mL" or "g/mL"); how they were scaled.

    Raises:
        ImageError: counts without calibration, an unknown unit, a table in place of a slope, or a contradiction.
    """
    mappings = [m for d in datasets if (m := _mapping(d, where)) is not None]
    if len(mappings) == len(datasets):
        parts = [stored_values(d) * np.float32(s) + np.float32(i) for d, (s, i) in zip(datasets, mappings, strict=True)]
        return _stacked(parts), "Bq/mL", "real-world value mapping on stored values, RescaleSlope not applied"
    array = _stacked([rescaled(d) for d in datasets])
    factor, unit, how = _factor(datasets, where, calibration)
    return array if factor is None else array * factor, unit, how


def _stacked(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part if part.ndim == 3 else part[None] for part in parts])


def _factor(datasets: list, where: str, calibration: float | None):
    """Factor from rescaled values (a number, [z, 1, 1], or None for one), unit and how."""
    unit = str(datasets[0].get("Units") or "").upper()
    philips = _private(datasets, "philips_activity")
    if unit == "BQML":
        if not _is_contradicted(philips, where, calibration):
            return None, "Bq/mL", "Units BQML"
        return np.float32(calibration), "Bq/mL", CALIBRATED
    if unit == "GML":
        _check_suv_type(datasets[0], where)
        return None, "g/mL", "Units GML"
    if unit == "CNTS" and philips is not None:
        return philips, "Bq/mL", "Units CNTS and the private factor (7053,1009) to Bq/mL"
    if unit in COUNTS and calibration is not None:
        return np.float32(calibration), "Bq/mL", CALIBRATED
    suv = _private(datasets, "philips_suv")
    if unit == "CNTS" and suv is not None:
        return suv, "g/mL", "Units CNTS and the private factor (7053,1000) to SUV"
    found = f'unit "{unit}"' if unit in KNOWN_UNITS and unit else "no known unit and no value mapping"
    do = "give the scanner's calibration factor: read_folder(..., Bq_per_mL_per_count=...)"
    raise ImageError(describe(f"{where}, Units", found, "BQML, or a mapping to Bq/mL", do))


def unused_note(how: str, calibration: float | None, where: str) -> tuple[str, ...]:
    """A note where a calibration was given and the series' own scale was taken."""
    if calibration is None or how == CALIBRATED:
        return ()
    return (f"{where}: Bq_per_mL_per_count was not applied, as the header tells the scale ({how})",)


def _private(datasets: list, name: str) -> np.ndarray | None:
    """A private factor of every data set, float32 [z, 1, 1]; None where one lacks it or has none above zero."""
    wanted = private_element(name)
    found = [private_value(d, wanted) for d in datasets]
    values = [_number(value) if value is not None else 0.0 for value in found]
    if min(values) <= 0 or not np.isfinite(values).all():
        return None
    return np.array(values, dtype=np.float32)[:, None, None]


def _number(value) -> float:
    try:
        return float(value.decode("ascii").strip("\0 ") if isinstance(value, bytes) else value)
    except (ValueError, TypeError, UnicodeDecodeError):
        return 0.0


def _is_contradicted(factor: np.ndarray | None, where: str, calibration: float | None) -> bool:
    """Whether a factor from counts contradicts Units BQML, and the calibration given settles it."""
    if factor is None or np.allclose(factor, 1, rtol=1e-6):
        return False
    if calibration is not None:
        return True
    found = "Units BQML and a private factor (7053,1009) from counts to Bq/mL"
    do = "see which is true; read_folder(..., Bq_per_mL_per_count=1) takes the voxels as Bq/mL"
    raise ImageError(describe(f"{where}, Units", found, "one of the two", do))


def _check_suv_type(dataset, where: str) -> None:
    kind = str(dataset.get("SUVType") or "BW").upper()
    if kind != "BW":
        shown = kind if kind in ("BSA", "LBM", "LBMJAMES128", "LBMJANMA", "IBW") else "another"
        found, do = f"SUV of type {shown}", "export the series in Bq/mL"
        raise ImageError(describe(f"{where}, SUVType", found, "BW (body weight), or Units BQML", do))


def _mapping(dataset, where: str) -> tuple[float, float] | None:
    """Slope and intercept to Bq/mL of the data set's value mapping, or None.

    Raises:
        ImageError: a look-up table, or two different mappings to Bq/mL.
    """
    found = set()
    for item in dataset.get("RealWorldValueMappingSequence") or ():
        codes = item.get("MeasurementUnitsCodeSequence") or ()
        units = [_CONCENTRATION.fullmatch(str(code.get("CodeValue", "")).strip()) for code in codes]
        scale = next((PREFIXES[unit[1]] for unit in units if unit), None)
        if scale is None:
            continue
        if item.get("RealWorldValueLUTData") is not None or item.get("RealWorldValueSlope") is None:
            kind, do = "a value mapping by table", "export the series with a linear mapping"
            raise ImageError(describe(f"{where}, RealWorldValueMappingSequence", kind, "slope and intercept", do))
        found.add((float(item.RealWorldValueSlope) * scale, float(item.get("RealWorldValueIntercept") or 0) * scale))
    if len(found) > 1:
        kind, do = f"{len(found)} different mappings to Bq/mL", "leave one of them in"
        raise ImageError(describe(f"{where}, RealWorldValueMappingSequence", kind, "one", do))
    return found.pop() if found else None


def scale_note(series, where: str) -> tuple[str, ...]:
    """A note where the whole field holds more activity than was given, or next to none of it."""
    from imaging.decay import hours_to_decay_reference

    given = series.radiopharmaceutical
    if series.unit != "Bq/mL" or given.administered_MBq is None or given.nuclide is None:
        return ()
    try:
        delay_h = hours_to_decay_reference(series)
    except ImageError:
        return ()
    hours = 0.0 if series.decay_correction == "ADMIN" else delay_h
    left_MBq = given.administered_MBq * np.exp(-radionuclide(given.nuclide).decay_constant_per_h * hours)
    share = float(series.volume.array.sum(dtype=float)) * series.volume.voxel_mL / 1e6 / left_MBq
    if TOO_FEW <= share <= TOO_MUCH:
        return ()
    return (f"{where}: the field holds {share:.3g} of the administered activity; are the voxels in Bq/mL?",)
