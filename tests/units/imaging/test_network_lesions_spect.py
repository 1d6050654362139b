"""lesions_spect: fates of lesions, priors, what is refused and flagged; how good it is stands in docs/ai."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dose.errors import ImageError, InputError
from dose.learning.folders import weights_folders
from dose.learning.ranges import Choice
from dose.learning.weights import amend_card, load_weights
from imaging.geometry import Volume
from imaging.networks import lesions_followup, lesions_pet
from imaging.networks.acquisitions import Physics
from imaging.networks.lesions_cases import Slab
from imaging.networks.lesions_prior import FATES, NO_PRIOR, fates, moved, prior_channel, shrunk
from imaging.networks.lesions_spect import RECIPE, field_mean, prior_on, segment_lesions_spect
from imaging.series import ImageSeries

AFFINE = np.diag([6.0, 6.0, 6.0, 1.0])
SHAPE = (14, 24, 32)


def ball(centre, radius: float) -> np.ndarray:
    far = sum((axis - c) ** 2 for axis, c in zip(np.ogrid[tuple(slice(0, n) for n in SHAPE)], centre))
    return np.asarray(far <= radius**2)


BIG, SMALL = ball((7, 12, 8), 3), ball((7, 12, 24), 2)


def scan(factor: float = 1e4) -> Volume:
    noise = 0.05 * np.random.default_rng(1).standard_normal(SHAPE)
    return Volume(factor * (np.where(BIG, 9.0, np.where(SMALL, 7.0, 0.7)) + noise), AFFINE)


def prior(*masks) -> Volume:
    return Volume(0.9 * np.logical_or.reduce([np.zeros(SHAPE, bool), *masks]), AFFINE)


def test_the_classical_method_copies_the_prior_where_there_is_one():
    found = segment_lesions_spect(scan(), tracer="psma", prior=prior(SMALL), method="classical")
    np.testing.assert_array_equal(found.mask.array > 0, SMALL)
    both = segment_lesions_spect(scan(), tracer="psma", method="classical")
    np.testing.assert_array_equal(both.mask.array > 0, BIG | SMALL)


@pytest.mark.parametrize("rule", ["copied", "share", "fuzzy"])
def test_an_organ_that_is_hot_on_the_pet_is_no_lesion_where_its_mask_is_given(rule):
    spilled, kidney = ball((7, 12, 8), 4), {"kidney_left": prior(BIG)}
    given = {"tracer": "psma", "prior": prior(spilled, SMALL), "method": "classical", "rule": rule}
    without = segment_lesions_spect(scan(), **given).mask.array > 0
    assert without[BIG].mean() > 0.9
    np.testing.assert_array_equal(segment_lesions_spect(scan(), **given, organs=kidney).mask.array > 0, SMALL)


def test_a_copied_lesion_that_reaches_into_an_organ_loses_that_part_and_in_the_liver_nothing():
    long = np.zeros(SHAPE, bool)
    long[5:9, 10:14, 4:24] = True
    organ = np.zeros(SHAPE, bool)
    organ[:, :, :8] = True
    masks = {name: Volume(organ, AFFINE) for name in ("spleen", "liver")}
    given = {"tracer": "psma", "prior": prior(long), "method": "classical", "rule": "copied"}
    for name, left in (("spleen", long & ~organ), ("liver", long)):
        made = segment_lesions_spect(scan(), **given, organs={name: masks[name]}).mask.array > 0
        np.testing.assert_array_equal(made, left)


@pytest.mark.parametrize("method", ["classical", "network"])
def test_the_unit_of_the_activity_does_not_matter(method):
    made = [segment_lesions_spect(scan(f), tracer="psma", prior=prior(BIG), method=method) for f in (1e4, 3e4)]
    np.testing.assert_array_equal(made[0].mask.array, made[1].mask.array)


def test_the_lesions_activity_is_that_of_the_image():
    found = segment_lesions_spect(scan(), tracer="psma", method="classical")
    assert found.burden is not None
    held = float(scan().array[BIG | SMALL].sum()) * scan().voxel_mL / 1e6
    assert found.burden.activity_MBq.value == pytest.approx(held, rel=1e-5)  # type: ignore[union-attr]


def test_a_prior_moves_the_networks_answer():
    with_one = segment_lesions_spect(scan(), tracer="psma", prior=prior(BIG), method="network").probability.array
    with_none = segment_lesions_spect(scan(), tracer="psma", prior=prior(), method="network").probability.array
    assert with_one[BIG].mean() > with_none[BIG].mean()


def as_default(folder: Path, **changes) -> Path:
    """The weights that ship, with a card that says that they are the default."""
    for kind in ("json", "safetensors"):
        shutil.copy(weights_folders(RECIPE.package)[-1] / f"lesions_spect.{kind}", folder)
    amend_card(folder, "lesions_spect", {"default": True} | changes)
    return folder


def half(share: float = 0.5) -> Volume:
    """A prior that reaches over a part of the SPECT's columns."""
    return Volume(prior(BIG).array[..., : int(share * SHAPE[2])], AFFINE)


