"""Series stored as SUV by body weight, back to Bq/mL: the inverse of `imaging.suv.suv_body_weight`."""

from __future__ import annotations

from dataclasses import replace

from dose.errors import ImageError
from dose.nuclides import radionuclide
from imaging.decay import hours_to_decay_reference, nuclide_name
from imaging.series import ImageSeries


def activity_from_suv(series: ImageSeries, where: str) -> tuple[ImageSeries, tuple[str, ...]]:
    """The series in Bq/mL, with a note; as it is where it is no SUV, or where the header tells too little.

    Bq/mL = SUV x administered Bq, decayed to the time that the voxels refer to / weight in g.
    """
    if series.unit != "g/mL":
        return series, ()
    factor = _Bq_per_mL_per_suv(series)
    if factor is None:
        note = f"{where}: stored as SUV; weight, activity, times or decay correction are missing to make it Bq/mL"
        return series, (note,)
    made = replace(series, volume=series.volume.with_array(series.volume.array * factor), unit="Bq/mL")
    return made, (f"{where}: stored as SUV, taken back to Bq/mL by the header's weight and activity",)


def _Bq_per_mL_per_suv(series: ImageSeries) -> float | None:
    given, weight_kg = series.radiopharmaceutical, series.weight_kg
    if weight_kg is None or given.administered_MBq is None or series.decay_correction not in ("START", "ADMIN"):
        return None
    try:
        hours = 0.0 if series.decay_correction == "ADMIN" else hours_to_decay_reference(series)
        half_life_h = given.half_life_h or radionuclide(nuclide_name(series)).half_life_h
    except ImageError:
        return None
    return 1e6 * given.administered_MBq * 2.0 ** (-hours / half_life_h) / (1000 * weight_kg)
