"""The loop inside a worker process: assignments in, looks at the right time, reports out. `python -m agent.poller NAME`

`schedule.py` says when, a collector says what; here are the tasks, the total deadline, the judgement of what a look
ended in, and the two pipes. Whatever a device does becomes an `Outcome`; whatever a collector does wrong becomes a
`Fault` and a count. Nothing queues without bound: at most `max_in_flight` looks run, and while the main process does
not read, the newest outcome of each job waits and older ones are dropped and counted.

The process ends when its standard input closes or its parent dies. Secrets come in the assignment, never in arguments.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Coroutine
from itertools import islice
from typing import BinaryIO, cast

import uvloop

from agent.allocator import return_large_blocks
from agent.schedule import Schedule, Turn
from agent.wire import (
    MAX_ASSIGNMENT_BYTES,
    Assignment,
    FrameError,
    FrameReader,
    Job,
    Outcome,
    Pulse,
    Report,
    encode_frame,
    outcome_frames,
)
from collectors import catalogue
from fleet.market import Quote
from fleet.ports import Feed, Miner, Pdu, PollError, SeriesFeed
from fleet.readings import Fault, FaultKind, MinerReading, PduReading
from fleet.series import Series

Device = Miner | Pdu | Feed | SeriesFeed
Answer = MinerReading | PduReading | tuple[Quote, ...] | Series
OpenDevice = Callable[[Job], Device]
Emit = Callable[[Report], bool]
"""Takes a report; False = not now, and nothing was taken."""

BATCH_S = 0.1
BATCH_OUTCOMES = 256
PULSE_S = 1.0
TICK_S = 0.005
"""Due times closer together than this share one timer."""
VERDICT_S = 0.25
"""What a look gets beyond its deadline, so that the device's own verdict (silent, refused, hung) comes first."""
CLOSE_S = 1.0
DETAIL_CHARS = 200
SPARE_DESCRIPTORS = 64
WRITE_BUFFER_BYTES = 256 * 1024


async def look(job: Job, device: Device) -> Answer | Fault:
    """One look within one total deadline. Raises only what is a bug of the collector."""
    try:
        async with asyncio.timeout(job.deadline_s + VERDICT_S):
            return await device.read()
    except TimeoutError:
        return Fault(FaultKind.TIMEOUT, f"no answer within {job.deadline_s:g} s")
    except PollError as error:
        return Fault(error.kind, _printable(error.detail), error.wait_s)


def outcome_of(job: Job, verdict: Answer | Fault, at_s: float, duration_s: float, lag_s: float) -> Outcome:
    """The verdict of a look in its own field; what is none of them is a fault of the collector."""
    match verdict:
        case Fault():
            return Outcome(job.key, job.kind, at_s, duration_s, lag_s, fault=verdict)
        case MinerReading():
            return Outcome(job.key, job.kind, at_s, duration_s, lag_s, reading=verdict)
        case PduReading():
            return Outcome(job.key, job.kind, at_s, duration_s, lag_s, pdu=verdict)
        case Series():
            return Outcome(job.key, job.kind, at_s, duration_s, lag_s, series=verdict)
        case tuple():
            return Outcome(job.key, job.kind, at_s, duration_s, lag_s, quotes=verdict)
    fault = Fault(FaultKind.MALFORMED, f"collector gave a {type(verdict).__name__}")
    return Outcome(job.key, job.kind, at_s, duration_s, lag_s, fault=fault)


