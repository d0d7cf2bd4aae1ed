"""The supervisor: keeps the worker processes alive, replaces the ones that misbehave, and says how often and why.

A worker is given work, listened to, and ended; it is never repaired. It is replaced when it dies, when nothing has
come from it for ten seconds, when one of its looks outlives every deadline, when it holds too much memory or too many
descriptors, or when a frame of it cannot be read. The main process never waits for a worker: writes are buffered, reads
are bounded, silence is counted in our own ticks.
"""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import sys
from asyncio.subprocess import PIPE, Process
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

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
)

log = logging.getLogger(__name__)

TICK_S = 1.0
SILENT_TICKS = 10
START_PATIENCE = 3
STUCK_S = 60.0
"""A look that runs this much longer than the longest deadline has swallowed its cancellation."""
DESCRIPTORS_RATIO = 0.9
BACKOFF_FIRST_S = 0.5
BACKOFF_LIMIT_S = 30.0
GOOD_LIFE_S = 60.0
"""A worker that lived this long starts again without the back-off of earlier deaths."""
READ_BYTES = 64 * 1024
LAST_WORDS_BYTES = 2048
CLOSE_S = 2.0
TERMINATE_S = 1.0


class Cause(StrEnum):
    """Why a worker was replaced."""

    START = "start"  # the process could not be started
    DIED = "died"
    SILENT = "silent"  # no frame for ten seconds: its loop hangs
    STUCK = "stuck"  # a look that does not end
    MEMORY = "memory"
    DESCRIPTORS = "descriptors"
    GARBAGE = "garbage"  # a frame that cannot be read


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """One worker: its name, what it may hold, and how many looks it may run at once.

    `descriptors` is a limit of the process; a worker that comes near it is replaced. `address_space_bytes` is a hard
    limit of virtual memory, for libraries that allocate faster than once a second we look. `command` is for tests.
    """

    name: str
    memory_bytes: int = 512 * 1024 * 1024
    descriptors: int = 4096
    max_in_flight: int = 400
    address_space_bytes: int | None = None
    command: tuple[str, ...] | None = None

    def argv(self) -> tuple[str, ...]:
        if self.command is not None:
            return self.command
        limit = () if self.address_space_bytes is None else ("--address-space-bytes", str(self.address_space_bytes))
        worker = (sys.executable, "-m", "agent.poller", self.name)
        return (*worker, "--descriptors", str(self.descriptors), *limit)


@dataclass(frozen=True, slots=True)
class WorkerStats:
    """One worker for the vitals. `restarts` by cause since the supervisor started; `pulse` None = none heard yet."""

    name: str
    pid: int | None
    jobs: int
    restarts: dict[Cause, int]
    silent_s: float
    pulse: Pulse | None


@dataclass(slots=True, eq=False)
class _Worker:
    spec: WorkerSpec
    assignment: Assignment
    process: Process | None = None
    restarts: Counter[Cause] = field(default_factory=Counter)
    pulse: Pulse | None = None
    silent_ticks: int = 0
    last_words: bytes = b""
    keeper: asyncio.Task[None] | None = None

    @property
    def stuck_s(self) -> float:
        return STUCK_S + max((job.deadline_s for job in self.assignment.jobs), default=0.0)


