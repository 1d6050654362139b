"""Writes measurement_177lu.json: `python imaging/data/make_measurement.py` (development only, ten minutes).

The scan of measurement_reference.csv through the whole simulator: 11 sources, two beds, one linearised reconstruction
of each bed (imaging.scanner.fit_measurement).
"""

from pathlib import Path

from twin._jax import configure

configure()

from dose.provenance import numbers_of  # noqa: E402
from imaging.scanner.fit_measurement import fit_measurement_model, image_sensitivity  # noqa: E402
from imaging.scanner.measured_scan import beds_of  # noqa: E402
from imaging.scanner.measurement_file import save_measurement_model  # noqa: E402
from imaging.scanner.reference_scan import (  # noqa: E402
    COLLIMATOR,
    NUCLIDE,
    reference_activity_MBq,
    reference_numbers,
    reference_scan,
)

TABLES = ("measurement_reference.csv", "cameras.csv", "camera_windows.csv", "collimators.csv", "photon_lines.csv")


def main():
    scan, of = reference_scan(), reference_numbers()
    cps_per_MBq = image_sensitivity(scan)
    about = {
        "made by": "imaging/data/make_measurement.py",
        "nuclide": NUCLIDE,
        "what": f"stylised man, {len(scan.beds)} beds, collimator {COLLIMATOR}, OSEM {scan.settings.iterations} x "
        f"{scan.settings.subsets}, attenuation, blur, TEW of {scan.line_keV:g} keV",
        "cps per MBq in the image": f"{cps_per_MBq:.6g}",
        **{f"volume of {n} in mL": f"{v:g}" for (n, quantity), v in of.items() if quantity == "volume"},
        **{f"numbers of {name}": numbers_of("imaging", name) for name in TABLES},
    }
    model = fit_measurement_model(
        scan,
        reference_activity_MBq(),
        beds=beds_of(scan),
        cps_per_MBq=cps_per_MBq,
        calibration_cv=of["errors", "calibration_cv"],
        blur_cv=of["errors", "blur_cv"],
        about=about,
    )
    save_measurement_model(Path(__file__).with_name("measurement_177lu.json"), model)


if __name__ == "__main__":
    main()
