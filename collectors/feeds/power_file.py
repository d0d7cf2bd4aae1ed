"""Power prices in a CSV file that somebody writes: `time,value`, read anew at every look."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from collectors.feeds.fields import malformed, printable
from collectors.feeds.power_series import KWH_PER
from fleet.ports import PollError
from fleet.readings import FaultKind
from fleet.series import MAX_CSV_BYTES, Series, SeriesError, parse_series_csv


@dataclass(frozen=True, slots=True)
class FileOptions:
    """`per`: what the values are per; `unit`: their currency; `step_s` None = the shortest distance of two lines."""

    name: str
    path: str
    per: Literal["kwh", "mwh"]
    unit: str
    step_s: float | None = None


class PowerFileFeed:
    """One file. A look that finds it half-written fails, and what was known before stays known."""

    def __init__(self, options: FileOptions) -> None:
        self._options = options

    async def read(self) -> Series:
        options = self._options
        try:
            content = await asyncio.to_thread(_read, Path(options.path))
        except OSError as error:
            raise PollError(FaultKind.UNREACHABLE, f"cannot read the file: {error.strerror}") from None
        if len(content) > MAX_CSV_BYTES:
            raise PollError(FaultKind.OVERSIZE, f"more than {MAX_CSV_BYTES} bytes")
        try:
            text = content.decode("utf-8-sig")
            return parse_series_csv(text, options.name, 1.0 / KWH_PER[options.per], options.unit, options.step_s)
        except (UnicodeDecodeError, SeriesError) as error:
            raise malformed(printable(str(error))) from None

    async def aclose(self) -> None:
        pass


def _read(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(MAX_CSV_BYTES + 1)
