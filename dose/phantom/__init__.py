"""The stylised adults: equation-defined organs in voxels, with ICRP-89 masses and red marrow spread over the bones."""

from dose.phantom.model import Phantom, phantom
from dose.phantom.organs import GROUPS, Organ, reference_organs
from dose.phantom.skeleton import body_height_cm, body_mass_g, site_masses_g, sites, tissue_mass_g

__all__ = [
    "GROUPS", "Organ", "Phantom", "body_height_cm", "body_mass_g", "phantom", "reference_organs", "site_masses_g",
    "sites", "tissue_mass_g",
]  # fmt: skip
