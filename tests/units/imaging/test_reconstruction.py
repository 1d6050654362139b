"""MLEM, OSEM and BSREM keep their laws, with a small matrix for a camera."""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array, Float
from scipy.optimize import minimize

from dose.errors import ImageError, InputError
from imaging.projections import EnergyWindow, Projections
from imaging.reconstruct import prior
from imaging.reconstruct.iterations import Settings, problem, updates
from imaging.reconstruct.osem import bsrem, mlem, osem
from imaging.reconstruct.subsets import view_subsets

VIEWS, ROWS, EDGE = 12, 2, 6
SHAPE = (ROWS, EDGE, EDGE)


class MatrixSystem(eqx.Module):
    """A camera written out as a matrix [view, v * u, z * y * x]."""

    matrix: Float[Array, "view pixel voxel"]
    shape: tuple = eqx.field(static=True)

    def _of(self, views):
        return self.matrix if views is None else self.matrix[views]

    def forward(self, image, views=None):
        return (self._of(views) @ image.ravel()).reshape(-1, self.shape[0], self.shape[2])

    def back(self, projections, views=None):
        flat = projections.reshape(len(projections), -1)
        return jnp.einsum("vpx,vp->x", self._of(views), flat).reshape(self.shape)


def camera(shape=SHAPE, views=VIEWS) -> MatrixSystem:
    """Parallel rays, blurred: each voxel goes to the pixels around the foot of its centre."""
    z, y, x = (g.ravel() for g in np.indices(shape))
    rows, edge = shape[0], shape[2]
    middle = (edge - 1) / 2
    rays = []
    for angle in np.arange(views) * 2 * np.pi / views:
        u = -np.cos(angle) * (x - middle) - np.sin(angle) * (y - middle) + middle
        near = np.exp(-0.5 * ((np.arange(edge)[:, None] - u) / 0.45) ** 2)
        here = np.arange(rows)[:, None] == z
        depth = np.sin(angle) * (x - middle) - np.cos(angle) * (y - middle)
        rays.append(np.einsum("rj,uj->ruj", here, near * np.exp(0.05 * depth)).reshape(rows * edge, -1))
    return MatrixSystem(jnp.asarray(np.stack(rays), jnp.float32), shape)


def record(counts, **other) -> Projections:
    views = counts.shape[-3]
    fields = {
        "windows": (EnergyWindow(187, 229, "peak", 208.0),),
        "angles_deg": np.arange(views) * 360 / views,
        "radii_mm": np.full(views, 200.0),
        "frame_s": np.ones(views),
        "pixel_mm": 6.0,
        "centre_lps_mm": np.zeros(3),
    }
    return Projections(counts=np.reshape(counts, (-1, *counts.shape[-3:])), **(fields | other))


@pytest.fixture(scope="module")
def system() -> MatrixSystem:
    return camera()


@pytest.fixture
def truth(rng) -> np.ndarray:
    return rng.gamma(2.0, 10.0, SHAPE).astype(np.float32)


@pytest.fixture
def noisy(rng, system, truth) -> Projections:
    return record(rng.poisson(system.forward(jnp.asarray(truth))).astype(float))


def test_each_view_is_in_exactly_one_subset_whatever_the_order_of_heads(rng):
    angles = rng.permutation(np.arange(60) * 6.0)
    for count in (1, 6, 8, 60):
        made = view_subsets(angles, count)
        used = made.views[made.counted > 0]
        assert sorted(used) == list(range(60))


def test_views_of_a_subset_are_equally_spread():
    angles = np.concatenate([np.arange(30) * 6.0 + 180, np.arange(30) * 6.0])
    for views in view_subsets(angles, 6).views:
        assert np.allclose(np.diff(np.sort(angles[views] % 360)), 36)


def test_impossible_subsets_are_refused():
    with pytest.raises(InputError, match="subsets"):
        view_subsets(np.arange(4) * 90.0, 5)


def test_likelihood_never_falls_under_mlem(noisy, system):
    fits = mlem(noisy, system, iterations=30).log_likelihood
    # float32 sums of a few thousand counts keep about 1e-6 of them
    assert np.all(np.diff(fits) > -1e-6 * noisy.counts.sum())
    assert fits[-1] > fits[0]


def test_mlem_keeps_the_counts_after_every_iteration(noisy, system):
    stated = problem(noisy, system, Settings(10, 1))
    for image, _ in updates(stated, Settings(10, 1)):
        total = float(system.forward(image).sum(dtype=float))
        assert total == pytest.approx(noisy.counts.sum(dtype=float), rel=1e-5)


def test_images_are_never_negative(noisy, system):
    assert osem(noisy, system, iterations=4, subsets=4).volume.array.min() >= 0
    assert bsrem(noisy, system, iterations=4, subsets=4, beta=0.3).volume.array.min() >= 0


