"""SEG by highdicom: regions as binary masks, or as probabilities (FRACTIONAL, in steps of 1/255).

BINARY is what viewers read most widely. highdicom takes frames in the order of the sources given to it; here they are
sorted along their normal, the order of `Volume`. SimpleITK opens a SEG with a wrong geometry: read it with highdicom.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dose.errors import InputError, describe
from imaging.dicom_write.codes import concept, region_codes
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import MAKER, MODEL, SERIAL, software_version, stamped, upright
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.profile import cleaned_label
from imaging.dicom_write.values import code_item, digest
from imaging.geometry import Volume
from imaging.guard import quiet

KINDS = ("BINARY", "FRACTIONAL")


def write_segmentation(
    path, masks: Mapping[str, Volume | np.ndarray], exported: Exported, *, kind: str = "BINARY", overwrite: bool = False
):
    """Write one SEG with a segment for each mask, and return its data set.

    Args:
        path: the file.
        masks: by label; a `Volume`, or an array [z, y, x] on the grid of the sources. True or 1 inside; for FRACTIONAL
            the probability 0 to 1. All on one grid; they may overlap.
        exported: the export, with sources.
        kind: "BINARY" or "FRACTIONAL".
        overwrite: replace a file that is there.

    Raises:
        InputError: no mask, an empty one, values beyond 0 to 1 or not binary, several grids, a label in free words
            where identity is removed, no sources, a file that is there.
    """
    checked_target(path, overwrite=overwrite)
    sources = exported.need_sources("segmentation")
    grid, stack = _stacked(masks, exported, kind)
    import highdicom as hd

    with quiet():
        seg = hd.seg.Segmentation(
            source_images=sources,
            pixel_array=highdicom_volume(grid, stack, exported),
            segmentation_type=kind,
            segment_descriptions=[_described(k, label) for k, label in enumerate(masks, start=1)],
            series_instance_uid=exported.uid("series SEG", digest(*masks, stack)),
            series_number=9,
            sop_instance_uid=exported.uid("SEG", digest(*masks, stack)),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MODEL,
            software_versions=software_version(),
            device_serial_number=SERIAL,
            content_label="RESEARCH",
            content_description=NOTICE,
        )
    for item, label in zip(seg.SegmentSequence, masks, strict=True):
        if side := region_codes(label).side:
            item.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [code_item(*side)]
    save(stamped(seg, exported, "regions"), path, overwrite=overwrite)
    return seg


def highdicom_volume(grid: Volume, stack: np.ndarray, exported: Exported):
    """highdicom's volume of an array [z, y, x] or [z, y, x, segment] on a grid; its affine has order z, y, x."""
    import highdicom as hd

    frame = str(exported.shared["FrameOfReferenceUID"].value)  # pyright: ignore[reportIndexIssue]
    affine = grid.affine[:, [2, 1, 0, 3]]
    if stack.ndim == 3:
        return hd.Volume(stack, affine, "PATIENT", frame_of_reference_uid=frame)
    numbers: dict = {"SegmentNumber": list(range(1, stack.shape[3] + 1))}
    return hd.Volume(stack, affine, "PATIENT", frame_of_reference_uid=frame, channels=numbers)


def checked_labels(labels, exported: Exported) -> None:
    """Labels that may be written.

    Raises:
        InputError: none, or one in free words where a patient's identity is removed.
    """
    if not labels:
        raise InputError(describe("masks", "none", "one mask or more, by label", "segment a region"))
    if exported.is_virtual or not exported.identity_removed:
        return
    free = [k for k, label in enumerate(labels, start=1) if cleaned_label(label) is None]
    if free:
        do = "name regions as dose.regions does (tumours by number), or export with keep_identity=True"
        raise InputError(describe("masks", f"a label in free words at position {free[0]}", "names of regions", do))


def _stacked(masks: Mapping, exported: Exported, kind: str) -> tuple[Volume, np.ndarray]:
    if kind not in KINDS:
        raise InputError(describe("kind", f'"{kind}"', f"one of {KINDS}", "choose one"))
    checked_labels(masks, exported)
    volumes = as_volumes(masks, exported)
    arrays = [v.array for v in volumes]
    wrong = any(a.min() < 0 or a.max() > 1 or (kind == "BINARY" and not np.isin(a, (0, 1)).all()) for a in arrays)
    if wrong:
        expected = "0 or 1" if kind == "BINARY" else "0 to 1"
        raise InputError(describe("masks", "other values", expected, 'threshold them, or say kind="FRACTIONAL"'))
    dtype = np.uint8 if kind == "BINARY" else np.float32
    return volumes[0], np.stack(arrays, axis=-1).astype(dtype)


def as_volumes(masks: Mapping, exported: Exported) -> list[Volume]:
    """Masks as upright volumes on one grid.

    Raises:
        InputError: several grids, an array that is not on the sources' grid, an empty mask.
    """
    volumes = []
    for k, mask in enumerate(masks.values(), start=1):
        if not isinstance(mask, Volume):
            grid, mask = exported.source_grid(), np.asarray(mask)
            if mask.shape != grid.array.shape:
                found, do = f"an array of shape {mask.shape}", "give a Volume"
                raise InputError(describe(f"mask {k}", found, f"the sources' shape {grid.array.shape}", do))
            mask = grid.with_array(mask)
        if not mask.array.any():
            raise InputError(describe(f"mask {k}", "an empty mask", "at least one voxel", "leave the region out"))
        volumes.append(upright(mask, "mask"))
    if not all(v.is_on_grid_of(volumes[0]) for v in volumes):
        raise InputError(describe("masks", "several grids", "one grid", "resample them, or write several objects"))
    return volumes


def _described(number: int, label: str):
    import highdicom as hd

    codes = region_codes(label)
    algorithm = hd.AlgorithmIdentificationSequence(
        MODEL, concept(("123109", "DCM", "Manual Processing")), software_version()
    )
    return hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=label,
        segmented_property_category=concept(codes.category),
        segmented_property_type=concept(codes.type),
        algorithm_type="AUTOMATIC",
        algorithm_identification=algorithm,
    )
