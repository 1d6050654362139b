"""SBML by libsbml: names, numbers and formulas into its objects, each of which wants all its attributes set.

Level 3 Version 1 core: all of it that we use is in the later version too, and more tools read it. Specification: Hucka
et al., doi 10.1515/jib-2017-0080. python-libsbml is imported when it is used.
"""

from __future__ import annotations

from dose.errors import describe

LEVEL, VERSION = 3, 1
UNITS = {
    "nmol": (("mole", 1, -9, 1.0),),
    "minute": (("second", 1, 0, 60.0),),
    "per_minute": (("second", -1, 0, 60.0),),
    "litre_per_minute": (("litre", 1, 0, 1.0), ("second", -1, 0, 60.0)),
    "litre_per_nmol_minute": (("litre", 1, 0, 1.0), ("mole", -1, -9, 1.0), ("second", -1, 0, 60.0)),
    "nmol_per_minute": (("mole", 1, -9, 1.0), ("second", -1, 0, 60.0)),
    "nmol_per_square_minute": (("mole", 1, -9, 1.0), ("second", -2, 0, 60.0)),
    "nmol_minute": (("mole", 1, -9, 1.0), ("second", 1, 0, 60.0)),
}
"""Each unit as (SI unit, exponent, power of ten, multiplier)."""


class Writer:
    """Names, numbers and formulas into the objects of libsbml."""

    def __init__(self, name: str, title: str, notes: str):
        self.document = _libsbml().SBMLDocument(LEVEL, VERSION)
        self.model = _named(self.document.createModel(), name)
        self.model.setName(title)
        self.model.setNotes(notes)
        for unit, parts in UNITS.items():
            self._unit(unit, parts)
        self.model.setSubstanceUnits("nmol")
        self.model.setExtentUnits("nmol")
        self.model.setTimeUnits("minute")
        self.model.setVolumeUnits("litre")

    def text(self) -> str:
        return _libsbml().writeSBMLToString(self.document)

    def _unit(self, name, parts) -> None:
        definition = _named(self.model.createUnitDefinition(), name)
        for kind, exponent, scale, multiplier in parts:
            unit = definition.createUnit()
            unit.setKind(_libsbml().UnitKind_forName(kind))
            unit.setExponent(exponent)
            unit.setScale(scale)
            unit.setMultiplier(multiplier)

    def compartment(self, name: str, volume_L: float) -> None:
        compartment = _named(self.model.createCompartment(), name)
        compartment.setSpatialDimensions(3)
        compartment.setSize(volume_L)
        compartment.setUnits("litre")
        compartment.setConstant(True)

    def parameter(self, name: str, value: float, unit: str, constant: bool = True) -> None:
        parameter = _named(self.model.createParameter(), name)
        parameter.setValue(value)
        parameter.setUnits(unit)
        parameter.setConstant(constant)

    def species(self, name: str, compartment: str) -> None:
        """An amount that is zero before the first administration."""
        species = _named(self.model.createSpecies(), name)
        species.setCompartment(compartment)
        species.setInitialAmount(0.0)
        species.setSubstanceUnits("nmol")
        species.setHasOnlySubstanceUnits(True)
        species.setBoundaryCondition(False)
        species.setConstant(False)

    def always(self, name: str, formula: str, unit: str) -> None:
        """A parameter that equals a formula at every time."""
        parameter = _named(self.model.createParameter(), name)
        parameter.setUnits(unit)
        parameter.setConstant(False)
        rule = self.model.createAssignmentRule()
        rule.setVariable(name)
        rule.setMath(_math(formula))

    def integral(self, name: str, formula: str, unit: str) -> None:
        """A parameter that grows by a formula."""
        self.parameter(name, 0.0, unit, constant=False)
        rule = self.model.createRateRule()
        rule.setVariable(name)
        rule.setMath(_math(formula))

    def reaction(self, name: str, source: str | None, target: str, law: str) -> None:
        reaction = _named(self.model.createReaction(), name)
        reaction.setReversible(False)
        reaction.setFast(False)
        for species, create in ((source, reaction.createReactant), (target, reaction.createProduct)):
            if species:
                reference = create()
                reference.setSpecies(species)
                reference.setStoichiometry(1)
                reference.setConstant(True)
        reaction.createKineticLaw().setMath(_math(law))

    def event(self, name: str, condition: str, change: dict[str, str]) -> None:
        """Fires once the condition turns true; at time 0 too, as it counts as false before."""
        event = _named(self.model.createEvent(), name)
        event.setUseValuesFromTriggerTime(True)
        trigger = event.createTrigger()
        trigger.setInitialValue(False)
        trigger.setPersistent(True)
        trigger.setMath(_math(condition))
        for variable, formula in change.items():
            assignment = event.createEventAssignment()
            assignment.setVariable(variable)
            assignment.setMath(_math(formula))


def _named(thing, name: str):
    thing.setId(name)
    return thing


def _math(formula: str):
    return _libsbml().parseL3Formula(formula)


def _libsbml():
    """The module, imported where it is needed: nothing else in theratwin uses it."""
    try:
        import libsbml
    except ImportError:
        text = describe("export to SBML", "no python-libsbml", "it to be installed", "pip install 'theratwin[sbml]'")
        raise ImportError(text) from None
    return libsbml