def test_osem_with_one_subset_is_mlem_and_with_many_is_faster(noisy, system):
    one = osem(noisy, system, iterations=4, subsets=1)
    slow = mlem(noisy, system, iterations=4)
    fast = osem(noisy, system, iterations=4, subsets=4)
    assert np.array_equal(one.volume.array, slow.volume.array)
    assert fast.log_likelihood[-1] > slow.log_likelihood[-1]


@pytest.mark.parametrize("subsets", [1, 4, 5])
def test_the_image_behind_noiseless_counts_stays_as_it_is(system, truth, subsets):
    """Five subsets of twelve views: some places only fill up, and would show if they counted."""
    clean = record(np.asarray(system.forward(jnp.asarray(truth))))
    made = osem(clean, system, iterations=5, subsets=subsets, initial=truth)
    # float32 keeps 1e-7 in each of 25 updates
    assert np.allclose(made.volume.array, truth, rtol=1e-4)


def test_noiseless_counts_are_explained_from_a_uniform_start(system, truth):
    clean = np.asarray(system.forward(jnp.asarray(truth)))
    made = osem(record(clean), system, iterations=200, subsets=5)
    fitted = np.asarray(system.forward(jnp.asarray(made.volume.array)))
    assert np.abs(fitted - clean).max() < 0.01 * clean.max()
    assert made.volume.array.sum() == pytest.approx(truth.sum(), rel=0.005)


def test_order_of_the_views_does_not_matter(noisy, system):
    order = np.random.default_rng(3).permutation(VIEWS)
    turned = record(noisy.counts[0][order], angles_deg=noisy.angles_deg[order])
    other = MatrixSystem(system.matrix[order], SHAPE)
    made = osem(noisy, system, iterations=3, subsets=4).volume.array
    again = osem(turned, other, iterations=3, subsets=4).volume.array
    # the same float32 sums in another order
    assert np.allclose(made, again, rtol=1e-4, atol=1e-4)


def test_twice_the_counts_give_twice_the_image(noisy, system):
    once = osem(noisy, system, iterations=3, subsets=4).volume.array
    twice = osem(noisy.with_counts(2 * noisy.counts), system, iterations=3, subsets=4).volume.array
    assert np.allclose(twice, 2 * once, rtol=1e-5)


def test_known_scatter_is_undone_by_the_additive_term(system, truth):
    clean = np.asarray(system.forward(jnp.asarray(truth)))
    added = np.full_like(clean, 0.4 * clean.mean())
    settings = {"iterations": 300, "subsets": 3}
    with_term = osem(record(clean + added), system, scatter=added, **settings).volume.array
    without = osem(record(clean + added), system, **settings).volume.array
    assert with_term.sum() == pytest.approx(truth.sum(), rel=0.01)
    # the negative control: unmodelled scatter of 40 % shows as activity
    assert without.sum() > 1.3 * truth.sum()


def test_what_is_not_finite_stops_the_iterations(noisy, system):
    broken = MatrixSystem(system.matrix.at[0, 0, 0].set(jnp.nan), SHAPE)
    with pytest.raises(ImageError, match=r"not finite|no voxel"):
        osem(noisy, broken, iterations=2, subsets=4, initial=np.ones(SHAPE))


@pytest.mark.parametrize(
    "given",
    [{"scatter": np.ones((1, 2, 3))}, {"initial": -np.ones(SHAPE)}, {"scatter": np.full((VIEWS, ROWS, EDGE), np.nan)}],
)
def test_bad_input_is_refused(noisy, system, given):
    with pytest.raises(ImageError, match="To do"):
        osem(noisy, system, iterations=1, subsets=1, **given)


def test_no_counts_are_refused(noisy, system):
    with pytest.raises(ImageError, match="no counts"):
        osem(noisy.with_counts(0 * noisy.counts), system, iterations=1, subsets=1)


@pytest.mark.parametrize("empty", [[3], [7, 8, 9, 10, 11]])
def test_views_that_were_never_counted_are_refused(noisy, system, empty):
    """One alone in its subset ended in an image of zeros; a scan that stopped early lost activity unnoticed."""
    stopped = noisy.counts.copy()
    stopped[:, empty] = 0
    with pytest.raises(ImageError, match=f"{len(empty)} of 12 views without a count"):
        osem(noisy.with_counts(stopped), system, iterations=2, subsets=12)


def test_few_counts_may_leave_a_view_empty(noisy, system):
    few = np.zeros_like(noisy.counts)
    few[:, ::2, 0, 2:4] = 3
    assert osem(noisy.with_counts(few), system, iterations=2, subsets=1).volume.array.sum() > 0


def test_an_image_of_zeros_is_refused_where_there_are_counts(noisy, system):
    few = np.zeros_like(noisy.counts)
    few[:, 1, 0, 2] = 5
    with pytest.raises(ImageError, match="zero throughout"):
        osem(noisy.with_counts(few), system, iterations=1, subsets=12)


@pytest.mark.parametrize("change", [{"iterations": 0}, {"beta": -1.0}, {"gamma": np.nan}, {"algorithm": "fbp"}])
def test_bad_settings_are_refused(change):
    with pytest.raises(InputError):
        Settings(**change)


