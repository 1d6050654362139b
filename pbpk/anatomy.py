"""What the body is divided into: the standard organs, and those that a patient's model may have besides.

Kidney cortex and medulla: filtration, tubules and reabsorption belong to the cortex; the medulla is an organ beside it
with little flow, which binds its share of the kidney's sites. Small glands: sublingual glands with PSMA ligands, the
pituitary with somatostatin ligands; of a few grams or less, they change no other organ's dose.
"""

from __future__ import annotations

from dataclasses import dataclass

KIDNEYS = ("kidney_left", "kidney_right")
CORTEX = ("kidney_cortex_left", "kidney_cortex_right")
MEDULLA = ("kidney_medulla_left", "kidney_medulla_right")
SMALL_GLANDS = {"psma": ("sublingual",), "sstr": ("pituitary",)}
BEFORE_KIDNEYS = ("lungs", "liver", "spleen", "gi")
BEFORE_TUMOURS = ("parotid", "submandibular", "lacrimal", "prostate", "adrenals")
AFTER_TUMOURS = ("red_marrow", "muscle", "remainder", "skin", "adipose", "bone", "heart", "brain")
PORTAL_COUNT = 2
SEX_ONLY = {"prostate": "male"}


@dataclass(frozen=True)
class Anatomy:
    """Divisions that a model may have: `kidney_parts` (cortex and medulla of each side) and `small_glands`."""

    kidney_parts: bool = False
    small_glands: bool = False

    def organs(self, target: str, sex: str, tumours: tuple[str, ...]) -> tuple[str, ...]:
        """Organs in the order of `pbpk.state.Layout`: those that bind no ligand of any target come last."""
        kidneys = (*CORTEX, *MEDULLA) if self.kidney_parts else KIDNEYS
        small = SMALL_GLANDS[target] if self.small_glands else ()
        healthy = [o for o in (*BEFORE_KIDNEYS, *kidneys, *BEFORE_TUMOURS, *small) if SEX_ONLY.get(o, sex) == sex]
        return (*healthy, *tumours, *AFTER_TUMOURS)


STANDARD = Anatomy()


def parts(region: str, organs: tuple[str, ...]) -> tuple[str, ...]:
    """The organs of a model that make up a region: itself, or those of a kidney or of both; none if it has none.

    >>> parts("kidney_left", ("liver", *CORTEX, *MEDULLA))
    ('kidney_cortex_left', 'kidney_medulla_left')
    """
    if region in organs:
        return (region,)
    if region not in (*KIDNEYS, "kidneys"):
        return ()
    side = region.removeprefix("kidney_") if region in KIDNEYS else ""
    return tuple(o for o in organs if o.startswith("kidney_") and o.endswith(side))


def filters(organ: str) -> bool:
    """Whether glomeruli belong to the organ: kidneys, or their cortex."""
    return organ in (*KIDNEYS, *CORTEX)


def kind_of(organ: str) -> str:
    """The table row that an organ shares: left and right kidney, and every tumour, are of one kind."""
    if organ.startswith("tumour"):
        return "tumour"
    return "kidneys" if filters(organ) or organ in MEDULLA else organ
