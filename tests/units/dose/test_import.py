"""`import dose` stays light."""

import subprocess
import sys

import pytest

import dose

PROBE = "import sys, dose; print([m for m in ('jax', 'scipy', 'torch', 'matplotlib') if m in sys.modules])"


def test_import_dose_brings_in_neither_jax_nor_scipy(repository):
    done = subprocess.run([sys.executable, "-c", PROBE], cwd=repository, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", dose.__all__)
def test_each_public_name_is_there(name):
    assert getattr(dose, name) is not None


def test_a_name_that_is_not_there_is_refused():
    with pytest.raises(AttributeError, match="no attribute"):
        dose.nothing_of_the_kind  # noqa: B018
