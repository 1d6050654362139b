"""Population models fitted to images: 177Lu-PSMA-617 and 68Ga/177Lu-HA-DOTATATE (Siebinga 2023).

Both were published for decay-corrected amounts. Here those are the pools without decay, and the label follows them with
decay, its uptake slowed by the same occupancy; for one administration label(t) is exactly the published amount times
exp(-lambda t). Values, with between-patient variation: pbpk/data/poppk.csv.
"""

from __future__ import annotations

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from dose.errors import InputError, describe
from dose.nuclides import Radionuclide, radionuclide
from pbpk.abstract import AbstractKineticModel, Pool, placed
from pbpk.models.tables import MIN_PER_H, log_sd, positive, typical, varying

TABLE = "poppk.csv"
PSMA_TISSUES = ("salivary", "kidneys", "liver", "tumour", "other")
SSTR_TISSUES = ("spleen", "kidneys", "tumour", "sstr_organs", "other")
SSTR_SATURABLE = SSTR_TISSUES[:4]
HA_DOTATATE = ("68Ga-HA-DOTATATE", "177Lu-HA-DOTATATE")
Deviations = dict[str, float]
"""Standard normal deviates of a patient by parameter; one left out is 0, the typical value."""


def draw(model: str, key: Array) -> Deviations:
    """A patient drawn from a population model ("PSMA-617" or one of `HA_DOTATATE`), to give to `of`."""
    names = varying(model)
    return dict(zip(names, jax.random.normal(key, (len(names),)).tolist(), strict=True))


def _patient(model: str, deviations: Deviations | None):
    """The value of each parameter in this patient, as a function of its name."""
    deviations = deviations or {}
    unknown = [name for name in deviations if name not in varying(model)]
    if unknown:
        found, expected = repr(unknown[0]), "one of " + ", ".join(varying(model))
        raise InputError(describe(f"deviations of {model}", found, expected, "leave the others out"))
    spread = lambda name: jnp.exp(log_sd(model, name) * deviations[name]) if name in deviations else 1.0
    return lambda name: jnp.asarray(typical(model, name, TABLE) * spread(name))


class PSMA617(AbstractKineticModel):
    """177Lu-PSMA-617 in low-volume metastatic prostate cancer, n = 10 (CPT PSP 2023;12:1060).

    Blood exchanges with each tissue; the salivary glands' uptake falls as (1 - A/Bmax) with the activity A they would
    hold without decay, which stands for ligand. Rates per min, arrays in the order of `PSMA_TISSUES`.
    """

    k_urine_per_min: Float[Array, ""]
    k_in_per_min: Float[Array, " tissue"]
    k_out_per_min: Float[Array, " tissue"]
    salivary_capacity_nmol: Float[Array, ""]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (
        Pool("all_blood", "amount"), *(Pool(f"all_{tissue}", "amount") for tissue in PSMA_TISSUES),
        Pool("blood"), *(Pool(tissue) for tissue in PSMA_TISSUES), Pool("urine", "sink"),
    )  # fmt: skip
    regions = ("blood", "salivary", "kidneys", "liver", "tumour_1", "remainder")

    @classmethod
    def of(
        cls,
        *,
        creatinine_clearance_mL_min: float | None = None,
        tumour_mL: float | None = None,
        deviations: Deviations | None = None,
    ) -> PSMA617:
        """A patient; clearance scales excretion in proportion, total tumour volume the tumour's uptake as a power.

        Raises:
            InputError: a covariate not above 0, deviations of parameters that do not vary.
        """
        value = _patient("PSMA-617", deviations)
        usual = {name: float(value(name)) for name in ("creatinine_clearance", "tumour_volume")}
        clearance = (
            usual["creatinine_clearance"] if creatinine_clearance_mL_min is None else creatinine_clearance_mL_min
        )
        volume = usual["tumour_volume"] if tumour_mL is None else tumour_mL
        kidney_function = positive("creatinine_clearance_mL_min", clearance) / usual["creatinine_clearance"]
        size = (positive("tumour_mL", volume) / usual["tumour_volume"]) ** value("tumour_volume_exponent")
        nuclide = radionuclide("177Lu")
        k_in = jnp.stack([value(f"k_in_{tissue}") * (size if tissue == "tumour" else 1.0) for tissue in PSMA_TISSUES])
        return cls(
            k_urine_per_min=value("k_urine") * kidney_function / MIN_PER_H,
            k_in_per_min=k_in / MIN_PER_H,
            k_out_per_min=jnp.stack([value(f"k_out_{tissue}") for tissue in PSMA_TISSUES]) / MIN_PER_H,
            salivary_capacity_nmol=value("Bmax_salivary") / nuclide.activity_MBq_per_nmol,
            nuclide=nuclide,
        )

    def weights(self):
        same = {tissue: tissue for tissue in PSMA_TISSUES[:3]}
        return placed(self, blood="blood", **same, tumour="tumour_1", other="remainder")

    def entry(self, hot_nmol, total_nmol):
        """Bmax was fitted in MBq, so the pools without decay take the label given, whatever the ligand."""
        size = len(PSMA_TISSUES) + 1
        return jnp.zeros(len(self.pools)).at[0].set(hot_nmol).at[size].set(hot_nmol)

    def derivative(self, t_min, y):
        size = len(PSMA_TISSUES) + 1
        everything, label = y[:size], y[size : 2 * size]
        available = jnp.ones(len(PSMA_TISSUES)).at[0].set(1 - everything[1] / self.salivary_capacity_nmol)
        d_all, _ = self._species(everything, available)
        d_label, urine = self._species(label, available)
        decayed = self.nuclide.decay_constant_per_min * y[size:]
        return jnp.concatenate([d_all, jnp.append(d_label, urine) - decayed])

    def _species(self, x, available):
        blood, tissues = x[0], x[1:]
        into = self.k_in_per_min * available * blood - self.k_out_per_min * tissues
        urine = self.k_urine_per_min * blood
        return jnp.append(-urine - jnp.sum(into), into), urine


