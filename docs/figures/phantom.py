"""Draws docs/figures/phantom.png: the stylised adults in six planes.

Run from the root of the checkout: `.venv/bin/python -m docs.figures.phantom`.
"""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Patch

from dose.phantom import phantom
from dose.phantom.skeleton import sites

COLOURS = {
    "remainder": "#7a5347", "skin": "#e8c3a9", "lungs": "#bcd9ee", "liver": "#8c2d19", "spleen": "#6a3d9a",
    "kidney_left": "#1f9e5a", "kidney_right": "#1f9e5a", "heart": "#d7301f", "heart_contents": "#f58b7b",
    "stomach": "#e6ab02", "stomach_contents": "#f7dc8a", "small_intestine": "#ff8c42",
    "small_intestine_contents": "#ffd0a6", "right_colon": "#b15928", "left_colon": "#b15928",
    "rectosigmoid": "#b15928", "pancreas": "#f0e442", "brain": "#d9b8c4", "bladder": "#2b5f9e",
    "bladder_contents": "#7fb2e5", "thyroid": "#00a6a6", "adrenals": "#111111", "breasts": "#f2a7c3",
    "prostate": "#225522", "testes": "#44aa99", "uterus": "#aa4499", "ovaries": "#44aa99", "gallbladder": "#556b2f",
    "parotid_left": "#cc79a7", "parotid_right": "#cc79a7", "eyes": "#0072b2", "thymus": "#88ccee",
    "oesophagus": "#999933",
}  # fmt: skip
SHOWN = ("lungs", "heart", "liver", "spleen", "kidney_left", "stomach", "pancreas", "small_intestine", "right_colon",
         "bladder", "brain", "parotid_left", "thyroid", "adrenals", "prostate", "uterus")  # fmt: skip
PLANES = (("coronal", -2.0), ("coronal", 4.6), ("sagittal", 0.0), ("axial", 38.0), ("axial", 33.0), ("axial", 9.0))


def picture(body):
    """Colours by label, [label, 3]; bones are ivory, what is not named the colour of its wall's contents."""
    table = np.zeros((len(body.organs), 3))
    for k, name in enumerate(body.names):
        word = "bone" if name in sites() else name if name in COLOURS else name.removesuffix("_contents")
        colour = "#f5efdc" if word == "bone" else COLOURS.get(word, "#cc79a7")
        table[k] = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    table[0] = 1
    return table[body.labels]


def cut(body, image, plane, at_cm):
    """A plane of the picture and its extent in cm."""
    h, shape = body.voxel_mm / 10, body.labels.shape[::-1]
    ends = [(o - h / 2, o + h * (n - 0.5)) for o, n in zip(body.origin_cm, shape)]
    index = lambda axis: round((at_cm - body.origin_cm[axis]) / h)
    if plane == "coronal":
        return image[:, index(1), :], (*ends[0], *ends[2]), "lower"
    if plane == "sagittal":
        return image[:, :, index(0)], (*ends[1], *ends[2]), "lower"
    return image[index(2)], (*ends[0], ends[1][1], ends[1][0]), "upper"


def main():
    figure = plt.figure(figsize=(12, 11))
    for row, sex in enumerate(("male", "female")):
        body = phantom(sex, 4.0)
        image, tall = picture(body), 1.0 if sex == "male" else 163 / 176
        grid = figure.add_gridspec(3, 4, left=0.03, right=0.98, top=0.97 - row * 0.46, bottom=0.55 - row * 0.46,
                                   width_ratios=(1, 1, 0.75, 1.6), wspace=0.02, hspace=0.42)  # fmt: skip
        for k, (plane, at) in enumerate(PLANES):
            axis = figure.add_subplot(grid[:, k] if k < 3 else grid[k - 3, 3])
            shown, extent, origin = cut(body, image, plane, at * tall if plane == "axial" else at)
            axis.imshow(shown, extent=extent, origin=origin, interpolation="nearest")
            axis.set_title(f"{sex}, {plane} at {at * (tall if plane == 'axial' else 1):.0f} cm", fontsize=8)
            axis.tick_params(labelsize=6)
    handles = [Patch(color=COLOURS[name], label=name.removesuffix("_left").replace("_", " ")) for name in SHOWN]
    figure.legend(handles=handles, ncol=8, loc="lower center", fontsize=8, frameon=False)
    figure.savefig(Path(__file__).with_suffix(".png"), dpi=90)


if __name__ == "__main__":
    main()
