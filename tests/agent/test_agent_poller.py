"""The loop inside a worker, on a virtual clock: hours pass in a moment, and the speed of this machine plays no part."""

from __future__ import annotations

import asyncio
import resource
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from virtual_time import run

from agent.poller import BATCH_OUTCOMES, Device, Poller
from agent.wire import Assignment, Job, Outcome, Pulse, Report
from fleet.market import MarketInput, Quote
from fleet.ports import PollError
from fleet.readings import Fault, FaultKind, MinerReading, PduReading

WALL_S = 1.8e9
READING = MinerReading("scripted", "Scripted", hashrate_hs=1e14)


class Scripted:
    """A device that does what the script of its test says."""

    def __init__(self, script: Callable[[], Awaitable[Any]]) -> None:
        self.script = script
        self.reads = 0
        self.closed = False

    async def read(self) -> Any:
        self.reads += 1
        return await self.script()

    async def aclose(self) -> None:
        self.closed = True


async def answers() -> MinerReading:
    await asyncio.sleep(0.02)
    return READING


async def hangs() -> MinerReading:
    await asyncio.sleep(86_400.0)
    return READING


async def refuses() -> MinerReading:
    raise PollError(FaultKind.REFUSED, "connection refused")


class Bench:
    """A poller on the virtual loop, with scripted devices and a main process that may stop reading."""

    def __init__(self, script_of: Callable[[str], Callable[[], Awaitable[Any]]] = lambda _: answers) -> None:
        self.script_of = script_of
        self.opened: list[tuple[Job, Scripted]] = []
        self.outcomes: list[Outcome] = []
        self.pulses: list[Pulse] = []
        self.batches: list[int] = []
        self.reads_reports = True
        self.poller = Poller(self.open_device, self.emit, wall=lambda: WALL_S)

    def open_device(self, job: Job) -> Device:
        self.opened.append((job, Scripted(self.script_of(job.key))))
        return self.opened[-1][1]

    def emit(self, report: Report) -> bool:
        if not self.reads_reports:
            return False
        self.outcomes += report.outcomes
        self.batches += [len(report.outcomes)] if report.outcomes else []
        self.pulses += [report.pulse] if report.pulse else []
        return True

    def assign(self, *jobs: Job, max_in_flight: int = 400) -> None:
        self.poller.assign(Assignment("test", jobs, max_in_flight))


def job(key: str, interval_s: float = 30.0, kind: str = "scripted") -> Job:
    return Job(key, kind, key, 4028, interval_s, 5.0)


def test_an_answer_becomes_an_outcome_with_its_times() -> None:
    async def story() -> None:
        bench = Bench()
        bench.assign(job("10.0.0.1"))
        await asyncio.sleep(1.0)
        (outcome,) = bench.outcomes
        assert (outcome.key, outcome.kind, outcome.at_s) == ("10.0.0.1", "scripted", WALL_S)
        assert (outcome.reading, outcome.fault) == (READING, None)
        assert outcome.duration_s == pytest.approx(0.02)
        assert 0.0 <= outcome.lag_s <= 0.005 + 1e-9  # due times within 5 ms share one timer
        await bench.poller.aclose()

    run(story())


QUOTES = (Quote(MarketInput.BTC_USD, "exchange", 70_000.0, WALL_S, 120.0, 900.0),)
PDU = PduReading("apc-rpdu2", power_w=4000.0)


@pytest.mark.parametrize(
    ("answer", "field"), [(READING, "reading"), (PDU, "pdu"), (QUOTES, "quotes")], ids=["miner", "pdu", "feed"]
)
def test_each_kind_of_answer_has_its_field(answer: object, field: str) -> None:
    async def say() -> object:
        return answer

    async def story() -> None:
        bench = Bench(lambda _: say)
        bench.assign(job("x"))
        await asyncio.sleep(1.0)
        assert getattr(bench.outcomes[0], field) == answer
        assert bench.outcomes[0].fault is None
        await bench.poller.aclose()

    run(story())


async def _raises_key_error() -> None:
    raise KeyError("secret-password")


async def _recurses() -> None:
    raise RecursionError("deep")


async def _gives_text() -> str:
    return "not a reading"


