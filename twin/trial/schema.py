"""The tables that a trial writes: their columns, units and what they mean. One Parquet part a table and chunk.

Wide facts of a patient in an arm are one row of `patients`; what belongs to cycles, regions, limits or lesions is long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

VERSION = 1
"""Of the tables below; a trial of another version is refused by the reader."""

ARM = pa.dictionary(pa.int8(), pa.string())
NAME = pa.dictionary(pa.int16(), pa.string())
INT, NUMBER, FLAG = pa.int32(), pa.float64(), pa.bool_()


@dataclass(frozen=True)
class Column:
    name: str
    type: pa.DataType
    unit: str
    words: str


PATIENTS = (
    Column("patient", pa.int64(), "", "number of the virtual patient; the same person in every arm"),
    Column("arm", ARM, "", "name of the arm"),
    Column(
        "status", NAME, "", "ok; not_eligible; or why no result could be computed: step_limit, not_finite, impossible"
    ),
    Column("ended", NAME, "", "why therapy ended: completed, limit (a policy gave no more), dropout, died"),
    Column("sex", NAME, "", "male or female"),
    Column("age_y", NUMBER, "y", "age"),
    Column("weight_kg", NUMBER, "kg", "body weight"),
    Column("height_m", NUMBER, "m", "height"),
    Column("gfr_mL_min", NUMBER, "mL/min", "glomerular filtration rate"),
    Column("haematocrit", NUMBER, "1", "haematocrit"),
    Column("lesions", INT, "", "number of lesions"),
    Column("tumour_mL", NUMBER, "mL", "volume of all lesions before therapy"),
    Column("cycles", INT, "", "cycles given"),
    Column("activity_MBq", NUMBER, "MBq", "activity in all"),
    Column("tumour_dose_Gy", NUMBER, "Gy", "mean absorbed dose of all lesions by mass, whole course"),
    Column("tumour_bed_Gy", NUMBER, "Gy", "the same of the BED"),
    Column("worst_lesion_dose_Gy", NUMBER, "Gy", "least mean absorbed dose of any lesion"),
    Column("kidney_dose_Gy", NUMBER, "Gy", "absorbed dose of both kidneys, whole course"),
    Column("kidney_bed_Gy", NUMBER, "Gy", "BED of both kidneys"),
    Column("therapeutic_index", NUMBER, "1", "tumour BED over kidney BED"),
    Column("best_volume_share", NUMBER, "1", "smallest volume of all lesions over that before therapy"),
    Column(
        "best_psa_share", NUMBER, "1", "smallest PSA over that before therapy; NaN where the tracer is not for PSMA"
    ),
    Column("lowest_platelets_per_nL", NUMBER, "1/nL", "nadir of the platelets (demonstration model)"),
    Column(
        "survival_d", NUMBER, "d", "days from the first cycle to death of tumour burden, or to the end of follow-up"
    ),
    Column("died", FLAG, "", "whether death, and not the end of follow-up, ended `survival_d`"),
)
CYCLES = (
    Column("patient", pa.int64(), "", "number of the virtual patient"),
    Column("arm", ARM, "", "name of the arm"),
    Column("cycle", INT, "", "number of the cycle, from 1"),
    Column("day", NUMBER, "d", "day of the administration, first cycle 0"),
    Column("activity_MBq", NUMBER, "MBq", "activity given"),
    Column("tumour_mL", NUMBER, "mL", "volume of all lesions at the start of the cycle"),
)
DOSES = (
    Column("patient", pa.int64(), "", "number of the virtual patient"),
    Column("arm", ARM, "", "name of the arm"),
    Column("cycle", INT, "", "number of the cycle, from 1"),
    Column("region", NAME, "", "organ, or tumours (all lesions, mean by mass)"),
    Column("dose_Gy", NUMBER, "Gy", "true absorbed dose of the cycle"),
    Column("bed_Gy", NUMBER, "Gy", "true BED of the cycle"),
    Column(
        "estimated_Gy", NUMBER, "Gy", "absorbed dose as the arm's estimator has it after the cycle's scans; NaN without"
    ),
    Column("estimated_log_sd", NUMBER, "1", "sd of the log that the estimator states; NaN without"),
)
LIMITS = (
    Column("patient", pa.int64(), "", "number of the virtual patient"),
    Column("arm", ARM, "", "name of the arm"),
    Column("limit", NAME, "", "name of the limit (twin/data/limits.csv)"),
    Column("total_Gy", NUMBER, "Gy", "the limited quantity over the whole course, in truth"),
    Column("exceeded", FLAG, "", "whether that is more than the limit"),
)
LESIONS = (
    Column("patient", pa.int64(), "", "number of the virtual patient"),
    Column("arm", ARM, "", "name of the arm"),
    Column("lesion", INT, "", "number of the lesion, from 1, as drawn"),
    Column("volume_mL", NUMBER, "mL", "volume before therapy"),
    Column("receptor_density_nmol_L", NUMBER, "nmol/L", "receptor density"),
    Column("dose_Gy", NUMBER, "Gy", "absorbed dose over the course"),
    Column("end_share", NUMBER, "1", "volume after the last cycle's follow-up over that before therapy"),
)
TABLES: dict[str, tuple[Column, ...]] = {
    "cycles": CYCLES, "doses": DOSES, "limits": LIMITS, "lesions": LESIONS, "patients": PATIENTS,
}  # fmt: skip
"""By name, in the order in which a chunk's parts are written: where `patients` has a part, all others have theirs."""


def arrow_schema(table: str) -> pa.Schema:
    """Types of a table's columns; unit and meaning are the fields' metadata."""
    fields = [
        pa.field(c.name, c.type, nullable=False, metadata={"unit": c.unit, "words": c.words}) for c in TABLES[table]
    ]
    return pa.schema(fields, metadata={"theratwin_table": table, "theratwin_schema": str(VERSION)})


def arrow_table(table: str, columns: Mapping[str, np.ndarray]) -> pa.Table:
    """Columns of equal length as an Arrow table of the schema; words may be arrays of str."""
    schema = arrow_schema(table)
    arrays = []
    for field in schema:
        values = columns[field.name]
        if pa.types.is_dictionary(field.type):
            arrays.append(pa.array(values, pa.string()).dictionary_encode().cast(field.type))
        else:
            arrays.append(pa.array(values, field.type))
    return pa.table(arrays, schema=schema)
