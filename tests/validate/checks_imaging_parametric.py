"""Parametric maps of simulated dynamic PET against the rates that made it (compartments solved by scipy)."""

from __future__ import annotations

from functools import cache

import numpy as np

from tests.validate import check, close

SOURCE = "two-tissue compartments with Feng's plasma curve, solved by scipy (Radau), 60 min in 33 frames"
FENG = (8.5e5, 2.2e4, 2.1e4, 4.1, 0.12, 0.0104)
DURATION = np.array([1 / 6] * 12 + [0.5] * 6 + [1.0] * 5 + [5.0] * 10)
START = np.concatenate([[0], np.cumsum(DURATION)[:-1]])
K1, K2, K3, VB = 0.10, 0.15, 0.06, 0.05
KI = K1 * K3 / (K2 + K3)
DRAWS, NOISE = 100, 5.0
"""Realisations, and the noise level: about 8 % in a last frame."""


@cache
def _plasma():
    from imaging.parametric import InputFunction
    from imaging.parametric.input_function import feng

    fine = np.unique(np.concatenate([np.linspace(0, 5, 1001), np.linspace(5, 60, 1101)]))
    return InputFunction(fine, feng(fine, FENG), True)


@cache
def _tissue(k3: float = K3, k4: float = 0.0, vb: float = VB):
    from scipy.integrate import solve_ivp

    from imaging.parametric.input_function import feng

    def rhs(t, y):
        cp = feng(t, FENG)
        flow = k3 * y[0] - k4 * y[1]
        return [K1 * cp - K2 * y[0] - flow, flow, (1 - vb) * (y[0] + y[1]) + vb * cp]

    edges = np.append(START, START[-1] + DURATION[-1])
    done = solve_ivp(rhs, (0, edges[-1]), [0, 0, 0], t_eval=edges, method="Radau", rtol=1e-8, atol=1e-3, max_step=1.0)
    return np.diff(done.y[2]) / DURATION


def _frames(curves):
    from imaging.parametric import DynamicFrames

    return DynamicFrames(np.asarray(curves).reshape(len(START), -1), START, DURATION, True, "18F")


def _noisy():
    from imaging.parametric.frames import decay_factor

    rng, tissue = np.random.default_rng(2026), _tissue()
    sd = NOISE * np.sqrt(np.maximum(tissue, tissue.max() / 100) * decay_factor("18F", START, DURATION) / DURATION)
    return _frames(tissue[:, None] + sd[:, None] * rng.normal(size=(len(START), DRAWS)))


@check(
    "imaging/parametric two-tissue Ki without noise", unit="mL/min/mL", tolerance=f"rel 0.01 of {KI:.6g}", source=SOURCE
)
def two_tissue_ki():
    from imaging.parametric import two_tissue_irreversible

    value = float(two_tissue_irreversible(_frames(_tissue()), _plasma()).maps["Ki"][0])
    return value, close(value, KI, 0.01)


@check(
    "imaging/parametric Patlak Ki without noise, t* 35 min",
    unit="mL/min/mL",
    tolerance=f"rel 0.01 of Ki (1 - Vb) = {KI * (1 - VB):.6g}",
    source=SOURCE,
)
def patlak_ki():
    from imaging.parametric import patlak

    value = float(patlak(_frames(_tissue()), _plasma(), t_star_min=35).maps["Ki"][0])
    return value, close(value, KI * (1 - VB), 0.01)


@check(
    "imaging/parametric Logan VT without noise, t* 20 min",
    unit="mL/mL: graphical, MA1",
    tolerance="rel 0.02 of K1/k2 (1 + k3/k4)",
    source=SOURCE,
)
def logan_vt():
    from imaging.parametric import logan

    true, data = K1 / K2 * (1 + 0.05 / 0.08), _frames(_tissue(0.05, 0.08, 0.0))
    found = [float(logan(data, _plasma(), t_star_min=20, form=f).maps["VT"][0]) for f in ("graphical", "ma1")]
    return found, all(close(v, true, 0.02) for v in found)


@check(
    f"imaging/parametric two-tissue Ki, bias and stated sd over {DRAWS} draws",
    unit="1: mean over truth; root mean square sd over scatter; share of valid voxels",
    tolerance="0.99 to 1.01, 0.8 to 1.2, 0.95 or more",
    source=SOURCE,
)
def noise():
    from imaging.parametric import two_tissue_irreversible

    found = two_tissue_irreversible(_noisy(), _plasma())
    ki, sd = found.maps["Ki"][found.valid].astype(float), found.sd["Ki"][found.valid].astype(float)
    values = [ki.mean() / KI, np.sqrt((sd**2).mean()) / ki.std(ddof=1), found.valid.mean()]
    values = [round(float(v), 4) for v in values]
    return values, 0.99 <= values[0] <= 1.01 and 0.8 <= values[1] <= 1.2 and values[2] >= 0.95
