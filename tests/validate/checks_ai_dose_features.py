"""`dose_features` beside log-linear regression, the median, and the PBPK twin calibrated to the same PET."""

from __future__ import annotations

import tempfile
import time
from functools import cache
from pathlib import Path

import numpy as np

from dose.learning.paired import paired
from dose.learning.training import train
from dose.learning.weights import load_weights
from dose.network.features import about, learned_organ_doses, predicted
from dose.network.features_input import FEATURES, LESION_FEATURES, ORGANS, PLAIN
from dose.network.features_net import Laws
from tests.validate import ai_dose_features as on
from tests.validate import check
from tests.validate.ai_cost import peak_megabytes
from twin.dose_recipes import DOSE_FEATURES

EARNS = "the whole 95 % interval of network less classical is below 0"
UNIT = "% [network, {}, difference, interval]"
METHODS = ("network", "linear", "median")
WORDS = {"organs": "organs", "lesion": "lesions"}
NAMES = {"organs": ORGANS, "lesion": ("single lesions",)}
SIZES = {"n50": 48, "n200": 192, "n1000": 1008, "n5000": 5040}
"""Sizes of the configuration, and their numbers of training patients."""

NORMAL = {90: 1.644854, 95: 1.959964}
LEAST_CAUGHT = 0.9
WORSE = 1.25
"""Out of distribution: as many are flagged, or the error is at most so much that of usual patients."""


def errors_of(part: str, method: str, few: bool = False) -> np.ndarray:
    of = on.patients(few)
    mean, _ = on.by_twin()[part] if method == "twin" else on.answer(part, method, of)
    return on.by_patient(part, mean, of)


for _part, _words in WORDS.items():

    @check(f"ai/dose_features/earns: {_words}, mean absolute error of a patient", unit=UNIT.format("regression"),
           tolerance=EARNS, source=on.SOURCE)  # fmt: skip
    def _earns(part=_part):
        found = paired(errors_of(part, "network"), errors_of(part, "linear"))
        return found.values(), found.better()

    @check(f"ai/dose_features/beside the median, {_words}: mean absolute error of a patient",
           unit=UNIT.format("median"), tolerance=EARNS, source=on.SOURCE)  # fmt: skip
    def _median(part=_part):
        found = paired(errors_of(part, "network"), errors_of(part, "median"))
        return found.values(), found.better()

    @check(f"ai/dose_features/beside the PBPK twin on the PET alone, {_words}: mean absolute error of a patient",
           unit=UNIT.format("twin"), tolerance=EARNS, source=on.SOURCE)  # fmt: skip
    def _twin(part=_part):
        found = paired(errors_of(part, "network", few=True), errors_of(part, "twin", few=True))
        return found.values(), found.better()

    for _place, _name in enumerate(NAMES[_part]):

        @check(f"ai/dose_features/{_name}: mean absolute error", unit="% [network, regression, median, twin]",
               tolerance="network below median", source=on.SOURCE)  # fmt: skip
        def _each(part=_part, place=_place):
            of = on.patients()
            found = [on.errors(part, on.answer(part, m, of)[0], of)[:, place].mean() for m in METHODS]
            found.append(on.errors(part, on.by_twin()[part][0], on.patients(few=True))[:, place].mean())
            return [float(f) for f in found], bool(found[0] < found[2])

        @check(f"ai/dose_features/{_name}: R2 of the log dose", unit="1 [network, regression, twin]",
               tolerance="reported", source=on.SOURCE)  # fmt: skip
        def _r2(part=_part, place=_place):
            of = on.patients()
            found = [on.r2(part, on.answer(part, m, of)[0], of)[place] for m in METHODS[:2]]
            found.append(on.r2(part, on.by_twin()[part][0], on.patients(few=True))[place])
            return [float(f) for f in found], True

    for _percent, _z in NORMAL.items():

        @check(f"ai/dose_features/{_words}: within the {_percent} % interval", unit="% [network, by dose]",
               tolerance=f"{_percent} within 3", source=on.SOURCE)  # fmt: skip
        def _covered(part=_part, percent=_percent, z=_z):
            found = 100 * on.coverage(part, *on.answer(part, "network", on.patients()), on.patients(), z)
            return found.tolist(), bool(np.all(np.abs(found - percent) <= 3))

    @check(f"ai/dose_features/{_words}: within the 95 % interval, twin on the PET alone", unit="% [by dose]",
           tolerance="reported", source=on.SOURCE)  # fmt: skip
    def _twin_covers(part=_part):
        found = 100 * on.coverage(part, *on.by_twin()[part], on.patients(few=True), NORMAL[95])
        return found.tolist(), True

    @check(f"ai/dose_features/{_words}: within the 95 % interval of halved sds (control)", unit="% [network, by dose]",
           tolerance="below 80", source="an interval of half the width must be caught")  # fmt: skip
    def _control(part=_part):
        mean, sd = on.answer(part, "network", on.patients())
        found = 100 * on.coverage(part, mean, sd / 2, on.patients(), NORMAL[95])
        return found.tolist(), bool(np.all(found < 80))


