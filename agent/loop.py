"""The tick: freeze the table, think, commit what turned, then tell every sink.

Time is read once per tick. A turn is on the disk (FULL) before any sink hears of it; if it cannot be written, the
cycle is thought again as a storage fault, which turns nothing off. A sink that fails is counted, never raised.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Container, Mapping
from dataclasses import dataclass

from agent.bookkeeping import Bookkeeper
from agent.journal import Journal, JournalError
from agent.record import encode_cycle_inputs
from agent.table import Table
from agent.vitals import Vitals
from agent.wire import Outcome
from exporters import metrics
from fleet.curtailment import Memory, Policy
from fleet.cycle import Cycle, think
from fleet.market import Market
from fleet.ports import Sink
from fleet.series import Series
from fleet.signals import Signals
from fleet.snapshot import Snapshot
from fleet.tariff import PowerPrice, Tariff, price_now

log = logging.getLogger(__name__)

SAVE_EVERY_S = 300.0
STEP_S = 5.0  # wall clock and monotonic clock may drift apart by this much between two ticks
EARLIEST_HONEST_S = 1_767_225_600.0  # 2026-01-01: a gateway without a clock battery starts in 1970


@dataclass(slots=True)
class Clock:
    """Judges the wall clock by the monotonic one: before its time, or stepped, it is not trusted for one tick."""

    wall_s: float = float("nan")
    monotonic_s: float = float("nan")

    def is_trusted(self, wall_s: float, monotonic_s: float) -> bool:
        drift_s = abs((wall_s - self.wall_s) - (monotonic_s - self.monotonic_s))
        self.wall_s, self.monotonic_s = wall_s, monotonic_s
        return wall_s >= EARLIEST_HONEST_S and not drift_s > STEP_S


class Loop:
    """Owns the market, the memory and the order of one tick; everything else is handed in."""

    def __init__(
        self,
        table: Table,
        policy: Policy,
        journal: Journal | None,
        sinks: Mapping[str, Sink],
        vitals: Vitals,
        *,
        booted_s: float,
        settle_s: float,
        tariffs: tuple[Tariff, ...] = (),
        bookkeeper: Bookkeeper | None = None,
    ) -> None:
        self._table, self._policy, self._journal, self._sinks, self._vitals = table, policy, journal, sinks, vitals
        self._booted_s, self._settle_s = booted_s, settle_s
        self._tariffs = tariffs
        self._bookkeeper = bookkeeper
        self._clock = Clock()
        self._is_storage_ok = True
        self._saved_s = booted_s
        self._kept_machines = len(table.site)
        self._status = ""
        self.market = Market()
        self.series: dict[str, Series] = {}
        self.memory = Memory()
        self.cycle: Cycle | None = None

    def recall(self, polled: Container[str]) -> None:
        """Take over memory and slow columns of the last run. Errors: JournalError.

        A machine that was found then is taken back only while its address is `polled`: a range that the operator took
        out of the configuration is his word. Nor is a machine waited for at an address that nobody looks at any more.
        """
        if self._journal is None:
            return
        self.memory = self._journal.load_memory() or Memory()
        if (slow := self._journal.load_accumulators()) is not None:
            found = [machine for machine in slow.found if machine.address in polled]
            homes = tuple(home if home in polled else "" for home in slow.texts.get("home", ()))
            texts = {**slow.texts, "home": homes} if slow.texts else None
            self._table.recall(slow.ids, slow.columns, found, texts, slow.pdus)
            self._kept_machines = len(self._table.site)

    def take_quotes(self, outcomes: list[Outcome]) -> bool:
        """Let the market hear new quotes; True if a value moved, which is worth a tick at once."""
        quotes = tuple(quote for outcome in outcomes for quote in outcome.quotes)
        before = {(quote.input, quote.source): quote.value for quote in self.market.quotes}
        self.market = self.market.with_quotes(quotes)
        return any(before.get((quote.input, quote.source)) != quote.value for quote in quotes)

    def take_series(self, outcomes: list[Outcome]) -> bool:
        """Let new series stand in the place of the old ones; True if one differs, which is worth a tick at once."""
        heard = {outcome.series.name: outcome.series for outcome in outcomes if outcome.series is not None}
        has_moved = any(not series.says_the_same(self.series.get(name)) for name, series in heard.items())
        self.series |= heard
        return has_moved

    def tick(self, now_s: float, monotonic_s: float) -> Cycle:
        """One whole cycle at `now_s`."""
        started_s = time.perf_counter()
        is_clock_trusted = self._clock.is_trusted(now_s, monotonic_s)
        if not is_clock_trusted:
            self.market = Market()  # quotes of another time base would look old or from the future
        snapshot = self._table.freeze(now_s)
        cycle = self._think(snapshot, is_clock_trusted, now_s)
        self.cycle, self.memory = cycle, cycle.memory
        self._vitals.gauge(metrics.STORAGE_OK, float(self._is_storage_ok))
        self._vitals.gauge(metrics.CLOCK_TRUSTED, float(is_clock_trusted))
        self._say_once(cycle)
        self._publish(cycle)
        self._book(cycle, is_clock_trusted)
        self._save_slowly(now_s)
        self._vitals.cycle_finished(time.perf_counter() - started_s)
        return cycle

    def save(self) -> None:
        """Write memory and slow columns; a failure is remembered as a storage fault."""
        if self._journal is None:
            return
        try:
            self._journal.save_memory(self.memory)
            self._keep_slow_columns(self._journal)
        except JournalError as error:
            self._storage_failed(error)
        else:
            self._is_storage_ok = True

    def _keep_slow_columns(self, journal: Journal) -> None:
        table = self._table
        journal.save_accumulators(
            table.site.ids, table.remembered(), table.found(), table.remembered_texts(), table.remembered_pdus()
        )
        self._kept_machines = len(self._table.site)

    def _think(self, snapshot: Snapshot, is_clock_trusted: bool, now_s: float) -> Cycle:
        site, before = self._table.site, self.memory
        signals = Signals(self._booted_s, self._settle_s, is_clock_trusted, self._is_storage_ok)
        power: tuple[PowerPrice, ...] = tuple(price_now(tariff, self.series, now_s) for tariff in self._tariffs)
        presets = self._table.presets()
        cycle = think(site, snapshot, self.market, signals, self._policy, before, now_s, power, presets)
        if self._journal is None or not cycle.decision.changed.any():
            return cycle
        try:
            if self._kept_machines != len(site):
                self._keep_slow_columns(self._journal)  # a machine that is turned must be known after a power cut
            record = encode_cycle_inputs(site, snapshot, self.market, signals, self._policy, before, now_s, power)
            self._journal.commit_decision(cycle.memory, record, cycle.decision_id, now_s)
        except JournalError as error:
            self._storage_failed(error)
            signals = Signals(self._booted_s, self._settle_s, is_clock_trusted, is_storage_ok=False)
            return think(site, snapshot, self.market, signals, self._policy, before, now_s, power, presets)
        log.info("decision %s: %d machines turned", cycle.decision_id, int(cycle.decision.changed.sum()))
        return cycle

    def _publish(self, cycle: Cycle) -> None:
        for name, sink in self._sinks.items():
            try:
                sink.publish(cycle)
            except Exception:  # one sink's fault must reach neither the others nor the loop
                self._vitals.count(metrics.SINK_ERRORS, name)
                log.debug("sink %s failed", name, exc_info=True)

    def _book(self, cycle: Cycle, is_clock_trusted: bool) -> None:
        if self._bookkeeper is None:
            return
        try:
            self._bookkeeper.take(cycle, is_clock_trusted)
            for metric, value in self._bookkeeper.figures().items():
                self._vitals.gauge(metric, value)
        except Exception:  # books that cannot be kept hold no advice back
            self._vitals.count(metrics.SINK_ERRORS, "history")
            log.debug("bookkeeping failed", exc_info=True)

    def _save_slowly(self, now_s: float) -> None:
        if not self._is_storage_ok or abs(now_s - self._saved_s) >= SAVE_EVERY_S:
            self._saved_s = now_s
            self.save()

    def _storage_failed(self, error: JournalError) -> None:
        if self._is_storage_ok:
            log.error("journal: %s; no new stops until it can be written again", error)
        self._is_storage_ok = False

    def _say_once(self, cycle: Cycle) -> None:
        """The status in words when it changes, and only then."""
        decision = cycle.decision
        names = ", ".join(bit.name or "" for bit in decision.status_reasons) or "all inputs fresh"
        status = f"{decision.status.value}: {names}"
        if status != self._status:
            log.info("status %s", status)
            self._status = status
