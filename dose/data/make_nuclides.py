"""Writes nuclides.csv from the ICRP-107 summary table: `python dose/data/make_nuclides.py <icrp107_summary.csv>`."""

import csv
import re
import sys
from pathlib import Path

COLUMNS = {
    "electron": "E_electron_total_MeV",
    "photon": "E_photon_total_MeV",
    "alpha": "E_alpha_MeV",
    "recoil": "E_recoil_MeV",
}
HEADER = (
    "# written by dose/data/make_nuclides.py; data (c) 2008 A. Endo and K.F. Eckerman, notice in LICENSE.ICRP-07",
    "nuclide,quantity,daughter,value,unit,source_id,locator",
)


def canonical(name):
    """ "Lu-177m" as "177mLu"."""
    symbol, number = name.split("-")
    return f"{number}{symbol}"


def lines(path):
    table = csv.DictReader(line for line in path.read_text().splitlines() if not line.startswith("#"))
    for row in table:
        name, where = canonical(row["nuclide"]), f"ICRP-07 record {row['nuclide']}"
        yield f"{name},half_life,,{row['half_life']},{row['unit']},icrp107,{where}"
        for quantity, column in COLUMNS.items():
            yield f"{name},{quantity},,{row[column]},MeV,icrp107,{where}"
        for daughter, branching in re.findall(r"([A-Z][a-z]?-\d+m?):([\d.e-]+)\(", row["progeny"]):
            yield f"{name},branching,{canonical(daughter)},{branching},1,icrp107,{where}"


if __name__ == "__main__":
    target = Path(__file__).with_name("nuclides.csv")
    target.write_text("\n".join((*HEADER, *lines(Path(sys.argv[1])))) + "\n")
