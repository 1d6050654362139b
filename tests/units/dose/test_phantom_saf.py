"""The shipped table of photon fractions is what the code makes."""

import numpy as np
import pytest

from dose.data.make_phantom_saf import run, scene, source_map
from dose.phantom import phantom
from dose.smatrix import reference_masses_g, reference_saf

HISTORIES = 2**16


@pytest.mark.slow
def test_a_run_of_the_monte_carlo_gives_the_table_again():
    """Another seed, an eighth of the photons: four standard errors of both, and 1 % for the table's four digits and its
    averaging over both directions."""
    table, body, mass = reference_saf("male"), phantom("male", 4.0), reference_masses_g("male")
    k, column = list(table.energy_MeV).index(0.1), table.sources.index("kidney_left")
    share, sd = run(scene(body), source_map(body, "kidney_left"), 0.1, HISTORIES, seed=77)
    for name in ("kidney_left", "spleen", "liver", "kidney_right"):
        row, label = table.targets.index(name), body.label(name)
        expected = table.per_kg[row, column, k] * mass[name] / 1e3
        spread = np.hypot(sd[label], table.relative_sd[row, column, k] * expected)
        assert abs(share[label] - expected) < 4 * spread + 0.01 * expected, name
    own, label = table.targets.index("kidney_left"), body.label("kidney_left")
    softer = table.per_kg[own, column, k - 1] * mass["kidney_left"] / 1e3  # negative control: 65 keV
    assert abs(share[label] - softer) > 4 * sd[label] + 0.01 * softer
    assert share[1:].sum() * 1e3 / mass["whole_body"] == pytest.approx(
        table.per_kg[table.targets.index("whole_body"), column, k], rel=0.02
    )
