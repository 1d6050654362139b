"""A map of time-integrated activity from one SPECT: by network, or by rules on the scan's hour.

Regions that are named get the factor of the kinetic model's cohort for their class (mean curves as Jackson et al. 2020,
moved by what the region's own height tells of its clearance), all else that of Hänscheid et al. 2018, 2 t/ln 2. The
network sees this answer beside activity, CT, hour, half-life, tracer, blur and regions, and tells by voxel what to add
to its logarithm; it learned on virtual patients of the kinetic model (`twin.virtual_tia`). Noise and blur of the scan
stay in the map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float

from dose.errors import InputError, describe
from dose.learning.cases import Progress, silent
from dose.learning.ranges import Choice, choose, positive
from dose.learning.recipe import Case, Config, Recipe
from dose.learning.weights import found_weights
from dose.nuclides import radionuclide
from imaging.geometry import Volume
from imaging.networks.tia_batches import scan_of, single_batch, spect
from imaging.networks.tia_checks import checked, checked_mass, mask_array, masks_on, within_administered
from imaging.networks.tia_inputs import limits_of, seen_features, spect_channels, told, without_class
from imaging.networks.tia_model import loss, network
from imaging.networks.tia_rules import by_rules

NAME = "tia_single"
MOST_REGIONS = 40


@dataclass(frozen=True)
class SingleScanTIA:
    """Time-integrated activity of each voxel.

    Attributes:
        volume: MBq h/mL, to the end of time.
        log_sd: of the logarithm of the factor on activity, [z, y, x]: the network's own second output, or the spread of
            the cohort about the rule. It holds the doubt about clearance, not the noise of the scan.
        choice: the method, and why not the network; and regions without a class, which get 2 t/ln 2.
    """

    volume: Volume
    log_sd: Float[np.ndarray, "z y x"]
    choice: Choice

    def of(self, mask: np.ndarray | Volume) -> tuple[float, float]:
        """MBq h of a mask [z, y, x], and its relative sd: voxels of a region share their doubt, so theirs is averaged.

        Raises:
            ImageError: a mask of another grid, or without a voxel.
        """
        inside = mask_array(mask, self.volume, "mask")
        weights = np.maximum(self.volume.array[inside], 0)
        whole = float(self.volume.array[inside].sum(dtype=float) * self.volume.voxel_mL)
        return whole, float((weights * self.log_sd[inside]).sum() / max(float(weights.sum()), 1e-30))


def tia_from_single_scan(
    volume: Volume,
    ct: Volume,
    *,
    time_h: float,
    administered_MBq: float,
    mass_g: float,
    tracer: str,
    fwhm_mm: float,
    nuclide: str = "177Lu",
    regions: Mapping[str, np.ndarray | Volume] | None = None,
    method: str = "auto",
    weights: Path | None = None,
    progress: Progress = silent,
) -> SingleScanTIA:
    """The map of one quantitative SPECT.

    Args:
        volume: Bq/mL at the hour of the scan, not corrected for decay to the administration.
        ct: HU on the same grid.
        time_h: of the scan after the administration.
        mass_g: of the patient.
        tracer: "psma" or "sstr".
        fwhm_mm: resolution of the SPECT.
        regions: masks by name as in `dose.regions`, arrays [z, y, x] or volumes: kidneys, liver, spleen, glands and
            tumours; others get 2 t/ln 2. Voxels above one half are within. The network was trained with them; without
            any, "auto" takes the rule 2 t/ln 2.
        method: "auto", "network" or "classical".
        weights: folder of a user's own.

    Raises:
        InputError: what is no volume, numbers not above 0, a mass of no patient, an unknown tracer, nuclide or method,
            no activity, more activity than was administered.
        ImageError: an image too small, a CT or mask on another grid, a mask without a voxel.
    """
    checked(volume, ct, tracer, "SPECT")
    positive(time_h=time_h, administered_MBq=administered_MBq, fwhm_mm=fwhm_mm)
    checked_mass(mass_g)
    within_administered(volume, administered_MBq, time_h, radionuclide(nuclide))
    half = radionuclide(nuclide).half_life_h
    suv = (volume.array / (administered_MBq * 1e6) * mass_g).astype(np.float32)
    trained, why = found_weights(NETWORK, weights)
    given = tracer, time_h, half
    blur = {"fwhm_mm": fwhm_mm, "spacing_mm": volume.spacing_mm[::-1]}
    masks = masks_on(regions, volume)
    log, sd = by_rules(suv, *given, masks, **blur)
    known = seen_features(volume, _now(suv, time_h, half), ct.array, fwhm_mm) | {"time_h": time_h, "half_life_h": half}
    known |= {"regions": float(len(told(masks)))}
    limits = trained.limits if trained else None
    choice = choose(method, limits, known, default=bool(trained and trained.default), why=why)
    if choice.method == "network" and trained is not None:
        channels = spect_channels(suv, ct.array, told(masks), log, *given, **blur)
        log, sd = by_network(trained.members, channels, log, progress)
    choice = replace(choice, reasons=(*choice.reasons, *without_class(masks, "2 t/ln 2, as all else")))
    return SingleScanTIA(volume.with_array(volume.array * 1e-6 * np.exp(log)), sd, choice)


@torch.no_grad()
def by_network(members, channels: np.ndarray, log_rule, progress: Progress):
    """Logarithm of the map, and its sd, [z, y, x] each: the members' mean added to the classical answer."""
    x = torch.from_numpy(channels)[None]
    progress(0, 1, "network")
    found = torch.stack([member(x)[0] for member in members]).mean(dim=0).numpy()
    progress(1, 1, "network")
    return log_rule + found[0], found[1]


def _now(suv, time_h: float, half_life_h: float) -> np.ndarray:
    """SUV corrected for decay."""
    return suv * np.exp(np.log(2) * time_h / half_life_h)


def limits(cases: Sequence[Case], config: Config) -> dict[str, tuple[float, float]]:
    """Ranges of the features of simulated scans of the training cases."""
    seen, random = [], np.random.default_rng(0)
    for case in cases:
        scan = scan_of(config.training, random)
        taken = spect(case, int(random.integers(len(case["tia"]))), scan, random)
        image = Volume(taken.seen, np.diag([*case["spacing_mm"], 1.0]))
        suv = _now(taken.seen, scan.time_h, scan.half_life_h)
        seen.append(seen_features(image, suv, case["hu"].astype(np.float32), scan.fwhm_mm))
    drawn = {name: config.training[name] for name in ("time_h", "half_life_h", "fwhm_mm")}
    return limits_of(seen, float(config.data["voxel_mm"]), drawn) | {"regions": (1.0, float(MOST_REGIONS))}


def no_case(seed: int, config: Config) -> Case:
    """Raises an InputError: patients come from the kinetic model, which this package does not know."""
    do = "train by `theratwin train`, or twin.network_recipes"
    raise InputError(describe("recipe", "one without cases", "that of twin.network_recipes", do))


NETWORK = Recipe(NAME, "imaging.networks", no_case, single_batch, partial(network, NAME), loss, limits)
"""The network but for its cases; with them it is `twin.network_recipes.TIA_SINGLE`."""
