"""`dose.voxels.voxel`: laws of the engines, what a body's densities do, and what is refused or remarked on."""

import math
import re
import runpy

import numpy as np
import pytest
from scipy.signal import fftconvolve

from dose.body_tissues import body_of, layers, shares_at, tissues, way_density
from dose.convolution import convolve, convolve_sum
from dose.errors import InputError
from dose.kernels import mirrored, voxel_kernel
from dose.nuclides import radionuclide
from dose.organ import equilibrium_chain, gray_per_MeV
from dose.point_energies import check_emits, point_energies
from dose.voxel_input import checked_problem
from dose.voxels import tia_per_voxel_MBq_h, voxel

EDGES = (4.0, 3.0, 5.0)
SHAPE = (12, 14, 10)
GRAMS = math.prod(EDGES) * 1e-3
ENGINES = [
    ("local", {}),
    ("kernel", {"heterogeneity": "none"}),
    ("kernel", {"heterogeneity": "density"}),
    ("kernel", {"heterogeneity": "tissue"}),
]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "kernels"))


def activity(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2.0, SHAPE)


def one(at=(6, 7, 5), value=1.0) -> np.ndarray:
    tia = np.zeros(SHAPE)
    tia[at] = value
    return tia


def problem_of(density, tia=None):
    tia = activity() if tia is None else tia
    return checked_problem(
        tia, density, "177Lu", EDGES, material=None, tissue=None, chain=True, allow_negative=False, options={}
    )


@pytest.mark.parametrize("shape", [(1, 1, 1), (3, 1, 8), (5, 7, 12)])
def test_convolution_equals_scipys(rng, shape):
    """Rounding: 1e-13 of the greatest value in double precision, 1e-6 in single."""
    source, octant = rng.random((9, 13, 6)), rng.random(shape)
    cut = octant[:9, :13, :6]
    whole = fftconvolve(source, mirrored(cut), mode="full")
    expected = whole[tuple(slice(k - 1, k - 1 + n) for k, n in zip(cut.shape, source.shape))]
    np.testing.assert_allclose(convolve(source, octant, "double"), expected, atol=1e-13 * expected.max())
    np.testing.assert_allclose(convolve(source, octant), expected, atol=1e-6 * expected.max())


def test_sums_over_sources_stay_apart_by_target(rng):
    sources, octants = rng.random((2, 6, 5, 4)), rng.random((3, 2, 2, 2))
    found = convolve_sum(list(sources), [[octants[0], octants[1]], [None, octants[2]], [None, None]], "double")
    first = convolve(sources[0], octants[0], "double") + convolve(sources[1], octants[1], "double")
    np.testing.assert_allclose(found[0], first, rtol=1e-12)
    np.testing.assert_allclose(found[1], convolve(sources[1], octants[2], "double"), rtol=1e-12)
    assert not found[2].any()


@pytest.mark.parametrize(("values", "precision"), [(np.ones((3, 3)), "single"), (np.ones((3, 3, 3)), "half")])
def test_convolution_refuses(values, precision):
    with pytest.raises(InputError):
        convolve(values, np.ones((1, 1, 1)), precision)


@pytest.mark.parametrize(("engine", "options"), ENGINES)
def test_dose_is_linear_in_activity(engine, options):
    """1e-5: single precision."""
    run = lambda tia: voxel(tia, 1.0, "131I", EDGES, engine=engine, **options).dose_Gy
    both = run(activity(0)) + 2 * run(activity(1))
    np.testing.assert_allclose(run(activity(0) + 2 * activity(1)), both, rtol=1e-5)


@pytest.mark.parametrize(("engine", "options"), ENGINES)
def test_a_source_in_the_middle_leaves_its_energy(engine, options):
    """Electrons of 177Lu reach less than two voxels: energy to 0.1 % but for what they radiate (0.1 %)."""
    density = 1.03 if options.get("heterogeneity") == "tissue" else 1.0
    found = voxel(one(), density, "177Lu", EDGES, engine=engine, **options)
    energy_MeV = found.electron_Gy.sum(dtype=float) / gray_per_MeV(GRAMS * density)
    assert energy_MeV == pytest.approx(radionuclide("177Lu").electron_MeV, rel=2e-3)
    assert found.photon_Gy.sum() >= 0
    assert found.dose_Gy.shape == SHAPE


