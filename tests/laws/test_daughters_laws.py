"""Laws of the daughters of an alpha emitter: no atom is lost or made, and the limits of retention are exact."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.chains import chain_dose
from dose.nuclides import radionuclide
from dose.organ import dose_coefficient_Gy_per_MBq_h, equilibrium_chain
from dose.progeny import OUTLIVES as OUTLIVES_OF_DOSE
from pbpk import daughters as module
from pbpk.daughters import chain, daughters
from pbpk.freed import draw, typical

CHAINS = ("225Ac", "212Pb", "223Ra", "211At", "213Bi", "224Ra")
REGIONS = ("blood", "kidney_left", "kidney_right", "liver", "red_marrow", "bone", "parotid", "tumour_1", "remainder")
MASSES_g = dict(zip(REGIONS, (5300.0, 150.0, 160.0, 1800.0, 1170.0, 5500.0, 50.0, 20.0, 59000.0), strict=True))
TIA_MBq_h = jnp.asarray([40.0, 60.0, 65.0, 90.0, 20.0, 30.0, 12.0, 25.0, 200.0])
EXACT = 1e-12
"""Rounding of sums of some dozen terms."""


def with_(redistribution, **fields):
    for name, value in fields.items():
        redistribution = eqx.tree_at(lambda r, n=name: getattr(r, n), redistribution, value)
    return redistribution


def held(value):
    """Typical values with one retention everywhere, blood included."""
    return with_(typical(REGIONS, MASSES_g), held=jnp.full(len(REGIONS), value))


def imbalance(parent, found):
    """Worst relative difference between a daughter's decays and the branching-weighted decays of its mothers."""
    worst = 0.0
    everywhere = {n: found.tia_MBq_h[n].sum(axis=0) + found.left_MBq_h[n].sum(axis=0) for n in found.tia_MBq_h}
    for link in chain(parent):
        born = sum(b * everywhere[mother] for mother, b in link.mothers)
        worst = max(worst, float(jnp.max(jnp.abs(everywhere[link.nuclide.name] / born - 1))))
    return worst


@pytest.mark.parametrize("parent", CHAINS)
def test_every_atom_decays_in_a_region_or_after_excretion(parent):
    drawn = draw(jax.random.key(1), REGIONS, MASSES_g, 20)
    assert imbalance(parent, daughters(parent, TIA_MBq_h[:, None], drawn)) <= EXACT


def test_a_leak_is_seen():
    """Negative control: the balance without what left by urine."""
    found = daughters("225Ac", TIA_MBq_h, typical(REGIONS, MASSES_g))
    leaking = eqx.tree_at(lambda f: f.outside, found, found.outside.at[found.nuclides.index("213Bi"), 0].set(0.0))
    assert imbalance("225Ac", leaking) > 1e-4


@pytest.mark.parametrize("parent", CHAINS)
def test_atoms_outside_are_those_excreted_and_their_progeny(parent):
    found = daughters(parent, TIA_MBq_h, typical(REGIONS, MASSES_g))
    outside = {name: float(x.sum()) for name, x in found.left_MBq_h.items()}
    assert outside.pop(radionuclide(parent).name) == 0
    assert all(value >= 0 for value in outside.values())


@pytest.mark.parametrize("parent", CHAINS)
def test_with_full_retention_every_daughter_decays_with_its_parent(parent):
    found = daughters(parent, TIA_MBq_h, held(1.0))
    links = equilibrium_chain(parent)
    assert set(found.tia_MBq_h) == {link.nuclide.name for link in links}
    for link in links:
        np.testing.assert_allclose(found.tia_MBq_h[link.nuclide.name], link.decays * TIA_MBq_h, rtol=EXACT)


@pytest.mark.parametrize("parent", CHAINS)
def test_with_full_retention_dose_is_that_of_the_chain_in_equilibrium(parent):
    found = daughters(parent, TIA_MBq_h, held(1.0))
    dose = chain_dose(found.tia_MBq_h, REGIONS, MASSES_g)
    for k, name in enumerate(REGIONS):
        together = dose_coefficient_Gy_per_MBq_h(name, parent, MASSES_g[name])
        assert float(dose.total_Gy[k]) == pytest.approx(together.total * float(TIA_MBq_h[k]), rel=EXACT)
        assert float(dose.weighted_Gy(5.0)[k]) == pytest.approx(together.weighted(5.0) * float(TIA_MBq_h[k]), rel=EXACT)


def test_with_less_retention_it_is_not():
    """Negative control of the two laws above."""
    found = daughters("225Ac", TIA_MBq_h, held(0.99))
    assert not np.allclose(found.tia_MBq_h["213Bi"], 0.99988 * TIA_MBq_h, rtol=1e-4)


def test_chains_are_followed_as_far_as_the_dose_of_equilibrium_follows_them():
    assert module.OUTLIVES == OUTLIVES_OF_DOSE


def only_kidneys(redistribution, element="Bi", speed=1e12):
    """Free atoms leave tissue at once, and plasma at once for the kidneys alone, which keep them."""
    free = redistribution.elements[element]
    to_kidneys = np.array([source == "blood" and target == "kidneys" for source, target in free.paths])
    free = with_(free, rate_per_h=jnp.where(to_kidneys, speed, 0.0), escape_per_h=jnp.asarray(speed))
    return eqx.tree_at(lambda r: r.elements[element], redistribution, free)


def test_without_retention_and_with_instant_kidney_uptake_all_bismuth_decays_in_the_kidneys():
    found = daughters("225Ac", TIA_MBq_h, only_kidneys(held(0.0)))
    bismuth, inside = found.tia_MBq_h["213Bi"], np.array(["kidney" in name for name in REGIONS])
    # 1e-10: the instant is 1e12 per h against a decay of 0.9 per h
    assert float(bismuth[inside].sum() / bismuth.sum()) == pytest.approx(1.0, abs=1e-10)
    assert float(bismuth[1] / bismuth[2]) == pytest.approx(150 / 160, rel=EXACT)


