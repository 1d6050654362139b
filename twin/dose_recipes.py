"""Recipes of dose networks that learn from virtual patients: the network from `dose`, the patients from the twin."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np

from dose.learning.cases import Case, cases_of, training_seeds
from dose.learning.recipe import Config, Recipe, folder
from dose.learning.weights import load_weights
from dose.network import features, features_net
from twin import virtual_features


def _batch(cases: Sequence[Case], random: np.random.Generator, config: Config) -> dict[str, np.ndarray]:
    """With the regression of the training patients, whoever the batch is drawn from."""
    return features_net.batch(cases, random, config, _laws(config.size, *_words(config)))


def _words(config: Config) -> tuple[str, str, str]:
    return tuple(json.dumps(dict(part), sort_keys=True) for part in (config.network, config.data, config.training))  # pyright: ignore[reportReturnType]


@cache
def _laws(size: str, *words: str) -> features_net.Laws:
    config = Config(size, *(json.loads(part) for part in words))
    return features_net.laws_of(cases_of(DOSE_FEATURES, config, training_seeds(config)))


def _with_laws(where: Path | None = None) -> Path:
    """Write the regression into the card of the weights in a folder."""
    path = (where or folder(DOSE_FEATURES.package, "weights")) / f"{DOSE_FEATURES.name}.json"
    card = json.loads(path.read_text(encoding="utf-8"))
    config = Config(card["size"], card["network"], card["data"], card["training"])
    card["laws"] = _laws(config.size, *_words(config)).words()
    path.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")
    load_weights(DOSE_FEATURES, where)
    return path


DOSE_FEATURES: Recipe = replace(features.BASE, case=virtual_features.case, batch=_batch, after=_with_laws)
"""`dose_features`: organ doses from a pre-therapy PET and covariates."""