class Supervisor:
    """Runs one process per spec from `start` to `aclose`; what they find goes to `on_outcomes`, on the event loop.

    `on_outcomes` gets at most a few hundred outcomes at a time and must not block. `tick_s`, `silent_ticks` and
    `backoff_first_s` are arguments so that tests need not wait.
    """

    def __init__(
        self,
        specs: Iterable[WorkerSpec],
        on_outcomes: Callable[[list[Outcome]], None],
        *,
        tick_s: float = TICK_S,
        silent_ticks: int = SILENT_TICKS,
        backoff_first_s: float = BACKOFF_FIRST_S,
    ) -> None:
        self._workers = {spec.name: _Worker(spec, Assignment(spec.name, (), spec.max_in_flight)) for spec in specs}
        self._on_outcomes = on_outcomes
        self._tick_s = tick_s
        self._silent_ticks = silent_ticks
        self._backoff_first_s = backoff_first_s
        self._closing = False

    async def start(self) -> None:
        """Starts every worker; returns at once, a worker that does not start is tried again."""
        for worker in self._workers.values():
            worker.keeper = asyncio.create_task(self._keep(worker), name=f"keeper of {worker.spec.name}")

    def assign(self, name: str, jobs: Iterable[Job]) -> None:
        """Gives a worker its jobs, in place of the earlier ones, and again to each of its successors.

        Errors: KeyError for an unknown name.
        """
        worker = self._workers[name]
        worker.assignment = Assignment(name, tuple(jobs), worker.spec.max_in_flight)
        _send(worker)

    def prepare(self, name: str, jobs: Iterable[Job]) -> None:
        """The jobs that the next process of this worker starts with; the one that runs keeps those it has."""
        worker = self._workers[name]
        worker.assignment = Assignment(name, tuple(jobs), worker.spec.max_in_flight)

    def stats(self) -> list[WorkerStats]:
        return [
            WorkerStats(
                name=worker.spec.name,
                pid=worker.process.pid if worker.process else None,
                jobs=len(worker.assignment.jobs),
                restarts=dict(worker.restarts),
                silent_s=worker.silent_ticks * self._tick_s,
                pulse=worker.pulse,
            )
            for worker in self._workers.values()
        ]

    async def aclose(self) -> None:
        """Ends every worker: asks by closing its input, then terminates, then kills."""
        self._closing = True
        keepers = [worker.keeper for worker in self._workers.values() if worker.keeper]
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)

    async def _keep(self, worker: _Worker) -> None:
        loop = asyncio.get_running_loop()
        backoff_s = self._backoff_first_s
        while not self._closing:
            born_s = loop.time()
            cause, detail = await self._live(worker)
            worker.restarts[cause] += 1
            if loop.time() - born_s >= GOOD_LIFE_S:
                backoff_s = self._backoff_first_s
            said = _last_words(worker.last_words)
            log.warning("worker %s: %s, %s; a new one in %.1f s%s", worker.spec.name, cause, detail, backoff_s, said)
            await asyncio.sleep(backoff_s)
            backoff_s = min(2 * backoff_s, BACKOFF_LIMIT_S)

    async def _live(self, worker: _Worker) -> tuple[Cause, str]:
        """One process from its start to its end; why it had to end, and the same in words."""
        worker.pulse, worker.silent_ticks, worker.last_words = None, 0, b""
        try:
            process = await asyncio.create_subprocess_exec(
                *worker.spec.argv(),
                stdin=PIPE,
                stdout=PIPE,
                stderr=PIPE,
                limit=READ_BYTES,
                env=_environment(),
                start_new_session=True,  # Ctrl-C reaches the main process alone, which ends its workers in order
            )
        except OSError as error:
            return Cause.START, str(error)
        worker.process = process
        _send(worker)
        ends = [asyncio.create_task(self._listen(worker, process)), asyncio.create_task(self._watch(worker, process))]
        saying = asyncio.create_task(_hear_last_words(worker, process))
        try:
            done, _ = await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
            return done.pop().result()
        finally:
            for task in ends:
                task.cancel()
            await (_end(process) if self._closing else _kill(process))
            await asyncio.wait([saying], timeout=TERMINATE_S)
            saying.cancel()
            worker.process = None

    async def _listen(self, worker: _Worker, process: Process) -> tuple[Cause, str]:
        """Takes what the worker sends until it ends or says something unreadable."""
        assert process.stdout is not None
        frames = FrameReader(Report)
        while chunk := await process.stdout.read(READ_BYTES):
            try:
                reports = frames.feed(chunk)
            except FrameError as error:
                return Cause.GARBAGE, str(error)
            for report in reports:
                self._take(worker, report)
            # A full pipe makes read() return without a pause; the rest of the main process must have its turn.
            await asyncio.sleep(0)
        code = await process.wait()
        return Cause.DIED, f"signal {-code}" if code < 0 else f"exit {code}"

    def _take(self, worker: _Worker, report: Report) -> None:
        worker.silent_ticks = 0
        worker.pulse = report.pulse or worker.pulse
        if not report.outcomes:
            return
        try:
            self._on_outcomes(list(report.outcomes))
        except Exception as error:  # noqa: BLE001 - a bug behind us must not end the listening
            log.error("outcomes of worker %s were not taken: %s", worker.spec.name, type(error).__name__)

    async def _watch(self, worker: _Worker, process: Process) -> tuple[Cause, str]:
        """Looks at the worker once per tick until something is wrong with it.

        Silence is counted in ticks and not read from a clock: when the main process itself was held up, the frames of
        that time are still in the pipe, and the worker is not to blame.
        """
        while True:
            await asyncio.sleep(self._tick_s)
            worker.silent_ticks += 1
            wrong = self._wrong_with(worker, process.pid)
            if wrong is not None:
                return wrong

    def _wrong_with(self, worker: _Worker, pid: int) -> tuple[Cause, str] | None:
        spec, pulse = worker.spec, worker.pulse
        # Until the first pulse there are imports, from a slow card perhaps.
        patience = self._silent_ticks if pulse else START_PATIENCE * self._silent_ticks
        if worker.silent_ticks >= patience:
            return Cause.SILENT, f"nothing heard for {worker.silent_ticks * self._tick_s:g} s"
        rss_bytes = _resident_bytes(pid)
        if rss_bytes > spec.memory_bytes:
            return Cause.MEMORY, f"{rss_bytes >> 20} MiB resident, limit {spec.memory_bytes >> 20} MiB"
        if pulse and pulse.fds > DESCRIPTORS_RATIO * spec.descriptors:
            return Cause.DESCRIPTORS, f"{pulse.fds} descriptors, limit {spec.descriptors}"
        if pulse and pulse.oldest_s > worker.stuck_s:
            return Cause.STUCK, f"a look has been running for {pulse.oldest_s:.0f} s"
        return None


