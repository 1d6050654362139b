"""Writes point_kernels_<material>.csv: `python -m dose.data.make_point_kernels [material ...]` (a minute or two each).

Shares of energy within a radius of a mono-energetic point source, by `dose.montecarlo.point`. Rows are long: one number
each.
"""

import sys
from pathlib import Path

from twin._jax import configure

configure()

from dose.point_kernels import SHIPPED, computed_rows, table_name  # noqa: E402

NOTE = (
    "# written by dose/data/make_point_kernels.py: cumulative energy share; radius in CSDA ranges (electron) or g/cm2"
)
HEADER = "particle,energy_MeV,radius,share,unit,source_id,locator"

if __name__ == "__main__":
    for name in sys.argv[1:] or SHIPPED:
        lines = [f"{line},1,own_montecarlo,montecarlo.point" for line in computed_rows(name)]
        Path(__file__).with_name(table_name(name)).write_text("\n".join([NOTE, HEADER, *lines]) + "\n")
