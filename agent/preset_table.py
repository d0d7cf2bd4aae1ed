"""Which machine has told which presets, and which of them is in force: kept beside the table, for those that tell any.

A list is heard every few hours and the name of the preset in force with the reading, so the two meet here. Thousands of
machines say the same list: it is kept once, and a machine costs some 200 bytes; one that tells none costs nothing.
"""

from __future__ import annotations

import logging
from typing import NamedTuple

import numpy as np

from fleet.presets import NO_PRESETS, PresetColumns, PresetLists, tabulate
from fleet.readings import MinerReading, Preset

log = logging.getLogger(__name__)

MAX_LISTS = 4096
"""Different lists of one fleet that are kept: a few for each model, as far as its machines are tuned."""


class _Told(NamedTuple):
    line: int
    in_force: int
    told_s: float
    driver: str
    firmware: str | None


class PresetTable:
    """Presets by row of the table."""

    def __init__(self) -> None:
        self._lists: list[tuple[Preset, ...]] = []
        self._line_of: dict[tuple[Preset, ...], int] = {}
        self._told: dict[int, _Told] = {}
        self._tables = PresetLists()
        self._columns: PresetColumns | None = NO_PRESETS
        self._is_full = False

    def take(self, row: int, at_s: float, reading: MinerReading) -> None:
        """A reading of the machine of this row. Under another firmware it has other presets, until it tells them."""
        before = self._told.get(row)
        if before is None and not reading.presets:
            return
        now = self._judged(before, at_s, reading)
        if now is None:
            self._told.pop(row, None)
        else:
            self._told[row] = now
        if now != before:
            self._columns = None

    def columns(self) -> PresetColumns:
        """As it stands now; the same object while nothing changes."""
        if self._columns is None:
            if len(self._tables.lists) != len(self._lists):
                self._tables = tabulate(self._lists)
            told = self._told.values()
            self._columns = PresetColumns(
                self._tables,
                rows=np.array(tuple(self._told), np.int64),
                line=np.array([one.line for one in told], np.int64),
                in_force=np.array([one.in_force for one in told], np.int64),
                told_s=np.array([one.told_s for one in told], np.float64),
            )
        return self._columns

    def _judged(self, before: _Told | None, at_s: float, reading: MinerReading) -> _Told | None:
        firmware = reading.firmware
        if reading.presets:
            line, told_s = self._line(reading.presets), at_s
        elif before is not None and reading.driver == before.driver and firmware in (None, before.firmware):
            line, told_s, firmware = before.line, before.told_s, before.firmware
        else:
            return None
        if line is None:
            return None
        return _Told(line, _place(self._lists[line], reading.mode), told_s, reading.driver, firmware)

    def _line(self, presets: tuple[Preset, ...]) -> int | None:
        line = self._line_of.get(presets)
        if line is None and len(self._lists) < MAX_LISTS:
            line = self._line_of[presets] = len(self._lists)
            self._lists.append(presets)
        elif line is None and not self._is_full:
            self._is_full = True
            log.warning("more than %d different lists of presets: those of further machines are not kept", MAX_LISTS)
        return line


def _place(presets: tuple[Preset, ...], name: str | None) -> int:
    """Place of the preset of this name, -1 where there is none."""
    return next((place for place, preset in enumerate(presets) if name and preset.name == name), -1)