class HADotatate(AbstractKineticModel):
    """68Ga- or 177Lu-HA-DOTATATE in neuroendocrine tumours, n = 9 (EJNMMI Phys 2023;10:48).

    Unbound peptide goes from blood to tissues and not back; uptake falls as (1 - X/Bmax) with the peptide X there, and
    tissues degrade it. Lungs, pancreas, stomach, thyroid and liver are one group, "sstr_organs", reported in the
    remainder with all other tissue. Arrays in the order of `SSTR_TISSUES`, capacities in that of `SSTR_SATURABLE`.
    """

    k_urine_per_min: Float[Array, ""]
    k_in_per_min: Float[Array, " tissue"]
    k_degradation_per_min: Float[Array, " tissue"]
    capacity_nmol: Float[Array, " saturable"]
    nuclide: Radionuclide = eqx.field(static=True)

    pools = (
        Pool("all_blood", "amount"), *(Pool(f"all_{tissue}", "amount") for tissue in SSTR_TISSUES),
        Pool("blood"), *(Pool(tissue) for tissue in SSTR_TISSUES), Pool("urine", "sink"), Pool("degraded", "sink"),
    )  # fmt: skip
    regions = ("blood", "spleen", "kidneys", "tumour_1", "remainder")

    @classmethod
    def of(
        cls,
        agent: str,
        *,
        target_mL: float | None = None,
        total_mL: float | None = None,
        deviations: Deviations | None = None,
    ) -> HADotatate:
        """A patient; `target_mL` are the lesions that the tumour pool stands for, `total_mL` all lesions.

        Raises:
            InputError: an agent that is not one of `HA_DOTATATE`, volumes not above 0 or the part above the whole.
        """
        if agent not in HA_DOTATATE:
            raise InputError(describe("agent", repr(agent), f"one of {HA_DOTATATE}", "correct the name"))
        common = lambda name: typical("HA-DOTATATE", name, TABLE)
        target = common("target_volume") if target_mL is None else target_mL
        total = max(common("total_volume"), target) if total_mL is None else total_mL
        if total < target:
            found, do = f"{total:g} mL", "count the target lesions in the total"
            raise InputError(describe("total_mL", found, f"at least target_mL, {target:g} mL", do))
        value, litres = _patient(agent, deviations), positive("target_mL", target) / 1000
        effects = {
            "tumour": (target / common("target_volume")) ** value("tumour_volume_exponent"),
            "spleen": jnp.exp(-common("sink_coefficient") * total / 1000),
        }
        k_in = jnp.stack([value(f"k_in_{tissue}") * effects.get(tissue, 1.0) for tissue in SSTR_TISSUES])
        lost = [value("k_degradation_tumour" if t == "tumour" else "k_degradation") for t in SSTR_TISSUES]
        volumes = [litres if tissue == "tumour" else common(f"volume_{tissue}") for tissue in SSTR_SATURABLE]
        return cls(
            k_urine_per_min=value("k_urine") / MIN_PER_H,
            k_in_per_min=value("unbound") * k_in / MIN_PER_H,
            k_degradation_per_min=jnp.stack(lost) / MIN_PER_H,
            capacity_nmol=jnp.stack([value(f"Bmax_{t}") * v for t, v in zip(SSTR_SATURABLE, volumes, strict=True)]),
            nuclide=radionuclide(agent.split("-")[0]),
        )

    def weights(self):
        rest = dict.fromkeys(("sstr_organs", "other"), "remainder")
        return placed(self, blood="blood", spleen="spleen", kidneys="kidneys", tumour="tumour_1", **rest)

    def entry(self, hot_nmol, total_nmol):
        size = len(SSTR_TISSUES) + 1
        return jnp.zeros(len(self.pools)).at[0].set(total_nmol).at[size].set(hot_nmol)

    def derivative(self, t_min, y):
        size = len(SSTR_TISSUES) + 1
        everything, label = y[:size], y[size : 2 * size]
        available = jnp.append(1 - everything[1:-1] / self.capacity_nmol, 1.0)
        d_all, _ = self._species(everything, available)
        d_label, left = self._species(label, available)
        decayed = self.nuclide.decay_constant_per_min * y[size:]
        return jnp.concatenate([d_all, jnp.concatenate([d_label, left]) - decayed])

    def _species(self, x, available):
        blood, tissues = x[0], x[1:]
        into, lost = self.k_in_per_min * available * blood, self.k_degradation_per_min * tissues
        urine = self.k_urine_per_min * blood
        return jnp.append(-urine - jnp.sum(into), into - lost), jnp.stack([urine, jnp.sum(lost)])
