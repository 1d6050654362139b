"""Planning the coming cycles: objectives, limits with probability, prices, fronts, and what knowledge is worth."""

from twin.constraints import default_limits
from twin.patient import ScanWorth, Stopping
from twin.planning.choices import Choices, PlateletRule
from twin.planning.front import Front, FrontPoint, front
from twin.planning.radiobiology import Variant, radiobiology
from twin.planning.search import plan
from twin.planning.setting import OBJECTIVES
from twin.planning.worth import scan_worth

__all__ = [
    "OBJECTIVES",
    "Choices",
    "Front",
    "FrontPoint",
    "PlateletRule",
    "ScanWorth",
    "Stopping",
    "Variant",
    "default_limits",
    "front",
    "plan",
    "radiobiology",
    "scan_worth",
]
