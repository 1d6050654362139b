"""Parametric Map by highdicom: a quantity per voxel in float32, with its concept and its UCUM unit.

SimpleITK does not open these; highdicom, and viewers that know the class, do.
"""

from __future__ import annotations

import numpy as np

from imaging.dicom_write.codes import concept, quantity
from imaging.dicom_write.files import checked_target, save
from imaging.dicom_write.header import MAKER, MODEL, SERIAL, software_version, stamped, upright
from imaging.dicom_write.identity import NOTICE, Exported
from imaging.dicom_write.segmentation import highdicom_volume
from imaging.geometry import Volume
from imaging.guard import quiet


def write_parametric_map(path, volume: Volume, name: str, exported: Exported, *, overwrite: bool = False):
    """Write one Parametric Map and return its data set.

    Args:
        path: the file.
        volume: the quantity [z, y, x] in the unit of its row.
        name: a row of `imaging/data/quantity_codes.csv`: "absorbed_dose" (Gy), "dose_sd", "tia_density" (MBq.h/mL),
            "effective_half_life" (h), "activity_concentration" (Bq/ml), "suv_bw" (g/ml) and others.
        exported: the export, with sources in the same frame of reference.
        overwrite: replace a file that is there.

    Raises:
        InputError: an unknown quantity, no sources, a file that is there.
        ImageError: a sheared grid.
    """
    checked_target(path, overwrite=overwrite)
    sources, what = exported.need_sources("parametric map"), quantity(name)
    volume = upright(volume, "volume")
    import highdicom as hd

    low, high = float(volume.array.min()), float(volume.array.max())
    mapping = hd.pm.RealWorldValueMapping(
        lut_label=name[:16].upper(),
        lut_explanation=what.concept[2],
        unit=concept(what.unit),
        value_range=(low, high),
        slope=1.0,
        intercept=0.0,
        quantity_definition=concept(what.concept),
    )
    identity = (name, volume.affine, volume.array)
    with quiet():
        written = hd.pm.ParametricMap(
            source_images=sources,
            pixel_array=highdicom_volume(volume, np.ascontiguousarray(volume.array), exported),
            series_instance_uid=exported.uid("series PM", *identity),
            series_number=10,
            sop_instance_uid=exported.uid("PM", *identity),
            instance_number=1,
            manufacturer=MAKER,
            manufacturer_model_name=MODEL,
            software_versions=software_version(),
            device_serial_number=SERIAL,
            contains_recognizable_visual_features=False,
            real_world_value_mappings=[mapping],
            window_center=(low + high) / 2,
            window_width=max(high - low, 1e-6),
            content_label="RESEARCH",
            content_description=NOTICE,
        )
    save(stamped(written, exported, name.replace("_", " ")), path, overwrite=overwrite)
    return written
