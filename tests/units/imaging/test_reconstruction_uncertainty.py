"""Noise carried through the iterations agrees with derivatives taken by hand and with what noise really does."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float

from dose.errors import ImageError
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct.decaying import ViewWeighted
from imaging.reconstruct.iterations import Settings, problem, updates
from imaging.reconstruct.osem import osem
from imaging.reconstruct.scatter import tew
from imaging.reconstruct.uncertainty import _sensitivities, region_uncertainty

SHAPE, VIEWS = (2, 6, 6), 12
SETTINGS = [Settings(3, 4), Settings(2, 5), Settings(3, 4, "bsrem", beta=0.5)]


class MatrixSystem(eqx.Module):
    """A camera written out as a matrix [view, v, u, z, y, x]."""

    matrix: Float[Array, "view v u z y x"]

    def forward(self, image, views=None):
        return jnp.einsum("avuzyx,zyx->avu", self._of(views), image)

    def back(self, projections, views=None):
        return jnp.einsum("avuzyx,avu->zyx", self._of(views), projections)

    def _of(self, views):
        return self.matrix if views is None else self.matrix[views]


@pytest.fixture(scope="module")
def system() -> MatrixSystem:
    """Any rays do for a law of derivatives: every pixel sees a random fifth of the voxels."""
    rng = np.random.default_rng(5)
    rays = rng.random((VIEWS, 2, 6, *SHAPE))
    return MatrixSystem(jnp.asarray(np.where(rays > 0.8, rays, 0.01), jnp.float32))


@pytest.fixture(scope="module")
def masks() -> np.ndarray:
    made = np.zeros((2, *SHAPE), np.float32)
    made[0, :, 1:3, 1:3], made[1, 0, 3:, :4] = 1, 0.5
    return made


def windows(peak, lower, upper) -> Projections:
    bounds = ((187, 229, "peak"), (166, 187, "lower"), (229, 250, "upper"))
    return Projections(
        counts=np.stack([peak, lower, upper]),
        windows=tuple(EnergyWindow(*b) for b in bounds),
        angles_deg=np.arange(VIEWS) * 30.0,
        radii_mm=np.full(VIEWS, 200.0),
        frame_s=np.ones(VIEWS),
        pixel_mm=6.0,
        centre_lps_mm=np.zeros(3),
    )


@pytest.fixture
def means(rng, system) -> list[np.ndarray]:
    """Expected counts of the peak (with its scatter), the lower and the upper window."""
    clean = np.asarray(system.forward(jnp.asarray(rng.gamma(4.0, 5.0, SHAPE), jnp.float32)))
    scatter = np.full_like(clean, 0.3 * clean.mean())
    return [clean + scatter, 0.8 * scatter, 0.2 * scatter]


@pytest.mark.parametrize("settings", SETTINGS, ids=["osem", "padded", "bsrem"])
def test_the_backward_recursion_is_the_derivative_of_all_iterations(system, masks, means, settings):
    """Against derivatives pushed forward through the same updates, along random directions."""
    acquisition, added = windows(*means), means[1] * 1.2
    stated = problem(acquisition, system, settings, scatter=added)
    images = [stated.initial, *(image for image, _ in updates(stated, settings))]
    by_counts, by_scatter = _sensitivities(stated, settings, images, masks)
    rule = settings.rule()

    @jax.jit
    def pushed(data, step, points, tangents):
        def update(image, counts, scatter):
            return rule(system, image, eqx.tree_at(lambda d: (d.counts, d.scatter), data, (counts, scatter)), step)[0]

        return jax.jvp(update, points, tangents)

    rng = np.random.default_rng(1)
    along = [jnp.asarray(rng.standard_normal(added.shape), jnp.float32) for _ in range(2)]
    image, tangent = stated.initial, jnp.zeros_like(stated.initial)
    for n in range(settings.iterations * settings.subsets):
        data, step = stated.subset(n % settings.subsets), jnp.float32(settings.step(n // settings.subsets))
        moves = (tangent, *(a[data.views] for a in along))
        image, tangent = pushed(data, step, (image, data.counts, data.scatter), moves)
    found = np.einsum("kzyx,zyx->k", masks, tangent)
    expected = np.einsum("kavu,avu->k", by_counts, along[0]) + np.einsum("kavu,avu->k", by_scatter, along[1])
    # float32 through a dozen updates
    assert np.allclose(found, expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())


def test_propagated_covariance_is_that_of_noise_realisations(system, masks, means):
    """400 realisations know an sd to 3.5 %; 10 % leaves room for that and for what a first order misses."""
    settings, rng = Settings(2, 4), np.random.default_rng(2)
    acquisition = windows(*(20 * m for m in means))
    predicted = region_uncertainty(acquisition, system, settings, list(masks), scatter=tew(acquisition))
    totals = []
    for _ in range(400):
        noisy = acquisition.with_counts(rng.poisson(acquisition.counts))
        image = osem(noisy, system, iterations=2, subsets=4, scatter=tew(noisy)).volume.array
        totals.append(np.einsum("kzyx,zyx->k", masks, image))
    found = np.cov(np.array(totals).T)
    assert np.allclose(predicted.sd, np.sqrt(np.diag(found)), rtol=0.1)
    correlation = lambda c: c[0, 1] / np.sqrt(c[0, 0] * c[1, 1])
    assert correlation(predicted.covariance) == pytest.approx(correlation(found), abs=0.15)
    # the negative control: noise of the scatter windows left out is noise missed
    known = region_uncertainty(acquisition, system, settings, list(masks), scatter=tew(acquisition).counts)
    assert np.all(known.sd < 0.97 * predicted.sd)


def test_dead_time_as_a_weight_of_views_keeps_the_sd_right(system, masks, means):
    """77 % of the true counts are kept; 400 realisations know an sd to 3.5 %."""
    settings, rng, live = Settings(2, 4), np.random.default_rng(4), 0.77
    acquisition = windows(*(20 * live * m for m in means))
    weighted = ViewWeighted(system, jnp.full(VIEWS, live, jnp.float32))
    told = region_uncertainty(acquisition, weighted, settings, list(masks), scatter=tew(acquisition))
    totals = []
    for _ in range(400):
        noisy = acquisition.with_counts(rng.poisson(acquisition.counts))
        image = osem(noisy, weighted, iterations=2, subsets=4, scatter=tew(noisy)).volume.array
        totals.append(np.einsum("kzyx,zyx->k", masks, image))
    found = np.array(totals)
    assert np.allclose(told.sd, found.std(axis=0, ddof=1), rtol=0.1)
    true = windows(*(20 * m for m in means))
    without = region_uncertainty(true, system, settings, list(masks), scatter=tew(true))
    assert np.allclose(told.total, without.total, rtol=1e-4)
    # the negative control: counts that were multiplied are taken for as many Poisson counts, sqrt(0.77) of the sd
    scaled = acquisition.with_counts(acquisition.counts / live)
    low = region_uncertainty(scaled, system, settings, list(masks), scatter=tew(scaled))
    assert np.allclose(low.sd / told.sd, np.sqrt(live), rtol=0.01)


def test_covariance_is_symmetric_and_a_sum_of_regions_obeys_it(system, masks, means):
    settings, acquisition = Settings(2, 4), windows(*means)
    both = np.concatenate([masks, masks.sum(axis=0, keepdims=True)])
    made = region_uncertainty(acquisition, system, settings, both, scatter=tew(acquisition, fwhm_mm=9.0))
    assert np.allclose(made.covariance, made.covariance.T)
    assert made.covariance[2, 2] == pytest.approx(made.covariance[:2, :2].sum(), rel=1e-4)
    assert made.total[2] == pytest.approx(made.total[:2].sum(), rel=1e-5)


def test_four_times_the_counts_halve_the_relative_sd(system, masks, means):
    settings = Settings(2, 4)
    few, many = (region_uncertainty(windows(*(f * m for m in means)), system, settings, masks) for f in (1, 4))
    assert np.allclose(few.sd / few.total, 2 * many.sd / many.total, rtol=1e-3)


@pytest.mark.parametrize("bad", [np.zeros(SHAPE), np.ones((2, 6, 5)), np.full(SHAPE, np.nan)])
def test_masks_that_cannot_be_are_refused(system, means, bad):
    with pytest.raises(ImageError, match="masks"):
        region_uncertainty(windows(*means), system, Settings(1, 1), bad)
