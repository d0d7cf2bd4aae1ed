"""What crosses the pipe between the main process and its workers: jobs in, outcomes out.

Frames are a 4-byte little-endian length and a MessagePack body, decoded against these types; nothing that a worker
sends can run code or grow past the frame limit in the main process. The codec does no I/O: bytes in, objects out.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import msgspec

from fleet.market import Quote
from fleet.readings import Fault, FaultKind, MinerReading, PduReading
from fleet.series import Series

MAX_FRAME_BYTES = 8 * 1024 * 1024
MAX_ASSIGNMENT_BYTES = 64 * 1024 * 1024
"""Assignments come from our own main process and are long: 100,000 jobs are about 15 MB."""

_LENGTH_BYTES = 4


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
    options: dict[str, str | float | bool] | None = field(default=None, repr=False)  # with secrets in clear
    is_guest: bool = False
    """Looks go to somebody else's server: never on the beat, and less and less often while they fail."""
    way: str | None = field(default=None, compare=False)
    """How this machine is asked, as its last reading said: spares a new worker the questions, changes no job."""

    def __post_init__(self) -> None:
        """A hundred thousand jobs say the same few words; decoded ones would each keep their own copy."""
        object.__setattr__(self, "kind", sys.intern(self.kind))
        if self.way is not None:
            object.__setattr__(self, "way", sys.intern(self.way))
        if self.host == self.key:
            object.__setattr__(self, "host", self.key)


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one look gave: exactly one of reading, pdu, quotes, series or fault. `lag_s`: how late the look started."""

    key: str
    kind: str
    at_s: float
    duration_s: float
    lag_s: float
    reading: MinerReading | None = None
    pdu: PduReading | None = None
    quotes: tuple[Quote, ...] = ()
    fault: Fault | None = None
    series: Series | None = None


@dataclass(frozen=True, slots=True)
class Assignment:
    """What one worker process shall do; a new one replaces the old."""

    name: str
    jobs: tuple[Job, ...]
    max_in_flight: int = 400


@dataclass(frozen=True, slots=True)
class Pulse:
    """A worker's sign of life and its own numbers, once a second. Counters run from the start of the process.

    `late`: looks that started more than a second after their time; `dropped`: looks that never took place because the
    one before was still waiting or running, and outcomes that a newer one overtook while the pipe was full;
    `errors`: looks that ended in something other than an answer or a `PollError`, so in a bug.
    `oldest_s`: for how long the oldest look of this instant has been running.
    """

    at_s: float
    jobs: int
    in_flight: int
    polls: int
    late: int
    dropped: int
    errors: int
    oldest_s: float
    rss_bytes: int
    fds: int
    cpu_s: float


@dataclass(frozen=True, slots=True)
class Report:
    """What a worker sends: outcomes, and about once a second a pulse."""

    outcomes: tuple[Outcome, ...] = ()
    pulse: Pulse | None = None


class FrameError(Exception):
    """The bytes are no frame of ours. The stream cannot be trusted from here on: its sender has to be replaced."""


_ENCODER = msgspec.msgpack.Encoder()


def encode_frame(message: object, max_bytes: int = MAX_FRAME_BYTES) -> bytearray:
    """One frame.

    Errors: FrameError when the message is longer than `max_bytes` or holds what MessagePack cannot say (a lone
    surrogate, an integer beyond 64 bits, a foreign type).
    """
    frame = bytearray(_LENGTH_BYTES)
    try:
        _ENCODER.encode_into(message, frame, _LENGTH_BYTES)  # behind its length at once: an assignment is megabytes
    except (TypeError, ValueError, OverflowError, RecursionError, msgspec.MsgspecError) as error:
        raise FrameError(f"not encodable: {type(error).__name__}") from error
    length = len(frame) - _LENGTH_BYTES
    if length > max_bytes:
        raise FrameError(f"frame of {length} bytes, limit {max_bytes}")
    frame[:_LENGTH_BYTES] = length.to_bytes(_LENGTH_BYTES, "little")
    return frame


_REPORTS = msgspec.msgpack.Decoder(Report)


def outcome_frames(outcomes: tuple[Outcome, ...]) -> Iterator[bytearray]:
    """Frames of reports that the other side will accept, as few as possible.

    An outcome that does not fit its type or the limit (a lone surrogate, text where a number belongs, a giant) becomes
    a fault of its own key. Without this check one such device would get its worker killed again and again.
    """
    try:
        frame = encode_frame(Report(outcomes))
        _REPORTS.decode(memoryview(frame)[_LENGTH_BYTES:])
        yield frame
    except (FrameError, RecursionError, msgspec.MsgspecError) as error:
        middle = len(outcomes) // 2
        if middle:
            yield from outcome_frames(outcomes[:middle])
            yield from outcome_frames(outcomes[middle:])
        else:
            yield encode_frame(Report((_as_malformed(outcomes[0], error),)))


def _as_malformed(outcome: Outcome, error: Exception) -> Outcome:
    fault = Fault(FaultKind.MALFORMED, f"reading does not fit the wire: {type(error).__name__}")
    return Outcome(outcome.key, outcome.kind, outcome.at_s, outcome.duration_s, outcome.lag_s, fault=fault)


T = TypeVar("T")


class FrameReader(Generic[T]):
    """Turns a byte stream, cut anywhere, into messages of one type.

    Raises FrameError on a length beyond the limit or a body that does not fit the type, and on every call after that,
    since the bad frame stays where it is.
    """

    def __init__(self, type: type[T], max_bytes: int = MAX_FRAME_BYTES) -> None:
        self._decoder = msgspec.msgpack.Decoder(type)
        self._max_bytes = max_bytes
        self._buffer = bytearray()

    def feed(self, chunk: bytes) -> list[T]:
        """Takes the next bytes; returns the messages that they complete, in order."""
        self._buffer += chunk
        messages: list[T] = []
        start = 0
        try:
            with memoryview(self._buffer) as view:  # an assignment is megabytes: no copy of it
                while (end := self._end_of_body(start)) is not None:
                    with view[start + _LENGTH_BYTES : end] as body:
                        messages.append(self._decoder.decode(body))
                    start = end
        except (ValueError, RecursionError, msgspec.MsgspecError) as error:
            raise FrameError(f"body does not fit: {type(error).__name__}") from error
        del self._buffer[:start]
        return messages

    def _end_of_body(self, start: int) -> int | None:
        """Where the frame that begins at `start` ends; None while it is not all there."""
        body_start = start + _LENGTH_BYTES
        if len(self._buffer) < body_start:
            return None
        length = int.from_bytes(self._buffer[start:body_start], "little")
        if length > self._max_bytes:
            raise FrameError(f"frame of {length} bytes, limit {self._max_bytes}")
        end = body_start + length
        return end if len(self._buffer) >= end else None
