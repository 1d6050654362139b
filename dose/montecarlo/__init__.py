"""Transport of photons and electrons through voxels in JAX: `simulate`, `photon_fractions`, and materials."""

from dose.montecarlo.materials import Material, known_materials, material, mixture
from dose.montecarlo.run import Scale, Simulated, photon_fractions, simulate

__all__ = ["Material", "Scale", "Simulated", "known_materials", "material", "mixture", "photon_fractions", "simulate"]
