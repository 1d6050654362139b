"""Figures of docs/ai/tia_single.md and docs/ai/tia_from_pet.md: `python -m docs.figures.make_ai_tia`."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from docs.figures.make_ai_sparse_views import losses, panel
from dose.learning.weights import found_weights, load_weights
from tests.validate import checks_ai_tia_from_pet as pet
from tests.validate import checks_ai_tia_single as single
from tests.validate.ai_tia import patients
from twin._jax import configure
from twin.network_recipes import TIA_FROM_PET, TIA_SINGLE

HERE = Path(__file__).parent
SHOWN_AS = {"height": "cohort curve and height"}


def errors_by_hour() -> Figure:
    """Error of each region of the tests against the hour of the scan."""
    tests = single.SINGLE.tests
    figure = Figure(figsize=(8.0, 3.2), layout="constrained")
    axes = figure.subplots(1, 2, sharex=True)
    for axis, group in zip(axes, ("kidney", "tumour")):
        for method, colour in (("2 t/ln 2", "0.75"), ("height", "tab:orange"), ("network", "tab:blue")):
            seen = zip(tests.patients, tests.maps(method))
            pairs = [(p.scan.time_h, 100 * p.error(m, n)) for p, m in seen for n in p.named((group,))]
            axis.plot(*zip(*pairs), ".", color=colour, markersize=4, label=SHOWN_AS.get(method, method))
        axis.axhline(0, color="0.5", linewidth=0.6)
        axis.set(xlabel="hour of the scan", ylabel="error of the integral, %", title=f"{group}s", ylim=(-90, 60))
    axes[0].legend(frameon=False, fontsize=8)
    return figure


def a_patient() -> Figure:
    """A coronal plane of PET, truth, classical map and network's map."""
    patient = max(patients("pet", 8), key=lambda p: len(p.named(("kidney",))) * len(p.named(("tumour",))))
    hot = np.any([patient.regions[n] for n in patient.named(("kidney", "tumour"))], axis=0)
    plane = int(np.argmax(hot.sum(axis=(0, 2))))
    shown = [patient.seen, patient.truth, pet.classical(patient, pet.CLASSICAL[1]), pet.made(patient, "network")]
    titles = ("PET, SUV", "true TIA, SUV h", "organ means and pattern", "network")
    figure = Figure(figsize=(9.0, 2.8), layout="constrained")
    top = float(np.quantile(patient.truth[hot], 0.95))
    for axis, array, title in zip(figure.subplots(1, 4), shown, titles):
        high = float(np.quantile(patient.seen[hot], 0.95)) if array is patient.seen else top
        panel(axis, array[:, plane], title, high)
    return figure


if __name__ == "__main__":
    configure()
    trained = [recipe for recipe in (TIA_SINGLE, TIA_FROM_PET) if found_weights(recipe)[0]]
    for recipe in trained:
        runs = load_weights(recipe).card["runs"]
        losses(recipe.name, runs).savefig(HERE / f"ai-{recipe.name}-loss.png", dpi=100)
    errors_by_hour().savefig(HERE / "ai-tia_single-errors.png", dpi=100)
    if TIA_FROM_PET in trained:
        a_patient().savefig(HERE / "ai-tia_from_pet-case.png", dpi=100)
