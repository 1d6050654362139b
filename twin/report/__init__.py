"""The report of a patient: the page, the reporting fields, and what they can show besides (docs/report.md)."""

from twin.report.extras import NOTICE, Extras, Picture, Stage
from twin.report.html import number
from twin.report.page import all_warnings, page
from twin.report.pictures import pictures
from twin.report.provenance import versions
from twin.report.reporting import as_json, read_recorded, reporting_fields

__all__ = [
    "NOTICE", "Extras", "Picture", "Stage", "all_warnings", "as_json", "number", "page", "pictures", "read_recorded",
    "reporting_fields", "versions",
]  # fmt: skip
