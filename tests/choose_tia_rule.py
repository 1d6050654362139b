"""Errors of the rules on held-out patients, by which one is chosen: `python -m tests.choose_tia_rule [patients]`."""

from __future__ import annotations

import sys

import numpy as np

from dose.learning.cases import HELD_OUT_FROM
from tests.validate.ai_tia import patients
from tests.validate.checks_ai_tia_single import RULES, SINGLE
from twin._jax import configure

if __name__ == "__main__":
    configure()
    tests = SINGLE.of(patients("spect", int(sys.argv[1]) if len(sys.argv) > 1 else 72, HELD_OUT_FROM))
    print(f"{len(tests.patients)} patients")
    for rule in RULES:
        print(f"{rule}: {np.mean(tests.errors(rule)):.1f} % of kidneys and lesions")