def test_where_the_prior_does_not_reach_the_pet_has_said_nothing():
    made = prior_on(half(), scan())
    middle = SHAPE[2] // 2
    assert set(np.unique(made[..., middle:])) == {NO_PRIOR}
    np.testing.assert_allclose(made[..., :middle], half().array, atol=1e-6)
    assert prior_on(prior(BIG), scan()).min() == 0


def test_a_negative_prior_is_none():
    marked = prior(BIG).with_array(np.where(SMALL, NO_PRIOR, prior(BIG).array))
    np.testing.assert_array_equal(prior_on(marked, scan()) == NO_PRIOR, SMALL)
    copied = segment_lesions_spect(scan(), tracer="psma", prior=marked, method="classical")
    np.testing.assert_array_equal(copied.mask.array > 0, BIG)


def test_a_fine_prior_is_averaged():
    fine = Volume(np.indices((28, 48, 64)).sum(axis=0) % 2 * 1.0, np.diag([3.0, 3.0, 3.0, 1.0]))
    made = prior_on(fine, scan())
    np.testing.assert_allclose(made[1:-1, 1:-1, 1:-1], 0.5, atol=0.05)
    assert np.abs(fine.resampled_onto(scan()).array[1:-1, 1:-1, 1:-1] - 0.5).min() > 0.4


def test_a_prior_that_does_not_cover_the_body_is_said():
    said = segment_lesions_spect(scan(), tracer="psma", prior=half(), method="network").choice.reasons
    assert any("covers" in reason for reason in said)
    whole = segment_lesions_spect(scan(), tracer="psma", prior=prior(BIG), method="network").choice.reasons
    assert not any("covers" in reason for reason in whole)


def test_the_network_is_not_the_default_yet_with_a_card_that_says_so_it_is(tmp_path):
    asked = {"tracer": "psma", "prior": prior(BIG)}
    left = segment_lesions_spect(scan(), **asked).choice
    assert left.method == "classical"
    assert "not the default" in left.reasons[0]
    within = {"voxel_mm": [1, 9], "highest_uptake": [0, 1e3], "noise": [0, 10]}
    weights = as_default(tmp_path, limits=within)
    assert segment_lesions_spect(scan(), **asked, weights=weights).choice == Choice("network")
    assert segment_lesions_spect(scan(), tracer="psma", weights=weights).choice.method == "classical"
    cut_off = asked | {"prior": half()}
    assert segment_lesions_spect(scan(), **cut_off, weights=weights).choice.method == "classical"


def test_the_card_says_which_weights_it_was_begun_from():
    begun = load_weights(RECIPE).card["begun_from"]
    assert begun == {"lesions_pet": load_weights(lesions_pet.RECIPE).card["sha256"]}


@pytest.mark.parametrize(("size", "told"), [("shipped", True), ("small", False)])
def test_training_writes_what_it_began_from(tmp_path, size, told):
    card = {"network": dict(RECIPE.config(size).network)}
    (tmp_path / "lesions_spect.json").write_text(json.dumps(card))
    assert RECIPE.after is not None
    RECIPE.after(tmp_path)
    found = json.loads((tmp_path / "lesions_spect.json").read_text())
    assert ("begun_from" in found) is told  # the small one has another shape and begins from nothing


