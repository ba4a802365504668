"""Cells for spreadsheets, which run what begins like a formula."""

from datetime import datetime
from typing import Final

# A cell that begins so is a formula to one program or another (OWASP, CSV injection); a quote makes it text to all.
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def safe_cell(value: object) -> str:
    """The text of a cell: numbers and moments as they are, other text never a formula."""
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, int | float):
        return str(value)
    text = str(value)
    return f"'{text}" if text.startswith(_FORMULA_STARTS) else text
