"""lesions_spect on reconstructed 177Lu SPECT: alone, with the PET's map as prior, and beside the PET's mask copied.

The SPECT is OSEM of noisy projections by the virtual camera (training images are blurred maps); the prior is what
lesions_pet says of a simulated PET of the same body, moved by 4 mm (sd an axis). Two lesions of the PET are gone
on the SPECT, about a third of the SPECT's are new. Rules as in checks_ai_lesions_pet; contrast at a blur of 14 mm.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.validate import check
from tests.validate.ai_cost import one_thread, peak_megabytes, timed
from tests.validate.checks_ai_lesions_pet import default_weights, detection

SEEDS = range(2_000_000, 2_000_012)
HOW = ("alone", "copied", "prior")
SCANS = "12 simulated 177Lu SPECTs of 3 GBq in the body (camera, OSEM 4 x 8), PET 68Ga before, test bodies"
FEWER = 0.5
"""Counts over nominal of the scans with fewer: a third of those of `SCANS`."""

LEFT = 0.3
"""A vanished lesion is still called where the mask covers this part of it."""


@cache
def pairs():
    from imaging.networks.lesions_followup import follow_up

    return [follow_up(seed) for seed in SEEDS]


def answer(pair, how: str, with_organs: bool = True):
    """The network alone or with its prior, the prior copied at 1/2, the PET's own mask copied, a classical rule on the
    SPECT, or what "auto" would do were the network the default."""
    from imaging.networks.lesions_spect import RECIPE, segment_lesions_spect

    scan = pair.scan
    prior = pair.earlier if how == "own" else pair.prior if how in ("copied", "prior", "auto") else None
    words = {"method": "network"} if how in ("alone", "prior") else {"method": "classical"}
    words |= {"rule": how} if how in ("share", "fuzzy") else {}
    if how == "auto":
        with default_weights(RECIPE) as folder:
            words = {"tracer": scan.tracer, "prior": prior, "organs": scan.organs, "weights": folder}
            return segment_lesions_spect(scan.suv, scan.ct, **words)
    organs = scan.organs if with_organs else None
    return segment_lesions_spect(scan.suv, scan.ct, tracer=scan.tracer, prior=prior, organs=organs, **words)


@cache
def answers(how: str):
    return [answer(pair, how) for pair in pairs()]


@cache
def masks(how: str) -> list[np.ndarray]:
    return [made.mask.array > 0.5 for made in answers(how)]


@cache
def scores(how: str):
    from imaging.networks.lesions_scans import scored

    return [scored(mask, pair.scan) for mask, pair in zip(masks(how), pairs())]


def _compared(a: str, b: str, figure):
    from dose.learning.paired import paired

    both = [(figure(x), figure(y)) for x, y in zip(scores(a), scores(b)) if len(x.found)]
    return paired([x for x, _ in both], [y for _, y in both])


@check(
    "ai/lesions_spect/earns: Dice of lesions, a missed one 0, SPECT and prior, PET's mask copied",
    unit="1",
    tolerance="interval of the difference above 0",
    source=SCANS,
)
def earns_dice():
    made = _compared("prior", "copied", lambda f: float(f.dice.mean()))
    return made.values(), made.better(smaller=False)


@check(
    "ai/lesions_spect/earns: Dice of lesions, a missed one 0, SPECT and prior, fuzzy C-means on the SPECT",
    unit="1",
    tolerance="interval of the difference above 0",
    source=SCANS,
)
def earns_fuzzy():
    made = _compared("prior", "fuzzy", lambda f: float(f.dice.mean()))
    return made.values(), made.better(smaller=False)


@check(
    "ai/lesions_spect/false positives a case, SPECT and prior, PET's mask copied (two vanished lesions a case planted)",
    unit="1",
    tolerance="reported",
    source=SCANS,
)
def false_positives():
    from dose.learning.paired import paired

    return paired(*([f.false_positives for f in scores(how)] for how in ("prior", "copied"))).values(), True


@check(
    "ai/lesions_spect/Dice of lesions, auto were the network the default, PET's mask copied",
    unit="1",
    tolerance="reported",
    source=SCANS,
)
def auto_dice():
    return _compared("auto", "copied", lambda f: float(f.dice.mean())).values(), True


@check(
    "ai/lesions_spect/auto as the default: found, of them, false positives a case, left to the copy, of scans",
    unit="1",
    tolerance="reported",
    source=SCANS,
)
def auto_found():
    left = sum(made.choice.method == "classical" for made in answers("auto"))
    return [*detection(scores("auto")), left, len(pairs())], True


@check(
    "ai/lesions_spect/found, of them, false positives a case, Dice: lesions_pet's own mask copied",
    unit="1",
    tolerance="reported",
    source=SCANS,
)
def own_mask():
    dices = [float(f.dice.mean()) for f in scores("own") if len(f.found)]
    return [*detection(scores("own")), float(np.mean(dices)), len(dices)], True


@check(
    "ai/lesions_spect/Dice of lesions, SPECT alone and 41 % of the maximum on the SPECT, organ masks given",
    unit="1",
    tolerance="interval of the difference above 0",
    source=SCANS,
)
def alone_dice():
    made = _compared("alone", "share", lambda f: float(f.dice.mean()))
    return made.values(), made.better(smaller=False)


@check(
    "ai/lesions_spect/found, of them, false positives a case: SPECT alone, PET copied, SPECT and prior, 41 %, fuzzy",
    unit="1",
    tolerance="SPECT and prior: 0.85 found at 1 false positive or fewer",
    source=SCANS,
)
def found():
    rows = [detection(scores(how)) for how in (*HOW, "share", "fuzzy")]
    return [v for row in rows for v in row], rows[2][0] >= 0.85 and rows[2][3] <= 1.0


@check(
    "ai/lesions_spect/without organ masks found, of them, false positives a case: SPECT alone, SPECT and prior, fuzzy",
    unit="1",
    tolerance="SPECT and prior: 0.85 found at 1 false positive or fewer",
    source=SCANS,
)
def without_masks():
    from imaging.networks.lesions_scans import scored

    rows = [
        detection([scored(answer(pair, how, False).mask.array > 0.5, pair.scan) for pair in pairs()])
        for how in ("alone", "prior", "fuzzy")
    ]
    return [v for row in rows for v in row], rows[1][0] >= 0.85 and rows[1][3] <= 1.0


@check(
    "ai/lesions_spect/new lesions found, of them: SPECT alone, PET copied, SPECT and prior",
    unit="1",
    tolerance="SPECT and prior: half of what is found alone or more",
    source=SCANS,
)
def new_lesions():
    rates, number = [], 0
    for how in HOW:
        hits = [
            float(mask[pair.scan.truth.array == k].mean()) >= LEFT
            for mask, pair in zip(masks(how), pairs())
            for k in pair.appeared
            if k in pair.scan.counted
        ]
        rates.append(float(np.mean(hits)) if hits else float("nan"))
        number = len(hits)
    return [*rates, number], number > 0 and rates[2] >= 0.5 * rates[0]


@check(
    "ai/lesions_spect/vanished lesions still called, of them that the prior shows: alone, PET copied, SPECT and prior",
    unit="1",
    tolerance="SPECT and prior: half of the copied ones or fewer",
    source=SCANS,
)
def vanished_lesions():
    called = {how: [] for how in HOW}
    for n, pair in enumerate(pairs()):
        gone = pair.vanished.array.astype(int)
        for k in range(1, int(gone.max()) + 1):
            where = gone == k
            if where.any() and float((pair.prior.array[where] >= 0.5).mean()) >= LEFT:
                for how in HOW:
                    called[how].append(float(masks(how)[n][where].mean()) >= LEFT)
    rates = [float(np.mean(called[how])) for how in HOW]
    return [*rates, len(called["prior"])], rates[2] <= 0.5 * rates[1]


@check(
    "ai/lesions_spect/false positives a case, scans without lesions that count: alone, SPECT and prior, number",
    unit="1",
    tolerance="1 or fewer each",
    source=SCANS,
)
def hallucinated():
    empty = [n for n, pair in enumerate(pairs()) if not len(pair.scan.counted)]
    rates = [float(np.mean([scores(how)[n].false_positives for n in empty])) for how in ("alone", "prior")]
    return [*rates, len(empty)], max(rates) <= 1.0


@check(
    "ai/lesions_spect/twice the activity: ratio of lesions' activity, voxels of the mask that change",
    unit="1",
    tolerance="2 within 1e-4, none",
    source="linearity",
)
def doubled():
    from dataclasses import replace

    n = int(np.argmax([mask.sum() for mask in masks("prior")]))
    pair = pairs()[n]
    twice = replace(pair, scan=replace(pair.scan, suv=pair.scan.suv.with_array(2 * pair.scan.suv.array)))
    one, two = answer(pair, "prior"), answer(twice, "prior")
    changed = int((one.mask.array != two.mask.array).sum())
    held = [made.burden.activity_MBq.value for made in (one, two)]  # type: ignore[union-attr]
    ratio = held[1] / held[0]
    return [ratio, changed], abs(ratio / 2 - 1) < 1e-4 and changed == 0


@check(
    "ai/lesions_spect/scans out of range that are flagged: 90Y, voxels of 12 mm, no scan of a body",
    unit="1",
    tolerance="all of 3",
    source="made here",
)
def flagged():
    from imaging.geometry import Volume
    from imaging.networks.lesions_spect import segment_lesions_spect

    scan = pairs()[1].scan
    coarse = Volume(scan.suv.array[::2, ::2, ::2], scan.suv.affine @ np.diag([2.0, 2.0, 2.0, 1.0]))
    noise = scan.suv.with_array(np.random.default_rng(0).poisson(0.3, scan.suv.array.shape))
    made = [
        segment_lesions_spect(scan.suv, scan.ct, tracer=scan.tracer, nuclide="90Y", method="network"),
        segment_lesions_spect(coarse, scan.ct, tracer=scan.tracer, method="network"),
        segment_lesions_spect(noise, scan.ct, tracer=scan.tracer, method="network"),
    ]
    seen = sum(any("trained for" in reason for reason in one.choice.reasons) for one in made)
    return seen, seen == 3


@check("ai/lesions_spect/other: a third of the counts, found, of them, false positives a case: SPECT and prior, fuzzy",
       unit="1", tolerance="0.85 found at 1 or fewer by the first", source="the same twelve patients")  # fmt: skip
def fewer_counts():
    from imaging.networks.lesions_followup import follow_up
    from imaging.networks.lesions_scans import scored

    seen = [follow_up(seed, scale=FEWER) for seed in SEEDS]
    found = [[scored(answer(p, how).mask.array > 0.5, p.scan) for p in seen] for how in ("prior", "fuzzy")]
    values = [v for each in found for v in detection(each)]
    return values, values[0] >= 0.85 and values[3] <= 1.0


@check(
    "ai/lesions_spect/peak memory", unit="MB", tolerance="4000", source="of a process that segments a scan, PET first"
)
def memory():
    program = (
        "from imaging.networks.lesions_followup import follow_up\n"
        "from tests.validate.checks_ai_lesions_spect import SEEDS, answer\n"
        "answer(follow_up(SEEDS[0]), 'prior')"
    )
    peak = peak_megabytes(program)
    return peak, peak <= 4000


@check("ai/lesions_spect/seconds a scan of 64 slices, one thread", unit="s", tolerance="60", source="this machine")
def seconds():
    with one_thread():
        spent = timed(lambda: answer(pairs()[0], "prior"))
    return spent, spent < 60
