"""A day of the virtual farm, in virtual time: what the history says of it is what happened, to the unit.

The physics of the farm runs for a local day and a bit. Its machines are looked at every minute, their readings go
through the table, the decision and the books into a file; the price falls and machines are stopped on advice, feeds
fail, machines go dark, and the agent is restarted. A ledger in plain Python is kept beside it from the same cycles, and
the day that is read back from the file has to be equal to it, in whole units. The truth of the physics is behind both.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from ledger import Ledger

from agent.bookkeeping import Bookkeeper
from agent.history import History
from agent.journal import Journal
from agent.loop import Loop
from agent.table import Table
from agent.vitals import Vitals
from agent.wire import Outcome
from fleet.account import COLUMN, Account, Span, total
from fleet.curtailment import Action, Policy
from fleet.cycle import Cycle
from fleet.localtime import day_number, start_of_day_s, zone_of
from fleet.market import HARD_AGE_S, SOFT_AGE_S, MarketInput, Quote
from fleet.readings import (
    Fault,
    FaultKind,
    MinerReading,
    OperatingState,
    PduReading,
    PduRow,
    PowerSource,
    Quality,
    RowKind,
)
from fleet.site import Machine, Site
from fleet.tariff import FlatTariff, Tariff
from fleet.timeofuse import Period, Schedule
from hil.physics import Orders, advance, assemble, settle

LEAD_S = 900.0 + 17.3  # of the evening before; ticks do not fall on the hour
POOL, OTHER_POOL = "pool.example", "other.example"
POLICY = Policy(
    stop_start_cost_usd=0.02, min_up_s=600.0, min_down_s=600.0, stop_ramp_ratio=0.5, stop_ramp_s=600.0,
    start_ramp_ratio=0.5, start_ramp_s=600.0,
)  # fmt: skip
DARK, DEAF, ABROAD, LATE, DISOBEDIENT = (3, 4, -5), (7, -3), (11,), (-2, -1), (14, 15)
"""Rows: outlet off for some hours; network gone while they hash on; at another pool; found during the day; stay on."""
NEVER_STOP = 13


@dataclass
class Clock:
    """The wall and the monotonic clock of the gateway, and how long the day has been going on."""

    start_s: float
    now_s: float

    @property
    def hour(self) -> float:
        return (self.now_s - self.start_s) / 3600.0


class Farm:
    """The physics and what its wires say at this moment."""

    def __init__(self, machines: int) -> None:
        self.n, self.metered = machines, machines // 3 * 2
        self.per_pdu = self.metered // 2
        self.build = assemble(machines, seed=5)
        self.orders = Orders.all_on(machines)
        self.state = settle(self.build, self.orders, 25.0, seed=5)
        self._rng = np.random.default_rng(6)
        self.deaf: set[int] = set()
        self.abroad: set[int] = set()
        self.hidden = self.rows(LATE)

    def rows(self, of: tuple[int, ...]) -> set[int]:
        """Rows that may be counted from the end."""
        return {row % self.n for row in of}

    def pass_by(self, seconds: float) -> None:
        self.state = advance(self.build, self.state, self.orders, 25.0, seconds, self._rng)

    def machines(self) -> tuple[Machine, ...]:
        """The inventory: two of four owners' machines under a tariff with a host, all but the late ones."""
        return tuple(
            Machine(
                f"m{row:02d}",
                address=address_of(row),
                location=f"hall1/rack{row // 20 + 1}",
                owner=f"owner{row % 4}",
                pdu=f"pdu{row // self.per_pdu}" if row < self.metered else None,
                outlet=str(row % self.per_pdu + 1) if row < self.metered else None,
                tariff="hosted" if row % 4 == 1 else None,
                never_stop=row == NEVER_STOP,
                power_w=3300.0 if row >= self.metered else None,
            )
            for row in range(self.n)
            if row not in self.hidden
        )

    def outcomes(self, now_s: float) -> list[Outcome]:
        rows = [row for row in range(self.n) if row not in self.hidden]
        return [*(self._look(row, now_s) for row in rows), *(self._meters(pdu, now_s) for pdu in (0, 1))]

    def _look(self, row: int, now_s: float) -> Outcome:
        state, model = self.state, self.build.models[row]
        if not state.is_online[row] or row in self.deaf:
            return Outcome(address_of(row), "auto", now_s, 2.0, 0.0, fault=Fault(FaultKind.TIMEOUT))
        shares = int(state.hashes[row] / 2**32 / 65536)
        rejected = int(shares * self.build.reject_ratio[row])
        reading = MinerReading(
            driver="virtual",
            make=model.name.split()[0],
            model=model.name,
            mac=f"0200000000{row:02x}",
            algorithm="sha256",
            state=self._mode(row),
            hashrate_hs=round(state.rates_hs["5m"][row], -9),
            hashrate_window_s=300.0,
            hashrate_now_hs=round(state.rates_hs["5s"][row], -9),
            reported_power_w=(
                round(state.wall_w[row] * self.build.firmware_ratio[row]) if "Whats" in model.name else None
            ),
            uptime_s=float(state.api_s[row]),
            shares_accepted=float(shares - rejected),
            shares_rejected=float(rejected),
            difficulty_accepted=(shares - rejected) * 65536.0,
            difficulty_rejected=rejected * 65536.0,
            pool_host=OTHER_POOL if row in self.abroad else POOL,
        )
        return Outcome(address_of(row), "auto", now_s, 0.1, 0.0, reading=reading)

    def _mode(self, row: int) -> OperatingState:
        if not self.orders.awake[row]:
            return OperatingState.SLEEPING
        is_warm = self.state.mining_s[row] >= self.build.warmup_s[row]
        return OperatingState.MINING if is_warm else OperatingState.WARMING_UP

    def _meters(self, pdu: int, now_s: float) -> Outcome:
        rows = tuple(
            PduRow(
                RowKind.OUTLET,
                str(place + 1),
                power_w=float(round(self.state.wall_w[pdu * self.per_pdu + place])),
                power_quality=Quality.MEASURED,
                power_resolution_w=1.0,
                is_on=bool(self.orders.outlet_on[pdu * self.per_pdu + place]),
            )
            for place in range(self.per_pdu)
        )
        return Outcome(f"pdu{pdu}", "snmp", now_s, 0.2, 0.0, pdu=PduReading("virtual", rows=rows))

    def obey(self, cycle: Cycle) -> None:
        """Do as advised: machines with a meter lose their power, the others are sent to sleep."""
        for machine, action in zip(cycle.site.ids, cycle.decision.action, strict=True):
            row = row_of(machine)
            if row in DISOBEDIENT or action == Action.HOLD:
                continue
            column = self.orders.outlet_on if row < self.metered else self.orders.awake
            column[row] = action != Action.STOP


