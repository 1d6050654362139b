"""What leaves the house: whole files, zero preambles, new UIDs with kept references, and no word of the patient."""

from __future__ import annotations

import logging
import re
import warnings

import numpy as np
import pydicom
import pytest
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset

from dose.errors import ImageError, InputError
from imaging.dicom_read import read_folder
from imaging.dicom_write import (
    Exported,
    OrganRow,
    StudyLabels,
    deidentified,
    export_deidentified,
    write_organ_table,
    write_parametric_map,
    write_pet_copy,
    write_recon,
    write_rtdose,
    write_rtstruct,
    write_segmentation,
)
from imaging.dicom_write.files import save
from imaging.dicom_write.profile import cleaned_label
from imaging.geometry import Volume
from imaging.series import ImageSeries, Radiopharmaceutical
from tests.written import BEGAN, ball, image, missing_attributes, straight_affine, virtual_study

CANARY = "ZZPHI"
SALT = "a secret of this project"
TEXT = ("AE", "AS", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")
WRITERS = {
    "seg": lambda path, e, grid, mask: write_segmentation(path, {"liver": mask}, e),
    "rtstruct": lambda path, e, grid, mask: write_rtstruct(path, {"liver": mask}, e),
    "rtdose": lambda path, e, grid, mask: write_rtdose(path, grid, e),
    "map": lambda path, e, grid, mask: write_parametric_map(path, grid, "absorbed_dose", e),
    "sr": lambda path, e, grid, mask: write_organ_table(path, [OrganRow("liver", "mean_dose", 3.0, 0.2)], e),
    "nm": lambda path, e, grid, mask: write_recon(path, ImageSeries(grid, "SPECT", "Bq/mL", "", ""), e),
}


@pytest.fixture
def grid() -> Volume:
    return image(straight_affine(), (6, 10, 9))


def region_of(grid: Volume) -> Volume:
    return grid.with_array(ball(grid, (4, 5, 3), 6.0))


@pytest.fixture
def sources(grid, tmp_path) -> list:
    """CT headers of a named patient, with the canary in every text attribute that a CT slice can have."""
    files = virtual_study(tmp_path / "ct", grid).sources
    return [poisoned(dataset) for dataset in files]


def poisoned(dataset) -> Dataset:
    """The canary in each text attribute of the dictionary below group 0050, and in private and nested ones."""
    tags = [t for t in pydicom.datadict.DicomDictionary if t >> 16 in (0x08, 0x10, 0x18, 0x20, 0x28, 0x32, 0x40)]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for tag in tags:
            vr = pydicom.datadict.dictionary_VR(tag)
            if vr in TEXT and keyword_for_tag(tag) not in ("ImageType", "Modality", "PatientPosition"):
                dataset.add_new(tag, vr, CANARY)
        dataset.ImageType = ["ORIGINAL", CANARY]
        dataset.BurnedInAnnotation = CANARY
        nested = Dataset()
        nested.CodeValue, nested.CodingSchemeDesignator, nested.CodeMeaning = CANARY, "99X", CANARY
        dataset.ProcedureCodeSequence, dataset.AnatomicRegionSequence = [nested], [nested]
        dataset.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
        dataset.PatientBirthDate = "19500613"
    return dataset


# ------------------------------------------------------------------------------------------------------------ files


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_is_not_replaced_unless_asked_and_has_no_preamble(kind, grid, tmp_path):
    exported, path = virtual_study(tmp_path / "ct", grid), tmp_path / "out" / "x.dcm"
    WRITERS[kind](path, exported, grid, region_of(grid))
    content = path.read_bytes()
    assert content[:128] == b"\0" * 128
    assert [p.name for p in path.parent.iterdir()] == ["x.dcm"]
    with pytest.raises(InputError, match="already there"):
        WRITERS[kind](path, exported, grid, region_of(grid))
    assert path.read_bytes() == content


class Torn:
    """A data set during whose writing the disk runs full."""

    preamble = b""

    def save_as(self, stream, **_):
        stream.write(b"half")
        raise OSError("disk full")


def test_a_write_that_fails_leaves_the_earlier_file_and_nothing_else(grid, tmp_path):
    path = tmp_path / "out" / "x.dcm"
    write_rtdose(path, grid, virtual_study(tmp_path / "ct", grid))
    before = path.read_bytes()
    with pytest.raises(OSError, match="disk full"):
        save(Torn(), path, overwrite=True)
    assert path.read_bytes() == before
    assert len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("kind", WRITERS)
def test_the_same_study_is_the_same_bytes_and_another_content_has_another_uid(kind, grid, tmp_path):
    exported = virtual_study(tmp_path / "ct", grid)
    first = WRITERS[kind](tmp_path / "a.dcm", exported, grid, region_of(grid))
    WRITERS[kind](tmp_path / "b.dcm", exported, grid, region_of(grid))
    assert (tmp_path / "a.dcm").read_bytes() == (tmp_path / "b.dcm").read_bytes()
    if kind != "sr":
        changed, other = grid.with_array(grid.array * 2), grid.with_array(1 - region_of(grid).array)
        second = WRITERS[kind](tmp_path / "c.dcm", exported, changed, other)
        assert second.SOPInstanceUID != first.SOPInstanceUID
        assert second.SeriesInstanceUID != first.SeriesInstanceUID


@pytest.mark.parametrize("kind", WRITERS)
def test_every_object_says_it_is_research(kind, grid, tmp_path):
    written = WRITERS[kind](tmp_path / "a.dcm", virtual_study(tmp_path / "ct", grid), grid, region_of(grid))
    assert "research only, not a medical device" in written.SeriesDescription
    assert written.Manufacturer == "theratwin"
    assert written.SoftwareVersions


# --------------------------------------------------------------------------------------------------------- identity


@pytest.mark.parametrize("kind", WRITERS)
def test_no_word_of_the_patient_is_in_an_object_written_for_a_real_study(kind, grid, sources, tmp_path, caplog):
    with caplog.at_level(logging.DEBUG):
        exported = Exported.of(sources, salt=SALT)
        written = WRITERS[kind](tmp_path / "x.dcm", exported, grid, region_of(grid))
    content = (tmp_path / "x.dcm").read_bytes()
    assert CANARY.encode() not in content
    assert b"19500613" not in content
    assert b"20260302" not in content  # the day of the study
    for uid in {str(sources[0][n].value) for n in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")}:
        assert uid.encode() not in content
    assert CANARY not in caplog.text
    assert written.PatientIdentityRemoved == "YES"


def test_with_identity_kept_study_and_frame_are_those_of_the_source(grid, tmp_path):
    sources = list(virtual_study(tmp_path / "ct", grid).sources)
    for source in sources:
        source.PatientName, source.PatientID = "DOE^JANE", "12345"
    dose = write_rtdose(tmp_path / "dose.dcm", grid, Exported.of(sources, keep_identity=True))
    assert (str(dose.PatientName), dose.PatientID) == ("DOE^JANE", "12345")
    assert dose.StudyInstanceUID == sources[0].StudyInstanceUID
    assert dose.FrameOfReferenceUID == sources[0].FrameOfReferenceUID
    assert dose.SeriesInstanceUID != sources[0].SeriesInstanceUID
    assert "PatientIdentityRemoved" not in dose


def test_the_canary_would_be_found_where_identity_is_kept(grid, sources, tmp_path):
    write_rtdose(tmp_path / "dose.dcm", grid, Exported.of(sources, keep_identity=True))
    assert CANARY.encode() in (tmp_path / "dose.dcm").read_bytes()


def test_identity_is_not_removed_without_a_secret(sources):
    with pytest.raises(InputError, match="salt"):
        Exported.of(sources)
    with pytest.raises(InputError, match="salt"):
        deidentified(sources[0], "short")


def test_free_words_as_labels_are_refused_where_identity_is_removed(grid, sources, tmp_path):
    exported = Exported.of(sources, salt=SALT)
    for label in (CANARY, f"tumour_{CANARY}"):
        with pytest.raises(InputError, match="free words") as error:
            write_segmentation(tmp_path / "x.dcm", {label: region_of(grid)}, exported)
        assert CANARY not in str(error.value)
    write_segmentation(tmp_path / "x.dcm", {"tumour_liver_2": region_of(grid)}, exported)


def test_sources_of_two_studies_are_refused(grid, tmp_path):
    one = virtual_study(tmp_path / "a", grid).sources
    other = StudyLabels(6, 70, 1.7, "male", BEGAN).exported()
    moved = pydicom.dcmread(tmp_path / "a" / "0000.dcm")
    moved.StudyInstanceUID = other.study_uid
    with pytest.raises(InputError, match="2 studies"):
        Exported.of([*one, moved], salt=SALT)
    with pytest.raises(InputError, match="another study"):
        other.referring_to(one)


# ---------------------------------------------------------------------------------------------------------- profile


def test_dates_move_together_and_times_of_day_stay(sources):
    source = sources[0]
    source.RadiopharmaceuticalInformationSequence = [Dataset()]
    source.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime = "20260228081500.000000"
    source.SeriesDate = source.AcquisitionDate = "20260302"
    kept = deidentified(source, SALT)
    from datetime import datetime

    day = datetime.strptime(kept.SeriesDate, "%Y%m%d")
    start = datetime.strptime(
        kept.RadiopharmaceuticalInformationSequence[0].RadiopharmaceuticalStartDateTime, "%Y%m%d%H%M%S.%f"
    )
    assert (day - start).total_seconds() == (
        BEGAN.replace(hour=0, minute=0) - datetime(2026, 2, 28, 8, 15)
    ).total_seconds()
    assert (BEGAN - day).days >= 365
    assert kept.AcquisitionDate == kept.SeriesDate


def test_the_same_salt_gives_the_same_uids_and_another_salt_others(sources):
    one, again, other = (deidentified(sources[0], salt) for salt in (SALT, SALT, SALT + "x"))
    assert one.SOPInstanceUID == again.SOPInstanceUID != other.SOPInstanceUID
    assert one.PatientID == again.PatientID != other.PatientID
    assert one.SOPClassUID == sources[0].SOPClassUID
    assert re.fullmatch(r"2\.25\.\d{1,39}", one.SOPInstanceUID)


def test_the_profile_says_what_it_did_and_refuses_burned_in_text(sources):
    kept = deidentified(sources[0], SALT)
    assert kept.PatientIdentityRemoved == "YES"
    assert "Basic Profile" in kept.DeidentificationMethod
    assert [c.CodeValue for c in kept.DeidentificationMethodCodeSequence] == ["113100", "113105", "113107", "113108"]
    sources[0].BurnedInAnnotation = "YES"
    with pytest.raises(ImageError, match="BurnedInAnnotation"):
        deidentified(sources[0], SALT)


def test_method_codes_are_those_of_the_dictionary():
    from pydicom.sr._concepts_dict import concepts

    from imaging.dicom_write.profile import METHOD_CODES

    known = {value: said[0] for codes in concepts["DCM"].values() for value, said in codes.items()}
    assert all(known[value] == meaning for value, meaning in METHOD_CODES)


def test_labels_keep_regions_and_lose_free_words():
    assert cleaned_label("Left Kidney") == "kidney_left"
    assert cleaned_label("lesion 3") == "tumour_3"
    assert cleaned_label("lesion liver 2") == "tumour_liver_2"
    assert cleaned_label("lesion of Mrs Doe") is None
    assert cleaned_label("lesion 19500613") is None
    assert cleaned_label(CANARY) is None


def test_every_attribute_of_the_allow_list_is_in_the_dictionary_and_handled():
    from dose.provenance import load_table
    from imaging.dicom_write.profile import CODED
    from imaging.dicom_write.profile_values import SIMPLE

    for row in load_table("imaging", "deidentification.csv"):
        tag = pydicom.datadict.tag_for_keyword(row["keyword"])
        vr = pydicom.datadict.dictionary_VR(tag)
        assert row["action"] in ("sequence", "pixels", *SIMPLE, *CODED)
        if vr in TEXT:
            assert row["action"] not in ("pixels", "sequence", "uid")
        if row["action"] in ("one of", "words"):
            assert row["values"]


# ------------------------------------------------------------------------------------------------------ whole folder


@pytest.fixture
def study(grid, tmp_path):
    """A folder with CT, PET, SEG and RTSTRUCT in files named after the patient."""
    root = tmp_path / "in"
    exported = virtual_study(root / "ct", grid)
    told = Radiopharmaceutical("177Lu", 159.5, 7400.0, BEGAN)
    series = ImageSeries(
        grid, "SPECT", "Bq/mL", "", "", decay_correction="START", reference_at=BEGAN.replace(hour=21),
        slice_mid_s=np.full(len(grid.array), 600.0), radiopharmaceutical=told,
    )  # fmt: skip
    write_pet_copy(root / "pet", series, exported)
    write_segmentation(root / "seg.dcm", {"kidney_left": region_of(grid), f"note {CANARY}": region_of(grid)}, exported)
    write_rtstruct(root / "rt.dcm", {"liver": region_of(grid)}, exported)
    (root / "notes.txt").write_text(CANARY, encoding="utf-8")
    for path in list(root.rglob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            d = pydicom.dcmread(path)
            d.PatientName, d.PatientID, d.InstitutionName, d.StudyDescription = [CANARY] * 4
            d.SeriesDescription = f"SPECT of {CANARY}" if d.Modality == "PT" else CANARY
            d.OperatorsName = d.Manufacturer = d.ImageComments = d.ManufacturerModelName = CANARY
            d.private_block(0x0011, CANARY, create=True).add_new(1, "LO", CANARY)
            d.save_as(path.with_name(f"{CANARY}{path.stem}.dcm"))
        path.unlink()
    return root


def test_an_exported_folder_holds_no_canary_and_reads_as_before(study, grid, tmp_path):
    before = read_folder(study)
    counts = export_deidentified(study, tmp_path / "out", SALT)
    assert counts == {"CT": 6, "PET": 6, "SEG": 1, "RTSTRUCT": 1, "left: not DICOM": 1}
    files = sorted((tmp_path / "out").rglob("*"))
    assert all(re.fullmatch(r"\d{6}\.dcm", f.name) for f in files)
    assert not any(CANARY.encode() in f.read_bytes() or b"20260302" in f.read_bytes() for f in files)
    after = read_folder(tmp_path / "out")
    for one, other in zip(before.images, sorted(after.images, key=lambda s: s.modality), strict=True):
        assert other.volume.is_on_grid_of(one.volume)
        assert np.array_equal(other.volume.array, one.volume.array)
    spect_before, spect = before.of("SPECT")[0], after.of("SPECT")[0]
    assert spect.radiopharmaceutical.nuclide == "177Lu"
    elapsed = [s.reference_at - s.radiopharmaceutical.started_at for s in (spect_before, spect)]
    assert elapsed[0] == elapsed[1]
    assert spect.decay_correction == "START"
    labels = [s.label for s in after.segmentations[0].segments]
    assert labels == ["kidney_left", "region 2"]
    assert after.contour_sets[0].contours[0].label == "liver"
    assert len({*(s.frame_hash for s in after.images), after.contour_sets[0].frame_hash}) == 1


def test_an_export_goes_to_a_new_folder_and_needs_a_secret(study, tmp_path):
    with pytest.raises(InputError, match="salt"):
        export_deidentified(study, tmp_path / "out", "")
    with pytest.raises(InputError, match="folder_out"):
        export_deidentified(study, study, SALT)
    with pytest.raises(ImageError, match="no such folder"):
        export_deidentified(tmp_path / "absent", tmp_path / "out", SALT)


def test_objects_written_later_join_the_exported_study(study, grid, tmp_path):
    """A dose written for the original CT has the UIDs of the exported copy of that CT, under the same salt."""
    export_deidentified(study, tmp_path / "out", SALT)
    originals = [pydicom.dcmread(f) for f in sorted(study.rglob("*.dcm"))]
    ct = [d for d in originals if d.Modality == "CT"]
    dose = write_rtdose(tmp_path / "dose.dcm", grid, Exported.of(ct, salt=SALT))
    copies = [pydicom.dcmread(f) for f in sorted((tmp_path / "out").glob("*.dcm"))]
    copy = next(d for d in copies if d.Modality == "CT")
    assert dose.StudyInstanceUID == copy.StudyInstanceUID
    assert dose.FrameOfReferenceUID == copy.FrameOfReferenceUID
    assert dose.PatientID == copy.PatientID


# ------------------------------------------------------------------------------------------- attributes of the classes


@pytest.mark.parametrize("kind", WRITERS)
def test_what_the_class_requires_is_there(kind, grid, sources, tmp_path):
    for exported in (virtual_study(tmp_path / "c", grid), Exported.of(sources, salt=SALT)):
        WRITERS[kind](tmp_path / f"{exported.is_virtual}.dcm", exported, grid, region_of(grid))
        assert missing_attributes(pydicom.dcmread(tmp_path / f"{exported.is_virtual}.dcm")) == []


def test_what_slices_require_is_there(grid, tmp_path):
    told = Radiopharmaceutical("177Lu", 159.5, 7400.0, BEGAN)
    series = ImageSeries(grid, "SPECT", "Bq/mL", "", "", reference_at=BEGAN, radiopharmaceutical=told)
    write_pet_copy(tmp_path / "pet", series, virtual_study(tmp_path / "c", grid))
    for folder in ("pet", "c"):
        assert missing_attributes(pydicom.dcmread(tmp_path / folder / "0000.dcm")) == []


def test_a_missing_attribute_is_noticed(grid, tmp_path):
    d = write_rtdose(tmp_path / "x.dcm", grid, virtual_study(tmp_path / "c", grid))
    del d.OperatorsName
    d.StudyInstanceUID = ""
    assert missing_attributes(d) == ["1 StudyInstanceUID", "2 OperatorsName"]
