"""TotalSegmentator and nnU-Net by stand-ins of their interfaces: neither they nor their weights are here."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.networks import external, external_nnunet
from imaging.networks.external import totalsegmentator_organs
from imaging.networks.external_nnunet import nnunet_organs

STRUCTURES = {int(row["id"]): row["structure"] for row in load_table("imaging", "totalsegmentator_labels.csv")}


def ct() -> Volume:
    """A box in air, with unequal sides and an origin, so that an exchanged axis shows."""
    array = np.full((10, 12, 14), -1000.0)
    array[2:8, 2:10, 2:12] = 40.0
    affine = np.diag([2.0, 3.0, 5.0, 1.0])
    affine[:3, 3] = [-10, 20, 30]
    return Volume(array, affine)


def drawn() -> np.ndarray:
    """Label numbers [z, y, x]: right kidney, left kidney, both adrenals, colon."""
    labels = np.zeros((10, 12, 14), dtype=np.uint8)
    labels[3:6, 3:6, 2:5], labels[3:6, 3:6, 9:11], labels[6, 3, 3], labels[6, 3, 9], labels[7, 7, 7] = 2, 3, 8, 9, 20
    return labels


class Nifti:
    """What nibabel's Nifti1Image offers here."""

    def __init__(self, dataobj, affine):
        self.dataobj, self.affine = dataobj, affine


def install(monkeypatch, name: str, **content) -> ModuleType:
    module = ModuleType(name)
    module.__spec__ = SimpleNamespace(name=name, submodule_search_locations=[])  # pyright: ignore
    module.__path__ = []
    for key, value in content.items():
        setattr(module, key, value)
    monkeypatch.setitem(sys.modules, name, module)
    return module


@pytest.fixture
def weights(tmp_path) -> Path:
    for number in (297, 298):
        (tmp_path / f"Dataset{number}_TotalSegmentator").mkdir()
    return tmp_path


@pytest.fixture
def standin(monkeypatch):
    """TotalSegmentator's interface; keeps what it was asked, and tries to fetch weights as the real one does."""
    asked = {}

    def totalsegmentator(input, output=None, ml=False, fast=False, fastest=False, task="total", roi_subset=None,
                         quiet=False, skip_saving=False, device="gpu"):  # fmt: skip
        home = Path(os.environ["TOTALSEG_HOME_DIR"])
        asked.update(image=input, output=output, ml=ml, fast=fast, task=task, device=device,
                     place=os.environ["TOTALSEG_WEIGHTS_PATH"],
                     statistics=json.loads((home / "config.json").read_text())["send_usage_stats"])  # fmt: skip
        api.download_pretrained_weights(297 if fast else 298)
        return Nifti(asked.get("answer", drawn()).transpose(2, 1, 0), asked.get("affine", input.affine))

    install(monkeypatch, "nibabel", Nifti1Image=Nifti)
    install(monkeypatch, "totalsegmentator")
    install(monkeypatch, "totalsegmentator.map_to_binary", class_map={"total": dict(STRUCTURES)})
    api = install(monkeypatch, "totalsegmentator.python_api", totalsegmentator=totalsegmentator,
                  download_pretrained_weights=lambda number: pytest.fail("a download was begun"))  # fmt: skip
    return asked


def test_totalsegmentators_labels_come_back_on_the_cts_grid_with_our_names(standin, weights):
    found = totalsegmentator_organs(ct(), weights=weights)
    assert np.array_equal(found.mask("kidney_left"), drawn() == 3)
    assert found.volumes_mL["kidney_right"] == pytest.approx(27 * 0.03)
    assert found.volumes_mL["adrenals"] == pytest.approx(2 * 0.03)
    assert "remainder" not in found.volumes_mL
    assert found.labels.is_on_grid_of(ct())
    assert "TotalSegmentator" in found.choice.method
    assert found.choice.reasons


