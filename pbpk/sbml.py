"""One patient and a course of administrations as SBML, for libRoadRunner, COPASI and other simulators.

The reactions come from `pbpk.reactions`, the XML from libsbml; here administrations become events, and all is put in
order. What the file holds and how to open it: docs/sbml.md.
"""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import NamedTuple

import numpy as np

from dose.errors import InputError, describe
from dose.nuclides import radionuclide
from dose.provenance import load_table, sources
from pbpk._sbml_writer import Writer
from pbpk.administration import Administration
from pbpk.kinetics import Kinetics
from pbpk.reactions import ENDS, Network, network
from pbpk.solve import Segments

SPECIES = ("hot", "cold")
TABLES = ("physiology.csv", "ligands.csv")
DECAY_AGREES = 1e-6
"""Largest relative difference between the decay constant of the kinetics and that of the administered nuclide."""
NOTES = """<body xmlns="http://www.w3.org/1999/xhtml">
<p>Research software. Not a medical device, not for treatment decisions.</p>
<p>Whole-body kinetics of a radioligand in one patient, written by theratwin. Amounts in nmol, volumes in litre, time in
minutes from the first administration. Hot ligand is radioactive, cold ligand is not; decay turns hot into cold, and
both compete for the same receptors. Parameters named *_hot_integral are time integrals of hot amounts.</p>
<p>Structure: Kletting 2016 and Fele-Paranj et al., EJNMMI Radiopharm Chem 2024;9:6, with flows that balance. Default
values of the parameters come from these sources, unless a patient's own took their place:</p>
<ul>{items}</ul>
</body>"""


class Dose(NamedTuple):
    """What enters the vein: `duration_min` 0 is a bolus."""

    start_min: float
    duration_min: float
    hot_nmol: float
    cold_nmol: float


def to_sbml(kin: Kinetics, given: Segments | Iterable[Administration]) -> str:
    """SBML text of one patient's model with its administrations as events.

    `given` is what `pbpk.solve.solve` takes, or administrations of one ligand; time 0 is the first of these.

    Raises:
        ImportError: python-libsbml is not installed.
        InputError: several patients, no administration, another nuclide, numbers out of range.
    """
    net, doses = network(kin), doses_of(given, float(kin.decay[0]))
    writer = Writer("theratwin_whole_body", "Whole-body kinetics of a radioligand (theratwin)", _notes())
    _write_pools(writer, net)
    _write_reactions(writer, net)
    _write_doses(writer, doses)
    return writer.text()


def doses_of(given: Segments | Iterable[Administration], decay_per_min: float) -> list[Dose]:
    """Boluses and infusions in order of time, checked."""
    doses = _from_segments(given) if isinstance(given, Segments) else _from_administrations(given, decay_per_min)
    if not doses:
        raise InputError(describe("administrations", "none", "one or more", "give what the patient receives"))
    for k, dose in enumerate(doses, start=1):
        amounts = (dose.hot_nmol, dose.cold_nmol)
        if not (np.all(np.isfinite(dose)) and min(amounts) >= -1e-9 * max(amounts) and min(dose[:2]) >= 0):
            expected = "finite numbers, 0 or more, and no more hot than total ligand"
            do = "check amounts (nmol) and times (min)"
            raise InputError(describe(f"administration {k}", f"{dose}", expected, do))
    return [dose._replace(cold_nmol=max(dose.cold_nmol, 0.0)) for dose in doses]


def _from_administrations(given, decay_per_min: float) -> list[Dose]:
    given = list(given)
    wrong = [type(a).__name__ for a in given if not isinstance(a, Administration)]
    if wrong:
        do = "pass what pbpk.solve.segments makes, or a list of pbpk.administration.Administration"
        raise InputError(describe("administrations", wrong[0], "Segments or Administration", do))
    _check_tracers(given, decay_per_min)
    first_h = min((a.time_h for a in given), default=0.0)
    ordered = sorted(given, key=lambda a: a.time_h)
    cold_nmol = lambda a: a.amount_nmol - a.labelled_nmol
    return [Dose(60 * (a.time_h - first_h), 60 * a.infusion_h, a.labelled_nmol, cold_nmol(a)) for a in ordered]


