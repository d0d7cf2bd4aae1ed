"""The list of what is plugged into what. No decisions here: each part is built, started, and ended in order."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import time
import uuid
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from zoneinfo import ZoneInfo

import uvloop

from agent.allocator import return_large_blocks
from agent.bookkeeping import Bookkeeper
from agent.broker import Broker, BrokerOptions
from agent.capital import Appraiser
from agent.config import Config, ConfigError, MqttSection
from agent.feed_watch import FeedWatch
from agent.feeds import FEED_INTERVAL_S
from agent.history import History, Limits
from agent.history_mirror import Mirror
from agent.journal import Journal, JournalError
from agent.loop import Loop
from agent.plan import assignments_of, capital_of, policy_of, site_of, tariffs_in_use
from agent.publish import MqttSink
from agent.roster import Roster
from agent.running import socket_beside
from agent.table import Table
from agent.tariffs import SERIES_KINDS, known_rates
from agent.vitals import Notifier, Vitals
from agent.web import Pages, listen
from agent.wire import Outcome
from agent.workers import Supervisor, WorkerSpec
from collectors.catalogue import LIBRARIES
from collectors.pdus.engines import available
from exporters import metrics
from exporters.census import census
from exporters.mqtt import status_message
from exporters.prometheus import render
from exporters.report import status_document
from fleet.account import MAX_STEP_S
from fleet.cycle import Cycle
from fleet.localtime import zone_of
from fleet.ports import Sink
from fleet.site import Site

log = logging.getLogger(__name__)

AGENT_ID = "hashwatt"
MIB = 1024 * 1024
TICKS_HELD = 2.0  # what a cycle says holds for so many ticks at least
FEED_KINDS = frozenset({*FEED_INTERVAL_S, *SERIES_KINDS})
ONCE_PATIENCE_S = 60.0
MIN_TICK_GAP_S = 1.0
SEND_AFTER_S = 0.5
SEND_AFTER_S_PER_MACHINE = 5e-5  # lists are sent whole: a large farm gathers its changes for longer
SLOW_LOOKS = 32
WATCHDOG_SHARE = 3.0  # feed the watchdog at least this often within its time


def run(config: Config) -> int:
    """Run the agent until SIGTERM or SIGINT. Errors: ConfigError for what cannot be opened at start."""
    return_large_blocks()
    code: int = uvloop.run(_run(config))
    return code


def once(config: Config) -> Cycle:
    """Look once at every device and feed and think about it; nothing is remembered, published or locked."""
    return look(config)[0]


def look(config: Config) -> tuple[Cycle, list[dict[str, object]]]:
    """The same, and what to tell of the feeds that failed (`FeedWatch.rows`)."""
    seen: tuple[Cycle, list[dict[str, object]]] = uvloop.run(_once(config))
    return seen


class Agent:
    """The moving parts of one run: table, roster, workers and loop, and the one callback between them."""

    def __init__(
        self,
        config: Config,
        site: Site,
        journal: Journal | None,
        sinks: dict[str, Sink],
        bookkeeper: Bookkeeper | None = None,
    ) -> None:
        self.config = config
        self.vitals = Vitals()
        self.roster = Roster(config, assignments_of(config, site))
        pdus = [job.key for job in self.roster.jobs("snmp")] if "snmp" in self.roster.workers else []
        self.table = Table(site, pdus, config.poll.interval_s)
        tariffs = tariffs_in_use(config)
        self.feeds = FeedWatch(self.roster.jobs("feeds") if "feeds" in self.roster.workers else (), tariffs)
        self.loop = Loop(
            self.table,
            policy_of(config),
            journal,
            sinks,
            self.vitals,
            booted_s=time.time(),
            settle_s=2 * config.poll.interval_s,
            tariffs=tariffs,
            bookkeeper=bookkeeper,
        )
        self.loop.series.update(known_rates(config.exchange))
        self.appraiser = Appraiser(capital_of(config))
        self.supervisor = Supervisor([worker_spec(name, config) for name in self.roster.workers], self.take)
        self._unheard = self.roster.looks()
        self._sending: asyncio.TimerHandle | None = None
        self.all_heard = asyncio.Event()
        self.moved = asyncio.Event()

    def take(self, outcomes: list[Outcome]) -> None:
        """What workers send: rows into the table, quotes to the market, counts to the vitals."""
        self.table.take(outcome for outcome in outcomes if outcome.kind not in FEED_KINDS)
        self.roster.take(outcomes, self.table.has_machine_at)
        self.feeds.take(outcomes)
        for outcome in outcomes:
            verdict = "ok" if outcome.fault is None else outcome.fault.kind.value
            self.vitals.polled(outcome.kind, verdict, outcome.duration_s, outcome.lag_s)
            if self.roster.is_in_charge(outcome):
                self._unheard.discard((outcome.key, outcome.kind == "snmp"))
        has_series_moved = self.loop.take_series(outcomes)
        if self.loop.take_quotes(outcomes) or has_series_moved:
            self.moved.set()
        if not self._unheard:
            self.all_heard.set()
        if self.roster.changed and self._sending is None:
            wait_s = SEND_AFTER_S + len(self.table.site) * SEND_AFTER_S_PER_MACHINE
            self._sending = asyncio.get_running_loop().call_later(wait_s, self.send_jobs)

    def send_jobs(self) -> None:
        """Hand changed jobs to their workers; whole lists, so changes are gathered for a moment first."""
        self._sending = None
        for worker in sorted(self.roster.changed):
            self.supervisor.assign(worker, self.roster.jobs(worker))
        self.roster.changed.clear()

    def tick(self) -> Cycle:
        for worker in self.roster.workers:
            self.supervisor.prepare(worker, self.roster.jobs(worker))
        for stats in self.supervisor.stats():
            self.vitals.gauge(metrics.WORKER_RESTARTS, float(sum(stats.restarts.values())), stats.name)
            if stats.pulse is not None:
                self.vitals.gauge(metrics.POLLS_MISSED, float(stats.pulse.late), stats.name, "late")
                self.vitals.gauge(metrics.POLLS_MISSED, float(stats.pulse.dropped), stats.name, "dropped")
        return self.loop.tick(time.time(), time.monotonic())

    def is_alive(self) -> bool:
        """True while cycles go on: the newest is not older than its own lease."""
        cycle = self.loop.cycle
        return cycle is None or time.time() <= _valid_until_s(cycle)

    def page(self) -> Iterator[bytes]:
        """The metrics page of the newest cycle; the lease ends when the loop stops renewing it."""
        cycle = self.loop.cycle
        pids = {stats.name: stats.pid for stats in self.supervisor.stats() if stats.pid}
        extra = self.vitals.families(pids)
        if cycle is None:
            return iter(())
        now_s = time.time()
        appraisal = self.appraiser.newest(now_s)
        return render(cycle, now_s=now_s, lease_valid_until_s=_valid_until_s(cycle), extra=extra, appraisal=appraisal)

    def status(self) -> dict[str, object]:
        cycle = self.loop.cycle
        if cycle is None:
            return {}
        return status_document(cycle, _valid_until_s(cycle), self.appraiser.newest(time.time()), self.feed_rows(cycle))

    def feed_rows(self, cycle: Cycle) -> list[dict[str, object]]:
        return self.feeds.rows(cycle, self.loop.market, self.loop.series)

    def fleet(self) -> bytes:
        cycle = self.loop.cycle
        return b"" if cycle is None else census(cycle)


async def _run(config: Config) -> int:
    boot_id = str(uuid.uuid4())
    notifier = Notifier.from_environment()
    site = site_of(config, _nameplates())
    journal = _open_journal(config)
    broker = _broker(config.mqtt, site.name, boot_id) if config.mqtt else None
    bookkeeper = _bookkeeper(config)
    agent = Agent(config, site, journal, {"mqtt": MqttSink(broker, boot_id=boot_id)} if broker else {}, bookkeeper)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    agent.vitals.gauge(metrics.AGENT_INFO, 1.0, _version(), site.name, boot_id)
    agent.vitals.gauge(metrics.AGENT_START, time.time())
    pages = Pages(site.name, agent.page, agent.status, agent.table.is_round_complete, agent.is_alive, agent.fleet)
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(journal.close)
        stack.callback(bookkeeper.close)
        mirror = _mirror(config)
        if mirror:
            mirror.start()
            stack.callback(mirror.stop)
        host, port = config.prometheus.endpoint
        listener = await listen(host, port, pages, config.prometheus.web_config)
        stack.push_async_callback(listener.aclose)
        if (beside := socket_beside(config.prometheus, config.journal_path)) is not None:
            await listener.open_beside(beside)
        if broker:
            broker.start()
            stack.callback(broker.stop)
        agent.loop.recall(agent.roster.keys())
        agent.roster.learn(agent.table.ways())
        await agent.supervisor.start()
        stack.push_async_callback(agent.supervisor.aclose)
        agent.send_jobs()
        notifier.ready(f"{len(agent.roster.keys())} devices and feeds to look at")
        log.info("listening on %s://%s:%d", listener.scheme, host, listener.port)
        await _tick_until(stop, agent, notifier, broker, mirror)
        notifier.stopping()
        agent.loop.save()
    return 0


async def _tick_until(
    stop: asyncio.Event, agent: Agent, notifier: Notifier, broker: Broker | None, mirror: Mirror | None
) -> None:
    """Tick at the configured pace, at once when a price moves, and often enough for the watchdog."""
    pace_s = agent.config.poll.tick_s
    if notifier.watchdog_s is not None:
        pace_s = min(pace_s, notifier.watchdog_s / WATCHDOG_SHARE)
    while not stop.is_set():
        agent.moved.clear()
        if mirror:
            agent.vitals.gauge(metrics.HISTORY_SERVER_OK, float(mirror.is_well))
            agent.vitals.gauge(metrics.HISTORY_BEHIND, float(mirror.rows_behind))
        if broker:
            agent.vitals.gauge(metrics.MQTT_CONNECTED, float(broker.is_connected))
            for outcome, messages in broker.counts.items():
                agent.vitals.gauge(metrics.MQTT_MESSAGES, float(messages), outcome)
        cycle = agent.tick()
        if agent.table.is_round_complete():
            agent.appraiser.look(cycle)  # in a thread, and seldom: no tick waits for it
        up = int((cycle.snapshot.up == 1.0).sum())
        notifier.progress(f"{up} of {len(cycle.snapshot)} machines up, {cycle.decision.status.value}")
        await _first_of(stop, agent.moved, timeout_s=pace_s)
        if agent.moved.is_set():
            await _first_of(stop, timeout_s=MIN_TICK_GAP_S)


async def _first_of(*events: asyncio.Event, timeout_s: float) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()


async def _once(config: Config) -> tuple[Cycle, list[dict[str, object]]]:
    agent = Agent(config, site_of(config, _nameplates()), None, {})
    await agent.supervisor.start()
    try:
        agent.send_jobs()
        await _first_of(agent.all_heard, timeout_s=ONCE_PATIENCE_S)
    finally:
        await agent.supervisor.aclose()
    cycle = agent.tick()
    return cycle, agent.feed_rows(cycle)


def worker_spec(name: str, config: Config) -> WorkerSpec:
    """A library keeps some 20 KiB per machine. Looks of the libraries and of pysnmp take so much CPU that many at once
    starve each other: when an agent starts, all of them would pass their deadline."""
    if name in LIBRARIES:
        return WorkerSpec(name, memory_bytes=1024 * MIB, max_in_flight=SLOW_LOOKS)
    if name == "snmp" and any(_is_slow(pdus.snmp.engine) for pdus in config.pdus):
        return WorkerSpec(name, max_in_flight=min(SLOW_LOOKS, config.poll.max_in_flight))
    return WorkerSpec(name, max_in_flight=config.poll.max_in_flight)


def _is_slow(engine: str) -> bool:
    return engine == "pysnmp" or "gufo" not in available()


def _open_journal(config: Config) -> Journal:
    try:
        journal = Journal.open(config.journal_path)
    except JournalError as error:
        raise ConfigError("journal.path", str(error)) from None
    if journal.moved_aside:
        log.error("journal: damaged, moved aside to %s; starting with an empty one", journal.moved_aside)
    return journal


def _bookkeeper(config: Config) -> Bookkeeper:
    limits = _limits(config)
    return Bookkeeper(
        lambda: History.open(config.history_path, limits=limits),
        zone_of(ZoneInfo(config.site.time_zone)),
        max(MAX_STEP_S, TICKS_HELD * config.poll.tick_s),
    )


def _mirror(config: Config) -> Mirror | None:
    """What copies the history to a server, where the operator names one."""
    if (url := config.history.url) is None:
        return None
    return Mirror(config.history_path, url.reveal(), _limits(config), zone_of(ZoneInfo(config.site.time_zone)))


def _limits(config: Config) -> Limits:
    section = config.history
    return Limits(section.hourly_days, section.daily_days, section.price_days, section.max_mib * MIB)


def _broker(section: MqttSection, site: str, boot_id: str) -> Broker:
    host, port = section.endpoint
    at_s = time.time()
    return Broker(
        BrokerOptions(
            host=host,
            port=port,
            client_id=f"{AGENT_ID}-{site}",
            is_tls=section.is_tls,
            username=section.username,
            password=section.password.reveal() if section.password else None,
            ca_file=section.ca_file,
            cert_file=section.cert_file,
            key_file=section.key_file,
        ),
        birth=status_message(site, AGENT_ID, boot_id, "online", at_s),
        will=status_message(site, AGENT_ID, boot_id, "offline", at_s),
    )


def _valid_until_s(cycle: Cycle) -> float:
    return cycle.at_s + cycle.policy.lease_s


def _nameplates() -> str:
    return files("fleet").joinpath("nameplates.csv").read_text(encoding="utf-8")


def _version() -> str:
    try:
        return version("hashwatt")
    except PackageNotFoundError:
        return "unknown"
