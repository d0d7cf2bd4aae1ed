"""When to look at what: a heap of due times and three lanes of slots, without a clock, a loop or a socket.

Every job has its own offset inside its interval, hashed from its key, so the load is flat and stays where it was when a
worker is replaced. At most one look per host is in flight, and at most `max_in_flight` in all. A host is an address
with its port, since several machines may stand behind one address. A job is in one place at a time: on the heap, in its
lane's queue, parked behind its host, or in flight; so a late look is never joined by a second one of the same job. The
instants that pass meanwhile are dropped and counted.

Hosts that misbehave pay with their own slots: what accepts and hangs may hold a quarter of them, and backs off while
others like it wait for one; what is silent at connect may hold a half, each for the length of one connect, and is tried
every interval so that its return is seen. The healthy come first, unless a lane starves, and always have the remaining
quarter to themselves.

Where we are a guest, at a public feed, looks are spread around their instants, so that no two of ours and no two farms
beat in time; whatever fails is tried after 1, 2, 4, 8... intervals, and not before the server said.
"""

from __future__ import annotations

import heapq
import itertools
import zlib
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum

from agent.wire import Job
from fleet.readings import FaultKind

FIRST_LOOKS_PER_S = 50.0
"""New jobs are first looked at this fast, at most over one interval or `FIRST_LOOKS_WITHIN_S`: a small farm is seen at
once, and a price that is read every ten minutes is not awaited for ten minutes."""
FIRST_LOOKS_WITHIN_S = 30.0
LATE_S = 1.0
STARVED_S = 60.0
"""From here on the lane that has waited longest goes first, within its share: where there are more looks than slots,
the healthy would otherwise keep everybody else out for ever."""
BACKOFF_INTERVALS = (1, 2, 4, 8, 10)
"""Intervals to the next look after so many timeouts in a row, where the hung wait for each other's slots."""
BACKOFF_LIMIT_S = 300.0
"""No back-off is longer, whatever the interval: a feed that is read once a minute is not given up for ten."""
GUEST_BACKOFF_LIMIT_S = 600.0
GUEST_JITTER = 0.1  # of the interval, to either side


class Lane(Enum):
    """What the last look said about the host, and the share of all slots that such hosts may hold together."""

    __hash__ = object.__hash__  # the one of Enum runs in Python, a dozen times for each look

    HEALTHY = 1.0
    SILENT = 0.5  # refused or no answer at connect
    HUNG = 0.25  # connected, then nothing until the deadline


LANE_OF_FAULT = {
    FaultKind.REFUSED: Lane.SILENT,
    FaultKind.UNREACHABLE: Lane.SILENT,
    FaultKind.TIMEOUT: Lane.HUNG,
}
"""Every other fault is an answer: the host is there and costs a slot no longer than a healthy one."""


@dataclass(slots=True, eq=False)
class Turn:
    """One job's place in the schedule, and the look that it is taking when it is in flight.

    `due_s`: when the look should start, or should have; `started_s`: when it did, None = not in flight. Loop seconds.
    """

    job: Job
    due_s: float
    started_s: float | None = None
    lane: Lane = Lane.HEALTHY
    timeouts: int = 0
    failures: int = 0  # of any kind, in a row
    looks: int = 0
    retired: bool = False

    @property
    def lag_s(self) -> float:
        """How late the look in flight started."""
        return max(0.0, self.started_s - self.due_s) if self.started_s is not None else 0.0


def offset_ratio(key: str) -> float:
    """A job's place inside its interval, 0 <= ratio < 1; the same in every process and after every restart."""
    return zlib.crc32(key.encode(errors="surrogatepass")) / 2**32


def jitter_s(job: Job, looks: int) -> float:
    """How far from its instant this look of a guest starts; the same on every replay."""
    if not job.is_guest:
        return 0.0
    return GUEST_JITTER * job.interval_s * (2 * offset_ratio(f"{job.key} {looks}") - 1)