def test_photons_left_behind_or_kept():
    left = voxel(activity(), 1.0, "131I", EDGES, engine="local")
    kept = voxel(activity(), 1.0, "131I", EDGES, engine="local", photons="local")
    assert not left.photon_Gy.any()
    ratio = radionuclide("131I").photon_MeV / radionuclide("131I").electron_MeV
    np.testing.assert_allclose(kept.photon_Gy, ratio * left.electron_Gy, rtol=1e-5)


def test_local_deposition_is_energy_over_mass():
    """Each voxel by hand: MeV, J/MeV, decays of a MBq h, kg."""
    density = np.random.default_rng(3).uniform(0.3, 1.9, SHAPE)
    found = voxel(activity(), density, "177Lu", EDGES, engine="local")
    expected = activity() * 3.6e9 * 0.147923 * 1.602176634e-13 / (density * GRAMS * 1e-3)
    np.testing.assert_allclose(found.dose_Gy, expected, rtol=1e-5)


def test_one_medium_is_the_kernel_itself():
    point = point_energies("131I", "soft_tissue")
    kernel = voxel_kernel(point, EDGES, most_voxels=[n - 1 for n in SHAPE])
    found = voxel(one(), 1.0, "131I", EDGES, heterogeneity="none", precision="double").dose_Gy
    whole = kernel.Gy_per_MBq_h
    middle = np.array(whole.shape) // 2 - (6, 7, 5)
    expected = whole[tuple(slice(m, m + n) for m, n in zip(middle, SHAPE))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize("density", [0.26, 1.03, 1.9])
@pytest.mark.parametrize("nuclide", ["177Lu", "90Y"])
def test_tissue_kernels_of_an_even_body_are_those_of_its_medium(nuclide, density):
    """Electrons, 0.3 %: the self-energy is interpolated between densities and bone's share of compact bone is none."""
    name = {0.26: "lung", 1.03: "soft_tissue", 1.9: "cortical_bone"}[density]
    kernel = voxel_kernel(point_energies(nuclide, name), EDGES, density_g_cm3=density, parts=("electron",))
    expected = convolve(activity(), kernel.electron_MeV, "double") * gray_per_MeV(GRAMS * density)
    found = voxel(activity(), density, nuclide, EDGES, heterogeneity="tissue").electron_Gy
    np.testing.assert_allclose(found, expected, rtol=3e-3)


def slabs() -> np.ndarray:
    density = np.full(SHAPE, 1.03)
    density[:4] = 0.26
    density[9:] = 1.9
    return density


def test_density_scaling_keeps_energy_and_tissue_kernels_keep_photon_dose():
    tia = one((6, 7, 5), 5.0)
    none, scaled, tissue = (
        voxel(tia, slabs(), "131I", EDGES, heterogeneity=way) for way in ("none", "density", "tissue")
    )
    mass = slabs() * GRAMS
    np.testing.assert_allclose((scaled.dose_Gy * mass).sum(), (none.dose_Gy * GRAMS).sum(), rtol=1e-5)
    lung = (1, 7, 5)
    assert scaled.photon_Gy[lung] == pytest.approx(none.photon_Gy[lung] / 0.26, rel=1e-4)
    assert tissue.photon_Gy[lung] == pytest.approx(none.photon_Gy[lung], rel=0.1)


def test_electrons_from_lung_follow_the_density_on_both_sides():
    """A voxel of lung at the border gets about 1/0.26 of the dose of soft tissue; its soft neighbour more than its own.

    By Monte Carlo of such slabs (docs/voxel-dose.md) 3.7 and 1.07 times the dose of soft tissue far away.
    """
    found = voxel(np.ones(SHAPE), slabs(), "177Lu", (3.0, 3.0, 3.0), heterogeneity="tissue").electron_Gy[:, 7, 5]
    assert found[3] / found[6] == pytest.approx(3.7, rel=0.05)
    assert found[4] / found[6] == pytest.approx(1.06, abs=0.03)
    plain = voxel(np.ones(SHAPE), slabs(), "177Lu", (3.0, 3.0, 3.0), heterogeneity="density").electron_Gy[:, 7, 5]
    assert plain[4] / plain[6] < 1.02


def test_shares_of_tissues_add_up_and_are_one_at_their_own_density():
    density = np.geomspace(0.05, 3.0, 60)
    np.testing.assert_allclose(shares_at(density).sum(0), 1, rtol=1e-6)
    own = shares_at(np.array([tissue.density_g_cm3 for tissue in tissues()]))
    np.testing.assert_allclose(own, np.eye(len(tissues())), atol=1e-6)


def test_depth_counts_from_the_border():
    body = body_of(problem_of(slabs()))
    np.testing.assert_array_equal(body.depth[:, 0, 0], [3, 2, 1, 0, 0, 1, 2, 1, 0, 0, 1, 2])
    counted = [int(mask[:, 0, 0].sum()) for mask in layers(body, 3)]
    assert counted == [4, 4, 4]
    assert np.all(body_of(problem_of(1.03)).depth >= max(SHAPE))


def test_the_density_of_a_way_lies_between_and_is_exact_for_short_electrons():
    lung, soft = (next(t for t in tissues() if t.density_g_cm3 == density) for density in (0.26, 1.03))
    assert way_density(lung, soft, 0, 0, 3) == pytest.approx(math.sqrt(0.26 * 1.03))
    assert way_density(lung, soft, 1, 0, 3) == pytest.approx((1.5 * 0.26 + 0.5 * 1.03) / 2)
    assert way_density(lung, soft, 0, 1, 3) == pytest.approx((0.5 * 0.26 + 1.5 * 1.03) / 2)
    assert way_density(lung, soft, 2, 0, 3) == pytest.approx((3.5 * 0.26 + 0.5 * 1.03) / 4)


def test_progeny_and_alphas_are_counted_and_kept_apart():
    found = voxel(one(), 1.0, "225Ac", (2.0, 2.0, 2.0), engine="kernel", heterogeneity="none")
    alone = voxel(one(), 1.0, "225Ac", (2.0, 2.0, 2.0), engine="kernel", heterogeneity="none", chain=False)
    expected = sum(l.decays * (l.nuclide.alpha_MeV + l.nuclide.recoil_MeV) for l in equilibrium_chain("225Ac"))
    assert found.alpha_Gy[6, 7, 5] == pytest.approx(expected * gray_per_MeV(0.008), rel=1e-5)
    assert np.count_nonzero(found.alpha_Gy) == 1
    assert alone.alpha_Gy.sum() < 0.25 * found.alpha_Gy.sum()
    np.testing.assert_allclose(found.weighted_Gy(5.0) - found.dose_Gy, 4 * found.alpha_Gy, rtol=1e-4, atol=1e-6)
    assert "213Bi" in found.provenance[0]
    assert "213Bi" not in alone.provenance[0]


def test_concentrations_become_activities_per_voxel():
    np.testing.assert_allclose(tia_per_voxel_MBq_h(np.full(SHAPE, 2.0), EDGES), 2.0 * 0.06)


def test_air_gets_no_dose_and_activity_there_is_mentioned():
    density = np.full(SHAPE, 1.0)
    density[0] = 0.0012
    found = voxel(np.ones(SHAPE), density, "177Lu", EDGES)
    assert not found.dose_Gy[0].any()
    assert found.dose_Gy[1].all()
    assert any("in air" in note for note in found.warnings)
    assert not voxel(np.ones(SHAPE), 1.0, "177Lu", EDGES).warnings


def test_noise_below_zero_passes_only_where_asked():
    tia = activity()
    tia[0, 0, 0] = -0.1
    with pytest.raises(InputError, match="allow_negative"):
        voxel(tia, 1.0, "177Lu", EDGES)
    low = voxel(tia, 1.0, "177Lu", EDGES, engine="local", allow_negative=True)
    assert low.dose_Gy[0, 0, 0] < 0


class OfImaging:
    """As `imaging.geometry.Volume`: holds an array and is none."""

    array = np.ones(SHAPE)


BAD = [
    ({"tia_MBq_h": np.full(SHAPE, np.nan)}, "NaN"),
    ({"tia_MBq_h": np.zeros(SHAPE)}, "no voxel above 0"),
    ({"tia_MBq_h": np.ones((4, 5))}, "three axes"),
    ({"density_g_cm3": np.ones((3, 3, 3))}, "resample"),
    ({"density_g_cm3": np.full(SHAPE, 1030.0)}, "kg/m3"),
    ({"density_g_cm3": np.linspace(-1000, 400, math.prod(SHAPE)).reshape(SHAPE)}, "CT numbers"),
    ({"density_g_cm3": -1.0}, "0 to 22.6"),
    ({"density_g_cm3": 23.0}, "0 to 22.6"),
    ({"density_g_cm3": np.nan}, "0 to 22.6"),
    ({"density_g_cm3": 1.03e-3}, "density_g_cm3.*g/mm3.*1000"),
    ({"density_g_cm3": np.full(SHAPE, 0.0012), "engine": "local"}, "air everywhere"),
    ({"density_g_cm3": np.zeros(SHAPE)}, "air everywhere"),
    ({"density_g_cm3": OfImaging()}, r"volume\.array"),
    ({"density_g_cm3": "1.03 g/cm3"}, "density_g_cm3.*a number"),
    ({"tia_MBq_h": OfImaging()}, "voxel_mL"),
    ({"tia_MBq_h": [[["some"]]]}, "array of numbers"),
    ({"nuclide": "177Hf"}, "stable"),
    ({"nuclide": "178Lux"}, "nuclide"),
    ({"spacing_mm": (0.004, 0.003, 0.005)}, "millimetres"),
    ({"engine": "kernels"}, "kernel"),
    ({"heterogeneity": "some"}, "none, density or tissue"),
    ({"photons": "local"}, "options of the kernel engine"),
    ({"engine": "local", "photons": "half"}, "local engine"),
    ({"engine": "montecarlo", "heterogeneity": "none"}, "montecarlo engine"),
    ({"tissue": np.zeros(SHAPE)}, "whole numbers"),
    ({"tissue": np.full(SHAPE, 2), "material": ("lung", "soft_tissue")}, "whole numbers"),
    ({"tissue": np.zeros(SHAPE, int), "material": ("lung", "soft_tissue")}, "one kernel material"),
    ({"material": "soft_tissue", "heterogeneity": "tissue"}, "one kernel material"),
    ({"material": "gingerbread"}, "material"),
    ({"precision": "quadruple"}, "precision"),
    ({"administered_MBq": -5.0}, "administered_MBq"),
]


@pytest.mark.parametrize(("change", "word"), BAD, ids=lambda value: value if isinstance(value, str) else None)
def test_what_cannot_be_is_refused_with_advice(change, word):
    arguments = {"tia_MBq_h": activity(), "density_g_cm3": 1.0, "nuclide": "177Lu", "spacing_mm": EDGES} | change
    with pytest.raises(InputError, match=word):
        voxel(**arguments)


@pytest.mark.parametrize("density", [1.03, np.where(np.arange(SHAPE[2]) == 4, 0.1, 0.0012) * np.ones(SHAPE)])
def test_a_body_in_air_and_lists_are_taken(density):
    found = voxel(activity().tolist(), density, "177Lu", EDGES, engine="local")
    assert found.dose_Gy.max() > 0
    np.testing.assert_array_equal(found.dose_Gy, voxel(activity(), density, "177Lu", EDGES, engine="local").dose_Gy)


def test_a_volume_of_concentrations_is_refused_by_name():
    with pytest.raises(InputError, match=r"tia_MBq_h_mL.*volume\.array"):
        tia_per_voxel_MBq_h(OfImaging(), EDGES)


def test_a_nuclide_that_emits_nothing_is_refused(monkeypatch):
    """No radionuclide of the table is without emissions, so the check is made to see one."""
    monkeypatch.setattr("dose.point_energies.has_emissions", lambda nuclide: False)
    with pytest.raises(InputError, match="emissions of 177Lu"):
        check_emits("177Lu", chain=True)
    with pytest.raises(InputError, match="stable"):
        check_emits("177Hf")


def total(administered_MBq: float, share: float) -> np.ndarray:
    """A map that holds a share of all decays of 177Lu there are."""
    return np.full(SHAPE, share * administered_MBq * 6.647 * 24 / math.log(2) / math.prod(SHAPE))


@pytest.mark.parametrize(
    ("factor", "word"),
    [(1e6, "Bq and MBq"), (1e3, "kBq and MBq"), (3600.0, "seconds and hours"), (60.0, "minutes and hours")],
)
def test_more_decays_than_were_administered_is_an_error_that_names_the_factor(factor, word):
    good = total(7400.0, 0.3)
    assert not voxel(good, 1.0, "177Lu", (10.0, 10.0, 10.0), engine="local", administered_MBq=7400.0).warnings
    with pytest.raises(InputError, match=word):
        voxel(good * factor, 1.0, "177Lu", (10.0, 10.0, 10.0), engine="local", administered_MBq=7400.0)


def test_concentration_given_as_activity_is_named():
    good = total(7400.0, 0.3)
    with pytest.raises(InputError, match="tia_per_voxel_MBq_h"):
        voxel(good / 0.06, 1.0, "177Lu", EDGES, engine="local", administered_MBq=7400.0)


def test_few_decays_and_slightly_too_many_are_remarked_on():
    low = voxel(total(7400.0, 0.3) / 1e6, 1.0, "177Lu", EDGES, engine="local", administered_MBq=7400.0)
    assert any("Bq and MBq confused" in note for note in low.warnings)
    high = voxel(total(7400.0, 1.05), 1.0, "177Lu", (10.0, 10.0, 10.0), engine="local", administered_MBq=7400.0)
    assert any("calibration" in note for note in high.warnings)


def test_doses_that_only_a_wrong_unit_explains():
    """10 Gy, typical of therapy; 1e3 and 1e6 times that, and a millionth."""
    tia = np.full(SHAPE, 10.0 / gray_per_MeV(GRAMS) / 0.147923)
    run = lambda factor: voxel(tia * factor, 1.0, "177Lu", EDGES, engine="local")
    assert not run(1.0).warnings
    assert any("1e3" in note for note in run(1e3).warnings)
    with pytest.raises(InputError, match="1e6"):
        run(1e6)
    assert any("GBq or TBq" in note for note in run(1e-8).warnings)


def test_the_documents_example_runs(repository, tmp_path, capsys):
    text = (repository / "docs" / "voxel-dose.md").read_text(encoding="utf-8")
    example = tmp_path / "example.py"
    example.write_text(re.search(r"```python\n(.*?)```", text, re.DOTALL).group(1))
    runpy.run_path(str(example))
    printed = capsys.readouterr().out
    assert "voxel kernels of 177Lu" in printed
    assert "DoseDifference" in printed


@pytest.mark.slow
def test_monte_carlo_in_water_agrees_with_the_kernel():
    """Both from the same physics: 1 % of the mean over the middle, statistics being 0.3 % there."""
    tia = np.ones((10, 10, 10))
    made = voxel(tia, 1.0, "177Lu", (3.0, 3.0, 3.0), engine="montecarlo", material="soft_tissue", histories=2**17)
    kernel = voxel(tia, 1.0, "177Lu", (3.0, 3.0, 3.0), engine="kernel", heterogeneity="none")
    middle = (slice(3, 7),) * 3
    assert made.dose_Gy[middle].mean() == pytest.approx(kernel.dose_Gy[middle].mean(), rel=0.01)
    assert made.relative_sd is not None
    assert 0 < made.relative_sd[middle].mean() < 0.2
    local = voxel(tia, 1.0, "225Ac", (3.0, 3.0, 3.0), engine="montecarlo", material="soft_tissue", histories=2**13)
    np.testing.assert_allclose(local.alpha_Gy, voxel(tia, 1.0, "225Ac", (3.0, 3.0, 3.0), engine="local").alpha_Gy)
