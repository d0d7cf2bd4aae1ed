"""Keeps secrets out of the log, by the table that recordings are redacted by.

Addresses, MACs and serials stay: without them nobody could find the machine that a line is about.
"""

from __future__ import annotations

import logging
import traceback
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collectors.redaction import Redactor


class Discreet(logging.Filter):
    """Lets every record pass, with its text redacted. Sits on a handler: filters of a logger miss its children."""

    @cached_property
    def _redactor(self) -> Redactor:
        from collectors.redaction import Redactor  # most commands never log a line

        return Redactor()

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            said = record.getMessage()
        except Exception:  # noqa: BLE001 - a log line that cannot be formatted is for the handler to complain about
            return True
        record.msg, record.args = self._redactor.text(said), None
        if record.exc_info and not record.exc_text:
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip()
        if record.exc_text:
            record.exc_text = self._redactor.text(record.exc_text)
        return True
