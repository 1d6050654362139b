"""Figures of sensitivity say what the results say."""

import numpy as np

from pbpk.sensitivity import Elasticities, SobolIndices
from twin.plots import png
from twin.plots_sensitivity import MOST_BARS, elasticity_heatmap, sobol_bars

OUTPUTS = ("kidneys", "red_marrow", "tumour")
PARAMETERS = tuple(f"parameter {k}" for k in range(8))


def elastic():
    value = np.zeros((3, 8))
    value[:, 2], value[0, 5], value[1, 6] = (-0.75, -0.64, 0.002), 0.98, 0.004
    return Elasticities(OUTPUTS, PARAMETERS, value)


def indices():
    total = np.linspace(0.02, 0.3, 24).reshape(3, 8)
    first = total - 0.03  # negative for the smallest, as estimates of nothing are
    bounds = lambda x: np.stack([x - 0.02, x + 0.02])
    return SobolIndices(OUTPUTS, PARAMETERS, first, total, bounds(first), bounds(total), np.full(3, 0.5), 512, 5120)


def words(axis):
    return [text.get_text() for text in axis.texts]


def test_the_heatmap_puts_the_strongest_parameter_on_top_and_numbers_what_is_seen():
    (axis,) = elasticity_heatmap(elastic()).axes
    rows = [label.get_text() for label in axis.get_yticklabels()]
    assert rows[:2] == ["parameter 5", "parameter 2"]
    assert sorted(words(axis)) == sorted(["+0.98", "-0.75", "-0.64"])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["kidneys", "red marrow", "tumour"]


def test_bars_show_the_largest_and_say_the_samples():
    figure = sobol_bars(indices())
    panels = [axis for axis in figure.axes if axis.axison]
    assert len(panels) == 3
    rows = [label.get_text() for label in panels[0].get_yticklabels()]
    assert rows == [f"parameter {k}" for k in range(7, 7 - MOST_BARS, -1)]
    assert panels[1].get_title(loc="left") == "red marrow    CV 53%"
    assert "N = 512" in figure.get_supxlabel()


def test_negative_first_order_indices_have_no_bar():
    axis = sobol_bars(indices()).axes[0]
    ends = [patch.get_extents().x0 for patch in axis.patches]
    assert min(ends) >= axis.transData.transform((0, 0))[0] - 0.01


def test_both_are_written_as_png():
    for figure in (elasticity_heatmap(elastic()), sobol_bars(indices())):
        assert png(figure).startswith(b"\x89PNG")
