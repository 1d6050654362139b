"""Transport: every history followed to its end, energy kept, laws of scale, seeds, honest statistics."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from dose.errors import InputError
from dose.montecarlo import Scale, material, photon_fractions, simulate
from dose.montecarlo.attenuation import attenuation_cm2_g, photon_tables
from dose.montecarlo.geometry import majorant_per_cm
from dose.montecarlo.lanes import Stream, circle, isotropic, turned
from dose.montecarlo.photons import NEVER_MEV, PhotonPhysics
from dose.montecarlo.point import SHELLS, electron_share, photon_share
from dose.montecarlo.sources import of_nuclide, queue, voxel_source
from dose.montecarlo.stopping import slowing
from dose.montecarlo.wavefront import _rank, transport

WATER = material("water")
SMALL = Scale(lanes=1024, batch=4096, workers=2)
CUBE = np.zeros((9, 9, 9))
CUBE[4, 4, 4] = 1.0


def test_uniforms_are_uniform_and_independent_of_the_lane():
    stream, (first, second) = Stream.seeded(jax.random.key(3), 2**16).draw(2)
    _, (third,) = stream.draw(1)
    values = np.array([first, second, third], float)
    assert values.min() >= 0
    assert values.max() < 1
    assert values.mean(axis=1) == pytest.approx(0.5, abs=4 / np.sqrt(12 * 2**16))  # four sd
    assert values.var(axis=1) == pytest.approx(1 / 12, rel=0.02)
    assert np.abs(np.corrcoef(values) - np.eye(3)).max() < 0.016  # four sd
    assert abs(np.corrcoef(values[0, 1:], values[0, :-1])[0, 1]) < 0.016


def test_directions_stay_unit_vectors_and_turn_by_the_angle_asked():
    _, draw = Stream.seeded(jax.random.key(0), 4096).draw(4)
    before = isotropic(draw[0], draw[1])
    cosine = 2 * draw[2] - 1
    after = turned(before, cosine, draw[3])
    assert np.sum(np.square(after), axis=0) == pytest.approx(1, abs=1e-5)
    assert np.sum(np.multiply(before, after), axis=0) == pytest.approx(np.asarray(cosine), abs=1e-5)
    angle = np.asarray(draw[3], float)
    found = np.array(circle(draw[3]))
    turn = 2 * np.pi * (angle - 0.5)
    error = np.abs(found - np.array([np.cos(turn), np.sin(turn)]))
    assert np.median(error) < 2e-7  # single precision
    assert error.max() < 2e-3  # near half a turn, where the cosine of the half angle comes from a root
    assert np.sum(found**2, axis=0) == pytest.approx(1, abs=1e-6)


def test_lanes_are_ranked_as_a_cumulative_sum_would():
    wanted = jax.random.bernoulli(jax.random.key(1), 0.3, (1024,))
    assert np.array_equal(np.asarray(_rank(wanted)), np.cumsum(np.asarray(wanted)) - 1)


@pytest.mark.slow
@pytest.mark.parametrize("energy_MeV", [0.02, 0.208, 1.5, 6.0])
def test_no_history_is_cut_short_so_photons_leave_all_their_energy_in_an_endless_medium(energy_MeV):
    """To 2e-3: single-precision energies, and above 1 MeV the sd of the pairs' doubled weights."""
    assert photon_share(WATER, energy_MeV, 1).mean(axis=0)[-1] == pytest.approx(1, rel=2e-3)


def test_a_count_below_the_queue_s_length_follows_only_those():
    """The control of the drain: half the particles, half the energy."""
    tables = photon_tables((WATER,))
    physics = PhotonPhysics(tables, SHELLS, majorant_per_cm(tables, SHELLS), jnp.float32(NEVER_MEV), 0.001)
    row = jnp.array([0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0], jnp.float32)
    rows = jnp.tile(row, (2000, 1))
    whole, half = (transport(physics, rows, n, jax.random.key(2), 256).tally_MeV.sum() for n in (2000, 1000))
    assert float(whole) == pytest.approx(200.0, rel=1e-5)
    assert float(half) == pytest.approx(100.0, rel=1e-5)


