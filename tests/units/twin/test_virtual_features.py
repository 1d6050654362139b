"""Virtual patients of the learned organ doses: the trial's own doses, a PET that agrees with them, its errors."""

from __future__ import annotations

import numpy as np
import pytest

from dose.learning.training import train
from dose.learning.weights import load_weights
from dose.network.features import learned_organ_doses
from dose.network.features_input import CONTOURED, FEATURES, LESION_FEATURES, ORGANS
from pbpk.parameters import ligand
from twin.dose_recipes import DOSE_FEATURES
from twin.trial.lesion_doses import lesion_factors
from twin.trial.physics import Source, truth_of
from twin.virtual_features import Change, case_of, errors, in_lesions, mean_recovery, peak_recovery, virtual

DATA = DOSE_FEATURES.config().data


@pytest.fixture(scope="module")
def block():
    return virtual(3, DATA)


@pytest.fixture(scope="module")
def truth(block):
    return truth_of(block.group, Source(DATA["tracer"], ligand("PSMA-617").typical_amount_nmol("therapy"), (24.0,)))


def test_doses_are_those_of_a_trial(block, truth):
    trial = 1000 * np.exp(truth.dose[0])
    places = [truth.regions.index(organ) for organ in ORGANS]
    np.testing.assert_allclose(block.dose_Gy_per_GBq, trial[:, places], rtol=1e-5)


def test_lesions_have_nearly_the_doses_of_a_trial(block, truth):
    of_class = 1000 * np.exp(truth.dose[0])[:, truth.tumours]
    classes = np.maximum(block.group.classes, 0)
    trial = np.take_along_axis(of_class, classes, axis=1) * lesion_factors(block.group, truth, DATA["tracer"])
    there = block.group.classes >= 0
    ratio = block.lesion_Gy_per_GBq[there] / trial[there]
    assert np.quantile(np.abs(ratio - 1), 0.9) < 0.03
    assert (block.lesion_Gy_per_GBq[~there] == 0).all()


def test_lesions_keep_the_activity_of_their_class(block):
    of_class = np.exp(np.random.default_rng(0).standard_normal(block.group.class_mL.shape))
    found = in_lesions(block.group, of_class) * block.group.lesions.volume_mL
    inside = np.stack([np.sum(found * (block.group.classes == c), axis=1) for c in range(of_class.shape[1])], axis=1)
    used = block.group.class_mL > 1e-2
    np.testing.assert_allclose(inside[used], (of_class * block.group.class_mL)[used], rtol=1e-9)


def test_a_case_is_told_by_its_seed_and_complete(block):
    one, other = case_of(block), case_of(virtual(4, DATA))
    assert np.array_equal(one["patient"], case_of(virtual(3, DATA))["patient"])
    assert not np.array_equal(one["dose"], other["dose"])
    assert one["patient"].shape[1] == len(FEATURES)
    assert all(np.isfinite(one[name]).all() for name in ("patient", "dose", "lesion", "lesion_dose"))
    assert set(one["whose"]) == set(range(len(one["patient"])))


def test_features_stand_in_their_order(block):
    patient = np.exp(case_of(block)["patient"])
    people = block.group.people
    np.testing.assert_allclose(patient[:, FEATURES.index("weight_kg")], people.weight_kg)
    np.testing.assert_allclose(patient[:, FEATURES.index("gfr_mL_min")], people.gfr_mL_min)
    spleen = block.seen.organ_mL[:, ORGANS.index("spleen")]
    np.testing.assert_allclose(patient[:, FEATURES.index("volume_spleen_mL")], spleen)
    assert len(CONTOURED) == sum(name.startswith("volume_") for name in FEATURES)


def test_faster_release_lowers_the_dose_and_leaves_the_pet(block):
    changed = virtual(3, DATA, Change(release=1.5))
    kidneys = ORGANS.index("kidneys")
    ratio = changed.dose_Gy_per_GBq[:, kidneys] / block.dose_Gy_per_GBq[:, kidneys]
    assert 0.6 < np.median(ratio) < 0.9
    assert np.array_equal(changed.seen.organ_MBq, block.seen.organ_MBq)


def test_worse_kidneys_keep_more_ligand_in_the_body(block):
    changed = virtual(3, DATA, Change(gfr=0.4))
    assert np.mean(changed.dose_Gy_per_GBq > block.dose_Gy_per_GBq) > 0.8
    assert np.allclose(changed.group.people.gfr_mL_min, 0.4 * block.group.people.gfr_mL_min)


def test_errors_are_as_wide_as_the_table_says():
    contour, read = errors("kidneys", (40_000,), np.random.default_rng(0))
    assert abs(contour.std() - 0.07) < 0.002
    assert abs(read.std() - np.sqrt(0.08**2 + 0.03**2 + (0.46 * 0.07) ** 2)) < 0.002


def test_small_lesions_lose_more_and_the_peak_less_than_the_mean():
    mL = np.array([0.1, 1.0, 10.0, 1000.0])
    mean, peak = mean_recovery(mL), peak_recovery(mL)
    assert (np.diff(mean) > 0).all()
    assert (peak > mean).all()
    assert mean[0] < 0.5 < 0.9 < mean[-1] <= 1
    assert peak[-1] == pytest.approx(1.0)


@pytest.mark.slow
def test_training_writes_weights_with_their_regression(tmp_path, block):
    train(DOSE_FEATURES, "small", tmp_path)
    assert set(load_weights(DOSE_FEATURES, tmp_path).card["laws"]) == {"organs", "lesion"}
    record = case_of(block)
    of = lambda names, logs: {n: v if n == "female" else np.exp(v) for n, v in zip(names, logs, strict=True)}
    given = of(FEATURES, record["patient"][0]) | {"lesions": [of(LESION_FEATURES, record["lesion"][0])]}
    found = learned_organ_doses(given, method="network", weights=tmp_path)
    error = [np.log(found.organs[organ].median_Gy_per_GBq) - record["dose"][0, k] for k, organ in enumerate(ORGANS)]
    assert np.max(np.abs(error)) < 1.5
    assert abs(np.log(found.lesions[0].median_Gy_per_GBq) - record["lesion_dose"][0]) < 2.0
