"""S values of the stylised adults for any radionuclide: dose to each target per activity and time in each source.

MIRD schema (pamphlet 21): S = sum over emissions of energy times specific absorbed fraction. Photons, and the
bremsstrahlung that leaves a source: `dose.smatrix.saf`. Electrons: an organ irradiates itself as spheres of its mass do
(`dose.organ`), contents give the inside of their wall half of their equilibrium dose (ICRP 30), marrow and bone
exchange electrons along chords (`dose.smatrix.spongiosa`), the whole body's are absorbed where they arise. Alphas and
recoils stay in their source, or cross from bone to marrow and surfaces by the same chords; they are kept apart and
unweighted. Progeny decays with its parent unless `chain` is False. Electron cross-dose between organs that touch is
left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
from jaxtyping import Float

from dose.errors import InputError, describe, nearest
from dose.nuclides import radionuclide
from dose.organ import ChainMember, equilibrium_chain
from dose.provenance import constant
from dose.smatrix.groups import expanded, mass_factors, region_name, regrouped, remainder
from dose.smatrix.organ_dose import OrganDose, drawn, summed
from dose.smatrix.parts import PARTS, member_parts
from dose.smatrix.saf import SafTable, reference_masses_g, reference_saf

MASS_SD = "smatrix_mass_relative_sd"


@dataclass(frozen=True, eq=False)
class SMatrix:
    """S in Gy/(MBq h): `alpha`, `electron` and `photon` [target, source], physical dose.

    `masses_g` are those of the regions; `mass_sd` [target] the relative sd of each target's mass, `model_sd` [target,
    source] that of all else: statistics of the Monte Carlo, model of the absorbed fractions. `method` says how it was
    made. `nuclide` may be empty for a matrix that was read from a file.
    """

    nuclide: str
    sex: str
    targets: tuple[str, ...]
    sources: tuple[str, ...]
    alpha: Float[np.ndarray, "target source"]
    electron: Float[np.ndarray, "target source"]
    photon: Float[np.ndarray, "target source"]
    masses_g: Mapping[str, float]
    mass_sd: Float[np.ndarray, " target"]
    model_sd: Float[np.ndarray, "target source"]
    method: str
    chain: bool = True

    @property
    def total(self) -> Float[np.ndarray, "target source"]:
        """Physical S in Gy/(MBq h)."""
        return self.alpha + self.electron + self.photon

    @property
    def relative_sd(self) -> Float[np.ndarray, "target source"]:
        """Relative sd of the total: the mass of the target (of its own dose only) and the model."""
        own = np.array([[t == s for s in self.sources] for t in self.targets])
        return np.hypot(self.model_sd, np.where(own, self.mass_sd[:, None], 0.0))

    def weighted(self, alpha_rbe: float) -> Float[np.ndarray, "target source"]:
        """RBE-weighted S in Gy(RBE)/(MBq h); the caller names the alpha RBE."""
        return alpha_rbe * self.alpha + self.electron + self.photon

    def target(self, name: str) -> int:
        """Row of a target, in any spelling that `dose.region` reads.

        Raises:
            InputError: not a target of this matrix.
        """
        return _position("target", name, self.targets)

    def source(self, name: str) -> int:
        """Column of a source.

        Raises:
            InputError: not a source of this matrix.
        """
        return _position("source", name, self.sources)

    def value(self, target: str, source: str) -> float:
        """Total S in Gy/(MBq h) of one pair."""
        return float(self.total[self.target(target), self.source(source)])

    def scaled(self, masses_g: Mapping[str, float], mass_relative_sd: float = 0.05) -> SMatrix:
        """The matrix for a patient's masses; regions that are not named keep theirs.

        A region's dose to itself: electrons as spheres of both masses, so nearly 1/m, photons by the spheres' absorbed
        fractions, about m^(-2/3), alphas 1/m. Contents and the whole body: the same for what they give. Cross-dose of
        photons is unchanged but to the whole body (1/m). `mass_relative_sd` is that of the masses given.

        Raises:
            InputError: unknown region, a mass that is not above 0, a matrix without nuclide.
        """
        known = expanded(masses_g, self.masses_g)
        parts = mass_factors(self, known)
        scale = lambda word: getattr(self, word) * parts[word]
        spread = [mass_relative_sd if t in known else sd for t, sd in zip(self.targets, self.mass_sd)]
        named = ", ".join(f"{name} {mass:.4g} g" for name, mass in known.items())
        made = replace(self, alpha=scale("alpha"), electron=scale("electron"), photon=scale("photon"),
                       masses_g={**self.masses_g, **known}, mass_sd=np.array(spread),
                       method=f"{self.method}; masses {named}")  # fmt: skip
        return regrouped(made)

    def remainder(self, named: tuple[str, ...]) -> tuple[dict[str, np.ndarray], float]:
        """S [target] of what is left of the body beside the named sources, by part, and its mass in g.

        S = (S_body m_body - sum S_i m_i) / (m_body - sum m_i), for activity spread by mass over the remainder (MIRD 11;
        Coffey and Watson, Med Phys 1979;6:307; Cloutier et al., J Nucl Med 1973;14:53).

        Raises:
            InputError: no whole body among the sources, or sources that leave nothing.
        """
        return remainder(self, tuple(self.sources[self.source(name)] for name in named))

    def dose(self, tia_MBq_h: Mapping[str, float]) -> OrganDose:
        """Absorbed dose from time-integrated activities by source; "remainder" is what is in none of the others.

        Raises:
            InputError: unknown source, one that is counted twice, a TIA below zero or not finite.
        """
        return summed(self, tia_MBq_h)

    def draws(self, n: int, seed: int = 0) -> Float[np.ndarray, "draw target source"]:
        """Draws of the total S: log-normal factors for each target's mass, each part's model and each pair."""
        rng = np.random.default_rng(seed)
        lognormal = lambda sd, shape: np.exp(np.log1p(sd**2) ** 0.5 * rng.standard_normal(shape) - np.log1p(sd**2) / 2)
        own = np.array([[t == s for s in self.sources] for t in self.targets])
        mass = lognormal(self.mass_sd, (n, len(self.targets)))[:, :, None]
        pair = lognormal(self.model_sd, (n, *self.model_sd.shape))
        return self.total * pair * np.where(own, mass, 1.0)

    def dose_draws(
        self, tia_MBq_h: Mapping[str, float | np.ndarray], n: int = 1000, seed: int = 0
    ) -> Float[np.ndarray, "draw target"]:
        """Draws of the absorbed dose in Gy: the S values as `draws` has them, times activities as in `dose`.

        A source's activity is a number or an array of `n` draws of it, whose correlations are kept by their order.

        Raises:
            InputError: as `dose`, or draws of another number.
        """
        return drawn(self, tia_MBq_h, n, seed)


def _position(field: str, name: str, names: tuple[str, ...]) -> int:
    word = region_name(name)
    if word not in names:
        hint = nearest(word, names)
        raise InputError(describe(field, repr(name), hint or "one of " + ", ".join(names), "correct the name"))
    return names.index(word)


@cache
def smatrix(nuclide: str, sex: str = "male", chain: bool = True) -> SMatrix:
    """The S matrix of the reference adult.

    Raises:
        InputError: unknown nuclide or sex.
    """
    return smatrix_from(reference_saf(sex), nuclide, chain)


def smatrix_from(table: SafTable, nuclide: str, chain: bool = True) -> SMatrix:
    """As `smatrix`, with photon fractions of your own (another phantom, a patient's Monte Carlo)."""
    parent = radionuclide(nuclide)
    followed = equilibrium_chain(parent.name) if chain else (ChainMember(parent, 1.0),)
    masses = reference_masses_g(table.sex)
    made = member_parts(table, followed, masses)
    sources, targets = made.sources, made.targets
    spread = np.full(len(targets), constant("dose", MASS_SD))
    text = "own Monte Carlo on the stylised adult, ICRP-107 emissions; electron cross-dose between organs left out"
    if len(followed) > 1:
        text += f"; {', '.join(f'{m.nuclide.name} {m.decays:.3g}' for m in followed[1:])} decays per parent decay"
    matrix = SMatrix(parent.name, table.sex, targets, sources, *(made.parts[word] for word in PARTS), masses, spread,
                     made.model_sd, text, chain)  # fmt: skip
    return regrouped(matrix)
