"""Predicted against delivered 90Y dose, region by region."""

from __future__ import annotations

from dataclasses import dataclass

from dose.errors import InputError, describe
from dose.sirt.voxel import VoxelDoses, VoxelRegion


@dataclass(frozen=True)
class RegionComparison:
    """A region's predicted and delivered doses; `ratio` of the means is delivered over predicted."""

    predicted: VoxelRegion
    delivered: VoxelRegion

    @property
    def ratio(self) -> float:
        return self.delivered.mean_Gy.value / self.predicted.mean_Gy.value

    @property
    def foreseen(self) -> bool:
        """Whether the delivered mean lies in the predicted interval."""
        return self.predicted.mean_Gy.low <= self.delivered.mean_Gy.value <= self.predicted.mean_Gy.high


@dataclass(frozen=True)
class Comparison:
    """Prediction and result, region by region."""

    regions: tuple[RegionComparison, ...]
    level_Gy: float

    def table(self):
        """pandas: means, D95 and V at the level of both, their ratio, and whether it was foreseen."""
        import pandas as pd

        level = f"V{self.level_Gy:g}"
        rows = [
            {
                "region": one.predicted.region, "predicted_Gy": one.predicted.mean_Gy.value,
                "predicted_low_Gy": one.predicted.mean_Gy.low, "predicted_high_Gy": one.predicted.mean_Gy.high,
                "delivered_Gy": one.delivered.mean_Gy.value, "ratio": one.ratio, "foreseen": one.foreseen,
                "predicted_D95_Gy": one.predicted.d95_Gy.value, "delivered_D95_Gy": one.delivered.d95_Gy.value,
                f"predicted_{level}_percent": one.predicted.v_level_percent.value,
                f"delivered_{level}_percent": one.delivered.v_level_percent.value,
            }
            for one in self.regions
        ]  # fmt: skip
        return pd.DataFrame(rows)


def compare(predicted: VoxelDoses, delivered: VoxelDoses) -> Comparison:
    """Prediction against result, for the regions that both have.

    The two need not have one grid. A prediction is compared as it was, with its own activity.

    Raises:
        InputError: no common region, or histograms at different levels.
    """
    after = {one.region: one for one in delivered.regions}
    pairs = tuple(RegionComparison(one, after[one.region]) for one in predicted.regions if one.region in after)
    if not pairs or predicted.level_Gy != delivered.level_Gy:
        found = f"{len(pairs)} common regions, levels {predicted.level_Gy:g} and {delivered.level_Gy:g} Gy"
        raise InputError(describe("predicted, delivered", found, "common names and one level", "make both alike"))
    return Comparison(pairs, predicted.level_Gy)
