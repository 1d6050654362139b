"""Inputs, units and draws of the daughters of an alpha emitter."""

import re
import runpy

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.organ import dose_coefficient_Gy_per_MBq_h
from dose.provenance import load_table
from pbpk.daughters import chain, daughters
from pbpk.elements import ROUTES, compartments, fates, kind
from pbpk.freed import draw, typical

REGIONS = ("blood", "kidney_left", "kidney_right", "liver", "tumour_1", "remainder")
MASSES_g = dict(zip(REGIONS, (5300.0, 150.0, 160.0, 1800.0, 20.0, 60000.0), strict=True))
TIA_MBq_h = jnp.arange(1.0, 7.0)
KEY = jax.random.key(11)


def names(parent):
    return [link.nuclide.name for link in chain(parent)]


def test_chains_hold_what_icrp_107_says():
    assert names("225Ac")[:3] == ["221Fr", "217At", "213Bi"]
    assert set(names("225Ac")[3:]) == {"213Po", "209Tl", "209Pb"}
    assert set(names("212Pb")) == {"212Bi", "212Po", "208Tl"}
    assert names("223Ra")[:4] == ["219Rn", "215Po", "211Pb", "211Bi"]
    assert names("211At") == ["211Po"]


@pytest.mark.parametrize("parent", ["225Ac", "212Pb", "223Ra", "224Ra", "227Th"])
def test_mothers_come_before_their_daughters(parent):
    done = {parent}
    for link in chain(parent):
        assert {mother for mother, _ in link.mothers} <= done
        done.add(link.nuclide.name)


@pytest.mark.parametrize("parent", ["177Lu", "90Y", "207Bi"])
def test_a_nuclide_without_daughters_is_no_chain(parent):
    with pytest.raises(InputError, match="parent of a chain"):
        chain(parent)


def test_a_misspelt_parent_gets_a_hint():
    with pytest.raises(InputError, match="225Ac"):
        daughters("225Acc", TIA_MBq_h, typical(REGIONS, MASSES_g))


def test_a_free_daughter_without_kinetics_is_refused():
    """227Th leads to 223Ra, which lives long enough to move, and radium has no rows."""
    with pytest.raises(InputError, match="223Ra.*add escape and transfer rows"):
        daughters("227Th", TIA_MBq_h, typical(REGIONS, MASSES_g))


@pytest.mark.parametrize(
    ("regions", "masses", "message"),
    [
        (REGIONS[1:], MASSES_g, "blood"),
        ((*REGIONS, "kidneys"), {**MASSES_g, "kidneys": 310.0}, "do not overlap"),
        ((*REGIONS, "whole_body"), {**MASSES_g, "whole_body": 7e4}, "do not overlap"),
        (REGIONS, {"blood": 5300.0}, "mass_g of kidney_left"),
        (REGIONS, {**MASSES_g, "liver": 0.0}, "mass_g of liver"),
        (("blood", "kidneys"), {"blood": 5300.0, "kidneys": 310.0}, "rest of the body"),
        (("blood", "spleeen", "remainder"), MASSES_g, "spleen"),
    ],
)
def test_regions_that_cannot_be_shared_out_are_refused(regions, masses, message):
    with pytest.raises(InputError, match=message):
        typical(regions, masses)


@pytest.mark.parametrize("tia", [-TIA_MBq_h, TIA_MBq_h[:4], jnp.asarray(3.0), TIA_MBq_h.at[1].set(jnp.nan)])
def test_an_impossible_tia_is_refused(tia):
    with pytest.raises(InputError, match="tia_MBq_h"):
        daughters("225Ac", tia, typical(REGIONS, MASSES_g))