def _send(worker: _Worker) -> None:
    """Writes the assignment without waiting; a worker that does not read is ended for its silence."""
    stdin = worker.process.stdin if worker.process else None
    if stdin is not None and not stdin.is_closing():
        stdin.write(encode_frame(worker.assignment, MAX_ASSIGNMENT_BYTES))


async def _hear_last_words(worker: _Worker, process: Process) -> None:
    """Drains standard error and keeps its end, for the one line that is logged when the worker ends."""
    assert process.stderr is not None
    while chunk := await process.stderr.read(LAST_WORDS_BYTES):
        worker.last_words = (worker.last_words + chunk)[-LAST_WORDS_BYTES:]


def _last_words(stderr: bytes) -> str:
    lines = stderr.decode(errors="replace").strip().splitlines()
    return f"; it said: {''.join(c if c.isprintable() else '?' for c in lines[-1][:200])}" if lines else ""


async def _end(process: Process) -> None:
    """Asks a healthy worker to end: closed input, then SIGTERM, then SIGKILL."""
    if process.stdin is not None:
        process.stdin.close()
    if await _has_ended(process, CLOSE_S):
        return
    try:
        process.terminate()
    except ProcessLookupError:
        pass  # it ended between our look and our word
    if not await _has_ended(process, TERMINATE_S):
        await _kill(process)


async def _has_ended(process: Process, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            await process.wait()
    except TimeoutError:
        return False
    return True


async def _kill(process: Process) -> None:
    try:
        process.kill()
    except ProcessLookupError:
        pass  # it ended by itself
    await process.wait()


def _resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone, which its closed pipe says better."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _environment() -> dict[str, str]:
    """Ours, with the place of this package, so that a worker starts from any directory and any kind of install."""
    root = str(Path(__file__).resolve().parents[1])
    others = os.environ.get("PYTHONPATH")
    return os.environ | {"PYTHONPATH": f"{root}{os.pathsep}{others}" if others else root}