@pytest.mark.parametrize("gamma", [0.0, 2.0])
def test_the_priors_gradient_is_its_derivative(rng, gamma):
    image = jnp.asarray(rng.gamma(1.0, 1.0, (4, 5, 6)))
    by_jax = jax.grad(prior.value)(image, gamma)
    assert np.allclose(prior.gradient(image, gamma), by_jax, rtol=1e-10, atol=1e-12)


def test_the_prior_of_a_flat_image_is_nothing_and_grows_in_proportion():
    image = jnp.arange(60.0).reshape(3, 4, 5)
    assert float(prior.value(jnp.full((3, 4, 5), 7.0), 2.0)) == 0
    assert np.allclose(prior.gradient(jnp.zeros((3, 4, 5)), 2.0), 0)
    assert float(prior.value(5 * image, 2.0)) == pytest.approx(5 * float(prior.value(image, 2.0)))


def test_the_priors_gradient_is_that_of_pytomography(rng):
    """Inside the image: at its border the peer weights otherwise; its weights sum as ours do, 1/distance."""
    peer = pytest.importorskip("pytomography.priors")
    import torch

    image = rng.gamma(1.0, 1.0, (5, 6, 7)).astype(np.float32)
    terms = peer.RelativeDifferencePrior(beta=1.0, gamma=2.0)
    found = np.zeros((3, 4, 5))
    for dz, dy, dx in (d for h in prior.HALF for d in (h, tuple(-k for k in h))):
        near = image[1 + dz : 4 + dz, 1 + dy : 5 + dy, 1 + dx : 6 + dx]
        phi = terms.phi1(torch.tensor(image[1:-1, 1:-1, 1:-1]), torch.tensor(near)).numpy()
        found += phi / np.sqrt(dz * dz + dy * dy + dx * dx)
    assert np.allclose(prior.gradient(jnp.asarray(image), 2.0)[1:-1, 1:-1, 1:-1], found, rtol=1e-4, atol=1e-5)


def objective(noisy, system, beta, gamma):
    """Penalised log-likelihood with its sign turned, and gradient, in float64 for SciPy."""
    matrix = jnp.asarray(np.asarray(system.matrix, dtype=float)).reshape(-1, int(np.prod(SHAPE)))
    counts = jnp.asarray(noisy.counts[0].ravel().astype(float))

    def cost(flat):
        expected = matrix @ flat
        return jnp.sum(expected - counts * jnp.log(expected)) + beta * prior.value(flat.reshape(SHAPE), gamma)

    return jax.jit(jax.value_and_grad(cost))


BETA, GAMMA = 0.3, 2.0


@pytest.fixture
def converged(noisy, system):
    made = bsrem(noisy, system, iterations=1500, subsets=4, beta=BETA, gamma=GAMMA)
    return made.volume.array.astype(float)


def test_bsrem_meets_a_brute_force_optimiser(noisy, system, converged):
    cost = objective(noisy, system, BETA, GAMMA)
    size = int(np.prod(SHAPE))
    options = {"maxiter": 20000, "maxfun": 50000, "ftol": 1e-15, "gtol": 1e-9}
    start, bounds = np.full(size, converged.mean()), [(1e-9, None)] * size
    best = minimize(cost, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    assert np.abs(converged.ravel() - best.x).max() < 1e-3 * best.x.max()
    # where the optimum is inside, its gradient is none of what a single count makes
    slope = np.asarray(cost(converged.ravel())[1])
    inside = converged.ravel() > 1e-3 * converged.max()
    assert np.abs(slope[inside] * converged.ravel()[inside]).max() < 1e-3 * noisy.counts.sum() / size


def test_bsrem_forgets_its_start(noisy, system, converged, rng):
    start = rng.gamma(2.0, 10.0, SHAPE)
    made = bsrem(noisy, system, iterations=1500, subsets=4, beta=BETA, gamma=GAMMA, initial=start)
    assert np.abs(made.volume.array - converged).max() < 1e-3 * converged.max()


def test_without_a_prior_bsrem_comes_nearer_to_the_data(noisy, system):
    fits = [bsrem(noisy, system, iterations=30, subsets=4, beta=b).log_likelihood[-1] for b in (0.0, 1.0, 100.0)]
    assert fits[0] > fits[1] > fits[2]


def test_an_image_of_another_grid_is_refused(noisy):
    """Seven columns make an image that the six of the record's grid do not place."""
    with pytest.raises(ImageError, match="give its grid"):
        osem(noisy, WiderSystem(camera()), iterations=1, subsets=1)


class WiderSystem(eqx.Module):
    """A system on a grid with one column more than the detector."""

    inner: MatrixSystem

    def forward(self, image, views=None):
        return self.inner.forward(image[:, :, 1:], views)

    def back(self, projections, views=None):
        return jnp.pad(self.inner.back(projections, views), ((0, 0), (0, 0), (1, 0)))