def test_another_nuclide_and_coarse_voxels_are_flagged():
    other = segment_lesions_spect(scan(), tracer="psma", nuclide="90Y", method="network").choice
    assert any("90Y" in reason for reason in other.reasons)
    assert segment_lesions_spect(scan(), tracer="psma", nuclide="90Y").choice.method == "classical"
    coarse = Volume(scan().array[::2, ::2, ::2], np.diag([12.0, 12.0, 12.0, 1.0]))
    assert any("voxel_mm" in r for r in segment_lesions_spect(coarse, tracer="psma", method="network").choice.reasons)


def test_what_is_no_prior_is_refused():
    with pytest.raises(InputError, match="probabilities"):
        segment_lesions_spect(scan(), tracer="psma", prior=scan())
    with pytest.raises(InputError, match="copied"):
        segment_lesions_spect(scan(), tracer="psma", rule="copied")
    with pytest.raises(ImageError, match="uptake"):
        segment_lesions_spect(scan(0.0), tracer="psma")


def test_fates_come_in_their_parts():
    earlier, later = fates(20_000, np.random.default_rng(0))
    assert len(earlier & later) / 20_000 == pytest.approx(FATES["stays"], abs=0.02)
    assert len(earlier - later) / 20_000 == pytest.approx(FATES["vanished"], abs=0.02)
    assert len(later - earlier) / 20_000 == pytest.approx(FATES["appeared"], abs=0.02)


def test_shrunk_lesions_lose_their_rim_and_never_grow():
    lesion = np.where(BIG, 1, 0)
    made = [shrunk(lesion, np.random.default_rng(seed)) for seed in range(30)]
    sizes = np.array([(one > 0).sum() for one in made])
    assert sizes.min() < 0.85 * BIG.sum()
    assert sizes.max() == BIG.sum()
    assert all(((one > 0) <= BIG).all() for one in made)
    assert all(one[7, 12, 8] == 1 for one in made)


def test_the_prior_shows_the_earlier_scans_lesions_or_nothing_at_all():
    lesion = np.where(BIG, 1, np.where(SMALL, 2, 0))
    made = [prior_channel(lesion, {1}, 6.0, np.random.default_rng(seed)) for seed in range(40)]
    dropped = [one for one in made if one.max() == NO_PRIOR]
    shown = [one for one in made if one.max() > NO_PRIOR]
    assert 5 < len(dropped) < 25
    assert all((one == NO_PRIOR).all() for one in dropped)
    assert np.mean([one[BIG].mean() for one in shown]) > 4 * np.mean([one[SMALL].mean() for one in shown])
    assert all(0 <= one.min() <= one.max() <= 1 for one in shown)


def test_a_moved_prior_keeps_its_sum():
    one = BIG.astype(float)
    assert moved(one, 6.0, np.random.default_rng(2)).sum() == pytest.approx(one.sum(), rel=0.02)


def test_the_fields_mean_leaves_lungs_out_and_has_the_lesions_that_are_there_in():
    lesion = np.zeros((4, 2, 10), int)
    lesion[:, 0, :3], lesion[:, 1, :2] = 1, 2
    case = {"counts": np.array([[5, 10, 30, 40]] * 4), "hu": np.array([-1000.0, 20, 30, -750]), "lesion": lesion}
    nothing = np.zeros((1, 1, 1))
    piece = Slab(*[nothing] * 5, "psma", np.array([0.0, 2.0, 1.0, 0.5]), np.array([11.25, 40.0]))
    plain, ill = (field_mean(case, piece, there, np.random.default_rng(0)) for there in (set(), {1}))
    assert plain == pytest.approx((10 * 2.0 + 30 * 1.0) / 40)
    assert ill == pytest.approx(plain + 3 * (11.25 - plain) / 40)


class Looked(Exception):
    """Raised where cases would be simulated."""


