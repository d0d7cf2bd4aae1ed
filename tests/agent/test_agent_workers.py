"""The supervisor with real processes: each way to go wrong ends a worker, is counted, and leaves its sister alone."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
from virtual_time import run, skip_time

from agent import workers
from agent.wire import Job, Outcome, Pulse, Report, encode_frame
from agent.workers import Cause, Supervisor, WorkerSpec, WorkerStats
from fleet.readings import MinerReading

PATIENCE_S = 60.0
"""For what takes a second or two on an idle machine."""

DEVICE = """
import asyncio, os, sys, time
from agent.poller import main
from fleet.readings import MinerReading

class Device:
    def __init__(self, job): self.job = job
    async def aclose(self): pass
    async def read(self):
        {body}
        return MinerReading("scripted", "Scripted", hashrate_hs=1e14)

sys.exit(main([sys.argv[1]], Device))
"""


def spec(name: str, body: str = "pass", **limits: int) -> WorkerSpec:
    """A real worker whose devices do this at each look."""
    script = DEVICE.format(body=textwrap.indent(textwrap.dedent(body).strip(), "        ").strip())
    return WorkerSpec(name, command=(sys.executable, "-c", script, name), **limits)


def job(key: str, interval_s: float = 1.0, deadline_s: float = 0.5) -> Job:
    return Job(key, "scripted", key, 4028, interval_s, deadline_s)


JOBS = [job(f"m{n}") for n in range(20)]


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not holds():
            await asyncio.sleep(0.02)


class Farm:
    """A supervisor under test and what came out of it."""

    def __init__(self, *specs: WorkerSpec, silent_ticks: int = 300) -> None:
        self.outcomes: list[Outcome] = []
        self.supervisor = Supervisor(
            specs, self.outcomes.extend, tick_s=0.05, silent_ticks=silent_ticks, backoff_first_s=0.05
        )

    def stats(self, name: str) -> WorkerStats:
        return next(stats for stats in self.supervisor.stats() if stats.name == name)

    async def __aenter__(self) -> Farm:
        await self.supervisor.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.supervisor.aclose()


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


async def test_outcomes_arrive_and_the_pulse_says_how_it_goes() -> None:
    async with Farm(spec("good", "print('a library that prints')")) as farm:
        farm.supervisor.assign("good", JOBS)
        await until(lambda: len({outcome.key for outcome in farm.outcomes}) == 20)
        await until(lambda: farm.stats("good").pulse is not None)
        stats = farm.stats("good")
        assert stats.pulse is not None
        assert farm.outcomes[0].reading == MinerReading("scripted", "Scripted", hashrate_hs=1e14)
        assert abs(farm.outcomes[0].at_s - time.time()) < PATIENCE_S
        assert (stats.jobs, stats.pulse.jobs, stats.restarts) == (20, 20, {})
        assert stats.pulse.rss_bytes > 5_000_000
        assert 3 < stats.pulse.fds < 60
        assert stats.pulse.cpu_s > 0.0


async def test_a_later_assignment_replaces_the_jobs() -> None:
    async with Farm(spec("good")) as farm:
        farm.supervisor.assign("good", JOBS)
        await until(lambda: len(farm.outcomes) > 20)
        farm.supervisor.assign("good", [job("other")])
        await until(lambda: any(outcome.key == "other" for outcome in farm.outcomes))
        farm.outcomes.clear()
        await until(lambda: len(farm.outcomes) >= 3)
        assert {outcome.key for outcome in farm.outcomes[1:]} == {"other"}


async def test_closing_ends_the_processes_and_counts_nothing() -> None:
    async with Farm(spec("a"), spec("b", "await asyncio.sleep(1000)")) as farm:
        farm.supervisor.assign("b", [job("x", deadline_s=900.0)])
        await until(lambda: all(stats.pulse for stats in farm.supervisor.stats()))
        pids = [stats.pid for stats in farm.supervisor.stats()]
    assert [is_running(pid) for pid in pids if pid] == [False, False]
    assert [stats.restarts for stats in farm.supervisor.stats()] == [{}, {}]


async def test_a_worker_that_ignores_every_request_to_end_is_killed() -> None:
    stubborn = (sys.executable, "-c", "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(1000)")
    farm = Farm(WorkerSpec("stubborn", command=stubborn))
    await farm.supervisor.start()
    await until(lambda: farm.stats("stubborn").pid is not None)
    pid = farm.stats("stubborn").pid
    assert pid is not None
    await until(lambda: int(_signals_ignored(pid), 16) & (1 << (signal.SIGTERM - 1)) != 0)
    await farm.supervisor.aclose()
    assert not is_running(pid)


def _signals_ignored(pid: int) -> str:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith("SigIgn"))


GARBAGE = (
    sys.executable,
    "-c",
    "import sys, time; sys.stdout.write('INFO ready\\n' * 100); sys.stdout.flush(); time.sleep(1000)",
)


@pytest.mark.parametrize(
    ("bad", "cause"),
    [
        pytest.param(spec("bad", "os._exit(3)"), Cause.DIED, id="dies"),
        pytest.param(spec("bad", "os.kill(os.getpid(), 11)"), Cause.DIED, id="crashes"),
        pytest.param(
            spec("bad", "globals().setdefault('leak', bytearray(150_000_000))", memory_bytes=100_000_000),
            Cause.MEMORY,
            id="leaks memory",
        ),
        pytest.param(
            spec("bad", "self.leak = [open('/dev/null') for _ in range(105)]", descriptors=128),
            Cause.DESCRIPTORS,
            id="leaks descriptors",
        ),
        pytest.param(WorkerSpec("bad", command=GARBAGE), Cause.GARBAGE, id="sends garbage"),
        pytest.param(WorkerSpec("bad", command=("/nonexistent/python",)), Cause.START, id="does not start"),
    ],
)
async def test_a_worker_that_goes_wrong_is_replaced_and_counted_and_its_sister_is_not(
    bad: WorkerSpec, cause: Cause
) -> None:
    async with Farm(spec("good"), bad) as farm:
        farm.supervisor.assign("good", JOBS)
        farm.supervisor.assign("bad", JOBS)
        await until(lambda: farm.stats("good").pulse is not None)
        sister = farm.stats("good").pid
        await until(lambda: farm.stats("bad").restarts.get(cause, 0) >= 2)  # so the successor had the jobs too
        assert set(farm.stats("bad").restarts) == {cause}
        farm.outcomes.clear()
        await until(lambda: len(farm.outcomes) > 20)
        assert (farm.stats("good").pid, farm.stats("good").restarts) == (sister, {})


async def test_a_worker_whose_loop_hangs_is_replaced() -> None:
    async with Farm(spec("bad", "time.sleep(1000)"), silent_ticks=40) as farm:
        farm.supervisor.assign("bad", JOBS)
        await until(lambda: farm.stats("bad").pid is not None)
        first = farm.stats("bad").pid
        await until(lambda: farm.stats("bad").restarts.get(Cause.SILENT, 0) >= 1)
        await until(lambda: farm.stats("bad").pid not in (None, first))


async def test_a_worker_with_a_look_that_never_ends_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "STUCK_S", 0.5)
    swallow = """
    while True:
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            pass
    """
    async with Farm(spec("bad", swallow)) as farm:
        farm.supervisor.assign("bad", JOBS)
        await until(lambda: farm.stats("bad").restarts.get(Cause.STUCK, 0) >= 1)


async def test_the_operator_reads_one_line_and_no_traceback(caplog: pytest.LogCaptureFixture) -> None:
    broken = (sys.executable, "-c", "raise MemoryError('no\\x1b[31m more')")
    async with Farm(WorkerSpec("bad", command=broken)) as farm:
        await until(lambda: farm.stats("bad").restarts.get(Cause.DIED, 0) >= 1)
    line = caplog.messages[0]
    assert line.startswith("worker bad: died, exit 1; a new one in 0.1 s; it said: MemoryError: no?[31m more")
    assert "\n" not in line


async def test_what_happens_to_outcomes_behind_us_does_not_stop_the_listening() -> None:
    seen: list[int] = []

    def refuse(outcomes: list[Outcome]) -> None:
        seen.append(len(outcomes))
        raise RuntimeError("a bug in the table")

    supervisor = Supervisor([spec("good")], refuse)
    await supervisor.start()
    supervisor.assign("good", JOBS)
    await until(lambda: len(seen) >= 3)
    assert supervisor.stats()[0].restarts == {}
    await supervisor.aclose()


async def test_workers_have_a_session_of_their_own_so_that_ctrl_c_does_not_reach_them() -> None:
    async with Farm(spec("good")) as farm:
        await until(lambda: farm.stats("good").pulse is not None)
        pid = farm.stats("good").pid
        assert pid is not None
        assert os.getsid(pid) == pid


@pytest.fixture
async def orphan(tmp_path: Path) -> AsyncIterator[tuple[subprocess.Popen[str], int]]:
    """A parent with a supervisor whose worker is blocked for good (its loop no longer sees its input close)."""
    blocked = spec("blocked", f"open({str(tmp_path / 'blocked')!r}, 'w').close(); time.sleep(1000)")
    parent_script = f"""
