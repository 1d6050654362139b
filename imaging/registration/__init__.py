"""Registration of one patient's images, labels carried along, and what speaks against the result."""

from importlib import import_module

HOME = {
    "ConservationReport": "conservation",
    "conservation_report": "conservation",
    "misfit_sd_MBq": "conservation",
    "load_transform": "crossing",
    "save_transform": "crossing",
    "DisplacementField": "field",
    "PropagatedRegion": "labels",
    "propagate": "labels",
    "Flag": "quality",
    "RegionRegistration": "regionwise",
    "register_regions": "regionwise",
    "Registration": "pairwise",
    "register": "pairwise",
    "resample": "resampling",
    "register_studies": "studies",
    "SpatialTransform": "transform",
}
"""Public name to the module that holds it; loaded when first used, as SimpleITK and JAX are heavy."""

__all__ = sorted(HOME)


def __getattr__(name: str):
    if name not in HOME:
        raise AttributeError(f"module 'imaging.registration' has no attribute {name!r}")
    return getattr(import_module(f"imaging.registration.{HOME[name]}"), name)


def __dir__():
    return __all__
