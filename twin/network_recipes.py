"""Recipes of networks whose cases need the kinetic model: the network's own, joined with virtual patients."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from dose.learning.cases import cases_of, training_seeds
from dose.learning.recipe import Case
from imaging.networks import tia_from_pet, tia_single
from imaging.networks.tia_batches import pet, scan_of
from imaging.networks.tia_inputs import label_map, named_regions, soft_suv
from imaging.networks.tia_scans import TRACERS, class_of, means, names_of
from imaging.networks.tia_tables import POPULATION, PRIOR, cohort_rows, features_of, prior_rows, write_rows
from twin.virtual_tia import tia_case

TIA_SINGLE = replace(tia_single.NETWORK, case=tia_case)
TIA_FROM_PET = replace(tia_from_pet.NETWORK, case=tia_case)

DRAWS = 2
"""Pictures of each training case that the table of the PET is fitted on."""

LEAST_VOXELS = 4
"""Regions of fewer are left out of it."""


def write_tia_tables() -> None:
    """Fit the cohort's tables that the classical methods read, on the training patients of `TIA_SINGLE`."""
    single, config = TIA_SINGLE.config(), TIA_FROM_PET.config()
    cases = cases_of(TIA_SINGLE, single, training_seeds(single))
    write_rows(POPULATION, cohort_rows(cases))
    random, seen = np.random.default_rng(0), {}
    for case in cases:
        for draw in range(DRAWS):
            _learn(seen, case, pet(case, draw, scan_of(config.training, random), random))
    write_rows(PRIOR, prior_rows(seen))


def _learn(seen: dict, case: Case, pictures) -> None:
    """Add the regions of one picture: what is seen of each, and the log of its true mean."""
    labels, names = label_map(named_regions(case["labels"], names_of(case)), case["labels"] > 0)
    counts = np.bincount(labels.ravel(), minlength=len(names))
    suv, true = (means(picture, labels, len(names)) for picture in pictures)
    mL, soft = counts * float(np.prod(case["spacing_mm"])) / 1000, soft_suv(pictures[0], labels)
    for k, name in enumerate(names):
        if k and counts[k] >= LEAST_VOXELS:
            pairs = seen.setdefault((TRACERS[int(case["tracer"])], class_of(name)), [])
            pairs.append((features_of(suv[k], mL[k], soft), float(np.log(true[k]))))
