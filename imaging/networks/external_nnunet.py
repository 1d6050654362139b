"""Organs by a user's own nnU-Net, read from the folder of a trained configuration.

Written for nnU-Net 2 (`nnUNetPredictor`), after the sources of nnunetv2 2.8.1. Its checkpoints are pickles: nothing is
loaded that the user did not vouch for. See docs/ai/organs.md for what could be tried.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

import numpy as np

from dose.errors import InputError, describe
from dose.learning.cases import Progress, silent
from dose.provenance import load_table
from dose.regions import region
from imaging.geometry import Volume
from imaging.networks.external import need, segmentation_of, whole_numbers
from imaging.networks.organs_input import checked
from imaging.networks.organs_result import OrganSegmentation
from imaging.region_masks import region_or_none

MOST_BYTES = 10_000_000
"""Of a dataset.json; real ones hold kilobytes and, with lists of cases, some megabytes."""

BACKGROUND = "background"


def nnunet_organs(
    ct: Volume,
    model: Path,
    *,
    trusted: bool,
    emission: Volume | None = None,
    regions: Mapping[str, str] | None = None,
    folds: tuple[int | str, ...] | None = None,
    checkpoint: str = "checkpoint_final.pth",
    device: str = "cpu",
    progress: Progress = silent,
) -> OrganSegmentation:
    """Regions of a CT, or of CT and emission, by a user's own nnU-Net.

    Args:
        ct: in HU; handed over in its own order of axes, as nnU-Net reads files without regard to orientation.
        model: folder of a trained configuration, `Dataset.../nnUNetTrainer__nnUNetPlans__3d_fullres`.
        trusted: nnU-Net's checkpoints are pickles, which run code as they load: say True for your own only.
        emission: for a network with a channel "PET" or "SPECT".
        regions: our region by label of the dataset.json, beside names that are understood without.
        folds: of the ensemble; all that lie there unless told.
        checkpoint: file name within each fold.
        device: of torch.
        progress: told when it begins and ends.

    Raises:
        InputError: not trusted, package or files missing, a dataset.json that cannot be used, no label understood.
        ImageError: images that do not fit, or an answer of another shape.
    """
    if not trusted:
        found, do = "trusted=False", "pass trusted=True for a model that you made or whose maker you trust"
        raise InputError(describe("nnU-Net model", found, "your word that its checkpoint, a pickle, may run", do))
    checked(None, ct, "CT")
    told = _dataset(Path(model))
    used = folds or _folds(Path(model), checkpoint)
    _model_files(Path(model), used, checkpoint)
    image = np.stack([_channel(name, ct, emission) for name in _channel_names(told)])
    called, unknown = _named(told["labels"], regions or {})
    need("nnunetv2", "torch")
    progress(0, 1, "nnU-Net")
    answer = _predicted(Path(model), used, checkpoint, device, image, ct)
    progress(1, 1, "nnU-Net")
    return segmentation_of(whole_numbers(answer, ct), called, unknown, ct, f"nnU-Net, {Path(model).name}")


def _dataset(model: Path) -> dict:
    path = model / "dataset.json"
    if not path.is_file():
        found, do = f"no dataset.json in {model}", "give the folder of a trained configuration, which holds fold_0"
        raise InputError(describe("nnU-Net model", found, "dataset.json, plans.json and folds", do))
    if path.stat().st_size > MOST_BYTES:
        raise _unusable(f"{path.stat().st_size} bytes")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise _unusable("no JSON") from error
    if not (isinstance(told, dict) and isinstance(told.get("labels"), dict) and told["labels"]):
        raise _unusable("no labels")
    if not all(type(number) is int and number >= 0 for number in told["labels"].values()):
        raise _unusable("labels that are not single whole numbers")
    return told


def _unusable(found: str) -> InputError:
    expected = '"labels" with one number each, and "channel_names"'
    return InputError(describe("dataset.json", found, expected, "give a model of nnU-Net 2 with plain labels"))


def _channel_names(told: Mapping) -> list[str]:
    names = told.get("channel_names")
    if not (isinstance(names, dict) and names and set(names) == {str(k) for k in range(len(names))}):
        raise _unusable("no channel_names from 0 on")
    return [str(names[str(k)]) for k in range(len(names))]


def _channel(name: str, ct: Volume, emission: Volume | None) -> np.ndarray:
    kind = name.strip().casefold()
    if kind == "ct":
        return ct.array
    if kind in ("pet", "spect", "emission", "nopet"):
        if emission is None:
            do = "give the emission image, in the unit that the network was trained with"
            raise InputError(describe("emission", f'none for the channel "{name}"', "an image", do))
        return emission.resampled_onto(ct).array
    raise InputError(describe("channel_names", f'"{name}"', '"CT", "PET" or "SPECT"', "train with these channels"))


def _folds(model: Path, checkpoint: str) -> tuple[int | str, ...]:
    there = sorted(p.parent.name.removeprefix("fold_") for p in model.glob(f"fold_*/{checkpoint}"))
    numbered = tuple(int(name) for name in there if name.isdigit())
    return numbered or (("all",) if "all" in there else (0,))


def _model_files(model: Path, folds: tuple[int | str, ...], checkpoint: str) -> None:
    wanted = [model / "plans.json", *(model / f"fold_{fold}" / checkpoint for fold in folds)]
    missing = [str(path.relative_to(model)) for path in wanted if not path.is_file()]
    if missing:
        do = "copy the whole folder of the trained configuration, or name the checkpoint that is there"
        raise InputError(describe("nnU-Net model", f"no {', '.join(missing)} in {model}", "these files", do))


def _named(labels: Mapping[str, int], given: Mapping[str, str]) -> tuple[dict[int, str], list[str]]:
    """Region by number, and labels that name none."""
    table = {row["structure"]: row["region"] for row in load_table("imaging", "totalsegmentator_labels.csv")}
    strange = [name for name in given if name not in labels]
    if strange:
        raise InputError(describe("regions", f'"{strange[0]}"', f"labels of the model: {list(labels)}", "correct it"))
    found, unknown = {}, []
    for name, number in labels.items():
        if name == BACKGROUND or number == 0:
            continue
        known = region(given[name]) if name in given else table.get(name) or region_or_none(name)
        if known is None:
            unknown.append(name)
        else:
            found[number] = known
    if not found:
        do = "pass regions={label: region}"
        raise InputError(describe("labels of the model", f"{list(labels)}", "at least one that names a region", do))
    return found, unknown


def _predicted(model: Path, folds, checkpoint: str, device: str, image: np.ndarray, ct: Volume) -> np.ndarray:
    torch = import_module("torch")
    predictor = import_module("nnunetv2.inference.predict_from_raw_data").nnUNetPredictor(
        device=torch.device(device), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), use_folds=folds, checkpoint_name=checkpoint)
    spacing_zyx = [float(s) for s in ct.spacing_mm[::-1]]
    return predictor.predict_single_npy_array(image.astype(np.float32), {"spacing": spacing_zyx}, None, None, False)
