"""What crosses the pipe between the main process and its workers: jobs in, outcomes out.

Frames are a 4-byte little-endian length and a MessagePack body, decoded against these types; nothing that a worker
sends can run code or grow past the frame limit in the main process.
"""

from __future__ import annotations

from dataclasses import dataclass

from fleet.market import Quote
from fleet.readings import Fault, MinerReading, PduReading

MAX_FRAME_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Job:
    """One device or feed to look at, again and again: where, how, how often.

    `key` names it in outcomes: the address of a miner ("10.1.0.7" or "127.0.0.1:4028"), the id of a PDU, the name of a
    feed. `kind` is a key of collectors/catalogue.py ("antminer", "pyasic", "snmp", "mempool", ...).
    """

    key: str
    kind: str
    host: str
    port: int
    interval_s: float
    deadline_s: float
    options: dict[str, str | float | bool] | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look gave: exactly one of reading, pdu, quotes or fault. `lag_s`: how late the look started."""

    key: str
    kind: str
    at_s: float
    duration_s: float
    lag_s: float
    reading: MinerReading | None = None
    pdu: PduReading | None = None
    quotes: tuple[Quote, ...] = ()
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker process shall do; a new one replaces the old."""

    name: str
    jobs: tuple[Job, ...]
    max_in_flight: int = 400
