"""Kinetics that no patient can have are refused by field, organ and patient; those of the default patient are not."""

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest

from dose.errors import InputError
from pbpk.check import checked
from pbpk.solve import solve
from tests.reference.reference_pbpk import bolus, default_patient

KIN = jax.tree.map(lambda x: jnp.repeat(x, 3, axis=-1), default_patient())


def spoilt(field: str, organ: str | None, value: float):
    """The three patients with one value of the third replaced."""
    at = (KIN.organs.index(organ), 2) if organ else (2,)
    return eqx.tree_at(lambda k: getattr(k, field), KIN, getattr(KIN, field).at[at].set(value))


def test_possible_patients_pass():
    assert checked(KIN) is KIN


@pytest.mark.parametrize(
    ("field", "organ", "value"),
    [("plasma_flow", "remainder", -0.1), ("interstitial", "tumour_1", 0.0), ("k_off", None, 0.0),
     ("receptors", "kidney_left", -1.0), ("release", "liver", float("nan")), ("excreted_fraction", None, 1.2),
     ("receptors", "brain", 1.0), ("filtration", "liver", 0.01)],
)  # fmt: skip
def test_an_impossible_value_names_field_organ_and_patient(field, organ, value):
    with pytest.raises(InputError) as refused:
        checked(spoilt(field, organ, value))
    text = str(refused.value)
    assert field in text
    assert "patient 2" in text
    assert organ is None or organ in text


def test_single_precision_that_nobody_asked_for_is_refused():
    with jax.enable_x64(False), pytest.raises(InputError, match="x64"):
        solve(default_patient(), bolus(end_min=1.0))
