"""PET or SPECT? Modality is not the class of scan: quantitative SPECT is often stored as PET Image Storage."""

from __future__ import annotations

NM_CLASS = "1.2.840.10008.5.1.4.1.1.20"

SPECT_MAKERS = ("SPECT", "SYMBIA", "ENCORE", "INTEVO", "SIEMENS NM", "XSPECT", "NM/CT", "VERITON", "STARGUIDE")
SPECT_WORDS = ("SPECT", "XSPECT", "TOMO")
POSITRON_EMITTERS = ("18F", "68Ga", "64Cu", "89Zr", "124I", "11C", "13N", "15O", "44Sc", "61Cu", "82Rb", "86Y")
"""Words of manufacturer, model and series that mean SPECT, and nuclides imaged by coincidence."""


def kind_of(dataset, nuclide: str | None) -> tuple[str, str]:
    """ "PET" or "SPECT", and why: SOP class, then nuclide, then the words of the maker."""
    if str(dataset.SOPClassUID) == NM_CLASS:
        return "SPECT", "NM Image Storage"
    if nuclide in POSITRON_EMITTERS:
        return "PET", f"{nuclide} is imaged by coincidence"
    words = " ".join(str(dataset.get(k, "")) for k in ("Manufacturer", "ManufacturerModelName")).upper()
    series = str(dataset.get("SeriesDescription", "")).upper()
    if any(w in words for w in SPECT_MAKERS) or any(w in series for w in SPECT_WORDS):
        return "SPECT", "stored as PT by a SPECT maker, model or series name"
    if nuclide is not None and nuclide != "90Y":
        return "SPECT", f"stored as PT, but {nuclide} emits no positrons to speak of"
    return "PET", "PET Image Storage"
