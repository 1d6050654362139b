"""PET or SPECT? Modality is not the class of scan: quantitative SPECT is often stored as PET Image Storage."""

from __future__ import annotations

from dose.provenance import load_table

NM_CLASS = "1.2.840.10008.5.1.4.1.1.20"

SPECT_MAKERS = ("SPECT", "SYMBIA", "ENCORE", "INTEVO", "SIEMENS NM", "XSPECT", "NM/CT", "VERITON", "STARGUIDE")
SPECT_WORDS = ("SPECT", "XSPECT", "TOMO")
"""Words of manufacturer, model and series that mean SPECT."""


def positron_emitters() -> dict[str, float]:
    """Nuclides imaged by coincidence, with their positrons per decay."""
    return {row["nuclide"]: float(row["positrons_per_decay"]) for row in load_table("imaging", "positron_emitters.csv")}


def kind_of(dataset, nuclide: str | None) -> tuple[str, str]:
    """ "PET" or "SPECT", and why: SOP class, then nuclide, then the words of the maker."""
    if str(dataset.SOPClassUID) == NM_CLASS:
        return "SPECT", "NM Image Storage"
    if nuclide in positron_emitters():
        return "PET", f"{nuclide} is imaged by coincidence"
    words = " ".join(str(dataset.get(k, "")) for k in ("Manufacturer", "ManufacturerModelName")).upper()
    series = str(dataset.get("SeriesDescription", "")).upper()
    if any(w in words for w in SPECT_MAKERS) or any(w in series for w in SPECT_WORDS):
        return "SPECT", "stored as PT by a SPECT maker, model or series name"
    if nuclide is not None and nuclide != "90Y":
        return "SPECT", f"stored as PT, but {nuclide} emits no positrons to speak of"
    return "PET", "PET Image Storage"