async def _hostile_detail() -> None:
    raise PollError(FaultKind.DENIED, "\x1b[31m\nfake line" + "x" * 1000)


@pytest.mark.parametrize(
    ("script", "fault", "errors"),
    [
        (refuses, Fault(FaultKind.REFUSED, "connection refused"), 0),
        (hangs, Fault(FaultKind.TIMEOUT, "no answer within 5 s"), 0),
        (_raises_key_error, Fault(FaultKind.MALFORMED, "KeyError"), 1),
        (_recurses, Fault(FaultKind.MALFORMED, "RecursionError"), 1),
        (_gives_text, Fault(FaultKind.MALFORMED, "collector gave a str"), 0),
        (_hostile_detail, Fault(FaultKind.DENIED, "?[31m?fake line" + "x" * 185), 0),
    ],
)
def test_whatever_goes_wrong_is_a_fault_with_its_kind(script: Any, fault: Fault, errors: int) -> None:
    async def story() -> None:
        bench = Bench(lambda _: script)
        bench.assign(job("x"))
        await asyncio.sleep(6.0)
        assert [outcome.fault for outcome in bench.outcomes] == [fault]
        assert bench.outcomes[0].reading is None
        assert bench.poller.pulse().errors == errors
        await bench.poller.aclose()

    run(story())


def test_the_total_deadline_holds_and_the_devices_own_verdict_comes_first() -> None:
    async def silent_at_its_deadline() -> None:
        await asyncio.sleep(5.0)
        raise PollError(FaultKind.UNREACHABLE, "no answer at connect")

    async def story() -> None:
        bench = Bench(lambda key: hangs if key == "hung" else silent_at_its_deadline)
        bench.assign(job("hung"), job("silent"))
        await asyncio.sleep(6.0)
        outcomes = {outcome.key: outcome for outcome in bench.outcomes}
        assert outcomes["silent"].fault == Fault(FaultKind.UNREACHABLE, "no answer at connect")
        assert outcomes["hung"].duration_s == pytest.approx(5.25)
        await bench.poller.aclose()

    run(story())


def test_a_device_that_cannot_be_opened_is_a_fault_at_every_look() -> None:
    async def story() -> None:
        bench = Bench()

        def open_nothing(job: Job) -> Device:
            raise ValueError("no such kind")

        bench.poller._open_device = open_nothing
        bench.assign(job("x"))
        await asyncio.sleep(100.0)
        assert {outcome.fault for outcome in bench.outcomes} == {Fault(FaultKind.MALFORMED, "ValueError")}
        assert len(bench.outcomes) >= 3
        await bench.poller.aclose()

    run(story())


def test_a_look_cancelled_from_within_gives_its_slot_back() -> None:
    async def cancels_itself() -> None:
        raise asyncio.CancelledError

    async def story() -> None:
        bench = Bench(lambda _: cancels_itself)
        bench.assign(job("x", interval_s=10.0))
        await asyncio.sleep(600.0)
        assert len(bench.outcomes) >= 5  # it backs off as a host that never answers
        assert bench.outcomes[0].fault is not None
        assert bench.poller.pulse().in_flight == 0
        await bench.poller.aclose()

    run(story())


def test_a_look_that_swallows_its_cancellation_shows_in_the_pulse() -> None:
    async def stuck() -> None:
        while True:
            try:
                await asyncio.sleep(1000.0)
                return
            except asyncio.CancelledError:
                pass

    async def story() -> None:
        bench = Bench(lambda _: stuck)
        bench.assign(job("x"))
        await asyncio.sleep(300.0)
        assert bench.poller.pulse().oldest_s == pytest.approx(300.0, abs=1.0)
        await asyncio.sleep(1000.0)

    run(story())