def test_where_photons_are_only_absorbed_they_fall_off_exponentially():
    """At 5 keV 98 % of the events in water are photo-electric: 1 - exp(-mu r) to 2 %."""
    share = photon_share(WATER, 0.005, 1).mean(axis=0)[:-1]
    mu = attenuation_cm2_g(WATER, 0.005).sum()
    radius = np.array([0.2, 0.7, 2.0]) / mu
    assert np.interp(radius, SHELLS.radius_cm, share) == pytest.approx(-np.expm1(-mu * radius), rel=0.02)


@pytest.mark.slow
def test_electrons_stop_within_their_range_and_leave_what_they_do_not_radiate():
    made = slowing(WATER)
    share = electron_share(WATER, 1.0, 1).mean(axis=0)
    grid = np.geomspace(1e-3, 10, 1024)
    reach, radiated = (float(np.interp(1.0, grid, values)) for values in (made.range_g_cm2, made.radiated))
    assert share[-1] == pytest.approx(1 - radiated, rel=1e-3)
    assert np.interp(1.1 * reach, SHELLS.radius_cm, share[:-1]) == pytest.approx(share[-1], rel=1e-5)
    assert np.interp(0.5 * reach, SHELLS.radius_cm, share[:-1]) < 0.9 * share[-1]


def test_twice_the_voxel_and_half_the_density_change_nothing():
    """Lengths scale with 1/density, exactly: the same random numbers give the same energies."""
    same = [
        simulate("90Y", CUBE, np.full(CUBE.shape, rho), (h, h, h), histories=2**15, scale=SMALL)
        for rho, h in ((1.0, 3.0), (0.5, 6.0))
    ]
    assert same[1].electron_MeV.sum() == pytest.approx(same[0].electron_MeV.sum(), rel=1e-4)
    assert same[1].electron_MeV[4, 4, 4] == pytest.approx(same[0].electron_MeV[4, 4, 4], rel=1e-3)


def test_a_seed_tells_the_run_whatever_the_number_of_threads():
    runs = [
        simulate("177Lu", CUBE, np.ones(CUBE.shape), (3, 3, 3), histories=2**15, seed=s, scale=Scale(1024, 4096, w))
        for s, w in ((5, 1), (5, 2), (6, 1))
    ]
    assert np.array_equal(runs[0].electron_MeV, runs[1].electron_MeV)
    assert np.array_equal(runs[0].photon_MeV, runs[1].photon_MeV)
    assert not np.array_equal(runs[0].photon_MeV, runs[2].photon_MeV)


def test_the_stated_sd_is_the_scatter_between_seeds():
    """20 runs; the ratio of scatter to stated sd of a neighbour voxel within its own 99 % range."""
    runs = [
        simulate("90Y", CUBE, np.ones(CUBE.shape), (3, 3, 3), histories=2**12, seed=s, scale=Scale(512, 512, 2))
        for s in range(20)
    ]
    values = np.array([(r.electron_MeV + r.photon_MeV)[4, 4, 5] for r in runs])
    stated = np.sqrt(np.mean([r.sd_MeV[4, 4, 5] ** 2 for r in runs]))
    assert 0.6 < values.std(ddof=1) / stated < 1.48


def test_a_run_stops_when_its_regions_are_known_well_enough():
    labels = (CUBE > 0).astype(int)
    seen = []
    run = simulate(
        "177Lu", CUBE, np.ones(CUBE.shape), (3, 3, 3), histories=2**17, target_relative_sd=0.02, regions=labels,
        scale=SMALL, progress=lambda done, most, worst: seen.append((done, most, worst)),
    )  # fmt: skip
    assert run.histories < 2**17
    assert run.relative_sd.max() <= 0.02
    assert seen[-1][0] == run.histories
    assert seen[-1][2] == pytest.approx(run.relative_sd.max())