class Poller:
    """Runs the looks of one assignment after the other on the running event loop.

    `open_device` makes the collector of a job, `emit` takes reports, `wall` stamps outcomes (Unix seconds). The loop's
    own clock does everything else, so that on a loop with a virtual clock a day takes a moment.
    """

    def __init__(self, open_device: OpenDevice, emit: Emit, wall: Callable[[], float] = time.time) -> None:
        self._open_device = open_device
        self._emit = emit
        self._wall = wall
        self._loop = asyncio.get_running_loop()
        self._schedule = Schedule()
        self._devices: dict[str, Device] = {}
        self._waiting: dict[str, Outcome] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closing = False
        self._polls = self._errors = self._overtaken = 0
        self._tick_handle: asyncio.TimerHandle | None = None
        self._flush_handle = self._loop.call_later(BATCH_S, self._flush_again)
        self._pulse_handle = self._loop.call_later(PULSE_S, self._pulse_again)

    def assign(self, assignment: Assignment) -> None:
        """Replaces the jobs. Unchanged jobs keep their devices, their place and their past."""
        for job in self._schedule.assign(assignment.jobs, self._loop.time()):
            device = self._devices.pop(job.key, None)
            if device is not None:
                self._spawn(_close(device))
        self._schedule.max_in_flight = min(assignment.max_in_flight, _descriptor_budget())
        self._open_one_of_each_kind(assignment.jobs)
        self._tick()

    async def aclose(self) -> None:
        """Ends the looks in flight, closes the devices, emits what is left."""
        self._closing = True
        for handle in (self._tick_handle, self._flush_handle, self._pulse_handle):
            if handle is not None:
                handle.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.gather(*(_close(device) for device in self._devices.values()))
        self._flush()

    def pulse(self) -> Pulse:
        return Pulse(
            at_s=self._wall(),
            jobs=self._schedule.jobs,
            in_flight=self._schedule.in_flight,
            polls=self._polls,
            late=self._schedule.late,
            dropped=self._schedule.dropped + self._overtaken,
            errors=self._errors,
            oldest_s=self._schedule.oldest_s(self._loop.time()),
            rss_bytes=_resident_bytes(),
            fds=_open_descriptors(),
            cpu_s=time.process_time(),
        )

    def _tick(self) -> None:
        """Starts what is due, and sets the one timer to what is due next."""
        if self._closing:
            return
        if self._tick_handle is not None:
            self._tick_handle.cancel()
            self._tick_handle = None
        now_s = self._loop.time()
        for turn in self._schedule.due(now_s):
            self._spawn(self._take(turn))
        next_s = self._schedule.next_due_s()
        if next_s is not None:
            self._tick_handle = self._loop.call_at(max(next_s, now_s + TICK_S), self._tick)

    async def _take(self, turn: Turn) -> None:
        verdict: Answer | Fault = Fault(FaultKind.TIMEOUT, "the look was cancelled")
        lag_s, start_s = turn.lag_s, self._loop.time()
        try:
            if not turn.retired:
                verdict = await look(turn.job, self._device(turn.job))
        except Exception as error:  # noqa: BLE001 - a collector's bug costs one reading, never the worker
            self._errors += not turn.retired
            verdict = Fault(FaultKind.MALFORMED, type(error).__name__)
        finally:  # also when cancelled by a library from within: the slot must come back
            now_s = self._loop.time()
            kind, wait_s = (verdict.kind, verdict.wait_s) if isinstance(verdict, Fault) else (None, 0.0)
            self._schedule.finished(turn, now_s, kind, wait_s)
            self._polls += 1
            if not turn.retired:
                self._keep(outcome_of(turn.job, verdict, self._wall(), now_s - start_s, lag_s))
            self._tick()

    def _device(self, job: Job) -> Device:
        device = self._devices.get(job.key)
        if device is None:
            device = self._devices[job.key] = self._open_device(job)
        return device

    def _open_one_of_each_kind(self, jobs: tuple[Job, ...]) -> None:
        """Heavy libraries are imported with the first device of a kind: before the looks start, not in their midst."""
        for job in {job.kind: job for job in jobs}.values():
            try:
                self._device(job)
            except Exception:  # noqa: BLE001, S110 - the look of this job meets it again and names it
                pass

    def _keep(self, outcome: Outcome) -> None:
        self._overtaken += outcome.key in self._waiting
        self._waiting[outcome.key] = outcome
        if len(self._waiting) == BATCH_OUTCOMES:
            self._flush()

    def _flush(self) -> None:
        while self._waiting:
            batch = tuple(islice(self._waiting.values(), BATCH_OUTCOMES))
            if not self._emit(Report(batch)):
                return
            for outcome in batch:
                del self._waiting[outcome.key]

    def _flush_again(self) -> None:
        self._flush()
        self._flush_handle = self._loop.call_later(BATCH_S, self._flush_again)

    def _pulse_again(self) -> None:
        # A pulse that cannot leave is not kept: the next one says more.
        self._emit(Report(pulse=self.pulse()))
        self._pulse_handle = self._loop.call_later(PULSE_S, self._pulse_again)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _close(device: Device) -> None:
    try:
        async with asyncio.timeout(CLOSE_S):
            await device.aclose()
    except Exception:  # noqa: BLE001, S110 - nobody waits for a device that we leave
        pass


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:DETAIL_CHARS])