def test_totalsegmentator_gets_ras_and_sends_no_statistics(standin, weights, monkeypatch):
    monkeypatch.delenv("TOTALSEG_WEIGHTS_PATH", raising=False)
    totalsegmentator_organs(ct(), weights=weights)
    image = standin["image"]
    lps = ct().to_lps_mm([3, 4, 5])
    assert np.allclose(image.affine @ [3, 4, 5, 1], [-lps[0], -lps[1], lps[2], 1])
    assert image.dataobj[3, 4, 5] == ct().array[5, 4, 3]
    assert (standin["statistics"], standin["fast"], standin["ml"]) == (False, True, True)
    assert standin["place"] == str(weights)
    assert "TOTALSEG_WEIGHTS_PATH" not in os.environ


def test_another_numbering_is_read_by_its_names_and_the_unknown_is_told(standin, weights):
    turned = dict(STRUCTURES) | {2: "kidney_left", 3: "kidney_right", 20: "third_eye"}
    sys.modules["totalsegmentator.map_to_binary"].class_map = {"total": turned}  # pyright: ignore
    found = totalsegmentator_organs(ct(), weights=weights)
    assert np.array_equal(found.mask("kidney_left"), drawn() == 2)
    assert any("third_eye" in note for note in found.notes)


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"affine": np.eye(4)}, "grid"),
        ({"answer": np.zeros((2, 2, 2))}, "shape"),
        ({"answer": drawn() / 2}, "whole|label"),
    ],
)
def test_an_answer_that_does_not_fit_is_refused(standin, weights, change, word):
    standin.update(change)
    with pytest.raises(ImageError, match=word):
        totalsegmentator_organs(ct(), weights=weights)


def test_missing_weights_are_named_with_the_place_and_nothing_is_fetched(standin, weights, monkeypatch):
    with pytest.raises(InputError, match="Dataset291_.*Dataset295_") as told:
        totalsegmentator_organs(ct(), resolution="1.5 mm", weights=weights)
    assert str(weights) in str(told.value)
    monkeypatch.setitem(external.MODELS, "3 mm", (298,))
    with pytest.raises(InputError, match="Dataset297_"):
        totalsegmentator_organs(ct(), weights=_without_297(weights))


def _without_297(folder: Path) -> Path:
    (folder / "Dataset297_TotalSegmentator").rmdir()
    return folder