def _check_tracers(given: list[Administration], decay_per_min: float) -> None:
    """One ligand and one nuclide, and the nuclide is that of the kinetics."""
    if len({(a.ligand, a.nuclide) for a in given}) > 1:
        do = "write one file for each tracer"
        raise InputError(describe("administrations", "several tracers", "one ligand and one nuclide", do))
    for name in {a.nuclide for a in given}:
        expected = radionuclide(name).decay_constant_per_min
        if abs(decay_per_min / expected - 1) > DECAY_AGREES:
            do = "make the kinetics with the nuclide that is administered"
            raise InputError(describe("kinetics.decay", f"{decay_per_min:g}", f"{expected:g} ({name})", do))


def _from_segments(seg: Segments) -> list[Dose]:
    """Boluses, and stretches of constant infusion joined over the times that were only asked for."""
    length, bolus, infusion = (
        np.asarray(x, float) for x in (seg.length_min, seg.bolus_nmol, seg.infusion_nmol_per_min)
    )
    start = np.cumsum(length) - length
    doses = [Dose(t, 0.0, hot, total - hot) for t, (total, hot) in zip(start, bolus, strict=True) if total or hot]
    first = np.flatnonzero(np.any(np.diff(infusion, axis=0, prepend=np.nan) != 0, axis=1))
    for k, end in zip(first, [*first[1:], len(length)], strict=True):
        total, hot = infusion[k] * np.sum(length[k:end])
        if total or hot:
            doses.append(Dose(start[k], float(np.sum(length[k:end])), hot, total - hot))
    return sorted(Dose(*map(float, dose)) for dose in doses)


def _write_pools(writer: Writer, net: Network) -> None:
    for compartment, volume_L in net.volumes_L.items():
        writer.compartment(compartment, volume_L)
    for name, (value, unit) in net.parameters.items():
        writer.parameter(name, value, unit)
    for pool, compartment in net.pools.items():
        for kind in SPECIES:
            writer.species(f"{pool}_{kind}", compartment)
    for name, (formula, unit) in net.rules.items():
        writer.always(name, formula, unit)
    for region, pools in net.regions.items():
        if pools != (region,):
            writer.always(f"{region}_hot", " + ".join(f"{pool}_hot" for pool in pools), "nmol")
        writer.integral(f"{region}_hot_integral", f"{region}_hot", "nmol_minute")


def _write_reactions(writer: Writer, net: Network) -> None:
    for name, source, target, rate in net.reactions:
        for kind in SPECIES:
            amount = f"{source}_{kind}"
            writer.reaction(f"{name}_{kind}", amount, f"{target}_{kind}", f"{rate} * {amount}")
    for pool in net.pools:
        if pool not in ENDS:
            writer.reaction(f"{pool}_decay", f"{pool}_hot", f"{pool}_cold", f"decay * {pool}_hot")


def _write_doses(writer: Writer, doses: list[Dose]) -> None:
    """Events set the rate of infusion, which is written as an integral of nothing.

    A reset of libRoadRunner sets integrals back, but would leave a plain parameter, and with it a running infusion.
    """
    for kind in SPECIES:
        writer.integral(f"infusion_{kind}", "0 nmol_per_square_minute", "nmol_per_minute")
        writer.reaction(f"injection_{kind}", None, f"venous_{kind}", f"infusion_{kind}")
    for k, dose in enumerate(doses, start=1):
        _write_dose(writer, f"administration_{k}", dose)


def _write_dose(writer: Writer, own: str, dose: Dose) -> None:
    units = {"start": "minute", "duration": "minute", "hot": "nmol", "cold": "nmol"}
    for (name, unit), value in zip(units.items(), dose, strict=True):
        if name != "duration" or value > 0:
            writer.parameter(f"{own}_{name}", value, unit)
    if dose.duration_min == 0:
        jump = {f"venous_{kind}": f"venous_{kind} + {own}_{kind}" for kind in SPECIES}
        writer.event(f"{own}_bolus", f"time >= {own}_start", jump)
        return
    change = lambda sign: {f"infusion_{k}": f"infusion_{k} {sign} {own}_{k} / {own}_duration" for k in SPECIES}
    writer.event(f"{own}_begins", f"time >= {own}_start", change("+"))
    writer.event(f"{own}_ends", f"time >= {own}_start + {own}_duration", change("-"))


def _notes() -> str:
    """The research notice, and what the tables of organs and ligands cite."""
    cited = {row["source_id"] for table in TABLES for row in load_table("pbpk", table)}
    items = (escape(s.citation.replace("\\_", "_")) for name, s in sources("pbpk").items() if name in cited)
    return NOTES.format(items="".join(f"<li>{item}</li>" for item in items))
