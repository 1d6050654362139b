"""How the page draws: style, bands and lines as plain traces, checked once when the figure is made.

Colours are those of Okabe and Ito; lines differ in dash as well. Adding traces to a figure one by one takes plotly ten
times as long, and a slider's move draws three figures.
"""

from __future__ import annotations

import numpy as np
import plotly.graph_objects as go
import plotly.io as pio

BLUE, ORANGE, GREEN, RED, GREY, BLACK = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#7A7A7A", "#222222"
"""Given; to come; volume, PSA and platelets; limit; label; data."""
HEIGHT, PER_PANEL = 330, 170
MARGIN = {"l": 58, "r": 12, "t": 12, "b": 92}
AXIS = {"gridcolor": "#E8E8E8", "zeroline": False, "automargin": True, "linecolor": "#BBBBBB", "ticks": "outside"}


def quiet_toolbar() -> None:
    """Figures without the toolbar that covers them on a narrow screen."""
    pio.renderers.default = "browser"
    pio.renderers["browser"].config = {"displayModeBar": False}


def axis(title: str, **more) -> dict:
    return AXIS | {"title": {"text": title, "standoff": 6, "font": {"size": 13}}} | more


def figure(traces: list[dict], height: int = HEIGHT, legend_y: float = -0.28, **axes) -> go.Figure:
    """White, the legend in rows below; `axes` as `axis` makes them."""
    layout = {
        "template": "none",
        "height": height,
        "margin": MARGIN,
        "dragmode": False,
        "font": {"size": 13, "color": BLACK},
        "legend": {"orientation": "h", "y": legend_y, "x": 0, "yanchor": "top"},
        "hovermode": "closest",
        "hoverlabel": {"namelength": -1},
    }
    return go.Figure(data=traces, layout=layout | axes)


def clear(colour: str, opacity: float) -> str:
    """A hexadecimal colour as rgba."""
    red, green, blue = (int(colour[k : k + 2], 16) for k in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def band(x, low, high, colour: str, opacity: float = 0.22, **more) -> list[dict]:
    """An interval as filled areas, one for each piece between gaps (NaN) of `x`."""
    x, low, high = (np.asarray(v, float) for v in (x, low, high))
    shape = {"type": "scatter", "mode": "lines", "line": {"width": 0}, "fill": "toself", "hoverinfo": "skip"}
    shape |= {"fillcolor": clear(colour, opacity), "showlegend": False} | more
    there_and_back = lambda a, b, piece: np.concatenate([a[piece], b[piece][::-1]])
    return [shape | {"x": there_and_back(x, x, p), "y": there_and_back(high, low, p)} for p in pieces(x)]


def pieces(x: np.ndarray) -> list[slice]:
    """Runs of numbers between NaN."""
    ends = [*np.flatnonzero(np.isnan(x)).tolist(), len(x)]
    begins = [0, *(k + 1 for k in ends[:-1])]
    return [slice(a, b) for a, b in zip(begins, ends, strict=True) if b > a]


def line(x, y, colour: str, name: str, dash: str = "solid", **more) -> dict:
    style = {"color": colour, "width": 2, "dash": dash}
    trace = {"type": "scatter", "x": np.asarray(x, float), "y": np.asarray(y, float), "mode": "lines", "line": style}
    return trace | {"name": name, "showlegend": bool(name)} | more
