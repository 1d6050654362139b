"""What published series allow: the bands that `checks_plausibility` holds the default population against.

Marks as in CLINICAL.md: [S] read in an abstract or table, [S2] seen inside another source, [R] recalled from memory.
An SUVmean of the model is held below a published SUVmax, and above the half of it: pairs of the two in the same organ
of different series stand as 0.49 to 0.63 (68Ga-PSMA-11, n=80 mean against n=55 maximum).
"""

from __future__ import annotations

from typing import NamedTuple

GATE = "CLINICAL.md section 6, plausibility gate"
SINK = "SUVmean quartiles of 406 patients, Gafita 2022 JNM 63:226 [S]"
N80 = "mean of 80 patients, Muchnik Kurash 2020 [S], and one sd of 55 patients (SUVmax, PubMed 28481787 [S])"
RATES = "50 patients (25 whole-body counted), EJNMMI Res 2018, s13550-018-0386-4 [S]"
FORTY = "40 patients, DOTATATE or DOTANOC, Forbes J Med 2023;4:116 [S]"
MAXIMA = "half to all of the mean SUVmax of 120 patients, Ann Nucl Med 2013, doi 10.1007/s12149-013-0718-4 [S]"


class Band(NamedTuple):
    """`quantity` is a method of the cohort and `at` its hour, if any; `spread` holds the CV, not the value."""

    tracer: str
    region: str
    quantity: str
    low: float
    high: float
    source: str
    at_h: float = 1.0
    spread: bool = False


def _of(tracer: str, quantity: str, *rows, spread: bool = False) -> tuple[Band, ...]:
    return tuple(Band(tracer, region, quantity, low, high, source, spread=spread) for region, low, high, source in rows)


PSMA, SSTR = "177Lu-PSMA-617", "177Lu-DOTATATE"
BANDS = (
    *_of(
        PSMA,
        "dose_Gy_per_GBq",
        ("kidneys", 0.4, 0.7, GATE),
        ("parotid", 0.4, 1.0, GATE),
        ("submandibular", 0.39, 0.72, "salivary: Peters 2022 0.39, planar n=9 0.72 [S]; Violet 2019 0.44 [S2]"),
        ("lacrimal", 0.36, 2.82, "Violet 2019 [S2] to planar n=9 [S]"),
        ("liver", 0.07, 0.11, "Peters 2022, n=10: 0.09, two sd of 0.01 [S]; Violet 2019 0.10 [S2]"),
        ("spleen", 0.06, 0.15, "Violet 2019 0.06 [S2]; target of PBPK_DEFAULTS section 3"),
        ("red_marrow", 0.01, 0.05, GATE),
        ("tumour_1", 3.25, 5.28, "Peters 2022 index lesion [S] to Violet 2019 bone metastases [S2]"),
    ),
    *_of(
        PSMA,
        "half_life_h",
        ("kidneys", 30, 45, GATE + " [R]; median of 37 kidneys 35.5 (defaults_proposed.csv)"),
        ("parotid", 25, 42, "25 to 35 [R]; median 42 of one series [S]"),
        ("liver", 17, 29, "median 23 of 20 patients [S], taken as 25 % wide"),
        ("spleen", 13, 21, "median 17 of 20 patients [S], taken as 25 % wide"),
        ("tumour_1", 50, 60, "PBPK_DEFAULTS section 3 [R]"),
        ("whole_body", 30.9, 50.1, f"40.5, one sd of 9.6, {RATES}"),
    ),
    Band(PSMA, "", "lost_percent", 37.5, 62.5, f"about 50, {RATES}; taken as 25 % wide", 4.0),
    Band(PSMA, "", "lost_percent", 52.5, 87.5, f"about 70, {RATES}; taken as 25 % wide", 12.0),
    Band(PSMA, "", "urine_percent", 41.5, 65.4, "range of 7 patients, mean 56.5, PMC5472088 [S]", 24.0),
    *_of(PSMA, "dose_Gy_per_GBq", ("kidneys", 0.30, 0.45, GATE), spread=True),
    *_of(
        PSMA,
        "dose_Gy_per_GBq",
        ("parotid", 0.44, 0.63, "0.39 sd 0.17 (n=10) and 1.90 sd 1.19 (n=7) [S]"),
        ("tumour_1", 0.51, 0.98, "receptor densities of 13 patients; 3.25 sd 3.19 (n=10) [S]"),
        spread=True,
    ),
    *_of(
        SSTR,
        "dose_Gy_per_GBq",
        ("kidneys", 0.4, 0.65, GATE),
        ("spleen", 0.5, 1.2, GATE),
        ("liver", 0.1, 0.3, GATE),
        ("red_marrow", 0.006, 0.064, "0.035, one sd of 0.029, US label [R]"),
        ("tumour_1", 2.73, 4.09, "3.41, one sd of 0.68, 61 patients [S]"),
    ),
    *_of(
        SSTR,
        "half_life_h",
        ("kidneys", 40, 60, GATE + ", about 50 [R]; taken as 20 % wide"),
        ("spleen", 56, 84, "70 [R], taken as 20 % wide"),
        ("liver", 52, 78, "65 [R], taken as 20 % wide"),
        ("tumour_1", 68, 102, "85 [R], taken as 20 % wide"),
    ),
    Band(SSTR, "", "urine_percent", 35, 53, "44 [R], taken as 20 % wide", 5.0),
    Band(SSTR, "", "urine_percent", 46, 70, "58 [R], taken as 20 % wide", 24.0),
    Band(SSTR, "", "urine_percent", 52, 78, "65 [R], taken as 20 % wide", 48.0),
    *_of(
        SSTR,
        "dose_Gy_per_GBq",
        ("kidneys", 0.30, 0.50, "0.43 sd 0.13 (n=12) and 0.38 sd 0.19 (18 patients, 80 cycles) [S]"),
        spread=True,
    ),
    *_of(
        "68Ga-PSMA-11",
        "suv",
        ("kidneys", 20.0, 57.6, f"{SINK}, to {N80}"),
        ("parotid", 7.7, 19.3, f"{SINK}, to {N80}"),
        ("submandibular", 7.7, 16.5, f"{SINK}, to {N80}"),
        ("lacrimal", 7.8, 15.7, "half to all of the mean SUVmax of 55 patients, PubMed 28481787 [S]"),
        ("liver", 3.0, 4.7, SINK),
        ("spleen", 4.0, 7.2, SINK),
        ("prostate", 1.2, 3.6, "2.4, Muchnik Kurash 2020 [S], taken as 50 % wide"),
        ("blood", 0.8, 1.6, "1.2 [R], taken as a third wide"),
        ("tumour_1", 11.0, 24.0, "SUVmax of series (PBPK_DEFAULTS section 3) [S]"),
    ),
    *_of(
        "68Ga-DOTATATE",
        "suv",
        ("kidneys", 7.2, 14.3, MAXIMA),
        ("spleen", 12.3, 24.7, MAXIMA),
        ("liver", 4.6, 9.1, MAXIMA),
        ("adrenals", 6.9, 13.7, MAXIMA),
        ("pituitary", 4.9, 9.7, MAXIMA),
        ("parotid", 2.0, 9.1, f"above blood and marrow (2), below the liver: {FORTY}"),
        ("blood", 0.5, 2.0, f"maximum and mean below 2: {FORTY}"),
        ("tumour_1", 12.6, 28.7, "mean SUVmax of lymph node to liver lesions, 120 patients, as the organs above [S]"),
    ),
)  # fmt: skip
