"""Small values as DICOM wants them: decimal strings, dates, UIDs, coded concepts."""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime

import numpy as np


def decimal(value: float) -> str:
    """A decimal string (DS) of at most 16 characters, good to one part in 1e10."""
    return f"{float(value):.10g}"


def date_and_time(moment: datetime) -> tuple[str, str]:
    """DA and TM."""
    return moment.strftime("%Y%m%d"), moment.strftime("%H%M%S.%f")


def digest(*parts) -> str:
    """A fingerprint of words and arrays."""
    sha = hashlib.sha256()
    for part in parts:
        content = part.tobytes() if isinstance(part, np.ndarray) else str(part).encode()
        sha.update(len(content).to_bytes(8, "big") + content)
    return sha.hexdigest()


def uid_from(*parts) -> str:
    """A UID under the root 2.25 (a UUID as a number, PS3.5 B.2), the same for the same parts."""
    return f"2.25.{uuid.UUID(hex=digest(*parts)[:32], version=4).int}"


def code_item(value: str, scheme: str, meaning: str):
    """One item of a code sequence."""
    from pydicom.dataset import Dataset

    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, scheme, meaning
    return item
