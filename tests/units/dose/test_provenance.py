"""Tables and their sources."""

import sys

import pytest

from dose.errors import InputError
from dose.provenance import constant, load_table, sources


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A package with one table that lacks a source in its second row."""
    folder = tmp_path / "tablepackage"
    (folder / "data").mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "data" / "bad.csv").write_text("# note\nname,value,unit,source_id\na,1,g,here\nb,2,g,\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "tablepackage"
    sys.modules.pop("tablepackage", None)


def test_a_row_without_a_source_is_refused(package):
    with pytest.raises(InputError, match="row 2, column source_id"):
        load_table(package, "bad.csv")


def test_a_package_without_bibliography_has_no_sources(package):
    assert sources(package) == {}


def test_a_table_is_handed_out_as_a_copy():
    load_table("dose", "densities.csv")[0]["value"] = "99"
    assert load_table("dose", "densities.csv")[0]["value"] == "1.0"


def test_a_source_has_words_to_cite():
    assert "ICRP Publication 107" in sources("dose")["icrp107"].citation


def test_an_unknown_constant_is_refused():
    assert constant("dose", "joule_per_MeV") == pytest.approx(1.602176634e-13)
    with pytest.raises(InputError, match="no such"):
        constant("dose", "no such")