def test_hours_of_a_farm_with_hung_and_silent_machines() -> None:
    def script_of(key: str) -> Callable[[], Awaitable[Any]]:
        return {"h": hangs, "s": refuses}.get(key[0], answers)

    async def story() -> None:
        bench = Bench(script_of)
        bench.assign(*(job(f"{'hsmmm'[n % 5]}{n}", interval_s=600.0) for n in range(50)))
        await asyncio.sleep(6 * 3600.0)
        healthy = [outcome for outcome in bench.outcomes if outcome.key[0] == "m"]
        assert len(healthy) == pytest.approx(30 * 36, abs=60)
        assert all(outcome.fault is None for outcome in healthy)
        pulse = bench.pulses[-1]
        assert (pulse.jobs, pulse.late, pulse.dropped, pulse.errors) == (50, 0, 0, 0)
        assert pulse.polls == len(bench.outcomes)
        assert len(bench.pulses) == pytest.approx(6 * 3600, abs=2)
        await bench.poller.aclose()

    run(story())


def test_outcomes_leave_in_batches() -> None:
    async def story() -> None:
        bench = Bench()
        bench.assign(*(job(f"m{n}") for n in range(3000)))
        await asyncio.sleep(60.0)
        assert len(bench.outcomes) >= 3000
        assert max(bench.batches) <= BATCH_OUTCOMES
        assert len(bench.batches) <= 60.0 / 0.1 + 1
        await bench.poller.aclose()

    run(story())


def test_while_nobody_reads_the_newest_outcome_of_each_job_waits_and_no_more() -> None:
    async def story() -> None:
        bench = Bench()
        bench.reads_reports = False
        bench.assign(*(job(f"m{n}") for n in range(600)))
        await asyncio.sleep(900.0)
        pulse = bench.poller.pulse()
        assert pulse.polls > 15_000
        assert pulse.dropped == pulse.polls - 600
        bench.reads_reports = True
        await asyncio.sleep(0.15)
        assert len(bench.outcomes) - 600 <= 5  # and the few looks of these 150 ms
        assert len({outcome.key for outcome in bench.outcomes}) == 600
        assert max(bench.batches) == BATCH_OUTCOMES
        await bench.poller.aclose()

    run(story())


def test_a_new_assignment_keeps_the_devices_of_unchanged_jobs_and_closes_the_others() -> None:
    async def story() -> None:
        bench = Bench()
        kept, gone, changed = job("kept"), job("gone"), job("changed")
        bench.assign(kept, gone, changed)
        await asyncio.sleep(61.0)
        before = {job.key: device for job, device in bench.opened}
        assert len(bench.opened) == 3
        bench.assign(kept, Job("changed", "scripted", "changed", 4029, 30.0, 5.0), job("new"))
        await asyncio.sleep(61.0)
        assert [job.key for job, _ in bench.opened[3:]] in (["changed", "new"], ["new", "changed"])
        assert (before["kept"].closed, before["gone"].closed, before["changed"].closed) == (False, True, True)
        assert before["kept"].reads >= 4
        assert before["gone"].reads <= 3
        await bench.poller.aclose()
        assert all(device.closed for _, device in bench.opened)

    run(story())


def test_one_device_of_each_kind_is_opened_before_the_looks_start() -> None:
    async def story() -> None:
        bench = Bench()
        bench.assign(*(job(f"{kind}{n}", 600.0, kind) for kind in ("native", "pyasic") for n in range(1000)))
        assert sorted(job.kind for job, _ in bench.opened[:2]) == ["native", "pyasic"]
        await bench.poller.aclose()

    run(story())


def test_looks_are_bounded_by_the_assignment_and_by_the_descriptors(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(expected: int) -> None:
        bench = Bench(lambda _: hangs)
        bench.assign(*(job(f"m{n}") for n in range(500)), max_in_flight=40)
        await asyncio.sleep(4.9)
        assert bench.poller.pulse().in_flight == expected
        await bench.poller.aclose()
        assert bench.poller.pulse().in_flight == 0

    run(story(40))
    monkeypatch.setattr(resource, "getrlimit", lambda _: (74, 74))
    run(story(10))  # 64 are kept for everything else


def test_closing_ends_the_looks_and_emits_what_is_left() -> None:
    async def story() -> None:
        bench = Bench(lambda key: hangs if key == "hung" else answers)
        bench.assign(job("hung"), job("m"))
        await asyncio.sleep(0.0999)
        await bench.poller.aclose()
        assert "m" in {outcome.key for outcome in bench.outcomes}
        assert len(asyncio.all_tasks()) == 1

    run(story())
