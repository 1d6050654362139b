"""Transport of photons and electrons through voxels in JAX: `simulate`, `photon_fractions`, and materials."""

from dose.montecarlo.materials import Material, known_materials, material, mixture
from dose.montecarlo.run import LabelScene, Scale, Simulated, label_scene, photon_fractions, simulate

__all__ = [
    "LabelScene",
    "Material",
    "Scale",
    "Simulated",
    "known_materials",
    "label_scene",
    "material",
    "mixture",
    "photon_fractions",
    "simulate",
]