def address_of(row: int) -> str:
    return f"10.0.0.{row + 1}"


def row_of(machine: str) -> int:
    """Of an inventory id, or of the MAC by which a late machine is called."""
    return int(machine[1:]) if machine.startswith("m") else int(machine[-2:], 16)


class Day:
    """One agent after the other over one farm, with a file for each of their memories."""

    def __init__(
        self, directory: Path, zone: ZoneInfo, start_s: float, length_h: int, machines: int, step_s: float
    ) -> None:
        self.directory, self.table_of_zone, self.step_s = directory, zone_of(zone), step_s
        self.farm = Farm(machines)
        self.length_h = length_h
        self.clock = Clock(start_s, start_s - LEAD_S)
        self.ledger = Ledger(zone)
        self.has_feeds = True
        self.site = Site(
            "virtual", self.farm.machines(), tariff=FlatTariff(0.05), expected_pools=(POOL,),
        )  # fmt: skip
        by_day = Period("day", 0.052, spans=((480, 1200),))
        self.tariffs = (
            Tariff(Schedule(self.table_of_zone, (by_day,), elsewhere=0.041), name=""),
            Tariff(0.038, name="hosted", profit_share=0.3),
        )
        self.sources: set[PowerSource] = set()
        self.stops = 0
        self.true_j, self.true_hashes, self.true_usd = np.zeros((3, machines))
        self.begin()

    def begin(self) -> None:
        self.journal = Journal.open(self.directory / "journal.db")
        self.books = Bookkeeper(lambda: History.open(self.directory / "history.db"), self.table_of_zone)
        self.table = Table(self.site, ("pdu0", "pdu1"), self.step_s)
        self.loop = Loop(
            self.table, POLICY, self.journal, {}, Vitals(), booted_s=self.clock.now_s, settle_s=2 * self.step_s,
            tariffs=self.tariffs, bookkeeper=self.books,
        )  # fmt: skip
        self.loop.recall([address_of(row) for row in range(self.farm.n)])

    def end(self) -> None:
        self.loop.save()
        self.books.close()
        self.journal.close()

    def restart(self) -> None:
        self.end()
        self.ledger.forget()
        self.ledger.round_off()
        self.begin()

    def btc_usd(self) -> float:
        """70,000, and from the tenth hour down to 30,000 for three hours."""
        return float(np.interp(self.clock.hour, [9.0, 10.0, 13.0, 14.0], [70_000.0, 30_000.0, 30_000.0, 70_000.0]))

    def step(self) -> Cycle:
        self.clock.now_s += self.step_s
        now_s = self.clock.now_s
        self.farm.pass_by(self.step_s)
        self.table.take(self.farm.outcomes(now_s))
        if self.has_feeds:
            self.loop.take_quotes([Outcome("feed", "fixed", now_s, 0.0, 0.0, quotes=quotes(self.btc_usd(), now_s))])
        cycle = self.loop.tick(now_s, now_s)
        self.books.wait()  # the clerk is a thread, and virtual time does not wait for it
        self.ledger.enter(cycle)
        self.farm.obey(cycle)
        self._remember_truth(cycle)
        self.sources |= {PowerSource(code) for code in np.unique(cycle.snapshot.power_source)}
        self.stops += int((cycle.decision.changed & (cycle.decision.action == Action.STOP)).sum())
        return cycle

    def _remember_truth(self, cycle: Cycle) -> None:
        """What the physics did in the last step, and what that was worth, within the day and as far as it is known."""
        if 0.0 <= self.clock.hour <= self.length_h:
            self.true_j += self.farm.state.wall_w * self.step_s
            hashes = self.farm.state.hashrate_hs * self.step_s
            self.true_hashes += hashes
            usd_per_hash = cycle.valuation.hashprice_usd_ph_day / 86_400 / 1e15 * 0.99 * 0.996
            self.true_usd += np.nan_to_num(hashes * usd_per_hash)

    def play(self, until_hour: float) -> None:
        """The day's events, each at its hour."""
        farm = self.farm
        while self.clock.hour < until_hour:
            hour = self.clock.hour
            self.has_feeds = not 16.0 <= hour < 18.5
            farm.orders.outlet_on[list(farm.rows(DARK))] = not 2.2 <= hour < 5.7
            farm.deaf = farm.rows(DEAF) if 6.5 <= hour < 8.1 else set()
            farm.abroad = farm.rows(ABROAD) if 3.0 <= hour < 4.0 else set()
            farm.hidden = farm.rows(LATE) if hour < 5.25 else set()
            self.step()


