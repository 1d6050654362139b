"""Emissions of every nuclide of ICRP 107: complete, consistent with themselves, with the table and with kinematics."""

import csv
from dataclasses import replace

import numpy as np
import pytest

from dose.emissions import LINES, Lines, Spectrum, emissions, merged
from dose.errors import InputError
from dose.nuclides import known_nuclides, radionuclide

SPECTRUM = 5e-3
"""Spectra against branches: trapezoids over the table's 100 points; 0.33 % in number, 0.49 % in energy at worst."""
CUT_SHORT = {"16N": 0.024}
"""Its spectrum ends at 10.4 MeV, the branch has a mean that needs more; no nuclide of medicine."""
ALPHA_U = 4.0015
"""Mass of the alpha in atomic mass units (recalled); a recoil takes 4/(A - 4) of the alpha's energy."""


@pytest.fixture(scope="module")
def every():
    return {name: emissions(name) for name in known_nuclides()}


def agrees(found) -> bool:
    """Number and energy of the spectrum are those of the branches."""
    off = SPECTRUM + CUT_SHORT.get(found.nuclide, 0.0)
    number = abs(found.beta.number - found.beta_branches.number) <= off * found.beta_branches.number
    branches = found.energy_MeV("beta")
    return number and abs(found.beta.MeV_per_decay - branches) <= off * branches


def test_the_spectrum_of_every_beta_emitter_has_the_number_and_the_energy_of_its_branches(every):
    assert [name for name, found in every.items() if not agrees(found)] == []
    assert sum(found.beta.number > 0 for found in every.values()) == 955


def test_a_spectrum_off_by_one_percent_is_noticed(every):
    lu = every["177Lu"]
    assert not agrees(replace(lu, beta=Spectrum(lu.beta.energy_MeV, 1.01 * lu.beta.per_MeV)))


def test_energies_are_those_of_the_table(every):
    for name, found in every.items():
        entry = radionuclide(name)
        for kind in ("electron", "beta", "photon", "alpha", "recoil"):
            # six digits in the table
            assert found.energy_MeV(kind) == pytest.approx(getattr(entry, f"{kind}_MeV"), rel=6e-6, abs=0), (name, kind)
        assert found.fission_MeV == pytest.approx(entry.fission_MeV, rel=6e-6, abs=0)


def test_lines_are_finite_positive_sorted_and_cannot_be_changed(every):
    for found in every.values():
        for lines in (*(getattr(found, kind) for kind in LINES), found.photons, found.electron_lines):
            assert np.isfinite(lines.energy_MeV).all()
            assert (lines.energy_MeV >= 0).all()
            assert (lines.per_decay >= 0).all()
            assert (np.diff(lines.energy_MeV) >= 0).all()
        assert (np.diff(found.beta.energy_MeV) > 0).all()
    with pytest.raises(ValueError, match="read-only"):
        every["177Lu"].gamma.per_decay[0] = 1.0


def test_an_alpha_and_its_recoil_share_momentum(every):
    for name, found in every.items():
        mass = int("".join(c for c in name if c.isdigit()))
        assert found.alpha.number == pytest.approx(found.recoil.number, rel=1e-5), name
        expected = found.energy_MeV("alpha") * ALPHA_U / (mass - 4)
        # masses rounded to whole units
        assert found.energy_MeV("recoil") == pytest.approx(expected, rel=2e-3), name


def test_each_positron_gives_two_quanta_of_511_keV(every):
    for name, found in every.items():
        assert found.annihilation.number == pytest.approx(2 * found.positrons_per_decay, rel=1e-5), name
        assert np.all(found.annihilation.energy_MeV == 0.511)
    assert every["18F"].positrons_per_decay == pytest.approx(0.9673, rel=1e-5)


def test_kinds_add_up():
    found = emissions("131I")
    assert found.energy_MeV("photon") == pytest.approx(found.photons.MeV_per_decay, rel=1e-12)
    electrons = found.energy_MeV("beta") + found.electron_lines.MeV_per_decay
    assert found.energy_MeV("electron") == pytest.approx(electrons, rel=1e-12)
    assert len(found.photons.energy_MeV) == sum(len(getattr(found, k).energy_MeV) for k in ("gamma", "xray"))


def test_fission_is_kept_apart_and_named():
    """252Cf: 3.09 % of decays are fissions; fragments and neutrons carry away about 197 MeV a fission."""
    found = emissions("252Cf")
    fissions = 1 - sum(part for _, part in radionuclide("252Cf").progeny)
    assert found.fission_MeV / fissions == pytest.approx(197, rel=0.03)
    kinds = sum(found.energy_MeV(kind) for kind in ("electron", "photon", "alpha", "recoil"))
    assert kinds < 7
    assert sum(emissions(name).fission_MeV > 0 for name in known_nuclides()) == 28


def test_merging_keeps_every_line():
    both = merged(Lines(np.array([0.2, 0.5]), np.array([1.0, 2.0])), Lines(np.array([0.3]), np.array([4.0])))
    assert both.energy_MeV.tolist() == [0.2, 0.3, 0.5]
    assert both.per_decay.tolist() == [1.0, 4.0, 2.0]
    assert both.number == 7.0
    assert both.MeV_per_decay == pytest.approx(2.4)


def test_a_nuclide_is_read_once_in_any_spelling():
    assert emissions("Lu-177") is emissions("177Lu") is emissions(radionuclide("177Lu", half_life_h=160.0))


def test_what_has_no_emissions_is_refused():
    with pytest.raises(InputError, match="stable"):
        emissions("177Hf")
    with pytest.raises(InputError, match="kind"):
        emissions("177Lu").energy_MeV("neutrino")


NAMES = {"xray": "xray", "auger": "auger_ck", "gamma": "gamma", "alpha": "alpha", "recoil": "recoil"}
NAMES |= {"annihilation": "annihilation", "conversion_electron": "conversion_electron"}


def test_lines_are_those_that_were_read_before(shared):
    """The project's own table of 41 nuclides, made by another script from the same records."""
    with (shared / "data/dose/icrp107_emissions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
    kept: dict = {}
    for row in rows:
        kept.setdefault((row["nuclide"], row["type"]), []).append((row["energy_MeV"], row["yield_per_decay"]))
    for (nuclide, kind), pairs in kept.items():
        field = {theirs: ours for ours, theirs in NAMES.items()}.get(kind)
        if field is None:
            continue
        lines, table = getattr(emissions(nuclide), field), np.array(pairs, float)
        # the table leaves out the weakest lines
        place = np.abs(lines.energy_MeV[None, :] - table[:, :1]).argmin(axis=1)
        np.testing.assert_allclose(lines.energy_MeV[place], table[:, 0], rtol=1e-5, err_msg=f"{nuclide} {kind}")
        found = np.array([lines.per_decay[np.abs(lines.energy_MeV / e - 1) < 1e-5].sum() for e in table[:, 0]])
        theirs = np.array([table[np.abs(table[:, 0] / e - 1) < 1e-5, 1].sum() for e in table[:, 0]])
        np.testing.assert_allclose(found, theirs, rtol=1e-3, err_msg=f"{nuclide} {kind}")
