"""Scores of a registration on a simulated pair whose displacement is known."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from scipy.ndimage import map_coordinates

from dose.learning.cases import cases_folder, kept
from dose.learning.recipe import Case, Config
from dose.provenance import load_table
from imaging.geometry import Volume
from imaging.networks import warp_cases
from imaging.networks.warp import RECIPE, descended_registration, learned_registration
from imaging.registration import DisplacementField, SpatialTransform, register
from imaging.registration.field import grid_points_mm
from imaging.registration.pairwise import Registration
from imaging.registration.settings import Settings
from imaging.series import ImageSeries

NOISE_HU, NOISE_EMISSION = 15.0, 0.1
EDGE_mm = 30.0
"""Lesions nearer to an end of the field along the body are left out of what is said of volumes and activities."""

OFFSET_mm, OFFSET_deg = 12.0, 3.0
"""Sd of the shift along each axis and of the turn about it, before the rigid step."""

METHODS = ("nothing", "rigid", "classical", "descent", "network")
"""Descent is the refinement of the network's answer begun at rest, without a network."""


def results_folder() -> Path:
    """Where what the classical methods gave is kept."""
    settings = {row["name"]: row["value"] for row in load_table("imaging", "registration.csv")} | asdict(Settings())
    pairs = [NOISE_HU, NOISE_EMISSION, OFFSET_mm, OFFSET_deg]
    return cases_folder("warp_classical", [dict(RECIPE.config().data), settings, pairs])


def series(volume: Volume, modality: str) -> ImageSeries:
    return ImageSeries(volume, modality, "HU" if modality == "CT" else "Bq/mL", "", "")


@dataclass
class Pair:
    """Images of one case, the truth, and the transform of every method by name."""

    fixed: ImageSeries
    ct: ImageSeries
    emission: ImageSeries
    truth: SpatialTransform
    labels: np.ndarray
    moving_labels: np.ndarray
    names: tuple[str, ...]
    found: dict[str, SpatialTransform] = field(default_factory=dict)
    sd_mm: Volume | None = None

    def mask(self, prefix: str) -> np.ndarray:
        """Fixed voxels of labels whose name begins so."""
        return np.isin(self.labels, [k for k, name in enumerate(self.names) if name.startswith(prefix)])


def pair(case: Case, seed: int, noise_HU: float = NOISE_HU) -> Pair:
    """Pose 1 as fixed, pose 0 as moving, this turned and shifted as a whole, both noisy."""
    random = np.random.default_rng([seed, 11])
    affine = case["affine"]
    ct = [case["ct"][k] + noise_HU * random.standard_normal(case["ct"][k].shape) for k in (1, 0)]
    emission = warp_cases.noisy(case["emission"][0].astype(np.float32), NOISE_EMISSION, random)
    middle = affine[:3, :3] @ (0.5 * (np.array(ct[0].shape[::-1]) - 1)) + affine[:3, 3]
    rigid = SpatialTransform.rigid(random.normal(0, OFFSET_deg, 3), random.normal(0, OFFSET_mm, 3), middle)
    there = rigid.affine @ affine
    u = DisplacementField(np.moveaxis(case["u_mm"].astype(np.float32), 0, -1), affine)
    return Pair(
        series(Volume(ct[0], affine), "CT"),
        series(Volume(ct[1], there), "CT"),
        series(Volume(emission, there), "SPECT"),
        SpatialTransform(rigid.affine, u),
        case["labels"][1],
        case["labels"][0],
        tuple(json.loads(str(case["names"]))),
    )


def classical(pair: Pair, name: str) -> dict[str, np.ndarray]:
    """As `aligned`; kept on disk."""
    return dict(kept(results_folder(), name, lambda: aligned(pair)))


def aligned(pair: Pair) -> dict[str, np.ndarray]:
    """Transforms and seconds of the rigid step and of affine and B-spline after it."""
    begin = time.perf_counter()
    rigid = register(pair.fixed, pair.ct, stages=("rigid",))
    middle = time.perf_counter()
    done = register(pair.fixed, pair.ct, stages=("affine", "bspline"), start=rigid.transform)
    seconds = np.array([middle - begin, time.perf_counter() - middle])
    kept_ = np.array([stage.kept for stage in done.stages])
    bent = done.transform.field
    u = {} if bent is None else {"u": bent.array_mm.astype(np.float32), "grid": bent.affine}
    return {"rigid": rigid.transform.affine, "affine": done.transform.affine, "seconds": seconds, "kept": kept_} | u


