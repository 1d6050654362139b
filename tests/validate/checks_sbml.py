"""The whole-body model as SBML, solved by libRoadRunner (CVODE), beside our own solution."""

from __future__ import annotations

from importlib.util import find_spec

from tests.reference.reference_sbml import COURSES, INTEGRAL, PEAK, course, errors
from tests.validate import Skipped, check

SOURCE = "libRoadRunner 2.10, CVODE at rtol 1e-10, from our SBML (hot and cold as reactions)"


def _errors(name: str):
    for module in ("libsbml", "roadrunner"):
        if find_spec(module) is None:
            raise Skipped(f"{module} is not installed")
    return errors(name)


def _register(name: str):
    @check(f"pbpk/sbml {name}: hot and total amounts", "worst error over peak", f"{PEAK:g}", SOURCE)
    def amounts():
        worst = max(_errors(name)[0].values())
        return worst, worst <= PEAK

    @check(f"pbpk/sbml {name}: time-integrated amounts", "worst relative error", f"{INTEGRAL:g}", SOURCE)
    def integrals():
        worst = max(_errors(name)[1].values())
        return worst, worst <= INTEGRAL


for _name in COURSES:
    _register(_name)


@check("pbpk/sbml consistency", "errors and warnings", "0", "libSBML's consistency checks, units included")
def consistency():
    if find_spec("libsbml") is None:
        raise Skipped("libsbml is not installed")
    import libsbml

    documents = [libsbml.readSBMLFromString(course(name)[2]) for name in COURSES]
    found = sum(document.checkConsistency() for document in documents)
    return found, found == 0
