"""The network behind `dose_features`: what the log-linear regression leaves over, by two small perceptrons.

One answers for all organs, one for a lesion from its own features and its patient's; lesions share it. Both see the
features in sds of the training patients, which of them are known, and the regression's mean and sd, and answer with a
shift of that mean in its own sds and a factor of that sd. At the start both are nothing: the regression itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from dose.learning.cases import Case
from dose.learning.recipe import Config
from dose.learning.weights import tensors_of
from dose.network.features_input import FEATURES, LESION_FEATURES, ORGANS
from dose.network.features_linear import MOST_SDS, Linear, fit_linear

BOUND = 2.0
"""Largest log of the factor of the regression's sd."""

COMPLETE = 0.5
"""Share of the training records that lack nothing."""

MOST_MISSING = 0.6
"""Largest chance of a feature to be missing in the other records."""


@dataclass(frozen=True, eq=False)
class Laws:
    """The regressions of organs and of lesions."""

    organs: Linear
    lesion: Linear

    def words(self) -> dict:
        return {"organs": self.organs.words(), "lesion": self.lesion.words()}

    @classmethod
    def of(cls, words: Mapping) -> Laws:
        return cls(Linear.of(words["organs"]), Linear.of(words["lesion"]))


class Correction(nn.Module):
    """Mean and log sd, [record, dose] each, of records' features and start; in sds of the training doses."""

    def __init__(self, features: int, doses: int, width: int):
        super().__init__()
        inside = 2 * features + 2 * doses
        self.layers = nn.Sequential(
            nn.Linear(inside, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * doses)
        )
        last = self.layers[-1]
        nn.init.zeros_(last.weight)  # pyright: ignore[reportArgumentType]
        nn.init.zeros_(last.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, x: Tensor, known: Tensor, mean: Tensor, sd: Tensor) -> tuple[Tensor, Tensor]:
        shift, factor = self.layers(torch.cat([x, known, mean, sd], dim=1)).chunk(2, dim=1)
        return mean + sd * shift, torch.log(sd) + BOUND * torch.tanh(factor / BOUND)


class DoseFeatures(nn.Module):
    """Both perceptrons."""

    def __init__(self, width: int):
        super().__init__()
        self.organs = Correction(len(FEATURES), len(ORGANS), width)
        self.lesion = Correction(len(FEATURES) + len(LESION_FEATURES), 1, width)


def network(config: Config) -> nn.Module:
    """The untrained network of a configuration."""
    return DoseFeatures(int(config.network["width"]))


def laws_of(cases: Sequence[Case]) -> Laws:
    """Regressions on training cases; each patient's lesions weigh as many as they are."""
    patient, dose, lesion, lesion_dose, whose = joined(cases)
    return Laws(fit_linear(patient, dose), fit_linear(np.column_stack([patient[whose], lesion]), lesion_dose[:, None]))


def joined(cases: Sequence[Case]) -> tuple[np.ndarray, ...]:
    """`patient`, `dose`, `lesion`, `lesion_dose`, `whose` of all cases together."""
    offset = np.cumsum([0, *(len(case["patient"]) for case in cases)])
    parts = (np.concatenate([case[name] for case in cases]) for name in ("patient", "dose", "lesion", "lesion_dose"))
    return (*parts, np.concatenate([case["whose"] + k for case, k in zip(cases, offset, strict=False)]))


def batch(cases: Sequence[Case], random: np.random.Generator, config: Config, laws: Laws) -> dict[str, np.ndarray]:
    """Records drawn from patients evenly, each with one of its lesions; half of them lack features."""
    patient, dose, lesion, lesion_dose, whose = joined(cases)
    first, number = np.searchsorted(whose, np.arange(len(patient))), np.bincount(whose, minlength=len(patient))
    chosen = random.choice(np.flatnonzero(number), size=int(config.training["batch"]))
    one = first[chosen] + random.integers(number[chosen])
    x, own = without(patient[chosen], random), without(lesion[one], random)
    own[:, 1] = lesion[one, 1]
    return {
        **seen("organs", laws.organs, x, dose[chosen]),
        **seen("lesion", laws.lesion, np.column_stack([x, own]), lesion_dose[one, None]),
    }


def without(x: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Records of which half lack features, NaN; each its own share of them."""
    share = np.where(random.random(len(x)) < COMPLETE, 0.0, MOST_MISSING * random.random(len(x)))
    return np.where(random.random(x.shape) < share[:, None], np.nan, x)


def seen(part: str, law: Linear, x: np.ndarray, y: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What one perceptron sees of records, and what it should answer, by names that begin with `part`."""
    mean, sd = law.predicted(x)
    arrays = {
        "x": np.clip(law.standard(x), -MOST_SDS, MOST_SDS),
        "known": np.isfinite(x).astype(float),
        "mean": (mean - law.dose_mean) / law.dose_sd,
        "sd": sd / law.dose_sd,
    }
    arrays |= {} if y is None else {"dose": (y - law.dose_mean) / law.dose_sd}
    return {f"{part}_{name}": array.astype(np.float32) for name, array in arrays.items()}


def loss(model: nn.Module, drawn: Mapping[str, Tensor]) -> Tensor:
    """Negative log likelihood of the log doses, mean over organs and that of lesions, half each."""
    return 0.5 * sum((_misfit(model, drawn, part) for part in ("organs", "lesion")), torch.zeros(()))


def _misfit(model: nn.Module, drawn: Mapping[str, Tensor], part: str) -> Tensor:
    mean, log_sd = _answer(model, drawn, part)
    return torch.mean(0.5 * ((drawn[f"{part}_dose"] - mean) * torch.exp(-log_sd)) ** 2 + log_sd)


def _answer(model: nn.Module, drawn: Mapping[str, Tensor], part: str) -> tuple[Tensor, Tensor]:
    return getattr(model, part)(*(drawn[f"{part}_{name}"] for name in ("x", "known", "mean", "sd")))


@torch.no_grad()
def answers(members: Sequence[nn.Module], law: Linear, part: str, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and sd of log doses [record, dose] by the ensemble: its members' variances and their spread together."""
    drawn = tensors_of(seen(part, law, x))
    found = [_answer(member, drawn, part) for member in members]
    mean = np.stack([m.numpy() for m, _ in found]).astype(float)
    variance = np.stack([torch.exp(2 * log_sd).numpy() for _, log_sd in found]).astype(float)
    sd = np.sqrt(variance.mean(axis=0) + mean.var(axis=0))
    return law.dose_mean + law.dose_sd * mean.mean(axis=0), law.dose_sd * sd
