"""The organ table as a Structured Report (TID 1500), and back.

Each region is a measurement group (TID 1501, or TID 1411 where a written SEG is given). A value carries its interval as
upper and lower measurement uncertainty (TID 310) with the level in its method; its standard deviation is a measurement
of its own, named so, since DICOM's derivation "standard deviation" would be read as the spread of voxels.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from math import isfinite

from dose.errors import InputError, describe
from imaging.dicom_write.codes import concept, quantity, region_codes
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import MAKER, MODEL, SERIAL, stamped
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.segmentation import checked_labels
from imaging.dicom_write.values import digest
from imaging.guard import quiet

OWN = "99THERATWIN"
SD_SUFFIX = "-SD"
"""A standard deviation has the code of its quantity with this behind it, in our own scheme."""

REPORTED = ("371572003", "SCT", "Nuclear medicine procedure")
GROUP_REFERENCE = ("126000", "DCM", "Imaging Measurement Report")
SR_CLASS = "1.2.840.10008.5.1.4.1.1.88.34"


@dataclass(frozen=True)
class OrganRow:
    """One number of one region, in the unit of its quantity's row in `imaging/data/quantity_codes.csv`.

    `low` and `high` bound the interval of probability `level` about `value`.

    Raises:
        InputError: an unknown quantity, values that are not finite, an interval that does not hold the value.
    """

    region: str
    quantity: str
    value: float
    sd: float | None = None
    low: float | None = None
    high: float | None = None
    level: float = 0.9

    def __post_init__(self):
        quantity(self.quantity)
        given = [v for v in (self.value, self.sd, self.low, self.high) if v is not None]
        if not all(isfinite(v) for v in given) or (self.sd is not None and self.sd < 0):
            found, do = "a value that is not finite, or an sd below zero", "leave out what is not known"
            raise InputError(describe(f"{self.quantity} of a region", found, "finite numbers", do))
        bounds = (self.low is None, self.high is None)
        outside = bounds == (False, False) and not self.low <= self.value <= self.high  # pyright: ignore
        if bounds in ((True, False), (False, True)) or outside or not 0 < self.level < 1:
            found, do = "an interval that does not hold the value, or half of one", "give both bounds, or none"
            raise InputError(describe(f"{self.quantity} of a region", found, "low <= value <= high", do))


def write_organ_table(path, rows, exported: Exported, *, segmentation=None, overwrite: bool = False):
    """Write one Comprehensive 3D SR of the rows and return its data set.

    Args:
        path: the file.
        rows: `OrganRow`s; those of one region make one group.
        exported: the export, with the sources that the numbers come from.
        segmentation: a SEG that `write_segmentation` returned; regions with a segment of their label refer to it.
        overwrite: replace a file that is there.

    Raises:
        InputError: no row, a label in free words where identity is removed, no sources, a file that is there.
    """
    checked_target(path, overwrite=overwrite)
    sources = list(exported.need_sources("organ table"))
    by_region = defaultdict(list)
    for row in rows:
        by_region[row.region].append(row)
    checked_labels(by_region, exported)
    identity = digest(*map(repr, rows))
    import highdicom as hd

    with quiet():
        groups = [_group(region, mine, exported, segmentation) for region, mine in by_region.items()]
        content = hd.sr.MeasurementReport(
            observation_context=hd.sr.ObservationContext(observer_device_context=_observer(exported)),
            procedure_reported=concept(REPORTED),
            imaging_measurements=groups,
            title=concept(GROUP_REFERENCE),
            referenced_images=sources,
        )
        report = hd.sr.Comprehensive3DSR(
            evidence=[*sources, *([] if segmentation is None else [segmentation])],
            content=content[0],
            series_instance_uid=exported.uid("series SR", identity),
            series_number=11,
            sop_instance_uid=exported.uid("SR", identity),
            instance_number=1,
            manufacturer=MAKER,
            is_complete=True,
        )
    report.ContentLabel = "RESEARCH"
    save(stamped(report, exported, "organ table"), path, overwrite=overwrite)
    return report


def _observer(exported: Exported):
    import highdicom as hd

    device = hd.sr.DeviceObserverIdentifyingAttributes(
        uid=exported.uid("device"), name=NOTICE, manufacturer_name=MAKER, model_name=MODEL, serial_number=SERIAL
    )
    return hd.sr.ObserverContext(concept(("121007", "DCM", "Device")), device)


def _group(region: str, rows, exported: Exported, segmentation):
    import highdicom as hd

    codes = region_codes(region)
    side = None if codes.side is None else concept(codes.side)
    common = {
        "tracking_identifier": hd.sr.TrackingIdentifier(exported.uid("region", region), region),
        "finding_type": concept(codes.type),
        "finding_category": concept(codes.category),
        "finding_sites": [hd.sr.FindingSite(concept(codes.type), laterality=side)],
        "measurements": [m for row in rows for m in _measurements(row)],
    }
    number = _segment_number(segmentation, region)
    if number is None:
        return hd.sr.MeasurementsAndQualitativeEvaluations(**common)
    segment = hd.sr.ReferencedSegment(
        segmentation.SOPClassUID,
        segmentation.SOPInstanceUID,
        number,
        source_series=hd.sr.SourceSeriesForSegmentation(exported.sources[0].SeriesInstanceUID),
    )
    return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_segment=segment, **common)


def _segment_number(segmentation, region: str) -> int | None:
    items = () if segmentation is None else segmentation.SegmentSequence
    return next((int(i.SegmentNumber) for i in items if str(i.SegmentLabel) == region), None)


def _measurements(row: OrganRow) -> list:
    import highdicom as hd

    what = quantity(row.quantity)
    name, unit = concept(what.concept), concept(what.unit)
    properties, method = None, None
    if row.low is not None and row.high is not None:
        properties = hd.sr.MeasurementProperties(
            upper_measurement_uncertainty=row.high - row.value, lower_measurement_uncertainty=row.value - row.low
        )
        method = concept((f"CI{row.level:.6g}", OWN, f"uncertainty bounds the {row.level:.4%} interval"))
    made = [hd.sr.Measurement(name, row.value, unit, method=method, properties=properties)]
    if row.sd is not None:
        made.append(hd.sr.Measurement(_sd_concept(what.concept), row.sd, unit))
    return made


def _sd_concept(code: tuple[str, str, str]):
    return concept((code[0] + SD_SUFFIX, OWN, f"Standard deviation of {code[2]}"[:64]))