def registered(case: Case, name: str) -> Pair:
    """A pair of CTs with the transforms of all methods; its name ends with its seed."""
    made = pair(case, int(name.split("-")[-1]))
    old = classical(made, name)
    bent = DisplacementField(old["u"], old["grid"]) if "u" in old else None
    rigid = SpatialTransform(old["rigid"])
    made.found = {"nothing": SpatialTransform.identity(), "rigid": rigid}
    made.found["classical"] = SpatialTransform(old["affine"], bent)
    start = Registration(rigid, (), (), "mutual_information", "")
    more = {"emission": made.emission, "start": start}
    done = learned_registration(made.fixed, made.ct, method="network", **more)
    made.found["network"], made.sd_mm = done.transform, done.sd_mm
    made.found["descent"] = descended_registration(made.fixed, made.ct, **more).transform
    return made


def scores(made: Pair, method: str) -> dict[str, float]:
    """Figures of one method on one pair, all of them wanted small but Dice."""
    fixed, there = made.fixed.volume, made.ct.volume
    points = grid_points_mm(fixed.array.shape, fixed.affine)
    transform = made.found[method]
    at, true_at = (there.to_index(t.apply(points))[..., ::-1] for t in (transform, made.truth))
    error = np.linalg.norm((at - true_at)[..., ::-1] * there.spacing_mm, axis=-1)
    organs = [k for k, name in enumerate(made.names) if name in warp_cases.ORGANS and (made.labels == k).any()]
    lesions = [k for k, name in enumerate(made.names) if name.startswith("tumour_")]
    jacobian = transform.jacobian(fixed)
    out = {
        "TRE of organs in mm": _mean(error[made.labels == k].mean() for k in organs),
        "TRE of lesions in mm": _mean(error[made.labels == k].mean() for k in lesions if (made.labels == k).any()),
        "TRE of the body in mm": float(error[made.labels > 0].mean()),
        "folded share": float((jacobian <= 0).mean()),
        "least Jacobian": float(jacobian.min()),
    }
    moved = map_coordinates(made.moving_labels, np.moveaxis(at, -1, 0), order=0, mode="nearest")
    true = map_coordinates(made.moving_labels, np.moveaxis(true_at, -1, 0), order=0, mode="nearest")
    out["Dice of organs"] = _mean(
        2 * ((moved == k) & (true == k)).sum() / ((moved == k).sum() + (true == k).sum()) for k in organs
    )
    out["volume change of organs"] = _mean(abs((moved == k).sum() / (true == k).sum() - 1) for k in organs)
    emission = made.emission.volume.array
    mean, true_mean = (map_coordinates(emission, np.moveaxis(p, -1, 0), order=1) for p in (at, true_at))
    out["dose: organ means carried"] = _mean(
        abs(mean[made.labels == k].mean() / true_mean[made.labels == k].mean() - 1) for k in organs
    )
    return out | _lesions(made, lesions, at, true_at, jacobian)


def _lesions(made: Pair, lesions, at, true_at, jacobian) -> dict[str, float]:
    """Volume and activity of whole lesions carried along, against those by the true map and those before."""
    emission = made.emission.volume.array
    volume, activity, kept_ = [], [], []
    for k in lesions:
        mask = (made.moving_labels == k).astype(np.float32)
        if not mask.any() or _near_an_end(mask, made.ct.volume):
            continue
        hot = mask * emission
        own, true = (map_coordinates(mask, np.moveaxis(p, -1, 0), order=1).sum() for p in (at, true_at))
        carried = map_coordinates(hot, np.moveaxis(at, -1, 0), order=1)
        volume.append(abs(own / true - 1))
        activity.append(abs(carried.sum() / hot.sum() - 1))
        kept_.append(abs((carried * jacobian).sum() / hot.sum() - 1))
    return {
        "volume change of lesions": _mean(volume),
        "activity change of lesions": _mean(activity),
        "activity change of lesions with Jacobian": _mean(kept_),
    }


def _near_an_end(mask: np.ndarray, volume: Volume) -> bool:
    """Whether the field may cut a lesion in the fixed image."""
    planes, reach = np.flatnonzero(mask.any(axis=(1, 2))), EDGE_mm / volume.spacing_mm[2]
    return bool(planes[0] < reach or planes[-1] >= len(mask) - reach)


def _mean(values) -> float:
    found = list(values)
    return float(np.mean(found)) if found else float("nan")


def scored(made: Pair) -> dict[str, dict[str, float]]:
    """Scores by method of a pair."""
    return {method: scores(made, method) for method in METHODS}


def simulated(config: Config, first: int, number: int, name: str = "test") -> dict[str, Case]:
    """Cases of a configuration from a seed on."""
    folder = cases_folder(RECIPE.name, dict(config.data))
    seeds = range(first, first + number)
    return {f"{name}-{s}": kept(folder, str(s), lambda s=s: warp_cases.case(s, config)) for s in seeds}
