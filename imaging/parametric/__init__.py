"""Parametric maps from dynamic PET: Patlak, Logan, irreversible two-tissue, and the plasma curve that feeds them."""

from imaging.parametric.frames import DynamicFrames
from imaging.parametric.graphical import ParametricMaps, logan, patlak
from imaging.parametric.input_function import InputFunction, fit_feng, image_derived
from imaging.parametric.series_frames import frames_of
from imaging.parametric.two_tissue import two_tissue_irreversible

__all__ = [
    "DynamicFrames",
    "InputFunction",
    "ParametricMaps",
    "fit_feng",
    "frames_of",
    "image_derived",
    "logan",
    "patlak",
    "two_tissue_irreversible",
]
