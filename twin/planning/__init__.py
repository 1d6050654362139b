"""Planning the coming cycles: objectives, limits with probability, prices, and what knowledge is worth."""

from twin.constraints import default_limits
from twin.planning.choices import Choices, PlateletRule
from twin.planning.search import plan
from twin.planning.setting import OBJECTIVES

__all__ = ["OBJECTIVES", "Choices", "PlateletRule", "default_limits", "plan"]