def test_follow_ups_of_other_physics_lie_in_another_folder(monkeypatch):
    folders = []

    def looked(folder, name, make):
        folders.append(folder)
        raise Looked

    monkeypatch.setattr(lesions_followup, "acquisition", lambda seed, physics: None)
    monkeypatch.setattr(lesions_followup, "kept", looked)
    changed = ({}, {"frame_s": 40.0}, {"margin_mm": 5.0}, {"intrinsic_fwhm_mm": 3.0}, {"tracers": ("sstr",)}, {})
    for words in changed:
        with pytest.raises(Looked):
            lesions_followup.follow_up(1, Physics(**words))
    assert len(set(folders)) == 5
    assert folders[0] == folders[-1]


def far(volume: Volume, mm: float = 5000.0) -> Volume:
    """The volume moved along x."""
    affine = volume.affine.copy()
    affine[0, 3] += mm
    return Volume(volume.array, affine)


def test_a_body_without_prior_is_searched_by_the_network_and_not_by_copying():
    asked = {"tracer": "psma", "prior": half()}
    words = {
        "auto": "no lesion is looked for",
        "classical": "no lesion is looked for",
        "network": "looked at elsewhere",
    }
    for method, word in words.items():
        said = segment_lesions_spect(scan(), **asked, method=method).choice.reasons
        assert [word in reason for reason in said if "the prior covers" in reason] == [True]
    shared = segment_lesions_spect(scan(), **asked, rule="share").choice.reasons
    assert any("the rule looks at the SPECT alone" in reason for reason in shared)


@pytest.mark.parametrize("method", ["auto", "classical", "network"])
def test_a_prior_or_ct_that_shows_another_place_is_refused(method):
    ask = {"tracer": "psma", "method": method}
    with pytest.raises(ImageError, match="prior: found one that covers none"):
        segment_lesions_spect(scan(), **ask, prior=far(prior(BIG)))
    with pytest.raises(ImageError, match="ct: found a field with 0%"):
        segment_lesions_spect(scan(), far(prior(BIG)), **ask)
    assert segment_lesions_spect(scan(), **ask, prior=half()).choice.reasons


def test_a_ct_over_a_part_of_the_spect_is_said():
    part = segment_lesions_spect(scan(), far(prior(BIG), 60.0), tracer="psma", method="network").choice.reasons
    assert any("the ct covers" in reason for reason in part)
    whole = segment_lesions_spect(scan(), prior(BIG), tracer="psma", method="network").choice.reasons
    assert not any("covers" in reason for reason in whole)


def test_organs_are_checked_as_those_of_a_pet():
    for mask in (far(scan(), 20.0), Volume(np.ones((28, 48, 64)), np.diag([3.0, 3.0, 3.0, 1.0]))):
        with pytest.raises(ImageError, match="kidney_left"):
            segment_lesions_spect(scan(), tracer="psma", organs={"kidney_left": mask}, method="network")
    with pytest.raises(InputError, match="a lesion"):
        segment_lesions_spect(scan(), tracer="psma", organs={"lesion 1": prior(BIG)})
    given = {"tracer": "psma", "prior": prior(BIG), "rule": "copied"}
    found = segment_lesions_spect(scan(), **given, organs={"Liver": prior(BIG), "part of Foo": prior(SMALL)})
    np.testing.assert_array_equal(found.mask.array > 0, BIG)
    assert any("part of Foo" in reason for reason in found.choice.reasons)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"spect": ImageSeries(scan(), "SPECT", "Bq/mL", "", "")}, "spect"),
        ({"ct": scan().array}, "ct"),
        ({"prior": SimpleNamespace(probability=prior(BIG))}, "prior.*probability"),
        ({"organs": [scan()]}, "organs"),
        ({"minimum_volume_mL": "0.5"}, "minimum_volume_mL"),
        ({"minimum_volume_mL": -1}, "minimum_volume_mL"),
    ],
)
def test_what_is_no_volume_or_number_is_refused_by_name(change, field):
    with pytest.raises(InputError, match=field):
        segment_lesions_spect(**{"spect": scan(), "tracer": "psma"} | change)
