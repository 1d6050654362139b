"""A measurement model as a file: JSON with plain arrays, checked when it is read."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.regions import is_tumour
from imaging.scanner.measurement_model import MeasurementModel

FORMAT = 1
ARRAYS = {
    "response": 2, "noise_MBq_s": 3, "offset_MBq": 1, "room_MBq2_s": 2, "blur_slope": 2,
    "calibration_cv": 0, "blur_cv": 0, "scan_time_s": 0,
}  # fmt: skip
"""Fields and their number of axes, each as long as there are regions."""

DIGITS = 7
ASYMMETRY = 1e-4
"""Covariances may miss symmetry, or have eigenvalues below zero, by this share of the largest (single precision)."""


def save_measurement_model(path, model: MeasurementModel) -> None:
    """Write a model as JSON, numbers to 7 digits."""
    words = {
        "format": FORMAT,
        "about": dict(model.about),
        "regions": list(model.regions),
        **{name: _plain(getattr(model, name)) for name in ARRAYS},
    }
    Path(path).write_text(json.dumps(words, indent=1) + "\n", encoding="utf-8")


def _plain(array):
    if np.ndim(array):
        return [_plain(part) for part in array]
    return float(f"{float(array):.{DIGITS}g}")


def read_measurement_model(path) -> MeasurementModel:
    """A model from a file of `save_measurement_model`.

    Raises:
        InputError: no such file, another format, or arrays that cannot be a measurement model's.
    """
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        do = "give the path of a file that save_measurement_model wrote"
        raise InputError(describe("measurement model", "no readable file", "a JSON file", do)) from error
    return _of_text(text)


@cache
def measurement_model(nuclide: str) -> MeasurementModel:
    """The shipped model of a nuclide: a stylised man on a common camera (docs/imaging-measurement-model.md).

    Raises:
        InputError: none is shipped for this nuclide.
    """
    name = radionuclide(nuclide).name
    path = files("imaging").joinpath("data", f"measurement_{name.lower()}.json")
    if not path.is_file():
        do = "fit one with imaging.scanner.fit_measurement_model, or use 177Lu"
        raise InputError(describe("nuclide", f'"{name}"', "a nuclide with a shipped measurement model", do))
    return _of_text(path.read_text(encoding="utf-8"))


def tumour_volumes_mL(model: MeasurementModel) -> dict[str, float]:
    """Volumes of the tumours that a model was fitted with, by region: "volume of <region> in mL" of its `about`.

    Raises:
        InputError: a tumour whose volume it does not say.
    """
    about = dict(model.about)
    found = {name: about.get(f"volume of {name} in mL") for name in model.regions if is_tumour(name)}
    try:
        return {name: float(str(value)) for name, value in found.items()}
    except ValueError as error:
        raise _wrong("a tumour without its volume") from error


def _of_text(text: str) -> MeasurementModel:
    try:
        words = json.loads(text)
        arrays = {name: np.asarray(words[name], dtype=float) for name in ARRAYS}
        regions, about = tuple(words["regions"]), tuple((str(k), str(v)) for k, v in words["about"].items())
        known = words["format"] == FORMAT
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise _wrong(f"{type(error).__name__}") from error
    if not known:
        raise _wrong("another format")
    model = MeasurementModel(**{n: jnp.asarray(a) for n, a in arrays.items()}, regions=regions, about=about)
    return checked(model)


def checked(model: MeasurementModel) -> MeasurementModel:
    """The model, if it can be one.

    Raises:
        InputError: shapes that do not agree, values not finite, regions without a response to their own activity, sds
            or a time out of range, or covariances that are none.
    """
    count = len(model.regions)
    arrays = {name: np.asarray(getattr(model, name)) for name in ARRAYS}
    if len(set(model.regions)) < count or any(arrays[n].shape != (count,) * axes for n, axes in ARRAYS.items()):
        raise _wrong("arrays that do not fit the regions")
    if not all(np.isfinite(array).all() for array in arrays.values()):
        raise _wrong("values that are not finite")
    if not (np.diag(arrays["response"]) > 0).all() or not np.linalg.cond(arrays["response"]) < 1e8:
        raise _wrong("a response that cannot be undone")
    if min(arrays["calibration_cv"], arrays["blur_cv"]) < 0 or not arrays["scan_time_s"] > 0:
        raise _wrong("an sd below zero, or no scan time")
    for matrix in (*np.moveaxis(arrays["noise_MBq_s"], 2, 0), arrays["room_MBq2_s"]):
        if not _is_covariance(matrix):
            raise _wrong("a noise matrix that is no covariance")
    return model


def _is_covariance(matrix: np.ndarray) -> bool:
    slack = ASYMMETRY * np.abs(matrix).max()
    return bool(np.abs(matrix - matrix.T).max() <= slack and np.linalg.eigvalsh(matrix).min() >= -slack)


def _wrong(found: str) -> InputError:
    do = "fit it anew with fit_measurement_model, or put an unchanged copy back"
    return InputError(describe("measurement model", found, f"a model of format {FORMAT}", do))
