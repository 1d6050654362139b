"""Organs of a CT by the user's own TotalSegmentator: no dependency, and its weights are never fetched.

Written for version 2 (`totalsegmentator.python_api.totalsegmentator`), after the sources of 2.18.0. See
docs/ai/organs.md for what could be tried without its weights.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from unittest import mock

import numpy as np

from dose.errors import ImageError, InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.networks.organs_input import checked
from imaging.networks.organs_result import OrganSegmentation, measured
from imaging.scanner.anatomy import REMAINDER
from imaging.scanner.label_map import totalsegmentator_regions

MODELS = {"1.5 mm": (291, 292, 293, 294, 295), "3 mm": (297,), "6 mm": (298,)}
"""Numbers of nnU-Net data sets that each resolution of task "total" needs."""

FLAGS = {"1.5 mm": {}, "3 mm": {"fast": True}, "6 mm": {"fastest": True}}

TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""From LPS to the RAS of NIfTI and back."""

SAME_GRID_mm = 0.01


def totalsegmentator_organs(
    ct: Volume,
    *,
    resolution: str = "3 mm",
    weights: Path | None = None,
    device: str = "cpu",
    progress: Progress = silent,
) -> OrganSegmentation:
    """Regions of a CT by the user's installed TotalSegmentator, task "total", with weights that are on disk already.

    Its usage statistics are switched off for the call, and a download that it would start is refused.

    Args:
        ct: in HU.
        resolution: "1.5 mm", "3 mm" or "6 mm": which weights.
        weights: folder with `Dataset297_...` and the like; else TOTALSEG_WEIGHTS_PATH or TotalSegmentator's own place.
        device: "cpu", "gpu" or "gpu:1".
        progress: told when it begins and ends; what lies between is not known.

    Raises:
        InputError: no such resolution, the package or weights are missing.
        ImageError: a CT that is none, or an answer on another grid.
    """
    if resolution not in MODELS:
        raise InputError(describe("resolution", f'"{resolution}"', f"one of {tuple(MODELS)}", "choose one"))
    checked(None, ct, "CT")
    need("totalsegmentator", "nibabel")
    place = _weights_folder(weights, MODELS[resolution])
    progress(0, 1, "TotalSegmentator")
    with _quietly(place) as api:
        image = api.totalsegmentator(
            _to_nifti(ct), None, ml=True, task="total", device=device, quiet=True, skip_saving=True, **FLAGS[resolution]
        )
    progress(1, 1, "TotalSegmentator")
    labels = _from_nifti(image, ct)
    regions, unknown = _totalsegmentator_names(np.unique(labels))
    return segmentation_of(labels, regions, unknown, ct, f"TotalSegmentator, {resolution}")


def need(*packages: str) -> None:
    missing = [name for name in packages if find_spec(name) is None]
    if missing:
        name = {"totalsegmentator": "TotalSegmentator"}.get(missing[0], missing[0])
        do = f"install it beside theratwin (pip install {name}), or use imaging.networks.organs"
        raise InputError(describe("package", f"no {missing[0]}", "the package and its weights", do))


def _weights_folder(given: Path | None, numbers: tuple[int, ...]) -> Path:
    """The folder that holds all data sets; where TotalSegmentator 2 looks unless given."""
    home = Path(os.environ.get("TOTALSEG_HOME_DIR") or Path.home() / ".totalsegmentator")
    place = Path(given or os.environ.get("TOTALSEG_WEIGHTS_PATH") or home / "nnunet" / "results")
    missing = [number for number in numbers if not any(place.glob(f"Dataset{number}_*"))]
    if missing:
        found = f"no {', '.join(f'Dataset{n}_...' for n in missing)} in {place}"
        do = "fetch them by `totalseg_download_weights -t total` (or total_fast), or give the folder that holds them"
        raise InputError(describe("weights of TotalSegmentator", found, "one folder a data set", do))
    return place