def quotes(btc_usd: float, at_s: float) -> tuple[Quote, ...]:
    values = {
        MarketInput.DIFFICULTY: 141.67e12, MarketInput.HEIGHT: 935_140.0, MarketInput.BLOCK_FEES_BTC: 0.02,
        MarketInput.BTC_USD: btc_usd,
    }  # fmt: skip
    return tuple(
        Quote(each, "fixed", value, at_s, SOFT_AGE_S[each], HARD_AGE_S[each]) for each, value in values.items()
    )


DAYS = {
    "an ordinary day": ("America/Chicago", "2026-07-01", 24, 60, 60.0),
    "a day of 23 hours": ("Europe/Berlin", "2026-03-29", 23, 24, 120.0),
    "a day of 25 hours": ("Australia/Adelaide", "2026-04-05", 25, 24, 120.0),  # half an hour off the full hours of UTC
}


@pytest.mark.parametrize("which", DAYS)
def test_the_day_that_is_read_back_is_the_day_that_was(tmp_path: Path, which: str) -> None:
    name, text, length_h, machines, step_s = DAYS[which]
    zone = ZoneInfo(name)
    number = day_number(date.fromisoformat(text))
    start_s, end_s = (start_of_day_s(zone_of(zone), number + more) for more in (0, 1))
    assert end_s - start_s == length_h * 3600.0
    day = Day(tmp_path, zone, start_s, length_h, machines, step_s)
    day.play(11.32)
    day.restart()  # while machines stand on advice
    day.play(length_h + 0.1)
    day.end()

    history = History.read_only(tmp_path / "history.db")
    (account,) = history.accounts(Span.DAY, start_s, end_s)
    hours = history.accounts(Span.HOUR, start_s, end_s)
    prices = history.prices(start_s, end_s)
    assert history.lost == {}
    history.close()

    # the farm had a day that is worth a ledger
    assert day.stops > machines // 3
    assert len(account.roster.ids) == machines
    assert {PowerSource.METERED, PowerSource.REPORTED, PowerSource.CONFIGURED} <= day.sources
    assert all(account.counts[:, column].any() for name, column in COLUMN.items() if name != "unpriced_revenue_usd")

    # the day is its hours, and each of them is the ledger's
    assert len(hours) == length_h
    assert (account.start_s, account.end_s) == (start_s, end_s)
    whole = total(Span.DAY, hours)
    assert whole.roster == account.roster
    np.testing.assert_array_equal(whole.counts, account.counts)
    for hour in hours:
        for row, machine in enumerate(hour.roster.ids):
            assert hour.counts[row].tolist() == day.ledger.counts(hour.start_s, machine), (hour.start_s, machine)
    for row, machine in enumerate(account.roster.ids):
        counts = [day.ledger.counts(hour.start_s, machine) for hour in hours]
        assert account.counts[row].tolist() == [sum(column) for column in zip(*counts, strict=True)], machine

    # prices: five minutes after five minutes, but for the outage
    spans = [price for price in prices if price.name == "btc_usd"]
    assert {price.start_s % 300.0 for price in spans} == {0.0}
    assert sum(price.known_s for price in spans) == pytest.approx(
        account.amount("reached_s").max() - 2.25 * 3600, abs=300
    )

    check_against_physics(day, account)