def _descriptor_budget() -> int:
    """Looks that this process has descriptors for, each holding one."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return sys.maxsize if limit == resource.RLIM_INFINITY else max(1, limit - SPARE_DESCRIPTORS)


def _resident_bytes() -> int:
    with open("/proc/self/statm") as statm:  # noqa: PTH123 - read each second
        return int(statm.read().split()[1]) * resource.getpagesize()


def _open_descriptors() -> int:
    with os.scandir("/proc/self/fd") as entries:
        return sum(1 for _ in entries) - 1  # one is the listing itself


class _Inbox(asyncio.Protocol):
    """Standard input: assignments, until it closes or something comes that is none."""

    def __init__(self, poller: Poller, done: asyncio.Event) -> None:
        self._poller = poller
        self._done = done
        self._frames = FrameReader(Assignment, MAX_ASSIGNMENT_BYTES)

    def data_received(self, data: bytes) -> None:
        try:
            for assignment in self._frames.feed(data):
                self._poller.assign(assignment)
        except FrameError:
            self._done.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self._done.set()


class _Outbox(asyncio.BaseProtocol):
    """Standard output: reports, while the main process reads them."""

    def __init__(self, done: asyncio.Event) -> None:
        self._done = done
        self._open = False
        self._transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.WriteTransport, transport)  # uvloop's is one in all but its base class
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER_BYTES)
        self._open = True

    def pause_writing(self) -> None:
        self._open = False

    def resume_writing(self) -> None:
        self._open = True

    def connection_lost(self, exc: Exception | None) -> None:
        self._open = False
        self._done.set()

    def emit(self, report: Report) -> bool:
        if not self._open or self._transport is None:
            return False
        if report.pulse is not None:
            self._transport.write(encode_frame(Report(pulse=report.pulse)))
        for frame in outcome_frames(report.outcomes) if report.outcomes else ():
            self._transport.write(frame)
        return True


async def _serve(pipe_in: BinaryIO, pipe_out: BinaryIO, open_device: OpenDevice) -> None:
    loop = asyncio.get_running_loop()
    done = asyncio.Event()
    outbox = _Outbox(done)
    await loop.connect_write_pipe(lambda: outbox, pipe_out)
    poller = Poller(open_device, outbox.emit)
    await loop.connect_read_pipe(lambda: _Inbox(poller, done), pipe_in)
    await done.wait()
    await poller.aclose()


def open_from_catalogue(job: Job) -> Device:
    """The collector of a job, by the catalogue, which imports heavy libraries only now."""
    return catalogue.open_device(job.kind, job.host, job.port, job.deadline_s, job.options, now=time.time, way=job.way)


def _take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """Our two pipes, under other numbers: a library that prints or reads must not touch the frames."""
    pipe_in, pipe_out = os.fdopen(os.dup(0), "rb", buffering=0), os.fdopen(os.dup(1), "wb", buffering=0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    return pipe_in, pipe_out


def _die_with_parent() -> None:
    """A worker whose loop is blocked never sees its input close; the kernel then ends it for us."""
    PR_SET_PDEATHSIG = 1
    try:
        # Inside, because under MemoryDenyWriteExecute its import may fail: it makes a callback thunk.
        import ctypes

        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    except (ImportError, OSError, AttributeError, MemoryError):
        pass  # the closing of the input remains


def _limit(kind: int, wanted: int | None) -> None:
    if wanted is not None:
        _, hard = resource.getrlimit(kind)
        resource.setrlimit(kind, (wanted if hard == resource.RLIM_INFINITY else min(wanted, hard), hard))


def main(argv: list[str] | None = None, open_device: OpenDevice = open_from_catalogue) -> int:
    """The worker process. Exit 0 when its input closed, anything else is a death that the supervisor counts."""
    parser = argparse.ArgumentParser(prog="agent.poller", description="worker process; started by the agent")
    parser.add_argument("name", help="shown in the process list")
    parser.add_argument("--descriptors", type=int, help="limit on open files")
    parser.add_argument("--address-space-bytes", type=int, help="limit on virtual memory")
    options = parser.parse_args(argv)
    _die_with_parent()
    _limit(resource.RLIMIT_NOFILE, options.descriptors)
    _limit(resource.RLIMIT_AS, options.address_space_bytes)
    return_large_blocks()
    uvloop.run(_serve(*_take_standard_streams(), open_device))
    return 0


if __name__ == "__main__":
    sys.exit(main())