@cache
def learned_from(size: str):
    """Means of both parts by a network and a regression that saw fewer patients."""
    with tempfile.TemporaryDirectory() as folder:
        train(DOSE_FEATURES, size, Path(folder))
        trained = load_weights(DOSE_FEATURES, Path(folder))
    of = on.patients()
    return {p: {m: on.by_patient(p, predicted(trained, p, of.x[p], m)[0], of) for m in METHODS[:2]} for p in WORDS}


for _size, _number in SIZES.items():
    for _part, _words in WORDS.items():

        @check(f"ai/dose_features/learning from {_number} patients, one member: {_words}, mean absolute error",
               unit=UNIT.format("regression"), tolerance="reported", source=on.SOURCE)  # fmt: skip
        def _curve(size=_size, part=_part):
            found = learned_from(size)[part]
            return paired(found["network"], found["linear"]).values(), True


def flagged(part: str, of: on.Set) -> np.ndarray:
    """Whether each record lies outside of a limit, [record]."""
    trained = load_weights(DOSE_FEATURES)
    law = getattr(Laws.of(trained.card["laws"]), part)
    return np.array([_outside(about(x, law, part), trained.limits) for x in of.x[part]])


def _outside(known: dict[str, float], limits) -> bool:
    return any(not limits[name][0] <= value <= limits[name][1] for name, value in known.items())


@check("ai/dose_features/usual test patients that are flagged", unit="% [patients, lesions]", tolerance="at most 3",
       source=on.SOURCE)  # fmt: skip
def _false_alarms():
    value = [100 * float(flagged(part, on.patients(few=True)).mean()) for part in WORDS]
    return value, max(value) <= 3


for _other in (*on.CHANGES, "SSTR"):
    for _part, _words in WORDS.items():

        @check(f"ai/dose_features/out of distribution, {_other}: {_words}",
               unit="% [flagged, error of network, of regression, within the 95 % interval]",
               tolerance=f"{100 * LEAST_CAUGHT:g} % flagged, or error at most {WORSE:g} of the usual one",
               source="virtual patients unlike those of the training")  # fmt: skip
        def _elsewhere(other=_other, part=_part):
            of = on.changed(other)
            mean, sd = on.answer(part, "network", of)
            error = [float(on.by_patient(part, m, of).mean()) for m in (mean, on.answer(part, "linear", of)[0])]
            inside = 100 * float(on.coverage(part, mean, sd, of, NORMAL[95]).mean())
            caught = float(flagged(part, of).mean())
            usual = float(errors_of(part, "network").mean())
            return [100 * caught, *error, inside], caught >= LEAST_CAUGHT or error[0] <= WORSE * usual


@check("ai/dose_features/flagged: a child's weight, a woman, SUVs ten times too large, GFR 10; each named",
       unit="cases of 4", tolerance="4", source="records that no training patient resembles")  # fmt: skip
def _flagged():
    wrong = ({"weight_kg": 20.0}, {"female": 1.0}, {"suv_mean_kidneys": 400.0}, {"gfr_mL_min": 10.0})
    found = [learned_organ_doses(record(0) | change, method="network").choice.reasons for change in wrong]
    value = sum(any("trained for" in words for words in reasons) for reasons in found)
    return value, value == len(wrong)


def record(row: int) -> dict:
    """A test patient as `learned_organ_doses` takes one."""
    of = on.patients(few=True)
    of_patient = lambda names, x: {n: float(v if n in PLAIN else np.exp(v)) for n, v in zip(names, x, strict=True)}
    mine = of.x["lesion"][of.whose == row][:, len(FEATURES) :]
    return of_patient(FEATURES, of.x["organs"][row]) | {"lesions": [of_patient(LESION_FEATURES, x) for x in mine]}


for _missing in ("no volumes of organs", "SUVs of organs only", "covariates and volumes only"):
    for _part, _words in WORDS.items():

        @check(f"ai/dose_features/{_missing}: {_words}, mean absolute error", unit=UNIT.format("regression"),
               tolerance="network not worse than the median", source=on.SOURCE)  # fmt: skip
        def _missing_features(missing=_missing, part=_part):
            of = on.patients()
            x = on.hidden(of, missing)[part]
            by = [on.by_patient(part, on.answer(part, m, of, x)[0], of) for m in METHODS]
            return paired(by[0], by[1]).values(), bool(by[0].mean() <= by[2].mean())


@check("ai/dose_features/seconds: one patient; all test patients; one patient by the twin", unit="s",
       tolerance="1; 5; reported", source="this machine")  # fmt: skip
def _seconds():
    one = record(0)
    learned_organ_doses(one, method="network")
    begin = time.perf_counter()
    learned_organ_doses(one, method="network")
    single = time.perf_counter() - begin
    begin = time.perf_counter()
    on.answer("organs", "network", on.patients())
    whole = time.perf_counter() - begin
    found = on.virtual(on.FEW[0], on.DATA)
    on.rival(found)
    begin = time.perf_counter()
    on.rival(found)
    twin = (time.perf_counter() - begin) / found.group.count
    return [single, whole, twin], single < 1 and whole < 5


@check("ai/dose_features/peak memory", unit="MB", tolerance="8000", source="of a process that answers for a patient")
def _memory():
    program = (
        "from dose.network.features import learned_organ_doses\n"
        "from tests.validate.checks_ai_dose_features import record\n"
        "learned_organ_doses(record(0), method='network')"
    )
    value = peak_megabytes(program)
    return value, value <= 8000