@pytest.mark.parametrize(
    ("where", "value", "message"),
    [
        (lambda r: r.held, 1.2, "held: found 1.2"),
        (lambda r: r.held, -0.1, "held: found -0.1"),
        (lambda r: r.chelate_kept, 2.0, "chelate_kept"),
        (lambda r: r.elements["Bi"].rate_per_h, -3.0, "rates"),
        (lambda r: r.elements["Bi"].escape_per_h, jnp.inf, "rates"),
    ],
)
def test_an_impossible_parameter_is_refused(where, value, message):
    changed = eqx.tree_at(where, typical(REGIONS, MASSES_g), replace_fn=lambda x: jnp.full_like(x, value))
    with pytest.raises(InputError, match=message):
        daughters("225Ac", TIA_MBq_h, changed)


def test_under_jit_an_impossible_parameter_gives_nan_as_the_house_asks():
    """twin._jax sets EQX_ON_ERROR=nan; elsewhere equinox raises."""
    changed = eqx.tree_at(lambda r: r.held, typical(REGIONS, MASSES_g), jnp.full(len(REGIONS), 1.5))
    found = eqx.filter_jit(daughters)("213Bi", TIA_MBq_h, changed)
    assert bool(jnp.isnan(found.tia_MBq_h["209Pb"]).all())
    good = eqx.filter_jit(daughters)("213Bi", TIA_MBq_h, typical(REGIONS, MASSES_g))
    assert bool(jnp.isfinite(good.tia_MBq_h["209Pb"]).all())


def test_draws_keep_to_their_ranges_and_medians():
    many, central = draw(KEY, REGIONS, MASSES_g, 20_000), typical(REGIONS, MASSES_g)
    assert float(many.held.min()) >= 0
    assert float(many.held.max()) <= 1
    np.testing.assert_allclose(many.held.mean(axis=1), central.held, atol=0.003)
    for element, free in central.elements.items():
        drawn = many.elements[element]
        assert float(drawn.rate_per_h.min()) > 0
        # 3%: sampling error of a median of 20 000 draws with a log-sd of 0.8 is 0.7%
        np.testing.assert_allclose(jnp.median(drawn.rate_per_h, axis=-1), free.rate_per_h, rtol=0.03)
        np.testing.assert_allclose(jnp.median(drawn.escape_per_h), free.escape_per_h, rtol=0.03)


def test_draws_have_the_spread_of_the_table():
    row = next(r for r in load_table("pbpk", "daughters.csv") if (r["element"], r["target"]) == ("Bi", "kidneys"))
    drawn = draw(KEY, REGIONS, MASSES_g, 20_000).elements["Bi"]
    kidneys = np.asarray(drawn.rate_per_h[drawn.paths.index(("blood", "kidneys"))])
    assert kidneys.std() / kidneys.mean() == pytest.approx(float(row["cv"]), rel=0.05)


def test_the_same_key_gives_the_same_draws_and_another_region_changes_none():
    few = ("blood", "liver", "tumour_1", "remainder")
    once, again = draw(KEY, REGIONS, MASSES_g, 9), draw(KEY, few, MASSES_g, 9)
    np.testing.assert_array_equal(once.elements["Bi"].rate_per_h, again.elements["Bi"].rate_per_h)
    np.testing.assert_array_equal(once.held[3], again.held[1])
    other = draw(jax.random.key(12), REGIONS, MASSES_g, 9)
    assert float(jnp.max(jnp.abs(other.held - once.held))) > 0


def test_both_kidneys_and_both_kidney_pools_move_together():
    drawn = draw(KEY, REGIONS, MASSES_g, 9)
    np.testing.assert_array_equal(drawn.held[1], drawn.held[2])
    free = drawn.elements["Bi"]
    pools = [free.rate_per_h[free.paths.index(("blood", target))] for target in ("kidneys", "kidneys/other")]
    np.testing.assert_allclose(pools[0] / pools[1], 6.0)


def test_no_draws_are_refused():
    with pytest.raises(InputError, match="draws"):
        draw(KEY, REGIONS, MASSES_g, 0)


