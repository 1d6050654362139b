"""Lesions without networks: thresholds that know organs, fuzzy C-means, and who is who from scan to scan."""

from imaging.segmentation.fuzzy import FuzzyClasses, fuzzy_lesions, fuzzy_means
from imaging.segmentation.lesion_match import LesionLink, LesionMatches, follow_lesions, match_lesions
from imaging.segmentation.thresholds import exclude_organs, threshold_lesions

__all__ = [
    "FuzzyClasses",
    "LesionLink",
    "LesionMatches",
    "exclude_organs",
    "follow_lesions",
    "fuzzy_lesions",
    "fuzzy_means",
    "match_lesions",
    "threshold_lesions",
]