def test_a_daughter_of_milliseconds_decays_where_it_was_born_whatever_its_retention():
    found = daughters("225Ac", TIA_MBq_h, held(0.0))
    np.testing.assert_allclose(found.tia_MBq_h["217At"], found.tia_MBq_h["221Fr"], rtol=EXACT)


def test_daughters_far_shorter_than_any_exchange_are_in_equilibrium_with_the_parent():
    """Escape and exchange slowed by 1e9: every daughter but those in plasma decays before it moves."""
    slow = jax.tree.map(lambda e: 1e-9 * e, held(0.0).elements, is_leaf=eqx.is_inexact_array)
    slow = {k: with_(e, share=held(0.0).elements[k].share) for k, e in slow.items()}
    found = daughters("225Ac", TIA_MBq_h, with_(held(0.0), elements=slow))
    for link in equilibrium_chain("225Ac"):
        # 1e-7: exchange is 1e-8 of the slowest decay, six steps
        np.testing.assert_allclose(found.tia_MBq_h[link.nuclide.name], link.decays * TIA_MBq_h, rtol=1e-7)


def test_more_retention_keeps_more_at_home_and_gives_the_kidneys_less():
    home, kidney = [], []
    for value in (0.0, 0.3, 0.6, 1.0):
        only_tumour = jnp.asarray([10.0 if name == "tumour_1" else 0.0 for name in REGIONS])
        found = daughters("225Ac", only_tumour, held(value)).tia_MBq_h["213Bi"]
        home.append(float(found[7])), kidney.append(float(found[1]))
    assert home == sorted(home)
    assert kidney == sorted(kidney, reverse=True)
    assert kidney[-1] == pytest.approx(0.0, abs=EXACT)


@pytest.mark.parametrize("parent", CHAINS[:2])
def test_tia_is_linear_in_the_parent_and_does_not_mix_draws(parent):
    drawn = draw(jax.random.key(2), REGIONS, MASSES_g, 5)
    both = jnp.stack([TIA_MBq_h, 3.0 * TIA_MBq_h[::-1]], axis=1)
    together = daughters(parent, both[:, :, None], drawn).tia_MBq_h
    first = daughters(parent, both[:, 0, None], drawn).tia_MBq_h
    one = jax.tree.map(lambda x: x[..., 3] if x.ndim and x.shape[-1] == 5 else x, drawn)
    alone = daughters(parent, 7.0 * both[:, 1], one).tia_MBq_h
    for name in together:
        np.testing.assert_allclose(
            jnp.broadcast_to(together[name], (9, 2, 5))[:, 0], jnp.broadcast_to(first[name], (9, 5))
        )
        np.testing.assert_allclose(alone[name], 7 * jnp.broadcast_to(together[name], (9, 2, 5))[:, 1, 3], rtol=1e-11)


def kidney_dose_Gy(redistribution, tia_MBq_h=TIA_MBq_h):
    found = daughters("225Ac", tia_MBq_h, redistribution)
    return chain_dose(found.tia_MBq_h, REGIONS, MASSES_g).weighted_Gy(5.0)[1]


def numbers(redistribution):
    """Everything that may be differentiated, as one vector, and the way back."""
    leaves, shape = jax.tree.flatten(with_(redistribution, elements={
        k: with_(e, share=np.zeros(0)) for k, e in redistribution.elements.items()}))  # fmt: skip
    moving = [k for k, x in enumerate(leaves) if x.size]
    sizes = np.cumsum([leaves[k].size for k in moving])[:-1]

    def back(vector):
        values = list(leaves)
        for k, part in zip(moving, jnp.split(vector, sizes), strict=True):
            values[k] = part.reshape(leaves[k].shape)
        made = jax.tree.unflatten(shape, values)
        return with_(made, elements={
            k: with_(e, share=redistribution.elements[k].share) for k, e in made.elements.items()})  # fmt: skip

    return jnp.concatenate([leaves[k].ravel() for k in moving]), back


def test_gradient_of_the_kidney_dose_is_that_of_differences():
    """In every retention, rate and escape at once."""
    at, back = numbers(with_(typical(REGIONS, MASSES_g), held=jnp.linspace(0.2, 0.8, len(REGIONS))))
    gradient = jax.jit(jax.grad(lambda v: kidney_dose_Gy(back(v))))(at)
    dose = jax.jit(jax.vmap(lambda v: kidney_dose_Gy(back(v))))
    step = 1e-4 * jnp.maximum(at, 1e-3)
    moves = jnp.diag(step)
    theirs = (dose(at - 2 * moves) - 8 * dose(at - moves) + 8 * dose(at + moves) - dose(at + 2 * moves)) / (12 * step)
    scale = float(jnp.max(jnp.abs(at * gradient)))
    # 1e-8 of the largest elasticity: rounding of a difference over 1e-4
    np.testing.assert_allclose(at * gradient / scale, at * theirs / scale, atol=1e-8)
    assert float(jnp.max(jnp.abs(gradient[: len(REGIONS)]))) > 0


def test_gradient_in_the_parents_tia_is_the_linear_map_itself():
    gradient = jax.grad(lambda x: kidney_dose_Gy(typical(REGIONS, MASSES_g), x))(TIA_MBq_h)
    assert float(gradient @ TIA_MBq_h) == pytest.approx(float(kidney_dose_Gy(typical(REGIONS, MASSES_g))), rel=1e-11)