@contextmanager
def _quietly(place: Path) -> Iterator:
    """TotalSegmentator's interface with these weights, without statistics sent or weights fetched."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(prefix="theratwin_"))
        settings = {"totalseg_id": "theratwin", "send_usage_stats": False, "prediction_counter": 0}
        Path(home, "config.json").write_text(json.dumps(settings), encoding="utf-8")
        paths = {"TOTALSEG_HOME_DIR": home, "TOTALSEG_WEIGHTS_PATH": str(place)}
        stack.enter_context(mock.patch.dict(os.environ, paths))
        api = import_module("totalsegmentator.python_api")
        if hasattr(api, "download_pretrained_weights"):
            stack.enter_context(mock.patch.object(api, "download_pretrained_weights", _refuse_download(place)))
        yield api


def _refuse_download(place: Path):
    def check(number, *_, **__):
        _weights_folder(place, (int(number),))

    return check


def _to_nifti(ct: Volume):
    nibabel = import_module("nibabel")
    return nibabel.Nifti1Image(np.ascontiguousarray(ct.array.transpose(2, 1, 0)), TO_RAS @ ct.affine)


def _from_nifti(image, ct: Volume) -> np.ndarray:
    """Label numbers [z, y, x] of an image on the CT's grid."""
    affine = TO_RAS @ np.asarray(image.affine, dtype=float)
    if not np.allclose(affine, ct.affine, atol=SAME_GRID_mm):
        do = "report it: the version of TotalSegmentator answers otherwise than 2.18"
        raise ImageError(describe("TotalSegmentator's answer", "another grid than the CT's", "the CT's grid", do))
    return whole_numbers(np.asarray(image.dataobj).transpose(2, 1, 0), ct)


def whole_numbers(answer: np.ndarray, ct: Volume) -> np.ndarray:
    answer = np.asarray(answer)
    fits = answer.shape == ct.array.shape and answer.dtype.kind in "iufb" and np.isfinite(answer).all()
    if not fits or answer.min() < 0 or (answer != np.rint(answer)).any():
        found = f"shape {answer.shape} of {answer.dtype}"
        do = "check the model: it must give one label number a voxel"
        raise ImageError(describe("segmentation", found, f"label numbers of shape {ct.array.shape}", do))
    return answer.astype(np.int64)


def _totalsegmentator_names(numbers: np.ndarray) -> tuple[dict[int, str], list[str]]:
    """Region by number, and structures without one; by the installed version's names where it numbers otherwise."""
    rows = load_table("imaging", "totalsegmentator_labels.csv")
    ours = {int(row["id"]): row["structure"] for row in rows}
    theirs = {int(k): str(v) for k, v in import_module("totalsegmentator.map_to_binary").class_map["total"].items()}
    by_structure = {row["structure"]: row["region"] for row in rows}
    if ours == theirs:
        return totalsegmentator_regions(), [str(n) for n in numbers if n and n not in ours]
    found = {n: by_structure[name] for n, name in theirs.items() if name in by_structure}
    return found, [theirs.get(int(n), str(n)) for n in numbers if n and int(n) not in found]


def segmentation_of(labels: np.ndarray, regions: Mapping[int, str], unknown, ct: Volume, by: str) -> OrganSegmentation:
    """The segmentation of label numbers; the remainder and what has no region become 0."""
    there = {int(n) for n in np.unique(labels) if n}
    names = {n: name for n, name in regions.items() if n in there and name != REMAINDER}
    kept = np.where(np.isin(labels, list(names)), labels, 0)
    notes = tuple(f'label "{name}" names no region here and is left out' for name in unknown)
    reasons = ("not validated here: this package ships neither the network nor patients to test it on",)
    volumes = measured(kept, names, ct.voxel_mL)
    return OrganSegmentation(ct.with_array(kept), names, volumes, {}, {}, Choice(by, reasons), notes)