def next_instant(job: Job, after_s: float) -> float:
    """The job's first instant that is later than `after_s`, on the grid of its interval and offset."""
    offset_s = offset_ratio(job.key) * job.interval_s
    return ((after_s - offset_s) // job.interval_s + 1) * job.interval_s + offset_s


@dataclass(slots=True, eq=False)
class Schedule:
    """Which looks to start at an instant. Times are arguments, in loop seconds, and never run backwards."""

    max_in_flight: int = 400
    late: int = 0
    dropped: int = 0
    _turns: dict[str, Turn] = field(default_factory=dict)
    _heap: list[tuple[float, int, Turn]] = field(default_factory=list)
    _order: itertools.count[int] = field(default_factory=itertools.count)
    _queues: dict[Lane, deque[Turn]] = field(default_factory=lambda: {lane: deque() for lane in Lane})
    _in_flight: dict[Turn, Lane] = field(default_factory=dict)
    _held: dict[Lane, int] = field(default_factory=lambda: dict.fromkeys(Lane, 0))
    _behind_host: dict[tuple[str, int], deque[Turn]] = field(default_factory=dict)

    @property
    def jobs(self) -> int:
        return len(self._turns)

    @property
    def in_flight(self) -> int:
        return len(self._in_flight)

    def assign(self, jobs: Iterable[Job], now_s: float) -> list[Job]:
        """Replaces the jobs; returns those that are gone or changed. An unchanged job keeps its place and its past.

        A look that is in flight goes on to its end; its host stays taken until then.
        """
        wanted = {job.key: job for job in jobs}
        gone = [turn for key, turn in self._turns.items() if wanted.get(key) != turn.job]
        for turn in gone:
            turn.retired = True
            del self._turns[turn.job.key]
        new = [job for key, job in wanted.items() if key not in self._turns]
        for job in new:
            spread_s = min(job.interval_s, FIRST_LOOKS_WITHIN_S, len(new) / FIRST_LOOKS_PER_S)
            turn = Turn(job, now_s + offset_ratio(job.key) * spread_s)
            self._turns[job.key] = turn
            self._push(turn)
        return [turn.job for turn in gone]

    def due(self, now_s: float) -> list[Turn]:
        """The looks to start now, healthy hosts first; they count as in flight from here until `finished`."""
        while self._heap and self._heap[0][0] <= now_s:
            turn = heapq.heappop(self._heap)[2]
            self._queues[turn.lane].append(turn)
        lanes = sorted(Lane, key=lambda lane: -self._starved_s(lane, now_s))
        return [turn for lane in lanes for turn in self._starts(lane, now_s)]

    def next_due_s(self) -> float | None:
        """When to call `due` again if nothing finishes before; None = only when something finishes."""
        return self._heap[0][0] if self._heap else None

    def finished(self, turn: Turn, now_s: float, fault: FaultKind | None, wait_s: float = 0.0) -> None:
        """The look is over: frees its slot and its host, judges the host, plans the next look. Call `due` after it.

        `wait_s`: how long the host asked to be left alone.
        """
        self._held[self._in_flight.pop(turn)] -= 1
        turn.started_s = None
        for parked in reversed(self._behind_host.pop(_host(turn.job))):
            self._queues[parked.lane].appendleft(parked)
        turn.lane = LANE_OF_FAULT.get(fault, Lane.HEALTHY) if fault else Lane.HEALTHY
        turn.timeouts = turn.timeouts + 1 if turn.lane is Lane.HUNG else 0
        turn.failures = turn.failures + 1 if fault else 0
        turn.looks += 1
        if not turn.retired:
            self._plan_next(turn, now_s, wait_s)

    def oldest_s(self, now_s: float) -> float:
        """For how long the longest of the looks in flight has been running; 0 = none is."""
        starts = [turn.started_s for turn in self._in_flight if turn.started_s is not None]
        return now_s - min(starts) if starts else 0.0

    def _starved_s(self, lane: Lane, now_s: float) -> float:
        """How long a lane has waited beyond patience; 0 = not starved, so that sorting leaves it in its place."""
        queue = self._queues[lane]
        return max(0.0, now_s - queue[0].due_s - STARVED_S) if queue else 0.0

    def _starts(self, lane: Lane, now_s: float) -> list[Turn]:
        queue = self._queues[lane]
        limit = max(1, int(self.max_in_flight * lane.value))
        started: list[Turn] = []
        while queue and self._held[lane] < limit and self.in_flight < self.max_in_flight:
            turn = queue.popleft()
            if turn.retired:
                continue
            behind = self._behind_host.get(_host(turn.job))
            if behind is not None:
                behind.append(turn)
                continue
            self._start(turn, lane, now_s)
            started.append(turn)
        return started

    def _start(self, turn: Turn, lane: Lane, now_s: float) -> None:
        self._skip_past_instants(turn, now_s)
        turn.started_s = now_s
        self.late += turn.lag_s > LATE_S
        self._in_flight[turn] = lane
        self._held[lane] += 1
        self._behind_host[_host(turn.job)] = deque()

    def _plan_next(self, turn: Turn, now_s: float, wait_s: float) -> None:
        interval_s = turn.job.interval_s
        is_crowded = bool(self._queues[Lane.HUNG])  # while there are slots for all, nobody's return is missed
        skip = BACKOFF_INTERVALS[min(turn.timeouts, len(BACKOFF_INTERVALS)) - 1] if turn.timeouts and is_crowded else 1
        skip = max(1, min(skip, int(BACKOFF_LIMIT_S / interval_s)))
        if turn.job.is_guest and turn.failures > 1:
            # the first failure costs nothing: most are over at the next look
            skip = max(1, min(2 ** min(turn.failures - 1, 16), int(GUEST_BACKOFF_LIMIT_S / interval_s)))
        # Half an interval less: from a grid instant this gives exactly `skip` intervals, from a first look (which is
        # off the grid) the grid instant that is nearest to that.
        turn.due_s = next_instant(turn.job, turn.due_s + (skip - 0.5) * interval_s)
        if turn.due_s <= now_s:
            self._skip_past_instants(turn, now_s)
            turn.due_s += interval_s
            self.dropped += 1
        if turn.due_s < now_s + wait_s:
            turn.due_s = next_instant(turn.job, now_s + wait_s)
        turn.due_s = max(turn.due_s + jitter_s(turn.job, turn.looks), now_s + wait_s)
        self._push(turn)

    def _skip_past_instants(self, turn: Turn, now_s: float) -> None:
        """Moves an overdue turn to its latest instant that has come; those before it are dropped."""
        missed = max(0, int((now_s - turn.due_s) / turn.job.interval_s))
        turn.due_s += missed * turn.job.interval_s
        self.dropped += missed

    def _push(self, turn: Turn) -> None:
        heapq.heappush(self._heap, (turn.due_s, next(self._order), turn))


def _host(job: Job) -> tuple[str, int]:
    """What may be looked at by one look at a time. A job that names no host stands for itself."""
    return (job.host, job.port) if job.host else (f"job {job.key}", 0)