import asyncio
from agent.wire import Job
from agent.workers import Supervisor, WorkerSpec

async def main():
    supervisor = Supervisor([WorkerSpec("blocked", command={blocked.command!r})], print)
    await supervisor.start()
    supervisor.assign("blocked", [Job("x", "scripted", "x", 1, 1.0, 0.5)])
    while supervisor.stats()[0].pid is None:
        await asyncio.sleep(0.02)
    print(supervisor.stats()[0].pid, flush=True)
    await asyncio.sleep(1000)

asyncio.run(main())
"""
    parent = subprocess.Popen(
        [sys.executable, "-c", parent_script], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    )
    assert parent.stdout is not None
    worker = int(parent.stdout.readline())
    await until((tmp_path / "blocked").exists)
    yield parent, worker
    parent.kill()
    parent.wait()
    parent.stdout.close()


async def test_a_blocked_worker_does_not_outlive_a_killed_parent(orphan: tuple[subprocess.Popen[str], int]) -> None:
    parent, worker = orphan
    assert is_running(worker)
    parent.kill()
    await until(lambda: not is_running(worker))


class ScriptedProcess:
    """A process that lives until it is killed and says what the test feeds it."""

    pid = os.getpid()  # for its memory, which is not the point here
    stdin = None

    def __init__(self) -> None:
        self.stdout, self.stderr = asyncio.StreamReader(), asyncio.StreamReader()
        self.ended = asyncio.Event()

    def kill(self) -> None:
        self.stderr.feed_eof()
        self.ended.set()

    async def wait(self) -> int:
        await self.ended.wait()
        return -signal.SIGKILL


PULSE = encode_frame(Report(pulse=Pulse(0.0, 0, 0, 0, 0, 0, 0, 0.0, 0, 10, 0.0)))


def test_silence_is_ten_seconds_of_our_own_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    processes: list[ScriptedProcess] = []

    async def start(*_: object, **__: object) -> ScriptedProcess:
        processes.append(ScriptedProcess())
        return processes[-1]

    monkeypatch.setattr(asyncio, "create_subprocess_exec", start)

    async def story() -> None:
        supervisor = Supervisor([WorkerSpec("x", memory_bytes=2**40)], lambda _: None)
        await supervisor.start()
        await asyncio.sleep(29.0)
        assert supervisor.stats()[0].restarts == {}  # still importing, from a slow card
        processes[0].stdout.feed_data(PULSE)
        await asyncio.sleep(9.0)
        assert supervisor.stats()[0].restarts == {}
        processes[0].stdout.feed_data(PULSE)
        skip_time(60.0)  # the main process was held up for a minute; the worker was not
        await asyncio.sleep(8.0)
        assert supervisor.stats()[0].restarts == {}
        await asyncio.sleep(3.0)
        assert supervisor.stats()[0].restarts == {Cause.SILENT: 1}
        assert processes[0].ended.is_set()
        await asyncio.sleep(1.0)
        processes[1].stdout.feed_data(b"no frame of ours")
        await asyncio.sleep(0.1)
        assert supervisor.stats()[0].restarts == {Cause.SILENT: 1, Cause.GARBAGE: 1}
        await asyncio.sleep(1.5)
        for process in processes:
            process.kill()
        await supervisor.aclose()

    run(story())


def test_restarts_back_off_from_half_a_second_to_thirty(monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise OSError("no more processes")

    monkeypatch.setattr(asyncio, "create_subprocess_exec", refuse)

    async def story() -> None:
        supervisor = Supervisor([WorkerSpec("x")], lambda _: None)
        await supervisor.start()
        await asyncio.sleep(600.0)
        # Starts at 0, 0.5, 1.5, 3.5, 7.5, 15.5, 31.5 and then every 30 s from 61.5 to 571.5: 7 and 18.
        assert supervisor.stats()[0].restarts == {Cause.START: 25}
        await supervisor.aclose()

    run(story())


def test_an_unknown_worker_has_no_jobs() -> None:
    with pytest.raises(KeyError):
        Supervisor([WorkerSpec("a")], lambda _: None).assign("b", [])


def test_the_command_line_carries_limits_and_no_secret() -> None:
    argv = WorkerSpec("native", descriptors=1024, address_space_bytes=2**30).argv()
    limits = ("--descriptors", "1024", "--address-space-bytes", "1073741824")
    assert argv == (sys.executable, "-m", "agent.poller", "native", *limits)
