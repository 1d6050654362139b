"""The built-in virtual patient: a truth drawn from the prior, scanned as DICOM, with its true doses beside.

The truth is one draw of the population prior (and of the drift between cycles), so the calibration does not know it;
the images are blurred and noisy, and pass through the same door as a user's. What this cannot show is how well the
model describes real patients: truth and fit share the model.
"""

from __future__ import annotations

import tomllib
from dataclasses import replace
from datetime import timedelta
from importlib.resources import files
from pathlib import Path

import numpy as np

from twin._jax import configure

configure()

from calibration.forward import pool_weights  # noqa: E402
from calibration.noise import drift_log_sd  # noqa: E402
from calibration.observations import Observations  # noqa: E402
from dose.organ import dose_coefficient_Gy_per_MBq_h  # noqa: E402
from imaging.virtual_study import VirtualScan, write_virtual_study  # noqa: E402
from pbpk.administration import Administration  # noqa: E402
from pbpk.parameters import Covariates  # noqa: E402
from twin.body import Body, body_of  # noqa: E402
from twin.deposit import marrow_photons, mass_g  # noqa: E402
from twin.forecast import activities, states, tia_MBq_h  # noqa: E402
from twin.patient import Study  # noqa: E402
from twin.study import split_tracer  # noqa: E402
from twin.study_writing import write_study  # noqa: E402

FIRST, LATER = "study", "study_later"
VIRTUAL_PATIENT = 38
"""Key of the truth at seed 0: kidneys near 1.1 Gy/GBq, high in the published range, so that they bind the plan."""
TRUE_REGIONS = ("kidney_left", "kidney_right", "kidneys", "liver", "spleen", "parotid", "submandibular", "red_marrow")


def write_demo(folder, seed: int = 0) -> Path:
    """Write the virtual patient's two DICOM studies, FIRST (PET and cycle 1) and LATER (cycle 2), into `folder`.

    Returns the first study's folder.

    Raises:
        ImageError: one of the two folders already holds files.
        InputError: the folder cannot be written.
    """
    chosen = tomllib.loads(files("twin").joinpath("data", "demo.toml").read_text(encoding="utf-8"))
    study = _study(chosen)
    truth = _truth(study, seed)
    for name, cycles in ((FIRST, (0, 1)), (LATER, (2,))):
        _write(Path(folder) / name, study, chosen, truth, cycles, seed)
    return Path(folder) / FIRST


def _study(chosen) -> Study:
    drug, nuclide = split_tracer(chosen["tracer"], "demo.toml")
    fields = ("cycle", "time_h", "activity_MBq", "amount_nmol", "infusion_h")
    given = tuple(
        Administration(*(a[f] for f in fields), *split_tracer(a["tracer"], "demo.toml"))
        for a in chosen["administrations"]
    )
    return Study(
        id=chosen["id"],
        covariates=Covariates.of(**chosen["covariates"]),
        ligand=drug,
        nuclide=nuclide,
        administrations=given,
        observations=Observations.empty(),
        volumes_mL=dict(chosen["volumes_mL"]),
        source="virtual patient (twin/data/demo.toml), truth known",
    )


def _truth(study: Study, seed: int) -> dict[int, np.ndarray]:
    """True log offsets [parameter] of each cycle: a prior draw, then a random walk of the receptor densities."""
    rng = np.random.default_rng([VIRTUAL_PATIENT + seed, 177])
    prior = body_of(study).prior
    offsets = rng.multivariate_normal(np.zeros(len(prior.names)), prior.covariance, method="eigh")
    truth = {}
    for a in sorted(study.administrations, key=lambda a: a.cycle):
        if a.cycle > 1:
            offsets = offsets + [_density_drift(name) * rng.standard_normal() for name in prior.names]
        truth[a.cycle] = offsets
    return truth


def _density_drift(name: str) -> float:
    kind, _, organ = name.partition("/")
    return drift_log_sd(organ, 1) if kind == "receptor_density" else 0.0


def _write(folder: Path, study: Study, chosen, truth, cycles, seed: int):
    mine = tuple(a for a in study.administrations if a.cycle in cycles)
    part = replace(study, administrations=mine, truth_Gy=_true_doses(study, truth, cycles))
    body = body_of(study)
    scans = [scan for a in mine for scan in _scans(body, a, chosen, truth[a.cycle])]
    placed = {name: v for name, v in study.volumes_mL.items() if name != "tumour_rest"}
    known = study.covariates
    key = 1000 * seed + min(cycles)
    write_virtual_study(folder / "dicom", scans, placed, known.weight_kg, known.height_m, key, sex=known.sex)
    write_study(part, folder)
    (folder / "measurements.csv").unlink()
    toml = (folder / "patient.toml").read_text(encoding="utf-8")
    (folder / "patient.toml").write_text('images = "dicom"\n' + toml, encoding="utf-8")


def _scans(body: Body, administration: Administration, chosen, offsets):
    """The scans of one cycle with the true activity of each region at its time."""
    entry = next(a for a in chosen["administrations"] if a["cycle"] == administration.cycle)
    course = next(c for c in body.courses if c.has(administration.cycle))
    regions = [r for r in chosen["volumes_mL"] if r != "tumour_rest"]
    everything = np.ones(len(body.organs) + 3)
    weights = np.stack([*(pool_weights(r, body.organs, frozenset()) for r in regions), everything])
    minutes = np.array([course.minute(administration.cycle, t) for t in entry["scans_h"]])
    true = activities(body, body.prior.names, course, minutes, weights, offsets[None])[..., 0]
    start = chosen["first_injection"] + timedelta(hours=administration.time_h)
    modality = "PET" if administration.cycle == 0 else "SPECT"
    for k, time_h in enumerate(entry["scans_h"]):
        activity = dict(zip(regions, true[:-1, k], strict=True))
        activity["remainder"] = true[-1, k] - sum(activity.values())
        yield VirtualScan(modality, administration.nuclide, administration.activity_MBq, start, time_h, activity)


def _true_doses(study: Study, truth, cycles) -> dict[tuple[int, str], float]:
    """Absorbed dose of each region in each therapy cycle of `cycles`, each cycle solved on its own."""
    doses = {}
    for a in study.administrations:
        if a.cycle == 0 or a.cycle not in cycles:
            continue
        body = body_of(study, (replace(a, time_h=0.0),))
        course = body.first
        found = states(course, body.prior.names, truth[a.cycle][None], np.array([course.end_min]))
        tia = tia_MBq_h(found, course)[:, 0, 0]
        tumours = [r for r in study.volumes_mL if r.startswith("tumour_")]
        for region in (*TRUE_REGIONS, *tumours):
            s = dose_coefficient_Gy_per_MBq_h(region, a.nuclide, mass_g(region, body)).total
            dose = s * float(pool_weights(region, body.organs, frozenset()) @ tia)
            doses[a.cycle, region] = dose + (
                marrow_photons(a.nuclide) * float(tia.sum()) if region == "red_marrow" else 0
            )
    return doses