def test_energies_sampled_have_the_mean_of_the_decay_data():
    electrons, photons, local = of_nuclide("177Lu", WATER)
    assert electrons is not None
    assert photons is not None
    electron_MeV = electrons.per_decay * float(np.mean(np.asarray(electrons.energies_MeV, float))) + local
    assert electron_MeV == pytest.approx(0.14792, rel=1e-3)  # ICRP 107, with Auger electrons below 5 keV local
    assert photons.per_decay * float(np.mean(np.asarray(photons.energies_MeV, float))) == pytest.approx(
        0.0351, rel=0.01
    )


@pytest.mark.parametrize("nuclide", ["177Lu", "90Y"])
def test_a_queue_holds_the_energies_and_places_of_the_decays_in_proportion(nuclide):
    """Steps of the golden ratio: means to 3e-4, which random draws of 2^16 would miss by 3e-3."""
    tia = np.array([[[1.0, 3.0]]])
    emitted, _, _ = of_nuclide(nuclide, WATER)
    made = np.asarray(queue(voxel_source(tia, jnp.ones(3)), emitted.energies_MeV, jax.random.key(4), 2**16), float)
    mean = float(np.mean(np.asarray(emitted.energies_MeV, float)))
    second = made[:, 1] >= 1
    assert second.mean() == pytest.approx(0.75, abs=2e-5)
    assert made[:, 0].mean() == pytest.approx(mean, rel=3e-4)
    assert made[second, 0].mean() == pytest.approx(mean, rel=1e-3)
    assert np.sum(made[:, 4:7] ** 2, axis=1) == pytest.approx(1, abs=1e-5)


@pytest.mark.slow
def test_a_run_is_the_same_where_jax_was_left_in_single_precision():
    code = (
        "import numpy as np; from dose.montecarlo import simulate; t = np.zeros((5, 5, 5)); t[2, 2, 2] = 1;"
        "m = simulate('177Lu', t, np.ones(t.shape), (3, 3, 3), histories=2**14); print(float(m.electron_MeV.sum()))"
    )
    single = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    tia = np.zeros((5, 5, 5))
    tia[2, 2, 2] = 1
    here = simulate("177Lu", tia, np.ones(tia.shape), (3, 3, 3), histories=2**14)
    assert float(single) == pytest.approx(here.electron_MeV.sum(), rel=1e-6)


def test_photons_absorbed_by_label_add_up_and_shadows_are_seen():
    """A layer of bone hides what lies behind it from 40 keV photons more than water does."""
    labels = np.ones((12, 8, 8), np.uint8)
    labels[:2], labels[5:7], labels[10:] = 0, 2, 3
    source = (labels == 0) & (np.indices(labels.shape)[0] == 0)
    run = lambda middle: photon_fractions(
        labels,
        (5, 5, 5),
        np.array([1.0, 1.0, 1.9, 1.0]),
        ("water", "water", middle, "water"),
        source,
        0.04,
        histories=2**15,
    )
    (bone, sd), (water, _) = run("cortical_bone"), run("water")
    assert bone.sum() < 1
    assert bone[2] > 2 * water[2]
    assert bone[3] < water[3] - 3 * sd[3]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tia": -CUBE}, "tia"),
        ({"tia": CUBE * np.nan}, "tia"),
        ({"density_g_cm3": np.ones((3, 3, 3))}, "density_g_cm3"),
        ({"target_relative_sd": 0.01}, "target_relative_sd"),
        ({"histories": 2}, "histories"),
        ({"nuclide": "177Lx"}, "177L"),
        ({"materials": ("jelly",)}, "material"),
    ],
)
def test_what_cannot_be_run_is_refused(change, named):
    asked = {"nuclide": "177Lu", "tia": CUBE, "density_g_cm3": np.ones(CUBE.shape), "spacing_mm": (3, 3, 3)} | change
    with pytest.raises(InputError, match=named):
        simulate(**asked)