def test_rates_of_the_table_are_per_day_and_held_per_hour():
    free = typical(REGIONS, MASSES_g).elements["Bi"]
    assert float(free.rate_per_h[free.paths.index(("blood", "excreta/urine"))]) == pytest.approx(20 / 24)


def test_a_unit_change_of_tia_is_a_unit_change_of_every_daughter():
    small, large = (daughters("212Pb", s * TIA_MBq_h, typical(REGIONS, MASSES_g)).tia_MBq_h for s in (1.0, 3600.0))
    for name in small:
        np.testing.assert_allclose(3600 * small[name], large[name], rtol=1e-13)


@pytest.mark.parametrize("element", ["Fr", "Bi", "Pb", "Tl", "Rn"])
def test_fates_sum_to_one_and_no_compartment_is_a_dead_name(element):
    free = typical(REGIONS, MASSES_g).elements[element]
    settled, excreted = fates(free, 0.3)
    assert float(settled.sum() + excreted.sum()) == pytest.approx(1.0, rel=1e-13)
    assert settled.shape == (len(REGIONS),)
    assert excreted.shape == (len(ROUTES),)
    targets = {target for _, target in free.paths if target.startswith("excreta/")}
    assert targets <= {f"excreta/{route}" for route in ROUTES}
    fed = {target for _, target in free.paths}
    assert set(compartments(free.paths)) - {"blood"} <= fed


def test_more_of_the_chelate_kept_leaves_more_212bi_with_its_parent():
    only_blood = jnp.asarray([1.0, 0, 0, 0, 0, 0])
    kept = [0.0, 0.64, 1.0]
    changed = [eqx.tree_at(lambda r: r.chelate_kept, typical(REGIONS, MASSES_g), jnp.asarray(k)) for k in kept]
    found = [float(daughters("212Pb", only_blood, r).tia_MBq_h["212Bi"][0]) for r in changed]
    assert found == sorted(found)
    assert found[-1] == pytest.approx(1.0, rel=1e-12)


def test_an_alpha_decay_breaks_every_chelate():
    changed = eqx.tree_at(lambda r: r.chelate_kept, typical(REGIONS, MASSES_g), jnp.asarray(0.0))
    ours = daughters("225Ac", TIA_MBq_h, typical(REGIONS, MASSES_g)).tia_MBq_h["213Bi"]
    np.testing.assert_array_equal(ours, daughters("225Ac", TIA_MBq_h, changed).tia_MBq_h["213Bi"])


@pytest.mark.parametrize(
    ("name", "expected"),
    [("kidney_left", "kidneys"), ("parotid", "salivary"), ("submandibular_left", "salivary"), ("lacrimal", "salivary"),
     ("tumour_rest", "tumour"), ("liver", "liver"), ("lesion 3", "tumour")],
)  # fmt: skip
def test_kinds_of_regions(name, expected):
    assert kind(name) == expected


def test_the_example_of_the_page_gives_the_table_of_the_page(repository, tmp_path):
    page = (repository / "docs/daughters.md").read_text(encoding="utf-8")
    script = tmp_path / "example.py"
    script.write_text(re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)[0], encoding="utf-8")
    found = runpy.run_path(str(script))
    place, masses, parent = found["regions"], found["masses_g"], found["parent_MBq_h"]
    shown = re.findall(
        r"^\| (kidneys|liver|salivary|tumour_1) \| (.*?) \| (.*?) \| (.*?) to (.*?) \|$", page, re.MULTILINE
    )
    assert len(shown) == 4
    for name, *numbers in shown:
        k = place.index(name)
        in_place = dose_coefficient_Gy_per_MBq_h(name, "225Ac", masses[name]).weighted(5.0) * parent[k]
        ours = (in_place, found["weighted_Gy"][k], found["low_Gy"][k], found["high_Gy"][k])
        # half a unit of the last of three digits
        np.testing.assert_allclose([float(n) for n in numbers], [float(x) for x in ours], rtol=0.005)