def test_a_missing_package_is_named(weights, monkeypatch):
    monkeypatch.setattr(external, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install TotalSegmentator"):
        totalsegmentator_organs(ct(), weights=weights)


@pytest.mark.parametrize(("given", "word"), [({"resolution": "2 mm"}, "resolution"), ({"ct": None}, "HU")])
def test_wrong_arguments_are_named(given, word, weights):
    image = ct() if "ct" not in given else ct().with_array(np.ones((10, 12, 14)))
    with pytest.raises((InputError, ImageError), match=word):
        totalsegmentator_organs(image, weights=weights, resolution=given.get("resolution", "3 mm"))


LABELS = {"background": 0, "kidney_left": 1, "urinary_bladder": 2, "gland X": 3}


@pytest.fixture
def model(tmp_path) -> Path:
    folder = tmp_path / "nnUNetTrainer__nnUNetPlans__3d_fullres"
    for fold in (0, 1):
        (folder / f"fold_{fold}").mkdir(parents=True)
        (folder / f"fold_{fold}" / "checkpoint_final.pth").write_bytes(b"")
    (folder / "plans.json").write_text("{}")
    write(folder, {"labels": LABELS, "channel_names": {"0": "CT"}})
    return folder


def write(folder: Path, content) -> None:
    (folder / "dataset.json").write_text(content if isinstance(content, str) else json.dumps(content))


@pytest.fixture
def predictor(monkeypatch):
    """nnUNetPredictor's interface; keeps what it was asked."""
    asked = {}

    class Predictor:
        def __init__(self, device=None, allow_tqdm=True):
            asked["device"] = str(device)

        def initialize_from_trained_model_folder(self, folder, use_folds, checkpoint_name="checkpoint_final.pth"):
            asked.update(folder=folder, folds=use_folds)

        def predict_single_npy_array(self, image, properties, previous=None, output=None, probabilities=False):
            asked.update(image=image, spacing=properties["spacing"])
            return asked.get("answer", np.minimum(drawn(), 3))

    install(monkeypatch, "nnunetv2")
    install(monkeypatch, "nnunetv2.inference")
    install(monkeypatch, "nnunetv2.inference.predict_from_raw_data", nnUNetPredictor=Predictor)
    return asked


def test_a_users_nnunet_gives_our_regions_and_tells_unknown_labels(predictor, model):
    found = nnunet_organs(ct(), model, trusted=True)
    assert set(found.volumes_mL) == {"bladder"}
    assert np.array_equal(found.mask("bladder"), drawn() == 2)
    assert any("gland X" in note for note in found.notes)
    assert predictor["spacing"] == [5.0, 3.0, 2.0]
    assert predictor["folds"] == (0, 1)
    assert predictor["image"].shape == (1, 10, 12, 14)


def test_a_label_may_be_named_by_the_user_and_emission_is_a_channel(predictor, model):
    write(model, {"labels": LABELS, "channel_names": {"0": "CT", "1": "PET"}})
    emission = ct().with_array(np.ones((10, 12, 14)))
    found = nnunet_organs(ct(), model, trusted=True, emission=emission, regions={"gland X": "parotid_left"}, folds=(1,))
    assert "parotid_left" in found.volumes_mL
    assert np.array_equal(predictor["image"][1], emission.array)
    assert predictor["folds"] == (1,)
    with pytest.raises(InputError, match="emission"):
        nnunet_organs(ct(), model, trusted=True)


def test_a_checkpoint_is_a_pickle_and_not_loaded_unasked(predictor, model):
    with pytest.raises(InputError, match="pickle"):
        nnunet_organs(ct(), model, trusted=False)
    assert not predictor


@pytest.mark.parametrize(
    ("content", "word"),
    [
        ("not json", "JSON"),
        ("[" * 100_000, "JSON"),
        ([], "labels"),
        ({"labels": {}}, "labels"),
        ({"labels": {"kidney_left": [1, 2]}, "channel_names": {"0": "CT"}}, "numbers"),
        ({"labels": {"kidney_left": True}, "channel_names": {"0": "CT"}}, "numbers"),
        ({"labels": LABELS}, "channel_names"),
        ({"labels": LABELS, "channel_names": {"0": "MR"}}, "MR"),
        ({"labels": {"background": 0, "gland X": 1}, "channel_names": {"0": "CT"}}, "names a region"),
    ],
)
def test_a_dataset_json_that_cannot_be_used_is_refused(predictor, model, content, word):
    write(model, content)
    with pytest.raises(InputError, match=word):
        nnunet_organs(ct(), model, trusted=True)


def test_missing_files_of_a_model_are_named(predictor, model, tmp_path):
    with pytest.raises(InputError, match=r"fold_3.checkpoint_final\.pth"):
        nnunet_organs(ct(), model, trusted=True, folds=(3,))
    with pytest.raises(InputError, match=r"no dataset\.json"):
        nnunet_organs(ct(), tmp_path, trusted=True)
    with pytest.raises(InputError, match="regions"):
        nnunet_organs(ct(), model, trusted=True, regions={"gland Y": "liver"})


def test_an_answer_of_another_shape_is_refused(predictor, model):
    predictor["answer"] = np.zeros((3, 3, 3), dtype=int)
    with pytest.raises(ImageError, match="shape"):
        nnunet_organs(ct(), model, trusted=True)


def test_nnunet_is_asked_for_where_it_is_missing(model, monkeypatch):
    monkeypatch.setattr(external, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install nnunetv2"):
        nnunet_organs(ct(), model, trusted=True)
    assert external_nnunet.need is external.need
