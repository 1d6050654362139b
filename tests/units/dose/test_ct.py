"""CT numbers to density and tissue: the published lines and bins, curves of one's own, and values that are no CT."""

import numpy as np
import pytest

from dose.ct import (
    CtCurve,
    ct_tissues,
    density_from_ct,
    metal_share,
    nearest_kernel_materials,
    read_curve,
    tissue_from_ct,
    to_coarser,
)
from dose.errors import InputError
from dose.montecarlo.materials import electrons_per_mass, material
from dose.point_kernels import SHIPPED

BRAGG_eV = {
    1: 19.2, 6: 81.0, 7: 82.0, 8: 106.0, 11: 168.4, 12: 176.3, 14: 195.5, 15: 195.5, 16: 203.4, 17: 180.0, 19: 214.7,
    20: 215.8, 26: 323.2, 30: 372.9,
}  # fmt: skip
"""Elements' I values in compounds (ICRU 37 table 5.1, recalled), of which the bins' were made."""


def bragg_eV(matter) -> float:
    from dose.montecarlo.materials import atomic_mass

    terms = sum(w * z / atomic_mass(z) * np.log(BRAGG_eV[z]) for z, w in matter.composition)
    return float(np.exp(terms / electrons_per_mass(matter)))


@pytest.mark.parametrize(
    ("hu", "density"),
    [
        (-1000, 0.00121),
        (-50, 1.018 - 0.893e-3 * 50),
        (0, 1.018),
        (50, 1.003 + 1.169e-3 * 50),
        (500, 1.017 + 0.592e-3 * 500),
        (1500, 1.017 + 0.592e-3 * 1500),
    ],
)
def test_densities_are_those_of_the_papers_lines(hu, density):
    """0.2 %: the table rounds the ends of the lines to whole CT numbers."""
    assert density_from_ct(hu) == pytest.approx(density, rel=2e-3)


def test_lung_lies_on_the_line_from_air_to_fat():
    assert density_from_ct(-741.0) == pytest.approx(0.2675, rel=2e-3)
    assert density_from_ct(-3024.0) == pytest.approx(0.00121)


@pytest.mark.parametrize(
    ("hu", "name"),
    [
        (-1024, "schneider_air"),
        (-951, "schneider_air"),
        (-950, "schneider_lung"),
        (-100, "schneider_adipose_gland_1"),
        (19, "schneider_soft_tissue"),
        (79.9, "schneider_soft_tissue"),
        (80, "schneider_connective_tissue"),
        (119, "schneider_connective_tissue"),
        (120, "schneider_marrow_bone_01"),
        (1500, "schneider_marrow_bone_15"),
        (3000, "schneider_marrow_bone_15"),
    ],
)
def test_tissues_are_those_of_the_papers_bins(hu, name):
    assert ct_tissues()[int(tissue_from_ct(hu))].name == name


def test_there_are_24_tissues_and_each_is_a_material():
    assert len(ct_tissues()) == len(nearest_kernel_materials()) == 24
    assert set(nearest_kernel_materials()) <= {*SHIPPED, "air"}
    calcium = [dict(tissue.composition).get(20, 0.0) for tissue in ct_tissues()]
    assert calcium[9] == pytest.approx(0.045, abs=1e-3)
    assert calcium[-1] == pytest.approx(0.225, abs=1e-3)
    assert np.all(np.diff(calcium[9:]) > 0)
    assert all(0.4 < electrons_per_mass(tissue) < 0.6 for tissue in ct_tissues())


@pytest.mark.parametrize("name", ["muscle", "adipose", "cortical_bone", "compact_bone", "lung", "brain", "skin"])
def test_braggs_rule_with_these_elements_gives_icrus_values(name):
    """0.5 %: ICRU 37's own I of tissues."""
    assert bragg_eV(material(name)) == pytest.approx(material(name).I_eV, rel=5e-3)


def test_the_bins_i_values_are_braggs():
    for tissue in ct_tissues()[1:]:
        assert tissue.I_eV == pytest.approx(bragg_eV(tissue), rel=1e-3)
    assert ct_tissues()[0].I_eV == pytest.approx(85.7, abs=0.1)  # air: a gas


def test_a_curve_of_ones_own_is_read_and_used(tmp_path):
    path = tmp_path / "scanner.csv"
    path.write_text("# our scanner\nhu,density_g_cm3\n-1000,0.001\n0,1.0\n1000,1.6\n")
    curve = read_curve(path)
    np.testing.assert_allclose(density_from_ct(np.array([-500.0, 500.0]), curve), [0.5005, 1.3], rtol=1e-6)
    assert density_from_ct(3000.0, curve) == pytest.approx(1.6)


@pytest.mark.parametrize(
    "text",
    ["hu,density\n0,1\n", "hu,density_g_cm3\n0,1\n", "hu,density_g_cm3\n0,1\n0,2\n", "hu,density_g_cm3\n0,x\n1,2\n",
     "hu,density_g_cm3\n0,0\n1,2\n", "hu,density_g_cm3\n0,1000\n1,2000\n", ""],
)  # fmt: skip
def test_files_that_are_no_curve_are_refused(tmp_path, text):
    path = tmp_path / "scanner.csv"
    path.write_text(text)
    with pytest.raises(InputError):
        read_curve(path)


def body(shift: float = 0.0) -> np.ndarray:
    """Air round a body of soft tissue, fat and bone."""
    hu = np.full((8, 8, 8), -1000.0)
    hu[2:6, 2:6, 2:6] = 40.0
    hu[2, 2:6, 2:6] = -90.0
    hu[3, 3, 3] = 900.0
    return hu + shift


@pytest.mark.parametrize(
    ("values", "word"),
    [
        (body(1024.0), "intercept"),
        (body(1024.0)[2:6, 2:6, 2:6], "intercept"),
        (density_from_ct(body()).astype(float), "densities"),
        (np.full((4, 4), 5000.0), "slope"),
        (body() * 100, "slope"),
        (np.where(body() > 500, np.nan, body()), "NaN"),
        (np.zeros((0, 3)), "0 of 0"),
    ],
)
def test_what_is_no_ct_is_refused_with_its_likely_name(values, word):
    with pytest.raises(InputError, match=word):
        density_from_ct(values)
    assert density_from_ct(body()).shape == (8, 8, 8)


def test_a_curve_that_falls_back_is_refused():
    with pytest.raises(InputError, match="rising"):
        CtCurve(np.array([0.0, 0.0]), np.array([1.0, 1.1]), "twice")


def test_means_of_densities_keep_the_mass():
    density = density_from_ct(body())
    coarse = to_coarser(density, (2, 4, 8))
    assert coarse.shape == (4, 2, 1)
    assert coarse.mean() == pytest.approx(density.mean(), rel=1e-6)
    with pytest.raises(InputError, match="divisors"):
        to_coarser(density, (3, 2, 2))


def test_metal_is_counted():
    hu = body()
    assert metal_share(hu) == 0
    hu[3, 3, 3] = 20000.0
    assert metal_share(hu) == pytest.approx(1 / 512)


def test_a_real_ct_has_the_density_of_a_patient(shared):
    """The abdomen of TotalSegmentator's test files: air, fat and soft tissue where they should be."""
    import SimpleITK

    path = shared / "data/images/ct_nifti/ct_abdomen_3mm.nii.gz"
    hu = SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(str(path)))
    density = density_from_ct(hu)
    soft = (hu > 20) & (hu < 80)
    assert density[soft].mean() == pytest.approx(1.06, abs=0.03)
    assert 0.001 < density.min() < 0.01
    assert 1.3 < density.max() < 3.0