def check_against_physics(day: Day, account: Account) -> None:
    """Meters show whole watts, and what holds for a step is the truth of its begin, not of its end."""
    rows = np.array([row_of(machine) for machine in account.roster.ids])
    day_s = account.end_s - account.start_s
    metered = rows < day.farm.metered
    uncovered_s = day_s - account.amount("covered_s")[metered]
    assert uncovered_s.max() <= 2 * day.step_s  # the restart
    energy_j, true_j = account.amount("energy_j")[metered], day.true_j[rows][metered]
    np.testing.assert_array_equal(account.amount("metered_j")[metered], energy_j)
    assert (np.abs(energy_j - true_j) <= 0.5 * day_s + 4000.0 * (uncovered_s + day.step_s)).all()
    # who was looked at and never stood: its hashrate is an average of five minutes, its revenue follows it
    steady = np.array([machine in ("m13", "m14", "m15") for machine in account.roster.ids])
    assert (account.amount("running_s")[steady] >= day_s - 2 * day.step_s).all()
    for name, truth in (("hashes", day.true_hashes), ("revenue_usd", day.true_usd)):
        np.testing.assert_allclose(account.amount(name)[steady], truth[rows][steady], rtol=0.005)
    proven = account.amount("difficulty_accepted") * 2**32
    np.testing.assert_allclose(proven[steady], day.true_hashes[rows][steady], rtol=0.015)  # less a few rejects
    # the site as a whole: what it made while it warmed up, or nobody heard of it, is not known and not made up
    known = account.amount("hashes").sum() / day.true_hashes.sum()
    assert 0.95 < known < 1.0
