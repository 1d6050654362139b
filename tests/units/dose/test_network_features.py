"""Learned organ doses: records and their errors, regression with gaps, the network's start, fallback and flags."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from dose.errors import InputError
from dose.learning.recipe import TRAINING, Config
from dose.learning.weights import save_weights
from dose.network import features, features_net
from dose.network.features import BASE, about, learned_organ_doses, predicted
from dose.network.features_input import FEATURES, LESION_FEATURES, ORGANS, record_of
from dose.network.features_linear import fit_linear

CONFIG = Config("test", {"width": 8}, {}, dict.fromkeys(sorted(TRAINING), 2))


def case(seed: int, patients: int = 60) -> dict[str, np.ndarray]:
    """Patients whose log doses are linear in their features, with noise; two lesions each."""
    random = np.random.default_rng(seed)
    slope = np.random.default_rng(7).standard_normal((len(FEATURES) + len(LESION_FEATURES), len(ORGANS))) / 5
    patient = random.standard_normal((patients, len(FEATURES)))
    patient[:, FEATURES.index("female")] = 0.0
    whose = np.repeat(np.arange(patients), 2)
    lesion = random.standard_normal((len(whose), len(LESION_FEATURES)))
    noise = 0.1 * random.standard_normal((patients, len(ORGANS)))
    lesion_dose = np.column_stack([patient[whose], lesion]) @ slope[:, 0]
    return {"patient": patient, "dose": patient @ slope[: len(FEATURES)] + noise, "lesion": lesion,
            "lesion_dose": lesion_dose, "whose": whose}  # fmt: skip


@pytest.fixture
def weights(tmp_path):
    """Weights that answer as the regression does, with its laws in the card; the network is the default."""
    torch.manual_seed(0)
    cases = [case(seed, 400) for seed in range(3)]
    card = {"limits": {k: list(v) for k, v in features.limits(cases, CONFIG).items()}, "runs": [{"weights": 1}]}
    card |= {"laws": features_net.laws_of(cases).words(), "default": True}
    members = [features_net.network(CONFIG) for _ in range(2)]
    save_weights(tmp_path, BASE, CONFIG, members, card)
    return tmp_path


def usual(**more) -> dict:
    lesion = dict.fromkeys(LESION_FEATURES, 1.0)
    return {**dict.fromkeys(FEATURES, 1.0), "female": 0, "lesion_count": 2, "lesions": [lesion, lesion], **more}


def test_an_untrained_network_is_the_regression(weights):
    one, other = (learned_organ_doses(usual(), method=m, weights=weights) for m in ("network", "classical"))
    assert one.choice.method == "network"
    assert other.choice.method == "classical"
    for organ in ORGANS:
        assert one.organs[organ].median_Gy_per_GBq == pytest.approx(other.organs[organ].median_Gy_per_GBq, rel=1e-3)
        assert one.organs[organ].log_sd == pytest.approx(other.organs[organ].log_sd, rel=1e-3)
    assert len(one.lesions) == len(one.lesion_choices) == 2


def test_intervals_lie_about_the_median(weights):
    found = learned_organ_doses(usual(), weights=weights).organs["liver"]
    assert found.low95_Gy_per_GBq < found.median_Gy_per_GBq < found.high95_Gy_per_GBq
    assert np.log(found.high95_Gy_per_GBq / found.low95_Gy_per_GBq) == pytest.approx(2 * 1.959964 * found.log_sd)


def test_a_row_of_a_table_and_sex_are_taken(weights):
    row = pd.Series({name: value for name, value in usual(sex="male").items() if name not in ("lesions", "female")})
    found = learned_organ_doses(row, weights=weights)
    assert found.organs == learned_organ_doses(usual(), weights=weights).organs
    assert found.lesions == ()


def test_usual_records_take_the_network_and_strange_ones_do_not(weights):
    assert learned_organ_doses(usual(), weights=weights).choice.method == "network"
    strange = learned_organ_doses(usual(weight_kg=1e4), weights=weights)
    assert strange.choice.method == "classical"
    assert any("weight_kg" in words for words in strange.choice.reasons)
    forced = learned_organ_doses(usual(weight_kg=1e4), method="network", weights=weights)
    assert forced.choice.method == "network"
    assert forced.choice.reasons


def test_features_that_do_not_go_together_are_far_away(weights):
    law = features_net.laws_of([case(s) for s in range(3)]).organs
    x = np.zeros((1, len(FEATURES)))
    near, far = law.distance(x)[0], law.distance(x + 4 * (-1.0) ** np.arange(len(FEATURES)))[0]
    assert near < 1 < far
    assert set(about(x[0], law, "organs")) > set(FEATURES)


def test_a_strange_lesion_leaves_organs_alone(weights):
    lesions = [dict.fromkeys(LESION_FEATURES, 1.0), {"suv_mean": 1.0, "suv_max": 1.0, "volume_mL": 1e6}]
    found = learned_organ_doses(usual(lesions=lesions), weights=weights)
    assert found.choice.method == found.lesion_choices[0].method == "network"
    assert found.lesion_choices[1].method == "classical"


def test_missing_features_widen_the_interval(weights):
    whole = learned_organ_doses(usual(), weights=weights)
    few = learned_organ_doses(dict.fromkeys(FEATURES[:3], 1.0), method="network", weights=weights)
    assert all(few.organs[organ].log_sd > whole.organs[organ].log_sd for organ in ORGANS)
    assert any("share of features known" in words for words in few.choice.reasons)


def test_a_feature_in_another_unit_is_flagged_and_the_slope_ends(weights):
    first, further = (learned_organ_doses(usual(height_m=h), weights=weights) for h in (1e6, 1e9))
    assert first.choice.method == "classical"
    assert any("height_m" in reason for reason in first.choice.reasons)
    near = learned_organ_doses(usual(height_m=1.5), method="classical", weights=weights)
    for organ in ORGANS:
        assert further.organs[organ].median_Gy_per_GBq == first.organs[organ].median_Gy_per_GBq
    assert near.organs != first.organs


def test_the_median_knows_no_feature(weights):
    a, b = (learned_organ_doses(usual(weight_kg=w), method="classical", classical="median", weights=weights)
            for w in (1.0, 2.0))  # fmt: skip
    assert a.organs == b.organs


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"weight_lb": 180.0}, "weight"),
        ({"weight_kg": -1.0}, "weight_kg"),
        ({"gfr_mL_min": float("inf")}, "gfr_mL_min"),
        ({"age_y": "old"}, "age_y"),
        ({"sex": "f"}, "sex"),
        ({"lesions": [{"volume_mL": 1.0}]}, "suv_mean"),
        ({"lesions": [{"suv": 1.0}]}, "suv"),
        ({"lesions": [3.0]}, "lesions"),
        ({"lesions": dict.fromkeys(LESION_FEATURES, 1.0)}, "lesions"),
        ({"lesions": "none"}, "lesions"),
        ({"female": 7}, "female"),
    ],
)
def test_wrong_fields_are_refused_by_name(weights, wrong, said):
    with pytest.raises(InputError, match=said):
        learned_organ_doses(usual(**wrong), weights=weights)


def test_a_record_without_an_suv_or_no_record_is_refused(weights):
    with pytest.raises(InputError, match="no SUV"):
        learned_organ_doses({"weight_kg": 80.0}, weights=weights)
    with pytest.raises(InputError, match="dictionary"):
        learned_organ_doses([1.0, 2.0], weights=weights)
    with pytest.raises(InputError, match="classical"):
        learned_organ_doses(usual(), classical="forest", weights=weights)


def test_without_weights_it_says_how_to_train(tmp_path):
    with pytest.raises(InputError, match="theratwin train dose_features"):
        learned_organ_doses(usual(), weights=tmp_path)


def test_none_and_nan_are_missing():
    record = record_of(usual(height_m=None, age_y=float("nan")))
    assert np.isnan(record.patient[[FEATURES.index("height_m"), FEATURES.index("age_y")]]).all()
    assert np.isfinite(record.patient).sum() == len(FEATURES) - 2


CONTRADICTIONS = [
    ({"suv_max": 2.0, "suv_mean": 14.0}, {"suv_max_hottest": 14.0}, r"lesions\[0\]: suv_max"),
    ({}, {"lesion_count": 40}, "lesion_count.*40 beside 2"),
    ({}, {"lesion_count": 1}, "lesion_count.*1 beside 2"),
    ({}, {"lesion_count": 1.5}, "lesion_count.*whole"),
    ({}, {"lesion_count": 1.5, "lesions": None}, "lesion_count.*whole"),
    ({"suv_max": 22.0}, {"suv_max_hottest": 5.0}, "suv_max_hottest.*22"),
    ({"suv_max": None, "suv_mean": 22.0}, {"suv_max_hottest": 5.0}, "suv_max_hottest.*22"),
    ({}, {"sex": "male", "female": 1}, "sex.*female=1"),
    ({}, {"sex": "female", "female": 0}, "sex.*female=0"),
]


@pytest.mark.parametrize(("lesion", "patient", "said"), CONTRADICTIONS)
def test_records_that_contradict_themselves_are_refused(lesion, patient, said):
    with pytest.raises(InputError, match=said):
        record_of(two(lesion) | patient)


def two(lesion) -> dict:
    """A usual record whose first lesion is another."""
    return usual(lesions=[usual()["lesions"][0] | lesion, usual()["lesions"][1]])


AGREEING = [
    ({"suv_max": 22.0, "suv_mean": 14.0}, {"suv_max_hottest": 22.0, "lesion_count": 2.0}),
    ({"suv_max": 22.4}, {"suv_max_hottest": 22}),
    ({"suv_max": 22.0}, {"suv_max_hottest": float("nan"), "lesion_count": None}),
    ({"suv_max": 13.9, "suv_mean": 14.0}, {"suv_max_hottest": 30.0}),
    ({}, {"sex": "female", "female": 1}),
    ({}, {"sex": None, "female": 1}),
]


@pytest.mark.parametrize(("lesion", "patient"), AGREEING)
def test_records_that_agree_but_for_rounding_are_taken(lesion, patient):
    assert len(record_of(two(lesion) | patient).lesions) == 2


def test_a_long_list_may_be_a_part_of_the_lesions_and_never_more_than_they_are():
    ten = usual()["lesions"] * 5
    assert len(record_of(usual(lesions=ten, lesion_count=40)).lesions) == 10
    with pytest.raises(InputError, match="9 beside 10"):
        record_of(usual(lesions=ten, lesion_count=9))


@pytest.mark.parametrize("sex", [float("nan"), np.float32("nan"), None])
def test_a_row_of_a_table_may_lack_the_sex(sex):
    without = {name: value for name, value in usual(sex=sex).items() if name not in ("lesions", "female")}
    assert np.isnan(record_of(pd.Series(without)).patient[FEATURES.index("female")])


def test_regression_with_gaps_is_that_on_the_rest():
    random = np.random.default_rng(1)
    x = random.standard_normal((4000, 3)) @ np.array([[1, 0.5, 0], [0, 1, 0.5], [0, 0, 1.0]])
    y = x @ np.array([[1.0], [-1.0], [0.5]]) + 0.1 * random.standard_normal((4000, 1))
    gap, rest = x.copy(), x[:, [0, 2]]
    gap[:, 1] = np.nan
    one, other = (law.predicted(z)[0] for law, z in ((fit_linear(x, y), gap), (fit_linear(rest, y), rest)))
    np.testing.assert_allclose(one, other, atol=1e-6)
    assert fit_linear(x, y).predicted(gap)[1][0, 0] > 2 * fit_linear(x, y).predicted(x)[1][0, 0]


def test_stated_sds_of_the_regression_hold_and_halved_ones_do_not():
    train, test = [case(s, 2000) for s in (1, 2)]
    law = features_net.laws_of([train]).organs
    mean, sd = law.predicted(test["patient"])
    inside = lambda sd: np.mean(np.abs(mean - test["dose"]) < 1.96 * sd)
    assert inside(sd) > 0.94
    assert inside(sd / 4) < 0.9


def test_batches_hold_what_the_loss_needs_and_are_told_by_the_seed():
    config = replace(CONFIG, training={**CONFIG.training, "batch": 32})
    cases = [case(0), case(1)]
    laws = features_net.laws_of(cases)
    one, again = (features_net.batch(cases, np.random.default_rng(3), config, laws) for _ in range(2))
    assert all(np.array_equal(one[name], again[name]) for name in one)
    assert 0.1 < np.mean(one["organs_known"] == 0) < 0.4
    assert (one["lesion_known"][:, len(FEATURES) + 1] == 1).all()
    model = features_net.network(config)
    drawn = {name: torch.from_numpy(array) for name, array in one.items()}
    before = features_net.loss(model, drawn)
    assert torch.isfinite(before)
    before.backward()
    assert any(p.grad is not None and p.grad.abs().sum() > 0 for p in model.parameters())


def test_lesions_of_joined_cases_keep_their_patients():
    a, b = case(0, 5), case(1, 4)
    patient, _, lesion, _, whose = features_net.joined([a, b])
    assert np.array_equal(patient[whose[-1]], b["patient"][-1])
    assert len(whose) == len(lesion) == 18


def test_the_recipe_in_dose_has_no_patients():
    with pytest.raises(InputError, match="twin"):
        BASE.case(0, CONFIG)


def test_many_records_at_once_are_each_alone(weights):
    from dose.learning.weights import load_weights

    trained = load_weights(BASE, weights)
    x = case(9)["patient"]
    x[3, 2:8] = np.nan
    whole, alone = predicted(trained, "organs", x, "network")[0], predicted(trained, "organs", x[3:4], "network")[0]
    np.testing.assert_allclose(whole[3], alone[0], rtol=1e-5)
